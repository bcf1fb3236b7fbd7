//! Worker and executor, over a Unix socket.

use super::{Message, ending_value, ending_value_mut, fill_outcomes, part, show_outcomes};
use crate::id::FunctionKey;
use crate::outcome::{Ending, Outcome};
use crate::spec::{Call, Part};
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
    /// These functions are no longer needed.
    ForgetFunctions(Vec<FunctionKey>),
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
    /// With which items of a chunk, if not with all.
    pub part: Option<Part>,
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
    /// Child processes remain, or a module is half made: nothing more may run there.
    pub soiled: bool,
}

impl Message for ToExecutor {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Define { body, .. } => show(body),
            Self::Orders(orders) => {
                for order in orders {
                    show(&order.args);
                    show_outcomes(&order.inputs, show);
                }
            }
            Self::Inputs { inputs, .. } => show_outcomes(inputs, show),
            Self::Forget(_) | Self::ForgetFunctions(_) => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Define { body, .. } => fill(body),
            Self::Orders(orders) => {
                for order in orders {
                    fill(&mut order.args);
                    fill_outcomes(&mut order.inputs, fill);
                }
            }
            Self::Inputs { inputs, .. } => fill_outcomes(inputs, fill),
            Self::Forget(_) | Self::ForgetFunctions(_) => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Orders(orders) => {
                part::cut(orders).map(|(a, b)| (Self::Orders(a), Self::Orders(b))).map_err(Self::Orders)
            }
            Self::Inputs { entry, inputs } => {
                let whole = |inputs| Self::Inputs { entry, inputs };
                part::cut(inputs).map(|(a, b)| (whole(a), whole(b))).map_err(whole)
            }
            Self::ForgetFunctions(functions) => part::cut(functions)
                .map(|(a, b)| (Self::ForgetFunctions(a), Self::ForgetFunctions(b)))
                .map_err(Self::ForgetFunctions),
            other => Err(other),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Orders(first), Self::Orders(rest)) => part::join(first, rest),
            (Self::ForgetFunctions(first), Self::ForgetFunctions(rest)) => part::join(first, rest),
            (Self::Inputs { entry: of, inputs: first }, Self::Inputs { entry, inputs: rest }) if *of == entry => {
                part::join(first, rest);
            }
            (_, rest) => return Err(rest),
        }
        Ok(())
    }
}

impl Message for FromExecutor {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Ended(ended) => ended.iter().filter_map(|entry| ending_value(&entry.ending)).for_each(show),
            Self::Ready => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Ended(ended) => {
                ended.iter_mut().filter_map(|entry| ending_value_mut(&mut entry.ending)).for_each(fill);
            }
            Self::Ready => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Ended(ended) => part::cut(ended).map(|(a, b)| (Self::Ended(a), Self::Ended(b))).map_err(Self::Ended),
            Self::Ready => Err(self),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Ended(first), Self::Ended(rest)) => part::join(first, rest),
            (_, rest) => return Err(rest),
        }
        Ok(())
    }
}
