//! Bytes to messages, however they are split on the way.

use super::{
    HEADER_BYTES, Header, Kind, MEET_BODY_BYTES, Meeting, PASSED_BODY_BYTES, PLACE_BYTES, Placement,
    SEGMENT_BODY_BYTES, Signal,
};
use crate::landing::{Ground, Heap, Landing, Missing};
use crate::limits;
use crate::protocol::codec;
use crate::protocol::error::{FrameError, FramePart};
use crate::protocol::message::Message;
use crate::value::Value;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

/// Asked for a segment that was passed as memory, by its offset there and its length.
pub type Receive<'a> = &'a mut dyn FnMut(u64, u64) -> Result<Bytes, Missing>;

/// How far a decoder has come with what it was fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fed {
    /// All of it was taken.
    All,
    /// A segment is [`Missing::NoRoom`]: it is to be fed the rest again when there may be room, even if nothing is left.
    Waiting,
    /// So many bytes of the stream lie beside it: it is to be fed those before the rest.
    Beside(usize),
    /// A [signal](Decoder::take_signal) has come, which is to be heard before it is fed the rest.
    Signal,
}

/// Takes bytes as they come and gives messages.
///
/// After an error it gives that error for ever: a stream that went wrong has no next frame.
#[derive(Debug)]
pub struct Decoder<M> {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    frame: Option<Header>,
    /// What has arrived of a control frame that came in pieces.
    body: Vec<u8>,
    /// What is still to come of a data frame.
    data_left: usize,
    /// What has arrived of a passed segment's place, of a segment's length, or of a meeting.
    place: [u8; PLACE_BYTES],
    place_filled: usize,
    /// Where large segments are put together that come as data; on the heap without one.
    ground: Option<Arc<dyn Ground>>,
    data: Data,
    /// The parts so far of a message that was cut.
    parts: Option<(M, usize)>,
    /// Most bytes of values in one message.
    message_bytes: u64,
    /// Bytes of messages that have come.
    taken: u64,
    /// The last signal that has come.
    signal: Option<Signal>,
    failed: Option<FrameError>,
}

/// Values that came before their control message.
#[derive(Debug, Default)]
struct Data {
    whole: VecDeque<Pieces>,
    pieces: Pieces,
    /// The data behind the last piece.
    current: Vec<u8>,
    /// A segment of which not all has come, and how much is missing.
    landing: Option<(Box<dyn Landing>, usize)>,
    bytes: u64,
}

/// A value that came in frames of its own: what was passed or announced, and between that what was sent as data.
#[derive(Debug, Default)]
struct Pieces {
    bytes: u64,
    /// Of those, bytes that lie in memory of our own.
    owned: usize,
    /// The last one, by far most often the only one, apart from those before it.
    before: VecDeque<Bytes>,
    last: Bytes,
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Decoder<M> {
    /// A decoder at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(limits::MESSAGE_BYTES)
    }

    /// The same that takes no message with more than so many bytes of values: what this machine has room for.
    #[must_use]
    pub const fn with_limit(message_bytes: u64) -> Self {
        Self {
            header: [0; HEADER_BYTES],
            header_filled: 0,
            frame: None,
            body: Vec::new(),
            data_left: 0,
            place: [0; PLACE_BYTES],
            place_filled: 0,
            ground: None,
            data: Data { whole: VecDeque::new(), pieces: Pieces::new(), current: Vec::new(), landing: None, bytes: 0 },
            parts: None,
            message_bytes,
            taken: 0,
            signal: None,
            failed: None,
        }
    }

    /// The same; large segments that come as data are put together where `ground` says, if there is one.
    #[must_use]
    pub fn on(self, ground: Option<Arc<dyn Ground>>) -> Self {
        Self { ground, ..self }
    }

    /// Takes all of `bytes` and puts the messages that they complete into `messages`. That there were none is no sign of
    /// silence: heartbeats and the data of large values make none.
    ///
    /// # Errors
    /// If the peer broke the protocol; messages before that are still given.
    pub fn feed(&mut self, bytes: &[u8], messages: &mut Vec<M>) -> Result<(), FrameError> {
        let mut bytes = bytes;
        loop {
            match self.feed_receiving(&mut bytes, messages, &mut |_, _| Err(Missing::Broken))? {
                Fed::All => return Ok(()),
                Fed::Signal => {}
                Fed::Waiting | Fed::Beside(_) => return Err(*self.failed.insert(FrameError::Nowhere)),
            }
        }
    }

    /// The same where signals are heard in their places, segments may be passed as memory, `receive` is asked for each, in
    /// the order of their descriptors, and parts of the stream may lie beside it. What was taken is gone from `bytes`.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and if `receive` has not what was announced.
    pub fn feed_receiving(
        &mut self,
        bytes: &mut &[u8],
        messages: &mut Vec<M>,
        receive: Receive<'_>,
    ) -> Result<Fed, FrameError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.consume(bytes, messages, receive).inspect_err(|error| self.failed = Some(*error))
    }

    /// The stream is over.
    ///
    /// # Errors
    /// If it is over within a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        let idle = self.header_filled == 0 && self.frame.is_none() && self.parts.is_none() && self.data.bytes == 0;
        match self.failed {
            Some(failed) => Err(failed),
            None if idle => Ok(()),
            None => Err(FrameError::Truncated),
        }
    }

    /// The last signal that has come since this was last asked.
    pub fn take_signal(&mut self) -> Option<Signal> {
        self.signal.take()
    }

    /// Bytes of messages that have come so far, complete or not: what is no sign of life alone.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that it holds for messages that are not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        let whole = self.data.whole.iter().chain([&self.data.pieces]).map(|pieces| pieces.owned).sum::<usize>();
        let landing = self.data.landing.as_ref().map_or(0, |(landing, _)| landing.held());
        self.body.capacity() + self.data.current.capacity() + landing + whole
    }

    /// Where the next bytes of the stream belong, if they are of a large segment: whoever writes them there has them taken
    /// with [`landed`](Self::landed) and spares a copy.
    pub fn landing(&mut self) -> Option<&mut [u8]> {
        let (landing, _) = self.data.landing.as_mut().filter(|_| self.failed.is_none() && self.data_left > 0)?;
        let space = landing.space();
        let next = space.len().min(self.data_left);
        Some(&mut space[..next])
    }

    /// So many bytes are [there](Self::landing).
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn landed(&mut self, bytes: usize) -> Result<(), FrameError> {
        self.taken += bytes as u64;
        self.data_left -= bytes;
        self.data.advance(bytes);
        self.close_data().inspect_err(|error| self.failed = Some(*error))
    }

    fn consume(&mut self, bytes: &mut &[u8], messages: &mut Vec<M>, receive: Receive<'_>) -> Result<Fed, FrameError> {
        while !bytes.is_empty() || self.is_waiting() {
            let Some(frame) = self.frame else {
                match self.take_header(bytes)? {
                    Fed::All => continue,
                    fed => return Ok(fed),
                }
            };
            match frame.kind {
                Kind::Data | Kind::DataEnd => self.take_data(bytes)?,
                Kind::Segment => self.take_length(bytes)?,
                Kind::Meet => match self.take_meeting(bytes) {
                    Fed::All => {}
                    fed => return Ok(fed),
                },
                Kind::Passed | Kind::PassedEnd => match self.take_passed(frame, bytes, receive)? {
                    Fed::All => {}
                    fed => return Ok(fed),
                },
                Kind::Control | Kind::Part => self.take_control(frame, bytes, messages)?,
                Kind::Heartbeat
                | Kind::Met
                | Kind::Decline
                | Kind::Beside
                | Kind::Offered
                | Kind::Joined
                | Kind::Hello => {
                    unreachable!("{:?} is not entered", frame.kind)
                }
            }
        }
        Ok(Fed::All)
    }

    /// Whether it knows of memory that was passed and has not got it yet.
    fn is_waiting(&self) -> bool {
        let passed = matches!(self.frame, Some(Header { kind: Kind::Passed | Kind::PassedEnd, .. }));
        passed && self.place_filled == PASSED_BODY_BYTES
    }

    fn take_header(&mut self, bytes: &mut &[u8]) -> Result<Fed, FrameError> {
        let piece = take(bytes, HEADER_BYTES - self.header_filled);
        self.header[self.header_filled..][..piece.len()].copy_from_slice(piece);
        self.header_filled += piece.len();
        if self.header_filled < HEADER_BYTES {
            return Ok(Fed::All);
        }
        self.header_filled = 0;
        let header = Header::parse(self.header)?;
        match header.kind {
            Kind::Heartbeat => {}
            Kind::Met => return Ok(self.hear(Signal::Met)),
            Kind::Decline => return Ok(self.hear(Signal::Decline)),
            Kind::Offered => return Ok(self.hear(Signal::Offered)),
            Kind::Joined => return Ok(self.hear(Signal::Joined)),
            Kind::Meet => self.frame = Some(header),
            Kind::Beside => return Ok(Fed::Beside(header.second)),
            Kind::Hello => return Err(FrameError::UnknownKind(Kind::Hello as u8)),
            Kind::Data | Kind::DataEnd => {
                self.data.expect(header.second, self.message_bytes)?;
                self.data_left = header.second;
                self.frame = Some(header);
            }
            Kind::Passed | Kind::PassedEnd | Kind::Segment if self.data.landing.is_some() => {
                return Err(FrameError::ValueMismatch);
            }
            Kind::Passed | Kind::PassedEnd | Kind::Segment => self.frame = Some(header),
            // Every message has at least its variant, so a body never is empty.
            Kind::Control | Kind::Part if header.first == 0 => {
                return Err(crate::protocol::error::DecodeError::Malformed.into());
            }
            Kind::Control | Kind::Part => self.frame = Some(header),
        }
        Ok(Fed::All)
    }

    fn take_data(&mut self, bytes: &mut &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() && self.data_left > 0 {
            let piece = match self.landing() {
                Some(space) => {
                    let piece = take(bytes, space.len());
                    space[..piece.len()].copy_from_slice(piece);
                    self.data.advance(piece.len());
                    piece
                }
                None => {
                    let piece = take(bytes, self.data_left);
                    self.data.current.extend_from_slice(piece);
                    piece
                }
            };
            self.taken += piece.len() as u64;
            self.data_left -= piece.len();
        }
        self.close_data()
    }

    /// Ends a data frame of which nothing is left.
    fn close_data(&mut self) -> Result<(), FrameError> {
        if self.data_left > 0 {
            return Ok(());
        }
        match self.frame.take() {
            Some(Header { kind: Kind::DataEnd, .. }) => self.data.end_value(),
            _ => Ok(()),
        }
    }

    /// Takes what stands behind the header of a segment.
    fn take_place(&mut self, length: usize, bytes: &mut &[u8]) -> bool {
        let piece = take(bytes, length - self.place_filled);
        self.taken += piece.len() as u64;
        self.place[self.place_filled..][..piece.len()].copy_from_slice(piece);
        self.place_filled += piece.len();
        self.place_filled == length
    }

    /// A number of what stands there.
    fn place(&self, at: usize) -> u64 {
        self.place[at..].first_chunk().map_or(0, |half| u64::from_le_bytes(*half))
    }

    fn take_length(&mut self, bytes: &mut &[u8]) -> Result<(), FrameError> {
        if !self.take_place(SEGMENT_BODY_BYTES, bytes) {
            return Ok(());
        }
        let length = usize::try_from(self.place(0)).unwrap_or(usize::MAX);
        (self.place_filled, self.frame) = (0, None);
        // Each costs something beside its bytes, and nobody announces a small one.
        if length < limits::PASSED_BYTES {
            return Err(FrameError::SmallSegment(length));
        }
        self.data.admit(length, self.message_bytes)?;
        self.data.close();
        let given = self.ground.as_ref().and_then(|ground| ground.landing(length));
        self.data.landing = Some((given.unwrap_or_else(|| Box::new(Heap::new(length))), length));
        Ok(())
    }

    fn take_meeting(&mut self, bytes: &mut &[u8]) -> Fed {
        if !self.take_place(MEET_BODY_BYTES, bytes) {
            return Fed::All;
        }
        (self.place_filled, self.frame) = (0, None);
        let half = |at: usize| self.place[at..].first_chunk().copied().unwrap_or_default();
        self.hear(Signal::Meet(Meeting { name: half(0), token: half(MEET_BODY_BYTES / 2) }))
    }

    const fn hear(&mut self, signal: Signal) -> Fed {
        self.signal = Some(signal);
        Fed::Signal
    }

    fn take_passed(&mut self, frame: Header, bytes: &mut &[u8], receive: Receive<'_>) -> Result<Fed, FrameError> {
        if self.place_filled < PASSED_BODY_BYTES {
            if !self.take_place(PASSED_BODY_BYTES, bytes) {
                return Ok(Fed::All);
            }
            let length = usize::try_from(self.place(8)).unwrap_or(usize::MAX);
            self.data.admit(length, self.message_bytes)?;
        }
        let (offset, length) = (self.place(0), self.place(8));
        let segment = match receive(offset, length) {
            Ok(segment) if segment.len() as u64 == length && length > 0 => segment,
            Err(Missing::NoRoom) => return Ok(Fed::Waiting),
            Ok(_) | Err(Missing::Broken) => return Err(FrameError::BadMemory),
        };
        (self.place_filled, self.frame) = (0, None);
        self.data.close();
        self.data.pieces.push(segment);
        if frame.kind == Kind::PassedEnd {
            self.data.end_value()?;
        }
        Ok(Fed::All)
    }

    fn take_control(&mut self, frame: Header, bytes: &mut &[u8], messages: &mut Vec<M>) -> Result<(), FrameError> {
        let piece = take(bytes, frame.body() - self.body.len());
        self.taken += piece.len() as u64;
        let message = if self.body.is_empty() && piece.len() == frame.body() {
            self.message(frame, piece)?
        } else {
            // Room for all of it at once, but never more than twice what has come.
            let room = frame.body().min(2 * (self.body.len() + piece.len()));
            self.body.reserve_exact(room - self.body.len());
            self.body.extend_from_slice(piece);
            if self.body.len() < frame.body() {
                return Ok(());
            }
            let body = core::mem::take(&mut self.body);
            self.message(frame, &body)?
        };
        self.frame = None;
        self.deliver(frame.kind, message, messages)
    }

    /// Decodes a control message and attaches its values.
    fn message(&mut self, frame: Header, body: &[u8]) -> Result<M, FrameError> {
        let (control, mut inline) = body.split_at(frame.first);
        let mut message: M = codec::decode(control)?;
        let mut placement = Placement::default();
        let mut result = Ok(());
        message.each_value_mut(&mut |value| {
            if result.is_ok() {
                result = attach(value, &mut placement, &mut inline, &mut self.data.whole);
            }
        });
        result?;
        let rest = !inline.is_empty() || !self.data.is_empty();
        self.data.bytes = 0;
        if rest { Err(FrameError::ValueMismatch) } else { Ok(message) }
    }

    /// Gives a message away, or keeps it until its last part is there.
    fn deliver(&mut self, kind: Kind, message: M, messages: &mut Vec<M>) -> Result<(), FrameError> {
        let (message, count) = match self.parts.take() {
            None => (message, 1),
            Some((_, limits::MESSAGE_PARTS..)) => return Err(FrameError::TooManyParts),
            Some((mut first, count)) => {
                first.join(message).map_err(|_| FrameError::StrayPart)?;
                (first, count + 1)
            }
        };
        match kind {
            Kind::Part => self.parts = Some((message, count)),
            Kind::Control
            | Kind::Data
            | Kind::DataEnd
            | Kind::Passed
            | Kind::PassedEnd
            | Kind::Segment
            | Kind::Meet
            | Kind::Met
            | Kind::Decline
            | Kind::Beside
            | Kind::Offered
            | Kind::Joined
            | Kind::Heartbeat
            | Kind::Hello => messages.push(message),
        }
        Ok(())
    }
}

impl Data {
    /// Whether another frame of `more` bytes is within the limit.
    fn admit(&mut self, more: usize, limit: u64) -> Result<(), FrameError> {
        self.bytes = self.bytes.saturating_add(more as u64);
        let bytes = self.bytes;
        if bytes > limit { Err(FrameError::TooLong { part: FramePart::Message, bytes, limit }) } else { Ok(()) }
    }

    /// Whether a data frame of so many bytes may come: of a segment that was announced no more than is missing.
    fn expect(&mut self, bytes: usize, limit: u64) -> Result<(), FrameError> {
        match &self.landing {
            Some((_, missing)) if bytes > *missing => Err(FrameError::ValueMismatch),
            Some(_) => Ok(()),
            None => self.admit(bytes, limit),
        }
    }

    /// So many bytes of the segment have come.
    fn advance(&mut self, bytes: usize) {
        let (mut landing, missing) = self.landing.take().expect("they were written to where it lands");
        landing.advance(bytes);
        if bytes < missing {
            self.landing = Some((landing, missing - bytes));
            return;
        }
        let segment = landing.finish();
        self.pieces.owned += segment.len();
        self.pieces.push(segment);
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.pieces.bytes == 0 && self.current.is_empty() && self.landing.is_none()
    }

    /// Makes a piece of the data so far.
    fn close(&mut self) {
        let mut data = core::mem::take(&mut self.current);
        data.shrink_to_fit();
        self.pieces.owned += data.len();
        self.pieces.push(data.into());
    }

    fn end_value(&mut self) -> Result<(), FrameError> {
        // A control message names each value with at least one byte.
        if self.whole.len() == limits::CONTROL_BYTES || self.landing.is_some() {
            return Err(FrameError::ValueMismatch);
        }
        self.close();
        self.whole.push_back(core::mem::replace(&mut self.pieces, Pieces::new()));
        Ok(())
    }
}

impl Pieces {
    const fn new() -> Self {
        Self { bytes: 0, owned: 0, before: VecDeque::new(), last: Bytes::new() }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len() as u64;
        let before = core::mem::replace(&mut self.last, piece);
        if !before.is_empty() {
            self.before.push_back(before);
        }
    }

    /// Splits the next segment off. What was passed or announced is a segment by itself.
    fn split(&mut self, length: usize) -> Option<Bytes> {
        if self.before.front().is_some_and(Bytes::is_empty) {
            self.before.pop_front();
        }
        let next = self.before.front_mut().unwrap_or(&mut self.last);
        (length <= next.len()).then(|| next.split_to(length))
    }
}

/// Fills one value, from the frame itself or from the data before it. Each gets memory of its own: one that is kept for
/// long must not keep its neighbours. So does each segment of one in the frame itself, which no longer lies askew then.
fn attach(
    value: &mut Value,
    placement: &mut Placement,
    inline: &mut &[u8],
    data: &mut VecDeque<Pieces>,
) -> Result<(), FrameError> {
    let segments = value.stored().map_or(value.announced().len(), |stored| stored.lengths.len());
    if segments > limits::VALUE_SEGMENTS {
        return Err(FrameError::TooManySegments);
    }
    let length = value.carried();
    if placement.is_inline(length) {
        let length = usize::try_from(length).map_err(|_| FrameError::ValueMismatch)?;
        let mut bytes = inline.split_off(..length).ok_or(FrameError::ValueMismatch)?;
        if value.announced().len() == 1 {
            *value = Value::copied(bytes);
            return Ok(());
        }
        let segment = |n| bytes.split_off(..usize::try_from(n).ok()?).map(Bytes::copy_from_slice);
        return value.attach(segment).ok_or(FrameError::ValueMismatch);
    }
    let pieces = data.pop_front().filter(|pieces| pieces.bytes == length);
    let mut pieces = pieces.ok_or(FrameError::ValueMismatch)?;
    value.attach(|n| pieces.split(usize::try_from(n).ok()?)).ok_or(FrameError::ValueMismatch)
}

/// Splits up to `most` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    piece
}
