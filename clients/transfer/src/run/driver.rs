//! Carries a plan out: uploads, starts, polls and collects, each step written down before it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clinikapi::{ApiError, Client, Job, JobStatus};
use jiff::Timestamp;
use serde_json::json;

use super::collect::collect;
use super::start::Start;
use crate::events::{Events, Stage};
use crate::files;
use crate::plan::{BatchPlan, ImportRequest, Plan};
use crate::state::{BatchState, Journal, StateFolder, Step};

/// Jobs that run at the same time, at most.
const MAX_RUNNING: usize = 4;
/// A job is asked for this soon after its start.
const FIRST_POLL: Duration = Duration::from_millis(250);
/// While the network is gone, it is tried again after so long, and then after twice as long, up to the longest.
const FIRST_OUTAGE_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(30);
/// The longest sleep between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// Failures of a job that have stored nothing.
const NOTHING_STORED: [&str; 3] = ["monthly_quota_exceeded", "upload_changed", "too_many_records"];

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
    /// Batches whose upload had expired: each is renewed once.
    pub renewed: BTreeSet<usize>,
}

/// When things are due.
struct Schedule {
    deadline: Option<Instant>,
    /// Nothing is started before this: the limit's next slot.
    slot_at: Instant,
    /// Nothing is asked before this: the network is gone.
    retry_at: Instant,
    outage_pause: Duration,
    polls: BTreeMap<usize, Instant>,
    progress: BTreeMap<usize, u64>,
}

impl<'a> Driver<'a> {
    /// Goes on until everything is done, or nothing can be done.
    pub fn run(&mut self) -> Result<Stop> {
        let now = Instant::now();
        let mut schedule = Schedule {
            deadline: self.waiting.wait_for.map(|time| now + time),
            slot_at: now,
            retry_at: now,
            outage_pause: FIRST_OUTAGE_PAUSE,
            polls: BTreeMap::new(),
            progress: BTreeMap::new(),
        };
        self.events.begin(Stage::Importing, self.plan.to_send());
        self.restart_what_can_be()?;
        loop {
            let stop = match self.round(&mut schedule) {
                Ok(stop) => {
                    if Instant::now() >= schedule.retry_at {
                        schedule.outage_pause = FIRST_OUTAGE_PAUSE;
                    }
                    stop
                }
                Err(error) => {
                    self.outage(error, &mut schedule)?;
                    None
                }
            };
            if let Some(stop) = stop {
                return Ok(stop);
            }
            if schedule.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Stop::Unfinished("the time to wait is over".to_owned()));
            }
            self.show(&schedule);
            let due = schedule.next_due(self.journal.states().iter().any(is_waiting_to_start));
            std::thread::sleep(due.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), TICK));
        }
    }

    /// A failure that passes is waited out; any other ends the work.
    fn outage(&self, error: anyhow::Error, schedule: &mut Schedule) -> Result<()> {
        let Some(api) = error.downcast_ref::<ApiError>() else { return Err(error) };
        let pause = if let Some(slot) = api.slot_in() {
            slot
        } else if api.is_passing() {
            let pause = schedule.outage_pause;
            schedule.outage_pause = (pause * 2).min(LONGEST_OUTAGE_PAUSE);
            pause
        } else {
            return Err(error);
        };
        if self.waiting.no_wait {
            return Err(error);
        }
        self.events.say(&format!("{error}; trying again in {} s", pause.as_secs()));
        self.events.event(&json!({"event": "retrying", "message": error.to_string(), "seconds": pause.as_secs()}))?;
        schedule.retry_at = Instant::now() + pause;
        Ok(())
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
                BatchState::Ended { job_id, completed: true, .. } => self.collect(batch, &job_id, None)?,
                _ => {}
            }
        }
        if let Some(reason) = self.month_used_up() {
            return Ok(Some(Stop::Limit(reason)));
        }
        for batch in self.next_of_types()? {
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
                    let until = in_words(after);
                    if self.waiting.no_wait {
                        return Ok(Some(Stop::Limit(format!(
                            "the hourly limit is used up; its next slot is at {until}"
                        ))));
                    }
                    self.events.say(&format!("the hourly limit is used up; waiting for its next slot at {until}"));
                    self.events.event(&json!({"event": "waiting", "seconds": after.as_secs()}))?;
                    schedule.slot_at = Instant::now() + after;
                    break;
                }
                Start::MonthUsedUp(message) => return Ok(Some(Stop::Limit(message))),
            }
        }
        let states = self.journal.states();
        let may_start = |batch: &&BatchPlan| self.state(batch).is_ok_and(|state| is_waiting_to_start(&state));
        if !states.iter().any(is_at_work) && !self.next_of_types()?.iter().any(may_start) {
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
    fn next_of_types(&self) -> Result<Vec<&'a BatchPlan>> {
        let plan = self.plan;
        let mut types = BTreeSet::new();
        let mut next = Vec::new();
        for batch in &plan.batches {
            let is_settled = match self.state(batch)? {
                BatchState::Collected { .. } | BatchState::Ended { completed: true, .. } => true,
                BatchState::Ended { completed: false, reason, .. } => !may_begin_anew(batch, &reason),
                BatchState::Planned
                | BatchState::Uploaded { .. }
                | BatchState::Starting { .. }
                | BatchState::Started { .. } => false,
            };
            if !is_settled && types.insert(batch.resource_type) {
                next.push(batch);
            }
        }
        Ok(next)
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
            BatchState::Ended { completed: false, reason, .. } if reason.contains("monthly_quota_exceeded") => {
                Some(format!("the month's requests are used up: {reason}"))
            }
            _ => None,
        })
    }

    /// Failed batches begin anew where nothing can be stored twice by it.
    fn restart_what_can_be(&mut self) -> Result<()> {
        let plan = self.plan;
        for batch in &plan.batches {
            if let BatchState::Ended { completed: false, reason, .. } = self.state(batch)?
                && may_begin_anew(batch, &reason)
            {
                self.events.say(&format!("batch {} failed and begins anew", batch.number));
                self.journal.record(batch.number, Step::Restarted)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, batch: &BatchPlan, job_id: &str, schedule: &mut Schedule) -> Result<()> {
        let due = *schedule.polls.entry(batch.number).or_insert_with(Instant::now);
        if Instant::now() < due {
            return Ok(());
        }
        let polled = match self.client.job(job_id) {
            Err(error) if error.is_not_found() => {
                let reason = "the job is gone: deleted, or older than 7 days".to_owned();
                return self.ended(batch, job_id, false, reason);
            }
            polled => polled?,
        };
        let job = polled.job;
        schedule.progress.insert(batch.number, job.processed_records);
        if !job.has_ended() {
            self.events.job(job_id, job.processed_records, batch.records);
            self.events.event(&json!({"event": "progress", "batch": batch.number, "jobId": job_id,
                "processedRecords": job.processed_records, "totalRecords": job.total_records}))?;
            schedule.polls.insert(batch.number, Instant::now() + polled.retry_after);
            return Ok(());
        }
        let completed = job.status == JobStatus::Completed;
        let reason = if completed { String::new() } else { job.reason() };
        self.ended(batch, job_id, completed, reason)?;
        if completed { self.collect(batch, job_id, Some(job)) } else { Ok(()) }
    }

    fn ended(&mut self, batch: &BatchPlan, job_id: &str, completed: bool, reason: String) -> Result<()> {
        if !completed {
            self.events.warn(&format!("batch {}: job {job_id} failed: {reason}", batch.number));
        }
        self.events.job_ended(job_id);
        self.events.event(&json!({"event": "ended", "batch": batch.number, "jobId": job_id, "completed": completed,
            "reason": reason}))?;
        self.journal.record(batch.number, Step::Ended { job_id: job_id.to_owned(), completed, reason })
    }

    /// Fetches a finished job's reports, and lets go of the batch.
    fn collect(&mut self, batch: &BatchPlan, job_id: &str, job: Option<Job>) -> Result<()> {
        let job = match job {
            Some(job) => job,
            None => self.client.job(job_id)?.job,
        };
        let counts = collect(self.client, self.folder, batch, &job)?;
        let (stored, rejected) = (counts.stored, counts.rejected);
        self.journal.record(batch.number, Step::Collected { job_id: job_id.to_owned(), stored, rejected })?;
        self.events.event(&json!({"event": "collected", "batch": batch.number, "jobId": job_id, "stored": stored,
            "rejected": rejected}))?;
        // Patients' data that is no longer needed does not stay on the disk.
        files::remove(&self.folder.batch(batch.number))
    }

    fn show(&self, schedule: &Schedule) {
        let done = self.plan.batches.iter().zip(self.journal.states()).map(|(batch, state)| match state {
            BatchState::Collected { .. } | BatchState::Ended { .. } => batch.records,
            _ => schedule.progress.get(&batch.number).copied().unwrap_or(0),
        });
        self.events.advance(done.sum());
    }
}

impl Schedule {
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

/// Whether a batch that has failed can be done again without storing anything twice.
fn may_begin_anew(batch: &BatchPlan, reason: &str) -> bool {
    batch.without_id == 0 || NOTHING_STORED.iter().any(|code| reason.contains(code))
}

/// Its job runs, or its reports are still to be fetched.
fn is_at_work(state: &BatchState) -> bool {
    matches!(state, BatchState::Started { .. } | BatchState::Ended { completed: true, .. })
}

/// A moment for people: the time of day, and how far away it is.
fn in_words(after: Duration) -> String {
    let at = Timestamp::now() + jiff::SignedDuration::try_from(after).unwrap_or_default();
    let time = at.to_string();
    format!("{} UTC (in {} min)", time.get(11..16).unwrap_or_default(), after.as_secs().div_ceil(60))
}
