//! Batches are compressed beside the reading, in a thread of their own.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use files::PartialFile;

/// Pieces that wait for the thread, at most.
const QUEUE: usize = 16;

enum Order {
    Write { path: PathBuf, bytes: Vec<u8> },
    Close { path: PathBuf },
}

/// Writes compressed files, several at a time.
pub(super) struct Compressor {
    orders: SyncSender<Order>,
    thread: JoinHandle<Result<HashMap<PathBuf, u64>>>,
}

impl Compressor {
    pub(super) fn start() -> Self {
        let (orders, received) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || {
            let mut open: HashMap<PathBuf, GzEncoder<PartialFile>> = HashMap::new();
            let mut sizes = HashMap::new();
            for order in received {
                match order {
                    Order::Write { path, bytes } => {
                        let file = match open.entry(path) {
                            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
                            std::collections::hash_map::Entry::Vacant(new) => {
                                let file = PartialFile::create(new.key())?;
                                new.insert(GzEncoder::new(file, Compression::fast()))
                            }
                        };
                        file.write_all(&bytes).context("write batch")?;
                    }
                    Order::Close { path } => {
                        let file = open.remove(&path).context("close batch")?;
                        file.finish().context("write batch")?.publish()?;
                        let size = std::fs::metadata(&path).context("write batch")?.len();
                        sizes.insert(path, size);
                    }
                }
            }
            Ok(sizes)
        });
        Self { orders, thread }
    }

    pub(super) fn write(&self, path: &std::path::Path, bytes: Vec<u8>) -> bool {
        self.orders.send(Order::Write { path: path.to_owned(), bytes }).is_ok()
    }

    pub(super) fn close(&self, path: PathBuf) -> bool {
        self.orders.send(Order::Close { path }).is_ok()
    }

    /// Waits for all files, and returns their sizes, or why one could not be written.
    pub(super) fn finish(self) -> Result<HashMap<PathBuf, u64>> {
        drop(self.orders);
        match self.thread.join() {
            Ok(done) => done,
            Err(_) => bail!("the compressing thread ended early"),
        }
    }

    /// Why an order was not taken.
    pub(super) fn failure(self) -> anyhow::Error {
        self.finish().err().unwrap_or_else(|| anyhow!("the compressing thread ended early"))
    }
}
