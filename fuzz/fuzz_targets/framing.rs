//! The same bytes give the same lines, however they are cut, and nothing is lost between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ndjson::{Frame, LineSplitter};

/// Small, so that lines are longer.
const LIMIT: usize = 16;

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<(u64, Vec<u8>)> {
    let mut splitter = LineSplitter::new(LIMIT);
    let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut pull = |splitter: &mut LineSplitter| {
        while let Some(frame) = splitter.next_frame() {
            let (number, bytes, may_follow) = match frame {
                Frame::Line { number, bytes } => {
                    assert!(bytes.len() <= LIMIT + 1);
                    (number, bytes, false)
                }
                Frame::Oversize { number, piece, .. } => (number, piece, true),
            };
            match lines.last_mut() {
                Some((last, line)) if may_follow && *last == number => line.extend_from_slice(bytes),
                _ => lines.push((number, bytes.to_vec())),
            }
        }
    };
    for chunk in chunks {
        splitter.push(chunk);
        pull(&mut splitter);
    }
    splitter.finish();
    pull(&mut splitter);
    lines
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = lines(std::iter::once(bytes));
    assert_eq!(lines(bytes.chunks(usize::from(size).max(1))), whole);
    assert!(whole.iter().zip(1..).all(|((number, _), expected)| *number == expected));
    let mut again = whole.iter().map(|(_, line)| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
    again.retain(|byte| *byte != b'\r');
    let mut expected = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).to_vec();
    expected.retain(|byte| *byte != b'\r');
    // One terminator at the end ends the last line, and a lone `\r` behind it is a line of its own.
    if bytes.ends_with(b"\n") {
        expected.pop();
    }
    assert_eq!(again, expected);
});
