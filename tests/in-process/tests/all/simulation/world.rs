//! One seed's world: who works when, what becomes of messages, and what must hold at every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::{AcceptJobError, ExportRequest, ExportStarter, ImportRequest, ImportStarter, JobAcceptor};
use engine::{Delivery, ExportWorker, ImportWorker, JobDriver, JobWorker, RecordDeleter, Sweeper};
use in_process::network::{Death, Dependency, Network, Weather};
use jiff::{SignedDuration, Timestamp};
use model::{
    ChangeGroup, ChunkSize, FailureReason, Fingerprint, IdempotencyKey, Job, JobId, JobState, JobType, Month,
    Partition, Plan, Pool, Principal, Scope, Tenant, Timings,
};
use ports::{Clock, DueGroup, DueStore, IdSource, JobStore, PortError, RecordWriter, UsageStore};
use records::{RecordId, ResourceType, StoredLine};
use testing::{Memory, MemoryClock, SeededIds};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::deferrals::Deferrals;

/// Chunks of so many bytes: some ten records, so that small exports have many.
pub(crate) const CHUNK: u64 = 1_500;

/// What the store takes as a part at least: less than a chunk, and more than a tail may have.
const LEAST_PART: u64 = 1_500;

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: SeededIds,
    pub(crate) memory: Memory,
    pub(crate) clock: Arc<MemoryClock>,
    pub(crate) network: Network,
    pub(crate) partition: Partition,
    /// Nothing goes wrong but kills.
    pub(crate) calm: bool,
    /// How often a worker may still be killed. Fewer in a row than make a job fail.
    kills: u64,
    pub(crate) killed: u64,
    pub(crate) deferrals: Deferrals,
    pub(crate) jobs: Vec<Watched>,
    /// Requests that were counted besides jobs.
    pub(crate) requests: u64,
    underway: Vec<(Instant, JobId)>,
    running: Vec<Running>,
    next_sweep: Instant,
    fair_from: Instant,
    /// Whether dependencies stop answering now and then.
    hangs: bool,
}

/// A job, and what of it was seen last.
pub(crate) struct Watched {
    pub(crate) id: JobId,
    accepted: Instant,
    processed: u64,
    revision: u64,
    /// As it was when it was first seen to have ended.
    ended: Option<Job>,
}

struct Running {
    worker: JoinHandle<Result<Delivery, PortError>>,
    network: Network,
    dies_at: Option<Instant>,
}

/// A clock that is off by up to a second.
struct SkewedClock(Arc<MemoryClock>, SignedDuration);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

/// A valid call, for a job of either type.
#[derive(Clone)]
pub(crate) enum Call {
    Import(ImportRequest),
    Export(ExportRequest),
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let random = SeededIds::new(seed);
        let memory = Memory::with_least_part(LEAST_PART);
        let draw = |bound: u64| (random.random() % u128::from(bound)) as u64;
        let calm = draw(4) == 0;
        let weather = if calm {
            // Records land well after their change items, and before the change log counts as settled.
            Weather { lag: draw(2_500), ..Weather::FAIR }
        } else {
            Weather {
                refused: draw(40),
                throttled: draw(60),
                answer_lost: draw(60),
                slow: draw(15),
                broken_bodies: draw(150),
                ..Weather::FAIR
            }
        };
        let kills = draw(5);
        let now = Instant::now();
        Self {
            seed,
            network: Network::new(&memory, seed ^ 0xFEED, weather),
            random,
            memory,
            clock: Arc::new(MemoryClock::starting_at(in_process::START.parse().unwrap())),
            partition: in_process::test_partition(),
            calm,
            kills,
            killed: 0,
            deferrals: Deferrals::default(),
            jobs: Vec::new(),
            requests: 0,
            underway: Vec::new(),
            running: Vec::new(),
            next_sweep: now,
            fair_from: now + Duration::from_mins(20),
            hangs: !calm && seed.is_multiple_of(3),
        }
    }

    pub(crate) fn draw(&self, bound: u64) -> u64 {
        (self.random.random() % u128::from(bound.max(1))) as u64
    }

    pub(crate) fn ids(&self) -> Arc<SeededIds> {
        Arc::new(SeededIds::new(self.draw(u64::MAX)))
    }

    fn worker(&self, job_type: JobType, network: &Network) -> Box<dyn JobWorker> {
        let network = Arc::new(network.clone());
        let skew = SignedDuration::from_millis(self.draw(2_001).cast_signed() - 1_000);
        let driver = JobDriver {
            jobs: network.clone(),
            queue: network.clone(),
            files: network.clone(),
            clock: Arc::new(SkewedClock(self.clock.clone(), skew)),
            ids: self.ids(),
            timings: Timings {
                time_slice: Duration::from_secs(3),
                complete: Duration::from_secs(2),
                ..Timings::default()
            },
        };
        let (objects, multipart) = (network.clone(), network.clone());
        match job_type {
            JobType::Import => Box::new(ImportWorker { driver, records: network, objects, multipart }),
            JobType::Export => Box::new(ExportWorker {
                driver,
                records: network,
                objects,
                multipart,
                chunk_size: ChunkSize::new(CHUNK),
            }),
        }
    }

    pub(crate) fn caller(&self) -> Principal {
        let tenant = Tenant {
            id: self.partition.tenant.clone(),
            plan: Plan::Enterprise,
            bulk_operations_per_hour: 1 + self.jobs.len() as u32,
            overage: false,
        };
        let partition = self.partition.clone();
        Principal { partition, scopes: vec![Scope::All], tenant, key_id: "key_simulation".to_owned() }
    }

    /// Several callers repeat the same call at once, each until it is accepted: one job comes of it, though there is
    /// only one operation to be had.
    pub(crate) async fn start(&mut self, call: Call) -> JobId {
        let who = self.caller();
        let key = IdempotencyKey::parse(format!("job-{}", self.jobs.len()).as_bytes()).unwrap();
        let idempotency = Some((key, Fingerprint::of("POST", "/", b"{}")));
        let call = match call {
            Call::Import(import) => Call::Import(ImportRequest { idempotency, ..import }),
            Call::Export(export) => Call::Export(ExportRequest { idempotency, ..export }),
        };
        let callers = (0..=self.draw(3)).map(|_| self.accepted(&who, &call));
        let ids = futures::future::join_all(callers).await;
        assert!(ids.iter().all(|id| *id == ids[0]), "seed {}: more than one job: {ids:?}", self.seed);
        let id = ids[0].clone();
        let accepted = Instant::now();
        self.jobs.push(Watched { id: id.clone(), accepted, processed: 0, revision: 0, ended: None });
        id
    }

    /// The job of a call that is repeated until it is accepted.
    async fn accepted(&self, who: &Principal, call: &Call) -> JobId {
        let (network, ids) = (Arc::new(self.network.clone()), self.ids());
        let acceptor = || JobAcceptor {
            acceptances: network.clone(),
            jobs: network.clone(),
            usage: network.clone(),
            queue: network.clone(),
            clock: self.clock.clone(),
            ids: ids.clone(),
            timings: Timings::default(),
            retention: Duration::from_hours(168),
        };
        let imports = ImportStarter { acceptor: acceptor(), objects: network.clone() };
        let exports = ExportStarter { acceptor: acceptor() };
        loop {
            let accepted = match call {
                Call::Import(import) => imports.start(who, import).await,
                Call::Export(export) => exports.start(who, export).await,
            };
            match accepted {
                Ok(accepted) => return accepted.job_id,
                Err(AcceptJobError::Contention) => {}
                Err(AcceptJobError::Port(error)) if error.is_transient() => {}
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub(crate) async fn job(&self, id: &JobId) -> Job {
        // Also one whose time is over or that was deleted: a test may look back.
        JobStore::read(&self.memory, &self.partition, id).await.unwrap().unwrap()
    }

    /// Lets the jobs be worked on, in all their misery, until all have ended.
    pub(crate) async fn run(&mut self, mut meanwhile: impl AsyncFnMut(&Self)) {
        while self.step().await {
            meanwhile(self).await;
        }
    }

    /// One step; false when all jobs have ended and nobody works any more.
    pub(crate) async fn step(&mut self) -> bool {
        self.tick().await;
        !(self.check().await && self.running.is_empty())
    }

    /// What happens next: messages arrive, workers die, the sweeper sweeps.
    pub(crate) async fn tick(&mut self) {
        let now = Instant::now();
        for (partition, id) in self.memory.take_messages() {
            assert_eq!(partition, self.partition);
            // A message may be lost, late, or come more than once.
            for _ in 0..[0, 1, 1, 1, 1, 1, 1, 2, 2, 5][self.draw(10) as usize] {
                let late = if self.draw(10) == 0 { 90_000 } else { 500 };
                self.underway.push((now + Duration::from_millis(self.draw(late)), id.clone()));
            }
        }
        let arrived: Vec<_> = self.underway.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, id) in arrived {
            self.deliver(id).await;
        }
        for ended in self.running.extract_if(.., |one| one.worker.is_finished()) {
            self.deferrals.heard(&ended.worker.await.unwrap());
        }
        let dies = |one: &mut Running| one.network.is_dead() || one.dies_at.is_some_and(|at| at <= now);
        for dead in self.running.extract_if(.., dies) {
            dead.worker.abort();
            self.killed += 1;
            self.deferrals.unheard();
        }
        if now >= self.next_sweep {
            self.next_sweep = now + Duration::from_mins(1);
            self.sweep().await;
        }
        if now > self.fair_from {
            self.network.set(Weather::FAIR);
        } else if self.hangs && self.draw(600) == 0 {
            // A dependency gives no answer for half a minute.
            let all =
                [Dependency::Jobs, Dependency::Records, Dependency::Usage, Dependency::Objects, Dependency::Queue];
            let dependency = all[self.draw(all.len() as u64) as usize];
            self.network.hang(dependency, now + Duration::from_secs(30));
        }
        let step = if self.running.is_empty() { 1_000 } else { 100 };
        tokio::time::sleep(Duration::from_millis(step)).await;
    }

    async fn deliver(&mut self, id: JobId) {
        // A message about a job that is gone finds nothing, whoever gets it.
        let Some(job) = JobStore::read(&self.memory, &self.partition, &id).await.unwrap() else { return };
        let job_type = job.job_type();
        let is_killed = self.kills > 0 && self.draw(2) == 0;
        self.kills -= u64::from(is_killed);
        // At any moment, or before or after any call; often that which makes a file visible, since it comes once.
        let death = if self.draw(3) == 0 { Death::Complete } else { Death::Call(1 + self.draw(60)) };
        let dies_with = (is_killed && self.draw(2) == 0).then(|| (death, self.draw(2) == 0));
        let dies_at =
            (is_killed && dies_with.is_none()).then(|| Instant::now() + Duration::from_millis(self.draw(8_000)));
        let network = self.network.for_process(dies_with);
        let (worker, partition) = (self.worker(job_type, &network), self.partition.clone());
        let deadline = Instant::now() + Duration::from_secs(5 + self.draw(120));
        let worker = tokio::spawn(async move { worker.deliver(&partition, &id, deadline).await });
        self.running.push(Running { worker, network, dies_at });
    }

    async fn sweep(&self) {
        let now = self.clock.now();
        for group in DueGroup::ALL {
            for due in self.memory.due(group, now, None, 1_000).await.unwrap().jobs {
                let job = self.job(&due.job_id).await;
                let is_live = job.lease().is_some_and(|lease| lease.expires_at > now + SignedDuration::from_secs(1));
                assert!(!is_live, "seed {}: due under a live lease", self.seed);
            }
        }
        let network = Arc::new(self.network.clone());
        let (imports, exports) = (network.clone(), network.clone());
        let timings = Timings::default();
        let sweeper = Sweeper { jobs: network, imports, exports, clock: self.clock.clone(), timings };
        // What fails is found again by the next sweep.
        let _swept = sweeper.sweep(Instant::now() + Duration::from_mins(1)).await;
    }

    /// What holds at every step; true when all jobs have ended.
    async fn check(&mut self) -> bool {
        let seed = self.seed;
        assert_eq!(self.memory.broken_promises(), 0, "seed {seed}: a record without its change item");
        assert!(!self.network.seen().key_used_twice, "seed {seed}: a key for other bytes");
        let mut all_ended = true;
        for index in 0..self.jobs.len() {
            let job = self.job(&self.jobs[index].id).await;
            let watched = &mut self.jobs[index];
            let progress = job.progress();
            assert!(progress.processed >= watched.processed, "seed {seed}: progress went back");
            assert!(progress.total >= progress.processed, "seed {seed}: more is done than there is");
            assert!(job.revision() >= watched.revision, "seed {seed}: the revision went back");
            if let Some(ended) = &watched.ended {
                let told = |job: &Job| (job.state().clone(), job.progress(), job.completed_at());
                assert_eq!(told(&job), told(ended), "seed {seed}: an ended job changed");
            }
            let exhausted = JobState::Failed(FailureReason::AttemptsExhausted);
            assert!(*job.state() != exhausted, "seed {seed}: failed, though no five workers died in a row");
            (watched.processed, watched.revision) = (progress.processed, job.revision());
            all_ended &= job.has_ended();
            let age = watched.accepted.elapsed();
            assert!(job.has_ended() || age < Duration::from_hours(24), "seed {seed}: never ended: {job:?}");
            if job.has_ended() {
                watched.ended.get_or_insert(job);
            }
        }
        all_ended
    }

    /// Waits until what was on its way has arrived: every call was counted once, and nothing has changed since.
    pub(crate) async fn settled(&mut self) {
        tokio::time::sleep(Duration::from_mins(6)).await;
        self.check().await;
        let (tenant, seed) = (&self.partition.tenant, self.seed);
        let mut expected = BTreeMap::from([(Month::of(in_process::Service::at(0)).as_str().to_owned(), self.requests)]);
        for watched in &self.jobs {
            let job = self.job(&watched.id).await;
            *expected.entry(job.reservation().month.as_str().to_owned()).or_default() += job.charged();
            match job.state() {
                JobState::Completed(_) => assert_eq!(job.charged(), job.reservation().requests, "seed {seed}"),
                JobState::Failed(FailureReason::Cancelled) if job.job_type() == JobType::Import => {}
                _ => assert_eq!(job.charged(), 0, "seed {seed}: a failed job gives all back"),
            }
        }
        for (month, requests) in expected {
            let moment = format!("{month}-01T00:00:00Z").parse().unwrap();
            let counted = self.memory.month(tenant, &Month::of(moment)).await.unwrap().of(Pool::Test);
            assert_eq!(counted, requests, "seed {seed}: requests of {month}");
        }
        let window = self.memory.window(tenant).await.unwrap();
        assert_eq!(window.version, self.jobs.len() as u64, "seed {seed}: operations");
    }

    /// Lets time to live delete change items at the first allowed moment.
    pub(crate) fn expire_changes(&self) {
        self.memory.expire_changes(self.clock.now());
    }

    /// Deletes a patient as an operator does: begun at least, and ended unless the operator's machine dies.
    pub(crate) fn delete(&self, id: &str) {
        let network = Arc::new(self.network.for_process(None));
        let skew = SignedDuration::from_millis(self.draw(2_001).cast_signed() - 1_000);
        let deleter = RecordDeleter {
            remover: network.clone(),
            reader: network,
            clock: Arc::new(SkewedClock(self.clock.clone(), skew)),
            ids: self.ids(),
        };
        let (partition, id) = (self.partition.clone(), RecordId::try_from(id.to_owned()).unwrap());
        let dies_after = Duration::from_millis(if self.draw(4) == 0 { self.draw(400) } else { 600_000 });
        // Nobody waits for the operator.
        tokio::spawn(async move {
            let deleting = deleter.delete(&partition, ResourceType::Patient, &id);
            let _ended = tokio::time::timeout(dies_after, deleting).await;
        });
    }

    /// Writes a patient by the usual way, past the network.
    pub(crate) async fn write(&self, id: &str, name: &str) -> Timestamp {
        let mut batch = [stored(id, name)];
        let now = self.clock.now();
        let group = ChangeGroup::draw(ResourceType::Patient, now, self.random.random());
        self.memory.log_changes(&self.partition, &group, &[batch[0].id().clone()]).await.unwrap();
        let written: Result<_, PortError> = self.memory.write_batch(&self.partition, &group, &mut batch).await;
        assert!(written.unwrap().unwritten.is_empty());
        now
    }
}

fn stored(id: &str, name: &str) -> StoredLine {
    let schema = ResourceType::Patient.schema();
    let line = format!(r#"{{"id":"{id}","firstName":"{name}","lastName":"Doe"}}"#);
    schema.scan(line.as_bytes()).unwrap().into_stored("clinic-one", || unreachable!()).unwrap()
}
