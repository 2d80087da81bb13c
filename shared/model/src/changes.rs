//! Where records lie and when they were written or deleted: shards, the change log and its stamps.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use records::{RecordId, ResourceType};
use serde::{Deserialize, Serialize};

use crate::ids::InvalidText;

/// In how many shards the records of one type and partition are spread. A partition of `DynamoDB`
/// takes 1,000 writes a second; so many times that is a type's limit.
pub const SHARDS: u8 = 16;

/// In how many logs the changes of one type and partition are spread.
pub const LOGS: u8 = 4;

/// How old a stamp may be when a write with it is tried.
pub const MAX_STAMP_AGE: Duration = Duration::from_secs(5);

/// For how long change items are kept.
pub const CHANGE_RETENTION: Duration = Duration::from_hours(92 * 24);

/// How far back the change log is trusted: items that TTL may be about to delete are not counted on.
pub const CHANGE_LOG_REACH: Duration = Duration::from_hours(90 * 24);

/// The shard of a record: fixed for ever, since records are found by it.
#[must_use]
pub fn shard_of(id: &RecordId) -> u8 {
    u8::try_from(crc32fast::hash(id.as_str().as_bytes()) % u32::from(SHARDS)).unwrap_or(0)
}

/// One of the 16 key ranges of a type's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard {
    pub resource_type: ResourceType,
    /// Below [`SHARDS`].
    pub number: u8,
}

impl Shard {
    pub fn all(resource_type: ResourceType) -> impl Iterator<Item = Self> {
        (0..SHARDS).map(move |number| Self { resource_type, number })
    }
}

/// One of the four logs of a type's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChangeLog {
    pub resource_type: ResourceType,
    /// Below [`LOGS`].
    pub number: u8,
}

impl ChangeLog {
    pub fn all(resource_type: ResourceType) -> impl Iterator<Item = Self> {
        (0..LOGS).map(move |number| Self { resource_type, number })
    }
}

/// When a group of records was written, in milliseconds, and random digits that tell groups of one millisecond
/// apart. The key of the group's change item, and kept with each of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stamp(u128);

/// So many random digits make it unlikely for 10,000 years that two groups of one log share a stamp.
const STAMP_DIGITS: u128 = 1_000_000_000_000;

impl Stamp {
    #[must_use]
    pub fn draw(now: Timestamp, random: u128) -> Self {
        Self(u128::try_from(now.as_millisecond()).unwrap_or(0) * STAMP_DIGITS + random % STAMP_DIGITS)
    }

    /// The last stamp of a millisecond.
    #[must_use]
    pub fn last_of(moment: Timestamp) -> Self {
        Self::draw(moment, STAMP_DIGITS - 1)
    }

    /// The first stamp of a millisecond.
    #[must_use]
    pub fn first_of(moment: Timestamp) -> Self {
        Self::draw(moment, 0)
    }

    /// The stamp that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// When the group was written, to the millisecond.
    #[must_use]
    pub fn moment(self) -> Timestamp {
        let milliseconds = i64::try_from(self.0 / STAMP_DIGITS).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }
}

/// 25 digits, which sort as the stamps do.
impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:025}", self.0)
    }
}

impl FromStr for Stamp {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        text.parse().map(Self).map_err(|_| InvalidText("a stamp is a number of up to 25 digits"))
    }
}

impl TryFrom<String> for Stamp {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> Self {
        stamp.to_string()
    }
}

/// Records that are written with one stamp, and the log that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeGroup {
    pub log: ChangeLog,
    pub stamp: Stamp,
}

impl ChangeGroup {
    #[must_use]
    pub fn draw(resource_type: ResourceType, now: Timestamp, random: u128) -> Self {
        let number = u8::try_from(random >> 64 & u128::from(LOGS - 1)).unwrap_or(0);
        Self { log: ChangeLog { resource_type, number }, stamp: Stamp::draw(now, random) }
    }
}

/// What a change item says: these records were written with this stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeItem {
    pub stamp: Stamp,
    pub ids: Vec<RecordId>,
}

/// What the item of a deletion says. It never expires, since an export may look back as far as it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub id: RecordId,
    /// Of the last time that the record was deleted.
    pub stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_pinned() {
        for (id, shard) in [("a", 3), ("r-1", 9), ("00000000-0000-0000-0000-000000000000", 9)] {
            assert_eq!(shard_of(&RecordId::try_from(id.to_owned()).unwrap()), shard, "{id}");
        }
    }

    #[test]
    fn stamps_sort_by_time_and_come_back_whole() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let stamp = Stamp::draw(at(1_768_468_500_123), u128::MAX);
        assert_eq!(stamp.to_string().len(), 25);
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        assert_eq!(stamp.moment(), at(1_768_468_500_123));
        assert!(Stamp::last_of(at(1_768_468_500_122)) < stamp);
        assert!(Stamp::first_of(at(1_768_468_500_123)) <= stamp && stamp <= Stamp::last_of(at(1_768_468_500_123)));
    }
}
