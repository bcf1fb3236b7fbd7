//! What can happen to a client's session.

use crate::id::SessionId;
use crate::outcome::Notice;
use crate::spec::Request;

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
    /// The coordinator will not go on with this session: it is unknown there, or it is going away.
    Refused,
    /// The coordinator told something.
    Noticed(Notice),
    /// The coordinator has taken the first `taken` requests.
    RequestsTaken {
        /// How many, since the session was opened.
        taken: u64,
    },
    /// The user's program closes the client.
    CloseRequested,
}
