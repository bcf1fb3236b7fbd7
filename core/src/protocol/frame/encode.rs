//! Messages to chunks of bytes, ready for a vectored write.

use super::{HEADER_BYTES, Header, Kind, Placement};
use crate::limits;
use crate::protocol::codec;
use crate::protocol::error::EncodeError;
use crate::protocol::message::Message;
use crate::value::Value;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// Segments up to this many bytes are copied next to their frame; a chunk of their own would cost more.
const COPIED_BYTES: usize = 8 << 10;

/// Turns messages into chunks, in order. Large segments are shared, never copied.
///
/// Put messages in, take chunks out with [`chunks`](Self::chunks), drop what was written with [`advance`].
#[derive(Debug, Default)]
pub struct Encoder {
    chunks: VecDeque<Bytes>,
    /// Small things gathered behind the last chunk.
    tail: BytesMut,
    /// The control message at hand.
    control: Vec<u8>,
}

impl Encoder {
    /// An encoder with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message, in as many frames as it needs.
    ///
    /// # Errors
    /// If it cannot be sent at all; then nothing of it was added. What is left to the sender: no single item (a task, a
    /// start, a report) whose ids, names and texts exceed [`limits::CONTROL_BYTES`], no value of more than
    /// [`limits::VALUE_SEGMENTS`] segments. Long vectors and long lists of inputs are cut here and put together again
    /// by the [`Decoder`](super::Decoder).
    pub fn message<M: Message>(&mut self, message: M) -> Result<(), EncodeError> {
        self.control.clear();
        codec::encode(&message, &mut self.control)?;
        if self.control.len() <= limits::CONTROL_BYTES {
            return self.frame(&message, Kind::Control);
        }
        self.seal();
        let before = self.chunks.len();
        self.parts(message, Kind::Control).inspect_err(|_| {
            self.chunks.truncate(before);
            self.tail.clear();
        })
    }

    /// Adds a heartbeat.
    pub fn heartbeat(&mut self) {
        self.tail.extend_from_slice(&Header { kind: Kind::Heartbeat, first: 0, second: 0 }.to_bytes());
    }

    /// What is to be written, in order. The caller removes from the front what it has written.
    pub fn chunks(&mut self) -> &mut VecDeque<Bytes> {
        self.seal();
        &mut self.chunks
    }

    /// Whether nothing is left to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Cuts a message until each part fits.
    fn parts<M: Message>(&mut self, message: M, last: Kind) -> Result<(), EncodeError> {
        self.control.clear();
        codec::encode(&message, &mut self.control)?;
        let bytes = self.control.len();
        if bytes <= limits::CONTROL_BYTES {
            return self.frame(&message, last);
        }
        let too_long = EncodeError::ItemTooLong { bytes, limit: limits::CONTROL_BYTES };
        let (first, rest) = message.cut().map_err(|_| too_long)?;
        self.parts(first, Kind::Part)?;
        self.parts(rest, last)
    }

    /// Adds the data frames and the control frame of a message whose control part is at hand.
    fn frame<M: Message>(&mut self, message: &M, kind: Kind) -> Result<(), EncodeError> {
        let (mut placement, mut bulk, mut segments) = (Placement::default(), 0_u64, 0);
        message.each_value(&mut |value| {
            segments = segments.max(value.segments().len());
            if !placement.is_inline(value.carried()) {
                bulk = bulk.saturating_add(value.carried());
            }
        });
        if segments > limits::VALUE_SEGMENTS {
            return Err(EncodeError::TooManySegments { segments, limit: limits::VALUE_SEGMENTS });
        }
        if bulk > limits::MESSAGE_BYTES {
            return Err(EncodeError::MessageTooLarge { bytes: bulk, limit: limits::MESSAGE_BYTES });
        }
        if bulk > 0 {
            let mut placement = Placement::default();
            message.each_value(&mut |value| {
                if !placement.is_inline(value.carried()) {
                    self.data(value);
                }
            });
        }
        let inline = usize::try_from(placement.inline).expect("inline values have a limit");
        self.tail.reserve(HEADER_BYTES + self.control.len());
        self.tail.extend_from_slice(&Header { kind, first: self.control.len(), second: inline }.to_bytes());
        self.tail.extend_from_slice(&self.control);
        let mut placement = Placement::default();
        message.each_value(&mut |value| {
            if placement.is_inline(value.carried()) {
                self.inline(value);
            }
        });
        Ok(())
    }

    /// Adds one value behind its control message.
    fn inline(&mut self, value: &Value) {
        match value.shared() {
            [] => value.segments().for_each(|segment| self.tail.extend_from_slice(segment)),
            shared => shared.iter().for_each(|segment| self.segment(segment)),
        }
    }

    /// Adds one value as data frames.
    fn data(&mut self, value: &Value) {
        let mut left = value.carried();
        if value.shared().is_empty() {
            let header = Header { kind: Kind::DataEnd, first: 0, second: value.segments().map(<[u8]>::len).sum() };
            self.tail.extend_from_slice(&header.to_bytes());
            return self.inline(value);
        }
        let mut segments = value.shared().iter();
        let mut segment = Bytes::new();
        while left > 0 {
            let mut room = usize::try_from(left).map_or(limits::DATA_FRAME_BYTES, |n| n.min(limits::DATA_FRAME_BYTES));
            left -= room as u64;
            let kind = if left == 0 { Kind::DataEnd } else { Kind::Data };
            self.tail.extend_from_slice(&Header { kind, first: 0, second: room }.to_bytes());
            while room > 0 {
                if segment.is_empty() {
                    segment = segments.next().cloned().expect("a value's length is that of its segments");
                    continue;
                }
                let piece = segment.split_to(room.min(segment.len()));
                room -= piece.len();
                self.segment(&piece);
            }
        }
    }

    fn segment(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES {
            self.tail.extend_from_slice(bytes);
        } else {
            self.seal();
            self.chunks.push_back(bytes.clone());
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

/// Drops the first `written` bytes of `chunks`.
pub fn advance(chunks: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = chunks.front_mut() {
        if written < first.len() {
            bytes::Buf::advance(first, written);
            return;
        }
        written -= first.len();
        chunks.pop_front();
    }
}
