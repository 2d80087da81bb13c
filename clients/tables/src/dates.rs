//! Dates as people write them, into FHIR's form.

use jiff::civil::{self, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use regex_lite::Regex;

/// Which years two digits stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Years {
    /// All of one century, as 1900.
    Century(i16),
    /// From here to 99 the last century, below it this one.
    Pivot(u8),
}

/// How a column writes its dates: in one of these formats.
#[derive(Debug, Clone)]
pub(super) struct Dates {
    formats: Vec<DateFormat>,
}

/// Why a text is no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDate {
    /// It is not written in any of the formats, or there is no such day.
    Unknown,
    /// The local time is skipped or comes twice when the clocks change.
    Ambiguous,
}

impl Dates {
    /// Reads formats of `strptime` for a member of this kind. A format that cannot tell which moment is meant, or that
    /// loses a part of it, is refused.
    pub(super) fn parse(
        formats: &[String],
        kind: Option<&'static str>,
        years: Option<Years>,
        zone: Option<&TimeZone>,
    ) -> Result<Self, String> {
        let read = |format: &String| DateFormat::parse(format, kind, years, zone);
        let formats = formats.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if years.is_some() && !formats.iter().any(|format| format.has('y')) {
            return Err("century and pivot are for years of two digits (%y)".to_owned());
        }
        for (at, one) in formats.iter().enumerate() {
            if let Some(other) = formats.iter().skip(at + 1).find(|other| one.contradicts(other)) {
                return Err(format!(
                    "formats {} and {} read some texts as different days, and the file does not tell which is meant",
                    one.text, other.text
                ));
            }
        }
        Ok(Self { formats })
    }

    /// The formats, for messages.
    pub(super) fn names(&self) -> String {
        self.formats.iter().map(|format| format.text.as_str()).collect::<Vec<_>>().join(" or ")
    }

    /// Whether a time zone decides anything here.
    pub(super) fn use_zone(&self) -> bool {
        self.formats.iter().any(|format| format.zone.is_some())
    }

    /// The text in FHIR's form, as precise as it is.
    pub(super) fn convert(&self, text: &str) -> Result<String, NoDate> {
        let mut refused = NoDate::Unknown;
        for format in &self.formats {
            match format.convert(text) {
                Err(NoDate::Unknown) => {}
                Err(NoDate::Ambiguous) => refused = NoDate::Ambiguous,
                found => return found,
            }
        }
        Err(refused)
    }
}

#[derive(Debug, Clone)]
struct DateFormat {
    text: String,
    /// Just what the format reads: its parser takes years of fewer digits, signs, and digits that slide into the next field.
    pattern: Regex,
    /// Whether the member takes dates, and no times.
    is_date: bool,
    /// What it reads, as letters of `strptime`.
    directives: Vec<char>,
    years: Option<Years>,
    /// For times of day without an offset.
    zone: Option<TimeZone>,
}

impl DateFormat {
    fn parse(
        text: &str,
        kind: Option<&'static str>,
        years: Option<Years>,
        zone: Option<&TimeZone>,
    ) -> Result<Self, String> {
        let (directives, pattern) = read(text);
        if let Some(other) = directives.iter().find(|directive| !READ.contains(**directive)) {
            let why = if "UWVGg".contains(*other) { "a week is no date" } else { "it is not read here" };
            return Err(format!(
                "format {text}: %{other}: {why}; use %Y %y %m %d %e %b %B %j %H %I %M %S %p %z and the like"
            ));
        }
        let pattern = pattern.ok_or_else(|| format!("format {text} cannot be read"))?;
        let is_date = kind == Some("date");
        let mut format = Self { text: text.to_owned(), pattern, is_date, directives, years, zone: None };
        // A field that takes any text takes what the format reads.
        let kind = match kind {
            Some(kind @ ("date" | "date-time" | "time")) => kind,
            None if !format.reads_date() => "time",
            None if format.has_any("HIkl") => "date-time",
            None => "date",
            Some(_) => return Err("format is for dates and times, and the field is none".to_owned()),
        };
        if format.has('y') && years.is_none() {
            return Err(format!(
                "format {text}: a year of two digits does not tell its century: add century = 1900, or pivot = 30 (30 to 99 \
                 are 1930 to 1999, 00 to 29 are 2000 to 2029)"
            ));
        }
        if format.has_any("Il") && !format.has_any("pP") {
            return Err(format!("format {text}: hours of a 12-hour clock (%I) need AM or PM (%p)"));
        }
        if format.has_any("pP") && !format.has_any("Il") {
            return Err(format!("format {text}: AM and PM (%p) are for hours of a 12-hour clock (%I)"));
        }
        if format.has_any("HIkl") && !format.has('z') && kind == "date-time" {
            let Some(zone) = zone else {
                return Err(format!(
                    "format {text}: a time of day needs an offset (%z), or the map a timezone = \"America/New_York\", or the \
                     moment is not known"
                ));
            };
            format.zone = Some(zone.clone());
        }
        if format.has('z') && kind == "time" {
            return Err(format!("format {text}: a time of day has no offset (%z)"));
        }
        format.check_losses(kind)?;
        Ok(format)
    }

    fn has(&self, directive: char) -> bool {
        self.directives.contains(&directive)
    }

    fn has_any(&self, directives: &str) -> bool {
        directives.chars().any(|directive| self.has(directive))
    }

    /// Nothing may be lost. It is tried: two moments that the format writes differently must be read differently, but for
    /// the time of day where the member holds dates.
    fn check_losses(&self, kind: &str) -> Result<(), String> {
        let base = civil::date(1990, 11, 22).at(13, 24, 35, 0);
        let read = |moment: DateTime| self.convert(&self.write(moment)?).ok();
        let Some(of_base) = read(base).filter(|_| self.reads_date() != (kind == "time")) else {
            return Err(format!("format {} is not one of {kind}s, as %m/%d/%Y or %H:%M", self.text));
        };
        let days = [base + 1.day(), base + 1.month(), base + 1.year()];
        let times = [base + 1.hour(), base + 1.minute(), base + 1.second(), base + 500.milliseconds()];
        let times = times.into_iter().filter(|_| kind != "date");
        let is_lost = |moment: DateTime| {
            self.write(moment) != self.write(base) && read(moment).is_none_or(|read| read == of_base)
        };
        if days.into_iter().chain(times).any(is_lost) {
            return Err(format!(
                "format {} loses a part of what it reads: a day needs its month, a time its hour, and a time without a day has \
                 whole seconds",
                self.text
            ));
        }
        Ok(())
    }

    fn reads_date(&self) -> bool {
        self.has_any("Yy")
    }

    /// Whether a text can be read by both, as different days.
    fn contradicts(&self, other: &Self) -> bool {
        let one_way = |one: &Self, other: &Self| {
            // Years that could be days and months are among them.
            let years = [1991, 2001, 2005, 2010, 2012, 2020, 2028];
            let days = [1, 2, 5, 10, 11, 12, 20, 28];
            let moments = years.into_iter().flat_map(|year| {
                (1..=12).flat_map(move |month| days.map(|day| civil::date(year, month, day).at(13, 24, 35, 0)))
            });
            moments.into_iter().any(|moment| {
                let Some(text) = one.write(moment) else { return false };
                let (first, second) = (one.convert(&text), other.convert(&text));
                first.is_ok() && second.is_ok() && first != second
            })
        };
        one_way(self, other) || one_way(other, self)
    }

    /// The moment as the format writes it.
    fn write(&self, moment: DateTime) -> Option<String> {
        let moment = moment.to_zoned(TimeZone::UTC).ok()?;
        BrokenDownTime::from(&moment).to_string(&self.text).ok()
    }

    fn convert(&self, text: &str) -> Result<String, NoDate> {
        let unknown = |_| NoDate::Unknown;
        if !self.pattern.is_match(text) {
            return Err(NoDate::Unknown);
        }
        let mut read = BrokenDownTime::parse(&self.text, text).map_err(unknown)?;
        if let Some(year) = read.year() {
            read.set_year(Some(self.year(year)?)).map_err(unknown)?;
        }
        if !self.reads_date() {
            let time = read.hour().ok_or(NoDate::Unknown).and(read.to_time().map_err(unknown))?;
            return Ok(format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
        }
        if let Some(offset) = read.offset().filter(|_| read.hour().is_some() && !self.is_date) {
            return Ok(with_offset(read.to_timestamp().map_err(unknown)?, offset));
        }
        if let Some(zone) = &self.zone {
            let moment = zone.to_ambiguous_zoned(read.to_datetime().map_err(unknown)?);
            let moment = moment.unambiguous().map_err(|_| NoDate::Ambiguous)?;
            return Ok(with_offset(moment.timestamp(), moment.offset()));
        }
        if read.day().is_some() || read.day_of_year().is_some() {
            return Ok(read.to_date().map_err(unknown)?.to_string());
        }
        let year = read.year().ok_or(NoDate::Unknown)?;
        Ok(read.month().map_or_else(|| year.to_string(), |month| format!("{year}-{month:02}")))
    }

    /// The year that is meant.
    fn year(&self, read: i16) -> Result<i16, NoDate> {
        let two = read.rem_euclid(100);
        let year = match self.years.filter(|_| self.has('y')) {
            Some(Years::Century(century)) => century + two,
            Some(Years::Pivot(pivot)) if two >= i16::from(pivot) => 1900 + two,
            Some(Years::Pivot(_)) => 2000 + two,
            None => read,
        };
        // No record is of an earlier year: what looks like it has lost a digit.
        if (1000..=9999).contains(&year) { Ok(year) } else { Err(NoDate::Unknown) }
    }
}

/// The directives that are read, but for those that stand for several.
const READ: &str = "YymdebhBjHIklMSpPzfaAnt";

/// The directives of a format, those for several spelled out, and the pattern of all texts that it reads, if there is one.
/// Numbers may lack their leading zero, but for those that touch the next one.
fn read(format: &str) -> (Vec<char>, Option<Regex>) {
    let spelled = [("%F", "%Y-%m-%d"), ("%D", "%m/%d/%y"), ("%T", "%H:%M:%S"), ("%R", "%H:%M")];
    let format = spelled.iter().fold(format.to_owned(), |format, (short, long)| format.replace(short, long));
    let (mut directives, mut parts) = (Vec::new(), Vec::<(String, bool)>::new());
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            let literal = if c.is_whitespace() { "\\s*".to_owned() } else { regex_lite::escape(&c.to_string()) };
            parts.push((literal, false));
            continue;
        }
        // Behind flags, widths, and the signs of %:z and %.f.
        let Some(directive) = rest.by_ref().find(|c| c.is_ascii_alphabetic() || *c == '%') else {
            return (directives, None);
        };
        directives.push(directive);
        let (part, is_number) = match directive {
            'Y' => ("\\d{4}", true),
            'y' => ("\\d{2}", true),
            'm' | 'd' | 'H' | 'I' | 'M' | 'S' => ("\\d{1,2}", true),
            'e' | 'k' | 'l' => ("\\s?\\d{1,2}", true),
            'j' => ("\\d{1,3}", true),
            'f' => ("\\.?\\d{0,9}", false),
            'z' => ("(Z|[+-]\\d{2}:?\\d{2}(:?\\d{2})?)", false),
            'p' | 'P' => ("[AaPp][Mm]", false),
            'n' | 't' => ("\\s*", false),
            _ => ("[A-Za-z]+", false),
        };
        parts.push((part.to_owned(), is_number));
    }
    let mut pattern = String::from("^");
    for (at, (part, is_number)) in parts.iter().enumerate() {
        let touches = |other: Option<&(String, bool)>| *is_number && other.is_some_and(|(_, is_number)| *is_number);
        let is_tight = touches(parts.get(at + 1)) || touches(at.checked_sub(1).and_then(|before| parts.get(before)));
        let part = if is_tight { part.replace("{1,2}", "{2}").replace("{1,3}", "{3}") } else { part.clone() };
        pattern.push_str(&part);
    }
    (directives, Regex::new(&(pattern + "$")).ok())
}

/// The moment, and what the clock on the wall said: its date is not lost.
fn with_offset(moment: Timestamp, offset: Offset) -> String {
    moment.display_with_offset(offset).to_string()
}

#[cfg(test)]
mod tests;
