//! Parts of a stream that lie beside it: whole frames, announced in their place.

use super::arbitrary::draw;
use super::{ForEach, for_each_kind};
use crate::landing::Missing;
use crate::limits;
use crate::protocol::error::FrameError;
use crate::protocol::frame::{Cargo, Decoder, Encoder, Fed, HEADER_BYTES, Signal, beside};
use crate::protocol::message::Message;
use crate::protocol::message::executor::FromExecutor;
use crate::protocol::message::worker::FromWorker;
use crate::rng::Rng;
use crate::value::Value;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::{iter, vec, vec::Vec};

/// A stream of which parts lie beside it, and the segments that were passed.
#[derive(Default)]
struct Wire {
    stream: Vec<u8>,
    beside: VecDeque<Vec<u8>>,
    descriptors: VecDeque<Bytes>,
}

/// Empties an encoder, choosing each time what goes which way.
fn send(encoder: &mut Encoder, passed: &mut VecDeque<Bytes>, rng: &mut Rng, wire: &mut Wire) {
    let mut streamed = 0;
    while !encoder.chunks().is_empty() {
        if let Cargo::Descriptors(most) = encoder.cargo() {
            let count = 1 + rng.below(most as u64) as usize;
            if rng.chance(1, 4) {
                encoder.unpass(count);
                passed.drain(..count);
            } else {
                encoder.departed(count);
                wire.descriptors.extend(passed.drain(..count));
            }
            continue;
        }
        if streamed == 0 && rng.chance(2, 3) {
            let most = 1 << rng.below(22);
            let bytes = encoder.whole(most);
            assert!((1..=encoder.ahead()).contains(&bytes));
            if bytes <= limits::LANE_BYTES {
                wire.stream.extend(beside(bytes));
                wire.beside.push_back(take(encoder, bytes));
                continue;
            }
        }
        if streamed == 0 {
            streamed = encoder.ahead();
        }
        let bytes = 1 + rng.below(streamed as u64) as usize;
        wire.stream.extend(take(encoder, bytes));
        streamed -= bytes;
    }
}

fn take(encoder: &mut Encoder, bytes: usize) -> Vec<u8> {
    let taken = encoder.chunks().iter().flatten().copied().take(bytes).collect();
    encoder.written(bytes);
    taken
}

fn decode<M: Message>(mut wire: Wire, split: usize) -> (Vec<M>, Result<(), FrameError>) {
    let (mut decoder, mut messages) = (Decoder::new(), Vec::new());
    let mut receive = |_, _| wire.descriptors.pop_front().ok_or(Missing::Broken);
    for mut piece in wire.stream.chunks(split) {
        loop {
            match decoder.feed_receiving(&mut piece, &mut messages, &mut receive) {
                Ok(Fed::All) => break,
                Ok(Fed::Signal) => assert!(decoder.take_signal().is_some()),
                Ok(Fed::Waiting) => unreachable!("there is room for all"),
                Err(error) => return (messages, Err(error)),
                Ok(Fed::Beside(bytes)) => {
                    let lies = wire.beside.pop_front().expect("it was put there");
                    assert_eq!(lies.len(), bytes);
                    for mut piece in lies.chunks(split) {
                        while decoder.feed_receiving(&mut piece, &mut messages, &mut receive) == Ok(Fed::Signal) {}
                        assert!(piece.is_empty(), "whole frames");
                    }
                }
            }
        }
    }
    assert!(wire.beside.is_empty());
    let end = decoder.finish();
    (messages, end)
}

struct RoundTrip;

impl ForEach for RoundTrip {
    fn visit<M: Message + Debug + PartialEq + Clone>(&mut self, name: &'static str) {
        let mut rng = Rng::new(21);
        for round in 0..60 {
            let (mut encoder, mut passed, mut wire) = (Encoder::new(), VecDeque::new(), Wire::default());
            let mut sent: Vec<M> = Vec::new();
            for _ in 0..rng.below(4) {
                for _ in 0..rng.below(30) {
                    let (mut message, _) = draw::<M>(&mut rng);
                    message.each_value_mut(&mut |value| *value = any_value(&mut rng));
                    let mut pass = |segment: &Bytes| {
                        rng.chance(1, 2).then(|| {
                            passed.push_back(segment.clone());
                            0
                        })
                    };
                    encoder.message_passing(message.clone(), &mut pass).expect("it can be sent");
                    encoder.signal([Signal::Met, Signal::Decline][rng.below(2) as usize]);
                    sent.push(message);
                }
                send(&mut encoder, &mut passed, &mut rng, &mut wire);
            }
            let most = 1 << rng.below(22);
            let split = 1 + rng.below(most) as usize;
            assert_eq!(decode(wire, split), (sent, Ok(())), "{name}, round {round}");
        }
    }
}

fn any_value(rng: &mut Rng) -> Value {
    let sizes = [0, 100, 9_000, 60_000, limits::INLINE_VALUE_BYTES, limits::PASSED_BYTES, limits::LANE_BYTES];
    let most = if rng.chance(1, 50) { sizes.len() } else { 1 + rng.below(5) as usize };
    let segment = |size: &usize| Bytes::from(vec![size.to_le_bytes()[1]; *size]);
    Value::from_segments((0..1 + rng.below(2)).map(|_| segment(&sizes[rng.below(most as u64) as usize])).collect())
}

#[test]
fn whatever_lies_beside_a_stream_arrives_in_its_place() {
    for_each_kind(&mut RoundTrip);
}

/// Where frames end, by their headers.
fn ends(encoder: &mut Encoder) -> BTreeSet<usize> {
    let all: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    let length = |at: usize| u32::from_le_bytes(*all[at..].first_chunk().expect("a header")) as usize;
    let next = |at: &usize| (*at < all.len()).then(|| at + HEADER_BYTES + length(at + 4) + length(at + 8));
    iter::successors(next(&0), next).collect()
}

fn check_ends(encoder: &mut Encoder, rng: &mut Rng) {
    let ends = ends(encoder);
    let Cargo::Bytes(ahead) = encoder.cargo() else { return };
    assert!(ahead == 0 || ends.contains(&ahead));
    for _ in 0..20 {
        let most = 1 + rng.below(2 << 20) as usize;
        let whole = encoder.whole(most);
        assert!(whole <= ahead && (whole == 0 || ends.contains(&whole)), "{whole} of {ahead}, at most {most}");
    }
}

#[test]
fn what_is_said_to_be_whole_frames_is_that() {
    let mut rng = Rng::new(22);
    let sizes = [10, 5_000, 20_000, 60_000, 128 << 10, 200_000, 300_000, 700_000];
    let size = move |rng: &mut Rng| sizes[rng.below(8) as usize];
    let many = Value::from_segments(vec![Bytes::from_static(b"x"); limits::VALUE_SEGMENTS + 1]);
    for _ in 0..200 {
        let mut encoder = Encoder::new();
        for _ in 0..rng.below(15) {
            for _ in 0..rng.below(8) {
                let (mut message, _) = draw::<FromWorker>(&mut rng);
                message.each_value_mut(&mut |value| {
                    let segments = (0..=rng.below(3)).map(|_| Bytes::from(vec![7; size(&mut rng)]));
                    *value = Value::from_segments(segments.collect());
                });
                encoder.message_passing(message, &mut |_| rng.chance(1, 2).then_some(0)).expect("it can be sent");
            }
            if rng.chance(1, 60) {
                let mut values = vec![value_of(9); limits::CONTROL_BYTES / 8];
                values.push(many.clone());
                let refused = encoder.message_passing(super::passing::ended(values), &mut |_| Some(0));
                refused.expect_err("its first parts could be sent");
            }
            check_ends(&mut encoder, &mut rng);
            for _ in 0..rng.below(10) {
                match encoder.cargo() {
                    Cargo::Descriptors(most) => {
                        let count = 1 + rng.below(most as u64) as usize;
                        if rng.chance(1, 2) { encoder.unpass(count) } else { encoder.departed(count) }
                    }
                    Cargo::Bytes(ahead) => {
                        let most = 1 + rng.below(1 << 20) as usize;
                        let bytes = if rng.chance(1, 2) { encoder.whole(most) } else { ahead };
                        encoder.chunks();
                        encoder.written(bytes);
                    }
                }
                check_ends(&mut encoder, &mut rng);
            }
        }
    }
}

fn value_of(bytes: usize) -> Value {
    Bytes::from(vec![7; bytes]).into()
}

#[test]
fn whole_frames_are_told_apart_wherever_they_are_long() {
    let mut encoder = Encoder::new();
    let ended = |bytes| super::passing::ended(vec![value_of(bytes)]);
    (0..40).for_each(|_| encoder.message(ended(60_000)).expect("it can be sent"));
    let frame = encoder.ahead() / 40;
    assert_eq!(encoder.whole(10 * frame + 5), 10 * frame);
    assert_eq!(encoder.whole(frame - 1), frame, "the first one at least");
    assert_eq!(encoder.whole(usize::MAX), 40 * frame);
    encoder.chunks();
    encoder.written(frame);
    assert_eq!(encoder.whole(2 * frame), 2 * frame);
    encoder.discard();
    assert_eq!(encoder.ahead(), 0);
}

#[test]
fn a_part_that_is_nowhere_is_refused_for_ever() {
    let mut decoder = Decoder::<FromWorker>::new();
    assert_eq!(decoder.feed(&beside(100), &mut Vec::new()), Err(FrameError::Nowhere));
    assert_eq!(decoder.feed(&[5; HEADER_BYTES], &mut Vec::new()), Err(FrameError::Nowhere));
    let mut header = beside(100);
    for (first, second) in [(0, 0), (0, limits::LANE_BYTES + 1), (1, 100)] {
        header[4..8].copy_from_slice(&(first as u32).to_le_bytes());
        header[8..].copy_from_slice(&(second as u32).to_le_bytes());
        let refused = Decoder::<FromExecutor>::new()
            .feed_receiving(&mut &header[..], &mut Vec::new(), &mut |_, _| Err(Missing::Broken));
        assert!(refused.is_err(), "{first} and {second}");
    }
}
