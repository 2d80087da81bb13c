//! `clinik-bulk-admin tenant purge`.

use std::io::{BufRead, Write, stderr, stdin};
use std::time::Duration;

use anyhow::{Result, bail};
use aws::Purge;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use model::{ChangeLog, KEY_CACHE_TIME, Partition, Shard, TenantId, Upload, after};
use ports::{Clock, KeyStore, UsageStore};
use records::ResourceType;
use runtime::SystemClock;
use serde::Serialize;

use crate::audit::Change;
use crate::stores::Stores;

/// Keys that are purged at once.
const MAX_CONCURRENCY: usize = 16;

/// Runs until one finds nothing more; a partition in which so many found something is in use.
const MAX_RUNS: u32 = 5;

/// What was deleted.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Purged {
    records: u64,
    /// Items of the change log, and of deletions.
    changes: u64,
    jobs: u64,
    /// Idempotency entries and uploads.
    calls: u64,
    files: u64,
    /// When to purge again: until then URLs of uploads work, functions remember keys that were revoked, and workers of jobs
    /// that have ended may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    again_after: Option<Timestamp>,
}

impl Purged {
    fn is_nothing(&self) -> bool {
        self.records + self.changes + self.jobs + self.calls + self.files == 0
    }
}

pub(super) async fn run(partition: &Partition, confirm: Option<&TenantId>, stores: &Stores) -> Result<Purged> {
    let question = format!("All records, jobs and files of {partition} will be deleted.");
    if !is_confirmed(&question, &partition.tenant, confirm)? {
        bail!("not confirmed; nothing was deleted");
    }
    let now = SystemClock.now();
    let (working, writing_until) = stores.jobs()?.unfinished(partition, now).await?;
    if working > 0 {
        bail!("{working} jobs of {partition} have not ended; revoke the tenant's keys, and wait for them");
    }
    let Partition { tenant, environment } = partition;
    let change = Change { action: "tenant.purged", tenant, environment: Some(*environment), subject: None };
    change.write(stores, None::<&()>).await?;
    let uploads = stores.usage()?.open_uploads(partition, now).await?;
    let closing = uploads.recent.iter().map(Upload::closes_at).max();
    let keys = stores.keys()?.of_tenant(tenant).await?;
    let keys = keys.iter().filter(|key| key.partition == *partition);
    let forgotten = keys.filter_map(|key| key.revoked_at).max().map(|revoked| after(revoked, KEY_CACHE_TIME));
    let again_after = [writing_until, closing, forgotten].into_iter().flatten().max().filter(|until| *until > now);
    let mut purged = Purged { again_after, ..Purged::default() };
    for _ in 0..MAX_RUNS {
        let found = once(partition, &stores.purge()?).await?;
        if found.is_nothing() {
            return Ok(purged);
        }
        purged.records += found.records;
        purged.changes += found.changes;
        purged.jobs += found.jobs;
        purged.calls += found.calls;
        purged.files += found.files;
    }
    bail!("{partition} is still being written to; revoke the tenant's keys, and purge again");
}

/// Whether somebody has typed the tenant's id.
pub(super) fn is_confirmed(question: &str, tenant: &TenantId, confirm: Option<&TenantId>) -> Result<bool> {
    if let Some(confirm) = confirm {
        return Ok(confirm == tenant);
    }
    write!(stderr(), "{question} Type the tenant's id to confirm: ")?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == tenant.as_str())
}

/// Whether a purge would find anything.
pub(super) async fn is_left(partition: &Partition, stores: &Stores) -> Result<bool> {
    Ok(!once(partition, &stores.purge()?.looking()).await?.is_nothing())
}

/// Records first, then the log that names them: a record is never without its change item.
async fn once(partition: &Partition, purge: &Purge) -> Result<Purged> {
    let types = || ResourceType::ALL.iter().copied();
    let (shards, logs): (Vec<_>, Vec<_>) =
        (types().flat_map(Shard::all).collect(), types().flat_map(ChangeLog::all).collect());
    // Shown where there is a terminal, and nowhere else.
    let bar = ProgressBar::new((shards.len() + logs.len()) as u64 + 3);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    let bar = &bar;
    let records = stream::iter(shards)
        .map(|shard| async move {
            bar.inc(1);
            bar.set_message(shard.resource_type.as_str());
            purge.records(partition, shard).await
        })
        .buffer_unordered(MAX_CONCURRENCY)
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await?;
    let changes = stream::iter(logs)
        .map(|log| async move {
            bar.inc(1);
            purge.changes(partition, log).await
        })
        .buffer_unordered(MAX_CONCURRENCY)
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await?;
    let deletions = stream::iter(types())
        .map(|of| purge.deletions(partition, of))
        .buffer_unordered(MAX_CONCURRENCY)
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await?;
    let jobs = purge.jobs(partition).await?;
    bar.inc(1);
    let calls = purge.calls(partition).await?;
    bar.inc(1);
    let files = purge.files(partition).await?;
    bar.finish_and_clear();
    Ok(Purged { records, changes: changes + deletions, jobs, calls, files, again_after: None })
}
