//! A stream of bytes as frames, both ways, without a socket.
//!
//! ```text
//! header   kind u8 · 3 zero bytes · first u32 LE · second u32 LE
//! Control  first = bytes of the control message, second = bytes of the inline values behind it
//! Part     as Control; the message goes on in the next one
//! Data     first = 0, second = bytes (1..=DATA_FRAME_BYTES) of a value too large to travel inline
//! DataEnd  as Data; the value ends here
//! Segment  first = SEGMENT_BODY_BYTES; the data that comes next, so many bytes (u64 LE), is one segment of such a value
//! Passed   first = PASSED_BODY_BYTES; a segment of such a value as memory whose descriptor has left before: offset and
//!          length, u64 LE each. Only within one machine
//! PassedEnd as Passed; the value ends here
//! Meet     first = MEET_BODY_BYTES: name and token of a place where a peer on the same machine is awaited ([`Meeting`])
//! Met      both 0; it has come, and memory may be passed to whoever awaited it
//! Decline  both 0; it does not come
//! Offered  both 0; memory for both has left, to be joined
//! Joined   both 0; it is there, and the stream may go beside itself
//! Beside   first = 0, second = bytes (1..=LANE_BYTES) of the stream, whole frames, that are not in it: they lie in memory that
//!          both ends have in common, and come before what is behind this. Only within one machine
//! Heartbeat, both 0; between any two frames, as Meet, Met, Decline, Offered and Joined
//! Hello    first = bytes; only before the first of the others (see `read_hello`)
//! ```
//!
//! The data of a message comes right before its control frame, value by value, in the message's own order. Which values
//! are inline follows from their lengths alone ([`Placement`]), so both sides know it without a flag.
//!
//! Nothing is allocated for a length that was only announced: buffers grow by what arrived. A large segment is announced
//! all the same, so that it can be put together where it stays ([`Ground`](crate::landing::Ground)).

mod decode;
mod encode;

pub use decode::{Decoder, Fed, Receive};
pub use encode::{Cargo, Encoder, Pass, advance};

use super::codec;
use super::error::{DecodeError, EncodeError, FrameError, FramePart};
use crate::limits;
use alloc::vec::Vec;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// Bytes behind the header of a segment that is passed as memory: where it begins there, and its length.
const PASSED_BODY_BYTES: usize = 16;
/// Bytes behind the header of a segment that comes as data: its length.
const SEGMENT_BODY_BYTES: usize = 8;
/// Bytes of the token with which one proves to have been told of a place to meet, and of the place's name.
pub const TOKEN_BYTES: usize = 16;
/// Bytes behind the header of a place to meet: its name and a token.
const MEET_BODY_BYTES: usize = 2 * TOKEN_BYTES;
/// Bytes behind a header that are taken in whole, at the most.
const PLACE_BYTES: usize = MEET_BODY_BYTES;

/// Where a peer on the same machine can be met, beside the stream that says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Meeting {
    /// What the place is called. No secret: others on the machine can see it.
    pub name: [u8; TOKEN_BYTES],
    /// What proves that one was told of it.
    pub token: [u8; TOKEN_BYTES],
}

impl core::fmt::Debug for Meeting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Meeting").finish_non_exhaustive()
    }
}

/// What the ends of a stream say to each other, apart from messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A peer on the same machine is awaited here.
    Meet(Meeting),
    /// It has come: memory can be passed from now on.
    Met,
    /// It does not come: nobody need wait for it.
    Decline,
    /// Memory in which the stream may go beside itself is offered.
    Offered,
    /// That is taken.
    Joined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Control = 1,
    Part = 2,
    Data = 3,
    DataEnd = 4,
    Heartbeat = 5,
    Passed = 6,
    PassedEnd = 7,
    Segment = 8,
    Meet = 9,
    Met = 10,
    Decline = 11,
    Beside = 12,
    Offered = 13,
    Joined = 14,
    /// Far from the others and from any text, so that whatever else connects is told apart by its first byte.
    Hello = 0xb7,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: Kind,
    first: usize,
    second: usize,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let length = |n: usize| u32::try_from(n).expect("every length has a limit far below 4 GiB").to_le_bytes();
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&length(self.first));
        bytes[8..].copy_from_slice(&length(self.second));
        bytes
    }

    /// Reads a header and holds every length in it against its limit.
    fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, r0, r1, r2, a0, a1, a2, a3, b0, b1, b2, b3] = bytes;
        let (first, second) = (u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([b0, b1, b2, b3]));
        let kind = match kind {
            1 => Kind::Control,
            2 => Kind::Part,
            3 => Kind::Data,
            4 => Kind::DataEnd,
            5 => Kind::Heartbeat,
            6 => Kind::Passed,
            7 => Kind::PassedEnd,
            8 => Kind::Segment,
            9 => Kind::Meet,
            10 => Kind::Met,
            11 => Kind::Decline,
            12 => Kind::Beside,
            13 => Kind::Offered,
            14 => Kind::Joined,
            0xb7 => Kind::Hello,
            other => return Err(FrameError::UnknownKind(other)),
        };
        if [r0, r1, r2] != [0; 3] {
            return Err(FrameError::DamagedHeader);
        }
        let (first_limit, second_limit) = match kind {
            Kind::Control | Kind::Part => {
                ((FramePart::Control, limits::CONTROL_BYTES), (FramePart::Inline, limits::INLINE_FRAME_BYTES))
            }
            Kind::Data | Kind::DataEnd => ((FramePart::Control, 0), (FramePart::Data, limits::DATA_FRAME_BYTES)),
            Kind::Passed | Kind::PassedEnd => ((FramePart::Passed, PASSED_BODY_BYTES), (FramePart::Data, 0)),
            Kind::Segment => ((FramePart::Segment, SEGMENT_BODY_BYTES), (FramePart::Data, 0)),
            Kind::Meet => ((FramePart::Meeting, MEET_BODY_BYTES), (FramePart::Data, 0)),
            Kind::Heartbeat | Kind::Met | Kind::Decline | Kind::Offered | Kind::Joined => {
                ((FramePart::Control, 0), (FramePart::Data, 0))
            }
            Kind::Beside => ((FramePart::Control, 0), (FramePart::Beside, limits::LANE_BYTES)),
            Kind::Hello => ((FramePart::Hello, limits::HELLO_BYTES), (FramePart::Data, 0)),
        };
        let first = within(first, first_limit)?;
        let second = within(second, second_limit)?;
        if matches!(kind, Kind::Data | Kind::DataEnd | Kind::Beside) && second == 0 {
            return Err(FrameError::EmptyData);
        }
        let announces = match kind {
            Kind::Passed | Kind::PassedEnd => PASSED_BODY_BYTES,
            Kind::Segment => SEGMENT_BODY_BYTES,
            Kind::Meet => MEET_BODY_BYTES,
            Kind::Control
            | Kind::Part
            | Kind::Data
            | Kind::DataEnd
            | Kind::Heartbeat
            | Kind::Met
            | Kind::Decline
            | Kind::Beside
            | Kind::Offered
            | Kind::Joined
            | Kind::Hello => first,
        };
        if first != announces {
            return Err(FrameError::DamagedHeader);
        }
        Ok(Self { kind, first, second })
    }

    const fn body(self) -> usize {
        self.first + self.second
    }
}

fn within(bytes: u32, (part, limit): (FramePart, usize)) -> Result<usize, FrameError> {
    match usize::try_from(bytes) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(FrameError::TooLong { part, bytes: u64::from(bytes), limit: limit as u64 }),
    }
}

/// Where the values of one control frame travel, asked in the message's order.
#[derive(Default)]
struct Placement {
    inline: u64,
}

impl Placement {
    /// Whether the next value, of `bytes`, goes into the control frame itself.
    const fn is_inline(&mut self, bytes: u64) -> bool {
        let fits =
            bytes <= limits::INLINE_VALUE_BYTES as u64 && self.inline + bytes <= limits::INLINE_FRAME_BYTES as u64;
        if fits {
            self.inline += bytes;
        }
        fits
    }
}

/// Says that the next `bytes` of the stream lie beside it.
#[must_use]
pub fn beside(bytes: usize) -> [u8; HEADER_BYTES] {
    debug_assert!((1..=limits::LANE_BYTES).contains(&bytes), "as much as can lie there");
    Header { kind: Kind::Beside, first: 0, second: bytes }.to_bytes()
}

/// A hello as one frame.
///
/// # Errors
/// If it is longer than a hello may be.
pub fn write_hello(hello: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut body = Vec::new();
    codec::encode(hello, &mut body)?;
    if body.len() > limits::HELLO_BYTES {
        return Err(EncodeError::ItemTooLong { bytes: body.len(), limit: limits::HELLO_BYTES });
    }
    let mut frame = Header { kind: Kind::Hello, first: body.len(), second: 0 }.to_bytes().to_vec();
    frame.append(&mut body);
    Ok(frame)
}

/// How many bytes follow the header of a hello.
///
/// # Errors
/// If this is the header of anything else.
pub fn hello_length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    match Header::parse(header)? {
        Header { kind: Kind::Hello, first, .. } => Ok(first),
        Header { kind, .. } => Err(FrameError::UnknownKind(kind as u8)),
    }
}

/// The start of a hello's body; a newer peer may have put more behind it.
///
/// # Errors
/// If there is none.
pub fn read_hello<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    codec::decode_prefix(body).map(|(hello, _)| hello)
}
