//! What a worker's brain wants done.

use super::Entry;
use crate::id::{AttemptId, ExecutorId, FunctionKey, ObjectId, SessionId, WorkerId};
use crate::outcome::{Outcome, Report, Unfetched};
use crate::peer::Peer;
use crate::spec::{FunctionSpec, Part, Start};
use crate::value::Value;
use alloc::vec::Vec;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start an executor process.
    Spawn {
        /// Its new id.
        executor: ExecutorId,
        /// The slots it serves, for its thread settings.
        cpus: u32,
    },
    /// Tell an executor a function before the first entry that needs it.
    Define {
        /// Whom.
        executor: ExecutorId,
        /// Whose function.
        session: SessionId,
        /// The function.
        function: FunctionSpec,
    },
    /// Put entries into an executor's queue: offer them in the shared page, then send them.
    Give {
        /// Whom.
        executor: ExecutorId,
        /// What, in order.
        orders: Vec<Order>,
    },
    /// Send further inputs of an entry.
    GiveInputs {
        /// Whom.
        executor: ExecutorId,
        /// Which entry.
        entry: Entry,
        /// The next inputs, in order.
        inputs: Vec<Outcome>,
    },
    /// Tell an executor that functions which it was told are no longer needed.
    ForgetFunctions {
        /// Whom.
        executor: ExecutorId,
        /// Which.
        functions: Vec<FunctionKey>,
    },
    /// Tell an executor that the functions of a session are no longer needed.
    Forget {
        /// Whom.
        executor: ExecutorId,
        /// Whose functions.
        session: SessionId,
    },
    /// Take entries back that have not begun; answered at once by `EntriesRevoked`.
    Revoke {
        /// From whom.
        executor: ExecutorId,
        /// Which.
        entries: Vec<Entry>,
    },
    /// Take the tail of a chunk that has not begun, half of what is left of it; answered at once by `EntryCut`.
    Cut {
        /// From whom.
        executor: ExecutorId,
        /// Of which entry.
        entry: Entry,
    },
    /// Look at the shared page of every executor that has something to do; each is answered by `ExecutorSeen`.
    Observe {
        /// Whose.
        executors: Vec<ExecutorId>,
    },
    /// Send a signal to an executor (its whole process group for `Kill`).
    Signal {
        /// Whom.
        executor: ExecutorId,
        /// Which.
        signal: Signal,
    },
    /// Get an object from another worker; answered by `ObjectArrived` or `FetchFailed`.
    Fetch {
        /// Which.
        object: ObjectId,
        /// From whom.
        from: WorkerId,
        /// Where that one is, and how it is known.
        at: Peer,
    },
    /// Take what an attempt here has made into the store. Not answered: its bytes are on this machine already.
    Store {
        /// Its name.
        object: ObjectId,
        /// All of it.
        value: Value,
    },
    /// Put an object that comes from elsewhere into the store; answered as `Fetch` is.
    Keep {
        /// Which.
        object: ObjectId,
        /// All of it.
        value: Value,
    },
    /// Write an object to disk; answered by `ObjectSpilled` or `SpillFailed`. It stays in memory too.
    Spill {
        /// Which.
        object: ObjectId,
    },
    /// Forget an object's memory: it is on disk.
    Evict {
        /// Which.
        object: ObjectId,
    },
    /// Bring an object back into memory, and leave it on disk; answered by `ObjectRestored`, `RestoreFailed` or
    /// `ObjectsDamaged`.
    Restore {
        /// Which.
        object: ObjectId,
    },
    /// Read an object from the store, wherever it lies; answered by `ObjectRead` or `ReadFailed`.
    Read {
        /// Which.
        object: ObjectId,
    },
    /// Take objects out of the store, and stop fetching them.
    Drop {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// Tell the coordinator which objects have come.
    ReportHeld {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// Tell the coordinator that an object could not be had.
    ReportUnfetched {
        /// Which.
        object: ObjectId,
        /// Why.
        reason: Unfetched,
    },
    /// Tell the coordinator which objects are here no more.
    ReportLost {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// Show an object to the coordinator.
    Show {
        /// Which.
        object: ObjectId,
        /// All of it, if it is here.
        value: Option<Value>,
    },
    /// Tell the coordinator how attempts ended.
    Report {
        /// Which and how.
        reports: Vec<Report>,
    },
    /// Tell the coordinator what has been running for a while.
    ReportStarted {
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Tell the coordinator which items an attempt has from now on, as it asked for the end of it.
    ReportCut {
        /// Which.
        attempt: AttemptId,
        /// The first of those that are not its any more; nothing if all of it has begun.
        at: Option<u32>,
    },
    /// Give attempts back to the coordinator.
    Return {
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Give credit back for starts that this step has taken.
    AcknowledgeStarts {
        /// Credit, in bytes.
        cost: u64,
    },
    /// Tell the coordinator that nothing new is taken.
    AnnounceDrain,
    /// Nothing is left to do here: say goodbye and end.
    Leave,
}

/// An attempt in an executor's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number in that queue.
    pub entry: Entry,
    /// What to do.
    pub start: Start,
    /// With which of its items, if not with all.
    pub part: Option<Part>,
}

impl Order {
    /// The first of the items that it is about, and the one after the last.
    #[must_use]
    pub fn items(&self) -> (u32, u32) {
        let span = self.start.call.span();
        self.part.as_ref().map_or((span.first, span.end), |part| (part.first, part.end))
    }
}

/// How an executor is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: the task of this entry sees `KeyboardInterrupt`. If another one runs by then, nothing happens.
    Interrupt(Entry),
    /// SIGTERM, if this entry still runs.
    Terminate(Entry),
    /// SIGKILL, to the process group.
    Kill,
}
