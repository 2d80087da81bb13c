//! How a line is kept: as text, or deflated where that saves a write unit. The only place that knows.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::stored::MAX_STORED_LINE;

/// What one write unit of the store covers, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>).
const WRITE_UNIT: usize = 1_024;

/// Raw deflate has no checksum: the length of the text, four bytes little-endian, stands in front and is checked.
const LENGTH_PREFIX: usize = 4;

/// zlib's usual level: level 9 takes twice the time for 1 % less.
const LEVEL: u32 = 6;

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackedLine {
    /// The line itself.
    Text(String),
    /// Its length and its raw deflate.
    Deflated(Vec<u8>),
}

/// The kept bytes are not what [`Packer::pack`] made. Says nothing of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packed line is corrupt")]
pub struct CorruptLine;

/// Packs lines, with one compressor used again and again.
pub struct Packer {
    compress: Compress,
}

impl Default for Packer {
    fn default() -> Self {
        Self { compress: Compress::new(Compression::new(LEVEL), false) }
    }
}

impl Packer {
    /// The line deflated where the item then takes fewer write units, else as text. `other_bytes` is what the rest
    /// of the item takes: keys, attribute names and other attributes.
    pub fn pack(&mut self, line: &str, other_bytes: usize) -> PackedLine {
        let units = |bytes: usize| (other_bytes + bytes).div_ceil(WRITE_UNIT);
        let as_text = units(line.len());
        if as_text > 1 && as_text > units(0) {
            // The most that still saves a unit: deflating stops there.
            let most = ((as_text - 1) * WRITE_UNIT).saturating_sub(other_bytes);
            if let Some(deflated) = self.deflate(line.as_bytes(), most) {
                return PackedLine::Deflated(deflated);
            }
        }
        PackedLine::Text(line.to_owned())
    }

    fn deflate(&mut self, text: &[u8], most: usize) -> Option<Vec<u8>> {
        self.compress.reset();
        let mut deflated = Vec::with_capacity(most.max(LENGTH_PREFIX));
        deflated.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
        let done = self.compress.compress_vec(text, &mut deflated, FlushCompress::Finish).ok()?;
        // The vector was not grown beyond its capacity: what did not fit has not ended.
        (done == Status::StreamEnd && deflated.len() <= most).then_some(deflated)
    }
}

/// Unpacks lines, with one decompressor and one buffer used again and again.
pub struct Unpacker {
    decompress: Decompress,
    text: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self { decompress: Decompress::new(false), text: Vec::new() }
    }
}

impl Unpacker {
    /// The line's text, at most [`MAX_STORED_LINE`] bytes.
    ///
    /// # Errors
    /// [`CorruptLine`], when the bytes are not those of a packed line.
    pub fn unpack<'a>(&'a mut self, line: &'a PackedLine) -> Result<&'a [u8], CorruptLine> {
        let deflated = match line {
            PackedLine::Text(text) => return Ok(text.as_bytes()),
            PackedLine::Deflated(deflated) => deflated,
        };
        let (length, deflated) = deflated.split_first_chunk::<LENGTH_PREFIX>().ok_or(CorruptLine)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| CorruptLine)?;
        if length > MAX_STORED_LINE {
            return Err(CorruptLine);
        }
        self.decompress.reset(false);
        self.text.clear();
        // One byte more than told: a longer text does not pass for the right one.
        self.text.reserve(length + 1);
        let done = self.decompress.decompress_vec(deflated, &mut self.text, FlushDecompress::Finish);
        if matches!(done, Ok(Status::StreamEnd)) && self.text.len() == length {
            Ok(&self.text)
        } else {
            Err(CorruptLine)
        }
    }
}

impl PackedLine {
    /// How many bytes are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Deflated(deflated) => deflated.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(line: &PackedLine) -> Result<String, CorruptLine> {
        Unpacker::default().unpack(line).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn a_line_is_deflated_only_where_that_saves_a_unit() {
        let mut packer = Packer::default();
        let repetitive = "abcdefgh".repeat(150);
        assert!(matches!(packer.pack(&repetitive[..900], 100), PackedLine::Text(_)), "one unit already");
        assert!(matches!(packer.pack(&repetitive, 100), PackedLine::Deflated(_)));
        assert!(matches!(packer.pack(&repetitive, 1_020), PackedLine::Deflated(_)), "two units instead of three");
        assert!(matches!(packer.pack(&repetitive[..3], 2_000), PackedLine::Text(_)), "the keys alone take two");
        // Nothing repeats: deflated it is no smaller.
        let random: String = (0u64..1_300)
            .map(|n| char::from(33 + u8::try_from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57 & 63).unwrap()))
            .collect();
        assert!(matches!(packer.pack(&random, 100), PackedLine::Text(_) | PackedLine::Deflated(_)));
    }

    #[test]
    fn corrupt_bytes_are_refused() {
        let PackedLine::Deflated(good) = Packer::default().pack(&"abc ".repeat(600), 50) else { panic!("deflated") };
        for cut in [0, 3, 4, good.len() - 1] {
            assert_eq!(unpacked(&PackedLine::Deflated(good[..cut].to_vec())), Err(CorruptLine));
        }
        for length in [0, 2_399, 2_401, u32::MAX] {
            let mut other = good.clone();
            other[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(unpacked(&PackedLine::Deflated(other)), Err(CorruptLine));
        }
    }

    proptest! {
        #[test]
        fn a_packed_line_takes_no_more_units_and_comes_back_whole(
            lines in proptest::collection::vec("[a-f\u{e9}\u{1F600} ]{0,3000}", 1..4), other in 20usize..1_500) {
            let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
            for line in lines {
                let packed = packer.pack(&line, other);
                prop_assert_eq!(unpacker.unpack(&packed), Ok(line.as_bytes()));
                let units = |bytes: usize| (other + bytes).div_ceil(WRITE_UNIT);
                match &packed {
                    PackedLine::Text(text) => prop_assert_eq!(text, &line),
                    PackedLine::Deflated(_) => prop_assert!(units(packed.kept_bytes()) < units(line.len())),
                }
            }
        }
    }
}
