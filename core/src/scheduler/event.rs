//! What can happen to the scheduler. Events are facts; unknown, late and repeated ones are harmless.

use crate::id::{AttemptId, ObjectId, SessionId, WorkerId};
use crate::outcome::{Report, Unfetched};
use crate::spec::{Offer, Request};
use crate::value::Value;
use alloc::vec::Vec;

/// One fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client opened a session.
    SessionOpened {
        /// Its new id: one more than the last.
        session: SessionId,
        /// The secret that a reconnecting client must name.
        token: u128,
        /// How large values go between here and the client.
        exchange: Exchange,
    },
    /// A client came back over a new connection.
    SessionResumed {
        /// Which session it says it is.
        session: SessionId,
        /// The secret it names.
        token: u128,
        /// How many notices it has taken so far.
        taken: u64,
    },
    /// The connection of a session is gone, without a goodbye.
    SessionCut {
        /// Which session.
        session: SessionId,
    },
    /// A client said goodbye.
    SessionClosed {
        /// Which session.
        session: SessionId,
    },
    /// A client asked for something.
    Requested {
        /// Which session.
        session: SessionId,
        /// What it asked for.
        request: Request,
    },
    /// A client has taken the first `taken` notices of its session.
    NoticesTaken {
        /// Which session.
        session: SessionId,
        /// How many, since the session was opened.
        taken: u64,
    },
    /// A worker joined.
    WorkerJoined {
        /// Its new id: one more than the last.
        worker: WorkerId,
        /// What it brings.
        offer: Offer,
        /// How its silence is judged.
        watch: Watch,
        /// How large values go between here and the worker.
        exchange: Exchange,
    },
    /// Something arrived from a worker, if only a heartbeat.
    WorkerHeard {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker takes nothing new; what it has not begun it returns by itself.
    WorkerDraining {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker's connection is gone, with or without a goodbye.
    WorkerLost {
        /// Which worker.
        worker: WorkerId,
    },
    /// Attempts that have been running for a while.
    AttemptsStarted {
        /// Where.
        worker: WorkerId,
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Attempts that ended.
    AttemptsEnded {
        /// Where.
        worker: WorkerId,
        /// Which, and how.
        reports: Vec<Report>,
    },
    /// Attempts that a worker gives back without having begun them.
    AttemptsReturned {
        /// Where.
        worker: WorkerId,
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// The answer to `CutChunk`: which items the attempt has from now on.
    ChunkCut {
        /// Where.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
        /// The first of those that are not its any more. Nothing if all of it has begun.
        at: Option<u32>,
    },
    /// A worker has objects that it was to fetch or was given.
    ObjectsHeld {
        /// Which worker.
        worker: WorkerId,
        /// Which objects.
        objects: Vec<ObjectId>,
    },
    /// A worker could not get an object.
    ObjectUnfetched {
        /// Which worker.
        worker: WorkerId,
        /// Which object.
        object: ObjectId,
        /// Why.
        reason: Unfetched,
    },
    /// A worker no longer has objects that it had.
    ObjectsLost {
        /// Which worker.
        worker: WorkerId,
        /// Which objects.
        objects: Vec<ObjectId>,
    },
    /// A worker shows an object.
    ObjectShown {
        /// Which worker.
        worker: WorkerId,
        /// Which object.
        object: ObjectId,
        /// All of it, unless the worker does not have it.
        value: Option<Value>,
    },
    /// A worker's step has taken messages of this cost.
    StartsTaken {
        /// Which worker.
        worker: WorkerId,
        /// Credit given back, in bytes.
        cost: u64,
    },
}

/// How large values go between here and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// They are handed over: both are on one machine, and nothing is copied.
    Memory,
    /// Byte by byte.
    Bytes,
}

/// How a peer's silence is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// In the same process: it cannot be silent.
    None,
    /// Across a network: suspected, then fenced.
    Heartbeat,
}
