//! Imports: every valid record is stored, every other one reported.

use std::sync::Arc;

use api::Uploader;
use in_process::jobs::{import_of, import_of_upload, report};
use model::{FailureReason, Job, JobId, JobState, ObjectKey, Report};
use ports::UsageStore;
use records::ResourceType;

use super::world::{Call, World};

/// Some lines, every seventh of which is invalid, and how many are valid.
fn batch(world: &World) -> (String, u64, u64) {
    let lines = 1 + world.draw(400);
    let valid = |line: u64| line % 7 != 3;
    let data = (0..lines)
        .map(|line| {
            let name = if valid(line) { ",\"lastName\":\"D\"" } else { "" };
            format!("{{\"id\":\"r-{line}\",\"firstName\":\"J\"{name}}}\n")
        })
        .collect();
    (data, lines, (0..lines).filter(|line| valid(*line)).count() as u64)
}

fn check(world: &World, job: &Job, lines: u64, valid: u64) {
    let seed = world.seed;
    assert_eq!(job.state().name(), "completed", "seed {seed}: {job:?}");
    let progress = job.progress();
    let figures = (progress.total, progress.processed, progress.succeeded, progress.failed);
    assert_eq!(figures, (lines, lines, valid, lines - valid), "seed {seed}");
    for (of, expected) in [(Report::Results, lines), (Report::Rejected, lines - valid), (Report::Errors, lines - valid)]
    {
        let Some(file) = report(job, of) else {
            assert_eq!(expected, 0, "seed {seed}: {}", of.file_name());
            continue;
        };
        let content = world.memory.object(&file.key).unwrap_or_else(|| panic!("seed {seed}: no {}", of.file_name()));
        let lines = String::from_utf8(content.to_vec()).unwrap().lines().count() as u64;
        assert_eq!(lines, expected, "seed {seed}");
        let told = (file.records, file.bytes, file.sha256);
        assert_eq!(told, (expected, content.len() as u64, in_process::sha256(&content)), "seed {seed}");
    }
    let kept = world.memory.count_records(&world.partition, ResourceType::Patient);
    assert_eq!(kept as u64, valid, "seed {seed}");
}

/// Starts an import; returns the job, its lines, and how many of them are valid.
pub(crate) async fn start(world: &mut World) -> (JobId, u64, u64) {
    let (data, lines, valid) = batch(world);
    let import = import_of(ResourceType::Patient, &data);
    (world.start(Call::Import(import)).await, lines, valid)
}

pub(crate) async fn of_a_call(world: &mut World) {
    let (id, lines, valid) = start(world).await;
    world.run(async |_| {}).await;
    check(world, &world.job(&id).await, lines, valid);
}

/// An upload is counted by a worker, reserved once, and read as it was when the job was accepted.
pub(crate) async fn of_an_upload(world: &mut World) {
    let (data, lines, valid) = batch(world);
    let memory = Arc::new(world.memory.clone());
    let tenant = world.caller().tenant;
    let before = world.memory.tenant(&tenant.id).await.unwrap();
    assert!(world.memory.save_tenant(&tenant, before.as_ref()).await.unwrap());
    let ids = Arc::new(testing::SeededIds::new(world.seed));
    let uploader = Uploader { usage: memory.clone(), signer: memory, clock: world.clock.clone(), ids };
    let (upload, _) = uploader.create(&world.caller(), data.len() as u64).await.unwrap();
    world.requests += 1;
    let key = ObjectKey::upload(&world.partition, &upload);
    world.memory.put_object(&key, data.clone());
    let id = world.start(Call::Import(import_of_upload(upload))).await;
    let is_changed = world.draw(5) == 0;
    if is_changed {
        world.memory.put_object(&key, data + "{}\n");
    }
    world.run(async |_| {}).await;
    let job = world.job(&id).await;
    if is_changed {
        assert_eq!(*job.state(), JobState::Failed(FailureReason::UploadChanged), "seed {}", world.seed);
        assert_eq!(world.memory.count_records(&world.partition, ResourceType::Patient), 0);
    } else {
        check(world, &job, lines, valid);
    }
}
