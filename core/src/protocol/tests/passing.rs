//! Segments as memory: whatever is passed arrives in order, with its descriptor no later than its frame.

use crate::landing::Missing;
use crate::limits;
use crate::outcome::Ending;
use crate::protocol::error::FrameError;
use crate::protocol::frame::{Cargo, Decoder, Encoder, Fed};
use crate::protocol::message::executor::{EntryEnded, FromExecutor};
use crate::protocol::message::worker::FromWorker;
use crate::rng::Rng;
use crate::value::Value;
use bytes::Bytes;
use std::collections::VecDeque;
use std::{vec, vec::Vec};

/// A socket that takes what it likes, and what it has taken.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    descriptors: VecDeque<Bytes>,
    /// Most descriptors that waited for their frames.
    waiting: usize,
}

/// Sends everything; `refuses` says whether the next descriptors cannot travel.
fn send(
    encoder: &mut Encoder,
    memory: &mut VecDeque<Bytes>,
    rng: &mut Rng,
    refuses: impl Fn(&mut Rng) -> bool,
) -> Wire {
    let mut wire = Wire::default();
    let (mut decoder, mut heard) = (Decoder::<FromExecutor>::new(), Vec::new());
    while !encoder.is_empty() {
        encoder.chunks();
        let bytes = match encoder.cargo() {
            Cargo::Descriptors(count) if refuses(rng) => {
                encoder.unpass(count);
                memory.drain(..count);
                continue;
            }
            Cargo::Descriptors(most) => {
                assert!((1..=limits::PASSED_AT_ONCE).contains(&most));
                let count = 1 + rng.below(most as u64) as usize;
                wire.descriptors.extend(memory.drain(..count));
                wire.waiting = wire.waiting.max(wire.descriptors.len());
                encoder.departed(count);
                continue;
            }
            Cargo::Bytes(bytes) => bytes,
        };
        assert!(bytes > 0);
        let most = encoder.chunks().iter().map(Bytes::len).sum::<usize>().min(bytes);
        let taken = if rng.chance(1, 3) { most } else { 1 + rng.below(most.min(5_000) as u64) as usize };
        let piece: Vec<u8> = encoder.chunks().iter().flatten().copied().take(taken).collect();
        let mut receive = |_, _| wire.descriptors.pop_front().ok_or(Missing::Broken);
        assert_eq!(decoder.feed_receiving(&mut &piece[..], &mut heard, &mut receive), Ok(Fed::All), "in time");
        wire.bytes.extend(piece);
        encoder.written(taken);
    }
    wire
}

fn value(rng: &mut Rng) -> Value {
    let sizes = [0, 10, 9_000, limits::PASSED_BYTES - 1, limits::PASSED_BYTES, 2 * limits::PASSED_BYTES + 7];
    let segments = (0..1 + rng.below(5)).map(|_| {
        let size = sizes[rng.below(sizes.len() as u64) as usize];
        Bytes::from(vec![rng.next_u64() as u8; size])
    });
    Value::from_segments(segments.collect())
}

pub(super) fn ended(values: Vec<Value>) -> FromExecutor {
    let entry = |(entry, value)| EntryEnded { entry, ending: Ending::Returned(value), run_micros: 0, soiled: false };
    FromExecutor::Ended((0..).zip(values).map(entry).collect())
}

/// Encodes, with a random choice of segments passed; gives what was passed too.
fn encode(message: FromExecutor, rng: &mut Rng) -> (Encoder, VecDeque<Bytes>) {
    let (mut encoder, mut memory) = (Encoder::new(), VecDeque::new());
    encoder.heartbeat();
    let mut pass = |segment: &Bytes| {
        assert!(segment.len() >= limits::PASSED_BYTES);
        rng.chance(2, 3).then(|| {
            memory.push_back(segment.clone());
            memory.len() as u64 - 1
        })
    };
    encoder.message_passing(message, &mut pass).expect("it can be sent");
    (encoder, memory)
}

/// Decodes pieces of `split` bytes, where now and then there is no room for a segment.
fn decode(bytes: &[u8], passed: &[Bytes], split: usize) -> (Vec<FromExecutor>, Result<(), FrameError>) {
    let (mut decoder, mut messages, mut next, mut asked) = (Decoder::new(), Vec::new(), 0, 0);
    for mut piece in bytes.chunks(split) {
        let mut receive = |offset, length| {
            asked += 1;
            if asked % 3 != 0 {
                return Err(Missing::NoRoom);
            }
            let segment: &Bytes = passed.get(offset as usize).ok_or(Missing::Broken)?;
            assert_eq!((offset, length), (next, segment.len() as u64), "in order");
            next += 1;
            Ok(segment.clone())
        };
        loop {
            match decoder.feed_receiving(&mut piece, &mut messages, &mut receive) {
                Ok(Fed::All) => break,
                Ok(Fed::Waiting) => {}
                Ok(Fed::Beside(_) | Fed::Signal) => unreachable!("neither was sent"),
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    let end = decoder.finish();
    (messages, end)
}

#[test]
fn passed_segments_arrive_with_the_others_however_they_are_split() {
    let mut rng = Rng::new(11);
    for round in 0..60 {
        let message = ended((0..rng.below(4)).map(|_| value(&mut rng)).collect());
        let (mut encoder, memory) = encode(message.clone(), &mut rng);
        let bytes: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
        let passed: Vec<Bytes> = memory.into();
        for split in [bytes.len(), 1 + round % 30] {
            assert_eq!(decode(&bytes, &passed, split), (vec![message.clone()], Ok(())));
        }
    }
}

#[test]
fn no_descriptor_comes_later_than_its_frame_or_long_before() {
    let mut rng = Rng::new(12);
    for _ in 0..20 {
        let many = (0..40).map(|_| Bytes::from(vec![1; limits::PASSED_BYTES]));
        let message = ended(vec![value(&mut rng), Value::from_segments(many.collect()), value(&mut rng)]);
        let (mut encoder, mut memory) = encode(message, &mut rng);
        let wire = send(&mut encoder, &mut memory, &mut rng, |_| false);
        assert!(wire.waiting <= limits::PASSED_AT_ONCE && wire.descriptors.is_empty() && memory.is_empty());
    }
}

#[test]
fn what_cannot_be_passed_goes_as_bytes() {
    let mut rng = Rng::new(13);
    for round in 0..30 {
        let message = ended((0..3).map(|_| value(&mut rng)).collect());
        let (mut encoder, mut memory) = encode(message.clone(), &mut rng);
        let all = memory.clone();
        let wire = send(&mut encoder, &mut memory, &mut rng, |rng| round % 2 == 0 || rng.chance(1, 2));
        let (mut decoder, mut heard) = (Decoder::new(), Vec::new());
        let mut receive = |offset: u64, _| all.get(offset as usize).cloned().ok_or(Missing::Broken);
        assert_eq!(decoder.feed_receiving(&mut &wire.bytes[..], &mut heard, &mut receive), Ok(Fed::All));
        assert_eq!((heard, decoder.finish()), (vec![message], Ok(())));
    }
}

#[test]
fn memory_that_is_not_there_or_not_welcome_is_refused() {
    let mut rng = Rng::new(14);
    let whole = Bytes::from(vec![5; limits::PASSED_BYTES]);
    let mut encoder = Encoder::new();
    encoder.message_passing(ended(vec![whole.clone().into()]), &mut |_| Some(0)).expect("it can be sent");
    let bytes: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    assert_eq!(decode(&bytes, &[], bytes.len()).1, Err(FrameError::BadMemory));
    assert_eq!(decode(&bytes, &[whole], bytes.len()).1, Ok(()));
    let (mut decoder, mut messages) = (Decoder::<FromWorker>::new(), Vec::new());
    assert_eq!(decoder.feed(&bytes, &mut messages), Err(FrameError::BadMemory), "a link takes bytes alone");
    let short = &mut |_, _| Ok(Bytes::from_static(b"short"));
    let refused = Decoder::<FromExecutor>::new().feed_receiving(&mut &bytes[..], &mut Vec::new(), short);
    assert_eq!(refused, Err(FrameError::BadMemory));
    let small = &mut |_, _| Ok(Bytes::from(vec![1; 1 << 20]));
    let mut limited = Decoder::<FromExecutor>::with_limit(rng.below(1_000));
    let limited = limited.feed_receiving(&mut &bytes[..], &mut Vec::new(), small);
    assert!(matches!(limited, Err(FrameError::TooLong { .. })), "{limited:?}");
}
