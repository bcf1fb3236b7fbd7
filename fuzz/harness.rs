//! What each fuzz target does with its bytes: plain functions, so that the stable tests run them over the kept corpus.

use plait::net::join::{JoinError, JoinLine};
use plait_core::landing::Missing;
use plait_core::limits;
use plait_core::protocol::codec;
use plait_core::protocol::error::FrameError;
use plait_core::protocol::frame::{self, Decoder, Encoder, Fed};
use plait_core::protocol::hello::{CoordinatorHello, PeerHello};
use plait_core::protocol::message::Message;
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::protocol::message::executor::{FromExecutor, ToExecutor};
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// A stream of frames: no panic, the same result however it is split, no memory for what did not arrive, and what was
/// decoded can be sent on.
pub(crate) fn frame(bytes: &[u8]) {
    let Some((split, stream)) = bytes.split_first() else { return };
    stream_of::<FromClient>(usize::from(*split) + 1, stream);
    stream_of::<FromWorker>(usize::from(*split) + 1, stream);
    stream_of::<ToExecutor>(usize::from(*split) + 1, stream);
    stream_of::<ToHolder>(usize::from(*split) + 1, stream);
    stream_of::<FromHolder>(usize::from(*split) + 1, stream);
    if let Some(header) = stream.first_chunk() {
        let _ = frame::hello_length(*header);
    }
}

fn stream_of<M: Message + Debug + PartialEq>(split: usize, stream: &[u8]) {
    let whole = decode::<M>(stream, stream.len().max(1));
    assert_eq!(whole, decode::<M>(stream, split));
    assert_eq!(whole, decode::<M>(stream, 1));
    let mut encoder = Encoder::new();
    for message in whole.0 {
        encoder.message(message).expect("what came in one piece goes out again");
    }
    let again: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    assert_eq!(decode::<M>(&again, again.len().max(1)).1, Ok(()));
}

fn decode<M: Message>(stream: &[u8], split: usize) -> (Vec<M>, Result<(), FrameError>) {
    let (mut decoder, mut messages, mut received) = (Decoder::new(), Vec::new(), 0);
    for piece in stream.chunks(split) {
        let mut rest = piece;
        loop {
            match decoder.feed_receiving(&mut rest, &mut messages, &mut |_, _| Err(Missing::Broken)) {
                Ok(Fed::All) => break,
                // What lies beside the stream is what comes next in it.
                Ok(Fed::Beside(bytes)) => assert!(bytes <= limits::LANE_BYTES),
                Ok(Fed::Signal) => assert!(decoder.take_signal().is_some()),
                Ok(Fed::Waiting) => unreachable!("nothing passed is awaited"),
                Err(error) => return (messages, Err(error)),
            }
        }
        received += piece.len();
        assert!(decoder.held() <= 2 * received + (64 << 10), "{} bytes held of {received}", decoder.held());
    }
    (messages, decoder.finish())
}

/// What a client reads.
pub(crate) fn proto_client(bytes: &[u8]) {
    fixpoint::<ToClient>(bytes);
    fixpoint::<CoordinatorHello>(bytes);
}

/// What a worker reads, its executors and its peers.
pub(crate) fn proto_worker(bytes: &[u8]) {
    fixpoint::<ToWorker>(bytes);
    fixpoint::<ToHolder>(bytes);
    fixpoint::<FromHolder>(bytes);
    fixpoint::<FromExecutor>(bytes);
    fixpoint::<ToExecutor>(bytes);
}

/// What a coordinator reads.
pub(crate) fn proto_coord(bytes: &[u8]) {
    fixpoint::<FromClient>(bytes);
    fixpoint::<FromWorker>(bytes);
    fixpoint::<PeerHello>(bytes);
    let _ = frame::read_hello::<(u16, Box<str>)>(bytes);
}

/// Decoded, encoded and decoded again it is the same, and not longer than the bytes that it came from (which may have
/// written their numbers longer than needed).
fn fixpoint<T: Serialize + DeserializeOwned + Debug + PartialEq>(bytes: &[u8]) {
    let Ok(message) = codec::decode::<T>(bytes) else { return };
    let mut again = Vec::new();
    codec::encode(&message, &mut again).expect("what was decoded can be encoded");
    assert!(again.len() <= bytes.len());
    assert_eq!(codec::decode::<T>(&again).as_ref(), Ok(&message));
}

/// A join line: read, printed and read again it is the same; an error shows nothing of a key.
pub(crate) fn join_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<JoinLine>() {
        Ok(line) => {
            assert_eq!(line.to_string().parse(), Ok(line.clone()));
            assert_hidden(text, &format!("{line:?}"));
        }
        Err(JoinError::Address(address)) => assert!(text.contains(&*address)),
        Err(error) => assert_hidden(text, &format!("{error} {error:?}")),
    }
}

/// No eight characters of the key's group in `shown`, unless they stand elsewhere in the line too. Only what has the
/// length of a key can be one.
fn assert_hidden(text: &str, shown: &str) {
    let Some(key) = text.split('-').nth(2).filter(|key| key.len() == 26 && key.is_ascii()) else { return };
    let rest = text.replacen(key, "", 1);
    let leaks = |at: usize| shown.contains(&key[at..at + 8]) && !rest.contains(&key[at..at + 8]);
    assert!(!(0..=key.len() - 8).any(leaks), "a secret in {shown}");
}
