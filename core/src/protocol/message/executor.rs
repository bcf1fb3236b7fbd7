//! Worker and executor, over a Unix socket.

use crate::id::FunctionKey;
use crate::outcome::{Ending, Outcome};
use crate::spec::Call;
use crate::value::Value;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// To an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToExecutor {
    /// A function, before the first order that needs it.
    Define {
        /// Its name.
        function: FunctionKey,
        /// The pickled function with its `retry_on`.
        body: Value,
    },
    /// Entries of the queue, in order. Each may begin once it is claimed in the shared page.
    Orders(Vec<ExecutorOrder>),
    /// Further inputs of an entry.
    Inputs {
        /// Which entry.
        entry: u32,
        /// The next inputs, in order.
        inputs: Vec<Outcome>,
    },
    /// Functions of this session are no longer needed.
    Forget(crate::id::SessionId),
}

/// One entry of an executor's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorOrder {
    /// Its number.
    pub entry: u32,
    /// What to call.
    pub function: FunctionKey,
    /// How to call it.
    pub call: Call,
    /// Which task of its session this is, for notes and logs.
    pub task: crate::id::AttemptId,
    /// The pickled arguments.
    pub args: Value,
    /// The inputs, or the first of them.
    pub inputs: Vec<Outcome>,
    /// How many there will be.
    pub inputs_total: u64,
}

/// From an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromExecutor {
    /// It is up and has mapped the shared page.
    Ready,
    /// It is through with these, in order.
    Ended(Vec<EntryEnded>),
}

/// One entry that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryEnded {
    /// Which.
    pub entry: u32,
    /// How it ended.
    pub ending: Ending,
    /// How long it ran, in microseconds.
    pub run_micros: u64,
    /// Child processes remain.
    pub soiled: bool,
}
