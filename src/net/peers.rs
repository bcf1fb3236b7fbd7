//! Workers among themselves: each listens where it has reached its coordinator, and dials whom it is told to.
//!
//! A worker has a key pair for as long as it lives. The coordinator tells who is where under which key, and to whom a guest
//! will come: a connection whose key was not introduced in time is closed before a byte of it is read.

use super::framed::{Land, Terms, framed_on};
use super::greeting;
use super::identity::{Identity, pin_of};
use super::join::Pin;
use super::link::Link;
use super::near::Part;
use super::source::{Source, Sources, Waiting};
use super::tls::{ALPN, client_config_as, holder_config, server_name};
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
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{debug, warn};

/// How another worker is known.
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

#[derive(Debug, Default)]
struct Introduced {
    keys: BTreeSet<Fingerprint>,
    /// In the order in which they were introduced.
    order: VecDeque<Fingerprint>,
}

impl Guests {
    /// The coordinator says who will come.
    pub fn introduce(&self, key: Fingerprint) {
        let mut introduced = self.lock();
        if !introduced.keys.insert(key) {
            return;
        }
        introduced.order.push_back(key);
        if introduced.order.len() > limits::PEERS_REMEMBERED
            && let Some(oldest) = introduced.order.pop_front()
        {
            introduced.keys.remove(&oldest);
        }
        drop(introduced);
        self.news.notify_waiters();
    }

    /// The coordinator is gone, and its word with it.
    pub fn forget(&self) {
        *self.lock() = Introduced::default();
    }

    /// Waits until a key has been introduced.
    async fn introduced(&self, key: Fingerprint) {
        loop {
            let news = self.news.notified();
            if self.lock().keys.contains(&key) {
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

/// A link to a guest.
pub type Guest = Link<FromHolder, ToHolder>;

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
                        warn!(target: "plait::worker", "cannot accept connections of other workers: {error}");
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
            Ok::<_, Refusal>(stream)
        };
        let stream = timeout(limits::HANDSHAKE_TIMEOUT, known).await.map_err(|_| Refusal::Slow)??;
        // A guest asks and brings nothing.
        let terms = Terms { message_bytes: 0, deaf: Some(self.patience), ..Terms::default() };
        let part = Part::of_host(stream.get_ref().0, &self.land);
        Ok(framed_on(tokio_rustls::TlsStream::from(stream), terms, self.land.clone(), part))
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

/// Goes to another worker. The link is lost if no part of an answer comes for as long as `patience`.
///
/// # Errors
/// If it cannot be reached in time, or is somebody else.
pub async fn visit(
    identity: &Identity,
    peer: Peer,
    patience: Duration,
    land: Land,
) -> io::Result<Link<ToHolder, FromHolder>> {
    let connect = async {
        let socket = TcpStream::connect(peer.address).await?;
        greeting::prepare(&socket)?;
        let tls = TlsConnector::from(client_config_as(identity, Pin(peer.key.0)));
        tls.connect(server_name(), socket).await
    };
    let stream = timeout(limits::HANDSHAKE_TIMEOUT, connect).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let terms = Terms { mute: Some(patience), ..Terms::upwards() };
    let part = Part::of_guest(&land);
    Ok(framed_on(tokio_rustls::TlsStream::from(stream), terms, land, part))
}
