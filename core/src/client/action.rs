//! What a client's session wants done.

use crate::id::{ObjectId, RunId, Seq, WorkerId};
use crate::outcome::{Admission, Delivery, Outcome, Progress};
use crate::peer::Peer;
use crate::spec::Request;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection; resume the session if there was one, naming how many notices were taken.
    Dial {
        /// How many notices have been taken so far.
        taken: u64,
    },
    /// Send requests, in order.
    Send {
        /// Which.
        requests: Vec<Request>,
    },
    /// The first `taken` notices have been taken.
    AcknowledgeNotices {
        /// How many, since the session was opened.
        taken: u64,
    },
    /// Hand outcomes to whoever waits for them.
    Deliver {
        /// Which.
        deliveries: Vec<Delivery>,
    },
    /// Get a value from a worker; answered by `Visited`. It takes the place of an earlier visit for that task.
    Visit {
        /// Which task's.
        seq: Seq,
        /// As which object the worker has it.
        object: ObjectId,
        /// Where the worker is.
        at: Peer,
    },
    /// The values of these tasks need not be got from workers any more; nothing is said of those visits.
    StopVisits {
        /// Which tasks.
        tasks: Vec<Seq>,
    },
    /// Hand a value on that the program asked for, or why it is lost.
    Supply {
        /// Which task's.
        seq: Seq,
        /// The value.
        outcome: Outcome,
    },
    /// Expect outcomes of what the end of a chunk has become.
    Divide {
        /// Which chunk: it ends where the first of them begins.
        seq: Seq,
        /// Where they begin among the items of the chunk, and their numbers.
        parts: Vec<(u32, Seq)>,
    },
    /// These tasks run.
    MarkStarted {
        /// Which.
        tasks: Vec<Seq>,
    },
    /// How far a run is.
    ShowProgress {
        /// Which run.
        run: RunId,
        /// So far.
        progress: Progress,
    },
    /// A worker's name.
    NameWorker {
        /// Which.
        worker: WorkerId,
        /// Its name for people.
        name: Box<str>,
    },
    /// Whether the user's program may submit.
    Admit {
        /// Whether.
        admission: Admission,
    },
    /// The coordinator is lost for good: everything pending fails with that.
    GiveUp {
        /// How it came to that.
        loss: Loss,
    },
    /// Say goodbye and close the connection.
    SayGoodbye,
}

/// How a coordinator was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It could not be reached again in time.
    Unreachable,
    /// It answered, and does not know this session.
    Refused,
    /// It was stopped, and said so.
    Ended,
}
