//! Links between the roles: in memory, or over TCP with TLS 1.3 and raw public keys.
//!
//! [`link`] is what everybody else holds: a sender and a receiver of messages, whatever is between them.
//!
//! What net must never do: take a decision about tasks, listen without TLS and keys, let one byte of a peer that has not
//! authenticated reach a parser of ours, print or log a secret.

mod base32;
pub mod dial;
pub mod framed;
mod greeting;
pub mod identity;
mod inlet;
pub mod join;
pub mod keys;
pub mod link;
pub mod listener;
pub mod near;
mod outlet;
pub mod peers;
mod pipe;
mod reach;
mod refusal;
mod source;
pub mod tls;
pub mod visit;
pub(crate) mod watched;
