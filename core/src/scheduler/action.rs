//! What the scheduler wants done. Actions for one addressee are to be carried out in order; none can fail.

use crate::id::{AttemptId, FunctionKey, ObjectId, SessionId, WorkerId};
use crate::outcome::{Notice, Outcome};
use crate::peer::{Fingerprint, Peer};
use crate::spec::{Cancel, FunctionSpec, Start};
use crate::value::Value;
use alloc::vec::Vec;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell a worker a function before the first start that needs it.
    DefineFunction {
        /// Whom to tell.
        worker: WorkerId,
        /// Whose function it is.
        session: SessionId,
        /// The function.
        function: FunctionSpec,
    },
    /// Hand attempts to a worker.
    StartAttempts {
        /// Whom.
        worker: WorkerId,
        /// What, in the order in which it should begin.
        starts: Vec<Start>,
    },
    /// Send further inputs of an attempt whose start did not carry them all.
    AppendInputs {
        /// Whom.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
        /// The next inputs, in order.
        inputs: Vec<Outcome>,
    },
    /// Have a worker fetch an object from another; answered by `ObjectsHeld` or `ObjectUnfetched`.
    FetchObject {
        /// Whom.
        worker: WorkerId,
        /// What.
        object: ObjectId,
        /// From whom.
        from: WorkerId,
        /// Where that one is, and how it is known.
        at: Peer,
        /// How that one knows whom to let in.
        guest: Fingerprint,
    },
    /// Tell a worker that a client will come for an object. It may have any of its session, and no others.
    ExpectClient {
        /// Whom to tell.
        worker: WorkerId,
        /// What it comes for.
        object: ObjectId,
        /// How the worker knows whom to let in.
        key: Fingerprint,
    },
    /// Send a worker an object that it cannot fetch; answered in the same way.
    GiveObject {
        /// Whom.
        worker: WorkerId,
        /// What.
        object: ObjectId,
        /// All of it.
        value: Value,
    },
    /// Have a worker send an object here; answered by `ObjectShown`.
    ShowObject {
        /// Whom.
        worker: WorkerId,
        /// What.
        object: ObjectId,
    },
    /// A worker need not keep these any more, nor fetch them.
    DropObjects {
        /// Whom.
        worker: WorkerId,
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// Attempts are no longer wanted; each is still answered by a report.
    CancelAttempts {
        /// Whom.
        worker: WorkerId,
        /// Which.
        attempts: Vec<AttemptId>,
        /// How hard.
        cancel: Cancel,
    },
    /// Ask for attempts back that have not begun; those that have are reported as ever.
    RecallAttempts {
        /// Whom.
        worker: WorkerId,
        /// Which.
        attempts: Vec<AttemptId>,
    },
    /// Ask for the end of a chunk that has not begun; answered by `ChunkCut` if the attempt is still there.
    CutChunk {
        /// Whom.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// Functions that no task needs any more: they may go once no attempt does. Their numbers are not used again.
    ForgetFunctions {
        /// Whom.
        worker: WorkerId,
        /// Which.
        functions: Vec<FunctionKey>,
    },
    /// Nothing of this session is left: its functions may go.
    ForgetSession {
        /// Whom.
        worker: WorkerId,
        /// Which session.
        session: SessionId,
    },
    /// Give credit back for reports that this step has taken.
    AcknowledgeReports {
        /// Whom.
        worker: WorkerId,
        /// Credit, in bytes.
        cost: u64,
    },
    /// A worker is given up: tell it if it can be told, and close its connection.
    FenceWorker {
        /// Whom.
        worker: WorkerId,
    },
    /// A drained worker has nothing left: say goodbye and close its connection.
    DismissWorker {
        /// Whom.
        worker: WorkerId,
    },
    /// Answer an opened or resumed session.
    Welcome {
        /// Which session.
        session: SessionId,
        /// How many requests it has taken so far.
        taken: u64,
    },
    /// Tell a client.
    Notify {
        /// Which session.
        session: SessionId,
        /// What, in order.
        notices: Vec<Notice>,
    },
    /// The first `taken` requests of the session have been taken.
    AcknowledgeRequests {
        /// Which session.
        session: SessionId,
        /// How many, since the session was opened.
        taken: u64,
    },
    /// Close a client's connection: say why.
    EndSession {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
}

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It said goodbye first.
    Closed,
    /// The session it wants to resume is not, or no longer, known here.
    Gone,
    /// It broke the rules: far more than was admitted, a name never defined, an acknowledgement of what was never sent.
    Misbehaved,
}
