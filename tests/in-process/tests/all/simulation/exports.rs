//! Exports: every record once, in files that are as the job tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use api::ExportRequest;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use model::{Compression, ExportSpec, FileLayout, Job, JobId, JobResult, JobSpec, RecordFormat};
use ports::Clock;
use records::ResourceType;

use super::world::{CHUNK, Call, World};

/// Starts an export of patients and accounts, of which there are none.
pub(crate) async fn start(world: &mut World, since: Option<Timestamp>) -> JobId {
    start_as(world, since, RecordFormat::Flat).await
}

async fn start_as(world: &mut World, since: Option<Timestamp>, format: RecordFormat) -> JobId {
    let may_be_single = format == RecordFormat::Flat && world.draw(2) == 0;
    let files = if may_be_single { FileLayout::Single } else { FileLayout::PerType };
    let compression = if world.draw(3) == 0 { Compression::Gzip } else { Compression::None };
    let resource_types = vec![ResourceType::Account, ResourceType::Patient];
    let spec = ExportSpec { resource_types, since, files, compression, format };
    world.start(Call::Export(ExportRequest { spec, label: None, idempotency: None })).await
}

/// When the record of a line was written.
pub(crate) fn last_updated(line: &str) -> &str {
    line.split_once(r#""lastUpdated":""#).and_then(|(_, rest)| rest.split_once('"')).unwrap().0
}

/// The lines of an export by their ids, each once; the files are as the job tells.
///
/// A write that lands when nobody waits for it any more, while a change log is read, brings its record a second time, in
/// a later version: the newest one is kept.
pub(crate) fn lines(world: &World, job: &Job) -> BTreeMap<String, String> {
    let seed = world.seed;
    let Some(JobResult::Export { files, .. }) = job.result() else { panic!("seed {seed}: {job:?}") };
    let JobSpec::Export(ExportSpec { since, .. }) = job.spec() else { panic!("seed {seed}: {job:?}") };
    let late = if since.is_some() { world.network.seen().late } else { BTreeSet::new() };
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    let mut count = 0;
    for file in files.iter().filter(|file| file.has_records()) {
        let content = world.memory.object(&file.key).unwrap_or_else(|| panic!("seed {seed}: no {}", file.name));
        let told = (file.bytes, file.sha256.clone());
        assert_eq!(told, (content.len() as u64, in_process::sha256(&content)), "seed {seed}: {}", file.name);
        let mut text = String::new();
        if content.starts_with(&[0x1F, 0x8B]) {
            assert!(file.name.ends_with(".ndjson.gz"), "seed {seed}: {}", file.name);
            MultiGzDecoder::new(content.as_ref()).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(content.to_vec()).unwrap();
        }
        assert_eq!(file.records, text.lines().count() as u64, "seed {seed}: {}", file.name);
        for line in text.lines() {
            let id = line.split('"').nth(7).unwrap_or_else(|| panic!("seed {seed}: not a record: {line}"));
            count += 1;
            if let Some(other) = lines.get(id) {
                let is_another = last_updated(other) != last_updated(line);
                let is_late = late.iter().any(|late| late.as_str() == id);
                assert!(is_late && is_another, "seed {seed}: {id} more than once");
                if last_updated(other) > last_updated(line) {
                    continue;
                }
            }
            lines.insert(id.to_owned(), line.to_owned());
        }
    }
    let progress = job.progress();
    assert_eq!((progress.total, progress.processed), (count, count), "seed {seed}");
    lines
}

/// The ids in an export's file of deletions, each once; the file is as the job tells.
pub(crate) fn deleted(world: &World, job: &Job) -> BTreeSet<String> {
    let seed = world.seed;
    let files = job.result().unwrap().files();
    let mut deleted = BTreeSet::new();
    for file in files.iter().filter(|file| !file.has_records()) {
        let text = String::from_utf8(world.memory.object(&file.key).unwrap().to_vec()).unwrap();
        assert_eq!((file.bytes, file.sha256.clone()), (text.len() as u64, in_process::sha256(text.as_bytes())));
        assert_eq!((file.name.as_str(), file.resource_type), ("deleted.ndjson", None), "seed {seed}");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let members: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["deletedAt", "id", "resourceType"], "seed {seed}");
            let id = line["id"].as_str().unwrap();
            assert!(deleted.insert(id.to_owned()), "seed {seed}: {id} is deleted twice");
        }
        assert_eq!(file.records, deleted.len() as u64, "seed {seed}");
        assert!(!deleted.is_empty(), "seed {seed}: a file of no deletions");
    }
    deleted
}

/// Records change and appear while they are read, so that a page read again has other bytes.
async fn run_while_records_change(world: &mut World, records: u64) -> BTreeSet<String> {
    let changed = std::cell::RefCell::new(BTreeSet::new());
    let added = std::cell::Cell::new(0);
    world
        .run(async |world: &World| {
            if world.draw(4) == 0 && added.get() < 300 {
                let name = "Longer".repeat(1 + world.draw(15) as usize);
                let id = if world.draw(2) == 0 && records > 0 {
                    format!("old-{}", world.draw(records))
                } else {
                    added.set(added.get() + 1);
                    format!("new-{}", added.get())
                };
                world.write(&id, &name).await;
                changed.borrow_mut().insert(id);
            }
        })
        .await;
    changed.into_inner()
}

pub(crate) async fn whole(world: &mut World) {
    let records = if world.draw(10) == 0 { 0 } else { world.draw(160) };
    for number in 0..records {
        world.write(&format!("old-{number}"), "Before").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fhir = RecordFormat::Fhir { mapping_version: fhir::MAPPING_VERSION };
    let format = if world.draw(4) == 0 { fhir } else { RecordFormat::Flat };
    let id = start_as(world, None, format).await;
    run_while_records_change(world, records).await;
    let job = world.job(&id).await;
    let found = lines(world, &job);
    let missing: Vec<_> = (0..records).map(|n| format!("old-{n}")).filter(|id| !found.contains_key(id)).collect();
    assert!(missing.is_empty(), "seed {}: missing: {missing:?}", world.seed);
    let is_fhir = |line: &String| line.contains(r#""family":"Doe""#);
    assert!(found.values().all(|line| is_fhir(line) == (format == fhir)), "seed {}: {format:?}", world.seed);
    if world.calm {
        // A kill repeats no more than a second's worth of chunks; each slice has a tail for each file.
        let files = job.result().unwrap().files();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let slices = 2 + world.network.seen().job_writes;
        let most = bytes / CHUNK + slices + world.killed * 40;
        let sent = world.network.seen().objects;
        assert!(sent <= most, "seed {}: {sent} objects for {bytes} bytes, {} killed", world.seed, world.killed);
    }
}

/// What changed since and up to the start, once, and nothing older.
pub(crate) async fn since(world: &mut World) {
    let records = world.draw(160);
    for number in 0..records {
        world.write(&format!("old-{number}"), "Before").await;
    }
    tokio::time::sleep(Duration::from_secs(1 + world.draw(30))).await;
    let since = world.clock.now();
    let mut expected = BTreeSet::new();
    for _ in 0..world.draw(300) {
        let id =
            if world.draw(2) == 0 { format!("old-{}", world.draw(200)) } else { format!("new-{}", world.draw(99)) };
        world.write(&id, "After").await;
        expected.insert(id);
        if world.draw(10) == 0 {
            tokio::time::sleep(Duration::from_millis(world.draw(500))).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(world.draw(3))).await;
    // Nobody knows what a future `since` means; a worker whose clock is behind sees one.
    let since = if world.draw(10) == 0 { world.clock.now() } else { since };
    let is_now = since == world.clock.now();
    let id = start(world, Some(since)).await;
    let changed = run_while_records_change(world, 200).await;
    let found = lines(world, &world.job(&id).await);
    let seed = world.seed;
    if !is_now {
        let missing: Vec<_> = expected.iter().filter(|id| !found.contains_key(*id) && !changed.contains(*id)).collect();
        assert!(missing.is_empty(), "seed {seed}: missing: {missing:?}");
    }
    let too_old: Vec<_> = found.keys().filter(|id| !expected.contains(*id) && !changed.contains(*id)).collect();
    assert!(too_old.is_empty(), "seed {seed}: not changed since: {too_old:?}");
}
