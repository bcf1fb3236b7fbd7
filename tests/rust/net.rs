//! Links, keys and the port, on loopback and over real sockets.

mod fuzz;
mod guests;
mod keys;
mod lane;
mod link;
mod log;
mod near;
mod peers;
mod strangers;

use plait::net::dial::{DialError, dial_client, dial_worker};
use plait::net::join::{Address, JoinLine, Role};
use plait::net::keys::Keyring;
use plait::net::link::{Closed, Link, Receiver};
use plait::net::listener::{Arrival, Listener};
use plait_core::id::Epoch;
use plait_core::protocol::message::Message;
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::resource::Resources;
use plait_core::spec::{Offer, PythonVersion};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes in time")
}

/// A folder of its own, not made yet.
fn fresh_home() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("home-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(std::fs::remove_dir_all(&home));
    home
}

/// A listener on loopback with keys of its own.
struct Port {
    keyring: Arc<Keyring>,
    home: PathBuf,
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrival>,
    shutdown: CancellationToken,
}

impl Port {
    async fn open() -> Self {
        let home = fresh_home();
        let keyring = Arc::new(Keyring::open(&home).unwrap());
        let listener = Listener::bind("127.0.0.1:0", Arc::clone(&keyring), Epoch(7), None).await.unwrap();
        let address = listener.address();
        let (sender, arrivals) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        tokio::spawn(listener.serve(sender, shutdown.clone()));
        Self { keyring, home, address, arrivals, shutdown }
    }

    fn line(&self, role: Role) -> JoinLine {
        self.keyring.join_line(role, vec![at(self.address)])
    }

    async fn dial_worker(&self) -> Result<Link<FromWorker, ToWorker>, DialError> {
        soon(dial_worker(&self.line(Role::Worker), offer(), &|_| None, &None)).await
    }

    async fn next(&mut self) -> Arrival {
        soon(self.arrivals.recv()).await.expect("the listener serves")
    }

    /// A worker that comes in: its own end, and the coordinator's.
    async fn worker(&mut self) -> (Link<FromWorker, ToWorker>, Link<ToWorker, FromWorker>) {
        let near = self.dial_worker().await.expect("the line is right");
        match self.next().await {
            Arrival::Worker { link, offer: brought, .. } => {
                assert_eq!(brought, offer());
                (near, link)
            }
            other => panic!("not a worker: {other:?}"),
        }
    }

    async fn client(&mut self) -> (Link<FromClient, ToClient>, Link<ToClient, FromClient>) {
        let line = self.line(Role::Client);
        let dialled = soon(dial_client(&line, "me", PYTHON, 5, None, &None)).await;
        let (epoch, near) = dialled.expect("the line is right");
        assert_eq!(epoch, Epoch(7));
        match self.next().await {
            Arrival::Client { link, token: 5, resume: None, name, .. } if &*name == "me" => (near, link),
            other => panic!("not this client: {other:?}"),
        }
    }

    /// Whatever happened before: a good peer still gets in and is heard.
    async fn expect_well(&mut self) {
        let (near, mut far) = self.worker().await;
        near.sender.send(FromWorker::Taken(1)).unwrap();
        assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Taken(1)));
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
        drop(std::fs::remove_dir_all(&self.home));
    }
}

const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 11 };

fn offer() -> Offer {
    Offer { name: "host:1".into(), capacity: Resources::cpus(2), queue: 9, python: PYTHON, peer: None }
}

fn at(address: SocketAddr) -> Address {
    address.to_string().parse().unwrap()
}

/// The next message, heartbeats passed over.
async fn next<M: Message>(receiver: &mut Receiver<M>) -> Result<M, Closed> {
    let mut batch = Vec::new();
    while batch.is_empty() {
        soon(receiver.receive(&mut batch, 1)).await?;
    }
    Ok(batch.remove(0))
}
