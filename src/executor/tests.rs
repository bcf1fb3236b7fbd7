//! The channel against a worker that is played here.

use super::channel::{Channel, Forgotten, Left, Next};
use crate::store::blob::{Keep, Store};
use crate::store::passing::{self, Courier, Departures, Reserve, send_shared};
use crate::store::shm::{Interrupt, WorkerPage};
use bytes::Bytes;
use plait_core::id::{AttemptId, FunctionId, FunctionKey, SessionId};
use plait_core::limits::{FLUSH_AFTER, PASSED_BYTES};
use plait_core::outcome::{Ending, Outcome};
use plait_core::protocol::frame::{Cargo, Decoder, Encoder, Fed};
use plait_core::protocol::message::executor::{EntryEnded, ExecutorOrder, FromExecutor, ToExecutor};
use plait_core::spec::Call;
use plait_core::value::Value;
use rustix::net::SendFlags;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

struct Worker {
    page: WorkerPage,
    socket: UnixStream,
    store: Arc<Store>,
    departures: Departures,
    courier: Courier,
    decoder: Decoder<FromExecutor>,
    heard: Vec<FromExecutor>,
}

/// A worker and its executor's channel; the executor has said that it is ready.
fn connect() -> (Worker, Channel) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let page = WorkerPage::create().expect("a page");
    let (courier, theirs) = Courier::pair(&Reserve::new()).expect("a courier");
    send_shared(&near, page.memory(), &theirs).expect("sent");
    near.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    let channel = Channel::open(far.into()).expect("a channel");
    let mut worker = Worker {
        page,
        socket: near,
        store: Store::new(),
        departures: Departures::default(),
        courier,
        decoder: Decoder::new(),
        heard: Vec::new(),
    };
    assert_eq!(worker.hear(), FromExecutor::Ready);
    (worker, channel)
}

impl Worker {
    fn say(&mut self, message: ToExecutor) {
        let mut encoder = Encoder::new();
        let Self { socket, store, departures, courier, .. } = self;
        let mut pass = |segment: &Bytes| departures.add(store.memory_of(segment)?);
        encoder.message_passing(message, &mut pass).expect("encodable");
        while !encoder.is_empty() {
            match encoder.cargo() {
                Cargo::Bytes(most) => {
                    let written = passing::write(&*socket, encoder.chunks(), most, SendFlags::empty());
                    encoder.written(written.expect("written"));
                }
                Cargo::Descriptors(most) => {
                    encoder.departed(departures.send(courier, most, SendFlags::empty()).expect("passed"));
                }
            }
        }
    }

    fn give(&mut self, entries: impl IntoIterator<Item = u32>) {
        let orders: Vec<_> = entries.into_iter().map(order).collect();
        orders.iter().for_each(|order| self.page.offer(order.entry, (0, order.call.span().end)));
        self.say(ToExecutor::Orders(orders));
    }

    fn hear(&mut self) -> FromExecutor {
        while self.heard.is_empty() {
            let mut buffer = [0; 4096];
            let Self { courier, store, .. } = self;
            let read = rustix::io::read(&self.socket, &mut buffer).expect("in time");
            assert!(read > 0, "the executor hung up");
            let mut receive = |offset, length| courier.receive(store, offset, length, Keep::Descriptor);
            let fed = self.decoder.feed_receiving(&mut &buffer[..read], &mut self.heard, &mut receive);
            assert_eq!(fed, Ok(Fed::All), "well-formed");
        }
        self.heard.remove(0)
    }

    fn hear_ended(&mut self, count: usize) -> Vec<EntryEnded> {
        let mut all = Vec::new();
        while all.len() < count {
            let FromExecutor::Ended(ended) = self.hear() else { panic!("only endings") };
            all.extend(ended);
        }
        all
    }
}

fn order(entry: u32) -> ExecutorOrder {
    ExecutorOrder {
        entry,
        part: None,
        function: function(0),
        call: Call::Single,
        task: AttemptId::default(),
        args: value(b"args"),
        inputs: Vec::new(),
        inputs_total: 0,
    }
}

fn function(session: u32) -> FunctionKey {
    FunctionKey { session: SessionId(session), function: FunctionId(1) }
}

fn value(bytes: &'static [u8]) -> Value {
    Bytes::from_static(bytes).into()
}

fn next(channel: &mut Channel) -> ExecutorOrder {
    match channel.wait() {
        Next::Order(order) => order,
        other => panic!("an order, not {other:?}"),
    }
}

fn entries(ended: &[EntryEnded]) -> Vec<u32> {
    ended.iter().map(|ended| ended.entry).collect()
}

#[test]
fn orders_are_run_in_turn_and_reported_in_one_batch() {
    let (mut worker, mut channel) = connect();
    worker.say(ToExecutor::Define { function: function(0), body: value(b"body") });
    worker.give([0, 1, 2]);
    for entry in 0..3 {
        let order = next(&mut channel);
        assert_eq!((order.entry, worker.page.running()), (entry, Some(entry)));
        let _ = channel.finish(Instant::now(), Ending::Returned(order.args), Left::Nothing);
        assert_eq!(worker.page.running(), None);
    }
    assert_eq!(channel.take_body(function(0)), Some(value(b"body")));
    assert_eq!(channel.take_body(function(0)), None, "bodies are handed out once");
    assert!(channel.take().is_none());
    drop(worker.socket.shutdown(std::net::Shutdown::Write));
    assert!(matches!(channel.wait(), Next::End), "the end of the worker is the end");
    let ended = worker.hear_ended(3);
    assert_eq!(entries(&ended), [0, 1, 2]);
    assert!(ended.iter().all(|ended| ended.ending == Ending::Returned(value(b"args")) && !ended.soiled));
}

#[test]
fn what_was_taken_back_is_passed_over() {
    let (mut worker, mut channel) = connect();
    worker.give([5, 6, 7]);
    assert!(worker.page.revoke(6));
    for entry in [5, 7] {
        assert_eq!(next(&mut channel).entry, entry);
        let _ = channel.finish(Instant::now(), Ending::Skipped, Left::Children);
    }
    channel.flush();
    let ended = worker.hear_ended(2);
    assert_eq!(entries(&ended), [5, 7]);
    assert!(ended.iter().all(|ended| ended.soiled));
    assert!(!worker.page.revoke(7), "what has begun cannot be taken back");
}

#[test]
fn what_leaves_anything_behind_soils_its_executor() {
    let (mut worker, mut channel) = connect();
    worker.give([0, 1, 2]);
    for left in [Left::Nothing, Left::Children, Left::HalfModule] {
        let _ = next(&mut channel);
        let _ = channel.finish(Instant::now(), Ending::Skipped, left);
    }
    channel.flush();
    let soiled: Vec<bool> = worker.hear_ended(3).iter().map(|ended| ended.soiled).collect();
    assert_eq!(soiled, [false, true, true]);
}

#[test]
fn a_result_does_not_wait_behind_a_long_task() {
    let (mut worker, mut channel) = connect();
    worker.give([0, 1]);
    let before = Instant::now();
    assert_eq!(next(&mut channel).entry, 0);
    assert!(!channel.finish(before, Ending::Skipped, Left::Nothing), "it took no time");
    let long = channel.take().expect("it was read with the first");
    assert_eq!(entries(&worker.hear_ended(1)), [0], "while the second one runs");
    assert_eq!(long.entry, 1);
    let _ = channel.finish(Instant::now(), Ending::Skipped, Left::Nothing);
    channel.flush();
    assert_eq!(entries(&worker.hear_ended(1)), [1]);
}

#[test]
fn the_result_of_a_long_task_goes_at_once() {
    let (mut worker, mut channel) = connect();
    worker.give([0, 1]);
    assert_eq!(next(&mut channel).entry, 0);
    assert!(channel.finish(Instant::now() + FLUSH_AFTER, Ending::Skipped, Left::Nothing), "it asks to be sent");
    channel.flush();
    assert_eq!(entries(&worker.hear_ended(1)), [0], "before the second one has begun");
}

#[test]
fn a_result_that_could_not_be_sent_is_the_end_of_the_channel() {
    let (mut worker, mut channel) = connect();
    worker.give([0, 1]);
    worker.socket.shutdown(std::net::Shutdown::Read).expect("it still can say what it wants");
    for entry in [0, 1] {
        assert_eq!(next(&mut channel).entry, entry);
        let _ = channel.finish(Instant::now(), Ending::Skipped, Left::Nothing);
        channel.flush();
    }
    assert!(matches!(channel.wait(), Next::End), "the worker would wait for it for ever");
}

#[test]
fn an_order_begins_when_all_its_inputs_are_there() {
    let (mut worker, mut channel) = connect();
    worker.page.offer(3, (0, 0));
    let streamed = ExecutorOrder { inputs: vec![Outcome::Skipped], inputs_total: 3, ..order(3) };
    worker.say(ToExecutor::Orders(vec![streamed]));
    let waiting = thread::spawn(move || (next(&mut channel), channel));
    let deadline = Instant::now() + Duration::from_secs(30);
    while worker.page.running() != Some(3) && Instant::now() < deadline {
        thread::yield_now();
    }
    assert!(!worker.page.revoke(3), "it has begun: nobody else may run it");
    worker.say(ToExecutor::Inputs { entry: 9, inputs: vec![Outcome::Cancelled] });
    for bytes in [b"one", b"two"] {
        worker.say(ToExecutor::Inputs { entry: 3, inputs: vec![Outcome::Value(value(bytes))] });
    }
    let (order, _channel) = waiting.join().expect("an order");
    let inputs = [Outcome::Skipped, Outcome::Value(value(b"one")), Outcome::Value(value(b"two"))];
    assert_eq!(order.inputs, inputs);
}

#[test]
fn a_large_result_goes_at_once() {
    let (mut worker, mut channel) = connect();
    worker.give([0, 1]);
    assert_eq!(next(&mut channel).entry, 0);
    let large = Value::from(Bytes::from(vec![7; 1 << 20]));
    assert!(channel.finish(Instant::now(), Ending::Returned(large.clone()), Left::Nothing), "it asks to be sent");
    let sending = thread::spawn(move || channel.flush());
    assert_eq!(worker.hear_ended(1)[0].ending, Ending::Returned(large));
    sending.join().expect("sent");
}

#[test]
fn forgotten_functions_are_dropped_though_nothing_else_is_to_be_done() {
    let (mut worker, mut channel) = connect();
    worker.say(ToExecutor::Define { function: function(1), body: value(b"body") });
    worker.say(ToExecutor::ForgetFunctions(vec![function(1)]));
    let forgotten = loop {
        assert!(matches!(channel.wait(), Next::Forgotten), "there is no order");
        let forgotten = channel.take_forgotten();
        if !forgotten.functions.is_empty() {
            break forgotten;
        }
    };
    assert_eq!(forgotten, Forgotten { sessions: Vec::new(), functions: vec![function(1)] });
    assert_eq!(channel.take_body(function(1)), None);
}

#[test]
fn large_segments_go_as_memory_both_ways_and_small_ones_between_them() {
    let (mut worker, mut channel) = connect();
    let large = |byte| Bytes::from(vec![byte; PASSED_BYTES + usize::from(byte)]);
    let args =
        Value::from_segments((0..60).map(|n| if n % 3 == 2 { Bytes::from(vec![n; 9]) } else { large(n) }).collect());
    worker.page.offer(0, (0, 0));
    worker.say(ToExecutor::Orders(vec![ExecutorOrder { args: args.clone(), ..order(0) }]));
    let order = next(&mut channel);
    assert_eq!(order.args, args);
    assert_eq!(channel.store().mapped_bytes() as u64, args.len() - 20 * 9, "none of it was copied");
    let _ = channel.finish(Instant::now(), Ending::Returned(order.args), Left::Nothing);
    let sending = thread::spawn(move || {
        channel.flush();
        channel
    });
    let ended = worker.hear_ended(1);
    let channel = sending.join().expect("sent");
    assert_eq!(ended[0].ending, Ending::Returned(args.clone()));
    assert_eq!(worker.store.mapped_bytes() as u64, args.len() - 20 * 9);
    drop(ended);
    assert_eq!((worker.store.mapped_bytes(), channel.store().mapped_bytes()), (0, 0), "nothing is left behind");
}

#[test]
fn an_order_may_come_as_bytes_where_memory_cannot_be_passed() {
    let (worker, mut channel) = connect();
    let mut encoder = Encoder::new();
    let args = Value::from(Bytes::from(vec![3; PASSED_BYTES]));
    worker.page.offer(0, (0, 0));
    encoder.message(ToExecutor::Orders(vec![ExecutorOrder { args: args.clone(), ..order(0) }])).expect("encodable");
    let chunks: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    let mut socket = worker.socket.try_clone().expect("a socket");
    let writing = thread::spawn(move || socket.write_all(&chunks).expect("written"));
    assert_eq!(next(&mut channel).args, args);
    writing.join().expect("written");
    assert_eq!(channel.store().mapped_bytes(), 0);
}

#[test]
fn functions_of_a_forgotten_session_are_dropped() {
    let (mut worker, mut channel) = connect();
    for session in [1, 2] {
        worker.say(ToExecutor::Define { function: function(session), body: value(b"body") });
    }
    worker.say(ToExecutor::Forget(SessionId(1)));
    worker.give([0]);
    assert_eq!(next(&mut channel).entry, 0);
    let sessions = vec![SessionId(1)];
    assert_eq!(channel.take_forgotten(), Forgotten { sessions, functions: Vec::new() });
    assert_eq!((channel.take_body(function(1)), channel.take_body(function(2))), (None, Some(value(b"body"))));
}

#[test]
fn damage_ends_the_channel_after_what_was_good() {
    let (mut worker, mut channel) = connect();
    worker.give([0]);
    worker.socket.write_all(&[0xEE; 64]).expect("written");
    assert_eq!(next(&mut channel).entry, 0);
    let _ = channel.finish(Instant::now(), Ending::Skipped, Left::Nothing);
    assert!(matches!(channel.wait(), Next::End));
}

#[test]
fn a_worker_that_vanished_raises_no_signal() {
    let (mut worker, mut channel) = connect();
    worker.give([0]);
    assert_eq!(next(&mut channel).entry, 0);
    drop(worker);
    let _ = channel.finish(Instant::now(), Ending::Skipped, Left::Nothing);
    assert!(matches!(channel.wait(), Next::End));
}

#[test]
fn an_interrupt_is_judged_by_the_page() {
    let (mut worker, mut channel) = connect();
    worker.give([0]);
    let page = channel.page();
    assert_eq!(next(&mut channel).entry, 0);
    worker.page.mark_interrupt(0);
    assert_eq!(page.take_interrupt(), Interrupt::Running);
    let _ = channel.finish(Instant::now(), Ending::Cancelled, Left::Nothing);
    worker.page.mark_interrupt(0);
    assert_eq!(page.take_interrupt(), Interrupt::Stale);
}
