//! What can happen to a client's session.

use crate::id::{ObjectId, Seq, SessionId};
use crate::outcome::{Notice, Unfetched};
use crate::spec::Request;
use crate::value::Value;

/// One fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// The user's program asks for something.
    Asked(Request),
    /// A coordinator answered: a new session, or the old one resumed.
    Welcomed {
        /// The session.
        session: SessionId,
        /// How many requests it has taken so far.
        taken: u64,
    },
    /// The connection is gone, or an attempt to open one failed.
    LinkCut,
    /// The coordinator will not go on with this session: it is unknown there.
    Refused,
    /// The coordinator said that it ends.
    CoordinatorEnded,
    /// The coordinator told something.
    Noticed(Notice),
    /// The coordinator has taken the first `taken` requests.
    RequestsTaken {
        /// How many, since the session was opened.
        taken: u64,
    },
    /// A visit to a worker has come to its end.
    Visited {
        /// For which task's value.
        seq: Seq,
        /// For which object.
        object: ObjectId,
        /// The value, or why it could not be had.
        result: Result<Value, Unfetched>,
    },
    /// The user's program closes the client.
    CloseRequested,
}
