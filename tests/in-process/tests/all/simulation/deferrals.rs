//! What operators are told of jobs: every end once, and every deferral.

use engine::Delivery;
use ports::PortError;

use super::world::World;

/// How many workers have deferred their job, and how many more may have begun to.
#[derive(Default)]
pub(crate) struct Deferrals {
    surely: usize,
    perhaps: usize,
}

impl Deferrals {
    /// A worker has ended so.
    pub(crate) fn heard(&mut self, ended: &Result<Delivery, PortError>) {
        match ended {
            Ok(Delivery::Deferred) | Err(_) => self.surely += 1,
            // The lease may have gone while a deferral was written down.
            Ok(Delivery::LeaseLost | Delivery::AlreadyEnded) => self.perhaps += 1,
            Ok(_) => {}
        }
    }

    /// A worker was killed.
    pub(crate) fn unheard(&mut self) {
        self.perhaps += 1;
    }
}

/// Every end is told once, and every deferral; what a killed worker was about to tell may be missing.
pub(crate) fn are_told_and_ends_too(world: &World, told: &[String]) {
    let seed = world.seed;
    for job in &world.jobs {
        let id = format!("job_id={} ", job.id);
        let is_end = |line: &&String| line.contains("jobs_completed=1") || line.contains("jobs_failed=1");
        let ends = told.iter().filter(is_end).filter(|line| line.contains(&id)).count();
        assert!(ends == 1 || (ends == 0 && world.killed > 0), "seed {seed}: an end told {ends} times: {told:#?}");
    }
    let Deferrals { surely, perhaps } = world.deferrals;
    let deferrals = told.iter().filter(|line| line.contains("jobs_deferred=1")).count();
    let expected = surely..=surely + perhaps;
    assert!(expected.contains(&deferrals), "seed {seed}: {deferrals} deferrals told of {expected:?}: {told:#?}");
}
