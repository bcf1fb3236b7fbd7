//! Clients and workers of a coordinator on loopback, over links that a proxy cuts.

use super::proxy::Proxy;
use super::rig::*;
use plait::client::{self, ClientConfig, ConnectError, Handle, Loss, NewTask, Remote, SubmitError};
use plait::coordinator::{self, Listen};
use plait::net::dial::{DialError, dial_worker};
use plait::net::join::{Address, JoinLine};
use plait_core::id::Seq;
use plait_core::spec::{Retention, Start};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A coordinator with an open port.
pub(crate) struct Server {
    home: PathBuf,
    pub(crate) worker: JoinLine,
    pub(crate) client: JoinLine,
    token: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        static HOMES: AtomicU32 = AtomicU32::new(0);
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        Self::at(std::env::temp_dir().join(format!("plait-remote-{}-{number}", std::process::id())))
    }

    /// A coordinator with the keys of that folder.
    fn at(home: PathBuf) -> Self {
        let listen = Listen { bind: "127.0.0.1:0".into(), advertise: None, home: home.clone() };
        let token = CancellationToken::new();
        let (ready, lines) = std::sync::mpsc::channel();
        let shutdown = token.clone();
        let thread = std::thread::spawn(move || {
            coordinator::serve(&listen, |lines| ready.send(lines).unwrap(), &shutdown).expect("it can listen");
        });
        let lines = lines.recv().expect("it is ready");
        let read = |line: String| line.parse().expect("a join line");
        Self { home, worker: read(lines.worker), client: read(lines.client), token, thread: Some(thread) }
    }

    fn address(&self) -> SocketAddr {
        self.client.addresses[0].to_string().parse().unwrap()
    }

    pub(crate) fn connect(&self) -> Remote {
        client::connect(self.client.clone(), config()).expect("it is there")
    }

    /// A worker that answers, over this line's addresses.
    pub(crate) fn hire(line: &JoinLine, act: impl FnMut(&Start) -> Act + Send + 'static) -> Probe {
        let line = line.clone();
        let (sender, probe) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let link = dial_worker(&line, offer(2), &|_| None, &None).await.expect("it is there");
                let (probe, worker) = Worker::new(link, act);
                sender.send(probe).unwrap();
                worker.run().await;
            });
        });
        probe.recv().expect("it came in")
    }

    fn stop(&mut self) {
        self.token.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the coordinator did not panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.token.cancel();
        if !std::thread::panicking() {
            self.stop();
        }
        drop(std::fs::remove_dir_all(&self.home));
    }
}

pub(crate) fn config() -> ClientConfig {
    ClientConfig { name: "test".into(), python: PYTHON }
}

/// The same line, by way of `proxy`.
pub(crate) fn through(line: &JoinLine, proxy: &Proxy) -> JoinLine {
    let address = Address { host: proxy.address.ip().to_string().into(), port: proxy.address.port() };
    JoinLine { addresses: vec![address], ..line.clone() }
}

fn submit_all(client: &Handle, tasks: std::ops::Range<u32>) -> Vec<Seq> {
    tasks.map(|n| client.submit(task(n.to_string())).expect("there is room")).collect()
}

fn expect_all(client: &Handle, tasks: &[Seq], from: u32) {
    for (n, task) in (from..).zip(tasks) {
        assert_eq!(value(client, *task), n.to_string());
    }
}

#[test]
fn a_client_and_a_worker_meet_over_the_network() {
    let server = Server::new();
    drop(Server::hire(&server.worker, answer));
    let mut remote = server.connect();
    let client = remote.handle().clone();
    define(&client);
    let tasks = submit_all(&client, 0..5_000);
    expect_all(&client, &tasks, 0);
    let big = "x".repeat(3 << 20);
    let echoed = client.submit(task(&big)).unwrap();
    assert!(value(&client, echoed) == big, "a large value comes back whole");
    let status = await_empty(&client);
    assert_eq!((status.workers.len(), status.sessions), (1, 1));
    assert!(remote.shutdown(PATIENCE));
    assert_eq!(client.submit(task("x")), Err(SubmitError::Closed));
    let other = server.connect();
    eventually(|| other.handle().ask_status(PATIENCE).is_some_and(|status| status.sessions == 1));
}

#[test]
fn a_session_goes_on_over_cut_links_and_nothing_is_lost_or_doubled() {
    let server = Server::new();
    let proxy = Proxy::new(server.address());
    let worker = Server::hire(&server.worker, answer);
    let remote = client::connect(through(&server.client, &proxy), config()).expect("it is there");
    let client = remote.handle();
    define(client);
    let mut tasks = Vec::new();
    for round in 0..10 {
        tasks.extend(submit_all(client, round * 500..(round + 1) * 500));
        proxy.cut();
    }
    expect_all(client, &tasks, 0);
    let status = await_empty(client);
    assert_eq!((status.tasks.done, status.sessions), (5_000, 1));
    assert_eq!(worker.started.lock().unwrap().len(), 5_000, "no task ran twice");
}

#[test]
fn the_end_of_a_replaced_link_does_not_count() {
    let server = Server::new();
    let proxy = Proxy::new(server.address());
    drop(Server::hire(&server.worker, answer));
    let remote = client::connect(through(&server.client, &proxy), config()).expect("it is there");
    let client = remote.handle();
    define(client);
    expect_all(client, &submit_all(client, 0..10), 0);
    proxy.cut_near();
    expect_all(client, &submit_all(client, 10..20), 10);
    proxy.cut_far();
    expect_all(client, &submit_all(client, 20..30), 20);
    assert_eq!(await_empty(client).sessions, 1);
}

#[test]
fn a_worker_that_is_cut_off_costs_no_outcome() {
    let server = Server::new();
    let proxy = Proxy::new(server.address());
    let doomed = Server::hire(&through(&server.worker, &proxy), |_| Act::Hold);
    let remote = server.connect();
    let client = remote.handle();
    define(client);
    let tasks = submit_all(client, 0..100);
    doomed.await_starts(2);
    drop(Server::hire(&server.worker, answer));
    proxy.cut();
    expect_all(client, &tasks, 0);
    assert_eq!(await_empty(client).workers.len(), 1);
}

#[test]
fn a_coordinator_that_forgot_the_session_is_a_loss_at_once() {
    let mut server = Server::new();
    let proxy = Proxy::new(server.address());
    let worker = Server::hire(&server.worker, |_| Act::Hold);
    let remote = client::connect(through(&server.client, &proxy), config()).expect("it is there");
    let client = remote.handle();
    define(client);
    let held = client.submit(task("held")).unwrap();
    worker.await_starts(1);
    let heir = Server::at(server.home.clone());
    proxy.retarget(heir.address());
    proxy.cut();
    assert_eq!(take(client, held).outcome, Err(Loss::Refused));
    assert_eq!(client.submit(task("x")), Err(SubmitError::Lost));
    server.stop();
}

#[test]
fn a_coordinator_that_ends_says_so() {
    let mut server = Server::new();
    let worker = Server::hire(&server.worker, |_| Act::Hold);
    let remote = server.connect();
    define(remote.handle());
    let held = remote.handle().submit(task("held")).unwrap();
    worker.await_starts(1);
    server.stop();
    assert_eq!(take(remote.handle(), held).outcome, Err(Loss::Ended));
}

#[test]
fn a_wrong_line_is_refused_without_another_try() {
    let (server, stranger) = (Server::new(), Server::new());
    let refused = |line: JoinLine| match client::connect(line, config()) {
        Err(ConnectError::Dial(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(server.worker.clone()), DialError::WrongRole { .. }));
    let pinned = JoinLine { addresses: stranger.client.addresses.clone(), ..server.client.clone() };
    assert!(matches!(refused(pinned), DialError::WrongPin { .. }));
    let unknown = JoinLine { key: stranger.client.key, ..server.client.clone() };
    assert!(matches!(refused(unknown), DialError::WrongKey { .. }));
}

#[test]
fn a_value_that_is_kept_survives_a_cut() {
    let server = Server::new();
    let proxy = Proxy::new(server.address());
    drop(Server::hire(&server.worker, answer));
    let remote = client::connect(through(&server.client, &proxy), config()).expect("it is there");
    let client = remote.handle();
    define(client);
    let kept = client.submit(NewTask { retention: Retention::Release, ..task("kept") }).unwrap();
    assert!(client.wait(kept, PATIENCE));
    proxy.cut();
    let user = client.submit(NewTask { inputs: [kept].into(), ..task("+") }).unwrap();
    assert_eq!(value(client, user), "+kept");
    client.release(kept);
    await_empty(client);
}
