//! Messages to chunks of bytes, ready for a vectored write.

use super::{
    HEADER_BYTES, Header, Kind, MEET_BODY_BYTES, Meeting, PASSED_BODY_BYTES, Placement, SEGMENT_BODY_BYTES, Signal,
};
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

/// Ends of frames that are closer together than so many bytes are not told apart.
const END_BYTES: u64 = 16 << 10;

/// Asked for a large segment: where it begins in memory that can be passed instead of its bytes, if there is such.
pub type Pass<'a> = &'a mut dyn FnMut(&Bytes) -> Option<u64>;

/// Turns messages into chunks, in order. Large segments are shared, never copied.
///
/// Put messages in, take chunks out with [`chunks`](Self::chunks), drop what was written with [`advance`] (or, where
/// segments are passed as memory, with [`written`](Self::written) and [`departed`](Self::departed)).
#[derive(Debug, Default)]
pub struct Encoder {
    chunks: VecDeque<Bytes>,
    /// Small things gathered behind the last chunk.
    tail: BytesMut,
    /// The control message at hand.
    control: Vec<u8>,
    /// Segments whose descriptors have not left yet.
    passed: VecDeque<Passed>,
    /// Bytes of all chunks that ever were.
    sealed: u64,
    /// Bytes that were written, of what is counted in `sealed`.
    written: u64,
    /// Where frames end, in bytes from the start of the stream: not all, but one of all that end close together.
    ends: VecDeque<u64>,
}

/// A segment that goes as memory.
#[derive(Debug)]
struct Passed {
    /// Where its frame begins, in bytes from the start of the stream.
    at: u64,
    segment: Bytes,
}

/// What is to leave next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// The descriptors of the next passed segments, up to so many; at least one before anything else.
    Descriptors(usize),
    /// Bytes, up to so many: no frame of a passed segment may leave before its descriptor.
    Bytes(usize),
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
        self.message_passing(message, &mut |_| None)
    }

    /// The same, but `pass` is asked for every segment of at least [`limits::PASSED_BYTES`] whether its memory can be
    /// passed. Its descriptor then must travel as [`cargo`](Self::cargo) says.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub fn message_passing<M: Message>(&mut self, message: M, pass: Pass<'_>) -> Result<(), EncodeError> {
        self.control.clear();
        codec::encode(&message, &mut self.control)?;
        if self.control.len() <= limits::CONTROL_BYTES {
            return self.frame(&message, Kind::Control, pass);
        }
        self.seal();
        let (chunks, passed, sealed) = (self.chunks.len(), self.passed.len(), self.sealed);
        self.parts(message, Kind::Control, pass).inspect_err(|_| {
            self.chunks.truncate(chunks);
            self.passed.truncate(passed);
            self.sealed = sealed;
            self.tail.clear();
            self.forget_ends(sealed);
        })
    }

    /// Adds a heartbeat.
    pub fn heartbeat(&mut self) {
        self.tail.extend_from_slice(&Header { kind: Kind::Heartbeat, first: 0, second: 0 }.to_bytes());
    }

    /// Adds a signal.
    pub fn signal(&mut self, signal: Signal) {
        let header = match signal {
            Signal::Meet(_) => Header { kind: Kind::Meet, first: MEET_BODY_BYTES, second: 0 },
            Signal::Met => Header { kind: Kind::Met, first: 0, second: 0 },
            Signal::Decline => Header { kind: Kind::Decline, first: 0, second: 0 },
            Signal::Offered => Header { kind: Kind::Offered, first: 0, second: 0 },
            Signal::Joined => Header { kind: Kind::Joined, first: 0, second: 0 },
        };
        self.tail.extend_from_slice(&header.to_bytes());
        if let Signal::Meet(Meeting { name, token }) = signal {
            self.tail.extend_from_slice(&name);
            self.tail.extend_from_slice(&token);
        }
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

    /// What is to leave next; all bytes are in [`chunks`](Self::chunks).
    #[must_use]
    pub fn cargo(&self) -> Cargo {
        match self.passed.front() {
            Some(next) if next.at == self.written => Cargo::Descriptors(self.passed.len().min(limits::PASSED_AT_ONCE)),
            _ => Cargo::Bytes(self.ahead()),
        }
    }

    /// Drops bytes that were written.
    pub fn written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        advance(&mut self.chunks, bytes);
        while self.ends.front().is_some_and(|end| *end <= self.written) {
            self.ends.pop_front();
        }
    }

    /// How many bytes may leave before the next descriptor does; they end with a frame.
    #[must_use]
    pub fn ahead(&self) -> usize {
        let end = self.passed.front().map_or(self.sealed + self.tail.len() as u64, |next| next.at);
        usize::try_from(end - self.written).expect("what waits lies in memory")
    }

    /// How many of those bytes are whole frames, where what was written ends with one: the most that are not above `most`, or
    /// else the fewest that are known.
    #[must_use]
    pub fn whole(&self, most: usize) -> usize {
        let ahead = self.ahead();
        let distance = |end: &u64| usize::try_from(end - self.written).unwrap_or(usize::MAX);
        if ahead <= most {
            return ahead;
        }
        let within = self.ends.partition_point(|end| distance(end) <= most);
        let end = if within > 0 { self.ends.get(within - 1) } else { self.ends.front() };
        end.map_or(ahead, distance).min(ahead)
    }

    /// The next `count` descriptors have left.
    pub fn departed(&mut self, count: usize) {
        self.passed.drain(..count);
    }

    /// Drops all that was not written: there is nobody to read it.
    pub fn discard(&mut self) {
        self.seal();
        self.chunks.clear();
        self.passed.clear();
        self.ends.clear();
        self.written = self.sealed;
    }

    /// Sends the next `count` passed segments as bytes after all: their descriptors cannot travel.
    pub fn unpass(&mut self, count: usize) {
        self.seal();
        for _ in 0..count {
            let Some(Passed { at, segment }) = self.passed.pop_front() else { return };
            let grown = self.replace(at, &segment);
            self.sealed += grown;
            self.passed.iter_mut().for_each(|passed| passed.at += grown);
        }
    }

    /// Puts data frames in the place of a passed segment's frame. Says by how many bytes the stream has grown.
    fn replace(&mut self, at: u64, segment: &Bytes) -> u64 {
        let mut ahead = usize::try_from(at - self.written).expect("what waits lies in memory");
        let mut index = 0;
        while ahead >= self.chunks[index].len() {
            ahead -= self.chunks[index].len();
            index += 1;
        }
        let mut behind = self.chunks.split_off(index);
        let mut holding = behind.pop_front().expect("a frame lies in a chunk");
        let before = holding.split_to(ahead);
        let frame = holding.split_to(HEADER_BYTES + PASSED_BODY_BYTES);
        let end = frame[0] == Kind::PassedEnd as u8;
        self.chunks.extend([before].into_iter().filter(|bytes| !bytes.is_empty()));
        let (sealed, ending) = (self.sealed, if end { segment.len() as u64 } else { u64::MAX });
        self.announced(segment, ending);
        self.seal();
        self.forget_ends(at);
        let grown = core::mem::replace(&mut self.sealed, sealed) - sealed - frame.len() as u64;
        self.chunks.extend([holding].into_iter().filter(|bytes| !bytes.is_empty()));
        self.chunks.append(&mut behind);
        grown
    }

    /// Cuts a message until each part fits.
    fn parts<M: Message>(&mut self, message: M, last: Kind, pass: Pass<'_>) -> Result<(), EncodeError> {
        self.control.clear();
        codec::encode(&message, &mut self.control)?;
        let bytes = self.control.len();
        if bytes <= limits::CONTROL_BYTES {
            return self.frame(&message, last, pass);
        }
        let too_long = EncodeError::ItemTooLong { bytes, limit: limits::CONTROL_BYTES };
        let (first, rest) = message.cut().map_err(|_| too_long)?;
        self.parts(first, Kind::Part, pass)?;
        self.parts(rest, last, pass)
    }

    /// Adds the data frames and the control frame of a message whose control part is at hand.
    fn frame<M: Message>(&mut self, message: &M, kind: Kind, pass: Pass<'_>) -> Result<(), EncodeError> {
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
                    self.data(value, pass);
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
        self.end_frame();
        Ok(())
    }

    /// A frame ends here.
    fn end_frame(&mut self) {
        let end = self.sealed + self.tail.len() as u64;
        if end - self.ends.back().copied().unwrap_or(self.written) >= END_BYTES {
            self.ends.push_back(end);
        }
    }

    /// Forgets where frames end that end behind `at`.
    fn forget_ends(&mut self, at: u64) {
        while self.ends.back().is_some_and(|end| *end > at) {
            self.ends.pop_back();
        }
    }

    /// Adds one value behind its control message.
    fn inline(&mut self, value: &Value) {
        match value.shared() {
            [] => value.segments().for_each(|segment| self.tail.extend_from_slice(segment)),
            shared => shared.iter().for_each(|segment| self.segment(segment)),
        }
    }

    /// Adds one value in frames of its own: large segments each by itself, as memory or announced; what lies between them as
    /// data.
    fn data(&mut self, value: &Value, pass: Pass<'_>) {
        let mut left = value.carried();
        if value.shared().is_empty() {
            let header = Header { kind: Kind::DataEnd, first: 0, second: value.segments().map(<[u8]>::len).sum() };
            self.tail.extend_from_slice(&header.to_bytes());
            return self.inline(value);
        }
        let (mut between, mut bytes) = (0, 0);
        for (index, segment) in value.shared().iter().enumerate() {
            if segment.len() < limits::PASSED_BYTES {
                bytes += segment.len() as u64;
                continue;
            }
            self.data_frames(&value.shared()[between..index], bytes, left);
            left -= bytes;
            match pass(segment) {
                Some(offset) => {
                    let end = left == segment.len() as u64;
                    self.passed(segment, offset, if end { Kind::PassedEnd } else { Kind::Passed });
                }
                None => self.announced(segment, left),
            }
            left -= segment.len() as u64;
            (between, bytes) = (index + 1, 0);
        }
        self.data_frames(&value.shared()[between..], bytes, left);
    }

    /// Adds a segment as data, its length before it; `left` bytes of the value are still to come with it.
    fn announced(&mut self, segment: &Bytes, left: u64) {
        let length = segment.len() as u64;
        self.tail.extend_from_slice(&Header { kind: Kind::Segment, first: SEGMENT_BODY_BYTES, second: 0 }.to_bytes());
        self.tail.extend_from_slice(&length.to_le_bytes());
        self.data_frames(core::slice::from_ref(segment), length, left);
    }

    fn passed(&mut self, segment: &Bytes, offset: u64, kind: Kind) {
        let at = self.sealed + self.tail.len() as u64;
        self.tail.extend_from_slice(&Header { kind, first: PASSED_BODY_BYTES, second: 0 }.to_bytes());
        self.tail.extend_from_slice(&offset.to_le_bytes());
        self.tail.extend_from_slice(&(segment.len() as u64).to_le_bytes());
        self.passed.push_back(Passed { at, segment: segment.clone() });
    }

    /// Adds segments of so many `bytes` as data frames; `left` bytes of the value are still to come with them.
    fn data_frames(&mut self, segments: &[Bytes], mut bytes: u64, mut left: u64) {
        let mut segments = segments.iter();
        let mut segment = Bytes::new();
        while bytes > 0 {
            let mut room = usize::try_from(bytes).map_or(limits::DATA_FRAME_BYTES, |n| n.min(limits::DATA_FRAME_BYTES));
            (bytes, left) = (bytes - room as u64, left - room as u64);
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
            self.end_frame();
        }
    }

    fn segment(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES {
            self.tail.extend_from_slice(bytes);
        } else {
            self.seal();
            self.push(bytes.clone());
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push(tail);
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.sealed += chunk.len() as u64;
        self.chunks.push_back(chunk);
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
