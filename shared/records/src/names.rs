//! Finding a member by its name: the scanner asks for every member of every line.

/// The most members of an object: the scanner keeps those it has seen in the bits of a `u64`.
const MAX_NAMES: usize = 64;

/// A power of two. With half of them free a search is short.
const SLOTS: usize = 2 * MAX_NAMES;

/// The positions of an object's members by name: a hash table with linear probing. A map of the standard
/// library would hash a name's bytes one by one and compare by a call; here both are a few instructions.
#[derive(Debug)]
pub(crate) struct Names {
    /// 0 where free, else the position in `digests` plus 1.
    slots: [u8; SLOTS],
    digests: Vec<Digest>,
}

/// The first and the last eight bytes of a name and its length, which is all of a name of up to sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest {
    first: u64,
    last: u64,
    length: usize,
}

/// What [`Names::find`] can tell.
pub(crate) enum Found {
    No,
    At(usize),
    /// So it seems: the name is longer than its digest and must be compared.
    Perhaps(usize),
}

impl Default for Names {
    fn default() -> Self {
        Self { slots: [0; SLOTS], digests: Vec::new() }
    }
}

impl Names {
    /// Adds the name of the next member.
    ///
    /// # Errors
    /// When there are too many names, or another one cannot be told from this one.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), String> {
        let digest = Digest::of(name);
        let position = self.digests.len();
        if position >= MAX_NAMES || self.digests.contains(&digest) {
            return Err(format!("properties: {name} is too many or too much like another"));
        }
        self.digests.push(digest);
        let mut slot = digest.slot();
        while self.slots.get(slot).is_some_and(|taken| *taken != 0) {
            slot = (slot + 1) % SLOTS;
        }
        if let (Some(free), Ok(mark)) = (self.slots.get_mut(slot), u8::try_from(position + 1)) {
            *free = mark;
        }
        Ok(())
    }

    /// Where the member of that name stands, if there is one.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Found {
        let wanted = Digest::of(name);
        let mut slot = wanted.slot();
        while let Some(position) = self.slots.get(slot).and_then(|mark| usize::from(*mark).checked_sub(1)) {
            if self.digests.get(position) == Some(&wanted) {
                return if wanted.length <= 16 { Found::At(position) } else { Found::Perhaps(position) };
            }
            slot = (slot + 1) % SLOTS;
        }
        Found::No
    }
}

impl Digest {
    #[inline]
    fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
                (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
                _ => (bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
            },
        };
        Self { first, last, length: bytes.len() }
    }

    /// Where the search begins: the upper bits of a product depend on all bits below.
    #[inline]
    fn slot(self) -> usize {
        // The golden ratio's bits, as Fibonacci hashing takes them: odd, and spread without a pattern.
        let mixed = (self.first ^ self.last.rotate_left(25) ^ self.length as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 57) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_where_it_was_put_and_no_other() {
        let names = ["", "a", "ab", "abc", "abcd", "code", "value", "abcdefgh", "abcdefghi", "abcdefghijklmnop"];
        let mut index = Names::default();
        for name in names {
            index.push(name).unwrap();
        }
        for (position, name) in names.iter().enumerate() {
            assert!(matches!(index.find(name), Found::At(at) if at == position), "{name}");
        }
        for other in ["b", "ba", "abcdefgi", "Code", "abcdefghijklmnoq", "abcdefghijklmnopq"] {
            assert!(matches!(index.find(other), Found::No), "{other}");
        }
    }

    #[test]
    fn names_that_share_a_digest_are_refused_not_confused() {
        let mut index = Names::default();
        index.push("abcdefgh-1-ijklmnop").unwrap();
        assert!(matches!(index.find("abcdefgh-2-ijklmnop"), Found::Perhaps(0)));
        assert!(index.push("abcdefgh-2-ijklmnop").is_err());
    }

    #[test]
    fn a_full_object_still_finds_what_it_does_not_hold() {
        let mut index = Names::default();
        for n in 0..MAX_NAMES {
            index.push(&format!("member{n}")).unwrap();
        }
        assert!(index.push("one more").is_err());
        assert!(matches!(index.find("unknown"), Found::No));
        assert!((0..MAX_NAMES).all(|n| matches!(index.find(&format!("member{n}")), Found::At(at) if at == n)));
    }
}
