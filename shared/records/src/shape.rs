//! A type's rules as data, for programs that prepare records: which members there are, and what each may be.

use crate::schema::{MemberRule, ObjectRule, Rule, Schema};

/// A member that a type defines.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a>(&'a MemberRule);

/// What a value may be: at most one rule per JSON type.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a>(&'a Rule);

/// Which kind of number a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// Whole numbers only.
    Integer,
    /// Any number.
    Number,
}

impl Schema {
    /// The members that the type defines, in the order of their names; `resourceType`, `id` and `meta` are not among them.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        members_of(&self.root)
    }
}

impl<'a> Member<'a> {
    /// The member's name.
    #[must_use]
    pub fn name(self) -> &'a str {
        &self.0.name
    }

    /// Whether every object of its kind must have it.
    #[must_use]
    pub fn is_required(self) -> bool {
        self.0.required
    }

    /// What its value may be.
    #[must_use]
    pub fn shape(self) -> Shape<'a> {
        Shape(&self.0.rule)
    }
}

impl<'a> Shape<'a> {
    /// The JSON types that are taken, for people: `string or object`.
    #[must_use]
    pub fn expected(self) -> String {
        self.0.expected()
    }

    /// Whether a string is taken.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.string.is_some()
    }

    /// Whether `true` and `false` are taken.
    #[must_use]
    pub fn is_boolean(self) -> bool {
        self.0.boolean
    }

    /// Which numbers are taken, if any.
    #[must_use]
    pub fn number(self) -> Option<NumberKind> {
        let kind = |integer| if integer { NumberKind::Integer } else { NumberKind::Number };
        self.0.number.as_ref().map(|number| kind(number.integer))
    }

    /// The least and the greatest number.
    #[must_use]
    pub fn range(self) -> (Option<i64>, Option<i64>) {
        self.0.number.as_ref().map_or((None, None), |number| (number.minimum, number.maximum))
    }

    /// The strings that are allowed; `None` when any is.
    #[must_use]
    pub fn options(self) -> Option<&'a [String]> {
        self.0.string.as_ref()?.options.as_deref()
    }

    /// The format of the string: `date-time`, `date`, `time`, `email` or `uri`.
    #[must_use]
    pub fn format(self) -> Option<&'static str> {
        self.0.string.as_ref()?.format.map(crate::format::Format::label)
    }

    /// The most UTF-16 code units of the string.
    #[must_use]
    pub fn max_length(self) -> Option<usize> {
        self.0.string.as_ref()?.max_length
    }

    /// What an array's items may be; `None` when no array is taken.
    #[must_use]
    pub fn items(self) -> Option<Shape<'a>> {
        self.0.array.as_ref().map(|array| Shape(&array.items))
    }

    /// The most items of the array.
    #[must_use]
    pub fn max_items(self) -> Option<usize> {
        self.0.array.as_ref()?.max_items
    }

    /// The members of an object; `None` when no object is taken.
    #[must_use]
    pub fn members(self) -> Option<impl Iterator<Item = Member<'a>>> {
        self.0.object.as_ref().map(members_of)
    }
}

fn members_of(rule: &ObjectRule) -> impl Iterator<Item = Member<'_>> {
    rule.members.iter().map(Member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceType;

    #[test]
    fn a_patient_is_described() {
        let schema = ResourceType::Patient.schema().unwrap();
        let find = |name: &str| schema.members().find(|member| member.name() == name).unwrap();
        assert!(find("firstName").is_required() && !find("gender").is_required());
        assert_eq!(find("firstName").shape().max_length(), Some(100));
        assert_eq!(find("gender").shape().options().unwrap(), ["male", "female", "other", "unknown"]);
        assert_eq!(find("birthDate").shape().format(), Some("date"));
        let contact = find("contact").shape();
        assert_eq!((contact.is_string(), contact.max_items()), (false, Some(10)));
        let languages = find("languages").shape().items().unwrap();
        let preferred = languages.members().unwrap().find(|member| member.name() == "preferred").unwrap();
        assert!(preferred.shape().is_boolean() && preferred.shape().number().is_none());
    }

    #[test]
    fn numbers_tell_their_kind_and_range() {
        let schema = ResourceType::Appointment.schema().unwrap();
        let integers = schema.members().filter(|member| member.shape().number() == Some(NumberKind::Integer));
        assert!(integers.count() > 0);
        let ranges = ResourceType::ALL.iter().flat_map(|known| {
            let schema = known.schema().unwrap();
            schema.members().map(|member| member.shape().range()).collect::<Vec<_>>()
        });
        assert!(ranges.into_iter().any(|(least, most)| least.is_some() && most.is_some()));
    }
}
