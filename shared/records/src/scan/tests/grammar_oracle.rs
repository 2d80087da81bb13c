//! `serde_json`'s grammar as oracle: the scanner takes what `serde_json` takes, and nothing else.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::random::Author;
use crate::{ResourceType, ViolationCode};

/// Whether `serde_json` takes the line. A number that overflows a float is none of grammar's business.
fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
        && match serde_json::from_slice::<Value>(line) {
            Ok(_) => true,
            Err(error) => error.to_string().starts_with("number out of range"),
        }
}

fn agree(line: &[u8]) {
    let schema = ResourceType::Patient.schema();
    let violations = schema.scan(line).map_or_else(|violations| violations, |_| Vec::new());
    let refused = violations
        .iter()
        .any(|violation| matches!(violation.code, ViolationCode::InvalidJson | ViolationCode::BlankLine));
    assert_eq!(!refused, is_json(line), "{}: {violations:?}", String::from_utf8_lossy(line));
}

/// Pieces of JSON, right and wrong.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\t",
        b"\r",
        b"\"",
        b"\"a\"",
        b"\"firstName\"",
        b"\\",
        b"\\u0041",
        b"\\ud83d",
        b"\\ude00",
        b"\\u00",
        b"\\n",
        b"\\x",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\xc3\xa9",
        b"\xc3",
        b"\xf0\x9f\x98\x80",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E",
        b"12",
        b"1.5",
        b"1e400",
        b"01",
        b"true",
        b"false",
        b"null",
        b"nul",
        b"tru",
        b"NaN",
        b"'",
        b"/",
        b"\xef\xbb\xbf",
    ];
    proptest::sample::select(pieces).prop_map(<[u8]>::to_vec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn pieces_of_json_agree(pieces in proptest::collection::vec(piece(), 0..14)) {
        agree(&pieces.concat());
    }

    #[test]
    fn strings_agree(pieces in proptest::collection::vec(piece(), 0..10)) {
        let inner = pieces.concat();
        agree(&[b"{\"note\":\"", inner.as_slice(), b"\"}"].concat());
    }

    #[test]
    fn numbers_agree(number in "[-+]?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?") {
        agree(number.as_bytes());
        agree(format!("{{\"n\":{number}}}").as_bytes());
    }

    #[test]
    fn damaged_records_agree(seed: u64, at: prop::sample::Index, byte: u8, cut: bool) {
        let kind = ResourceType::ALL[usize::try_from(seed % ResourceType::ALL.len() as u64).unwrap()];
        let mut line = Author::new(seed, 5).record(kind).to_string().into_bytes();
        agree(&line);
        let at = at.index(line.len());
        if cut { line.truncate(at) } else { line[at] = byte }
        agree(&line);
    }
}
