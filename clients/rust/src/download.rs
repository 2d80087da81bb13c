//! One file of a job: resumed where it broke off, and verified at its end.

use std::io::Read;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::error::{ApiError, DownloadError};
use crate::transport::Body;
use crate::wire::JobFile;

/// Tries in a row that may bring nothing, before it is given up.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A file that is being read: what has arrived, and its hash. Connections that break are made anew from there on.
pub struct Download<'a> {
    client: &'a Client,
    job: &'a str,
    file: &'a JobFile,
    hash: Sha256,
    done: u64,
    tag: Option<String>,
    /// The connection, and how much of it is behind `done` already.
    open: Option<(Body, u64)>,
    failures: u32,
}

impl<'a> Download<'a> {
    /// A file of a job, from its beginning.
    #[must_use]
    pub fn new(client: &'a Client, job: &'a str, file: &'a JobFile) -> Self {
        Self { client, job, file, hash: Sha256::new(), done: 0, tag: None, open: None, failures: 0 }
    }

    /// Takes in what an earlier download has read: the next piece is what follows.
    pub fn continue_behind(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
    }

    /// How many bytes there are so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// The next bytes; 0 at the end, once length and hash are what the job says.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, DownloadError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.done < self.file.bytes {
            let open = match self.open.take() {
                Some(open) => Ok(open),
                None => {
                    // A call, which has been repeated already.
                    let link = self.client.file_link(self.job, &self.file.name)?;
                    self.connect(&link)
                }
            };
            match open.map_err(DownloadError::from).and_then(|open| self.receive(open, buffer)) {
                Ok(read) => {
                    self.failures = 0;
                    return Ok(read);
                }
                Err(DownloadError::Api(error)) => self.wait(error)?,
                Err(error) => return Err(error),
            }
        }
        self.end()?;
        self.verify().map(|()| 0)
    }

    /// Reads the connection to its end, so that it can be used again. What follows the last byte does not belong there.
    fn end(&mut self) -> Result<(), DownloadError> {
        let Some((mut body, _)) = self.open.take() else { return Ok(()) };
        match body.reader.read(&mut [0]) {
            Ok(1..) => Err(self.mismatch("it is longer than it should be")),
            Ok(0) | Err(_) => Ok(()),
        }
    }

    /// What one read of the connection brings.
    fn receive(&mut self, (mut body, mut to_skip): (Body, u64), buffer: &mut [u8]) -> Result<usize, DownloadError> {
        loop {
            let read = match body.reader.read(buffer) {
                Ok(0) => return Err(ApiError::Network("the connection ended early".to_owned()).into()),
                Ok(read) => read,
                Err(error) => return Err(ApiError::Network(error.to_string()).into()),
            };
            let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(read);
            to_skip -= skipped as u64;
            let count = read - skipped;
            if count == 0 {
                continue;
            }
            buffer.copy_within(skipped..read, 0);
            self.continue_behind(buffer.get(..count).unwrap_or_default());
            if self.done > self.file.bytes {
                return Err(self.mismatch("it is longer than it should be"));
            }
            self.open = Some((body, to_skip));
            return Ok(count);
        }
    }

    fn connect(&mut self, link: &str) -> Result<(Body, u64), ApiError> {
        let mut body = self.client.transport.download(link, self.done, self.tag.as_deref())?;
        if self.tag.is_some() && body.tag != self.tag {
            return Err(ApiError::Changed);
        }
        self.tag = body.tag.take();
        let to_skip = self.done.saturating_sub(body.from);
        Ok((body, to_skip))
    }

    /// Waits out what passes.
    fn wait(&mut self, error: ApiError) -> Result<(), ApiError> {
        self.failures += 1;
        // A link that has expired is asked for again.
        let is_passing = error.is_passing() || matches!(error, ApiError::Gone(_));
        if !is_passing || self.failures >= ATTEMPTS {
            return Err(error);
        }
        std::thread::sleep(PAUSE * self.failures);
        Ok(())
    }

    fn verify(&mut self) -> Result<(), DownloadError> {
        if self.done != self.file.bytes {
            return Err(self.mismatch("its length is wrong"));
        }
        if base16ct::lower::encode_string(&self.hash.clone().finalize()) != self.file.sha256.to_lowercase() {
            return Err(self.mismatch("its hash is wrong"));
        }
        Ok(())
    }

    fn mismatch(&self, what: &str) -> DownloadError {
        DownloadError::Mismatch(format!("{} of {}: {what}", self.file.name, self.job))
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.next(buffer).map_err(std::io::Error::other)
    }
}
