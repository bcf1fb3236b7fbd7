//! What can be wrong with bytes, told apart by whose fault it is.

use thiserror::Error;

/// We were asked to send what no frame can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A message that cannot be cut any further.
    #[error("one item of a message takes {bytes} bytes without its values; the limit is {limit}")]
    ItemTooLong {
        /// Bytes of its control part.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A value of too many pieces.
    #[error("a value has {segments} segments; the limit is {limit}")]
    TooManySegments {
        /// How many.
        segments: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Values too large for one message.
    #[error("a message carries {bytes} bytes of values; the limit is {limit}")]
    MessageTooLarge {
        /// Bytes of its values.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A message that has no encoding; never one of ours.
    #[error("a message cannot be encoded")]
    Unencodable,
}

/// The peer sent what no peer of ours sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A header that is none.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// Reserved bytes of a header that are not zero.
    #[error("a damaged frame header")]
    DamagedHeader,
    /// A length over its limit, refused before anything was allocated.
    #[error("{part} of {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Of what.
        part: FramePart,
        /// Bytes announced.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A frame of data, or that says where some lies, without any.
    #[error("an empty data frame")]
    EmptyData,
    /// A segment that is announced though it is small.
    #[error("a segment of {0} bytes, announced as a large one")]
    SmallSegment(usize),
    /// A control message that does not decode, or is followed by more.
    #[error("a malformed control message")]
    Malformed(#[from] DecodeError),
    /// The values that came are not those that were announced.
    #[error("values that do not match their announcement")]
    ValueMismatch,
    /// A value of too many pieces.
    #[error("a value of more than {} segments", crate::limits::VALUE_SEGMENTS)]
    TooManySegments,
    /// A part that does not continue the message before it.
    #[error("a part that continues nothing")]
    StrayPart,
    /// A message in too many parts.
    #[error("a message of more than {} parts", crate::limits::MESSAGE_PARTS)]
    TooManyParts,
    /// A segment that was to come as memory, where there is none or not what was said.
    #[error("passed memory that is not what was announced")]
    BadMemory,
    /// A part of the stream that is to lie beside it, where nothing can lie.
    #[error("a part of the stream that is nowhere")]
    Nowhere,
    /// The stream ended within a message.
    #[error("the stream ended within a message")]
    Truncated,
}

/// What was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePart {
    /// The control message.
    Control,
    /// The values inside a control frame.
    Inline,
    /// One data frame.
    Data,
    /// What says where a passed segment lies.
    Passed,
    /// What says how long a segment is.
    Segment,
    /// What says where a peer is awaited.
    Meeting,
    /// What lies beside the stream.
    Beside,
    /// All data before one control message.
    Message,
    /// A hello.
    Hello,
}

impl core::fmt::Display for FramePart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Control => "a control message",
            Self::Inline => "inline values",
            Self::Data => "a data frame",
            Self::Passed => "a passed segment's place",
            Self::Segment => "a segment's length",
            Self::Meeting => "a place to meet",
            Self::Beside => "a part beside the stream",
            Self::Message => "a message with values",
            Self::Hello => "a hello",
        })
    }
}

/// Bytes that are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end too early, or name a variant or a text that does not exist.
    #[error("not a message")]
    Malformed,
    /// They go on behind the message.
    #[error("{0} bytes behind the message")]
    Trailing(usize),
}
