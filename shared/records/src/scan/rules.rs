//! Validates values by the rules of their type.

use std::borrow::Cow;

use super::Scan;
use super::grammar::Invalid;
use super::report::Segment;
use crate::decimal::Decimal;
use crate::schema::{ArrayRule, NumberRule, ObjectRule, StringRule, ValueRule};
use crate::text::Text;
use crate::violation::ViolationCode;

/// More names than this in one object are told apart by sorting, not pair by pair.
const FEW_NAMES: usize = 16;

/// An object with rules whose members are being read.
pub(super) struct OpenObject<'a> {
    rule: &'a ObjectRule,
    /// One bit a member of the rule.
    seen: u64,
    own_names: usize,
}

impl<'a> OpenObject<'a> {
    pub(super) fn new(rule: &'a ObjectRule, own_names: usize) -> Self {
        Self { rule, seen: 0, own_names }
    }
}

impl<'a> Scan<'a> {
    /// Reads one member's value: validated when the object has a rule for the name, else only skipped.
    pub(super) fn member(&mut self, object: &mut OpenObject<'a>, name: Cow<'a, str>) -> Result<(), Invalid> {
        let Some((index, member)) = object.rule.find(&name) else {
            self.names.push(name);
            return self.skip();
        };
        self.report.enter(Segment::Member(&member.name));
        let bit = 1u64 << index;
        if object.seen & bit != 0 {
            self.report.duplicate_member();
        }
        object.seen |= bit;
        if member.required && self.cursor.peek() == Some(b'n') {
            self.cursor.literal("null")?;
            self.report.violation(ViolationCode::Required, "Required");
        } else {
            self.value(&member.rule)?;
        }
        self.report.leave();
        Ok(())
    }

    /// Ends an object: what is missing, and what is there twice.
    pub(super) fn close(&mut self, object: &OpenObject<'a>) {
        let missing = object.rule.required & !object.seen;
        if missing != 0 {
            self.report_missing(object.rule, missing);
        }
        if self.names.len() > object.own_names {
            self.close_names(object.own_names);
        }
    }

    #[cold]
    fn report_missing(&mut self, rule: &'a ObjectRule, missing: u64) {
        for (index, member) in rule.members.iter().enumerate() {
            if missing & (1u64 << index) != 0 {
                self.report.enter(Segment::Member(&member.name));
                self.report.violation(ViolationCode::Required, "Required");
                self.report.leave();
            }
        }
    }

    /// Ends an object's names without a rule: one violation for each name that stands more than once.
    pub(super) fn close_names(&mut self, own_names: usize) {
        let names = self.names.get_mut(own_names..).unwrap_or_default();
        let duplicates = if names.len() <= FEW_NAMES {
            let stands_before =
                |(index, name): &(usize, &Cow<'_, str>)| names.iter().take(*index).any(|earlier| earlier == *name);
            names.iter().enumerate().filter(stands_before).count()
        } else {
            names.sort_unstable();
            names.array_windows().filter(|[a, b]| a == b).count()
        };
        for _ in 0..duplicates {
            self.report.duplicate_member();
        }
        self.names.truncate(own_names);
    }

    fn value(&mut self, rule: &'a ValueRule) -> Result<(), Invalid> {
        match self.cursor.peek() {
            Some(b'"') => match &rule.string {
                Some(string) => {
                    let text = self.cursor.string()?;
                    self.validate_string(string, text);
                    Ok(())
                }
                None => self.wrong_type(rule),
            },
            Some(b'{') => match &rule.object {
                Some(object) => {
                    let mut object = OpenObject::new(object, self.names.len());
                    self.members(|scan, name, _| scan.member(&mut object, name))?;
                    self.close(&object);
                    Ok(())
                }
                None => self.wrong_type(rule),
            },
            Some(b'[') => match &rule.array {
                Some(array) => self.array(array),
                None => self.wrong_type(rule),
            },
            Some(b'-' | b'0'..=b'9') => match &rule.number {
                Some(number) => {
                    let text = self.cursor.number()?;
                    self.validate_number(number, text);
                    Ok(())
                }
                None => self.wrong_type(rule),
            },
            Some(b't' | b'f') if rule.boolean => self.skip(),
            Some(b'n') if rule.null => self.skip(),
            _ => self.wrong_type(rule),
        }
    }

    #[cold]
    fn wrong_type(&mut self, rule: &ValueRule) -> Result<(), Invalid> {
        self.skip()?;
        self.report.violation(ViolationCode::Type, &format!("Expected {}", rule.expected()));
        Ok(())
    }

    fn array(&mut self, rule: &'a ArrayRule) -> Result<(), Invalid> {
        let count = self.items(|scan, index| {
            scan.report.enter(Segment::Item(index));
            scan.value(&rule.items)?;
            scan.report.leave();
            Ok(())
        })?;
        if count < rule.min_items {
            let message = match rule.min_items {
                1 => "Must not be empty".to_owned(),
                least => format!("Must have at least {least} items"),
            };
            self.report.violation(ViolationCode::MinItems, &message);
        }
        if let Some(most) = rule.max_items.filter(|most| count > *most) {
            self.report.violation(ViolationCode::MaxItems, &format!("Must have at most {most} items"));
        }
        Ok(())
    }

    fn validate_string(&mut self, rule: &StringRule, text: Text<'a>) {
        if rule.min_length && text.is_empty() {
            self.report.violation(ViolationCode::MinLength, "Must not be empty");
        }
        if let Some(most) = rule.max_length.filter(|most| text.is_longer_than(*most)) {
            self.report.violation(ViolationCode::MaxLength, &format!("Must be at most {most} characters"));
        }
        if let Some(options) = &rule.options {
            let value = text.unescape();
            if options.iter().all(|option| *option != value) {
                self.report.violation(ViolationCode::Enum, &format!("Must be one of {}", options.join(", ")));
            }
        }
        if let Some(format) = rule.format.filter(|format| !(format.matches)(&text.unescape())) {
            self.report.violation(ViolationCode::Format, &format!("Invalid {}", format.label()));
        }
    }

    fn validate_number(&mut self, rule: &NumberRule, text: &str) {
        if !rule.integer && rule.minimum.is_none() && rule.maximum.is_none() {
            return;
        }
        let value = Decimal::of(text);
        if rule.integer && !value.is_whole {
            self.report.violation(ViolationCode::Type, "Expected integer");
        }
        if let Some(least) = rule.minimum.filter(|least| value.is_below(*least)) {
            self.report.violation(ViolationCode::Minimum, &format!("Must be at least {least}"));
        }
        if let Some(most) = rule.maximum.filter(|most| value.is_above(*most)) {
            self.report.violation(ViolationCode::Maximum, &format!("Must be at most {most}"));
        }
    }
}
