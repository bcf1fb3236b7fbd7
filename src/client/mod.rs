//! The client: what threads of the user's program hold while a driver thread talks to the coordinator.
//!
//! [`Handle`] is the door. Its methods may be called from any thread; they hold no lock while they wait and never touch
//! Python. What is asked for goes into [`outgoing`] in the order of the calls; the [`driver`] takes all of it at once,
//! lets [`plait_core::client::Session`] decide, and puts what comes back into the [`inbox`], from which waiting threads
//! take their own outcomes. Large values a client of a coordinator elsewhere gets from workers by itself: the [`visitor`].
//!
//! What this must never do: wake the driver once per task, wake a thread for an outcome that is not its own, hold a lock
//! while it calls out, or leave a task without an outcome (a driver that ends settles everything that is pending).

mod alert;
mod driver;
mod handle;
mod inbox;
mod local;
mod lull;
mod outgoing;
mod remote;
mod table;
mod translate;
mod visitor;
mod waiter;

pub use driver::Ended;
pub use handle::Handle;
pub use local::over;
pub use plait_core::client::Loss;
pub use plait_core::protocol::message::client::{Status, TaskCounts, WorkerState, WorkerStatus};
pub use remote::{ClientConfig, ConnectError, Connecting, Remote, connect};

use plait_core::id::{FunctionId, OptionsId, RunId, Seq};
use plait_core::outcome::{Outcome, Story};
use plait_core::spec::{Call, Retention};
use plait_core::value::{Stored, Value};

/// A task that has no number yet: [`plait_core::spec::TaskSpec`] without its `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// What to call.
    pub function: FunctionId,
    /// Under which options.
    pub options: OptionsId,
    /// How to call it.
    pub call: Call,
    /// The pickled arguments.
    pub args: Value,
    /// Tasks whose values stand in for futures among the arguments.
    pub inputs: Box<[Seq]>,
    /// The run it is a piece of: it then has no outcome of its own here.
    pub run: Option<RunId>,
    /// How long its value is kept.
    pub retention: Retention,
}

/// The end of a task, as it is handed to whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What it came to, or how the coordinator was lost before anybody could say.
    pub outcome: Result<Outcome, Loss>,
    /// The story behind it.
    pub story: Story,
}

impl Completion {
    /// How it ended.
    const fn verdict(&self) -> Verdict {
        match &self.outcome {
            Ok(Outcome::Value(_)) => Verdict::Value,
            Ok(Outcome::Cancelled) => Verdict::Cancelled,
            Ok(Outcome::Raised(_) | Outcome::Skipped | Outcome::Failed(_)) | Err(_) => Verdict::Failed,
        }
    }

    /// The object that is its value, if that is one.
    fn stored(&self) -> Option<&Stored> {
        self.outcome.as_ref().ok().and_then(Outcome::stored)
    }
}

/// How a task ended, as long as nobody asks for what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a value, wherever that is.
    Value,
    /// It was cancelled.
    Cancelled,
    /// It has neither.
    Failed,
}

/// Where a task is, as far as this client has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way or waiting.
    Pending,
    /// Said to be running.
    Running,
    /// Its outcome can be taken.
    Done,
    /// Never submitted, a piece of a run, already taken, or released.
    Unknown,
}

/// Why a task was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nothing more is welcome for now: [`Handle::wait_admission`], then try again.
    #[error("no more tasks are admitted for now")]
    Full,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// The coordinator was lost for good.
    #[error("the coordinator is lost")]
    Lost,
    /// This session has given out every number that a function may have.
    #[error("this session has no number left for another function")]
    Exhausted,
    /// This session has as many sets of options as the coordinator keeps.
    #[error("this session has no room for another set of options")]
    TooManyOptions,
    /// The coordinator would not take it: its link would be cut, and it sent again for ever.
    #[error("{size} bytes are more than the {limit} that the coordinator takes at once")]
    TooLarge {
        /// Bytes of the arguments, the function's body or the initial value.
        size: u64,
        /// Bytes that the coordinator takes.
        limit: u64,
    },
}

/// How a client is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Close {
    /// Nothing new is taken; what is pending goes on, and the goodbye follows once all of it is over.
    WhenDone,
    /// At once: what is pending is cancelled.
    Now,
}
