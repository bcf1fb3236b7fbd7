//! Clients on the network that get large values from the workers that made them.

use crate::proxy::Proxy;
use crate::remote::{Server, config, through};
use crate::rig::{Act, PATIENCE, Probe, Worker, await_empty, define, eventually, offer, take, task};
use bytes::Bytes;
use plait::client::{self, Handle, NewTask, Remote};
use plait::coordinator::{self, World};
use plait::net::dial::dial_worker;
use plait::net::identity::Identity;
use plait::net::join::{Address, JoinLine, Role};
use plait::net::keys::Keyring;
use plait::net::link::Link;
use plait::net::listener::Listener;
use plait::net::peers::{Guest, Guests, Porch};
use plait_core::id::{ObjectId, Seq};
use plait_core::limits::DIRECT_BYTES;
use plait_core::outcome::Outcome;
use plait_core::peer::Peer;
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::spec::{Retention, Start};
use plait_core::value::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

const LARGE: usize = 3 * DIRECT_BYTES as usize;

/// What a worker makes of a start and keeps.
fn made(start: &Start) -> Value {
    let text = start.args.segments().collect::<Vec<_>>().concat();
    let bytes = if text.starts_with(b"small") { DIRECT_BYTES as usize - 1 } else { LARGE };
    Value::from_segments(vec![Bytes::from_static(b"stream"), Bytes::from(vec![b'm'; bytes - 6])])
}

/// A coordinator to which its peers are on other machines, wherever they are: nothing is handed over as memory.
struct Elsewhere {
    worker: JoinLine,
    client: JoinLine,
    address: SocketAddr,
    home: PathBuf,
    token: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Elsewhere {
    fn new() -> Self {
        static HOMES: AtomicU32 = AtomicU32::new(0);
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("plait-visits-{}-{number}", std::process::id()));
        let keyring = Arc::new(Keyring::open(&home).unwrap());
        let (ready, address) = mpsc::channel();
        let token = CancellationToken::new();
        let (keys, shutdown) = (Arc::clone(&keyring), token.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let config = coordinator::Config::new(World::Open);
                let listener = Listener::bind("127.0.0.1:0", keys, config.epoch, None).await.expect("a free port");
                ready.send(listener.address()).unwrap();
                let (arrivals, arriving) = tokio::sync::mpsc::channel(16);
                tokio::spawn(listener.serve(arrivals, shutdown.clone()));
                coordinator::run(config, arriving, shutdown).await;
            });
        });
        let address: SocketAddr = address.recv().expect("it listens");
        let line = |role| {
            let at = Address { host: address.ip().to_string().into(), port: address.port() };
            keyring.join_line(role, vec![at])
        };
        let (worker, client) = (line(Role::Worker), line(Role::Client));
        Self { worker, client, address, home, token, thread: Some(thread) }
    }

    fn connect(&self) -> Remote {
        client::connect(self.client.clone(), config()).expect("it is there")
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.token.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        drop(std::fs::remove_dir_all(&self.home));
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the coordinator did not panic");
    }
}

/// What a worker does with a guest that has asked for something.
#[derive(Clone, Copy, Debug)]
enum Manners {
    /// It gives it what it made.
    Serve,
    /// It says nothing, until the guest goes.
    Stare,
}

/// A worker that keeps all it makes, and has a place for guests.
struct Holder {
    probe: Probe,
    asked: Arc<AtomicU32>,
    left: Arc<AtomicU32>,
}

impl Holder {
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn next(link: &mut Link<FromHolder, ToHolder>) -> Option<ObjectId> {
    let mut asked = Vec::new();
    while asked.is_empty() {
        link.receiver.receive(&mut asked, 1).await.ok()?;
    }
    asked.pop().map(|ToHolder::Fetch(object)| object)
}

/// A worker with these manners, which says it is where `at` says.
fn hire(line: &JoinLine, manners: Manners, at: impl Fn(Peer) -> Peer + Send + Sync + 'static) -> Holder {
    let line = line.clone();
    let (sender, holder) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let guests = Arc::<Guests>::default();
            let porch = Porch::open([127, 0, 0, 1].into(), &Identity::draw(), Arc::clone(&guests), PATIENCE, None)
                .expect("a port");
            let here = porch.peer();
            let link = dial_worker(&line, offer(2), &|_| Some(at(here)), &None).await.expect("it is there");
            let (probe, mut worker) = Worker::new(link, |start: &Start| Act::Keep(made(start)));
            worker.guests = guests;
            let (asked, left) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
            let counts = (Arc::clone(&asked), Arc::clone(&left));
            sender.send(Holder { probe, asked, left }).unwrap();
            let receiving = porch.receive(move |Guest { mut link, .. }| {
                let (asked, left) = counts.clone();
                async move {
                    let Some(object) = next(&mut link).await else { return };
                    asked.fetch_add(1, Ordering::Relaxed);
                    if let Manners::Serve = manners {
                        let value = Some(Value::from_segments(vec![Bytes::from(vec![b'v'; LARGE])]));
                        let _ = link.sender.send(FromHolder::Sent { object, value });
                    }
                    assert_eq!(next(&mut link).await, None, "a guest asks once");
                    left.fetch_add(1, Ordering::Relaxed);
                }
            });
            tokio::select! {
                () = worker.run() => {}
                () = receiving => {}
            }
        });
    });
    holder.recv().expect("it came in")
}

fn submit(client: &Handle, args: &str, retention: Retention) -> Seq {
    client.submit(NewTask { retention, ..task(args) }).expect("admitted")
}

/// The first byte of a value behind its stream: which way it came. Made and shown by the worker, or given to a guest.
fn way(client: &Handle, seq: Seq) -> u8 {
    let Ok(Outcome::Value(value)) = take(client, seq).outcome else { panic!("it has a value") };
    let last = value.segments().last().expect("it has segments");
    assert!(last.iter().all(|byte| *byte == last[0]));
    last[0]
}

#[test]
fn what_is_large_comes_straight_from_its_worker() {
    let server = Elsewhere::new();
    let holder = hire(&server.worker, Manners::Serve, |here| here);
    let remote = server.connect();
    let client = remote.handle();
    define(client);
    let tasks = (0..20).map(|_| submit(client, "", Retention::Delivery)).collect::<Vec<_>>();
    assert!(tasks.into_iter().all(|seq| way(client, seq) == b'v'));
    eventually(|| holder.probe.store.lock().unwrap().is_empty());
    assert_eq!(holder.asked(), 20);
    eventually(|| holder.left.load(Ordering::Relaxed) == 20);
    await_empty(client);
}

#[test]
fn what_is_not_so_large_comes_through_the_coordinator() {
    let server = Elsewhere::new();
    let holder = hire(&server.worker, Manners::Serve, |here| here);
    let remote = server.connect();
    define(remote.handle());
    let seq = submit(remote.handle(), "small", Retention::Delivery);
    assert_eq!((way(remote.handle(), seq), holder.asked()), (b'm', 0));
    await_empty(remote.handle());
}

#[test]
fn what_is_handed_over_within_a_machine_comes_through_the_coordinator() {
    let server = Server::new();
    let holder = hire(&server.worker, Manners::Serve, |here| here);
    let remote = server.connect();
    define(remote.handle());
    let seq = submit(remote.handle(), "", Retention::Delivery);
    assert_eq!((way(remote.handle(), seq), holder.asked()), (b'm', 0));
    await_empty(remote.handle());
}

#[test]
fn what_cannot_be_got_from_its_worker_comes_through_the_coordinator() {
    let server = Elsewhere::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, silent) = (nobody, mute.local_addr().unwrap());
    drop(hire(&server.worker, Manners::Serve, move |here| Peer { address: closed, ..here }));
    let remote = server.connect();
    define(remote.handle());
    let seq = submit(remote.handle(), "", Retention::Delivery);
    assert_eq!(way(remote.handle(), seq), b'm');
    // It takes connections and says nothing: no handshake lasts for ever.
    let other = Elsewhere::new();
    drop(hire(&other.worker, Manners::Serve, move |here| Peer { address: silent, ..here }));
    let remote = other.connect();
    define(remote.handle());
    let tasks = [(); 3].map(|()| submit(remote.handle(), "", Retention::Delivery));
    assert!(tasks.into_iter().all(|seq| way(remote.handle(), seq) == b'm'));
    await_empty(remote.handle());
}

#[test]
fn a_future_that_nobody_holds_any_more_ends_its_visit() {
    let server = Elsewhere::new();
    let holder = hire(&server.worker, Manners::Stare, |here| here);
    let remote = server.connect();
    let client = remote.handle();
    define(client);
    let seq = submit(client, "", Retention::Release);
    eventually(|| holder.asked() == 1);
    client.release(seq);
    eventually(|| holder.left.load(Ordering::Relaxed) == 1);
    assert!(client.wait_idle(PATIENCE), "nothing is waited for any more");
    eventually(|| holder.probe.store.lock().unwrap().is_empty());
    await_empty(client);
}

#[test]
fn a_client_that_is_closed_ends_its_visits() {
    let server = Elsewhere::new();
    let holder = hire(&server.worker, Manners::Stare, |here| here);
    let mut remote = server.connect();
    define(remote.handle());
    submit(remote.handle(), "", Retention::Release);
    eventually(|| holder.asked() == 1);
    assert!(remote.shutdown(PATIENCE));
    eventually(|| holder.left.load(Ordering::Relaxed) == 1);
    eventually(|| holder.probe.store.lock().unwrap().is_empty());
}

#[test]
fn what_is_lost_on_the_way_is_made_again_and_got_there() {
    let server = Elsewhere::new();
    let doomed = hire(&server.worker, Manners::Stare, |here| here);
    let remote = server.connect();
    let client = remote.handle();
    define(client);
    let seq = submit(client, "", Retention::Release);
    eventually(|| doomed.asked() == 1);
    let heir = hire(&server.worker, Manners::Serve, |here| here);
    doomed.probe.cut();
    assert_eq!((way(client, seq), heir.asked()), (b'v', 1));
    client.release(seq);
    await_empty(client);
}

#[test]
fn visits_go_on_while_the_coordinator_is_not_there() {
    let server = Elsewhere::new();
    let proxy = Proxy::new(server.address);
    drop(hire(&server.worker, Manners::Serve, |here| here));
    let remote = client::connect(through(&server.client, &proxy), config()).expect("it is there");
    let client = remote.handle();
    define(client);
    for round in 0..10 {
        let tasks = [(); 5].map(|()| submit(client, "", Retention::Delivery));
        if round % 2 == 0 {
            assert!(client.wait(tasks[0], PATIENCE));
        }
        proxy.cut();
        assert!(tasks.into_iter().all(|seq| way(client, seq) == b'v'));
    }
    await_empty(client);
}
