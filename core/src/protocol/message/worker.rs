//! Worker and coordinator.

use super::{Message, ending_value, ending_value_mut, fill_outcomes, part, show_outcomes};
use crate::id::{AttemptId, FunctionKey, ObjectId, SessionId, WorkerId};
use crate::outcome::{Outcome, Report, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::spec::{Cancel, FunctionSpec, Start};
use crate::value::Value;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// To a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message of a connection.
    Welcome {
        /// Its id.
        worker: WorkerId,
        /// Largest result that is kept, in bytes.
        result_limit: u64,
    },
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
    /// No task needs these functions any more; what is held here still does.
    ForgetFunctions(Vec<FunctionKey>),
    /// Get an object from another worker.
    Fetch {
        /// Which.
        object: ObjectId,
        /// From whom.
        from: WorkerId,
        /// Where that one is, and how it is known.
        at: Peer,
    },
    /// An object that cannot be fetched.
    Give {
        /// Which.
        object: ObjectId,
        /// All of it.
        value: Value,
    },
    /// Show the coordinator this object.
    Show(ObjectId),
    /// Nobody wants these objects.
    Drop(Vec<ObjectId>),
    /// A worker with this key will come to fetch objects.
    Expect(Fingerprint),
    /// The end of this chunk is wanted back, as far as it has not begun.
    Cut(AttemptId),
    /// A client with this key will come to fetch objects of its session, and may have no others.
    ExpectClient {
        /// Its key.
        key: Fingerprint,
        /// Its session.
        session: SessionId,
    },
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
    /// Objects that were to be fetched, or were given, are here.
    Held(Vec<ObjectId>),
    /// One that could not be had.
    Unfetched {
        /// Which.
        object: ObjectId,
        /// Why.
        reason: Unfetched,
    },
    /// Objects that were here are not any more.
    Lost(Vec<ObjectId>),
    /// The answer to `Show`.
    Shown {
        /// Which object.
        object: ObjectId,
        /// All of it, if it is here.
        value: Option<Value>,
    },
    /// The answer to `Cut`.
    Cut {
        /// Which attempt.
        attempt: AttemptId,
        /// The first of the items that are not its any more; nothing if all of it has begun.
        at: Option<u32>,
    },
}

impl Message for ToWorker {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Define { function, .. } => show(&function.body),
            Self::Start(starts) => {
                for start in starts {
                    show(&start.args);
                    show_outcomes(&start.inputs, show);
                }
            }
            Self::Inputs { inputs, .. } => show_outcomes(inputs, show),
            Self::Give { value, .. } => show(value),
            Self::Welcome { .. }
            | Self::Fetch { .. }
            | Self::Show(_)
            | Self::Drop(_)
            | Self::Expect(_)
            | Self::ExpectClient { .. }
            | Self::Cut(_)
            | Self::Cancel { .. }
            | Self::Recall(_)
            | Self::Forget(_)
            | Self::ForgetFunctions(_)
            | Self::Taken(_)
            | Self::Fenced
            | Self::Goodbye => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Define { function, .. } => fill(&mut function.body),
            Self::Start(starts) => {
                for start in starts {
                    fill(&mut start.args);
                    fill_outcomes(&mut start.inputs, fill);
                }
            }
            Self::Inputs { inputs, .. } => fill_outcomes(inputs, fill),
            Self::Give { value, .. } => fill(value),
            Self::Welcome { .. }
            | Self::Fetch { .. }
            | Self::Show(_)
            | Self::Drop(_)
            | Self::Expect(_)
            | Self::ExpectClient { .. }
            | Self::Cut(_)
            | Self::Cancel { .. }
            | Self::Recall(_)
            | Self::Forget(_)
            | Self::ForgetFunctions(_)
            | Self::Taken(_)
            | Self::Fenced
            | Self::Goodbye => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Start(starts) => {
                part::cut(starts).map(|(a, b)| (Self::Start(a), Self::Start(b))).map_err(Self::Start)
            }
            Self::Inputs { attempt, inputs } => {
                let whole = |inputs| Self::Inputs { attempt, inputs };
                part::cut(inputs).map(|(a, b)| (whole(a), whole(b))).map_err(whole)
            }
            Self::Cancel { attempts, cancel } => {
                let whole = |attempts| Self::Cancel { attempts, cancel };
                part::cut(attempts).map(|(a, b)| (whole(a), whole(b))).map_err(whole)
            }
            Self::Recall(attempts) => {
                part::cut(attempts).map(|(a, b)| (Self::Recall(a), Self::Recall(b))).map_err(Self::Recall)
            }
            Self::ForgetFunctions(functions) => part::cut(functions)
                .map(|(a, b)| (Self::ForgetFunctions(a), Self::ForgetFunctions(b)))
                .map_err(Self::ForgetFunctions),
            Self::Drop(objects) => part::cut(objects).map(|(a, b)| (Self::Drop(a), Self::Drop(b))).map_err(Self::Drop),
            other => Err(other),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Start(first), Self::Start(rest)) => part::join(first, rest),
            (Self::ForgetFunctions(first), Self::ForgetFunctions(rest)) => part::join(first, rest),
            (Self::Inputs { attempt: of, inputs: first }, Self::Inputs { attempt, inputs: rest }) if *of == attempt => {
                part::join(first, rest);
            }
            (Self::Cancel { attempts: first, cancel: how }, Self::Cancel { attempts: rest, cancel })
                if *how == cancel =>
            {
                part::join(first, rest);
            }
            (Self::Recall(first), Self::Recall(rest)) => part::join(first, rest),
            (Self::Drop(first), Self::Drop(rest)) => part::join(first, rest),
            (_, rest) => return Err(rest),
        }
        Ok(())
    }
}

impl Message for FromWorker {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Ended(reports) => {
                reports.iter().filter_map(|report| ending_value(&report.ending)).for_each(show);
            }
            Self::Shown { value, .. } => value.iter().for_each(show),
            Self::Started(_)
            | Self::Returned(_)
            | Self::Cut { .. }
            | Self::Held(_)
            | Self::Unfetched { .. }
            | Self::Lost(_)
            | Self::Taken(_)
            | Self::Draining
            | Self::Goodbye => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Ended(reports) => {
                reports.iter_mut().filter_map(|report| ending_value_mut(&mut report.ending)).for_each(fill);
            }
            Self::Shown { value, .. } => value.iter_mut().for_each(fill),
            Self::Started(_)
            | Self::Returned(_)
            | Self::Cut { .. }
            | Self::Held(_)
            | Self::Unfetched { .. }
            | Self::Lost(_)
            | Self::Taken(_)
            | Self::Draining
            | Self::Goodbye => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Started(attempts) => {
                part::cut(attempts).map(|(a, b)| (Self::Started(a), Self::Started(b))).map_err(Self::Started)
            }
            Self::Ended(reports) => {
                part::cut(reports).map(|(a, b)| (Self::Ended(a), Self::Ended(b))).map_err(Self::Ended)
            }
            Self::Returned(attempts) => {
                part::cut(attempts).map(|(a, b)| (Self::Returned(a), Self::Returned(b))).map_err(Self::Returned)
            }
            Self::Held(objects) => part::cut(objects).map(|(a, b)| (Self::Held(a), Self::Held(b))).map_err(Self::Held),
            Self::Lost(objects) => part::cut(objects).map(|(a, b)| (Self::Lost(a), Self::Lost(b))).map_err(Self::Lost),
            other => Err(other),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Started(first), Self::Started(rest)) | (Self::Returned(first), Self::Returned(rest)) => {
                part::join(first, rest);
            }
            (Self::Ended(first), Self::Ended(rest)) => part::join(first, rest),
            (Self::Held(first), Self::Held(rest)) | (Self::Lost(first), Self::Lost(rest)) => part::join(first, rest),
            (_, rest) => return Err(rest),
        }
        Ok(())
    }
}
