//! From a batch's lines back to the sources'.

use std::path::Path;

use anyhow::Result;

use crate::place::Place;

/// Where each line of a batch comes from: runs of neighbouring lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LineMap {
    runs: Vec<Run>,
    next: u64,
}

/// Line `first` of the batch, and the ones behind it, begin at `place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    place: Place,
}

impl LineMap {
    /// The next line of the batch.
    pub(crate) fn push(&mut self, place: Place) {
        let continues = self.runs.last().is_some_and(|run| {
            run.place.source == place.source && run.place.line + (self.next + 1 - run.first) == place.line
        });
        self.next += 1;
        if !continues {
            self.runs.push(Run { first: self.next, place });
        }
    }

    /// Where a line of the batch, from 1, comes from.
    pub(crate) fn place(&self, line: u64) -> Option<Place> {
        let run = self.runs.partition_point(|run| run.first <= line).checked_sub(1)?;
        let run = self.runs.get(run).filter(|_| line <= self.next)?;
        Some(Place { line: run.place.line + (line - run.first), ..run.place })
    }

    pub(crate) fn store(&self, path: &Path) -> Result<()> {
        let runs: Vec<_> = self.runs.iter().map(|run| (run.first, run.place.source, run.place.line)).collect();
        files::replace(path, &serde_json::to_vec(&(self.next, runs))?)
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let (next, runs): (u64, Vec<(u64, usize, u64)>) = files::read_json(path)?;
        let run = |(first, source, line)| Run { first, place: Place { source, line } };
        Ok(Self { runs: runs.into_iter().map(run).collect(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_back_to_their_sources() {
        let places = [(0, 1), (0, 2), (0, 5), (1, 1), (1, 2), (1, 3), (1, 9)];
        let mut map = LineMap::default();
        for (source, line) in places {
            map.push(Place { source, line });
        }
        assert_eq!(map.runs.len(), 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        map.store(&path).unwrap();
        let map = LineMap::load(&path).unwrap();
        for (line, (source, of)) in (1..).zip(places) {
            assert_eq!(map.place(line), Some(Place { source, line: of }), "line {line}");
        }
        assert_eq!((map.place(0), map.place(8)), (None, None));
    }
}
