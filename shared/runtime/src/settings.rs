//! Settings from the environment: a function starts completely or not at all.

use std::str::FromStr;
use std::time::Duration;

use model::Timings;

/// Gives a setting's value by its name.
type Source<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Reads settings and collects what is wrong with them, so that all problems are reported at once.
pub struct Settings<'a> {
    source: Source<'a>,
    problems: Vec<String>,
}

/// All that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid settings: {}", .0.join("; "))]
pub struct InvalidSettings(Vec<String>);

impl<'a> Settings<'a> {
    /// The settings of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_source(|name| std::env::var(name).ok())
    }

    /// The settings of any source.
    #[must_use]
    pub fn from_source(read: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { source: Box::new(read), problems: Vec::new() }
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.source)(name).filter(|value| !value.is_empty())
    }

    /// A text that must be there. Use it only after [`check`](Self::check) has passed.
    pub fn required(&mut self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| {
            let problem = format!("{name} is not set");
            // Several adapters may ask for the same one.
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
            String::new()
        })
    }

    /// A number that may be left out.
    pub fn number_or<N: FromStr>(&mut self, name: &str, default: N) -> N {
        let Some(text) = self.value(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.problems.push(format!("{name} is not a number in range"));
            default
        })
    }

    /// The durations of the machinery: `LEASE_SECONDS`, `REDRIVE_SECONDS`, `TIME_SLICE_SECONDS` and
    /// `CHANGE_LOG_SETTLE_SECONDS`.
    pub fn timings(&mut self) -> Timings {
        let default = Timings::default();
        let mut seconds = |name, default: Duration| Duration::from_secs(self.number_or(name, default.as_secs()));
        let timings = Timings {
            lease: seconds("LEASE_SECONDS", default.lease),
            redrive: seconds("REDRIVE_SECONDS", default.redrive),
            time_slice: seconds("TIME_SLICE_SECONDS", default.time_slice),
            settle: seconds("CHANGE_LOG_SETTLE_SECONDS", default.settle),
            ..default
        };
        if timings.lease < Duration::from_secs(3) {
            self.problems.push("LEASE_SECONDS is less than 3".to_owned());
        }
        timings
    }

    /// For how long jobs and their files are kept: `RETENTION_DAYS`, 7 unless set, at least 2.
    pub fn retention(&mut self) -> Duration {
        let days: u16 = self.number_or("RETENTION_DAYS", 7);
        if days < 2 {
            self.problems.push("RETENTION_DAYS is less than 2".to_owned());
        }
        Duration::from_hours(24 * u64::from(days))
    }

    /// SHA-256 hashes of what shows that a call came by the way that it should: `ORIGIN_SECRET_SHA256`, none unless set.
    pub fn origins(&mut self) -> Vec<String> {
        let Some(text) = self.value("ORIGIN_SECRET_SHA256") else { return Vec::new() };
        let hashes: Vec<_> = text.split(',').map(str::to_owned).collect();
        let is_hash =
            |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hashes.iter().all(is_hash) {
            self.problems.push("ORIGIN_SECRET_SHA256 is not one or two hashes of 64 hexadecimal digits".to_owned());
        }
        hashes
    }

    /// Ends the reading: an error that names every problem, or the go-ahead.
    pub fn check(self) -> Result<(), InvalidSettings> {
        if self.problems.is_empty() { Ok(()) } else { Err(InvalidSettings(self.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_reported_together() {
        let mut settings = Settings::from_source(|name| match name {
            "RETENTION_DAYS" => Some("1".to_owned()),
            "LEASE_SECONDS" => Some("soon".to_owned()),
            "BUCKET" => Some(String::new()),
            "ORIGIN_SECRET_SHA256" => Some("secret".to_owned()),
            _ => None,
        });
        settings.required("BUCKET");
        settings.required("BUCKET");
        settings.retention();
        settings.timings();
        settings.origins();
        let error = settings.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid settings: BUCKET is not set; RETENTION_DAYS is less than 2; \
             LEASE_SECONDS is not a number in range; \
             ORIGIN_SECRET_SHA256 is not one or two hashes of 64 hexadecimal digits"
        );
    }

    #[test]
    fn nobody_keeps_jobs_for_longer_than_a_number_of_days_holds() {
        // In seconds, so many days are few again in 64 bits.
        let mut settings = Settings::from_source(|_| Some("213503982334602".to_owned()));
        settings.retention();
        assert_eq!(
            settings.check().unwrap_err().to_string(),
            "invalid settings: RETENTION_DAYS is not a number in range"
        );
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let mut settings = Settings::from_source(|_| None);
        assert_eq!(settings.timings(), Timings::default());
        assert_eq!(settings.retention(), Duration::from_hours(168));
        assert_eq!(settings.origins(), Vec::<String>::new());
        assert_eq!(settings.check(), Ok(()));
    }
}
