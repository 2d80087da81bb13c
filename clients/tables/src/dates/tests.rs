use super::*;

fn parse(format: &str, kind: &'static str) -> Result<Dates, String> {
    Dates::parse(&[format.to_owned()], Some(kind), None, None)
}

fn convert(format: &str, kind: &'static str, text: &str) -> Option<String> {
    parse(format, kind).unwrap().convert(text).ok()
}

#[test]
fn dates_keep_their_precision() {
    assert_eq!(convert("%m/%d/%Y", "date", "1/5/1990").as_deref(), Some("1990-01-05"));
    assert_eq!(convert("%d.%m.%Y", "date", "31.12.2001").as_deref(), Some("2001-12-31"));
    assert_eq!(convert("%m/%d/%Y %H:%M", "date", "1/5/1990 0:00").as_deref(), Some("1990-01-05"));
    assert_eq!(convert("%m/%Y", "date", "03/1985").as_deref(), Some("1985-03"));
    assert_eq!(convert("%Y", "date", "1985").as_deref(), Some("1985"));
    assert_eq!(convert("%Y%j", "date", "1985032").as_deref(), Some("1985-02-01"));
    assert_eq!(convert("%H:%M", "time", "08:30").as_deref(), Some("08:30:00"));
    assert_eq!(convert("%I:%M %p", "time", "1:30 pm").as_deref(), Some("13:30:00"));
}

#[test]
fn a_moment_keeps_its_offset_and_with_it_its_day() {
    let moment = convert("%m/%d/%Y %H:%M %z", "date-time", "01/31/2020 23:30 +0200");
    assert_eq!(moment.as_deref(), Some("2020-01-31T23:30:00+02:00"));
    // A date has none, whatever its column holds.
    let date = convert("%m/%d/%Y %H:%M %z", "date", "01/31/2020 23:30 +0200");
    assert_eq!(date.as_deref(), Some("2020-01-31"));
    let fraction = convert("%Y-%m-%dT%H:%M:%S%.f%z", "date-time", "2020-01-31T23:30:05.25+0200");
    assert_eq!(fraction.as_deref(), Some("2020-01-31T23:30:05.25+02:00"));
}

#[test]
fn a_time_without_offset_is_of_the_zone_and_one_that_is_twice_or_never_is_refused() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let dates = Dates::parse(&["%Y-%m-%d %H:%M".to_owned()], Some("date-time"), None, Some(&zone)).unwrap();
    assert!(dates.use_zone());
    assert_eq!(dates.convert("2024-07-01 08:00").as_deref(), Ok("2024-07-01T08:00:00-04:00"));
    assert_eq!(dates.convert("2024-12-01 08:00").as_deref(), Ok("2024-12-01T08:00:00-05:00"));
    assert_eq!(dates.convert("2024-03-10 02:30"), Err(NoDate::Ambiguous), "never");
    assert_eq!(dates.convert("2024-11-03 01:30"), Err(NoDate::Ambiguous), "twice");
}

#[test]
fn other_texts_are_no_dates() {
    for text in ["31/01/1990", "02/30/1990", "1990-01-31", "", "01/31/1990 x"] {
        assert_eq!(convert("%m/%d/%Y", "date", text), None, "{text}");
    }
    // What the parser takes for the first century.
    for (format, text) in [
        ("%m/%d/%Y", "1/15/90"),
        ("%d.%m.%Y", "1.2.24"),
        ("%m/%Y", "3/85"),
        ("%Y", "+2024"),
        ("%m/%d/%Y", "1/2/124"),
        ("%Y", "-2024"),
        ("%Y", "0090"),
        // What has lost a leading zero slides into the next field.
        ("%Y%m%d", "1990115"),
        ("%Y-%m-%d", "1990-1-155"),
    ] {
        assert_eq!(convert(format, "date", text), None, "{text}");
    }
}

#[test]
fn two_digits_are_the_years_that_the_map_says() {
    let with = |years, text: &str| {
        Dates::parse(&["%m/%d/%y".to_owned()], Some("date"), Some(years), None).unwrap().convert(text).ok()
    };
    assert_eq!(with(Years::Century(1900), "1/15/05").as_deref(), Some("1905-01-15"));
    assert_eq!(with(Years::Pivot(30), "1/15/30").as_deref(), Some("1930-01-15"));
    assert_eq!(with(Years::Pivot(30), "1/15/29").as_deref(), Some("2029-01-15"));
    assert_eq!(with(Years::Pivot(30), "1/15/1990"), None);
    assert_eq!(with(Years::Pivot(30), "1/15/5"), None);
    assert_eq!(with(Years::Pivot(30), "1/05/5"), None);
    let tight = Dates::parse(&["%m%d%y".to_owned()], Some("date"), Some(Years::Pivot(30)), None).unwrap();
    assert_eq!(tight.convert("011200").as_deref(), Ok("2000-01-12"));
    assert!(tight.convert("11200").is_err());
    let needless = Dates::parse(&["%Y".to_owned()], Some("date"), Some(Years::Pivot(30)), None);
    assert!(needless.unwrap_err().contains("two digits"));
}

#[test]
fn formats_that_lose_something_or_cannot_tell_are_refused() {
    assert!(parse("%m/%d/%y", "date").unwrap_err().contains("century"));
    assert!(parse("%D", "date").unwrap_err().contains("century"));
    assert!(parse("%m/%d/%Y %H:%M", "date-time").unwrap_err().contains("offset"));
    assert!(parse("%I:%M", "time").unwrap_err().contains("%p"));
    assert!(parse("%U/%Y", "date").unwrap_err().contains("week"));
    for (format, kind) in [("%d %Y", "date"), ("%Y-%m-%d %M %z", "date-time"), ("%Y %d", "date-time")] {
        assert!(parse(format, kind).is_err(), "{format} {kind}");
    }
    assert!(Dates::parse(&["%m/%d/%Y".to_owned()], Some("email"), None, None).is_err());
    let any = |format: &str| Dates::parse(&[format.to_owned()], None, None, None);
    assert_eq!(any("%m/%d/%Y").unwrap().convert("1/15/1990").as_deref(), Ok("1990-01-15"));
    assert!(any("%m/%d/%Y %H:%M").unwrap_err().contains("offset"));
    for (format, kind) in [
        ("%Q", "date"),
        ("%C%y-%m-%d", "date"),
        ("%s", "date-time"),
        ("%H:%M %p", "time"),
        ("%H:%M", "date"),
        ("%d", "date"),
        ("%Y", "time"),
        ("%!", "date"),
        ("x", "date"),
        // A time of day has whole seconds.
        ("%H:%M:%S.%f", "time"),
        ("%H:%M:%S%.1f", "time"),
        // And no offset.
        ("%H:%M%z", "time"),
    ] {
        assert!(parse(format, kind).is_err(), "{format} {kind}");
    }
}

#[test]
fn several_formats_are_tried_unless_they_contradict_each_other() {
    let of = |formats: [&str; 2]| Dates::parse(&formats.map(str::to_owned), Some("date"), None, None);
    let dates = of(["%m/%d/%Y", "%Y-%m-%d"]).unwrap();
    assert_eq!(dates.convert("1/15/1990").as_deref(), Ok("1990-01-15"));
    assert_eq!(dates.convert("1990-01-15").as_deref(), Ok("1990-01-15"));
    assert!(of(["%m/%d/%Y", "%d/%m/%Y"]).unwrap_err().contains("different days"));
    assert!(of(["%d%m%Y", "%Y%m%d"]).unwrap_err().contains("different days"));
    let short = ["%m/%d/%y".to_owned(), "%y/%m/%d".to_owned()];
    assert!(Dates::parse(&short, Some("date"), Some(Years::Pivot(30)), None).unwrap_err().contains("different days"));
}
