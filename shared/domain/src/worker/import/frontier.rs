//! Up to where everything is written, when batches end out of order.

use std::collections::VecDeque;

use crate::job::Progress;

/// The batches under way, in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    /// The ticket of the first batch that has not ended.
    first: u64,
    batches: VecDeque<(Progress, bool)>,
    reached: Option<Progress>,
}

impl Frontier {
    /// A batch begins; once it and all before it have ended, `upto` is reached. Returns its ticket.
    pub(super) fn begin(&mut self, upto: Progress) -> u64 {
        self.batches.push_back((upto, false));
        self.first + self.batches.len() as u64 - 1
    }

    /// The batch of that ticket has ended.
    pub(super) fn end(&mut self, ticket: u64) {
        let index = usize::try_from(ticket - self.first).unwrap_or(usize::MAX);
        if let Some((_, ended)) = self.batches.get_mut(index) {
            *ended = true;
        }
        while let Some((upto, _)) = self.batches.pop_front_if(|(_, ended)| *ended) {
            self.first += 1;
            self.reached = Some(upto);
        }
    }

    /// Up to where all batches have ended; `None` while the first is under way.
    pub(super) fn reached(&self) -> Option<Progress> {
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn upto(processed: u64) -> Progress {
        Progress { processed, ..Progress::default() }
    }

    proptest! {
        #[test]
        fn the_frontier_is_before_the_first_batch_under_way(
            order in Just((0usize..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut frontier = Frontier::default();
            let tickets: Vec<_> = (0..12).map(|number| frontier.begin(upto(number))).collect();
            let mut ended = [false; 12];
            for number in order {
                frontier.end(tickets[number]);
                ended[number] = true;
                let expected = ended.iter().take_while(|ended| **ended).count().checked_sub(1);
                prop_assert_eq!(frontier.reached(), expected.map(|last| upto(last as u64)));
            }
        }
    }
}
