//! Client and coordinator.

use super::{Message, part};
use crate::id::{SessionId, WorkerId};
use crate::outcome::{Notice, Outcome};
use crate::spec::{Finish, PythonVersion, Request};
use crate::value::Value;
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
        /// Most bytes of values in one request.
        value_limit: u64,
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

impl Message for FromClient {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Request(Request::DefineFunction(function)) => show(&function.body),
            Self::Request(Request::Put { value, .. }) => show(value),
            Self::Request(Request::Submit(tasks)) => tasks.iter().for_each(|task| show(&task.args)),
            Self::Request(Request::OpenRun(run)) => match &run.finish {
                Finish::Reduce { initial, .. } => initial.iter().for_each(show),
                Finish::Combine { .. } => {}
            },
            Self::Request(
                Request::DefineOptions { .. }
                | Request::SealRun { .. }
                | Request::Cancel { .. }
                | Request::Release(_)
                | Request::ReleaseFunctions(_)
                | Request::Fetch { .. }
                | Request::Introduce(_)
                | Request::Took(_)
                | Request::Relay { .. },
            )
            | Self::Taken(_)
            | Self::AskStatus(_)
            | Self::Goodbye => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Request(Request::DefineFunction(function)) => fill(&mut function.body),
            Self::Request(Request::Put { value, .. }) => fill(value),
            Self::Request(Request::Submit(tasks)) => tasks.iter_mut().for_each(|task| fill(&mut task.args)),
            Self::Request(Request::OpenRun(run)) => match &mut run.finish {
                Finish::Reduce { initial, .. } => initial.iter_mut().for_each(fill),
                Finish::Combine { .. } => {}
            },
            Self::Request(
                Request::DefineOptions { .. }
                | Request::SealRun { .. }
                | Request::Cancel { .. }
                | Request::Release(_)
                | Request::ReleaseFunctions(_)
                | Request::Fetch { .. }
                | Request::Introduce(_)
                | Request::Took(_)
                | Request::Relay { .. },
            )
            | Self::Taken(_)
            | Self::AskStatus(_)
            | Self::Goodbye => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        let request = |(a, b)| (Self::Request(a), Self::Request(b));
        match self {
            Self::Request(Request::Submit(tasks)) => part::cut(tasks)
                .map(|(a, b)| request((Request::Submit(a), Request::Submit(b))))
                .map_err(|tasks| Self::Request(Request::Submit(tasks))),
            Self::Request(Request::Cancel { tasks, cancel }) => part::cut(tasks)
                .map(|(a, b)| request((Request::Cancel { tasks: a, cancel }, Request::Cancel { tasks: b, cancel })))
                .map_err(|tasks| Self::Request(Request::Cancel { tasks, cancel })),
            Self::Request(Request::Release(tasks)) => part::cut(tasks)
                .map(|(a, b)| request((Request::Release(a), Request::Release(b))))
                .map_err(|tasks| Self::Request(Request::Release(tasks))),
            Self::Request(Request::ReleaseFunctions(functions)) => part::cut(functions)
                .map(|(a, b)| request((Request::ReleaseFunctions(a), Request::ReleaseFunctions(b))))
                .map_err(|functions| Self::Request(Request::ReleaseFunctions(functions))),
            other => Err(other),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Request(Request::Submit(first)), Self::Request(Request::Submit(rest))) => part::join(first, rest),
            (
                Self::Request(Request::Cancel { tasks: first, cancel: how }),
                Self::Request(Request::Cancel { tasks: rest, cancel }),
            ) if *how == cancel => part::join(first, rest),
            (Self::Request(Request::Release(first)), Self::Request(Request::Release(rest))) => part::join(first, rest),
            (Self::Request(Request::ReleaseFunctions(first)), Self::Request(Request::ReleaseFunctions(rest))) => {
                part::join(first, rest);
            }
            (_, rest) => return Err(rest),
        }
        Ok(())
    }
}

impl Message for ToClient {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Notice(Notice::Ended(deliveries)) => {
                deliveries.iter().map(|delivery| &delivery.outcome).filter_map(Outcome::value).for_each(show);
            }
            Self::Notice(Notice::Fetched { outcome, .. }) => outcome.value().into_iter().for_each(show),
            Self::Notice(
                Notice::Started(_)
                | Notice::Progressed { .. }
                | Notice::WorkerNamed { .. }
                | Notice::Admission(_)
                | Notice::Divided { .. }
                | Notice::Found { .. },
            )
            | Self::Welcome { .. }
            | Self::Taken(_)
            | Self::Status { .. }
            | Self::Goodbye(_) => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Notice(Notice::Ended(deliveries)) => {
                let outcomes = deliveries.iter_mut().map(|delivery| &mut delivery.outcome);
                outcomes.filter_map(Outcome::value_mut).for_each(fill);
            }
            Self::Notice(Notice::Fetched { outcome, .. }) => outcome.value_mut().into_iter().for_each(fill),
            Self::Notice(
                Notice::Started(_)
                | Notice::Progressed { .. }
                | Notice::WorkerNamed { .. }
                | Notice::Admission(_)
                | Notice::Divided { .. }
                | Notice::Found { .. },
            )
            | Self::Welcome { .. }
            | Self::Taken(_)
            | Self::Status { .. }
            | Self::Goodbye(_) => {}
        }
    }

    fn cut(self) -> Result<(Self, Self), Self> {
        let notice = |(a, b)| (Self::Notice(a), Self::Notice(b));
        match self {
            Self::Notice(Notice::Ended(deliveries)) => part::cut(deliveries)
                .map(|(a, b)| notice((Notice::Ended(a), Notice::Ended(b))))
                .map_err(|deliveries| Self::Notice(Notice::Ended(deliveries))),
            Self::Notice(Notice::Started(tasks)) => part::cut(tasks)
                .map(|(a, b)| notice((Notice::Started(a), Notice::Started(b))))
                .map_err(|tasks| Self::Notice(Notice::Started(tasks))),
            Self::Status { question, status } => {
                let Status { workers, tasks, sessions, held_bytes } = *status;
                let whole = |workers| Self::Status {
                    question,
                    status: Box::new(Status { workers, tasks, sessions, held_bytes }),
                };
                part::cut(workers).map(|(a, b)| (whole(a), whole(b))).map_err(whole)
            }
            other => Err(other),
        }
    }

    fn join(&mut self, rest: Self) -> Result<(), Self> {
        match (self, rest) {
            (Self::Notice(Notice::Ended(first)), Self::Notice(Notice::Ended(rest))) => part::join(first, rest),
            (Self::Notice(Notice::Started(first)), Self::Notice(Notice::Started(rest))) => part::join(first, rest),
            (Self::Status { question: asked, status: first }, Self::Status { question, status: rest })
                if *asked == question =>
            {
                part::join(&mut first.workers, rest.workers);
            }
            (_, rest) => return Err(rest),
        }
        Ok(())
    }

    fn texts(&self) -> u64 {
        let Self::Status { status, .. } = self else { return 0 };
        let bytes = |worker: &WorkerStatus| size_of::<WorkerStatus>() + worker.name.len() + worker.resources.len();
        status.workers.iter().map(|worker| bytes(worker) as u64).sum()
    }
}
