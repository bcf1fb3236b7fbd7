//! The worker's end of its link, and where links come from.
//!
//! A link in memory is the only one; a coordinator elsewhere is dialled again and again, with full-jitter back-off: for a
//! while the first time, then until it answers or refuses.

use super::WorkerExit;
use super::hall::Hall;
use crate::clock::draw_seed;
use crate::net::dial::{Backoff, DialError, dial_worker};
use crate::net::framed::Land;
use crate::net::join::JoinLine;
use crate::net::link::{Closed, Link};
use plait_core::limits::{FAREWELL_TIMEOUT, WORKER_CONNECT_TIMEOUT};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::spec::Offer;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Messages taken from the link in one turn.
const LINK_BATCH: usize = 64;

/// A link to a coordinator.
type Coordinator = Link<FromWorker, ToWorker>;
type Dialling = Pin<Box<dyn Future<Output = Result<Coordinator, DialError>> + Send>>;

/// Where a worker finds its coordinator.
#[derive(Debug)]
pub enum Upstream {
    /// In this process. When this link is gone, there is nothing left to do.
    Memory(Link<FromWorker, ToWorker>),
    /// Where this line leads.
    Dial(JoinLine),
}

/// The link, while there is one, and how to get the next.
pub(super) struct Uplink {
    link: Option<Coordinator>,
    dialling: Option<Dialling>,
    redial: Option<Target>,
}

/// Where to dial, what to say there, and where other workers may come.
#[derive(Clone)]
struct Target {
    line: JoinLine,
    offer: Offer,
    hall: Option<Arc<Hall>>,
    land: Land,
}

/// What came of waiting for the coordinator.
pub(super) enum Heard {
    /// Messages.
    Messages,
    /// The link is gone; another one is on the way.
    Lost,
    /// There is a new link.
    Joined,
    /// No link will come any more.
    Gone(WorkerExit),
}

impl Uplink {
    pub(super) fn new(upstream: Upstream, offer: Offer, hall: Option<Arc<Hall>>, land: Land) -> Self {
        match upstream {
            Upstream::Memory(link) => Self { link: Some(link), dialling: None, redial: None },
            Upstream::Dial(line) => {
                let give_up = Instant::now() + WORKER_CONNECT_TIMEOUT;
                let target = Target { line, offer, hall, land };
                let dialling: Dialling = Box::pin(dial(target.clone(), Some(give_up)));
                Self { link: None, dialling: Some(dialling), redial: Some(target) }
            }
        }
    }

    /// Sends a message. A link that is closed says so itself when it is read.
    pub(super) fn send(&self, message: FromWorker) {
        if let Some(link) = &self.link {
            let _ = link.sender.send(message);
        }
    }

    /// Waits for messages or a new link. Cancel-safe.
    pub(super) async fn hear(&mut self, messages: &mut Vec<ToWorker>) -> Heard {
        if let Some(link) = &mut self.link {
            return match link.receiver.receive(messages, LINK_BATCH).await {
                Ok(()) => Heard::Messages,
                Err(closed) => self.on_closed(closed),
            };
        }
        let Some(dialling) = &mut self.dialling else { return std::future::pending().await };
        let dialled = dialling.await;
        self.dialling = None;
        match dialled {
            Ok(link) => {
                self.link = Some(link);
                Heard::Joined
            }
            Err(error) if error.fatal() => Heard::Gone(WorkerExit::Refused(error)),
            Err(error) => Heard::Gone(WorkerExit::Unreachable(error)),
        }
    }

    fn on_closed(&mut self, closed: Closed) -> Heard {
        if self.redial.is_none() {
            self.link = None;
            return Heard::Gone(WorkerExit::Ended);
        }
        warn!(target: "plait::worker", %closed, "lost the coordinator; trying to reach it again");
        self.abandon();
        Heard::Lost
    }

    /// Gives the link up and goes for the next one, if there can be one.
    pub(super) fn abandon(&mut self) {
        self.link = None;
        self.dialling = self.redial.clone().map(|target| Box::pin(dial(target, None)) as Dialling);
    }

    /// Lets what was said last reach the coordinator.
    pub(super) async fn part(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        link.sender.finish();
        let mut ignored = Vec::new();
        let closed = async {
            while link.receiver.receive(&mut ignored, LINK_BATCH).await.is_ok() {
                ignored.clear();
            }
        };
        drop(tokio::time::timeout(FAREWELL_TIMEOUT, closed).await);
    }
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink").field("link", &self.link).field("dialling", &self.dialling.is_some()).finish()
    }
}

/// Dials until it works, is refused, or `give_up` has come; the last error tells why.
async fn dial(target: Target, give_up: Option<Instant>) -> Result<Coordinator, DialError> {
    let Target { line, offer, hall, land } = target;
    let meet = |here| hall.as_ref()?.open(here);
    let mut backoff = Backoff::new(draw_seed());
    loop {
        let error = match dial_worker(&line, offer.clone(), &meet, &land).await {
            Ok(link) => {
                let at = line.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                info!(target: "plait::worker", slots = offer.capacity.cpus, %at, "joined the coordinator");
                return Ok(link);
            }
            Err(error) => error,
        };
        let pause = backoff.pause();
        if error.fatal() || give_up.is_some_and(|at| Instant::now() + pause >= at) {
            return Err(error);
        }
        info!(target: "plait::worker", %error, ?pause, "no coordinator yet");
        sleep(pause).await;
    }
}
