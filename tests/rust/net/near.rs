//! Peers on the same machine: large segments go as memory, unless something is in the way.

use super::{next, soon};
use bytes::Bytes;
use plait::net::framed::{Terms, framed_on};
use plait::net::link::{Closed, Link, LossReason};
use plait::net::near::Part;
use plait::store::blob::Store;
use plait::store::depot::Depot;
use plait_core::id::AttemptId;
use plait_core::outcome::{Ending, Report};
use plait_core::protocol::error::FrameError;
use plait_core::protocol::frame::{Decoder, Encoder, Meeting, Signal};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::value::Value;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Near = Link<FromWorker, ToWorker>;
type Far = Link<ToWorker, FromWorker>;

const LENGTH: usize = 300_000;

/// A link, and the stores of both ends.
struct Pair {
    near: Near,
    far: Far,
    near_store: Arc<Store>,
    far_store: Arc<Store>,
}

impl Pair {
    fn over(buffer: usize, parts: (Part, Part), depot: fn(Arc<Store>) -> Arc<Depot>) -> Self {
        let (a, b) = duplex(buffer);
        let (near_store, far_store) = (Store::new(), Store::new());
        let depot = |store: &Arc<Store>| Some(depot(Arc::clone(store)));
        let near = framed_on(a, Terms::default(), depot(&near_store), parts.0);
        let far = framed_on(b, Terms::default(), depot(&far_store), parts.1);
        Self { near, far, near_store, far_store }
    }

    /// A value of sealed memory.
    fn sealed(&self, byte: u8, count: usize) -> Value {
        let bytes = vec![byte; LENGTH];
        let mut segments: Vec<&[u8]> = vec![&bytes; count];
        segments.push(b"behind");
        Value::from_segments(self.near_store.write(&segments).expect("there is memory"))
    }

    async fn send(&mut self, value: Value) -> Value {
        self.near.sender.send(ended(value)).expect("it is open");
        value_of(next(&mut self.far.receiver).await.expect("it comes"))
    }
}

pub(super) fn ended(value: Value) -> FromWorker {
    let ending = Ending::Returned(value);
    FromWorker::Ended(vec![Report { attempt: AttemptId::default(), ending, run_micros: 1 }])
}

pub(super) fn value_of(message: FromWorker) -> Value {
    match message {
        FromWorker::Ended(mut reports) => match reports.remove(0).ending {
            Ending::Returned(value) => value,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The file behind each large segment of a value.
fn files(store: &Arc<Store>, value: &Value) -> Vec<Option<u64>> {
    let file = |segment: &Bytes| Some(fstat(store.memory_behind(segment)?.descriptor()).expect("a descriptor").st_ino);
    value.shared().iter().filter(|segment| segment.len() == LENGTH).map(file).collect()
}

#[tokio::test]
async fn large_segments_are_the_same_memory_at_both_ends() {
    for parts in [(Part::Host, Part::Guest), (Part::Guest, Part::Host)] {
        let mut pair = Pair::over(64 << 10, parts, Depot::of_coordinator);
        // Who comes may hand memory over once it has heard that it was met, before the first message of the other at the latest.
        pair.far.sender.send(ToWorker::Goodbye).expect("it is open");
        assert_eq!(next(&mut pair.near.receiver).await, Ok(ToWorker::Goodbye));
        let sent = pair.sealed(7, 3);
        let got = pair.send(sent.clone()).await;
        assert!(got == sent && files(&pair.near_store, &sent) == files(&pair.far_store, &got));
        assert!(files(&pair.far_store, &got).iter().all(Option::is_some), "to be handed on");
        let bytes = Value::from(Bytes::from(vec![3; LENGTH]));
        let got = pair.send(bytes.clone()).await;
        assert!(
            got == bytes && files(&pair.far_store, &got) == [None],
            "what is no such memory is not copied into any"
        );
    }
}

#[tokio::test]
async fn memory_that_is_not_handed_on_takes_no_descriptor() {
    let mut pair = Pair::over(64 << 10, (Part::Host, Part::Guest), Depot::of_client);
    let sent = pair.sealed(7, 1);
    let got = pair.send(sent.clone()).await;
    assert!(got == sent && files(&pair.far_store, &got) == [None]);
    let own = pair.far_store.take(got.into_segments().remove(0)).expect("it is memory, and nobody else's");
    assert_eq!(own.bytes(), vec![7; LENGTH]);
}

#[tokio::test]
async fn where_nobody_comes_all_goes_as_bytes() {
    for parts in [(Part::Host, Part::Neither), (Part::Neither, Part::Guest)] {
        let mut pair = Pair::over(64 << 10, parts, Depot::of_coordinator);
        let sent = pair.sealed(9, 2);
        let got = pair.send(sent.clone()).await;
        assert!(got == sent && files(&pair.far_store, &got) == [None, None], "{parts:?}");
    }
}

/// More than a socket of descriptors takes, to one who reads nothing for a while: nobody asks for what it has.
#[tokio::test]
async fn what_waits_for_its_turn_comes_in_order() {
    let mut pair = Pair::over(64 << 10, (Part::Host, Part::Guest), Depot::of_client);
    let kinds = [1, 2, 3, 4, 5].map(|byte| pair.near_store.write(&[&vec![byte; LENGTH]]).expect("memory").remove(0));
    let of = |count| Value::from_segments(kinds.iter().cycle().take(count).cloned().collect());
    let sent = [of(300), of(600)];
    sent.iter().for_each(|value| pair.near.sender.send(ended(value.clone())).expect("it is open"));
    // That holds up nothing that goes the other way.
    pair.far.sender.send(ToWorker::Goodbye).expect("it is open");
    assert_eq!(next(&mut pair.near.receiver).await, Ok(ToWorker::Goodbye));
    for value in sent {
        let got = value_of(next(&mut pair.far.receiver).await.expect("it comes"));
        assert!(got == value);
        let memory = |segment| pair.far_store.take(segment).is_ok();
        assert!(got.into_segments().into_iter().all(memory), "nothing came as bytes");
    }
}

/// What a host says first, to one who reads the stream itself.
pub(super) async fn invited(stream: &mut DuplexStream) -> Meeting {
    let mut decoder = Decoder::<FromWorker>::new();
    loop {
        let byte = soon(stream.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut Vec::new()).expect("frames");
        if let Some(Signal::Meet(meeting)) = decoder.take_signal() {
            return meeting;
        }
    }
}

fn knock(meeting: &Meeting) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let name = format!("plait-{:032x}", u128::from_be_bytes(meeting.name));
    connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    Ok(socket)
}

pub(super) fn come(meeting: &Meeting, shown: &[u8]) -> OwnedFd {
    let socket = knock(meeting).expect("it is awaited");
    if !shown.is_empty() {
        send(&socket, shown, SendFlags::NOSIGNAL).expect("sent");
    }
    socket
}

/// The first signal of a peer that is told this.
async fn answer(to: Signal, part: Part) -> Signal {
    let (mut a, b) = duplex(64 << 10);
    let _far: Far = framed_on(b, Terms::default(), Some(Depot::of_client(Store::new())), part);
    a.write_all(&stream_of(to)).await.expect("there is room");
    let mut decoder = Decoder::<ToWorker>::new();
    loop {
        let byte = soon(a.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut Vec::new()).expect("frames");
        if let Some(signal) = decoder.take_signal() {
            return signal;
        }
    }
}

fn stream_of(signal: Signal) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.signal(signal);
    encoder.chunks().iter().flatten().copied().collect()
}

#[tokio::test]
async fn who_does_not_come_says_so() {
    let nowhere = Signal::Meet(Meeting { name: [0; 16], token: [0; 16] });
    for part in [Part::Guest, Part::Neither] {
        assert_eq!(answer(nowhere, part).await, Signal::Decline, "{part:?}");
    }
}

#[tokio::test]
async fn who_does_not_come_is_not_waited_for() {
    let (a, mut b) = duplex(64 << 10);
    let near: Near = framed_on(a, Terms::default(), Some(Depot::of_client(Store::new())), Part::Host);
    let meeting = invited(&mut b).await;
    b.write_all(&stream_of(Signal::Decline)).await.expect("there is room");
    near.sender.send(FromWorker::Draining).expect("it is open");
    let (mut decoder, mut got) = (Decoder::<FromWorker>::new(), Vec::new());
    while got.is_empty() {
        let byte = soon(b.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut got).expect("frames");
    }
    assert!(knock(&meeting).is_err(), "the place is closed");
}

/// Whether whoever awaited the owner of this socket has closed its end.
fn is_shut_out(comer: &OwnedFd) -> bool {
    match recv(comer, &mut [0; 1], RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == 0,
        Err(error) => error != Errno::AGAIN,
    }
}

/// Others on the machine see the name of the place and may be there first.
#[tokio::test]
async fn only_the_peer_is_met() {
    let (a, mut b) = duplex(64 << 10);
    let store = Store::new();
    let near: Near = framed_on(a, Terms::default(), Some(Depot::of_client(Arc::clone(&store))), Part::Host);
    let meeting = invited(&mut b).await;
    let mut long = meeting.token.to_vec();
    long.push(0);
    let shown: [&[u8]; 4] = [&[0; 16], &meeting.token[..15], &long, b""];
    let strangers = shown.map(|shown| come(&meeting, shown));
    let guest = come(&meeting, &meeting.token);
    let mut decoder = Decoder::<FromWorker>::new();
    loop {
        let byte = soon(b.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut Vec::new()).expect("frames");
        if decoder.take_signal() == Some(Signal::Met) {
            break;
        }
    }
    assert!(strangers.iter().all(is_shut_out) && !is_shut_out(&guest));
    drop(near);
}

#[tokio::test]
async fn memory_that_nobody_brought_is_a_breach() {
    let (mut a, b) = duplex(64 << 10);
    let depot = Depot::of_client(Store::new());
    let mut far: Far = framed_on(b, Terms::default(), Some(depot), Part::Guest);
    let mut encoder = Encoder::new();
    let value = Value::from(Bytes::from(vec![1; LENGTH]));
    encoder.message_passing(ended(value), &mut |_| Some(0)).expect("it can be sent");
    let stream: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    a.write_all(&stream).await.expect("there is room");
    let lost = next(&mut far.receiver).await;
    assert_eq!(lost, Err(Closed::Lost(LossReason::Protocol(FrameError::BadMemory))));
}

/// The name may lead to anybody once the place is closed: nothing is handed to one who was not met.
#[tokio::test]
async fn nothing_is_handed_over_before_the_peer_says_so() {
    let (mut a, b) = duplex(1 << 20);
    let store = Store::new();
    let far: Far = framed_on(b, Terms::default(), Some(Depot::of_client(Arc::clone(&store))), Part::Guest);
    let other: (Near, DuplexStream) = {
        let (c, d) = duplex(64 << 10);
        (framed_on(c, Terms::default(), Some(Depot::of_client(Store::new())), Part::Host), d)
    };
    let (_place, mut spy) = other;
    let meeting = invited(&mut spy).await;
    a.write_all(&stream_of(Signal::Meet(meeting))).await.expect("there is room");
    let segment = store.write(&[&vec![5; LENGTH]]).expect("there is memory").remove(0);
    far.sender.send(ToWorker::Give { object: Default::default(), value: segment.into() }).expect("it is open");
    let (mut decoder, mut got) = (Decoder::<ToWorker>::new(), Vec::new());
    let mut buffer = vec![0; 64 << 10];
    while got.is_empty() {
        let length = soon(a.read(&mut buffer)).await.expect("it speaks");
        decoder.feed(&buffer[..length], &mut got).expect("bytes alone");
    }
}

/// Runs an ignored test of this file in a process of its own, which it leaves with few descriptors.
fn alone(name: &str) {
    let name = format!("net::near::{name}");
    let child =
        Command::new(std::env::current_exe().expect("this test")).args(["--exact", &name, "--ignored"]).output();
    let child = child.expect("the same tests again");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

/// Lets this process have so many descriptors.
fn allow(current: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).expect("fewer");
}

/// Takes descriptors until there are so many.
fn take(below: i32) -> Vec<OwnedFd> {
    let more = || std::io::stderr().as_fd().try_clone_to_owned().ok().filter(|taken| taken.as_raw_fd() < below);
    std::iter::from_fn(more).collect()
}

#[test]
fn a_process_keeps_its_last_descriptors_for_links() {
    alone("busy");
}

#[tokio::test]
#[ignore = "it takes descriptors of its process: the one above runs it in a process of its own"]
async fn busy() {
    allow(200);
    let mut taken = take(150);
    for memory in [false, true] {
        let mut pair = Pair::over(64 << 10, (Part::Host, Part::Guest), Depot::of_coordinator);
        let sent = pair.sealed(7, 1);
        let got = pair.send(sent.clone()).await;
        assert!(got == sent && files(&pair.far_store, &got)[0].is_some() == memory);
        taken.truncate(100);
    }
}

#[test]
fn memory_waits_for_a_descriptor_but_not_for_ever() {
    alone("poor");
}

#[tokio::test]
#[ignore = "it takes all descriptors of its process: the one above runs it in a process of its own"]
async fn poor() {
    let terms = Terms { heartbeat: Duration::from_millis(20), fence: Duration::from_secs(1), ..Terms::default() };
    let store = Store::new();
    let value = Value::from(store.write(&[&vec![5; LENGTH]]).expect("there is memory").remove(0));
    allow(200);
    let mut taken = take(200);
    for relief in [true, false] {
        // Too late to have one in reserve.
        let (depot, far_depot) = (Depot::of_client(Arc::clone(&store)), Depot::of_client(Store::new()));
        taken.truncate(100);
        let (a, b) = duplex(64 << 10);
        let near: Near = framed_on(a, terms, Some(depot), Part::Host);
        let mut far: Far = framed_on(b, terms, Some(far_depot), Part::Guest);
        near.sender.send(FromWorker::Draining).expect("it is open");
        assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Draining), "once they have met");
        taken.extend(take(200));
        near.sender.send(ended(value.clone())).expect("it is open");
        let mut got = Vec::new();
        for _ in 0..3 {
            soon(far.receiver.receive(&mut got, 1)).await.expect("it lives");
            assert_eq!(got, [], "there is no room");
        }
        let expected = if relief { Ok(value.clone()) } else { Err(Closed::Lost(LossReason::Starved)) };
        taken.truncate(taken.len() - usize::from(relief));
        assert_eq!(next(&mut far.receiver).await.map(value_of), expected);
        drop((near, far));
        taken.extend(take(200));
    }
}

#[tokio::test]
async fn a_link_without_a_store_meets_nobody() {
    let (mut a, b) = duplex(64 << 10);
    let near: Near = framed_on(b, Terms::default(), None, Part::Host);
    near.sender.send(FromWorker::Draining).expect("it is open");
    let (mut decoder, mut got) = (Decoder::<FromWorker>::new(), Vec::new());
    while got.is_empty() {
        let byte = soon(a.read_u8()).await.expect("it speaks");
        decoder.feed(&[byte], &mut got).expect("frames");
        assert_eq!(decoder.take_signal(), None);
    }
}
