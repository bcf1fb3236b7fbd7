//! What can happen to a worker.

use super::Entry;
use crate::id::{AttemptId, ExecutorId, FunctionKey, ObjectId, SessionId, WorkerId};
use crate::outcome::{Death, Ending, Outcome, Unfetched};
use crate::peer::Peer;
use crate::spec::{Cancel, FunctionSpec, Start};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// The coordinator is there: nothing is held yet.
    LinkOpened {
        /// Largest result that it keeps, in bytes.
        result_limit: u64,
    },
    /// The coordinator is gone, or has fenced this worker: what runs is killed, what waits is forgotten.
    LinkLost,
    /// The coordinator told a function.
    FunctionDefined {
        /// Whose.
        session: SessionId,
        /// The function.
        function: FunctionSpec,
    },
    /// The coordinator handed attempts over.
    AttemptsAssigned {
        /// What, in the order in which it should begin.
        starts: Vec<Start>,
    },
    /// Further inputs of an attempt arrived.
    InputsAppended {
        /// Which attempt.
        attempt: AttemptId,
        /// The next inputs, in order.
        inputs: Vec<Outcome>,
    },
    /// The coordinator no longer wants these.
    AttemptsCancelled {
        /// Which.
        attempts: Vec<AttemptId>,
        /// How hard.
        cancel: Cancel,
    },
    /// The coordinator wants back what has not begun.
    AttemptsRecalled {
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// The coordinator wants the end of a chunk, as far as it has not begun.
    TailWanted {
        /// Of which attempt.
        attempt: AttemptId,
    },
    /// The coordinator has no task left that needs these.
    FunctionsForgotten {
        /// Which.
        functions: Vec<FunctionKey>,
    },
    /// The coordinator has nothing left of this session.
    SessionForgotten {
        /// Which.
        session: SessionId,
    },
    /// The coordinator says who has an object that an attempt needs.
    FetchOrdered {
        /// Which object.
        object: ObjectId,
        /// Who has it.
        from: WorkerId,
        /// Where that one is, and how it is known.
        at: Peer,
    },
    /// The coordinator sent an object itself.
    ObjectGiven {
        /// Which.
        object: ObjectId,
        /// All of it.
        value: Value,
    },
    /// The coordinator wants to see an object.
    ShowRequested {
        /// Which.
        object: ObjectId,
    },
    /// Nobody wants these objects.
    ObjectsDropped {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// The answer to `Fetch` or `Keep`: the object is in the store.
    ObjectArrived {
        /// Which.
        object: ObjectId,
        /// What it takes, in bytes.
        bytes: u64,
    },
    /// The other answer: it is not.
    FetchFailed {
        /// Which.
        object: ObjectId,
        /// Why.
        reason: Unfetched,
    },
    /// Objects that the store had can no longer be read.
    ObjectsDamaged {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// The answer to `Spill`: the object is on disk too.
    ObjectSpilled {
        /// Which.
        object: ObjectId,
    },
    /// The other answer: the disk is full or fails.
    SpillFailed {
        /// Which object is still in memory alone.
        object: ObjectId,
        /// What the disk says.
        reason: Box<str>,
    },
    /// The answer to `Restore`: the object is in memory again, and on disk still.
    ObjectRestored {
        /// Which.
        object: ObjectId,
    },
    /// The other answer: there is no memory for it at the moment. It is on disk still.
    RestoreFailed {
        /// Which.
        object: ObjectId,
    },
    /// The answer to `Read`.
    ObjectRead {
        /// Which object.
        object: ObjectId,
        /// All of it, if the store has it.
        value: Option<Value>,
    },
    /// The other answer: there is no memory to read it into at the moment. The store has it still.
    ReadFailed {
        /// Which.
        object: ObjectId,
    },
    /// The coordinator's step has taken reports of this cost.
    ReportsTaken {
        /// Credit given back, in bytes.
        cost: u64,
    },
    /// An executor is up.
    ExecutorReady {
        /// Which.
        executor: ExecutorId,
    },
    /// An executor could not be started.
    SpawnFailed {
        /// Which.
        executor: ExecutorId,
    },
    /// An executor is through with entries.
    EntriesEnded {
        /// Which executor.
        executor: ExecutorId,
        /// Which entries, in order, and how.
        ended: Vec<Ended>,
    },
    /// The answer to `Revoke`: these will never begin. Those not named have begun or are over.
    EntriesRevoked {
        /// Which executor.
        executor: ExecutorId,
        /// What was asked for.
        asked: Vec<Entry>,
        /// What was got.
        revoked: Vec<Entry>,
    },
    /// The answer to `Cut`: these items of an entry will never begin there. Without a tail there was nothing to take.
    EntryCut {
        /// Which executor.
        executor: ExecutorId,
        /// Which entry.
        entry: Entry,
        /// The first of the items taken; the others follow it.
        tail: Option<u32>,
    },
    /// The answer to `Observe`: what an executor's shared page says.
    ExecutorSeen {
        /// Which executor.
        executor: ExecutorId,
        /// The entry it runs.
        running: Option<Entry>,
    },
    /// An executor is gone, expected or not. All it still had to say has been said.
    ExecutorDied {
        /// Which.
        executor: ExecutorId,
        /// The entry that its shared page blames.
        running: Option<Entry>,
        /// Which item of that entry, if it is a chunk that has begun.
        item: Option<u32>,
        /// How it ended.
        death: Box<Death>,
    },
    /// Take nothing new, return what has not begun, finish what runs, then leave.
    DrainRequested,
}

/// An entry that an executor is through with.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub entry: Entry,
    /// How it ended.
    pub ending: Ending,
    /// How long it ran, in microseconds.
    pub run_micros: u64,
    /// What it left of its executor.
    pub condition: Condition,
}

/// What a task left of its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Fit for the next.
    Clean,
    /// Child processes remain, or a module is half made: the process group must go, if it does not go by itself.
    Soiled,
}
