//! Plans, their limits, and the pools that calls are counted in (numbers: README, "Calling it").

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::ids::{Environment, InvalidText, TenantId};

/// What a tenant pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    Sandbox,
    Starter,
    Pro,
    Team,
    Enterprise,
}

impl Plan {
    /// Every plan, smallest first.
    pub const ALL: [Self; 5] = [Self::Sandbox, Self::Starter, Self::Pro, Self::Team, Self::Enterprise];

    /// The plan's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Starter => "starter",
            Self::Pro => "pro",
            Self::Team => "team",
            Self::Enterprise => "enterprise",
        }
    }

    /// Calls a minute, by all keys of the tenant together.
    #[must_use]
    pub fn per_minute(self) -> u64 {
        match self {
            Self::Sandbox => 100,
            Self::Starter => 200,
            Self::Pro => 1_000,
            Self::Team => 5_000,
            Self::Enterprise => 10_000,
        }
    }

    /// Requests a month in one pool; `None` is unlimited.
    #[must_use]
    pub fn per_month(self) -> Option<u64> {
        match self {
            Self::Sandbox => Some(1_000),
            Self::Starter => Some(60_000),
            Self::Pro => Some(600_000),
            Self::Team => Some(3_000_000),
            Self::Enterprise => None,
        }
    }

    /// The pool that calls of an environment are counted in. The sandbox plan has one for both.
    #[must_use]
    pub fn pool(self, environment: Environment) -> Pool {
        match (self, environment) {
            (Self::Sandbox, _) => Pool::Shared,
            (_, Environment::Live) => Pool::Live,
            (_, Environment::Test) => Pool::Test,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let rule = InvalidText("a plan is sandbox, starter, pro, team or enterprise");
        Self::ALL.into_iter().find(|plan| plan.as_str() == text).ok_or(rule)
    }
}

/// A month's counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Live traffic.
    Live,
    /// Test traffic.
    Test,
    /// Both, on the sandbox plan.
    Shared,
}

impl Pool {
    /// The pool's name in a key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
            Self::Shared => "shared",
        }
    }
}

/// The bulk operations an hour of a tenant for which nothing else is set.
pub const DEFAULT_BULK_OPERATIONS_PER_HOUR: u32 = 5;

/// The most bulk operations an hour that can be set: the window's item holds one entry for each.
pub const MAX_BULK_OPERATIONS_PER_HOUR: u32 = 1_000;

/// What is kept about a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Who it is.
    pub id: TenantId,
    /// What is paid for.
    pub plan: Plan,
    /// Imports and exports together, in any rolling hour.
    pub bulk_operations_per_hour: u32,
    /// Whether live traffic may pass the month's limit. Has no effect on the sandbox plan.
    pub overage: bool,
}

impl Tenant {
    /// The month's limit that refuses calls of an environment; `None` where nothing is refused.
    #[must_use]
    pub fn refusing_limit(&self, environment: Environment) -> Option<u64> {
        let overruns = self.overage && self.plan != Plan::Sandbox && environment == Environment::Live;
        self.plan.per_month().filter(|_| !overruns)
    }
}

/// A calendar month in UTC, `yyyy-mm`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Month(String);

impl Month {
    /// The month of a moment.
    #[must_use]
    pub fn of(now: Timestamp) -> Self {
        Self(now.strftime("%Y-%m").to_string())
    }

    /// From when on the month's counters may be forgotten: more than a year later, for the bookkeepers.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        format!("{}-01", self.0)
            .parse::<Date>()
            .ok()
            .and_then(|first| first.checked_add(14.months()).ok())
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map_or(Timestamp::MAX, |moment| moment.timestamp())
    }

    /// The month as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first moment of the next month, UTC: when the month's counters start anew.
#[must_use]
pub fn next_month(now: Timestamp) -> Timestamp {
    let today = now.to_zoned(TimeZone::UTC).date();
    today
        .first_of_month()
        .checked_add(1.month())
        .and_then(|first| first.to_zoned(TimeZone::UTC))
        .map_or(now, |first| first.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_roll_over_in_utc() {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(Month::of(moment("2025-12-31T23:59:59.999Z")).as_str(), "2025-12");
        assert_eq!(Month::of(moment("2026-01-01T00:30:00+01:00")).as_str(), "2025-12");
        assert_eq!(next_month(moment("2025-12-31T23:59:59Z")), moment("2026-01-01T00:00:00Z"));
        assert_eq!(next_month(moment("2024-01-31T10:00:00Z")), moment("2024-02-01T00:00:00Z"));
        let forget_at = Month::of(moment("2025-12-31T10:00:00Z")).forget_at();
        assert_eq!(forget_at, moment("2027-02-01T00:00:00Z"));
    }

    #[test]
    fn overage_frees_live_traffic_of_paying_plans_only() {
        let tenant = |plan, overage| Tenant { id: "t".parse().unwrap(), plan, bulk_operations_per_hour: 5, overage };
        assert_eq!(tenant(Plan::Pro, true).refusing_limit(Environment::Live), None);
        assert_eq!(tenant(Plan::Pro, true).refusing_limit(Environment::Test), Some(600_000));
        assert_eq!(tenant(Plan::Pro, false).refusing_limit(Environment::Live), Some(600_000));
        assert_eq!(tenant(Plan::Sandbox, true).refusing_limit(Environment::Live), Some(1_000));
        assert_eq!(tenant(Plan::Enterprise, false).refusing_limit(Environment::Test), None);
    }
}
