//! What a column's cells look like: dates in some format, codes, ids. No cell is kept that could be many people's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::tz::TimeZone;
use records::{RecordId, is_rfc3339};

use super::super::dates::{Dates, Years};

/// A column with more different values holds no codes.
const CODES: usize = 12;

/// How people write dates; those with two-digit years last.
const FORMATS: [&str; 24] = [
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y %H:%M",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%m/%d/%y %H:%M",
];

/// Texts that stand for no value, in small letters.
const NULLS: [&str; 12] = ["n/a", "na", "#n/a", "null", "none", "nil", "-", "--", ".", "?", "00/00/0000", "0000-00-00"];

/// Which of the formats a cell is written in: a bit for each.
type Fits = u32;

/// A column's cells.
#[derive(Default)]
pub(super) struct Look {
    pub(super) filled: u64,
    /// Cells with just one comma, as names have them.
    pub(super) commas: u64,
    /// What stands for no value.
    pub(super) nulls: BTreeSet<String>,
    /// The different values, as long as they are few.
    pub(super) values: BTreeSet<String>,
    pub(super) has_many: bool,
    /// How many cells are written in just these formats. Once a cell is in none, no other is looked at.
    fits: BTreeMap<Fits, u64>,
    /// Cells that the API reads as they are: dates of FHIR, whole or in part, and moments.
    as_is: u64,
    /// The ids, if every cell could be one, and no two are the same.
    ids: Option<HashSet<String>>,
}

/// How a column writes its dates.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Not all cells are dates, or there is none.
    NoDates,
    /// As the API reads them.
    AsIs,
    /// Every cell is a date in one of these, and in no others: one format, or as few as there can be.
    In(Vec<&'static str>),
    /// In the first ones, and in some of the others: which is meant the file does not tell.
    Unclear { surely: Vec<&'static str>, perhaps: Vec<&'static str> },
}

/// Every format by itself; those that cannot tell a century or a zone only have to fit here.
pub(super) fn all_formats() -> Vec<Option<Dates>> {
    let parse = |format: &&str| {
        let years = format.contains("%y").then_some(Years::Pivot(30));
        let kind = if has_time(format) { "date-time" } else { "date" };
        Dates::parse(&[(*format).to_owned()], Some(kind), years, Some(&TimeZone::UTC)).ok()
    };
    FORMATS.iter().map(parse).collect()
}

/// Whether a format reads a time of day.
pub(super) fn has_time(format: &str) -> bool {
    format.contains("%H") || format.contains("%I")
}

impl Look {
    pub(super) fn new() -> Self {
        Self { ids: Some(HashSet::new()), ..Self::default() }
    }

    pub(super) fn see(&mut self, cell: &str, dates: &[Option<Dates>]) {
        if cell.is_empty() {
            return;
        }
        if NULLS.contains(&cell.to_lowercase().as_str()) {
            self.nulls.insert(cell.to_owned());
            return;
        }
        self.filled += 1;
        self.commas += u64::from(cell.matches(',').count() == 1);
        if self.values.len() <= CODES {
            self.values.insert(cell.to_owned());
            self.has_many = self.values.len() > CODES;
        }
        self.as_is += u64::from(is_read_as_is(cell));
        if !self.fits.contains_key(&0) {
            let fits = |dates: &Option<Dates>| dates.as_ref().is_some_and(|dates| dates.convert(cell).is_ok());
            let bits = dates.iter().enumerate().filter(|(_, dates)| fits(dates)).map(|(at, _)| 1 << at);
            *self.fits.entry(bits.sum()).or_default() += 1;
        }
        if let Some(ids) = &mut self.ids
            && (RecordId::try_from(cell.to_owned()).is_err() || !ids.insert(cell.to_owned()))
        {
            self.ids = None;
        }
    }

    /// How the dates are written, where all cells are dates.
    pub(super) fn written(&self) -> Written {
        if self.filled > 0 && self.as_is == self.filled {
            return Written::AsIs;
        }
        if self.fits.is_empty() || self.fits.contains_key(&0) {
            return Written::NoDates;
        }
        let of_all = self.fits.keys().fold(Fits::MAX, |all, fits| all & fits);
        match named(of_all)[..] {
            [] => self.mixed(),
            [one] => Written::In(vec![one]),
            ref several => Written::Unclear { surely: Vec::new(), perhaps: several.to_vec() },
        }
    }

    /// As few formats as every cell is written in one of, if no other would do in place of one of them.
    fn mixed(&self) -> Written {
        let mut taken: Fits = 0;
        while let Some(best) = self.best_beside(taken) {
            taken |= best;
        }
        let covers = |taken: Fits| self.fits.keys().all(|fits| fits & taken != 0);
        let each = |bits: Fits| (0..FORMATS.len()).map(|at| 1 << at).filter(move |bit| bits & bit != 0);
        // What another one could replace, and what that is.
        let mut open: Fits = 0;
        for one in each(taken) {
            for other in each(!taken).filter(|other| covers((taken & !one) | other)) {
                open |= one | other;
            }
        }
        let surely = named(taken & !open);
        let texts: Vec<_> = named(taken).iter().map(|format| (*format).to_owned()).collect();
        let years = texts.iter().any(|format| format.contains("%y")).then_some(Years::Pivot(30));
        // Two that read some texts as different days exclude each other.
        let is_clear = open == 0 && Dates::parse(&texts, None, years, Some(&TimeZone::UTC)).is_ok();
        if is_clear {
            Written::In(surely)
        } else if open == 0 {
            Written::Unclear { surely: Vec::new(), perhaps: surely }
        } else {
            Written::Unclear { surely, perhaps: named(open) }
        }
    }

    /// The format in which most cells are written that are in none of these.
    fn best_beside(&self, taken: Fits) -> Option<Fits> {
        let count = |bit: Fits| -> u64 {
            self.fits.iter().filter(|(fits, _)| **fits & taken == 0 && **fits & bit != 0).map(|(_, count)| count).sum()
        };
        let bits = (0..FORMATS.len()).map(|at| 1 << at);
        bits.filter(|bit| count(*bit) > 0).reduce(|best, next| if count(next) > count(best) { next } else { best })
    }

    pub(super) fn could_be_id(&self) -> bool {
        self.filled > 0 && self.ids.is_some()
    }
}

/// Whether the API reads a cell as it is.
fn is_read_as_is(cell: &str) -> bool {
    let is_partial = |text: &str| {
        let mut parts = text.split('-');
        let mut next = |digits: usize| {
            parts.next().is_none_or(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
        };
        next(4) && next(2) && next(2) && parts.next().is_none()
    };
    is_rfc3339(cell) || (cell.len() <= 10 && is_partial(cell))
}

/// The formats of these bits.
fn named(bits: Fits) -> Vec<&'static str> {
    FORMATS.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, format)| *format).collect()
}
