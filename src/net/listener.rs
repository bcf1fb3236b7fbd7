//! The one port: whoever comes in here has shown a key of this cluster and said hello, or is sent away.
//!
//! An unauthenticated connection gets rustls, 64 KiB and five seconds. How many of them there may be is bounded, in total
//! and per source; what they do is of no consequence to those that are in.

use super::framed::{Land, framed};
use super::greeting;
use super::join::Role;
use super::keys::Keyring;
use super::link::Link;
use super::near::Part;
use super::refusal::{Refusal, Stage};
use super::source::{Log, Source, Sources, Waiting};
use super::tls::{ALPN, Roles, server_config};
use plait_core::id::{Epoch, SessionId};
use plait_core::limits;
use plait_core::protocol::frame;
use plait_core::protocol::hello::{CoordinatorHello, PROTOCOL, PROTOCOL_OLDEST, PeerHello, PeerRole};
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::resource::Resources;
use plait_core::spec::Offer;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// A peer that is who it says.
#[derive(Debug)]
pub enum Arrival {
    /// A worker.
    Worker {
        /// What it brings.
        offer: Offer,
        /// How its silence is to be judged.
        watch: Watch,
        /// How large values go there.
        exchange: Exchange,
        /// The link to it.
        link: Link<ToWorker, FromWorker>,
    },
    /// A client.
    Client {
        /// Its name for people.
        name: Box<str>,
        /// The secret of its session.
        token: u128,
        /// The session that it comes back to, and how many notices it has taken.
        resume: Option<(Epoch, SessionId, u64)>,
        /// How large values go there.
        exchange: Exchange,
        /// The link to it.
        link: Link<ToClient, FromClient>,
    },
}

/// How large values go to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// As memory: it is on this machine, or in this process.
    Memory,
    /// As bytes.
    Bytes,
}

/// How a peer's silence is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is in the same process and cannot be silent.
    None,
    /// It is across a network, and heartbeats tell.
    Heartbeat,
}

/// The port cannot be opened.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}{}", hint(address))]
pub struct BindError {
    /// Where.
    pub address: Box<str>,
    /// What the system said.
    pub source: io::Error,
}

/// What to say where the address is none.
fn hint(address: &str) -> &'static str {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => "",
        _ => "; an address to listen on looks like 127.0.0.1:8000",
    }
}

/// An open port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

impl Listener {
    /// Opens the port at `address` (`host:port`; port 0 takes a free one). What comes in lands on `land`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn bind(address: &str, keyring: Arc<Keyring>, epoch: Epoch, land: Land) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.into(), source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, door: Arc::new(Door::new(&keyring, epoch, land)) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets peers in until `shutdown`, or until nobody takes arrivals any more.
    pub async fn serve(self, arrivals: mpsc::Sender<Arrival>, shutdown: CancellationToken) {
        let mut hall = Hall::new(self.door);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                permit = arrivals.reserve(), if !hall.arrived.is_empty() => match (permit, hall.arrived.pop_front()) {
                    (Ok(permit), Some(arrival)) => permit.send(arrival),
                    _ => return,
                },
                Some(through) = hall.greetings.join_next(), if !hall.greetings.is_empty() => hall.on_through(through),
                accepted = self.socket.accept(), if hall.arrived.len() < limits::UNAUTHENTICATED_TOTAL => match accepted {
                    Ok((socket, peer)) => hall.on_accepted(socket, peer),
                    Err(error) => {
                        tracing::warn!(address = %self.address, "cannot accept connections: {error}");
                        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Everybody between the port and the coordinator.
#[derive(Debug)]
struct Hall {
    door: Arc<Door>,
    greetings: JoinSet<Through>,
    waiting: Waiting<(AbortHandle, SocketAddr)>,
    sources: Sources,
    arrived: VecDeque<Arrival>,
}

/// A greeting that came to its end.
#[derive(Debug)]
struct Through {
    number: u64,
    peer: SocketAddr,
    result: Result<Arrival, Refusal>,
}

impl Hall {
    fn new(door: Arc<Door>) -> Self {
        Self {
            door,
            greetings: JoinSet::new(),
            waiting: Waiting::default(),
            sources: Sources::default(),
            arrived: VecDeque::new(),
        }
    }

    fn on_accepted(&mut self, socket: TcpStream, peer: SocketAddr) {
        let source = Source::from(peer.ip());
        if !self.sources.admit(source, Instant::now()) {
            return self.refuse(peer, &Refusal::TooFast);
        }
        let (number, door) = (self.waiting.next_number(), Arc::clone(&self.door));
        let greeting = self.greetings.spawn(async move {
            let result = door.greet(socket).await;
            Through { number, peer, result }
        });
        if let Some((oldest, peer)) = self.waiting.add(source, (greeting, peer)) {
            oldest.abort();
            self.refuse(peer, &Refusal::Crowded);
        }
    }

    fn on_through(&mut self, through: Result<Through, JoinError>) {
        // An aborted greeting was refused when it was aborted.
        let Ok(Through { number, peer, result }) = through else { return };
        self.waiting.remove(number);
        match result {
            Ok(arrival) => {
                self.sources.succeed(peer.ip().into());
                tracing::info!(%peer, "a peer has come in");
                self.arrived.push_back(arrival);
            }
            Err(refusal) => self.refuse(peer, &refusal),
        }
    }

    fn refuse(&mut self, peer: SocketAddr, refusal: &Refusal) {
        match self.sources.fail(peer.ip().into(), Instant::now()) {
            Log::Now { passed_over: 0 } => tracing::warn!(%peer, "a connection was refused: {refusal}"),
            Log::Now { passed_over } => {
                tracing::warn!(%peer, passed_over, "a connection was refused, like others before: {refusal}");
            }
            Log::Later => tracing::debug!(%peer, "a connection was refused: {refusal}"),
        }
    }
}

/// How a connection is greeted.
struct Door {
    tls: TlsAcceptor,
    roles: Roles,
    hello: Vec<u8>,
    land: Land,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    fn new(keyring: &Keyring, epoch: Epoch, land: Land) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        let hello = CoordinatorHello { oldest: PROTOCOL_OLDEST, newest: PROTOCOL, epoch, version };
        let hello = frame::write_hello(&hello).expect("our own hello is far below its limit");
        Self { tls: server_config(keyring).into(), roles: Roles::of(keyring), hello, land }
    }

    /// Everything up to and including the peer's hello.
    async fn greet(&self, socket: TcpStream) -> Result<Arrival, Refusal> {
        let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
        greeting::prepare(&socket).map_err(Refusal::Gone)?;
        let accepted = timeout_at(deadline, self.tls.accept(socket)).await;
        let mut stream = accepted.map_err(|_| Refusal::Slow(Stage::Tls))??;
        let role = self.role(&stream)?;
        let hello = timeout_at(deadline, self.exchange(&mut stream)).await;
        let hello = hello.map_err(|_| Refusal::Slow(Stage::Hello))??;
        admit(role, hello.role, stream, &self.land)
    }

    fn role(&self, stream: &TlsStream<TcpStream>) -> Result<Role, Refusal> {
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN) {
            return Err(Refusal::NotPlait);
        }
        let key = session.peer_certificates().and_then(|keys| keys.first()).ok_or(Refusal::NoKey)?;
        self.roles.role(key).ok_or(Refusal::UnknownKey)
    }

    /// The coordinator speaks first, so that the peer learns whether its key was taken, and which versions there are.
    async fn exchange(&self, stream: &mut TlsStream<TcpStream>) -> Result<PeerHello, Refusal> {
        greeting::write(stream, &self.hello).await?;
        let body = greeting::read(stream).await?;
        // The version first: what stands behind it another version may have changed.
        let (protocol, version): (u16, Box<str>) = greeting::decode(&body)?;
        if !(PROTOCOL_OLDEST..=PROTOCOL).contains(&protocol) {
            return Err(Refusal::Version { protocol, version: printable(&version) });
        }
        Ok(greeting::decode(&body)?)
    }
}

/// Turns an authenticated connection into a link, if the peer is what its key allows.
fn admit(key: Role, role: PeerRole, stream: TlsStream<TcpStream>, land: &Land) -> Result<Arrival, Refusal> {
    let exchange = match Part::of_host(stream.get_ref().0, land) {
        Part::Host => Exchange::Memory,
        Part::Lender | Part::Guest | Part::Neither => Exchange::Bytes,
    };
    match (key, role) {
        (Role::Worker, PeerRole::Worker(mut offer)) => {
            offer.name = printable(&offer.name);
            offer.capacity = printable_names(&offer.capacity);
            Ok(Arrival::Worker { offer, watch: Watch::Heartbeat, exchange, link: framed(stream.into(), land) })
        }
        (Role::Client, PeerRole::Client { name, python: _, token, resume }) => {
            Ok(Arrival::Client { name: printable(&name), token, resume, exchange, link: framed(stream.into(), land) })
        }
        (key, PeerRole::Worker(_)) => Err(Refusal::WrongRole { key, said: Role::Worker }),
        (key, PeerRole::Client { .. }) => Err(Refusal::WrongRole { key, said: Role::Client }),
    }
}

/// A worker's capacity, the names of its resources as they may stand there too.
fn printable_names(capacity: &Resources) -> Resources {
    let named = capacity.named().iter().map(|(name, amount)| (printable(name), *amount));
    Resources::new(capacity.cpus, named)
}

/// A peer's text as it may stand in a log or a table: one line, of bounded length.
fn printable(text: &str) -> Box<str> {
    let mut end = text.len().min(limits::NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
