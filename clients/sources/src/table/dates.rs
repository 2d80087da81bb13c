//! Dates as people write them, into FHIR's form.

use jiff::civil;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// How a column writes its dates.
#[derive(Debug, Clone)]
pub(super) struct DateFormat(String);

impl DateFormat {
    /// Reads a format of `strptime`.
    pub(super) fn parse(format: &str, kind: Option<&'static str>) -> Result<Self, String> {
        if !matches!(kind, Some("date" | "date-time" | "time")) {
            return Err("format is for dates and times, and the member is none".to_owned());
        }
        if format.contains("%y") {
            return Err("format %y: a year of two digits does not tell its century; write years with four".to_owned());
        }
        let has_time = ["%H", "%I", "%T", "%R", "%k", "%l"].iter().any(|time| format.contains(time));
        let has_offset = ["%z", "%:z"].iter().any(|offset| format.contains(offset));
        if has_time && !has_offset && kind == Some("date-time") {
            return Err("format: a time of day needs an offset (%z), or the moment is not known".to_owned());
        }
        let read = Self(format.to_owned());
        // A format that cannot write a moment, or not read what it has written, is none.
        let sample = civil::date(2000, 11, 22).at(13, 24, 35, 0).to_zoned(TimeZone::UTC);
        let sample = sample.map(|sample| BrokenDownTime::from(&sample).to_string(format));
        let written = sample.ok().and_then(Result::ok).and_then(|sample| read.convert(&sample));
        match written {
            Some(written) if written.starts_with("2000") != (kind == Some("time")) => Ok(read),
            _ => Err(format!("format {format} is not one of {}s, as %m/%d/%Y or %H:%M", kind.unwrap_or_default())),
        }
    }

    /// The format, for messages.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text in FHIR's form, as precise as it is; `None` if it is no date of that format.
    pub(super) fn convert(&self, text: &str) -> Option<String> {
        let read = BrokenDownTime::parse(&self.0, text).ok()?;
        let Some(year) = read.year() else {
            let time = read.hour().and(read.to_time().ok())?;
            return Some(format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
        };
        if read.offset().is_some() && read.hour().is_some() {
            let moment = read.to_timestamp().ok()?;
            return Some(moment.to_string());
        }
        if read.day().is_some() || read.day_of_year().is_some() {
            let date = read.to_date().ok()?;
            return Some(format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()));
        }
        match read.month() {
            Some(month) => Some(format!("{year:04}-{month:02}")),
            None => Some(format!("{year:04}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(format: &str, kind: &'static str, text: &str) -> Option<String> {
        DateFormat::parse(format, Some(kind)).unwrap().convert(text)
    }

    #[test]
    fn dates_keep_their_precision() {
        assert_eq!(convert("%m/%d/%Y", "date", "1/5/1990").as_deref(), Some("1990-01-05"));
        assert_eq!(convert("%d.%m.%Y", "date", "31.12.2001").as_deref(), Some("2001-12-31"));
        assert_eq!(convert("%m/%Y", "date", "03/1985").as_deref(), Some("1985-03"));
        assert_eq!(convert("%Y", "date", "1985").as_deref(), Some("1985"));
        assert_eq!(convert("%H:%M", "time", "08:30").as_deref(), Some("08:30:00"));
        let moment = convert("%m/%d/%Y %H:%M %z", "date-time", "01/31/2020 10:00 +0200");
        assert_eq!(moment.as_deref(), Some("2020-01-31T08:00:00Z"));
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in ["31/01/1990", "02/30/1990", "1990-01-31", "", "01/31/1990 x"] {
            assert_eq!(convert("%m/%d/%Y", "date", text), None, "{text}");
        }
    }

    #[test]
    fn formats_that_lose_something_are_refused() {
        assert!(DateFormat::parse("%m/%d/%y", Some("date")).unwrap_err().contains("century"));
        assert!(DateFormat::parse("%m/%d/%Y %H:%M", Some("date-time")).unwrap_err().contains("offset"));
        assert!(DateFormat::parse("%m/%d/%Y", None).is_err());
        for (format, kind) in
            [("%Q", "date"), ("%H:%M", "date"), ("%d", "date"), ("%Y", "time"), ("%!", "date"), ("x", "date")]
        {
            assert!(DateFormat::parse(format, Some(kind)).is_err(), "{format} {kind}");
        }
    }
}
