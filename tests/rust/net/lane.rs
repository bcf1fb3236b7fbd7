//! Peers on the same machine: what is much goes beside the stream, and nothing that a peer does there harms another.

use super::near::{come, ended, invited, value_of};
use super::{next, soon};
use bytes::Bytes;
use plait::net::framed::{Terms, framed_on};
use plait::net::link::{Closed, Link, LossReason};
use plait::net::near::Part;
use plait::store::blob::Store;
use plait::store::depot::Depot;
use plait::store::lane::{Lane, Loading, Offer};
use plait::store::passing::{Courier, Departures, Reserve};
use plait_core::landing::Missing;
use plait_core::protocol::error::FrameError;
use plait_core::protocol::frame::{Decoder, Encoder, Fed, Meeting, Signal, beside};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::rng::Rng;
use plait_core::value::Value;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio::task::JoinHandle;

type Near = Link<FromWorker, ToWorker>;
type Far = Link<ToWorker, FromWorker>;

/// A link whose stream somebody listens in on: how many bytes went each way is told at its end.
struct Overheard {
    near: Near,
    far: Far,
    store: Arc<Store>,
    stream: JoinHandle<io::Result<(u64, u64)>>,
}

impl Overheard {
    /// Both ends have all that they need to go beside the stream.
    async fn new(parts: (Part, Part)) -> Self {
        let ((a, mut b), (mut c, d)) = (duplex(64 << 10), duplex(64 << 10));
        let store = Store::new();
        let stream = tokio::spawn(async move { copy_bidirectional(&mut b, &mut c).await });
        let mut near: Near = framed_on(a, Terms::default(), Some(Depot::of_coordinator(Arc::clone(&store))), parts.0);
        let mut far: Far = framed_on(d, Terms::default(), Some(Depot::of_client(Store::new())), parts.1);
        for _ in 0..2 {
            near.sender.send(FromWorker::Draining).expect("it is open");
            assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Draining));
            far.sender.send(ToWorker::Goodbye).expect("it is open");
            assert_eq!(next(&mut near.receiver).await, Ok(ToWorker::Goodbye));
        }
        Self { near, far, store, stream }
    }

    /// How many bytes went through the stream.
    async fn streamed(self) -> u64 {
        drop((self.near, self.far));
        let (there, back) = soon(self.stream).await.expect("it ends").expect("it is whole");
        there + back
    }
}

fn given(value: Value) -> ToWorker {
    ToWorker::Give { object: Default::default(), value }
}

/// No two words of it are the same.
fn bytes(rng: &mut Rng, length: usize) -> Bytes {
    let first = rng.next_u64() >> 8;
    let mut bytes: Vec<u8> = (first..).step_by(3).take(length.div_ceil(8)).flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    bytes.into()
}

#[tokio::test]
async fn what_is_much_goes_beside_the_stream() {
    for parts in [(Part::Host, Part::Guest), (Part::Guest, Part::Host)] {
        let mut link = Overheard::new(parts).await;
        let mut rng = Rng::new(1);
        let values: Vec<Value> = (0..200).map(|_| bytes(&mut rng, 64 << 10).into()).collect();
        // What was sent before any of it is read, both ways at once: three times what there is room for.
        for value in &values {
            link.near.sender.send(ended(value.clone())).expect("it is open");
            link.far.sender.send(given(value.clone())).expect("it is open");
        }
        for value in values {
            assert!(next(&mut link.far.receiver).await.map(value_of).as_ref() == Ok(&value), "{parts:?}");
            assert!(next(&mut link.near.receiver).await == Ok(given(value)), "{parts:?}");
        }
        let streamed = link.streamed().await;
        assert!(streamed < 100_000, "{streamed} of 26,214,400 bytes");
    }
}

#[tokio::test]
async fn values_of_every_size_and_kind_arrive_in_order() {
    let mut rng = Rng::new(2);
    for round in 0..4 {
        let mut link = Overheard::new((Part::Host, Part::Guest)).await;
        let sizes = [0, 10, 5_000, 16 << 10, 100_000, 200_000, 300_000, 3 << 20];
        for _ in 0..6 {
            let mut sent = Vec::new();
            for _ in 0..rng.below(40) {
                let segments = (0..1 + rng.below(3)).map(|_| {
                    let most = if rng.chance(1, 20) { sizes.len() } else { 1 + rng.below(7) as usize };
                    let size = sizes[rng.below(most as u64) as usize];
                    let segment = bytes(&mut rng, size);
                    let sealed = segment.len() >= 200_000 && rng.chance(1, 2);
                    if sealed { link.store.write(&[&segment]).expect("there is memory").remove(0) } else { segment }
                });
                let value = Value::from_segments(segments.collect());
                link.near.sender.send(ended(value.clone())).expect("it is open");
                link.far.sender.send(given(value.clone())).expect("it is open");
                sent.push(value);
            }
            for value in sent {
                assert!(next(&mut link.far.receiver).await.map(value_of).as_ref() == Ok(&value), "round {round}");
                assert!(next(&mut link.near.receiver).await == Ok(given(value)), "round {round}");
            }
        }
    }
}

/// What a guest by hand has of a link: its stream, and its end of the lane.
async fn joined(stream: &mut DuplexStream) -> (OwnedFd, Lane) {
    let meeting = invited(stream).await;
    let socket = come(&meeting, &meeting.token);
    heard(stream, Signal::Offered).await;
    let courier = Courier::over(socket.as_fd().try_clone_to_owned().expect("a descriptor"), &Reserve::new());
    let (memory, news) = courier.take_offer().expect("it was offered before that was said");
    (socket, Lane::join(Offer { memory, news }).expect("it is what it should be"))
}

/// Reads until this was said.
async fn heard(stream: &mut DuplexStream, signal: Signal) {
    let mut decoder = Decoder::<FromWorker>::new();
    while decoder.take_signal() != Some(signal) {
        let byte = soon(stream.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut Vec::new()).expect("frames");
    }
}

fn stream_of(fill: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::new();
    fill(&mut encoder);
    encoder.chunks().iter().flatten().copied().collect()
}

fn host(terms: Terms) -> (Near, DuplexStream) {
    let (a, b) = duplex(1 << 20);
    (framed_on(a, terms, Some(Depot::of_coordinator(Store::new())), Part::Host), b)
}

#[tokio::test]
async fn a_part_beside_the_stream_where_there_is_nothing_is_a_breach() {
    let (mut near, mut stream) = host(Terms::default());
    stream.write_all(&beside(100)).await.expect("there is room");
    let lost = next(&mut near.receiver).await;
    assert_eq!(lost, Err(Closed::Lost(LossReason::Protocol(FrameError::Nowhere))));
}

#[tokio::test]
async fn a_part_within_a_part_is_a_breach() {
    let (mut near, mut stream) = host(Terms::default());
    let (_socket, lane) = joined(&mut stream).await;
    let mut loading = Loading::default();
    let goodbye = stream_of(|encoder| encoder.message(ToWorker::Goodbye).expect("it can be sent"));
    loading.place(&lane, [&*goodbye].into_iter());
    stream.write_all(&beside(goodbye.len())).await.expect("there is room");
    assert_eq!(next(&mut near.receiver).await, Ok(ToWorker::Goodbye));
    loading.place(&lane, [&beside(1)[..]].into_iter());
    stream.write_all(&beside(12)).await.expect("there is room");
    let lost = next(&mut near.receiver).await;
    assert_eq!(lost, Err(Closed::Lost(LossReason::Protocol(FrameError::Nowhere))));
}

/// Says that it has joined; once there is an answer, that was heard.
async fn joins(near: &mut Near, stream: &mut DuplexStream) {
    let said = stream_of(|encoder| {
        encoder.signal(Signal::Joined);
        encoder.message(ToWorker::Goodbye).expect("it can be sent");
    });
    stream.write_all(&said).await.expect("there is room");
    assert_eq!(next(&mut near.receiver).await, Ok(ToWorker::Goodbye));
}

/// Reads the stream until it ends or `enough` messages have come; says how many bytes lie beside it.
async fn read(stream: &mut DuplexStream, got: &mut Vec<FromWorker>, enough: usize) -> usize {
    let (mut decoder, mut buffer, mut elsewhere) = (Decoder::<FromWorker>::new(), vec![0; 64 << 10], 0);
    let mut receive = |_, _| Err(Missing::Broken);
    while got.len() < enough {
        let length = soon(stream.read(&mut buffer)).await.unwrap_or(0);
        if length == 0 {
            break;
        }
        let mut rest = &buffer[..length];
        while let Ok(Fed::Beside(bytes)) = decoder.feed_receiving(&mut rest, got, &mut receive) {
            elsewhere += bytes;
        }
    }
    elsewhere
}

/// Though it reads the stream.
#[tokio::test]
async fn who_takes_nothing_from_beside_the_stream_is_lost_where_that_matters() {
    let (deaf, fence) = (Some(Duration::from_millis(300)), Duration::from_secs(1));
    let terms = Terms { deaf, fence, ..Terms::default() };
    let (mut near, mut stream) = host(terms);
    let (_socket, _lane) = joined(&mut stream).await;
    joins(&mut near, &mut stream).await;
    let value = Value::from(bytes(&mut Rng::new(3), 100 << 10));
    (0..60).for_each(|_| near.sender.send(ended(value.clone())).expect("it is open"));
    let reads = tokio::spawn(async move { (read(&mut stream, &mut Vec::new(), 60).await, stream) });
    let lost = next(&mut near.receiver).await;
    assert_eq!(lost, Err(Closed::Lost(LossReason::Cut(io::ErrorKind::TimedOut))));
    drop(near);
    let (elsewhere, _) = soon(reads).await.expect("it ends");
    assert!((3 << 20..=4 << 20).contains(&elsewhere), "{elsewhere} bytes: as much as there is room for");
}

/// A peer that leaves its end, and goes on reading the stream, gets the rest through that.
#[tokio::test]
async fn who_has_left_beside_the_stream_gets_all_through_it() {
    let (mut near, mut stream) = host(Terms::default());
    let (_socket, lane) = joined(&mut stream).await;
    joins(&mut near, &mut stream).await;
    drop(lane);
    let value = Value::from(bytes(&mut Rng::new(3), 100 << 10));
    (0..60).for_each(|_| near.sender.send(ended(value.clone())).expect("it is open"));
    let mut got = Vec::new();
    let elsewhere = read(&mut stream, &mut got, 1).await;
    assert!((3 << 20..=4 << 20).contains(&elsewhere), "{elsewhere} bytes: as much as there was room for");
    assert!(value_of(got.remove(0)) == value);
}

/// A host by hand, that has met its guest.
struct Hand {
    far: Far,
    stream: DuplexStream,
    courier: Courier,
    meeting: Meeting,
}

impl Hand {
    async fn new() -> Self {
        let (mut stream, b) = duplex(1 << 20);
        let far: Far = framed_on(b, Terms::default(), Some(Depot::of_client(Store::new())), Part::Guest);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = u128::from(std::process::id()) << 64 | u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let meeting = Meeting { name: number.to_be_bytes(), token: [0; 16] };
        let kind = SocketType::SEQPACKET;
        let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a socket");
        let name = format!("plait-{number:032x}");
        bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name")).expect("it is free");
        listen(&listener, 1).expect("it listens");
        stream.write_all(&stream_of(|encoder| encoder.signal(Signal::Meet(meeting)))).await.expect("there is room");
        let socket = tokio::task::spawn_blocking(move || accept(&listener)).await.expect("it ends").expect("it comes");
        stream.write_all(&stream_of(|encoder| encoder.signal(Signal::Met))).await.expect("there is room");
        Self { far, stream, courier: Courier::over(socket, &Reserve::new()), meeting }
    }

    async fn offer(&mut self, Offer { memory, news }: Offer) {
        self.courier.offer(memory.as_fd(), news.as_fd()).expect("there is room");
        self.stream.write_all(&stream_of(|encoder| encoder.signal(Signal::Offered))).await.expect("there is room");
    }

    /// What the guest says until a value of 100 KiB has come through the stream; true if that has joined.
    async fn says(&mut self) -> bool {
        let value = Value::from(bytes(&mut Rng::new(4), 100 << 10));
        self.far.sender.send(given(value.clone())).expect("it is open");
        let (mut decoder, mut got, mut buffer) = (Decoder::<ToWorker>::new(), Vec::new(), vec![0; 64 << 10]);
        let mut joined = false;
        while got.is_empty() {
            let length = soon(self.stream.read(&mut buffer)).await.expect("it speaks");
            decoder.feed(&buffer[..length], &mut got).expect("all is in the stream");
            joined |= decoder.take_signal() == Some(Signal::Joined);
        }
        assert_eq!(got, [given(value)]);
        joined
    }
}

#[tokio::test]
async fn a_guest_that_is_offered_something_else_does_without() {
    let mut hand = Hand::new().await;
    let (_lane, offer) = Lane::open().expect("there is memory");
    let memory = memfd_create("other", MemfdFlags::ALLOW_SEALING).expect("memory");
    hand.offer(Offer { memory, ..offer }).await;
    assert!(!hand.says().await);
    let (_lane, offer) = Lane::open().expect("there is memory");
    hand.offer(offer).await;
    assert!(!hand.says().await, "once is enough");
}

/// Passed memory is not taken for what is offered, nor the other way round.
#[tokio::test]
async fn what_is_said_to_be_offered_and_is_not_costs_nothing() {
    let mut hand = Hand::new().await;
    let store = Store::new();
    let segment = store.write(&[&bytes(&mut Rng::new(5), 300_000)]).expect("there is memory").remove(0);
    let mut departures = Departures::default();
    departures.add(store.memory_behind(&segment).expect("it lies there"));
    departures.send(&hand.courier, 1, SendFlags::DONTWAIT).expect("there is room");
    let mut encoder = Encoder::new();
    encoder.signal(Signal::Offered);
    let value = Value::from(segment);
    encoder.message_passing(ended(value.clone()), &mut |_| Some(0)).expect("it can be sent");
    let said: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    hand.stream.write_all(&said).await.expect("there is room");
    assert!(value_of(next(&mut hand.far.receiver).await.expect("it comes")) == value);
    assert!(!hand.says().await);
}

/// Thousands of signals cost no more than their bytes.
#[tokio::test]
async fn what_a_host_says_again_is_not_done_again() {
    let mut hand = Hand::new().await;
    let meeting = hand.meeting;
    let again = stream_of(|encoder| {
        for _ in 0..20_000 {
            encoder.signal(Signal::Met);
            encoder.signal(Signal::Meet(meeting));
            encoder.signal(Signal::Offered);
        }
    });
    for part in again.chunks(1 << 19) {
        hand.stream.write_all(part).await.expect("it is read");
    }
    let (_lane, offer) = Lane::open().expect("there is memory");
    hand.courier.offer(offer.memory.as_fd(), offer.news.as_fd()).expect("there is room");
    hand.stream.write_all(&stream_of(|encoder| encoder.signal(Signal::Offered))).await.expect("there is room");
    assert!(!hand.says().await, "it had said so before");
}
