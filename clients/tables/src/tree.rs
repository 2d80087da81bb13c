//! The form of a record: which fills make which part of it.

use std::mem::discriminant;

use super::fields::Step;

/// A place in the record, and what fills it.
#[derive(Debug)]
pub(super) enum Node {
    /// The fills with these indices, one of which may have a value.
    Leaf(Vec<usize>),
    /// The members of an object, or the items of an array.
    Parts(Vec<(Step, Node)>),
}

impl Node {
    /// Puts a fill at a path; an error where another field fills a part of it, or it a part of another.
    pub(super) fn insert(&mut self, path: &[Step], fill: usize) -> Result<(), ()> {
        match (self, path) {
            // Several columns may fill one field, if never in one row.
            (Self::Leaf(fills), []) => {
                fills.push(fill);
                Ok(())
            }
            (Self::Parts(parts), [step, rest @ ..]) => {
                if parts.iter().any(|(known, _)| discriminant(known) != discriminant(step)) {
                    return Err(());
                }
                if !parts.iter().any(|(known, _)| known == step) {
                    let part = if rest.is_empty() { Self::Leaf(Vec::new()) } else { Self::Parts(Vec::new()) };
                    parts.push((step.clone(), part));
                }
                let part = parts.iter_mut().find(|(known, _)| known == step);
                part.ok_or(())?.1.insert(rest, fill)
            }
            _ => Err(()),
        }
    }

    /// Whether something is so of the fills of any leaf.
    pub(super) fn any_leaf(&self, is_so: &dyn Fn(&[usize]) -> bool) -> bool {
        match self {
            Self::Leaf(fills) => is_so(fills),
            Self::Parts(parts) => parts.iter().any(|(_, part)| part.any_leaf(is_so)),
        }
    }

    /// Items come in the order of their indices, whatever the columns' order; members in that of the columns.
    pub(super) fn sort(&mut self) {
        let Self::Parts(parts) = self else { return };
        parts.sort_by_key(|(step, _)| match step {
            Step::Item(index) => *index,
            Step::Member(_) => 0,
        });
        for (_, part) in parts {
            part.sort();
        }
    }
}
