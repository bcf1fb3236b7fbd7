//! Who is connected: the links of sessions and workers, by their ids.
//!
//! Ids are dense and never used again, so a late word of a link that is gone can never count against another one. A client
//! that comes back is a *candidate* until the scheduler has welcomed it: only then does its link replace the old one.

use super::links::{Inlet, LinkId, Ready};
use crate::net::link::{Link, Sender};
use crate::net::listener::Watch;
use plait_core::id::{SessionId, WorkerId};
use plait_core::protocol::message::client::{Farewell, FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use std::collections::HashMap;
use std::sync::Arc;
use tracing::debug;

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientLink {
    pub(super) session: SessionId,
    pub(super) inlet: Inlet<FromClient>,
    sender: Sender<ToClient>,
}

/// A worker's connection.
#[derive(Debug)]
pub(super) struct WorkerLink {
    pub(super) worker: WorkerId,
    pub(super) watch: Watch,
    pub(super) inlet: Inlet<FromWorker>,
    sender: Sender<ToWorker>,
}

/// What became of a session's link when it was welcomed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promotion {
    Linked,
    /// The candidate was closed before it was answered.
    Gone,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) ready: Arc<Ready>,
    pub(super) clients: HashMap<LinkId, ClientLink>,
    pub(super) workers: HashMap<LinkId, WorkerLink>,
    sessions: HashMap<SessionId, LinkId>,
    candidates: HashMap<SessionId, LinkId>,
    stays: HashMap<WorkerId, LinkId>,
    next_session: u32,
    next_worker: u32,
}

impl Peers {
    /// A client with a new session.
    pub(super) fn add_client(&mut self, link: Link<ToClient, FromClient>) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let id = self.add_client_link(session, link);
        self.sessions.insert(session, id);
        session
    }

    /// A client that says it comes back to `session`.
    pub(super) fn add_candidate(&mut self, session: SessionId, link: Link<ToClient, FromClient>) {
        let id = self.add_client_link(session, link);
        if let Some(older) = self.candidates.insert(session, id) {
            self.clients.remove(&older);
        }
    }

    fn add_client_link(&mut self, session: SessionId, link: Link<ToClient, FromClient>) -> LinkId {
        let (id, inlet) = self.ready.add(link.receiver);
        self.clients.insert(id, ClientLink { session, inlet, sender: link.sender });
        id
    }

    /// A worker.
    pub(super) fn add_worker(&mut self, watch: Watch, result_limit: u64, link: Link<ToWorker, FromWorker>) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        let (id, inlet) = self.ready.add(link.receiver);
        self.workers.insert(id, WorkerLink { worker, watch, inlet, sender: link.sender });
        self.stays.insert(worker, id);
        self.to_worker(worker, ToWorker::Welcome { worker, result_limit });
        worker
    }

    /// The scheduler has welcomed `session`: a candidate becomes its link, and an older link is nobody's any more.
    pub(super) fn promote(&mut self, session: SessionId) -> Promotion {
        let Some(id) = self.candidates.remove(&session) else { return Promotion::Linked };
        if let Some(older) = self.sessions.insert(session, id)
            && self.clients.remove(&older).is_some()
        {
            debug!(target: "plait::coordinator", %session, "a link was replaced");
        }
        if self.clients.contains_key(&id) {
            return Promotion::Linked;
        }
        self.sessions.remove(&session);
        Promotion::Gone
    }

    /// Sends to the client of a session; without effect while it has no link.
    pub(super) fn to_client(&self, session: SessionId, message: ToClient) {
        if let Some(client) = self.sessions.get(&session).and_then(|id| self.clients.get(id)) {
            // A closed link says so itself when it is read.
            let _ = client.sender.send(message);
        }
    }

    /// Sends to a worker; without effect if it has no link.
    pub(super) fn to_worker(&self, worker: WorkerId, message: ToWorker) {
        if let Some(link) = self.stays.get(&worker).and_then(|id| self.workers.get(id)) {
            let _ = link.sender.send(message);
        }
    }

    /// Sends a client away, if it is only a candidate for the session.
    pub(super) fn dismiss_candidate(&mut self, session: SessionId, farewell: Farewell) -> Option<Sender<ToClient>> {
        let id = self.candidates.remove(&session)?;
        Some(self.clients.remove(&id)?.part(farewell))
    }

    /// Sends a client away.
    pub(super) fn dismiss_client(&mut self, session: SessionId, farewell: Farewell) -> Option<Sender<ToClient>> {
        let id = self.sessions.remove(&session)?;
        Some(self.clients.remove(&id)?.part(farewell))
    }

    /// Sends a worker away.
    pub(super) fn dismiss_worker(&mut self, worker: WorkerId, farewell: ToWorker) -> Option<Sender<ToWorker>> {
        let id = self.stays.remove(&worker)?;
        let link = self.workers.remove(&id)?;
        let _ = link.sender.send(farewell);
        link.sender.finish();
        Some(link.sender)
    }

    /// A client's link is gone. The session it was the link of, if it still was; of a candidate one hears when it is
    /// promoted, for whether it speaks for its session at all is not known before.
    pub(super) fn remove_client(&mut self, id: LinkId) -> Option<SessionId> {
        let session = self.clients.remove(&id)?.session;
        let current = self.sessions.get(&session) == Some(&id);
        current.then(|| self.sessions.remove(&session)).map(|_| session)
    }

    /// A worker's link is gone.
    pub(super) fn remove_worker(&mut self, id: LinkId) -> Option<WorkerId> {
        let worker = self.workers.remove(&id)?.worker;
        self.stays.remove(&worker);
        Some(worker)
    }

    /// Sends everybody away.
    pub(super) fn dismiss_all(&mut self) -> Parting {
        let clients = self.clients.drain().map(|(_, client)| client.part(Farewell::ShuttingDown)).collect();
        let workers: Vec<_> = self.stays.keys().copied().collect();
        let workers = workers.into_iter().filter_map(|w| self.dismiss_worker(w, ToWorker::Goodbye)).collect();
        Parting { clients, workers }
    }
}

impl ClientLink {
    fn part(self, farewell: Farewell) -> Sender<ToClient> {
        let _ = self.sender.send(ToClient::Goodbye(farewell));
        self.sender.finish();
        self.sender
    }
}

/// Goodbyes on their way.
#[derive(Debug, Default)]
pub(super) struct Parting {
    clients: Vec<Sender<ToClient>>,
    workers: Vec<Sender<ToWorker>>,
}

impl Parting {
    /// Waits until they are out of this process, or lost.
    pub(super) async fn flushed(self) {
        for client in &self.clients {
            client.flushed().await;
        }
        for worker in &self.workers {
            worker.flushed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::memory;

    #[test]
    fn a_candidate_that_leaves_before_its_answer_leaves_a_cut_session() {
        let mut peers = Peers::default();
        let (_client, link) = memory();
        let session = peers.add_client(link);
        let (_again, link) = memory();
        peers.add_candidate(session, link);
        let candidate = peers.candidates[&session];
        assert_eq!(peers.remove_client(candidate), None, "it may be a stranger");
        assert_eq!(peers.promote(session), Promotion::Gone);
        assert!(peers.clients.is_empty() && peers.sessions.is_empty());
    }

    #[test]
    fn a_stranger_that_leaves_changes_nothing() {
        let mut peers = Peers::default();
        let (_client, link) = memory();
        let session = peers.add_client(link);
        let (_stranger, link) = memory();
        peers.add_candidate(session, link);
        let candidate = peers.candidates[&session];
        peers.remove_client(candidate);
        assert!(peers.dismiss_candidate(session, Farewell::Gone).is_none());
        assert_eq!(peers.promote(session), Promotion::Linked);
        assert_eq!(peers.sessions.len(), 1);
    }
}
