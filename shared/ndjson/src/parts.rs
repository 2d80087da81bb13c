//! Push bytes, pull parts of one size.

use bytes::{Bytes, BytesMut};

/// Rolls pushed bytes into parts of exactly `part_size` bytes; what is left at the end is the tail.
#[derive(Debug)]
pub struct PartRoller {
    part_size: usize,
    buffer: BytesMut,
}

impl PartRoller {
    /// A roller that cuts parts of `part_size` bytes (at least 1).
    #[must_use]
    pub fn new(part_size: usize) -> Self {
        Self { part_size: part_size.max(1), buffer: BytesMut::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next full part, or `None` while less than one is held.
    pub fn next_part(&mut self) -> Option<Bytes> {
        (self.buffer.len() >= self.part_size).then(|| self.buffer.split_to(self.part_size).freeze())
    }

    /// What is held beyond the full parts.
    #[must_use]
    pub fn into_tail(self) -> Bytes {
        self.buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_full_and_nothing_is_lost(
            pushes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            part_size in 1usize..50,
        ) {
            let mut roller = PartRoller::new(part_size);
            let mut out = Vec::new();
            for push in &pushes {
                roller.push(push);
                while let Some(part) = roller.next_part() {
                    prop_assert_eq!(part.len(), part_size);
                    out.extend_from_slice(&part);
                }
            }
            let tail = roller.into_tail();
            prop_assert!(tail.len() < part_size);
            out.extend_from_slice(&tail);
            prop_assert_eq!(out, pushes.concat());
        }
    }
}
