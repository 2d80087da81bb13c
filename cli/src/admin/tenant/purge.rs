//! `clinik-bulk admin tenant purge`.

use std::io::{BufRead, Write, stderr, stdin};
use std::time::Duration;

use anyhow::{Result, bail};
use domain::ports::{Clock, Slice};
use domain::{Partition, TenantId};
use edge::system::SystemClock;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use records::ResourceType;
use serde::Serialize;

use crate::admin::Stores;

/// Slices that are purged at a time.
const AT_ONCE: usize = 16;

/// Runs until one finds nothing more; a partition in which so many found something is in use.
const MAX_RUNS: u32 = 5;

/// What was deleted.
#[derive(Default, Serialize)]
pub(super) struct Purged {
    jobs: u64,
    records: u64,
    files: u64,
}

impl Purged {
    fn is_nothing(&self) -> bool {
        self.jobs + self.records + self.files == 0
    }
}

pub(super) async fn run(partition: &Partition, confirm: Option<&TenantId>, stores: &Stores) -> Result<Purged> {
    if !is_confirmed(partition, confirm)? {
        bail!("not confirmed; nothing was deleted");
    }
    let working = stores.jobs()?.count_working(partition, SystemClock.now()).await?;
    if working > 0 {
        bail!("{working} jobs of {partition} have not ended; revoke the tenant's keys, and wait for them");
    }
    let mut purged = Purged::default();
    for _ in 0..MAX_RUNS {
        let found = once(partition, stores).await?;
        if found.is_nothing() {
            return Ok(purged);
        }
        purged.jobs += found.jobs;
        purged.records += found.records;
        purged.files += found.files;
    }
    bail!("{partition} is still being written to; revoke the tenant's keys, and purge again");
}

fn is_confirmed(partition: &Partition, confirm: Option<&TenantId>) -> Result<bool> {
    if let Some(confirm) = confirm {
        return Ok(*confirm == partition.tenant);
    }
    write!(stderr(), "All records, jobs and files of {partition} will be deleted. Type the tenant's id to confirm: ")?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == partition.tenant.as_str())
}

async fn once(partition: &Partition, stores: &Stores) -> Result<Purged> {
    let purge = &stores.purge()?;
    let slices: Vec<_> = Slice::all(ResourceType::ALL).collect();
    // Shown where there is a terminal, and nowhere else.
    let bar = ProgressBar::new(slices.len() as u64 + 2);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    // Jobs first: a worker that was forgotten loses its lease.
    let jobs = purge.jobs(partition).await?;
    bar.inc(1);
    let files = purge.files(partition).await?;
    bar.inc(1);
    let bar = &bar;
    let records = stream::iter(slices)
        .map(|slice| async move {
            let deleted = purge.records(partition, slice).await;
            bar.inc(1);
            bar.set_message(slice.resource_type.as_str());
            deleted
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await?;
    bar.finish_and_clear();
    Ok(Purged { jobs, records, files })
}
