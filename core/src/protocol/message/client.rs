//! Client and coordinator.

use crate::id::{SessionId, WorkerId};
use crate::outcome::Notice;
use crate::spec::{PythonVersion, Request};
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// A counted request.
    Request(Request),
    /// The first `n` notices have been taken.
    Taken(u64),
    /// What is the state of the cluster? Answered by `Status` with the same number.
    AskStatus(u32),
    /// The session is over.
    Goodbye,
}

/// To a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// The first message of a connection.
    Welcome {
        /// The session.
        session: SessionId,
        /// How many requests it has taken so far.
        taken: u64,
    },
    /// A counted notice.
    Notice(Notice),
    /// The first `n` requests have been taken.
    Taken(u64),
    /// The answer to `AskStatus`.
    Status {
        /// The number of the question.
        question: u32,
        /// The answer.
        status: Box<Status>,
    },
    /// The coordinator closes the session.
    Goodbye(Farewell),
}

/// Why a coordinator closes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Farewell {
    /// It was asked to.
    Closed,
    /// It does not know the session.
    Gone,
    /// The client broke the protocol.
    Misbehaved,
    /// The coordinator itself ends.
    ShuttingDown,
}

/// The state of a cluster, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Every worker.
    pub workers: Vec<WorkerStatus>,
    /// Tasks over all sessions.
    pub tasks: TaskCounts,
    /// Open sessions.
    pub sessions: u32,
    /// Bytes of values held by the coordinator.
    pub held_bytes: u64,
}

/// The state of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// Its name for people.
    pub name: Box<str>,
    /// Slots.
    pub slots: u32,
    /// Named resources, as text (`gpu=2`).
    pub resources: Box<str>,
    /// Attempts that it is known or assumed to run.
    pub running: u32,
    /// Attempts that it holds beyond those.
    pub queued: u32,
    /// How it is doing.
    pub state: WorkerState,
    /// The Python of its executors.
    pub python: PythonVersion,
}

/// How a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// Well.
    Live,
    /// Silent for a while: it gets nothing new.
    Suspected,
    /// It finishes what it runs and leaves.
    Draining,
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Waiting for inputs.
    pub waiting: u64,
    /// Ready for a slot.
    pub ready: u64,
    /// Handed to a worker.
    pub assigned: u64,
    /// Over, since the coordinator started.
    pub done: u64,
    /// Of those, failed or cancelled.
    pub failed: u64,
}
