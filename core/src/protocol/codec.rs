//! Messages to bytes and back. The only file that names bincode.
//!
//! Every decode has a limit, must use all of its bytes, and never sees a vector of zero-sized items (a huge count would
//! spin); serde itself preallocates at most 1 MiB for a count that it only read.

use super::error::{DecodeError, EncodeError};
use crate::limits;
use alloc::vec::Vec;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};

const CONFIG: Configuration<LittleEndian, Varint, Limit<{ limits::CONTROL_BYTES }>> =
    bincode::config::standard().with_limit::<{ limits::CONTROL_BYTES }>();

/// Appends the encoded `message` to `out`.
///
/// # Errors
/// Only for a type that serde cannot describe.
pub fn encode(message: &impl Serialize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    bincode::serde::encode_into_writer(message, Sink(out), CONFIG).map_err(|_| EncodeError::Unencodable)
}

/// Decodes a message that takes all of `bytes`.
///
/// # Errors
/// If the bytes are anything but one message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (message, used) = decode_prefix(bytes)?;
    if used == bytes.len() { Ok(message) } else { Err(DecodeError::Trailing(bytes.len() - used)) }
}

/// Decodes a message at the start of `bytes` and tells how many it took: a hello may gain fields at its end.
///
/// # Errors
/// If the bytes do not start with a message.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|_| DecodeError::Malformed)
}

struct Sink<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
