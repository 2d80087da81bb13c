//! Up to where everything is written, when groups end out of order.

use std::collections::VecDeque;

use model::Progress;

/// The groups that are written, in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// The number of the first group that has not ended.
    first: u64,
    groups: VecDeque<(Progress, bool)>,
    reached: Option<Progress>,
}

impl Watermark {
    /// A group begins; once it and all before it have ended, this progress is reached. Returns its number.
    pub(super) fn begin(&mut self, progress: Progress) -> u64 {
        self.groups.push_back((progress, false));
        self.first + self.groups.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64) {
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if let Some((_, ended)) = self.groups.get_mut(index) {
            *ended = true;
        }
        while let Some((progress, _)) = self.groups.pop_front_if(|(_, ended)| *ended) {
            self.first += 1;
            self.reached = Some(progress);
        }
    }

    /// Up to where all groups have ended; `None` while the first is under way.
    pub(super) fn reached(&self) -> Option<Progress> {
        self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn progress(processed: u64) -> Progress {
        Progress { processed, ..Progress::default() }
    }

    proptest! {
        #[test]
        fn the_watermark_is_before_the_first_group_under_way(
            order in Just((0usize..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut watermark = Watermark::default();
            let numbers: Vec<_> = (0..12).map(|number| watermark.begin(progress(number))).collect();
            let mut ended = [false; 12];
            for number in order {
                watermark.end(numbers[number]);
                ended[number] = true;
                let expected = ended.iter().take_while(|ended| **ended).count().checked_sub(1);
                prop_assert_eq!(watermark.reached(), expected.map(|last| progress(last as u64)));
            }
        }
    }
}
