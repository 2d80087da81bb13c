//! Jobs that their owner cancels at any moment, and deletes.

use std::sync::Arc;
use std::time::Duration;

use api::{JobManager, ManageJobError};
use model::{FailureReason, Job, JobId, JobState, JobType, KeyPrefix, ObjectKey};
use ports::JobStore;
use records::ResourceType;
use tokio::time::Instant;

use super::world::World;
use super::{exports, imports};

fn manager(world: &World) -> JobManager {
    let network = Arc::new(world.network.clone());
    JobManager { jobs: network.clone(), files: network, clock: world.clock.clone(), ids: world.ids() }
}

/// A job that is cancelled at a random moment ends at once, for good, whoever is at it.
pub(crate) async fn at_any_moment(world: &mut World) -> JobId {
    let id = if world.draw(2) == 0 {
        imports::start(world).await.0
    } else {
        for number in 0..world.draw(300) {
            world.write(&format!("r-{number}"), "Jane").await;
        }
        exports::start(world, None).await
    };
    let cancel_at = Instant::now() + Duration::from_millis(world.draw(6_000));
    let mut cancelled = false;
    while world.step().await || !cancelled {
        if !cancelled && Instant::now() >= cancel_at {
            // Called until it is answered, and once more than needed.
            cancelled = cancel(world, &id).await && cancel(world, &id).await;
        }
    }
    let (job, seed) = (world.job(&id).await, world.seed);
    match job.state() {
        JobState::Completed(_) | JobState::Failed(FailureReason::Cancelled) => {}
        other => panic!("seed {seed}: {}", other.name()),
    }
    id
}

/// Whether the call was answered; the job has ended then.
async fn cancel(world: &World, id: &JobId) -> bool {
    match manager(world).cancel(&world.partition, id).await {
        Ok(job) => {
            assert!(job.has_ended(), "seed {}: cancelled, and not ended", world.seed);
            let told = |job: &Job| (job.state().clone(), job.progress());
            assert_eq!(told(&world.job(id).await), told(&job), "seed {}: the answer is what is stored", world.seed);
            true
        }
        Err(ManageJobError::Port(error)) if error.is_transient() => false,
        Err(error) => panic!("seed {}: {error}", world.seed),
    }
}

/// What was charged for a cancelled import covers all that is stored, and nothing is charged for one that never started.
pub(crate) async fn charge_what_is_stored(world: &World, id: &JobId) {
    let (job, seed) = (world.job(id).await, world.seed);
    if job.job_type() != JobType::Import || job.result().is_some() {
        return;
    }
    let stored = world.memory.count_records(&world.partition, ResourceType::Patient) as u64;
    assert!(stored <= job.charged(), "seed {seed}: {stored} stored, {} charged", job.charged());
    assert!(job.started_at().is_some() || job.charged() == 0, "seed {seed}: charged, and never started");
    if world.calm && world.killed == 0 {
        // What was under way: no more than the groups in flight.
        assert!(job.charged() <= stored + 6 * 500, "seed {seed}: {stored} stored, {} charged", job.charged());
    }
}

/// Once all has arrived, and what was left is cleared away once more, a job that was cancelled has no files; and a deleted
/// one, whenever that is, has none and is gone.
pub(crate) async fn leave_nothing(world: &mut World, id: &JobId) {
    let (job, seed) = (world.job(id).await, world.seed);
    let prefixes = KeyPrefix::of_results(&world.partition, id, job.job_type());
    let is_ours = |key: &ObjectKey| prefixes.iter().any(|prefix| key.as_str().starts_with(prefix.as_str()));
    let is_named =
        |key: &ObjectKey| job.result().is_some_and(|result| result.files().iter().any(|file| file.key == *key));
    if world.draw(2) == 0 {
        wait_for_clearing(world, id).await;
        let (named, left): (Vec<_>, Vec<_>) =
            world.memory.object_keys().into_iter().filter(is_ours).partition(is_named);
        assert_eq!(left, [], "seed {seed}: objects of an ended job");
        let files = job.result().map_or(0, |result| result.files().len());
        assert_eq!(named.len(), files, "seed {seed}: files of a completed job");
        assert_eq!(world.memory.open_multiparts(), 0, "seed {seed}: uploads of an ended job");
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match manager(world).delete(&world.partition, id).await {
            Ok(_) => break,
            Err(ManageJobError::NotFound) if tries > 1 => break,
            Err(ManageJobError::Port(error)) if error.is_transient() => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    let shown = JobStore::get(&world.memory, &world.partition, id, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(shown, None, "seed {seed}");
    wait_for_clearing(world, id).await;
    let left = world.memory.object_keys().into_iter().filter(is_ours);
    assert_eq!(left.collect::<Vec<_>>(), [], "seed {seed}: objects of a deleted job");
    let kept = JobStore::read(&world.memory, &world.partition, id).await.unwrap();
    assert_eq!(kept, None, "seed {seed}: the item of a deleted job");
}

/// Lets sweeper and workers go on until nobody has to look at the job any more.
async fn wait_for_clearing(world: &mut World, id: &JobId) {
    let began = Instant::now();
    let is_due = async |world: &World| {
        let job = JobStore::read(&world.memory, &world.partition, id).await.unwrap();
        job.is_some_and(|job| job.due_at().is_some() || job.is_deleted())
    };
    while is_due(world).await {
        assert!(began.elapsed() < Duration::from_hours(2), "seed {}: never cleared away", world.seed);
        world.tick().await;
    }
}
