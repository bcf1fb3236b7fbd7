//! Workers as hosts: each listens where it has reached its coordinator, for other workers and for clients.
//!
//! Whoever comes has a key pair for as long as it lives. The coordinator tells who is where under which key, and to whom a
//! guest will come: a connection whose key was not introduced in time is closed before a byte of it is read. Workers may have
//! whatever there is, a client what its session made.

use super::framed::{Land, Terms, framed_on};
use super::greeting;
use super::identity::{Identity, pin_of};
use super::link::Link;
use super::near::Part;
use super::source::{Source, Sources, Waiting};
use super::tls::{ALPN, holder_config};
use plait_core::id::{ObjectId, SessionId};
use plait_core::limits;
use plait_core::peer::{Fingerprint, Peer};
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

/// How a worker, or a client that goes to workers, is known.
#[must_use]
pub fn fingerprint(identity: &Identity) -> Fingerprint {
    Fingerprint(identity.pin().0)
}

/// Who may come in.
#[derive(Debug, Default)]
pub struct Guests {
    introduced: Mutex<Introduced>,
    news: Notify,
}

/// What a guest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// It is a worker: all there is.
    Worker,
    /// It is the client of this session: what that made.
    Client(SessionId),
}

#[derive(Debug, Default)]
struct Introduced {
    passes: BTreeSet<(Fingerprint, Pass)>,
    /// In the order in which they were introduced.
    workers: VecDeque<Fingerprint>,
    clients: VecDeque<(Fingerprint, SessionId)>,
}

impl Introduced {
    fn add(&mut self, key: Fingerprint, pass: Pass) {
        if !self.passes.insert((key, pass)) {
            return;
        }
        match pass {
            Pass::Worker => self.workers.push_back(key),
            Pass::Client(session) => self.clients.push_back((key, session)),
        }
        if self.passes.len() > limits::PEERS_REMEMBERED {
            let client = self.clients.pop_front().map(|(key, session)| (key, Pass::Client(session)));
            let oldest = client.or_else(|| self.workers.pop_front().map(|key| (key, Pass::Worker)));
            if let Some(oldest) = oldest {
                self.passes.remove(&oldest);
            }
        }
    }
}

impl Guests {
    /// The coordinator says who will come.
    pub fn introduce(&self, key: Fingerprint, pass: Pass) {
        self.lock().add(key, pass);
        self.news.notify_waiters();
    }

    /// Whether a guest may have an object.
    #[must_use]
    pub fn may_have(&self, key: Fingerprint, object: ObjectId) -> bool {
        let passes = &self.lock().passes;
        [Pass::Worker, Pass::Client(object.0.task.session)].iter().any(|pass| passes.contains(&(key, *pass)))
    }

    /// The coordinator is gone, and its word with it.
    pub fn forget(&self) {
        *self.lock() = Introduced::default();
    }

    /// Waits until a key has been introduced.
    async fn introduced(&self, key: Fingerprint) {
        loop {
            let news = self.news.notified();
            let passes = (key, Pass::Worker)..=(key, Pass::Client(SessionId(u32::MAX)));
            if self.lock().passes.range(passes).next().is_some() {
                return;
            }
            news.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Introduced> {
        self.introduced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a guest was sent away.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Gone(#[from] io::Error),
    #[error("it took too long to prove itself, or was not introduced")]
    Slow,
    #[error("it speaks something else")]
    NotPlait,
    #[error("it shows no key")]
    NoKey,
}

/// Somebody who was let in.
#[derive(Debug)]
pub struct Guest {
    /// Who it is.
    pub key: Fingerprint,
    /// The way to it.
    pub link: Link<FromHolder, ToHolder>,
}

/// Where guests come in.
#[derive(Debug)]
pub struct Porch {
    socket: TcpListener,
    peer: Peer,
    door: Door,
}

impl Porch {
    /// Opens a free port at `here`. A guest that takes nothing of what it is sent for as long as `patience` is sent away. Must
    /// be called within a runtime.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(
        here: IpAddr,
        identity: &Identity,
        guests: Arc<Guests>,
        patience: Duration,
        land: Land,
    ) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind((here, 0))?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        let peer = Peer { address: socket.local_addr()?, key: fingerprint(identity) };
        Ok(Self { socket, peer, door: Door { tls: holder_config(identity).into(), guests, patience, land } })
    }

    /// Where that is, and whom one finds there.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Lets guests in for as long as it is polled; `host` looks after each. Nobody waits for one that stands at the door.
    pub async fn receive<F>(self, host: impl Fn(Guest) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut greetings, mut stays) = (JoinSet::new(), JoinSet::new());
        let mut waiting: Waiting<AbortHandle> = Waiting::default();
        let mut sources = Sources::default();
        loop {
            tokio::select! {
                Some(through) = greetings.join_next(), if stays.len() < limits::PEER_CONNECTIONS => {
                    // What was aborted had to make room.
                    let Ok((number, from, greeted)) = through else { continue };
                    waiting.remove(number);
                    match greeted {
                        Ok(guest) => {
                            sources.succeed(from);
                            stays.spawn(host(guest));
                        }
                        Err(refusal) => {
                            let refusal: Refusal = refusal;
                            let _ = sources.fail(from, Instant::now());
                            debug!(target: "plait::worker", "a guest was sent away: {refusal}");
                        }
                    }
                }
                Some(_) = stays.join_next() => {}
                accepted = self.socket.accept(), if stays.len() < limits::PEER_CONNECTIONS => match accepted {
                    Ok((socket, from)) => {
                        let from = Source::from(from.ip());
                        if !sources.admit(from, Instant::now()) {
                            continue;
                        }
                        let (number, door) = (waiting.next_number(), self.door.clone());
                        let greeting = greetings.spawn(async move { (number, from, door.greet(socket).await) });
                        if let Some(oldest) = waiting.add(from, greeting) {
                            oldest.abort();
                        }
                    }
                    Err(error) => {
                        warn!(target: "plait::worker", "cannot accept connections of guests: {error}");
                        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// How a guest is greeted.
#[derive(Clone)]
struct Door {
    tls: TlsAcceptor,
    guests: Arc<Guests>,
    patience: Duration,
    land: Land,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl Door {
    async fn greet(&self, socket: TcpStream) -> Result<Guest, Refusal> {
        greeting::prepare(&socket)?;
        let known = async {
            let stream = self.tls.accept(socket).await?;
            let key = key_of(&stream)?;
            self.guests.introduced(key).await;
            Ok::<_, Refusal>((key, stream))
        };
        let (key, stream) = timeout(limits::HANDSHAKE_TIMEOUT, known).await.map_err(|_| Refusal::Slow)??;
        // A guest asks and brings nothing.
        let terms = Terms { message_bytes: 0, deaf: Some(self.patience), ..Terms::default() };
        let part = Part::of_lender(stream.get_ref().0, &self.land);
        let link = framed_on(tokio_rustls::TlsStream::from(stream), terms, self.land.clone(), part);
        Ok(Guest { key, link })
    }
}

/// Who has proved itself.
fn key_of(stream: &TlsStream<TcpStream>) -> Result<Fingerprint, Refusal> {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err(Refusal::NotPlait);
    }
    let key = session.peer_certificates().and_then(|keys| keys.first()).ok_or(Refusal::NoKey)?;
    Ok(Fingerprint(pin_of(key).0))
}
