//! Carries a plan out: uploads, starts, polls and collects, each step written down before it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clinikapi::{Client, Job, JobStatus, Upload};
use serde_json::json;

use super::collect::{check_counts, collect};
use crate::backoff::{Backoff, announce_slot, in_words, is_not_found, job_of_kind};
use crate::events::{Events, Stage};
use crate::failure::mismatch;
use crate::plan::{BatchPlan, ImportRequest, Plan};
use crate::state::{BatchState, JobFailure, Journal, StateFolder};

/// Jobs that run at the same time, at most.
const MAX_RUNNING: usize = 4;
/// A job is asked for this soon after its start.
const FIRST_POLL: Duration = Duration::from_millis(250);
/// The longest sleep between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// The kind of the jobs.
const IMPORT: &str = "import";
/// Failures that are found while the lines are counted, before any is stored.
const NOTHING_STORED: [&str; 2] = [MONTH_USED_UP, "too_many_records"];
const MONTH_USED_UP: &str = "monthly_quota_exceeded";

/// How the work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Every batch has been collected, has failed, or waits behind one of its type that has failed.
    Finished,
    /// There is more to do; why it stopped.
    Unfinished(String),
    /// A limit is used up; which.
    Limit(String),
}

/// How long a run waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// Start what can be started now, and wait for nothing.
    pub no_wait: bool,
    /// Wait so long for slots and jobs; without end unless given.
    pub wait_for: Option<Duration>,
}

/// What the work needs.
pub struct Driver<'a> {
    pub client: &'a Client,
    pub folder: &'a StateFolder,
    pub request: &'a ImportRequest,
    pub plan: &'a Plan,
    pub journal: &'a mut Journal,
    pub events: &'a dyn Events,
    pub waiting: Waiting,
    /// What this process remembers.
    pub memory: Memory,
}

/// What the process that carries a run out remembers of it, and no later one has to know.
#[derive(Default)]
pub struct Memory {
    /// Whether the run was begun by another process.
    pub(super) is_resumed: bool,
    /// By their labels the jobs of the run that the journal did not know of when this process began.
    pub(super) started: Option<BTreeMap<String, String>>,
    /// Batches whose upload had expired: each is renewed once.
    pub(super) renewed: BTreeSet<usize>,
    /// Uploads whose content has not arrived: the next try puts it there again.
    pub(super) uploads: BTreeMap<usize, Upload>,
    /// Batches whose job was gone before, and is asked for again.
    asked_again: BTreeSet<usize>,
}

impl Memory {
    /// That of a process which goes on with a run.
    #[must_use]
    pub fn of_resume() -> Self {
        Self { is_resumed: true, ..Self::default() }
    }
}

/// When things are due.
struct Schedule {
    deadline: Option<Instant>,
    /// Nothing is started before this: the limit's next slot.
    slot_at: Instant,
    /// Nothing is asked before this: the network is gone.
    retry_at: Instant,
    backoff: Backoff,
    polls: BTreeMap<usize, Instant>,
    progress: BTreeMap<usize, u64>,
}

/// What starting a batch came to.
pub(super) enum Start {
    Running,
    /// The limit's next slot is so far away.
    NoSlot(Duration),
    MonthUsedUp(String),
}

impl<'a> Driver<'a> {
    /// Goes on until everything is done, or nothing can be done.
    pub fn run(&mut self) -> Result<Stop> {
        let now = Instant::now();
        let mut schedule = Schedule {
            deadline: self.waiting.wait_for.map(|time| now + time),
            slot_at: now,
            retry_at: now,
            backoff: Backoff::default(),
            polls: BTreeMap::new(),
            progress: BTreeMap::new(),
        };
        self.events.begin(Stage::Importing, self.plan.to_send());
        self.begin_again()?;
        loop {
            match self.round(&mut schedule) {
                Ok(Some(stop)) => return Ok(stop),
                Ok(None) if Instant::now() >= schedule.retry_at => schedule.backoff = Backoff::default(),
                Ok(None) => {}
                Err(error) if self.waiting.no_wait => return Err(error),
                Err(error) => {
                    let pause = schedule.backoff.announced(self.events, error)?;
                    schedule.retry_at = Instant::now() + pause;
                }
            }
            if schedule.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Stop::Unfinished("the time to wait is over".to_owned()));
            }
            self.show(&schedule);
            let due = schedule.next_due(self.journal.states().iter().any(is_waiting_to_start));
            std::thread::sleep(due.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), TICK));
        }
    }

    /// Does what is due now.
    fn round(&mut self, schedule: &mut Schedule) -> Result<Option<Stop>> {
        let plan = self.plan;
        if Instant::now() < schedule.retry_at {
            return Ok(None);
        }
        for batch in &plan.batches {
            match self.state(batch)? {
                BatchState::Started { job_id } => self.poll(batch, &job_id, schedule)?,
                BatchState::Completed { job_id, .. } => self.collect(batch, &job_id, None)?,
                _ => {}
            }
        }
        if let Some(reason) = self.month_used_up() {
            return Ok(Some(Stop::Limit(reason)));
        }
        for batch in self.next_of_types() {
            if Instant::now() < schedule.slot_at || !is_waiting_to_start(&self.state(batch)?) {
                continue;
            }
            if self.running() >= MAX_RUNNING && !self.waiting.no_wait {
                break;
            }
            match self.start(batch)? {
                Start::Running => {
                    schedule.polls.insert(batch.number, Instant::now() + FIRST_POLL);
                }
                Start::NoSlot(after) => {
                    if self.waiting.no_wait {
                        let until = in_words(after);
                        return Ok(Some(Stop::Limit(format!(
                            "the hourly limit is used up; its next slot is at {until}"
                        ))));
                    }
                    announce_slot(self.events, after)?;
                    schedule.slot_at = Instant::now() + after;
                    break;
                }
                Start::MonthUsedUp(message) => return Ok(Some(Stop::Limit(message))),
            }
        }
        let states = self.journal.states();
        let may_start = |batch: &&BatchPlan| self.state(batch).is_ok_and(|state| is_waiting_to_start(&state));
        if !states.iter().any(is_at_work) && !self.next_of_types().iter().any(may_start) {
            return Ok(Some(Stop::Finished));
        }
        if self.waiting.no_wait {
            let waiting = states.iter().filter(|state| is_waiting_to_start(state)).count();
            let behind = match waiting {
                0 => String::new(),
                waiting => format!(", and {waiting} batches wait for an earlier one of their type"),
            };
            return Ok(Some(Stop::Unfinished(format!("jobs are running{behind}"))));
        }
        Ok(None)
    }

    /// Of each type the first batch that is not settled: it alone may run. A later one may hold newer records of the same
    /// ids, so it waits, also for one that has failed and may begin anew.
    fn next_of_types(&self) -> Vec<&'a BatchPlan> {
        let mut types = BTreeSet::new();
        let states = self.plan.batches.iter().zip(self.journal.states());
        let open = states.filter(|(batch, state)| !is_settled(batch, state)).map(|(batch, _)| batch);
        open.filter(|batch| types.insert(batch.resource_type)).collect()
    }

    pub(super) fn state(&self, batch: &BatchPlan) -> Result<BatchState> {
        self.journal.state(batch.number).cloned().context("the journal does not fit the plan")
    }

    fn running(&self) -> usize {
        self.journal.states().iter().filter(|state| matches!(state, BatchState::Started { .. })).count()
    }

    /// The month's pool ended a job: the next ones would fare no better.
    fn month_used_up(&self) -> Option<String> {
        self.journal.states().iter().find_map(|state| match state {
            BatchState::Failed { failure, .. } if failure.code == MONTH_USED_UP => {
                Some(format!("the month's requests are used up: {}", failure.reason))
            }
            _ => None,
        })
    }

    /// Failed batches begin anew where nothing can be stored twice by it, and jobs that were gone are asked for again.
    fn begin_again(&mut self) -> Result<()> {
        let plan = self.plan;
        for batch in &plan.batches {
            match self.state(batch)? {
                state @ BatchState::Failed { .. } if may_begin_anew(batch, &state) => self.restart(batch)?,
                BatchState::Gone { job_id } => {
                    self.memory.asked_again.insert(batch.number);
                    self.journal.record(batch.number, BatchState::Started { job_id })?;
                }
                // As when the process died in between.
                BatchState::Collected { .. } | BatchState::Unreported { rejected: 0, .. } => {
                    files::remove(&self.folder.batch(batch.number))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, batch: &BatchPlan) -> Result<()> {
        self.events.say(&format!("batch {} begins anew", batch.number));
        self.journal.record(batch.number, BatchState::Planned)
    }

    fn poll(&mut self, batch: &BatchPlan, job_id: &str, schedule: &mut Schedule) -> Result<()> {
        if !schedule.is_due(batch.number) {
            return Ok(());
        }
        let polled = match job_of_kind(self.client, job_id, IMPORT) {
            Err(error) if is_not_found(&error) => return self.gone(batch, job_id),
            polled => polled?,
        };
        let job = polled.job;
        schedule.progress.insert(batch.number, job.processed_records);
        match job.status {
            JobStatus::Completed => {
                check_counts(batch, &job)?;
                let (stored, rejected) = (job.succeeded_records, job.failed_records);
                let state = BatchState::Completed { job_id: job_id.to_owned(), stored, rejected };
                self.ended(batch, job_id, state, None)?;
                self.collect(batch, job_id, Some(job))
            }
            JobStatus::Failed => {
                let code = job.errors.first().map(|error| error.code.clone()).unwrap_or_default();
                let failure = JobFailure { code, reason: job.reason(), stored: job.succeeded_records };
                let reason = failure.reason.clone();
                self.ended(batch, job_id, BatchState::Failed { job_id: job_id.to_owned(), failure }, Some(&reason))
            }
            JobStatus::Pending | JobStatus::Processing => {
                self.events.job(job_id, job.processed_records, batch.records);
                self.events.event(&json!({"event": "progress", "batch": batch.number, "jobId": job_id,
                    "processedRecords": job.processed_records, "totalRecords": job.total_records}))?;
                schedule.polls.insert(batch.number, Instant::now() + polled.retry_after);
                Ok(())
            }
        }
    }

    /// The service has said often enough that there is no such job. It has ended, then: only such jobs are deleted.
    fn gone(&mut self, batch: &BatchPlan, job_id: &str) -> Result<()> {
        if batch.without_id == 0 && self.memory.asked_again.remove(&batch.number) {
            return self.restart(batch);
        }
        let reason = "the job is gone: deleted, or older than 7 days";
        self.ended(batch, job_id, BatchState::Gone { job_id: job_id.to_owned() }, Some(reason))
    }

    fn ended(&mut self, batch: &BatchPlan, job_id: &str, state: BatchState, trouble: Option<&str>) -> Result<()> {
        self.journal.record(batch.number, state)?;
        if let Some(reason) = trouble {
            self.events.warn(&format!("batch {}: job {job_id} failed: {reason}", batch.number));
        }
        self.events.job_ended(job_id);
        self.events.event(&json!({"event": "ended", "batch": batch.number, "jobId": job_id,
            "completed": trouble.is_none(), "reason": trouble.unwrap_or_default()}))
    }

    /// Fetches a finished job's reports, and lets go of the batch.
    fn collect(&mut self, batch: &BatchPlan, job_id: &str, known: Option<Job>) -> Result<()> {
        let job = known.map_or_else(|| job_of_kind(self.client, job_id, IMPORT).map(|polled| polled.job), Ok);
        let counts = match job.and_then(|job| collect(self.client, self.folder, batch, &job)) {
            Err(error) if is_not_found(&error) => {
                // The job itself tells whether it is gone, or only a report is not there yet.
                return match job_of_kind(self.client, job_id, IMPORT) {
                    Err(error) if is_not_found(&error) => self.unreported(batch, job_id),
                    Err(error) => Err(error),
                    Ok(_) => Err(mismatch(format!("job {job_id} names reports that are not there"))),
                };
            }
            counts => counts?,
        };
        let (stored, rejected) = (counts.stored, counts.rejected);
        self.journal.record(batch.number, BatchState::Collected { job_id: job_id.to_owned(), stored, rejected })?;
        // Patients' data that is no longer needed does not stay on the disk, whoever hears of it.
        files::remove(&self.folder.batch(batch.number))?;
        self.events.event(&json!({"event": "collected", "batch": batch.number, "jobId": job_id, "stored": stored,
            "rejected": rejected}))
    }

    /// The job has completed, and its reports are gone with it. Its counts were written down when it ended; the batch stays
    /// where some of its records were rejected.
    fn unreported(&mut self, batch: &BatchPlan, job_id: &str) -> Result<()> {
        let (stored, rejected) = self.state(batch)?.counts().context("the batch has not completed")?;
        let job_id = job_id.to_owned();
        self.journal.record(batch.number, BatchState::Unreported { job_id: job_id.clone(), stored, rejected })?;
        if rejected == 0 {
            files::remove(&self.folder.batch(batch.number))?;
        }
        let trouble = self.state(batch)?.trouble().unwrap_or_default();
        self.events.warn(&format!("batch {}: job {job_id} has completed, and is gone: {trouble}", batch.number));
        self.events.event(&json!({"event": "unreported", "batch": batch.number, "jobId": job_id, "stored": stored,
            "rejected": rejected}))
    }

    fn show(&self, schedule: &Schedule) {
        let done = self.plan.batches.iter().zip(self.journal.states()).map(|(batch, state)| match state {
            state if state.counts().is_some() || state.trouble().is_some() => batch.records,
            _ => schedule.progress.get(&batch.number).copied().unwrap_or(0).min(batch.records),
        });
        self.events.advance(done.sum());
    }
}

impl Schedule {
    /// Whether a batch is to be looked at.
    fn is_due(&self, batch: usize) -> bool {
        self.polls.get(&batch).is_none_or(|due| Instant::now() >= *due)
    }

    /// When to look again.
    fn next_due(&self, wants_slot: bool) -> Instant {
        let polls = self.polls.values().copied();
        let slot = wants_slot.then_some(self.slot_at);
        let soonest = polls.chain(slot).filter(|due| *due > Instant::now()).min();
        soonest.unwrap_or_else(|| Instant::now() + TICK).max(self.retry_at)
    }
}

fn is_waiting_to_start(state: &BatchState) -> bool {
    matches!(state, BatchState::Planned | BatchState::Uploaded { .. } | BatchState::Starting { .. })
}

/// Whether those behind a batch need not wait for it: its job has completed, or it has failed for good.
fn is_settled(batch: &BatchPlan, state: &BatchState) -> bool {
    state.counts().is_some() || (state.trouble().is_some() && !may_begin_anew(batch, state))
}

/// Whether a batch can be done again without storing anything twice: what its job has stored is replaced, or its failure
/// proves that nothing was. A job that is gone has ended.
#[must_use]
pub fn may_begin_anew(batch: &BatchPlan, state: &BatchState) -> bool {
    match state {
        BatchState::Failed { failure, .. } => {
            batch.without_id == 0 || (failure.stored == 0 && NOTHING_STORED.contains(&failure.code.as_str()))
        }
        BatchState::Gone { .. } => batch.without_id == 0,
        _ => false,
    }
}

/// Its job runs, or its reports are still to be fetched.
fn is_at_work(state: &BatchState) -> bool {
    matches!(state, BatchState::Started { .. } | BatchState::Completed { .. })
}
