//! Frames: whatever is sent arrives, however it is split; whatever else arrives is refused.

use super::arbitrary::draw;
use super::{ForEach, for_each_kind};
use crate::id::{AttemptId, ObjectId, Seq, TaskId};
use crate::landing::{FIRST_BYTES, Ground, Landing};
use crate::limits;
use crate::outcome::{Death, Ending, Exit, Failure, Outcome, Report};
use crate::protocol::error::{DecodeError, EncodeError, FrameError, FramePart};
use crate::protocol::frame::{self, Decoder, Encoder, HEADER_BYTES, Meeting, Signal, advance};
use crate::protocol::message::Message;
use crate::protocol::message::client::{FromClient, ToClient};
use crate::protocol::message::executor::ToExecutor;
use crate::protocol::message::worker::{FromWorker, ToWorker};
use crate::rng::Rng;
use crate::spec::Request;
use crate::value::{Stored, Value};
use bytes::Bytes;
use std::boxed::Box;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{vec, vec::Vec};

const MEET: Signal = Signal::Meet(Meeting { name: [3; 16], token: [9; 16] });
const SIGNALS: [Signal; 5] = [MEET, Signal::Met, Signal::Decline, Signal::Offered, Signal::Joined];

/// A message with values of every size that makes a difference.
fn message<M: Message>(rng: &mut Rng) -> M {
    let (mut message, _) = draw::<M>(rng);
    message.each_value_mut(&mut |value| *value = any_value(rng));
    message
}

fn any_value(rng: &mut Rng) -> Value {
    if rng.chance(1, 8) {
        let lengths = (0..rng.below(4)).map(|_| rng.next_u64()).collect();
        return Stored { object: ObjectId::default(), lengths }.into();
    }
    let sizes =
        [0, 1, 300, 9_000, limits::INLINE_VALUE_BYTES, limits::INLINE_VALUE_BYTES + 1, limits::DATA_FRAME_BYTES];
    let most = if rng.chance(1, 8) { sizes.len() } else { 4 };
    let mut segment = || {
        let size = sizes[rng.below(most as u64) as usize] + rng.below(3) as usize;
        Bytes::from(vec![rng.next_u64() as u8; size])
    };
    let first = segment();
    let more: Vec<Bytes> = (0..3).map(|_| segment()).collect();
    if rng.chance(2, 3) { first.into() } else { Value::from_segments(more) }
}

fn bytes_of(encoder: &mut Encoder) -> Vec<u8> {
    encoder.chunks().drain(..).flatten().collect()
}

fn encode<M: Message>(message: M) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.message(message).expect("it can be sent");
    bytes_of(&mut encoder)
}

/// Feeds `bytes` in pieces of `sizes`, round and round.
fn decode<M: Message>(bytes: &[u8], sizes: &[usize]) -> (Vec<M>, Result<(), FrameError>) {
    let (mut decoder, mut messages) = (Decoder::new(), Vec::new());
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().expect("sizes are many")));
        if let Err(error) = decoder.feed(piece, &mut messages) {
            return (messages, Err(error));
        }
        rest = behind;
        assert!(decoder.held() <= 2 * (bytes.len() - rest.len()) + 64 + FIRST_BYTES, "it grows by what arrived");
    }
    let end = decoder.finish();
    (messages, end)
}

struct RoundTrip;

impl ForEach for RoundTrip {
    fn visit<M: Message + Debug + PartialEq + Clone>(&mut self, name: &'static str) {
        let mut rng = Rng::new(3);
        for round in 0..300 {
            let sent: Vec<M> = (0..rng.below(4)).map(|_| message(&mut rng)).collect();
            let mut encoder = Encoder::new();
            for message in &sent {
                encoder.message(message.clone()).expect("it can be sent");
                encoder.heartbeat();
                encoder.signal(SIGNALS[rng.below(5) as usize]);
            }
            let bytes = bytes_of(&mut encoder);
            let most = 1 << rng.below(18);
            let split = 1 + rng.below(most) as usize;
            for sizes in [&[usize::MAX][..], &[split, 1, 7]] {
                assert_eq!(decode(&bytes, sizes), (sent.clone(), Ok(())), "{name}, round {round}");
            }
        }
    }
}

#[test]
fn any_message_survives_any_split() {
    for_each_kind(&mut RoundTrip);
}

#[test]
fn a_signal_is_heard_once_however_it_is_split() {
    let mut encoder = Encoder::new();
    SIGNALS.into_iter().for_each(|signal| encoder.signal(signal));
    let bytes = bytes_of(&mut encoder);
    let (mut decoder, mut messages, mut heard) = (Decoder::<FromWorker>::new(), Vec::new(), Vec::new());
    for byte in bytes {
        decoder.feed(&[byte], &mut messages).expect("a stream of signals");
        heard.extend(decoder.take_signal());
    }
    assert_eq!(heard, SIGNALS);
    assert_eq!((decoder.take_signal(), decoder.finish()), (None, Ok(())));
    assert!(messages.is_empty());
    for (kind, length) in [(9, 31), (9, 0), (10, 1), (11, 1), (13, 1), (14, 1)] {
        let refused = Decoder::<FromWorker>::new().feed(&header(kind, length, 0), &mut messages);
        assert!(refused.is_err(), "a signal {kind} of {length} bytes");
    }
    let shown = format!("{MEET:?}");
    assert!(!shown.contains('9'), "the token is a secret: {shown}");
}

#[test]
fn byte_by_byte_is_the_same() {
    let mut rng = Rng::new(4);
    let sent: Vec<ToExecutor> = (0..40).map(|_| draw::<ToExecutor>(&mut rng).0).map(small).collect();
    let bytes: Vec<u8> = sent.iter().cloned().flat_map(encode).collect();
    assert_eq!(decode(&bytes, &[1]), (sent, Ok(())));
}

fn small<M: Message>(mut message: M) -> M {
    message.each_value_mut(&mut |value| *value = Bytes::from_static(b"some").into());
    message
}

/// Bytes that no peer sends: mutated streams and noise.
struct Hostile;

impl ForEach for Hostile {
    fn visit<M: Message + Debug + PartialEq + Clone>(&mut self, _: &'static str) {
        let mut rng = Rng::new(5);
        for _ in 0..3_000 {
            let mut bytes: Vec<u8> = encode(small(draw::<M>(&mut rng).0));
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(4) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes[at] = rng.next_u64() as u8,
                    2 => drop(bytes.drain(..at)),
                    _ => bytes.insert(at, rng.next_u64() as u8),
                }
                if bytes.is_empty() {
                    bytes.push(1);
                }
            }
            let whole = decode::<M>(&bytes, &[usize::MAX]);
            assert_eq!(whole, decode::<M>(&bytes, &[1]), "the split makes no difference, in errors neither");
            // What was decoded can be sent on, and comes back as it was.
            for message in whole.0 {
                assert_eq!(decode(&encode(message.clone()), &[usize::MAX]), (vec![message], Ok(())));
            }
        }
    }
}

#[test]
fn hostile_bytes_are_refused_or_mean_something() {
    for_each_kind(&mut Hostile);
}

#[test]
fn a_decoder_that_failed_stays_failed() {
    let (mut decoder, mut messages) = (Decoder::<FromWorker>::new(), Vec::new());
    assert_eq!(decoder.feed(b"GET / HTTP/1.1\r\n", &mut messages), Err(FrameError::UnknownKind(b'G')));
    let good = encode(FromWorker::Draining);
    assert_eq!(decoder.feed(&good, &mut messages), Err(FrameError::UnknownKind(b'G')));
    assert!(messages.is_empty() && decoder.finish().is_err());
}

fn header(kind: u8, first: u32, second: u32) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &first.to_le_bytes(), &second.to_le_bytes()].concat()
}

#[test]
fn lengths_over_their_limits_are_refused_before_anything_follows() {
    let refused = |bytes: &[u8]| decode::<FromWorker>(bytes, &[usize::MAX]).1.expect_err("it is refused");
    let too_long = |part, bytes, limit: usize| FrameError::TooLong { part, bytes, limit: limit as u64 };
    let over = |limit: usize| limit as u32 + 1;
    let (control, inline, data) = (limits::CONTROL_BYTES, limits::INLINE_FRAME_BYTES, limits::DATA_FRAME_BYTES);
    for kind in [1, 2] {
        assert_eq!(refused(&header(kind, u32::MAX, 0)), too_long(FramePart::Control, u64::from(u32::MAX), control));
        assert_eq!(refused(&header(kind, 1, over(inline))), too_long(FramePart::Inline, inline as u64 + 1, inline));
        assert_eq!(refused(&header(kind, 0, 0)), FrameError::Malformed(DecodeError::Malformed));
    }
    for kind in [3, 4] {
        assert_eq!(refused(&header(kind, 0, over(data))), too_long(FramePart::Data, data as u64 + 1, data));
        assert_eq!(refused(&header(kind, 0, 0)), FrameError::EmptyData);
    }
    assert_eq!(refused(&header(5, 0, 1)), too_long(FramePart::Data, 1, 0));
    assert_eq!(refused(&[1, 0, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0]), FrameError::DamagedHeader);
    assert_eq!(refused(&header(0xb7, 1, 0)), FrameError::UnknownKind(0xb7), "a hello has its time");
    assert_eq!(refused(&header(1, 9, 0)), FrameError::Truncated);
}

#[test]
fn a_value_announced_as_huge_costs_nothing() {
    // One report whose value is announced with 2^63 bytes, and none of them.
    let mut control = Vec::new();
    let report = Report { attempt: AttemptId::default(), ending: Ending::Returned(Value::empty()), run_micros: 0 };
    crate::protocol::codec::encode(&FromWorker::Ended(vec![report]), &mut control).expect("it encodes");
    let length = control.iter().rposition(|byte| *byte == 0).expect("run_micros") - 1;
    control.splice(length..=length, [253, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    let bytes = [header(1, control.len() as u32, 0), control].concat();
    assert_eq!(decode::<FromWorker>(&bytes, &[usize::MAX]), (vec![], Err(FrameError::ValueMismatch)));
}

#[test]
fn values_without_their_message_are_refused() {
    let data = [header(4, 0, 3), b"abc".to_vec()].concat();
    let stray = [data.clone(), encode(FromWorker::Draining)].concat();
    assert_eq!(decode::<FromWorker>(&stray, &[5]).1, Err(FrameError::ValueMismatch));
    let open = [header(3, 0, 3), b"abc".to_vec(), encode(FromWorker::Draining)].concat();
    assert_eq!(decode::<FromWorker>(&open, &[5]).1, Err(FrameError::ValueMismatch));
    assert_eq!(decode::<FromWorker>(&data, &[5]).1, Err(FrameError::Truncated));
}

#[test]
fn data_without_an_end_ends_somewhere() {
    let limit = 4 * limits::DATA_FRAME_BYTES as u64;
    let (mut decoder, mut messages) = (Decoder::<FromWorker>::with_limit(limit), Vec::new());
    let mut frame = header(3, 0, limits::DATA_FRAME_BYTES as u32);
    frame.resize(frame.len() + limits::DATA_FRAME_BYTES, 7);
    (0..4).for_each(|_| decoder.feed(&frame, &mut messages).expect("there is room"));
    let bytes = limit + limits::DATA_FRAME_BYTES as u64;
    let refused = decoder.feed(&frame, &mut messages);
    assert_eq!(refused, Err(FrameError::TooLong { part: FramePart::Message, bytes, limit }));
}

#[test]
fn large_values_are_shared_with_the_sender_and_between_other_frames() {
    let large = Bytes::from(vec![7; 3 * limits::DATA_FRAME_BYTES + 5]);
    let report =
        Report { attempt: AttemptId::default(), ending: Ending::Returned(large.clone().into()), run_micros: 1 };
    let sent = FromWorker::Ended(vec![report]);
    let mut encoder = Encoder::new();
    encoder.message(sent.clone()).expect("it can be sent");
    let range = large.as_ptr_range();
    let shared: usize = encoder.chunks().iter().filter(|c| range.contains(&c.as_ptr())).map(Bytes::len).sum();
    assert!(shared >= large.len() - 8 * 1024, "only a short rest is copied, not {} bytes", large.len() - shared);
    // A heartbeat and a signal between any two frames change nothing.
    let (mut stream, mut beaten) = (bytes_of(&mut encoder), Vec::new());
    while !stream.is_empty() {
        let length = |at: usize| u32::from_le_bytes(stream[at..at + 4].try_into().expect("four bytes")) as usize;
        let frame = HEADER_BYTES + length(4) + length(8);
        assert!(frame <= HEADER_BYTES + limits::DATA_FRAME_BYTES);
        beaten.extend(header(5, 0, 0));
        beaten.extend(header(9, 32, 0));
        beaten.extend([7; 32]);
        beaten.extend(stream.drain(..frame));
    }
    assert_eq!(decode(&beaten, &[1_000]), (vec![sent], Ok(())));
}

/// Gives memory in small pieces, and counts what it gave and what was finished.
#[derive(Debug, Default)]
struct Plot {
    given: AtomicUsize,
    finished: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Patch {
    bytes: Vec<u8>,
    filled: usize,
    finished: Arc<AtomicUsize>,
}

impl Ground for Plot {
    fn landing(&self, bytes: usize) -> Option<Box<dyn Landing>> {
        self.given.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(Patch { bytes: vec![0; bytes], filled: 0, finished: Arc::clone(&self.finished) }))
    }
}

impl Landing for Patch {
    fn space(&mut self) -> &mut [u8] {
        let end = self.bytes.len().min(self.filled + 10_000);
        &mut self.bytes[self.filled..end]
    }

    fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    fn held(&self) -> usize {
        self.filled
    }

    fn finish(self: Box<Self>) -> Bytes {
        assert_eq!(self.filled, self.bytes.len());
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.bytes.into()
    }
}

#[test]
fn large_segments_land_where_they_stay_whether_fed_or_written_there() {
    let mut rng = Rng::new(9);
    for round in 0..100 {
        let sent: Vec<FromWorker> = (0..3).map(|_| message(&mut rng)).collect();
        let large = sent.iter().map(|sent| {
            let mut large = 0;
            sent.each_value(&mut |value| {
                let bulk = value.carried() > limits::INLINE_VALUE_BYTES as u64;
                large += value.shared().iter().filter(|one| bulk && one.len() >= limits::PASSED_BYTES).count();
            });
            large
        });
        let large: usize = large.sum();
        let stream: Vec<u8> = sent.iter().cloned().flat_map(encode).collect();
        let plot = Arc::new(Plot::default());
        let mut decoder = Decoder::with_limit(1 << 30).on(Some(Arc::clone(&plot) as _));
        let (mut heard, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let most = rest.len().min(1 + rng.below(100_000) as usize);
            let place = decoder.landing().filter(|_| round % 3 > 0);
            let taken = place.map(|place| {
                let taken = most.min(place.len());
                place[..taken].copy_from_slice(&rest[..taken]);
                taken
            });
            match taken {
                Some(taken) => decoder.landed(taken).expect("it is what was announced"),
                None => decoder.feed(&rest[..most], &mut heard).expect("it is what was sent"),
            }
            rest = &rest[taken.unwrap_or(most)..];
        }
        assert_eq!((heard, decoder.finish()), (sent, Ok(())));
        let counts = [&plot.given, &plot.finished].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [large, large]);
    }
}

#[test]
fn an_announced_segment_lies_by_itself() {
    let value = Value::from_segments(vec![Bytes::from_static(b"stream"), Bytes::from(vec![7; limits::PASSED_BYTES])]);
    let report = Report { attempt: AttemptId::default(), ending: Ending::Returned(value), run_micros: 0 };
    let (messages, end) = decode::<FromWorker>(&encode(FromWorker::Ended(vec![report])), &[1_000]);
    assert_eq!(end, Ok(()));
    messages[0].each_value(&mut |value| assert!(value.shared()[1].is_unique(), "and may become anybody's own"));
}

#[test]
fn a_segment_comes_as_it_was_announced_or_not_at_all() {
    let announced = |length: u64| [header(8, 8, 0), length.to_le_bytes().to_vec()].concat();
    let data = |kind: u8, length: u32| [header(kind, 0, length), vec![1; length as usize]].concat();
    let refused = |bytes: &[Vec<u8>]| {
        let bytes = bytes.concat();
        let refused = [&[usize::MAX][..], &[1]].map(|split| decode::<FromWorker>(&bytes, split).1);
        assert_eq!(refused[0], refused[1]);
        refused[0].expect_err("it is refused")
    };
    let (least, half) = (limits::PASSED_BYTES as u64, limits::PASSED_BYTES as u32 / 2);
    assert_eq!(refused(&[header(8, 7, 0)]), FrameError::DamagedHeader);
    assert_eq!(refused(&[announced(0)]), FrameError::SmallSegment(0));
    assert_eq!(refused(&[announced(least - 1)]), FrameError::SmallSegment(limits::PASSED_BYTES - 1));
    let more = [announced(least), data(3, half), data(3, half + 1)];
    assert_eq!(refused(&more), FrameError::ValueMismatch, "more than was announced");
    assert_eq!(refused(&[announced(least), data(4, half)]), FrameError::ValueMismatch, "the value ends before it");
    assert_eq!(refused(&[announced(least), data(3, 8), announced(least)]), FrameError::ValueMismatch, "within another");
    assert_eq!(refused(&[announced(least), encode(FromWorker::Draining)]), FrameError::ValueMismatch);
    assert_eq!(refused(&[announced(least), data(3, 8)]), FrameError::Truncated);
    let whole = [announced(least), data(3, half), data(4, half)];
    assert_eq!(refused(&whole), FrameError::Truncated, "no message names it");
    let limit = limits::MESSAGE_BYTES;
    let too_long = |bytes| FrameError::TooLong { part: FramePart::Message, bytes, limit };
    assert_eq!(refused(&[announced(limit + 1)]), too_long(limit + 1));
    assert_eq!(refused(&[data(4, 5), announced(limit)]), too_long(limit + 5), "what came before counts too");
}

#[test]
fn chunks_are_written_in_any_portions() {
    let (mut encoder, mut rng) = (Encoder::new(), Rng::new(6));
    let sent: Vec<FromWorker> = (0..20).map(|_| message(&mut rng)).collect();
    sent.iter().for_each(|message| encoder.message(message.clone()).expect("it can be sent"));
    let whole: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    let mut written = Vec::new();
    let chunks: &mut VecDeque<Bytes> = encoder.chunks();
    while let Some(first) = chunks.front() {
        let most = 1 + rng.below(2 * first.len() as u64) as usize;
        let portion: Vec<u8> = chunks.iter().flatten().copied().take(most).collect();
        advance(chunks, portion.len());
        written.extend(portion);
    }
    assert!(encoder.is_empty());
    assert_eq!(written, whole);
}

fn death(tail: usize) -> Death {
    Death { host: "h".into(), pid: 1, exit: Exit::Signal(11), peak_memory: 0, log_tail: "x".repeat(tail).into() }
}

#[test]
fn long_vectors_are_cut_and_joined_again() {
    let reports: Vec<Report> = (0..1_000)
        .map(|n| Report {
            attempt: AttemptId { task: TaskId::new(Default::default(), Seq(n)), ..AttemptId::default() },
            ending: Ending::Crashed(Box::new(death(limits::LOG_TAIL_BYTES))),
            run_micros: n,
        })
        .collect();
    let sent = FromWorker::Ended(reports);
    let bytes = encode(sent.clone());
    assert!(bytes.len() > 3 * limits::CONTROL_BYTES);
    assert_eq!(decode(&bytes, &[10_000]), (vec![sent], Ok(())));
}

#[test]
fn tasks_with_a_million_inputs_are_cut_and_joined_again() {
    let mut rng = Rng::new(7);
    let mut tasks = loop {
        if let FromClient::Request(Request::Submit(tasks)) = draw::<FromClient>(&mut rng).0
            && tasks.len() == 3
        {
            break tasks;
        }
    };
    for (n, task) in tasks.iter_mut().enumerate() {
        task.seq = Seq(u64::MAX - n as u64);
        task.args = any_value(&mut rng);
    }
    tasks[1].inputs = (0..limits::TASK_INPUTS as u64).map(|n| Seq(n << 20)).collect();
    let sent = FromClient::Request(Request::Submit(tasks));
    assert_eq!(decode(&encode(sent.clone()), &[usize::MAX]), (vec![sent], Ok(())));
}

#[test]
fn starts_with_many_failed_inputs_are_cut_and_joined_again() {
    let failed = Outcome::Failed(Box::new(Failure::Crashed(vec![death(limits::LOG_TAIL_BYTES); 3])));
    let mut rng = Rng::new(8);
    let mut start = loop {
        if let ToWorker::Start(starts) = draw::<ToWorker>(&mut rng).0
            && let Some(start) = starts.into_iter().next()
        {
            break start;
        }
    };
    start.args = Bytes::from_static(b"args").into();
    start.inputs = vec![failed; limits::STREAMED_INPUTS];
    let mut next = start.clone();
    next.attempt.task.seq = Seq(start.attempt.task.seq.0 ^ 1);
    let sent = ToWorker::Start(vec![start, next]);
    assert_eq!(decode(&encode(sent.clone()), &[usize::MAX]), (vec![sent], Ok(())));
}

#[test]
fn what_cannot_be_cut_is_refused_and_leaves_no_trace() {
    let mut encoder = Encoder::new();
    encoder.message(FromWorker::Draining).expect("it can be sent");
    let report =
        |tail| Report { attempt: AttemptId::default(), ending: Ending::Crashed(Box::new(death(tail))), run_micros: 0 };
    let refused = encoder.message(FromWorker::Ended(vec![report(1), report(2 << 20)]));
    assert!(matches!(refused, Err(EncodeError::ItemTooLong { .. })), "{refused:?}");
    let segments = Value::from_segments(vec![Bytes::new(); limits::VALUE_SEGMENTS + 1]);
    let ending = Ending::Returned(segments);
    let refused = encoder.message(FromWorker::Ended(vec![Report { ending, ..report(0) }]));
    assert!(matches!(refused, Err(EncodeError::TooManySegments { .. })), "{refused:?}");
    encoder.message(FromWorker::Goodbye).expect("it can be sent");
    let bytes = bytes_of(&mut encoder);
    assert_eq!(decode(&bytes, &[usize::MAX]), (vec![FromWorker::Draining, FromWorker::Goodbye], Ok(())));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let part = |message: FromWorker| {
        let mut bytes = encode(message);
        bytes[0] = 2;
        bytes
    };
    let started = || FromWorker::Started(vec![AttemptId::default()]);
    let strays = [part(started()), encode(FromWorker::Draining)].concat();
    assert_eq!(decode::<FromWorker>(&strays, &[99]).1, Err(FrameError::StrayPart));
    let endless: Vec<u8> = (0..=limits::MESSAGE_PARTS).flat_map(|_| part(started())).collect();
    assert_eq!(decode::<FromWorker>(&endless, &[99]).1, Err(FrameError::TooManyParts));
    assert_eq!(decode::<FromWorker>(&part(started()), &[99]).1, Err(FrameError::Truncated));
}

#[test]
fn nested_failures_do_not_reach_the_end_of_the_stack() {
    // Ended([Delivery { seq: 0, outcome: Failed(Dependency { task: 0, 0, cause: Failed(Dependency { …
    let mut control = vec![1, 0, 1, 0];
    control.extend([4, 1, 0, 0].repeat(200_000));
    let bytes = [header(1, control.len() as u32, 0), control].concat();
    let refused = decode::<ToClient>(&bytes, &[usize::MAX]);
    assert_eq!(refused, (vec![], Err(FrameError::Malformed(DecodeError::Malformed))));
}

#[test]
fn small_values_do_not_keep_their_neighbours() {
    let reports = (0..100).map(|n| Report {
        attempt: AttemptId::default(),
        ending: Ending::Returned(Bytes::from(vec![n; 100]).into()),
        run_micros: 0,
    });
    let bytes = encode(FromWorker::Ended(reports.collect()));
    let (messages, _) = decode::<FromWorker>(&bytes, &[usize::MAX]);
    messages[0].each_value(&mut |value| assert!(value.shared()[0].is_unique()));
}

#[test]
fn a_few_bytes_find_room_when_the_frame_has_none_left() {
    let values = (0..10).map(|_| Value::from(Bytes::from(vec![1; limits::INLINE_FRAME_BYTES / 8])));
    let message = FromWorker::Ended(
        values
            .chain([Value::copied(b"few"), Value::empty()])
            .map(|value| Report { attempt: AttemptId::default(), ending: Ending::Returned(value), run_micros: 0 })
            .collect(),
    );
    assert_eq!(decode::<FromWorker>(&encode(message.clone()), &[usize::MAX]), (vec![message], Ok(())));
}

#[test]
fn hellos_have_a_limit_and_may_grow() {
    let hello = frame::write_hello(&(1_u16, 2_u16, "and more")).expect("it is short");
    let header: [u8; HEADER_BYTES] = hello[..HEADER_BYTES].try_into().expect("a header");
    assert_eq!(frame::hello_length(header), Ok(hello.len() - HEADER_BYTES));
    assert_eq!(frame::read_hello(&hello[HEADER_BYTES..]), Ok((1_u16, 2_u16)), "what stands behind is left alone");
    assert_eq!(frame::read_hello::<(u16, u16)>(&hello[HEADER_BYTES..][..1]), Err(DecodeError::Malformed));
    assert!(frame::write_hello(&"x".repeat(limits::HELLO_BYTES)).is_err());
    let mut long = header;
    long[4..8].copy_from_slice(&(limits::HELLO_BYTES as u32 + 1).to_le_bytes());
    let refused = frame::hello_length(long);
    assert!(matches!(refused, Err(FrameError::TooLong { part: FramePart::Hello, .. })), "{refused:?}");
    assert!(frame::hello_length(*b"GET / HTTP/1").is_err());
}
