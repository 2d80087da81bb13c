//! The names of things: each is parsed once, where it enters, and is right from then on.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The text does not follow this rule. The text itself is not kept: it came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub(crate) &'static str);

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                text.parse()
            }
        }
    };
}

/// A tenant: 1 to 64 of `A-Za-z0-9_-`, so that neither `#` nor `/` can occur in a key made of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TenantId(String);

text_id!(TenantId);

impl FromStr for TenantId {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidText("a tenant id is 1 to 64 of A-Za-z0-9_-"))
        }
    }
}

/// The environment of a key, and of all that is reached with it. Test and live never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For trying things out: keys `clk_test_…`.
    Test,
    /// The real records: keys `clk_live_…`.
    Live,
}

impl Environment {
    /// The environment's name, as in a key's prefix.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Live => "live",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            "test" => Ok(Self::Test),
            "live" => Ok(Self::Live),
            _ => Err(InvalidText("an environment is test or live")),
        }
    }
}

/// The unit of isolation: a tenant in one environment. Nothing is read or written across partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// Whose records they are.
    pub tenant: TenantId,
    /// Test or live.
    pub environment: Environment,
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}", self.tenant, self.environment)
    }
}

impl FromStr for Partition {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (tenant, environment) =
            text.split_once('#').ok_or(InvalidText("a partition is a tenant, # and an environment"))?;
        Ok(Self { tenant: tenant.parse()?, environment: environment.parse()? })
    }
}

/// A prefix and 26 characters of Crockford's base 32 that sort by time (<https://github.com/ulid/spec>).
fn timed_id(prefix: &str, now: Timestamp, random: u128) -> String {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    format!("{prefix}{}", Ulid::from_parts(milliseconds, random))
}

/// Parses what [`timed_id`] writes, and only that: one spelling for one id.
fn parse_timed_id(prefix: &str, text: &str) -> Option<Ulid> {
    let id = Ulid::from_string(text.strip_prefix(prefix)?).ok()?;
    (text.len() == prefix.len() + 26 && text.ends_with(&id.to_string())).then_some(id)
}

macro_rules! timed_text_id {
    ($name:ident, $what:literal, $prefix:literal) => {
        text_id!($name);

        impl $name {
            const PREFIX: &str = $prefix;

            /// A new id. Two of the same moment differ by `random`, of which 80 bits count.
            #[must_use]
            pub fn new(now: Timestamp, random: u128) -> Self {
                Self(timed_id(Self::PREFIX, now, random))
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                let rule = InvalidText(concat!($what, " is ", $prefix, " and 26 characters"));
                parse_timed_id(Self::PREFIX, text).map(|_| Self(text.to_owned())).ok_or(rule)
            }
        }
    };
}

/// A job: `job_` and 26 characters that sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct JobId(String);

timed_text_id!(JobId, "a job id", "job_");

impl JobId {
    /// When the id was made, to the millisecond.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        parse_timed_id(Self::PREFIX, &self.0)
            .and_then(|id| i64::try_from(id.timestamp_ms()).ok())
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// An upload: `upl_` and 26 characters that sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct UploadId(String);

timed_text_id!(UploadId, "an upload id", "upl_");

/// A call: `req_` and 26 characters that sort by time. Given to the client, and in every log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// A new id.
    #[must_use]
    pub fn new(now: Timestamp, random: u128) -> Self {
        Self(timed_id("req_", now, random))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The holder of a lease: unguessable and never used twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token(String);

impl Token {
    /// A new token.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// The token as text: lower-case hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_cannot_enter_a_tenant_id() {
        for bad in ["", "a#b", "a/b", "a b", "a.b", "\u{430}", "..", &"x".repeat(65)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
        assert!("Clinic_1-a".parse::<TenantId>().is_ok());
    }

    #[test]
    fn a_job_id_has_one_spelling() {
        let id = JobId::new(Timestamp::from_millisecond(1_700_000_000_000).unwrap(), 7);
        assert_eq!(id.as_str().len(), 30);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.created_at().as_millisecond(), 1_700_000_000_000);
        assert!(id.as_str().to_lowercase().parse::<JobId>().is_err());
        for bad in ["", "job_", "job_x", "upl_01ARZ3NDEKTSV4RRFFQ69G5FAV", "job_81ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn job_ids_sort_by_time(early in 0i64..4_000_000_000_000, late in 1i64..1_000_000, a: u128, b: u128) {
            let at = |ms| Timestamp::from_millisecond(ms).unwrap();
            prop_assert!(JobId::new(at(early), a) < JobId::new(at(early + late), b));
        }

        #[test]
        fn partitions_of_different_parts_differ(a in "[A-Za-z0-9_-]{1,64}", b in "[A-Za-z0-9_-]{1,64}") {
            let partition = |tenant: &str, environment| Partition { tenant: tenant.parse().unwrap(), environment };
            let text = partition(&a, Environment::Test).to_string();
            prop_assert_eq!(text.parse(), Ok(partition(&a, Environment::Test)));
            prop_assert_eq!(a == b, text == partition(&b, Environment::Test).to_string());
            prop_assert_ne!(text, partition(&b, Environment::Live).to_string());
        }
    }
}
