//! How an export's file is laid out: which segment reads which slices, and which part numbers are whose.

use std::ops::Range;

/// The most segments of one export: four outrun what one tenant's table and one file need.
pub const MAX_SEGMENTS: u8 = 4;

/// The part numbers of one segment. Four times as many leave room for closing parts below 10,000, S3's
/// limit (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const PARTS_PER_SEGMENT: u32 = 2_400;

/// The number of the closing part, behind those of all segments.
pub const CLOSING_PART: u32 = PARTS_PER_SEGMENT * MAX_SEGMENTS as u32 + 1;

/// Part numbers that one worker may have in use beyond the checkpoint; a take-over skips so many, since
/// a dead worker's uploads may still arrive.
pub const PARTS_AHEAD: u32 = 4;

/// A segment for every so many bytes: below, a second one costs more calls than it saves time.
const BYTES_PER_SEGMENT: u64 = 64 << 20;

/// What a record takes at least, when nothing better is known.
pub(crate) const LEAST_RECORD: u64 = 256;

/// The sizes that an export works with. Tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSizes {
    /// The size of a part, unless the export is so large that its parts must be larger.
    pub part: u64,
    /// The least size of every part but the last
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub least_part: u64,
    /// So many segments, instead of as many as the bytes suggest.
    pub segments: Option<u8>,
}

impl Default for ExportSizes {
    fn default() -> Self {
        Self { part: 8 << 20, least_part: 5 << 20, segments: None }
    }
}

/// The layout of one export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The slices of each segment, by their index.
    pub(crate) segments: Vec<Range<u32>>,
    /// The size of a part.
    pub(crate) part_size: u64,
}

impl Layout {
    /// Lays out an export of slices with so many bytes each.
    pub(crate) fn of(bytes: &[u64], sizes: ExportSizes) -> Self {
        let total: u64 = bytes.iter().sum();
        let wanted = sizes.segments.map_or(total.div_ceil(BYTES_PER_SEGMENT), u64::from);
        let slices = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let count = wanted.clamp(1, u64::from(MAX_SEGMENTS)).min(slices.max(1));
        let segments = balance(bytes, total, count);
        let sum =
            |range: &Range<u32>| bytes.get(range.start as usize..range.end as usize).unwrap_or(bytes).iter().sum();
        let largest: u64 = segments.iter().map(sum).max().unwrap_or(0);
        // Counts are late and records grow: twice as much must fit.
        let part_size = sizes.part.max((2 * largest).div_ceil(u64::from(PARTS_PER_SEGMENT)));
        Self { segments, part_size }
    }
}

/// Cuts the slices into `count` runs of about the same bytes each: a slice belongs where its middle lies.
fn balance(bytes: &[u64], total: u64, count: u64) -> Vec<Range<u32>> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut before = 0;
    for (index, here) in (1u32..).zip(bytes) {
        before += here;
        let cut = runs.len() as u64 + 1;
        let slices_left = bytes.len() as u64 - u64::from(index);
        let next = bytes.get(index as usize).copied().unwrap_or(0);
        let middle_of_next = 2 * u128::from(before) + u128::from(next);
        let is_full = middle_of_next * u128::from(count) >= 2 * u128::from(total) * u128::from(cut);
        if cut < count && (is_full || slices_left <= count - cut) {
            runs.push(start..index);
            start = index;
        }
    }
    runs.push(start..u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    runs
}

/// The part numbers of a segment.
pub(crate) fn parts_of(segment: u8) -> Range<u32> {
    let first = u32::from(segment) * PARTS_PER_SEGMENT + 1;
    first..first + PARTS_PER_SEGMENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_exports_have_one_segment_and_large_ones_four() {
        let segments = |bytes: &[u64]| Layout::of(bytes, ExportSizes::default()).segments;
        assert_eq!(segments(&[0; 16]), std::iter::once(0..16).collect::<Vec<_>>());
        assert_eq!(segments(&[1 << 30; 16]), [0..4, 4..8, 8..12, 12..16]);
        assert_eq!(segments(&[1 << 30, 0, 0, 0]), [0..1, 1..2, 2..3, 3..4]);
        // Shards are never quite the same.
        let nearly: Vec<_> = (0..16).map(|n| (1 << 30) + if n < 4 { 0 } else { 1 << 20 }).collect();
        assert_eq!(segments(&nearly), [0..4, 4..8, 8..12, 12..16]);
        let forced = ExportSizes { segments: Some(2), ..ExportSizes::default() };
        assert_eq!(Layout::of(&[1, 1, 1, 1], forced).segments, [0..2, 2..4]);
    }

    #[test]
    fn numbers_stay_below_the_limit_of_s3() {
        assert_eq!(parts_of(0), 1..2_401);
        assert_eq!(parts_of(MAX_SEGMENTS - 1).end, CLOSING_PART);
        const { assert!(CLOSING_PART <= 10_000) }
    }

    proptest! {
        #[test]
        fn every_slice_is_read_by_one_segment_and_twice_the_bytes_fit(
            bytes in proptest::collection::vec(0u64..1 << 40, 1..80),
            forced in proptest::option::of(1u8..9),
        ) {
            let sizes = ExportSizes { segments: forced, ..ExportSizes::default() };
            let layout = Layout::of(&bytes, sizes);
            prop_assert!((1..=usize::from(MAX_SEGMENTS)).contains(&layout.segments.len()));
            let mut next = 0;
            for range in &layout.segments {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                next = range.end;
                let sum: u64 = bytes[range.start as usize..range.end as usize].iter().sum();
                prop_assert!(2 * sum <= layout.part_size * u64::from(PARTS_PER_SEGMENT));
            }
            prop_assert_eq!(next as usize, bytes.len());
        }
    }
}
