//! The chunks of a file: objects of their own, of which it is put together in the end.

use serde::{Deserialize, Serialize};

use super::ObjectKey;
use crate::ids::{JobId, Partition, Token};

/// The most chunks of a file: S3 takes so many parts (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MAX_CHUNKS: u32 = 10_000;

/// After so many chunks of a file each further one is twice as large; three times.
const CHUNKS_OF_A_SIZE: u32 = 1_000;

/// The size of chunks, in bytes. Tests make it small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(u64);

impl ChunkSize {
    /// Chunks of so many bytes at first.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size of the chunk with this number: 10,000 chunks hold 500 GB.
    #[must_use]
    pub fn of(self, number: u32) -> u64 {
        self.0 << (number.saturating_sub(1) / CHUNKS_OF_A_SIZE).min(3)
    }
}

impl Default for ChunkSize {
    fn default() -> Self {
        Self::new(8 << 20)
    }
}

/// Which file of which job, as the keys of its chunks name it.
#[derive(Debug, Clone)]
pub struct FileName {
    pub partition: Partition,
    pub job: JobId,
    /// Tells the files of a job apart.
    pub file: String,
}

/// An unbroken run of chunks by one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    token: Token,
    first: u32,
    last: u32,
}

/// The chunks of a file that have arrived, from the first one on without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chunks {
    runs: Vec<Run>,
}

impl Chunks {
    /// How many there are, which is the number of the last one.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.last)
    }

    /// The next one has arrived, under the lease of that token.
    pub fn push(&mut self, token: &Token) {
        let number = self.count() + 1;
        match self.runs.last_mut().filter(|run| run.token == *token) {
            Some(run) => run.last = number,
            None => self.runs.push(Run { token: token.clone(), first: number, last: number }),
        }
    }

    /// The key of a chunk, by its number from 1.
    #[must_use]
    pub fn key(&self, name: &FileName, number: u32) -> Option<ObjectKey> {
        let run = self.runs.iter().find(|run| (run.first..=run.last).contains(&number))?;
        Some(ObjectKey::chunk(name, &run.token, Some(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_named_by_runs() {
        let mut chunks = Chunks::default();
        let tokens = [Token::new(1), Token::new(2)];
        for token in [0, 0, 1, 1, 1, 0] {
            chunks.push(&tokens[token]);
        }
        assert_eq!((chunks.count(), chunks.runs.len()), (6, 3));
        let name = FileName {
            partition: "clinic#live".parse().unwrap(),
            job: JobId::new(jiff::Timestamp::UNIX_EPOCH, 0),
            file: "0".to_owned(),
        };
        for (number, token) in [(1, 0), (2, 0), (3, 1), (5, 1), (6, 0)] {
            assert_eq!(chunks.key(&name, number), Some(ObjectKey::chunk(&name, &tokens[token], Some(number))));
        }
        assert_eq!((chunks.key(&name, 0), chunks.key(&name, 7)), (None, None));
    }

    #[test]
    fn ten_thousand_chunks_hold_half_a_terabyte() {
        let size = ChunkSize::default();
        assert_eq!([1, 1_000, 1_001, 2_001, 3_001, 10_000].map(|number| size.of(number) >> 20), [8, 8, 16, 32, 64, 64]);
        let all: u64 = (1..=MAX_CHUNKS).map(|number| size.of(number)).sum();
        assert!(all > 500_000_000_000 && all < 5 << 40, "and S3 takes objects of 5 TiB");
    }
}
