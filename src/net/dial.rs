//! Reaching a coordinator, and saying in one sentence why not.

use super::framed::{Land, framed_up};
use super::greeting::{self, HelloError, tls_error};
use super::join::{Address, JoinLine, Pin, Role};
use super::link::Link;
use super::reach;
use super::tls::{client_config, server_name, wrong_pin};
use plait_core::id::{Epoch, SessionId};
use plait_core::limits;
use plait_core::peer::Peer;
use plait_core::protocol::frame;
use plait_core::protocol::hello::{CoordinatorHello, PROTOCOL, PROTOCOL_OLDEST, PeerHello, PeerRole};
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::rng::Rng;
use plait_core::spec::{Offer, PythonVersion};
use rustls::{AlertDescription, Error as Tls};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Our version, for messages to people.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was tried, what is wrong, what to do.
#[derive(Debug, Error)]
pub enum DialError {
    /// Nobody answers there.
    #[error(
        "no coordinator can be reached at {address}: {source}. Is `plait coordinator` running there, and may this \
         machine reach that port?"
    )]
    Unreachable {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The coordinator is the right one and does not know our key.
    #[error(
        "the coordinator at {address} refuses the key of this join line: wrong key for this cluster. Take the line \
         that `plait coordinator` prints there now"
    )]
    WrongKey {
        /// Where.
        address: Address,
    },
    /// Somebody else answers.
    #[error(
        "the server at {address} is not the coordinator of this join line: expected the key {expected}, found {got}. \
         Either its keys were made anew (take the line that it prints now), or somebody stands between"
    )]
    WrongPin {
        /// Where.
        address: Address,
        /// What the line says.
        expected: Pin,
        /// What is there.
        got: Pin,
    },
    /// There is no protocol that both speak.
    #[error(
        "the coordinator at {address} is plait {their_version} and speaks protocol {} to {}; this is plait {VERSION} \
         and speaks {PROTOCOL_OLDEST} to {PROTOCOL}. Install the same plait on both sides", .theirs.0, .theirs.1
    )]
    Version {
        /// Where.
        address: Address,
        /// The oldest and the newest protocol there.
        theirs: (u16, u16),
        /// The plait there.
        their_version: Box<str>,
    },
    /// Something answers that is no coordinator.
    #[error("what answers at {address} is no plait coordinator ({reason}). Is the port right?")]
    NotPlait {
        /// Where.
        address: Address,
        /// How one could tell.
        reason: Box<str>,
    },
    /// Connected, and then silence.
    #[error(
        "{address} did not answer within {} s. Is it a coordinator, and is a firewall between?",
        limits::HANDSHAKE_TIMEOUT.as_secs()
    )]
    Timeout {
        /// Where.
        address: Address,
    },
    /// The line is for something else.
    #[error("this join line is for a {found}; a {needed} needs the one that begins with plait1{}-", .needed.letter())]
    WrongRole {
        /// What the line is for.
        found: Role,
        /// What it should be for.
        needed: Role,
    },
}

impl DialError {
    /// Whether trying again cannot help: somebody has to do something first.
    #[must_use]
    pub const fn fatal(&self) -> bool {
        match self {
            Self::WrongKey { .. } | Self::WrongPin { .. } | Self::Version { .. } | Self::WrongRole { .. } => true,
            Self::NotPlait { .. } | Self::Unreachable { .. } | Self::Timeout { .. } => false,
        }
    }

    /// Whether it is about keys rather than about the network.
    #[must_use]
    pub const fn is_authentication(&self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::WrongPin { .. } | Self::WrongRole { .. })
    }

    /// Of several addresses, the most telling answer counts.
    const fn weight(&self) -> u8 {
        match self {
            Self::WrongRole { .. } => 6,
            Self::WrongKey { .. } => 5,
            Self::Version { .. } => 4,
            Self::WrongPin { .. } => 3,
            Self::NotPlait { .. } => 2,
            Self::Timeout { .. } => 1,
            Self::Unreachable { .. } => 0,
        }
    }
}

/// Joins as a worker; the first message to come is `Welcome`. The offer tells where other workers `meet` this one that reaches
/// the coordinator from that address.
///
/// # Errors
/// If no address of the line leads to a coordinator that takes us; the most telling reason of all.
pub async fn dial_worker(
    line: &JoinLine,
    offer: Offer,
    meet: &(dyn Fn(IpAddr) -> Option<Peer> + Sync),
    land: &Land,
) -> Result<Link<FromWorker, ToWorker>, DialError> {
    let (_, stream) = dial(line, Role::Worker, PeerRole::Worker(offer), meet).await?;
    Ok(framed_up(stream.into(), land))
}

/// Joins as a client; the first message to come is `Welcome` or a goodbye. Also tells which life of the coordinator it is.
///
/// # Errors
/// As [`dial_worker`].
pub async fn dial_client(
    line: &JoinLine,
    name: &str,
    python: PythonVersion,
    token: u128,
    resume: Option<(Epoch, SessionId, u64)>,
    land: &Land,
) -> Result<(Epoch, Link<FromClient, ToClient>), DialError> {
    let role = PeerRole::Client { name: name.into(), python, token, resume };
    let (epoch, stream) = dial(line, Role::Client, role, &|_| None).await?;
    Ok((epoch, framed_up(stream.into(), land)))
}

async fn dial(
    line: &JoinLine,
    needed: Role,
    role: PeerRole,
    meet: &(dyn Fn(IpAddr) -> Option<Peer> + Sync),
) -> Result<(Epoch, TlsStream<TcpStream>), DialError> {
    if line.role != needed {
        return Err(DialError::WrongRole { found: line.role, needed });
    }
    let tls = TlsConnector::from(client_config(line));
    let hello = PeerHello { protocol: PROTOCOL, version: VERSION.into(), role };
    let mut worst: Option<DialError> = None;
    for address in &line.addresses {
        let call = Call { address, tls: &tls, hello: &hello, meet };
        match timeout(limits::HANDSHAKE_TIMEOUT, call.connect()).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => worst = worse(worst, error),
            Err(_) => worst = worse(worst, DialError::Timeout { address: address.clone() }),
        }
    }
    Err(worst.expect("a join line has an address"))
}

fn worse(so_far: Option<DialError>, next: DialError) -> Option<DialError> {
    match so_far {
        Some(error) if error.weight() >= next.weight() => Some(error),
        _ => Some(next),
    }
}

/// One attempt at one address.
struct Call<'a> {
    address: &'a Address,
    tls: &'a TlsConnector,
    hello: &'a PeerHello,
    meet: &'a (dyn Fn(IpAddr) -> Option<Peer> + Sync),
}

impl Call<'_> {
    async fn connect(&self) -> Result<(Epoch, TlsStream<TcpStream>), DialError> {
        let socket = reach::connect(&self.address.host, self.address.port).await;
        let socket = socket.map_err(|error| self.unreachable(error))?;
        greeting::prepare(&socket).map_err(|error| self.unreachable(error))?;
        let mut stream = self.tls.connect(server_name(), socket).await.map_err(|error| self.judge(error))?;
        let body = greeting::read(&mut stream).await.map_err(|error| self.no_hello(error))?;
        let theirs: CoordinatorHello = greeting::decode(&body).map_err(|error| self.no_hello(error))?;
        self.answer(&mut stream, &theirs).await?;
        Ok((theirs.epoch, stream))
    }

    /// Answers the coordinator's hello, also where versions differ: its log should tell, too.
    async fn answer(&self, stream: &mut TlsStream<TcpStream>, theirs: &CoordinatorHello) -> Result<(), DialError> {
        let protocol = PROTOCOL.min(theirs.newest);
        let common = protocol >= PROTOCOL_OLDEST.max(theirs.oldest);
        let mut hello = PeerHello { protocol: if common { protocol } else { PROTOCOL }, ..self.hello.clone() };
        if let (PeerRole::Worker(offer), Ok(here)) = (&mut hello.role, stream.get_ref().0.local_addr()) {
            offer.peer = (self.meet)(here.ip());
        }
        let hello = frame::write_hello(&hello).map_err(|error| self.unreachable(io::Error::other(error)))?;
        let written = greeting::write(stream, &hello).await;
        if !common {
            let (theirs, their_version) = ((theirs.oldest, theirs.newest), theirs.version.clone());
            return Err(DialError::Version { address: self.address.clone(), theirs, their_version });
        }
        written.map_err(|error| self.judge(error))
    }

    /// What it means that a connection ended before its hello.
    fn no_hello(&self, error: HelloError) -> DialError {
        match error {
            HelloError::Io(error) => self.judge(error),
            other => self.not_plait(&other.to_string()),
        }
    }

    /// A TLS 1.3 client is through before the server has looked at its key: the verdict arrives in place of the hello.
    fn judge(&self, error: io::Error) -> DialError {
        let address = self.address.clone();
        match tls_error(&error) {
            None => self.unreachable(error),
            Some(Tls::AlertReceived(AlertDescription::AccessDenied)) => DialError::WrongKey { address },
            Some(other) => match wrong_pin(other) {
                Some(pins) => DialError::WrongPin { address, expected: pins.expected, got: pins.got },
                None => self.not_plait(&other.to_string()),
            },
        }
    }

    fn unreachable(&self, source: io::Error) -> DialError {
        DialError::Unreachable { address: self.address.clone(), source }
    }

    fn not_plait(&self, reason: &str) -> DialError {
        DialError::NotPlait { address: self.address.clone(), reason: reason.into() }
    }
}

/// Pauses between attempts to reach a coordinator: each drawn between nothing and a bound that doubles.
#[derive(Clone, Debug)]
pub struct Backoff {
    rng: Rng,
    bound: Duration,
}

impl Backoff {
    /// Pauses drawn from `seed`, which should differ between processes.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), bound: limits::BACKOFF_MIN }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (2 * bound).min(limits::BACKOFF_MAX);
        Duration::from_nanos(self.rng.below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        let pauses: Vec<_> = (0..1_000).map(|_| one.pause()).collect();
        assert!(pauses[0] <= limits::BACKOFF_MIN && pauses.iter().all(|pause| *pause <= limits::BACKOFF_MAX));
        assert!(pauses.iter().any(|pause| *pause > limits::BACKOFF_MAX / 2), "the bound is reached");
        assert_ne!(pauses[999], (0..1_000).map(|_| other.pause()).last().unwrap());
    }
}
