//! The form of a record: which fills make which part of it.

use super::fields::Step;

/// A place in the record, and what fills it.
#[derive(Debug)]
pub(super) enum Node {
    /// The fills with these indices, one of which may have a value.
    Leaf(Vec<usize>),
    Object(Vec<(String, Node)>),
    Array(Vec<(usize, Node)>),
}

impl Node {
    /// Puts a fill at a path; an error where another field fills a part of it, or it a part of another.
    pub(super) fn insert(&mut self, path: &[Step], fill: usize) -> Result<(), ()> {
        let Some((step, rest)) = path.split_first() else {
            // Several columns may fill one field, if never in one row.
            return match self {
                Self::Leaf(fills) => {
                    fills.push(fill);
                    Ok(())
                }
                Self::Object(_) | Self::Array(_) => Err(()),
            };
        };
        let child = match (self, step) {
            (Self::Object(members), Step::Member(name)) => {
                if !members.iter().any(|(known, _)| known == name) {
                    members.push((name.clone(), Self::empty(rest)));
                }
                members.iter_mut().find(|(known, _)| known == name).map(|(_, node)| node)
            }
            (Self::Array(items), Step::Item(index)) => {
                if !items.iter().any(|(known, _)| known == index) {
                    items.push((*index, Self::empty(rest)));
                }
                items.iter_mut().find(|(known, _)| known == index).map(|(_, node)| node)
            }
            _ => None,
        };
        child.ok_or(())?.insert(rest, fill)
    }

    /// A new node for the rest of a path.
    fn empty(rest: &[Step]) -> Self {
        match rest.first() {
            None => Self::Leaf(Vec::new()),
            Some(Step::Member(_)) => Self::Object(Vec::new()),
            Some(Step::Item(_)) => Self::Array(Vec::new()),
        }
    }

    pub(super) fn each_leaf(&self, see: &mut dyn FnMut(&[usize])) {
        match self {
            Self::Leaf(fills) => see(fills),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.each_leaf(see)),
            Self::Array(items) => items.iter().for_each(|(_, item)| item.each_leaf(see)),
        }
    }

    /// Items come in the order of their indices, whatever the columns' order.
    pub(super) fn sort(&mut self) {
        match self {
            Self::Leaf(_) => {}
            Self::Object(members) => {
                for (_, member) in members {
                    member.sort();
                }
            }
            Self::Array(items) => {
                items.sort_by_key(|(index, _)| *index);
                for (_, item) in items {
                    item.sort();
                }
            }
        }
    }
}
