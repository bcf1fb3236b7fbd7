//! How an attempt ends, and what a task came to.

use crate::id::{Attempt, AttemptId, ObjectId, TaskId, WorkerId};
use crate::peer::Peer;
use crate::value::{Stored, Value};
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// How one attempt ended, as its worker reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The function returned.
    Returned(Value),
    /// A chunk that folds its own items left all of them out: there is no value, and nothing failed.
    Skipped,
    /// The function raised; the value is the pickled exception with its traceback.
    Raised {
        /// The pickled exception.
        error: Value,
        /// Whether the task's `retry_on` covers it.
        retry: Retry,
    },
    /// The executor died under it.
    Crashed(Box<Death>),
    /// It was stopped because it was cancelled, or never begun for that reason.
    Cancelled,
    /// The result is larger than may be held.
    TooLarge {
        /// Bytes of the result.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// There is no room for the result on its worker's machine, neither in memory nor on disk.
    NoSpace(Box<NoSpace>),
}

/// A disk that is needed and takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoSpace {
    /// Bytes for which there is no room.
    pub size: u64,
    /// The folder.
    pub path: Box<str>,
    /// What is wrong with it.
    pub reason: Box<str>,
}

/// Whether an exception counts as one that a retry may cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// The task's `retry_on` covers it.
    Allowed,
    /// It does not, or the retries were used up in place.
    Denied,
}

/// The end of an executor, told well enough to find the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The machine's name.
    pub host: Box<str>,
    /// The executor's process id there.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
    /// The most resident memory that was seen in bytes, by a look now and then; 0 where unknown.
    pub peak_memory: u64,
    /// The end of what it wrote to stderr.
    pub log_tail: Box<str>,
}

/// Why a worker or a client could not get an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfetched {
    /// The other worker cannot be reached from here, or was cut off on the way.
    Unreachable,
    /// The other worker does not have it.
    Gone,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Somebody else reaped it first.
    Unknown,
}

/// What a task came to: its one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its result.
    Value(Value),
    /// Left out (see [`Ending::Skipped`]); of a run: there was nothing to reduce and no initial value.
    Skipped,
    /// The user's exception, pickled.
    Raised(Value),
    /// Cancelled.
    Cancelled,
    /// plait could not get it done.
    Failed(Box<Failure>),
}

/// Why plait could not get a task done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It killed as many executors as it may.
    Crashed(Vec<Death>),
    /// A dependency failed or was cancelled; this is the first one that did.
    Dependency {
        /// The task whose outcome it was.
        task: TaskId,
        /// That outcome: never a value, never itself a failed dependency (nor can such a thing be decoded: a peer could
        /// nest it until the stack ends).
        #[serde(deserialize_with = "root_cause")]
        cause: Outcome,
    },
    /// No worker can ever run it.
    Unschedulable {
        /// What was asked for.
        asked: Box<str>,
        /// The worker that comes nearest, or nothing if there is none.
        best: Box<str>,
        /// What is missing there.
        missing: Box<str>,
    },
    /// Its result is larger than may be held.
    ResultTooLarge {
        /// Bytes of the result.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The outcome cannot be known.
    Unknown(Box<str>),
    /// There is no room for its result.
    NoSpace(Box<NoSpace>),
}

/// Decodes an [`Outcome`] that is no failed dependency: the same variants, without the one that recurs.
fn root_cause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    #[derive(Deserialize)]
    enum Root {
        Value(Value),
        Skipped,
        Raised(Value),
        Cancelled,
        Failed(RootFailure),
    }
    #[derive(Deserialize)]
    enum RootFailure {
        Crashed(Vec<Death>),
        Dependency(Never),
        Unschedulable { asked: Box<str>, best: Box<str>, missing: Box<str> },
        ResultTooLarge { size: u64, limit: u64 },
        Unknown(Box<str>),
        NoSpace(Box<NoSpace>),
    }
    enum Never {}
    impl<'de> Deserialize<'de> for Never {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(D::Error::custom("a failed dependency within another"))
        }
    }
    Ok(match Root::deserialize(deserializer)? {
        Root::Value(value) => Outcome::Value(value),
        Root::Skipped => Outcome::Skipped,
        Root::Raised(error) => Outcome::Raised(error),
        Root::Cancelled => Outcome::Cancelled,
        Root::Failed(failure) => Outcome::Failed(Box::new(match failure {
            RootFailure::Crashed(deaths) => Failure::Crashed(deaths),
            RootFailure::Dependency(never) => match never {},
            RootFailure::Unschedulable { asked, best, missing } => Failure::Unschedulable { asked, best, missing },
            RootFailure::ResultTooLarge { size, limit } => Failure::ResultTooLarge { size, limit },
            RootFailure::Unknown(text) => Failure::Unknown(text),
            RootFailure::NoSpace(lack) => Failure::NoSpace(lack),
        })),
    })
}

impl Death {
    /// What it takes where it is kept or sent.
    const fn bytes(&self) -> u64 {
        (self.host.len() + self.log_tail.len() + 32) as u64
    }
}

impl NoSpace {
    const fn bytes(&self) -> u64 {
        (self.path.len() + self.reason.len()) as u64
    }
}

impl Failure {
    /// Its texts, and the payload of what caused it.
    fn bytes(&self) -> u64 {
        match self {
            Self::Crashed(deaths) => deaths.iter().map(Death::bytes).sum(),
            Self::Dependency { cause, .. } => cause.len(),
            Self::Unschedulable { asked, best, missing } => (asked.len() + best.len() + missing.len()) as u64,
            Self::Unknown(text) => text.len() as u64,
            Self::ResultTooLarge { .. } => 0,
            Self::NoSpace(lack) => lack.bytes(),
        }
    }
}

impl Outcome {
    /// The object that is its value, if that is one.
    #[must_use]
    pub fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Value(value) => value.stored(),
            Self::Skipped | Self::Raised(_) | Self::Cancelled | Self::Failed(_) => None,
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub const fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// Bytes of payload in it, the texts of a failure included.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Value(value) | Self::Raised(value) => value.carried(),
            Self::Failed(failure) => failure.bytes(),
            Self::Skipped | Self::Cancelled => 0,
        }
    }

    /// Whether it carries no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value or pickled exception in it, for whoever puts announced bytes back.
    pub fn value_mut(&mut self) -> Option<&mut Value> {
        match self {
            Self::Value(value) | Self::Raised(value) => Some(value),
            Self::Failed(failure) => match &mut **failure {
                Failure::Dependency { cause, .. } => cause.value_mut(),
                _ => None,
            },
            Self::Skipped | Self::Cancelled => None,
        }
    }

    /// The value or pickled exception in it.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) | Self::Raised(value) => Some(value),
            Self::Failed(failure) => match &**failure {
                Failure::Dependency { cause, .. } => cause.value(),
                _ => None,
            },
            Self::Skipped | Self::Cancelled => None,
        }
    }
}

/// What a worker says about an attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub ending: Ending,
    /// How long it ran, in microseconds.
    pub run_micros: u64,
}

impl Report {
    /// Bytes of payload in it: both sides count it with [`window::cost`](crate::window::cost).
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.ending {
            Ending::Returned(value) | Ending::Raised { error: value, .. } => value.carried(),
            Ending::Crashed(death) => death.bytes(),
            Ending::NoSpace(lack) => lack.bytes(),
            Ending::Skipped | Ending::Cancelled | Ending::TooLarge { .. } => 0,
        }
    }

    /// Whether it carries no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a client hears about a task that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which task of the session.
    pub seq: crate::id::Seq,
    /// What it came to.
    pub outcome: Outcome,
    /// The story behind it.
    pub story: Story,
}

impl Delivery {
    /// What it takes of a message.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.outcome.len() + 32
    }
}

/// The little that is remembered of how a task went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// How many attempts there were.
    pub attempts: Attempt,
    /// Where the last one ran.
    pub worker: Option<WorkerId>,
    /// How long that one ran, in microseconds.
    pub run_micros: u64,
    /// From the coordinator's acceptance to the end, in microseconds.
    pub total_micros: u64,
}

const _: () = assert!(size_of::<Outcome>() <= 40, "an outcome is held per task and must stay small");

/// What a client is told, in order. Each notice of a session is counted, as its requests are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// These tasks are over.
    Ended(Vec<Delivery>),
    /// These have been running for a while.
    Started(Vec<crate::id::Seq>),
    /// How far a run is.
    Progressed {
        /// Which run.
        run: crate::id::RunId,
        /// So far.
        progress: Progress,
    },
    /// Before a story first mentions it.
    WorkerNamed {
        /// Which worker.
        worker: WorkerId,
        /// Its name for people.
        name: Box<str>,
    },
    /// Whether more tasks are welcome.
    Admission(Admission),
    /// The answer to a request to fetch.
    Fetched {
        /// Which task's value was asked for.
        seq: crate::id::Seq,
        /// The value, whole; or why it is lost.
        outcome: Outcome,
    },
    /// The end of a chunk has become tasks of the coordinator's, for slots that were idle; before any of them ends.
    Divided {
        /// Which chunk: it ends where the first of them begins.
        seq: crate::id::Seq,
        /// Those tasks, each up to the next one, the last up to where the chunk ended before: where they begin among the items
        /// of the chunk, and their numbers.
        parts: Vec<(u32, crate::id::Seq)>,
    },
    /// The answer to a request to fetch of a client that can go there: a worker has the value, and expects it. A later
    /// answer takes its place.
    Found {
        /// Which task's value was asked for.
        seq: crate::id::Seq,
        /// As which object it is there.
        object: ObjectId,
        /// Where that is.
        at: Peer,
    },
}

/// What the pieces of a run that are over have come to, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many items they were about.
    pub items: u64,
    /// How many pieces they were, those counted by their parts that were taken apart or of which others got the end.
    pub pieces: u64,
    /// How long they ran, in microseconds.
    pub run_micros: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// Whether a session may submit more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// It may.
    #[default]
    Open,
    /// What lives with the coordinator has reached its bound: `submit` waits.
    Closed,
}

impl Notice {
    /// Bytes of payload in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Ended(deliveries) => deliveries.iter().map(Delivery::bytes).sum(),
            Self::Started(tasks) => 8 * tasks.len() as u64,
            Self::Fetched { outcome, .. } => outcome.len(),
            Self::Divided { parts, .. } => 12 * parts.len() as u64,
            Self::Progressed { .. } | Self::WorkerNamed { .. } | Self::Admission(_) | Self::Found { .. } => 0,
        }
    }

    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
