//! Configuration from the environment: a function starts completely or not at all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use domain::{ExportSizes, MAX_SEGMENTS, Pace};

/// Gives a setting's value by its name.
type Source<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads settings and collects what is wrong with them, so that all faults are reported at once.
pub struct Settings<'a> {
    source: Box<Source<'a>>,
    faults: Vec<String>,
}

/// All that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidSettings(Vec<String>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invalid configuration: {}", self.0.join("; "))
    }
}

impl std::error::Error for InvalidSettings {}

impl<'a> Settings<'a> {
    /// The settings of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_source(|name| std::env::var(name).ok())
    }

    /// The settings of any source.
    #[must_use]
    pub fn from_source(read: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { source: Box::new(read), faults: Vec::new() }
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.source)(name).filter(|value| !value.is_empty())
    }

    /// A text that must be there. Use it only after [`check`](Self::check) has passed.
    pub fn required(&mut self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| {
            self.faults.push(format!("{name} is not set"));
            String::new()
        })
    }

    /// A text that may be left out.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.value(name)
    }

    /// A number that may be left out.
    pub fn number_or<N: FromStr>(&mut self, name: &str, default: N) -> N {
        let Some(text) = self.value(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.faults.push(format!("{name} is not a number in range"));
            default
        })
    }

    /// The sizes of exports: `EXPORT_SEGMENTS` forces a number of segments, 0 leaves it to the bytes.
    pub fn export_sizes(&mut self) -> ExportSizes {
        let segments: u8 = self.number_or("EXPORT_SEGMENTS", 0);
        if segments > MAX_SEGMENTS {
            self.faults.push(format!("EXPORT_SEGMENTS is more than {MAX_SEGMENTS}"));
        }
        ExportSizes { segments: (segments > 0).then_some(segments), ..ExportSizes::default() }
    }

    /// The times of the machinery: `LEASE_SECONDS`, `RESEND_SECONDS` and `TURN_SECONDS`.
    pub fn pace(&mut self) -> Pace {
        let default = Pace::default();
        let lease = self.number_or("LEASE_SECONDS", default.lease.as_secs());
        let resend = self.number_or("RESEND_SECONDS", default.resend.as_secs());
        let turn = self.number_or("TURN_SECONDS", default.turn.as_secs());
        if lease < 3 {
            self.faults.push("LEASE_SECONDS is less than 3".to_owned());
        }
        Pace {
            lease: Duration::from_secs(lease),
            resend: Duration::from_secs(resend),
            turn: Duration::from_secs(turn),
            ..default
        }
    }

    /// For how long jobs and their files are kept: `RETENTION_DAYS`, 7 unless set, at least 2.
    pub fn retention(&mut self) -> Duration {
        let days: u64 = self.number_or("RETENTION_DAYS", 7);
        if days < 2 {
            self.faults.push("RETENTION_DAYS is less than 2".to_owned());
        }
        Duration::from_secs(days * 24 * 3600)
    }

    /// Ends the reading: an error that names every fault, or the go-ahead.
    pub fn check(self) -> Result<(), InvalidSettings> {
        if self.faults.is_empty() { Ok(()) } else { Err(InvalidSettings(self.faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_reported_together() {
        let mut settings = Settings::from_source(|name| match name {
            "RETENTION_DAYS" => Some("1".to_owned()),
            "LEASE_SECONDS" => Some("soon".to_owned()),
            "EXPORT_SEGMENTS" => Some("5".to_owned()),
            "BUCKET" => Some(String::new()),
            _ => None,
        });
        settings.required("BUCKET");
        settings.retention();
        settings.pace();
        settings.export_sizes();
        let error = settings.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid configuration: BUCKET is not set; RETENTION_DAYS is less than 2; \
             LEASE_SECONDS is not a number in range; EXPORT_SEGMENTS is more than 4"
        );
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let mut settings = Settings::from_source(|_| None);
        assert_eq!(settings.pace(), Pace::default());
        assert_eq!(settings.retention(), Duration::from_hours(168));
        assert_eq!(settings.export_sizes(), ExportSizes::default());
        assert_eq!(settings.optional("X"), None);
        assert_eq!(settings.check(), Ok(()));
    }
}
