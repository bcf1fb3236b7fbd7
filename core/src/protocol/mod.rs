//! What travels between the roles, as bytes.
//!
//! [`message`] has the messages, one file per pair of roles; [`hello`] what two peers say before the first one. Within a
//! protocol version messages gain variants, never fields.

pub mod hello;
pub mod message;
