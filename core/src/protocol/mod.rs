//! What travels between the roles, as bytes.
//!
//! [`message`] has the messages, one file per pair of roles; [`hello`] what two peers say before the first one;
//! [`frame`] cuts a stream of bytes into messages and their values; [`codec`] turns messages into bytes. Within a
//! protocol version messages gain variants, never fields. Nothing that a peer sends may reach a panic.

pub mod codec;
pub mod error;
pub mod frame;
pub mod hello;
pub mod message;

#[cfg(test)]
mod tests;
