//! Peers on the same machine: large segments go from one to the other as memory, beside the stream.
//!
//! Who was dialled from its own machine opens a place to meet, a Unix socket that is in no file system, and says over the
//! stream what it is called. Who dialled comes there and shows the token that it was told: others on the machine can see the
//! name and could come first, but only the peer at the other end of the stream has heard the token. That it has come is
//! said over the stream again, so nobody hands anything to one who only sits where the place was.
//!
//! Who awaited the other then offers memory for both ([`Lane`]), and once that is joined the bytes of the stream itself go through
//! it when there are many: what is too small for a descriptor of its own is neither encrypted nor copied from socket to socket.
//!
//! Who does not come (at the other end of a tunnel, from another network namespace) says so, and all goes as bytes. What is
//! handed over is sealed memory, which the receiver looks at before it takes it: neither end trusts the other more than before.

use super::framed::Land;
use super::watched::{Watched, watched};
use crate::store::depot::Depot;
use crate::store::lane::{Lane, Offer};
use crate::store::passing::Courier;
use bytes::Bytes;
use plait_core::landing::{Ground, Missing};
use plait_core::limits;
use plait_core::protocol::frame::{Meeting, Signal, TOKEN_BYTES};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recv, send, socket_with,
};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Who may stand before a place at once: others on the machine may come there too.
const COMERS: i32 = 16;

/// Who comes to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This end awaits the peer.
    Host,
    /// The same, and says so little that it is not worth a lane.
    Lender,
    /// This end comes if it is awaited.
    Guest,
    /// Nobody: all goes as bytes.
    Neither,
}

impl Part {
    /// That of who was dialled.
    pub(super) fn of_host(stream: &TcpStream, land: &Land) -> Self {
        let shares = land.as_ref().is_some_and(|depot| depot.shares());
        if shares && is_here(stream) { Self::Host } else { Self::Neither }
    }

    /// That of who was dialled for one value.
    pub(super) fn of_lender(stream: &TcpStream, land: &Land) -> Self {
        match Self::of_host(stream, land) {
            Self::Host => Self::Lender,
            other => other,
        }
    }

    /// That of who dialled.
    pub(super) fn of_guest(land: &Land) -> Self {
        if land.as_ref().is_some_and(|depot| depot.shares()) { Self::Guest } else { Self::Neither }
    }
}

/// Whether the peer seems to be on this machine. Whether it is, is seen when it comes.
fn is_here(stream: &TcpStream) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    let (peer, local): (IpAddr, IpAddr) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer == local || (peer.is_loopback() && local.is_loopback())
}

/// The way beside the stream of a link, for both directions.
#[derive(Debug)]
pub(super) struct SideWay {
    land: Land,
    part: Part,
    courier: OnceLock<Courier>,
    /// The peer said where it awaits this end: once is enough.
    invited: AtomicBool,
    /// The peer knows that it leads here.
    met: AtomicBool,
    /// The peer said that it does not come.
    declined: AtomicBool,
    /// The peer awaits one who does not come, and is to be told.
    regrets: AtomicBool,
    lane: OnceLock<Lane>,
    /// The peer offered it: once is enough.
    offered: AtomicBool,
    /// The peer has the other end of the lane.
    joined: AtomicBool,
    /// The peer is to be told that this end has it.
    thanks: AtomicBool,
}

impl SideWay {
    /// Without a store nobody is met.
    pub(super) fn new(land: Land, part: Part) -> Self {
        let part = if land.is_some() { part } else { Part::Neither };
        let [invited, met, declined, regrets, offered, joined, thanks] = [false; 7].map(AtomicBool::new);
        let (courier, lane) = (OnceLock::new(), OnceLock::new());
        Self { land, part, courier, invited, met, declined, regrets, lane, offered, joined, thanks }
    }

    /// Where segments are put together that come as bytes.
    pub(super) fn ground(&self) -> Option<&Arc<dyn Ground>> {
        self.land.as_deref().map(Depot::ground)
    }

    /// Where a peer is to be awaited; nowhere if all goes as bytes.
    pub(super) fn place(&self) -> Option<Place> {
        if matches!(self.part, Part::Host | Part::Lender) { Place::open().ok() } else { None }
    }

    /// The peer has come, and takes memory from now on: what it is to be told. Nothing if all goes as bytes.
    pub(super) fn meet(&self, guest: io::Result<Arc<OwnedFd>>) -> Vec<Signal> {
        if !guest.is_ok_and(|socket| self.join(socket)) {
            return Vec::new();
        }
        self.met.store(true, Ordering::Relaxed);
        let lane = self.part == Part::Host && self.open_lane().is_ok();
        [Signal::Met].into_iter().chain(lane.then_some(Signal::Offered)).collect()
    }

    /// The peer has said something that is no message. What it says again it has said.
    pub(super) fn hear(&self, signal: Signal) {
        let first = |heard: &AtomicBool| !heard.swap(true, Ordering::Relaxed);
        match signal {
            Signal::Meet(meeting) if first(&self.invited) => {
                // Whoever cannot be reached there gets bytes.
                let came = self.part == Part::Guest && come(&meeting).is_ok_and(|socket| self.join(socket));
                self.regrets.store(!came, Ordering::Relaxed);
            }
            Signal::Met if self.part == Part::Guest => self.met.store(true, Ordering::Relaxed),
            Signal::Offered if self.part == Part::Guest && first(&self.offered) => {
                // Whoever has no descriptors for it gets all through the stream.
                let joined = self.join_lane().is_ok();
                self.joined.store(joined, Ordering::Relaxed);
                self.thanks.store(joined, Ordering::Relaxed);
            }
            Signal::Joined if self.part == Part::Host => self.joined.store(true, Ordering::Relaxed),
            Signal::Decline => self.declined.store(true, Ordering::Relaxed),
            Signal::Meet(_) | Signal::Met | Signal::Offered | Signal::Joined => {}
        }
    }

    /// Waits for the peer, as long as it does not say that it stays away.
    pub(super) fn poll_guest(&self, awaited: &mut Awaited, cx: &mut Context<'_>) -> Poll<io::Result<Arc<OwnedFd>>> {
        // The side of the link that hears it is read by the same task: there is nobody to wake.
        if self.declined.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        awaited.as_mut().poll(cx)
    }

    /// What the peer is to be told of what was heard: once.
    pub(super) fn take_answer(&self) -> Option<Signal> {
        if self.regrets.swap(false, Ordering::Relaxed) {
            return Some(Signal::Decline);
        }
        self.thanks.swap(false, Ordering::Relaxed).then_some(Signal::Joined)
    }

    /// The peer is at the other end of this socket. Only the first one is.
    fn join(&self, socket: Arc<OwnedFd>) -> bool {
        self.land.as_ref().is_some_and(|depot| self.courier.set(depot.courier(socket)).is_ok())
    }

    /// Hands the other end of a new lane to the peer.
    fn open_lane(&self) -> io::Result<()> {
        let Some(courier) = self.courier.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        let (lane, Offer { memory, news }) = Lane::open()?;
        courier.offer(memory.as_fd(), spared(news)?.as_fd())?;
        self.lane.set(lane).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    fn join_lane(&self) -> io::Result<()> {
        let Some(courier) = self.courier.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        let (memory, news) = courier.take_offer()?;
        let lane = Lane::join(Offer { memory, news: spared(news)? })?;
        self.lane.set(lane).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    /// What bytes may go through to the peer instead of the stream.
    pub(super) fn lane_out(&self) -> Option<&Lane> {
        self.lane.get().filter(|_| self.joined.load(Ordering::Relaxed))
    }

    /// What bytes of the peer may come through.
    pub(super) fn lane_in(&self) -> Option<&Lane> {
        self.lane.get()
    }

    /// Who carries memory to the peer, and from where; nobody if all goes as bytes.
    pub(super) fn outwards(&self) -> Option<(&Courier, &Depot)> {
        self.courier.get().filter(|_| self.met.load(Ordering::Relaxed)).zip(self.land.as_deref())
    }

    /// Takes memory that was announced.
    pub(super) fn receive(&self, offset: u64, length: u64) -> Result<Bytes, Missing> {
        let (Some(courier), Some(depot)) = (self.courier.get(), &self.land) else { return Err(Missing::Broken) };
        depot.receive(courier, offset, length)
    }
}

/// A peer that may come.
pub(super) type Awaited = Pin<Box<dyn Future<Output = io::Result<Arc<OwnedFd>>> + Send>>;

/// Where a peer is awaited.
#[derive(Debug)]
pub(super) struct Place {
    listener: Watched,
    pub(super) meeting: Meeting,
}

impl Place {
    /// A new one. Must be called within a runtime.
    fn open() -> io::Result<Self> {
        let mut meeting = Meeting { name: [0; 16], token: [0; 16] };
        let random = SystemRandom::new();
        let drawn = random.fill(&mut meeting.name).and_then(|()| random.fill(&mut meeting.token));
        drawn.expect("the kernel has random bytes");
        let listener = socket()?;
        bind(&listener, &address(&meeting)?)?;
        listen(&listener, COMERS)?;
        Ok(Self { listener: watched(listener, Interest::READABLE)?, meeting })
    }

    /// Waits until the peer is here.
    pub(super) async fn welcome(self) -> io::Result<Arc<OwnedFd>> {
        let awaited = async {
            loop {
                let comer = self.next().await?;
                if let Ok(Ok(comer)) = timeout(limits::MEET_PATIENCE, self.prove(comer)).await {
                    return Ok(comer);
                }
            }
        };
        timeout(limits::HANDSHAKE_TIMEOUT, awaited).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn next(&self) -> io::Result<OwnedFd> {
        loop {
            let mut ready = self.listener.readable().await?;
            match accept_with(self.listener.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                accepted => return spared(accepted?),
            }
        }
    }

    /// Gives the socket back if whoever came shows the token.
    async fn prove(&self, comer: OwnedFd) -> io::Result<Arc<OwnedFd>> {
        let comer = watched(comer, Interest::READABLE)?;
        let _ready = comer.readable().await?;
        // One byte more than a token has: what is longer is none either.
        let mut shown = [0; TOKEN_BYTES + 1];
        let (_, length) = recv(comer.get_ref(), &mut shown, RecvFlags::DONTWAIT)?;
        if shown[..length] == self.meeting.token {
            Ok(comer.into_inner())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

/// Goes where one is awaited. Never waits.
fn come(meeting: &Meeting) -> io::Result<Arc<OwnedFd>> {
    let socket = socket()?;
    connect(&socket, &address(meeting)?)?;
    send(&socket, &meeting.token, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(socket.into())
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    spared(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Gives a socket back, unless it is one of the last descriptors that this process may have: links need those, and do
/// without memory.
fn spared(socket: OwnedFd) -> io::Result<OwnedFd> {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let last = allowed - allowed / limits::DESCRIPTORS_PART as u64;
    // The system gives the lowest number that is free.
    if u64::from(socket.as_raw_fd().unsigned_abs()) < last { Ok(socket) } else { Err(Errno::MFILE.into()) }
}

/// Only plait's own places are called so: a peer cannot send anybody elsewhere.
fn address(meeting: &Meeting) -> io::Result<SocketAddrUnix> {
    let name = format!("plait-{:032x}", u128::from_be_bytes(meeting.name));
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}
