//! Batches are compressed beside the reading, in a thread of their own.

use std::collections::HashMap;
use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use files::PartialFile;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::state::StateFolder;

/// Pieces that wait for the thread, at most.
const QUEUE: usize = 16;

/// The next bytes of a batch, or `None` behind the last ones.
type Order = (usize, Option<Vec<u8>>);

/// Writes compressed files, several at a time.
pub(super) struct Compressor {
    orders: SyncSender<Order>,
    thread: JoinHandle<Result<HashMap<usize, u64>>>,
}

impl Compressor {
    pub(super) fn start(folder: StateFolder) -> Self {
        let (orders, received) = sync_channel::<Order>(QUEUE);
        let thread = std::thread::spawn(move || {
            let mut open: HashMap<usize, GzEncoder<PartialFile>> = HashMap::new();
            let mut sizes = HashMap::new();
            for (batch, bytes) in received {
                let path = folder.batch(batch);
                if let Some(bytes) = bytes {
                    let file = match open.entry(batch) {
                        std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
                        std::collections::hash_map::Entry::Vacant(new) => {
                            new.insert(GzEncoder::new(PartialFile::create(&path)?, Compression::fast()))
                        }
                    };
                    file.write_all(&bytes).context("write batch")?;
                } else {
                    let file = open.remove(&batch).context("close batch")?;
                    file.finish().context("write batch")?.publish()?;
                    sizes.insert(batch, std::fs::metadata(&path).context("write batch")?.len());
                }
            }
            Ok(sizes)
        });
        Self { orders, thread }
    }

    pub(super) fn write(&self, batch: usize, bytes: Vec<u8>) -> bool {
        self.orders.send((batch, Some(bytes))).is_ok()
    }

    pub(super) fn close(&self, batch: usize) -> bool {
        self.orders.send((batch, None)).is_ok()
    }

    /// Waits for all files, and returns their sizes by their batches, or why one could not be written.
    pub(super) fn finish(self) -> Result<HashMap<usize, u64>> {
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
