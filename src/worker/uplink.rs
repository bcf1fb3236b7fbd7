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
use plait_core::limits::{FAREWELL_TIMEOUT, WORKER_CONNECT_TIMEOUT, WORKER_SAYS_AFTER};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::spec::Offer;
use std::pin::{Pin, pin};
use std::sync::Arc;
use tokio::time::{Instant, sleep, timeout_at};
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

/// How a coordinator is looked for.
#[derive(Clone, Copy)]
enum Search {
    /// For the first time, until then.
    First(Instant),
    /// For the next one, after that was lost.
    Again,
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
                let dialling: Dialling = Box::pin(dial(target.clone(), Search::First(give_up)));
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
        self.dialling = self.redial.clone().map(|target| Box::pin(dial(target, Search::Again)) as Dialling);
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

/// Dials until it works, is refused, or it is time to give up; the last error tells why.
async fn dial(target: Target, search: Search) -> Result<Coordinator, DialError> {
    let Target { line, offer, hall, land } = target;
    let meet = |here| hall.as_ref()?.open(here);
    let mut backoff = Backoff::new(draw_seed());
    let mut patience = Patience::new(&line, search);
    loop {
        let error = match patience.over(dial_worker(&line, offer.clone(), &meet, &land)).await {
            Ok(link) => {
                let (slots, at) = (offer.capacity.cpus, places(&line));
                match search {
                    Search::First(_) => info!(target: "plait::worker", slots, %at, "joined the coordinator"),
                    // Whoever was told of the loss is told of its end.
                    Search::Again => warn!(target: "plait::worker", slots, %at, "joined the coordinator again"),
                }
                return Ok(link);
            }
            Err(error) => error,
        };
        let pause = backoff.pause();
        if error.fatal() || matches!(search, Search::First(end) if Instant::now() + pause >= end) {
            return Err(error);
        }
        info!(target: "plait::worker", %error, ?pause, "no coordinator yet");
        patience.last = Some(error);
        patience.over(sleep(pause)).await;
    }
}

/// Says once, if the first search takes a while, that it goes on, and what is wrong.
struct Patience<'a> {
    line: &'a JoinLine,
    /// When to say it; nothing if it is said, or need not be.
    until: Option<Instant>,
    last: Option<DialError>,
}

impl<'a> Patience<'a> {
    /// Who searches again has said so already.
    fn new(line: &'a JoinLine, search: Search) -> Self {
        let until = match search {
            Search::First(_) => Some(Instant::now() + WORKER_SAYS_AFTER),
            Search::Again => None,
        };
        Self { line, until, last: None }
    }

    /// What `effort` comes to, however long that takes.
    async fn over<T>(&mut self, effort: impl Future<Output = T>) -> T {
        let mut effort = pin!(effort);
        if let Some(until) = self.until {
            if let Ok(done) = timeout_at(until, &mut effort).await {
                return done;
            }
            self.until = None;
            self.say();
        }
        effort.await
    }

    fn say(&self) {
        let seconds = WORKER_CONNECT_TIMEOUT.as_secs();
        match &self.last {
            Some(error) => warn!(target: "plait::worker", "{error} Trying again, for up to {seconds} s"),
            None => {
                let at = places(self.line);
                warn!(target: "plait::worker", %at, "nothing answers there yet; waiting for up to {seconds} s");
            }
        }
    }
}

/// Where a line leads, for people.
fn places(line: &JoinLine) -> String {
    line.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::join::{Key, Pin, Role};
    use crate::telemetry::tests::Lines;
    use std::future::ready;
    use std::time::Duration;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    fn line() -> JoinLine {
        let addresses = vec!["127.0.0.1:1".parse().unwrap()];
        JoinLine { role: Role::Worker, pin: Pin([1; 16]), key: Key([2; 16]), addresses }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(30), test).await.expect("in time") });
    }

    #[test]
    fn who_waits_for_a_first_coordinator_says_so_once() {
        run(async {
            let (lines, _guard) = Lines::capture();
            let line = line();
            let mut patience = Patience::new(&line, Search::First(Instant::now()));
            assert_eq!(patience.over(ready(1)).await, 1);
            assert!(lines.read().is_empty(), "what is there at once is worth no word");
            patience.until = Some(Instant::now());
            let source = std::io::ErrorKind::ConnectionRefused.into();
            patience.last = Some(DialError::Unreachable { address: line.addresses[0].clone(), source });
            let something_is_said = async {
                while lines.read().is_empty() {
                    yield_now().await;
                }
            };
            patience.over(something_is_said).await;
            patience.over(yield_now()).await;
            let said = lines.read();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains("127.0.0.1:1: connection refused") && said[0].contains("60 s"), "{said:?}");
        });
    }

    #[test]
    fn who_looks_for_another_coordinator_has_said_so_already() {
        assert!(Patience::new(&line(), Search::Again).until.is_none());
    }
}
