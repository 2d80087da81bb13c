//! What is wrong with no record, and can hardly be meant.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use records::{Member, Schema, ValueRule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Nobody who is treated today was born before.
const OLDEST: &str = "1850";

/// What is told of values that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// A date before 1850.
    Ancient,
    /// A birth or death that is still to come.
    Future,
    /// A text that looks like a number in another notation.
    NumberAsText,
    /// A quoted cell that may be several rows.
    SwallowedRows,
    /// A reference of a resource that names no type and id.
    LeadsNowhere,
}

impl Doubt {
    /// What is said of such records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ancient => "dates before 1850",
            Self::Future => "dates in the future",
            Self::SwallowedRows => "go over lines and hold as many delimiters as a row: a stray quote would do that",
            Self::LeadsNowhere => "lead nowhere: they name no type and id, or an address that is not there",
            Self::NumberAsText => {
                "texts that look like numbers (a map's decimal and thousands say how a file writes them)"
            }
        }
    }
}

/// Finds the dates of a type's records that can hardly be meant.
pub(crate) struct DoubtfulDates {
    /// The first day that is certainly not over anywhere.
    tomorrow: String,
    /// Whether the type has births or deaths.
    has_past: bool,
}

impl DoubtfulDates {
    pub(crate) fn of(schema: &Schema) -> Self {
        let tomorrow = (Timestamp::now() + 24.hours()).to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string();
        Self { tomorrow, has_past: schema.members().iter().any(holds_past) }
    }

    /// The fields of a valid record that hold such a date.
    pub(crate) fn find(&self, schema: &Schema, record: &[u8]) -> Vec<(String, Doubt)> {
        let mut found = Vec::new();
        // Hardly any record has one, and most need no closer look.
        if self.may_have_one(record)
            && let Ok(Value::Object(members)) = serde_json::from_slice(record)
        {
            for (name, value) in &members {
                if let Some(member) = schema.members().iter().find(|member| member.name == *name) {
                    self.look(name, name, &member.rule, value, &mut found);
                }
            }
        }
        // A record counts once for a field, however often it has it.
        found.sort();
        found.dedup();
        found
    }

    /// Whether any text begins with such a year: few texts begin with such a digit, so every record is looked at quickly.
    fn may_have_one(&self, record: &[u8]) -> bool {
        let this_year = self.tomorrow.get(..4).unwrap_or_default().as_bytes();
        let begins: &[&[u8]] = if self.has_past { &[b"\"0", b"\"1", b"\"2"] } else { &[b"\"0", b"\"1"] };
        begins.iter().flat_map(|digit| memchr::memmem::find_iter(record, digit)).any(|quote| {
            let Some((year, [b'-' | b'"'])) =
                record.get(quote + 1..quote + 6).and_then(|text| text.split_at_checked(4))
            else {
                return false;
            };
            let is_year = year.iter().all(u8::is_ascii_digit);
            is_year && (year < OLDEST.as_bytes() || (self.has_past && year >= this_year))
        })
    }

    fn look(&self, name: &str, path: &str, rule: &ValueRule, value: &Value, found: &mut Vec<(String, Doubt)>) {
        match value {
            Value::String(text) if is_date(name, rule) => {
                found.extend(self.doubt(name, text).map(|doubt| (path.to_owned(), doubt)));
            }
            Value::Array(items) => {
                for (item, rule) in items.iter().zip(std::iter::repeat(rule.items())) {
                    if let Some(rule) = rule {
                        self.look(name, &format!("{path}[]"), rule, item, found);
                    }
                }
            }
            Value::Object(members) => {
                for member in rule.members() {
                    if let Some(value) = members.get(&member.name) {
                        self.look(&member.name, &format!("{path}.{}", member.name), &member.rule, value, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn doubt(&self, name: &str, text: &str) -> Option<Doubt> {
        let (year, rest) = text.split_at_checked(4)?;
        let is_date = year.bytes().all(|byte| byte.is_ascii_digit()) && (rest.is_empty() || rest.starts_with('-'));
        if !is_date {
            return None;
        }
        if year < OLDEST {
            return Some(Doubt::Ancient);
        }
        let day = text.get(..self.tomorrow.len().min(text.len()))?;
        (is_past(name) && day > self.tomorrow.as_str()).then_some(Doubt::Future)
    }
}

/// Whether a text is a date: by its format, or by its name alone, as `onsetDateTime` of conditions.
fn is_date(name: &str, rule: &ValueRule) -> bool {
    matches!(rule.format(), Some("date" | "date-time"))
        || (rule.format().is_none() && (name.ends_with("DateTime") || name.ends_with("Date")))
}

/// Whether a member is of what has happened: a birth, a death.
fn is_past(name: &str) -> bool {
    let name = name.to_lowercase();
    ["birth", "born", "deceased", "death", "died"].iter().any(|word| name.contains(word))
}

fn holds_past(member: &Member) -> bool {
    let rule = member.rule.items().unwrap_or(&member.rule);
    is_past(&member.name) || rule.members().iter().any(holds_past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::ResourceType;

    #[test]
    fn dates_that_can_hardly_be_meant_are_found_wherever_they_stand() {
        let find = |resource_type: ResourceType, record: &str| {
            let schema = resource_type.schema();
            DoubtfulDates::of(&schema).find(&schema, record.as_bytes())
        };
        let ancient = |path: &str| vec![(path.to_owned(), Doubt::Ancient)];
        let future = |path: &str| vec![(path.to_owned(), Doubt::Future)];
        assert_eq!(find(ResourceType::Patient, r#"{"birthDate":"0190-01-15"}"#), ancient("birthDate"));
        assert_eq!(find(ResourceType::Patient, r#"{"birthDate":"2990"}"#), future("birthDate"));
        assert_eq!(find(ResourceType::Condition, r#"{"onsetDateTime":"1809-02-12"}"#), ancient("onsetDateTime"));
        let member = r#"{"period":{"start":"1700-01-01T00:00:00Z"},"note":["1700-01-01"]}"#;
        assert_eq!(find(ResourceType::Encounter, member), ancient("period.start"));
        for fine in [r#"{"birthDate":"1990-01-15","note":"1234 and so on","id":"1234"}"#, "{}", r#"{"birthDate":""}"#] {
            assert_eq!(find(ResourceType::Patient, fine), [], "{fine}");
        }
        let family = r#"{"bornDate":"2900-01-01","note":[]}"#;
        assert_eq!(find(ResourceType::FamilyMemberHistory, family), future("bornDate"));
        let twice = r#"{"target":[{"dueDate":"1700-01-01"},{"dueDate":"1701-01-01"}]}"#;
        assert_eq!(find(ResourceType::Goal, twice), ancient("target[].dueDate"));
        // What is planned may be to come.
        assert_eq!(find(ResourceType::Encounter, r#"{"period":{"start":"9000-01-01T00:00:00Z"}}"#), []);
    }
}
