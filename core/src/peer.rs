//! Workers as others find and know them.

use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// A worker as others reach it, and know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who listens there, and who it is when it comes.
    pub key: Fingerprint,
}

/// The fingerprint of a public key: 128 bits of its SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);
