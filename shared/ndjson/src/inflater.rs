//! Inflating gzip piece by piece.

use std::io::{self, Cursor, Read, Write};

use flate2::write::GzDecoder;

/// Inflates gzip as gunzip does: any number of members, and zeros after the last one are padding.
#[derive(Debug)]
pub struct Inflater {
    state: State,
    /// What is inflated and not handed out yet, while no member is open.
    inflated: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Before the first member: something must come.
    Start,
    Member(Box<GzDecoder<Vec<u8>>>),
    BetweenMembers,
    Padding,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: State::Start, inflated: Vec::new() }
    }
}

impl Inflater {
    /// Takes the next piece and returns what it became: at most some thousand times as much, so pieces should be small.
    ///
    /// # Errors
    /// When this is not gzip.
    pub fn push(&mut self, mut piece: &[u8]) -> io::Result<Vec<u8>> {
        while let [first, ..] = piece {
            match &mut self.state {
                State::BetweenMembers if *first == 0 => self.state = State::Padding,
                State::Start | State::BetweenMembers => self.open(),
                State::Padding if piece.iter().all(|byte| *byte == 0) => break,
                State::Padding => return Err(io::Error::from(io::ErrorKind::InvalidData)),
                State::Member(member) => match member.write(piece)? {
                    // The member has ended, and its sums are checked.
                    0 => self.close()?,
                    taken => piece = piece.get(taken..).unwrap_or_default(),
                },
            }
        }
        Ok(match &mut self.state {
            State::Member(member) => std::mem::take(member.get_mut()),
            State::Start | State::BetweenMembers | State::Padding => std::mem::take(&mut self.inflated),
        })
    }

    /// Ends the input and returns what is left.
    ///
    /// # Errors
    /// When a member is cut off, or there was none.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        match self.state {
            State::Start => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            State::Member(_) => self.close()?,
            State::BetweenMembers | State::Padding => {}
        }
        Ok(self.inflated)
    }

    fn open(&mut self) {
        self.state = State::Member(Box::new(GzDecoder::new(std::mem::take(&mut self.inflated))));
    }

    fn close(&mut self) -> io::Result<()> {
        if let State::Member(member) = std::mem::replace(&mut self.state, State::BetweenMembers) {
            self.inflated = member.finish()?;
        }
        Ok(())
    }
}

/// Bytes that are inflated at a time: what they become is held in memory.
const PIECE: usize = 1 << 14;

/// Reads what a gzip stream inflates to, as [`Inflater`] does.
pub struct InflatingReader<R> {
    inner: R,
    /// `None` after the end.
    inflater: Option<Inflater>,
    piece: Vec<u8>,
    ready: Cursor<Vec<u8>>,
}

impl<R: Read> InflatingReader<R> {
    /// Reads gzip from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, inflater: Some(Inflater::default()), piece: vec![0; PIECE], ready: Cursor::default() }
    }
}

impl<R: Read> Read for InflatingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.ready.read(buffer)?;
            if taken > 0 || buffer.is_empty() {
                return Ok(taken);
            }
            let Some(inflater) = &mut self.inflater else { return Ok(0) };
            let read = self.inner.read(&mut self.piece)?;
            self.ready = Cursor::new(match self.piece.get(..read) {
                Some(piece) if read > 0 => inflater.push(piece)?,
                _ => self.inflater.take().map(Inflater::finish).transpose()?.unwrap_or_default(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(input: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut inflater = Inflater::default();
        let mut inflated = Vec::new();
        for piece in input.chunks(piece) {
            inflated.extend(inflater.push(piece)?);
        }
        inflated.extend(inflater.finish()?);
        Ok(inflated)
    }

    #[test]
    fn members_and_padding_are_read_in_pieces_of_any_size() {
        let long = vec![b'x'; 100_000];
        let two = [gzip(b"first\n"), gzip(b""), gzip(&long)].concat();
        let expected = [&b"first\n"[..], &long].concat();
        for padding in [0, 1, 512, 10_240] {
            let input = [two.clone(), vec![0; padding]].concat();
            for piece in [1, 7, 1_024, input.len()] {
                assert_eq!(inflate(&input, piece).unwrap(), expected, "{padding} zeros, pieces of {piece}");
            }
            let mut read = Vec::new();
            InflatingReader::new(input.as_slice()).read_to_end(&mut read).unwrap();
            assert_eq!(read, expected, "{padding} zeros");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        let one = gzip(b"a line");
        let mut wrong_sum = one.clone();
        wrong_sum[one.len() - 6] ^= 1;
        let bad = [
            b"".to_vec(),
            one[..one.len() - 1].to_vec(),
            one[..5].to_vec(),
            wrong_sum,
            [one.clone(), b"x".to_vec()].concat(),
            [one.clone(), vec![0, 0, b'x']].concat(),
            [one.clone(), vec![0], one].concat(),
            vec![0; 20],
        ];
        for (index, input) in bad.iter().enumerate() {
            for piece in [1, 1_024] {
                assert!(inflate(input, piece).is_err(), "{index}, pieces of {piece}");
            }
            assert!(InflatingReader::new(input.as_slice()).read_to_end(&mut Vec::new()).is_err(), "{index}");
        }
    }
}
