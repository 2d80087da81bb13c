//! A network between the engine and its ports, as bad as a seed makes it, or as a test's script says.
//!
//! Every call that changes something runs on its own, whatever becomes of its caller, as a request that has left a
//! machine does: it may arrive late, after the caller has died, or arrive and have its answer lost. A process may die
//! before or after any of its calls. Time is tokio's, paused, so that a seed always gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use ports::{ByteStream, IdSource, PortError};
use records::RecordId;
use testing::{Memory, SeededIds};
use tokio::time::Instant;

mod stores;

/// How bad it is, in thousandths of all calls.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Refused without an effect.
    pub refused: u64,
    /// Throttled.
    pub throttled: u64,
    /// Done, and the answer lost.
    pub answer_lost: u64,
    /// Taking very long.
    pub slow: u64,
    /// Pieces of a body with which it breaks, ends too early or stands still.
    pub broken_bodies: u64,
    /// For so long, in milliseconds, a batch of records is on its way at most, beside any other delay.
    pub lag: u64,
    /// One way of any other call takes so long at most, in milliseconds.
    pub delay: u64,
}

impl Weather {
    /// Nothing goes wrong, and nothing takes any time.
    pub const STILL: Self = Self { delay: 0, ..Self::FAIR };

    /// Nothing goes wrong.
    pub const FAIR: Self =
        Self { refused: 0, throttled: 0, answer_lost: 0, slow: 0, broken_bodies: 0, lag: 0, delay: 60 };
}

/// What has been seen of the calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Objects that were written: sources, chunks, tails and small files.
    pub objects: u64,
    /// Batches of records that were sent.
    pub batches: u64,
    /// Records that were sent, in batches.
    pub records: u64,
    /// Calls that read records.
    pub reads: u64,
    /// Writes of jobs.
    pub job_writes: u64,
    /// What was written under which key: hashes of the bytes.
    pub object_bytes: BTreeMap<String, u32>,
    /// Whether ever other bytes were written under a key that had been used.
    pub key_used_twice: bool,
    /// Records that have landed when nobody waits for their write any more.
    pub late: BTreeSet<RecordId>,
}

/// So long a client waits for the answer to a write of records.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// With which call a process dies.
#[derive(Debug, Clone, Copy)]
pub enum Death {
    /// Its n-th.
    Call(u64),
    /// The one that makes a file of parts visible.
    Complete,
}

/// With which of its calls a process dies, and whether the call is still made.
#[derive(Debug)]
struct Fuse {
    calls_left: u64,
    at_complete: bool,
    after: bool,
}

/// Memory behind a bad network. A clone is the same network; [`for_process`](Self::for_process) is another process on it.
#[derive(Clone)]
pub struct Network {
    memory: Memory,
    random: Arc<SeededIds>,
    weather: Arc<Mutex<Weather>>,
    seen: Arc<Mutex<Seen>>,
    fuse: Arc<Mutex<Option<Fuse>>>,
    hanging: Arc<Mutex<Vec<(Dependency, Instant)>>>,
    scripts: Arc<Mutex<BTreeMap<Operation, Script>>>,
}

/// What is to become of the calls of an operation, one after the other.
type Script = Box<dyn Iterator<Item = Fate> + Send>;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Accept,
    Job,
    /// The sweeper's write of a job.
    Postpone,
    /// A write of a job with one of what its tenant has used.
    Settle,
    LogChanges,
    WriteBatch,
    ReadRecords,
    Objects,
    Send,
    Usage,
}

impl Operation {
    fn dependencies(self) -> &'static [Dependency] {
        match self {
            Self::Accept | Self::Settle => &[Dependency::Jobs, Dependency::Usage],
            Self::Job | Self::Postpone => &[Dependency::Jobs],
            Self::LogChanges | Self::WriteBatch | Self::ReadRecords => &[Dependency::Records],
            Self::Objects => &[Dependency::Objects],
            Self::Send => &[Dependency::Queue],
            Self::Usage => &[Dependency::Usage],
        }
    }
}

/// What a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    Jobs,
    Records,
    Usage,
    Objects,
    Queue,
}

fn unavailable() -> PortError {
    PortError::unavailable("call", "as the test wants it")
}

/// What is to become of a call: by a script, or by the dice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Good,
    /// The dependency is down: nothing is done.
    Refused,
    /// The deployment is not as it should be: a permission is missing.
    Denied,
    Throttled,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// Half of a batch is not taken.
    Partial,
    /// Another transaction is at work on the same items: of acceptances.
    Contended,
    /// It is done after so long.
    Late(Duration),
    /// It never ends: the caller is dead to the world.
    Hangs,
}

impl Network {
    /// The network of a seed.
    #[must_use]
    pub fn new(memory: &Memory, seed: u64, weather: Weather) -> Self {
        let random = Arc::new(SeededIds::new(seed));
        Self {
            memory: memory.clone(),
            random,
            weather: Arc::new(Mutex::new(weather)),
            seen: Arc::default(),
            fuse: Arc::default(),
            hanging: Arc::default(),
            scripts: Arc::default(),
        }
    }

    /// A network that takes no time and does as this script says with one operation, and all else well.
    #[must_use]
    pub fn scripted(
        memory: &Memory,
        operation: Operation,
        script: impl IntoIterator<Item = Fate, IntoIter: Send + 'static>,
    ) -> Arc<Self> {
        let network = Self::new(memory, 0, Weather::STILL);
        network.scripts.lock().unwrap().insert(operation, Box::new(script.into_iter()));
        Arc::new(network)
    }

    /// The network as one process has it, which dies before or after a call if told so.
    #[must_use]
    pub fn for_process(&self, dies_with: Option<(Death, bool)>) -> Self {
        let fuse = dies_with.map(|(death, after)| match death {
            Death::Call(calls_left) => Fuse { calls_left, at_complete: false, after },
            Death::Complete => Fuse { calls_left: u64::MAX, at_complete: true, after },
        });
        Self { fuse: Arc::new(Mutex::new(fuse)), ..self.clone() }
    }

    /// Whether the process has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.fuse.lock().unwrap().as_ref().is_some_and(|fuse| fuse.calls_left == 0)
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// What has been seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn below(&self, bound: u64) -> u64 {
        u64::try_from(self.random.random() % u128::from(bound.max(1))).unwrap()
    }

    /// How long one way of a call takes.
    fn delay(&self) -> Duration {
        let Weather { slow, delay, .. } = *self.weather.lock().unwrap();
        let most = if self.below(1_000) < slow { 20_000 } else { delay };
        Duration::from_millis(self.below(most))
    }

    /// From now on calls to a dependency wait until then.
    pub fn hang(&self, dependency: Dependency, until: Instant) {
        self.hanging.lock().unwrap().push((dependency, until));
    }

    async fn hangs(&self, operation: Operation) {
        let hanging = self.hanging.lock().unwrap().clone();
        let of = operation.dependencies();
        let until = hanging.into_iter().filter(|(dependency, _)| of.contains(dependency)).map(|(_, until)| until).max();
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    /// What becomes of the next call of an operation, and whether the dice have said so.
    fn fate(&self, operation: Operation) -> (Fate, bool) {
        if let Some(fate) = self.scripts.lock().unwrap().get_mut(&operation).and_then(Iterator::next) {
            return (fate, false);
        }
        let Weather { refused, throttled, answer_lost, .. } = *self.weather.lock().unwrap();
        let fate = match self.below(1_000) {
            n if n < refused => Fate::Refused,
            n if n < refused + throttled => Fate::Throttled,
            n if n < refused + throttled + answer_lost => Fate::AnswerLost,
            _ => Fate::Good,
        };
        (fate, true)
    }

    /// The next call is the one that makes a file visible.
    fn completes(&self) {
        if let Some(fuse) = self.fuse.lock().unwrap().as_mut()
            && fuse.at_complete
            && fuse.calls_left > 0
        {
            fuse.calls_left = 1;
        }
    }

    /// Whether the process dies with this call, and whether the call is still made.
    fn burn(&self) -> Option<bool> {
        let mut fuse = self.fuse.lock().unwrap();
        let fuse = fuse.as_mut()?;
        if fuse.calls_left == 0 {
            return Some(false);
        }
        fuse.calls_left -= 1;
        (fuse.calls_left == 0).then_some(fuse.after)
    }

    /// A call that only reads.
    async fn read<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        if self.burn().is_some() {
            return std::future::pending().await;
        }
        self.hangs(operation).await;
        tokio::time::sleep(self.delay()).await;
        match self.fate(operation).0 {
            Fate::Good | Fate::Partial | Fate::Contended => call.await,
            Fate::Throttled => Err(PortError::throttled("call", "as the test wants it")),
            Fate::Denied => Err(PortError::refused("call", "as the test wants it")),
            Fate::Refused | Fate::AnswerLost => Err(unavailable()),
            Fate::Hangs => std::future::pending().await,
            Fate::Late(time) => {
                tokio::time::sleep(time).await;
                call.await
            }
        }
    }

    /// A call with an effect, which takes place even when nobody waits for it any more.
    async fn write<T, E>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PortError> + Send + 'static,
    {
        let fate = self.fate(operation);
        self.write_as(fate, operation, call).await
    }

    async fn write_as<T, E>(
        &self,
        (fate, is_diced): (Fate, bool),
        operation: Operation,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PortError> + Send + 'static,
    {
        let death = self.burn();
        if death == Some(false) || fate == Fate::Hangs {
            return std::future::pending().await;
        }
        // The caller may hear of an error long before what it sent has its effect.
        let is_late = is_diced && fate == Fate::AnswerLost && self.below(2) == 0;
        let most = if self.below(2) == 0 { 3_000 } else { 300_000 };
        let there = match fate {
            Fate::Late(time) => time,
            _ if is_late => Duration::from_millis(self.below(most)),
            _ => self.delay(),
        };
        let back = self.delay();
        let network = self.clone();
        let arriving = tokio::spawn(async move {
            network.hangs(operation).await;
            tokio::time::sleep(there).await;
            match fate {
                Fate::Throttled => Err(PortError::throttled("call", "as the test wants it").into()),
                Fate::Denied => Err(PortError::refused("call", "as the test wants it").into()),
                Fate::Refused => Err(unavailable().into()),
                _ => call.await,
            }
        });
        if death.is_some() {
            return std::future::pending().await;
        }
        if is_late {
            tokio::time::sleep(back).await;
            return Err(unavailable().into());
        }
        let outcome = arriving.await.unwrap_or_else(|_| Err(unavailable().into()));
        tokio::time::sleep(back).await;
        if fate == Fate::AnswerLost { Err(unavailable().into()) } else { outcome }
    }
}

impl Network {
    async fn read_records<T>(&self, call: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        self.seen.lock().unwrap().reads += 1;
        Network::read(self, Operation::ReadRecords, call).await
    }

    /// A body as it comes over this network: it takes its time, stands still for a minute, breaks with an error, or ends
    /// too early as if it were whole.
    fn breaking(&self, body: ByteStream) -> ByteStream {
        let network = self.clone();
        let pieces = stream::unfold(Some(body), move |body| {
            let network = network.clone();
            async move {
                let mut body = body?;
                let broken = network.weather.lock().unwrap().broken_bodies;
                match network.below(1_000) {
                    n if n < broken => return Some((Err(unavailable()), None)),
                    n if n < broken + broken / 2 => return None,
                    n if n < broken * 2 => tokio::time::sleep(Duration::from_mins(1)).await,
                    _ => tokio::time::sleep(Duration::from_millis(network.below(20))).await,
                }
                let piece = body.next().await?;
                Some((piece, Some(body)))
            }
        });
        pieces.boxed()
    }
}
