//! What two peers say once TLS has told who they are: the coordinator first, then the peer.

use crate::id::{Epoch, SessionId};
use crate::spec::{Offer, PythonVersion};
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// The protocol that this build speaks.
pub const PROTOCOL: u16 = 4;
/// The oldest protocol that this build still understands.
pub const PROTOCOL_OLDEST: u16 = 4;

/// The coordinator's hello. The peer sends nothing before it has read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorHello {
    /// The oldest protocol spoken.
    pub oldest: u16,
    /// The newest protocol spoken.
    pub newest: u16,
    /// This life of the coordinator.
    pub epoch: Epoch,
    /// plait's version, for messages to people.
    pub version: Box<str>,
}

/// The peer's hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello {
    /// The protocol chosen: the newest that both speak.
    pub protocol: u16,
    /// plait's version, for messages to people.
    pub version: Box<str>,
    /// What the peer is; its key must allow it.
    pub role: PeerRole,
}

/// What a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRole {
    /// A worker.
    Worker(Offer),
    /// A client.
    Client {
        /// Its name for people.
        name: Box<str>,
        /// The Python it runs.
        python: PythonVersion,
        /// The secret of its session.
        token: u128,
        /// The session it comes back to, and how many notices it has taken.
        resume: Option<(Epoch, SessionId, u64)>,
    },
}
