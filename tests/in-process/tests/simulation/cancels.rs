//! Jobs that their owner cancels at any moment, and deletes.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::JobStore;
use domain::{FailureReason, JobId, JobManager, JobState, KeyPrefix, ManageJobError};
use tokio::time::Instant;

use crate::world::World;
use crate::{exports, imports};

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
            assert_eq!(world.job(id).await, job, "seed {}: the answer is what is stored", world.seed);
            true
        }
        Err(ManageJobError::Port(error)) if error.is_transient() => false,
        Err(error) => panic!("seed {}: {error}", world.seed),
    }
}

/// Once all has arrived, a job that was cancelled has no files, unless its worker died or what it sent came late; and
/// a deleted one has none at all, and is gone.
pub(crate) async fn leave_nothing(world: &World, id: &JobId) {
    let (job, seed) = (world.job(id).await, world.seed);
    let prefix = KeyPrefix::of_results(&job);
    let files = || world.memory.object_keys().into_iter().filter(|key| key.as_str().starts_with(prefix.as_str()));
    if job.result().is_none() && world.calm && world.killed == 0 {
        assert_eq!(files().count(), 0, "seed {seed}: files of a cancelled job");
        assert_eq!(world.memory.open_multiparts(), 0, "seed {seed}: uploads of a cancelled job");
    }
    loop {
        match manager(world).delete(&world.partition, id).await {
            Ok(_) | Err(ManageJobError::NotFound) => break,
            Err(ManageJobError::Port(error)) if error.is_transient() => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert_eq!(files().count(), 0, "seed {seed}: files of a deleted job");
    let stored = JobStore::get(&world.memory, &world.partition, id, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(stored, None, "seed {seed}");
}
