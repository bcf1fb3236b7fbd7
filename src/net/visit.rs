//! Visits to workers: whoever was told that a worker has an object goes there and gets it.
//!
//! Each object takes a connection of its own: whatever cuts it short is a visit that failed, and the coordinator's to repeat.

use super::framed::{Land, Terms, framed_on};
use super::greeting;
use super::identity::Identity;
use super::join::Pin;
use super::link::Link;
use super::near::Part;
use super::tls::{client_config_as, server_name};
use plait_core::id::ObjectId;
use plait_core::limits;
use plait_core::outcome::Unfetched;
use plait_core::peer::Peer;
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::value::Value;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

/// How long a visitor waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until it is connected.
    pub connect: Duration,
    /// For the next part of an answer.
    pub answer: Duration,
}

/// Goes to a worker. The link is lost if no part of an answer comes in time.
///
/// # Errors
/// If it cannot be reached in time, or is somebody else.
pub async fn visit(
    identity: &Identity,
    peer: Peer,
    patience: Patience,
    land: Land,
) -> io::Result<Link<ToHolder, FromHolder>> {
    let connect = async {
        let socket = timeout(patience.connect, TcpStream::connect(peer.address)).await??;
        greeting::prepare(&socket)?;
        let tls = TlsConnector::from(client_config_as(identity, Pin(peer.key.0)));
        tls.connect(server_name(), socket).await
    };
    let stream = timeout(limits::HANDSHAKE_TIMEOUT, connect).await??;
    let terms = Terms { mute: Some(patience.answer), ..Terms::upwards() };
    let part = Part::of_guest(&land);
    Ok(framed_on(tokio_rustls::TlsStream::from(stream), terms, land, part))
}

/// Gets an object from a worker.
///
/// # Errors
/// If it does not have it, or cannot be reached, or does not answer as it should.
pub async fn fetch(
    identity: &Identity,
    object: ObjectId,
    at: Peer,
    patience: Patience,
    land: Land,
) -> Result<Value, Unfetched> {
    let unreachable = |why: &dyn Display| {
        debug!(target: "plait::net", %object, holder = %at.address, "a fetch failed: {why}");
        Unfetched::Unreachable
    };
    let mut link = visit(identity, at, patience, land).await.map_err(|error| unreachable(&error))?;
    link.sender.send(ToHolder::Fetch(object)).map_err(|closed| unreachable(&closed))?;
    let (mut answers, mut excuses) = (Vec::new(), 0);
    loop {
        link.receiver.receive(&mut answers, 1).await.map_err(|closed| unreachable(&closed))?;
        match answers.pop() {
            // It is alive.
            None => {}
            Some(FromHolder::Soon { .. }) if excuses < limits::PEER_EXCUSES => excuses += 1,
            Some(FromHolder::Soon { .. }) => return Err(unreachable(&"it keeps one waiting")),
            Some(FromHolder::Sent { object: sent, value }) if sent == object => {
                link.sender.finish();
                return match value {
                    Some(value) if value.stored().is_none() => Ok(value),
                    Some(_) => Err(unreachable(&"it sent a reference")),
                    None => Err(Unfetched::Gone),
                };
            }
            Some(FromHolder::Sent { .. }) => return Err(unreachable(&"it sent something else")),
        }
    }
}

/// Visits under way, each with a name. They end with this.
#[derive(Debug)]
pub struct Visits<N> {
    room: Arc<Semaphore>,
    under_way: BTreeMap<N, AbortHandle>,
    tasks: JoinSet<(N, Result<Value, Unfetched>)>,
}

impl<N: Copy + Ord + Send + 'static> Visits<N> {
    /// None yet; so many go on at once, others wait.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(at_once)), under_way: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Begins one, in the place of another one of that name; [`next`](Self::next) tells its end.
    pub fn begin(&mut self, name: N, visit: impl Future<Output = Result<Value, Unfetched>> + Send + 'static) {
        let room = Arc::clone(&self.room);
        let task = self.tasks.spawn(async move {
            let _room = room.acquire().await;
            (name, visit.await)
        });
        if let Some(earlier) = self.under_way.insert(name, task) {
            earlier.abort();
        }
    }

    /// These need not go on.
    pub fn stop(&mut self, names: &[N]) {
        for task in names.iter().filter_map(|name| self.under_way.remove(name)) {
            task.abort();
        }
    }

    /// Waits for one to end that was not stopped; for ever if there is none. Cancel-safe.
    pub async fn next(&mut self) -> (N, Result<Value, Unfetched>) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
            let (task, name, result) = match ended {
                Ok((task, (name, result))) => (task, name, result),
                Err(broken) => match self.name_of(broken.id()) {
                    Some(name) => (broken.id(), name, Err(Unfetched::Unreachable)),
                    // It was stopped.
                    None => continue,
                },
            };
            // One that was stopped when it had just ended is of no interest either.
            if self.is_under_way(name, task) {
                self.under_way.remove(&name);
                return (name, result);
            }
        }
    }

    fn is_under_way(&self, name: N, task: Id) -> bool {
        self.under_way.get(&name).is_some_and(|handle| handle.id() == task)
    }

    fn name_of(&self, task: Id) -> Option<N> {
        self.under_way.iter().find(|(_, handle)| handle.id() == task).map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn a_visit_that_breaks_is_one_that_failed_and_leaves_room() {
        let mut visits = Visits::new(1);
        visits.begin(1, async { panic!("as it may") });
        assert_eq!(visits.next().await, (1, Err(Unfetched::Unreachable)));
        visits.begin(1, ready(Ok(Value::empty())));
        assert_eq!(visits.next().await, (1, Ok(Value::empty())), "it can be tried again");
    }

    #[tokio::test]
    async fn of_what_was_stopped_or_replaced_nothing_is_told() {
        let mut visits = Visits::new(1);
        visits.begin(1, pending());
        visits.begin(2, ready(Ok(Value::copied(b"old"))));
        visits.begin(2, ready(Ok(Value::copied(b"new"))));
        tokio::task::yield_now().await;
        visits.stop(&[1, 3]);
        assert_eq!(visits.next().await, (2, Ok(Value::copied(b"new"))), "there is room for one at a time");
        assert!(timeout(Duration::ZERO, visits.next()).await.is_err(), "there is no other");
    }
}
