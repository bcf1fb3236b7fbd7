//! Worker and coordinator.

use crate::id::{AttemptId, SessionId, WorkerId};
use crate::outcome::{Outcome, Report};
use crate::spec::{Cancel, FunctionSpec, Start};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// To a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message of a connection.
    Welcome(WorkerId),
    /// A function, before the first start that needs it.
    Define {
        /// Whose.
        session: SessionId,
        /// The function.
        function: FunctionSpec,
    },
    /// Attempts, in the order in which they should begin.
    Start(Vec<Start>),
    /// Further inputs of an attempt.
    Inputs {
        /// Which attempt.
        attempt: AttemptId,
        /// The next inputs, in order.
        inputs: Vec<Outcome>,
    },
    /// No longer wanted.
    Cancel {
        /// Which.
        attempts: Vec<AttemptId>,
        /// How hard.
        cancel: Cancel,
    },
    /// Wanted back if not begun.
    Recall(Vec<AttemptId>),
    /// Nothing of this session is left.
    Forget(SessionId),
    /// Credit for reports, in bytes.
    Taken(u64),
    /// The worker has been given up: it kills what it runs and joins anew.
    Fenced,
    /// The coordinator ends, or the drained worker may go.
    Goodbye,
}

/// From a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// These have been running for a while.
    Started(Vec<AttemptId>),
    /// These ended.
    Ended(Vec<Report>),
    /// These were not begun and are given back.
    Returned(Vec<AttemptId>),
    /// Credit for starts, in bytes.
    Taken(u64),
    /// Nothing new is taken.
    Draining,
    /// The worker leaves.
    Goodbye,
}
