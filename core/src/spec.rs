//! What a client asks for: functions, options, tasks, runs.

use crate::id::{AttemptId, FunctionId, ObjectId, OptionsId, RunId, Seq};
use crate::limits;
use crate::outcome::{Death, Outcome, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::resource::Resources;
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A Python's major and minor version: what by-value functions depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PythonVersion {
    /// 3.
    pub major: u8,
    /// 11, 12, …
    pub minor: u8,
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A user's function, pickled once per function object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// Its number in the session.
    pub id: FunctionId,
    /// BLAKE3 of the pickled bytes.
    pub hash: [u8; 32],
    /// Where it must run if it travels by value; anywhere if by reference.
    pub python: Option<PythonVersion>,
    /// The pickled function with its `retry_on`.
    pub body: Value,
}

/// What `client.options(…)` sets, defined once per session and named by tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Options {
    /// Slots and named resources of one attempt; `cpus` is at least 1.
    pub request: Resources,
    /// How many exceptions may be retried.
    pub retries: u32,
    /// How many executors may die under it; at least 1.
    pub crash_limit: u32,
    /// Larger runs earlier.
    pub priority: i32,
    /// Shown to people; empty if none.
    pub label: Box<str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request: Resources::cpus(1),
            retries: 0,
            crash_limit: limits::CRASH_LIMIT,
            priority: 0,
            label: "".into(),
        }
    }
}

/// One sub-task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its number, chosen by the client, each used once and in ascending order.
    pub seq: Seq,
    /// What to call.
    pub function: FunctionId,
    /// Under which options.
    pub options: OptionsId,
    /// How to call it.
    pub call: Call,
    /// The pickled arguments.
    pub args: Value,
    /// Tasks of the same session whose values stand in for futures among the arguments, in the order of the placeholders.
    pub inputs: Box<[Seq]>,
    /// The run it is a piece of; pieces are numbered from 0 in the order in which they are submitted.
    pub run: Option<RunId>,
    /// How long its value is kept.
    pub retention: Retention,
}

/// How an executor applies a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// `fn(*args, **kwargs)`; the arguments are one pickled `(args, kwargs)`.
    Single,
    /// `fn(*item)` for each of a pickled list of argument tuples; the result is the list of item outcomes.
    Chunk {
        /// What a failing item means.
        errors: Errors,
        /// Retries of each item, in place.
        retries: u32,
        /// Which items.
        span: Span,
    },
    /// As `Chunk`, its values then folded by `merge` into one plain value.
    ChunkFold {
        /// What a failing item means; never `Return`.
        errors: Errors,
        /// Retries of each item, in place.
        retries: u32,
        /// Which items.
        span: Span,
        /// The function that merges two values.
        merge: FunctionId,
    },
    /// `functools.reduce(fn, inputs)`: inputs are plain values in order.
    Fold,
    /// `fn([input, …])`: one item an input, or a chunk's item outcomes each, flattened.
    Combine {
        /// What the inputs are.
        grouping: Grouping,
        /// What an input that is a failure means: left out for `Skip`, an outcome in its place for `Return`; then the next
        /// input is what the failed piece was given and, if that is a chunk, the one after it which items of that: two
        /// decimal numbers with a space between them, of the first and of the one after the last.
        errors: Errors,
    },
}

impl Call {
    /// Which items it is about; none if it is not a chunk.
    #[must_use]
    pub const fn span(self) -> Span {
        match self {
            Self::Chunk { span, .. } | Self::ChunkFold { span, .. } => span,
            Self::Single | Self::Fold | Self::Combine { .. } => Span::whole(0),
        }
    }

    /// The same with other items of the same list.
    #[must_use]
    pub const fn over(self, span: Span) -> Self {
        match self {
            Self::Chunk { errors, retries, .. } => Self::Chunk { errors, retries, span },
            Self::ChunkFold { errors, retries, merge, .. } => Self::ChunkFold { errors, retries, span, merge },
            Self::Single | Self::Fold | Self::Combine { .. } => self,
        }
    }
}

/// Which items of a pickled list a chunk is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first of them.
    pub first: u32,
    /// The one after the last of them.
    pub end: u32,
    /// How many items the list has.
    pub total: u32,
}

impl Span {
    /// All of a list of so many items.
    #[must_use]
    pub const fn whole(total: u32) -> Self {
        Self { first: 0, end: total, total }
    }

    /// Whether it is all of its list.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.first == 0 && self.end == self.total
    }

    /// How many items it has.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.end.saturating_sub(self.first)
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same items in so many parts of about one size, or fewer.
    pub fn parts(self, most: u32) -> impl Iterator<Item = Self> {
        let size = self.len().div_ceil(most).max(1) as usize;
        (self.first..self.end).step_by(size).map(move |first| {
            let end = self.end.min(first.saturating_add(size as u32));
            Self { first, end, ..self }
        })
    }

    /// Its part of so many bytes that its list takes.
    #[must_use]
    pub fn share(self, bytes: u64) -> u64 {
        if self.is_whole() {
            return bytes;
        }
        let share = u128::from(bytes) * u128::from(self.len()) / u128::from(self.total.max(1));
        u64::try_from(share).unwrap_or(bytes)
    }
}

/// Some of the items of a chunk, for one executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The first of them.
    pub first: u32,
    /// The one after the last of them.
    pub end: u32,
    /// If there are any, the one item is not called again: it has crashed, and these are its deaths.
    pub deaths: Vec<Death>,
}

/// Whether a run's pieces are single items or chunks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grouping {
    /// Each piece's value is one item's.
    Items,
    /// Each piece's value is a chunk's list of item outcomes.
    Chunks,
}

/// What a failing item means for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errors {
    /// The whole fails with the lowest failed item known; the rest is cancelled.
    Raise,
    /// The item's outcome is passed on as an object.
    Return,
    /// The item is left out.
    Skip,
}

/// How long the coordinator keeps a task's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// Until the client has it and no task waits for it. One that is with workers, until it was fetched or released.
    Delivery,
    /// Also until the client releases it: somebody holds a future.
    Release,
}

/// Many tasks and one way to finish them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Its number, chosen by the client, each used once.
    pub id: RunId,
    /// The task whose outcome is the run's; cancelling it cancels the run.
    pub result: Seq,
    /// How to finish.
    pub finish: Finish,
    /// What a failing piece means.
    pub errors: Errors,
    /// Options of the tasks that finish it (and of each fold).
    pub options: OptionsId,
}

/// How a run is finished, on the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// An order-preserving fold over whatever adjacent results are there.
    Reduce {
        /// Merges two values.
        function: FunctionId,
        /// Folded once, leftmost.
        initial: Option<Value>,
    },
    /// One last call over all results, in order.
    Combine {
        /// Takes the list.
        function: FunctionId,
        /// What the pieces are.
        grouping: Grouping,
    },
}

/// How hard a cancel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cancel {
    /// Only what has not begun.
    Pending,
    /// Also what runs: SIGINT, then SIGTERM, then SIGKILL, [`limits::KILL_GRACE`] apart.
    Running,
}

/// An attempt on its way to a worker, with all that an executor needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which attempt.
    pub attempt: AttemptId,
    /// What to call (of the attempt's session).
    pub function: FunctionId,
    /// How to call it.
    pub call: Call,
    /// What it takes while it runs.
    pub request: Resources,
    /// The pickled arguments.
    pub args: Value,
    /// The inputs, in order, or the first of them.
    pub inputs: Vec<Outcome>,
    /// How many inputs there will be in all; those that `inputs` lacks follow in order.
    pub inputs_total: u64,
    /// Those among `inputs` that attempts at the same worker are yet to make; until then something else stands there.
    pub promised: Vec<Promised>,
    /// How many executors have died under its task so far: nothing is queued behind one that may kill again.
    pub deaths: u32,
    /// How many executors one item of a chunk may kill.
    pub crash_limit: u32,
    /// Larger runs earlier.
    pub priority: i32,
    /// Whom the end of a chunk goes to.
    pub tail: Tail,
}

/// An input that is to be what another attempt comes to, which the same worker has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// Which of the inputs, counted from 0.
    pub input: u32,
    /// The attempt that makes it.
    pub by: AttemptId,
}

/// Who sees to it that the end of a running chunk, which has not begun, goes to a slot that is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tail {
    /// Its worker, for executors of its own: it stays the attempt's.
    Kept,
    /// The coordinator: it asks for it, and what it is given is the attempt's no more.
    Asked,
}

impl Start {
    /// Bytes of payload in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.args.carried() + self.inputs.iter().map(Outcome::len).sum::<u64>()
    }

    /// Whether it carries no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a worker says it is when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name for people: host and process id.
    pub name: Box<str>,
    /// Slots (as `cpus`) and named resources.
    pub capacity: Resources,
    /// Attempts it is ready to hold beyond those that run.
    pub queue: u32,
    /// The Python of its executors.
    pub python: PythonVersion,
    /// How other workers can fetch objects from it; if they cannot, the coordinator passes them on.
    pub peer: Option<Peer>,
}

/// What a client asks of the coordinator, in the order in which it asks. Each request of a session is counted, so that
/// after a reconnect both sides know which ones still have to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Before its first use.
    DefineFunction(FunctionSpec),
    /// Before their first use.
    DefineOptions {
        /// Their number.
        id: OptionsId,
        /// What they say.
        options: Options,
    },
    /// Tasks in ascending order; inputs name earlier tasks.
    Submit(Vec<TaskSpec>),
    /// Before its first piece.
    OpenRun(RunSpec),
    /// No more pieces.
    SealRun {
        /// Which run.
        run: RunId,
        /// How many pieces it has.
        pieces: u64,
    },
    /// These are no longer wanted.
    Cancel {
        /// Which tasks; the result of a run stands for all of it.
        tasks: Vec<Seq>,
        /// How hard.
        cancel: Cancel,
    },
    /// Nobody holds these futures any more; the tasks still run.
    Release(Vec<Seq>),
    /// These will not be named again; what was asked for still runs.
    ReleaseFunctions(Vec<FunctionId>),
    /// A value to be kept until it is released, for whoever names it: a task that is over from the start. Its outcome is
    /// delivered as that of any task, but without the bytes, which its client has.
    Put {
        /// Its number, as that of a task.
        seq: Seq,
        /// What is to be kept.
        value: Value,
    },
    /// The value of a task that is over and whose value is with workers: answered by a notice, which brings it or says
    /// where it is. Of a task without a future that is also its release, once it has come.
    Fetch {
        /// Which task.
        seq: Seq,
    },
    /// A client that can go to workers by itself has this key. The first of its requests, if it has one.
    Introduce(Fingerprint),
    /// A value that was found with a worker has been fetched there.
    Took(Seq),
    /// A value that was found with a worker could not be fetched there: it is wanted through the coordinator.
    Relay {
        /// Which task's.
        seq: Seq,
        /// As which object it was found.
        object: ObjectId,
        /// Why.
        reason: Unfetched,
    },
}

impl Request {
    /// Bytes of payload in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::DefineFunction(function) => function.body.carried(),
            Self::Put { value, .. } => value.carried(),
            Self::Submit(tasks) => tasks.iter().map(|t| t.args.carried() + 8 * t.inputs.len() as u64 + 48).sum(),
            Self::OpenRun(RunSpec { finish: Finish::Reduce { initial: Some(initial), .. }, .. }) => initial.carried(),
            Self::Cancel { tasks, .. } | Self::Release(tasks) => 8 * tasks.len() as u64,
            Self::ReleaseFunctions(functions) => 4 * functions.len() as u64,
            Self::OpenRun(_)
            | Self::DefineOptions { .. }
            | Self::SealRun { .. }
            | Self::Fetch { .. }
            | Self::Introduce(_)
            | Self::Took(_)
            | Self::Relay { .. } => 0,
        }
    }

    /// How many things it is about: what the length of a step is measured by. Inputs do not count: they are tied in slices.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Submit(tasks) => tasks.len(),
            Self::Cancel { tasks, .. } | Self::Release(tasks) => tasks.len(),
            Self::ReleaseFunctions(functions) => functions.len(),
            Self::DefineFunction(_)
            | Self::DefineOptions { .. }
            | Self::OpenRun(_)
            | Self::SealRun { .. }
            | Self::Put { .. }
            | Self::Fetch { .. }
            | Self::Introduce(_)
            | Self::Took(_)
            | Self::Relay { .. } => 1,
        }
    }

    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
