//! Simulated visits of clients to workers: values that do not pass through the coordinator.

use super::{Input, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{MILLI, SECOND};
use crate::network::End;
use crate::options::log_uniform;
use crate::probe::probe;
use plait_core::client::Event;
use plait_core::id::{ObjectId, Seq, SessionId};
use plait_core::outcome::Unfetched;
use plait_core::peer::{Fingerprint, Peer};

/// How long a visit to a machine that does not answer takes to fail.
const PATIENCE: u64 = 12 * SECOND;

/// A client on its way to a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    client: usize,
    life: u32,
    seq: Seq,
    object: ObjectId,
    at: Peer,
    number: u64,
    until: u64,
}

/// By which workers know the client of a machine.
pub(super) fn client_key(n: usize) -> Fingerprint {
    Fingerprint([100 + n as u8; 16])
}

/// How others would reach a life of a worker's machine.
pub(super) fn peer(n: usize, life: u32) -> Peer {
    let mut key = [n as u8; 16];
    key[..4].copy_from_slice(&life.to_le_bytes());
    Peer { address: ([10, 0, 0, n as u8], 9_000).into(), key: Fingerprint(key) }
}

impl World {
    /// A client goes to a worker; whatever visit it was on for that task is over.
    pub(super) fn visit(&mut self, client: usize, seq: Seq, object: ObjectId, at: Peer) {
        let mut wait = 4 * (self.plan.latency + self.plan.jitter) + self.rng.below(5 * MILLI);
        if self.rng.chance(self.plan.fetch_trouble, 100) {
            wait += log_uniform(&mut self.rng, MILLI, 3 * SECOND);
        }
        self.fetches += 1;
        let number = self.fetches;
        if self.clients[client].visiting.insert(seq, number).is_some() {
            probe!("client sent to another worker");
        }
        let (life, until) = (self.clients[client].machine.life, self.now + PATIENCE);
        let visit = Visit { client, life, seq, object, at, number, until };
        self.agenda.plan(self.now + wait, Happening::Visited(visit));
    }

    /// A visit comes to its end, if the machine at the other end answers and expects the client.
    pub(super) fn on_visited(&mut self, visit: Visit) {
        let Visit { client, life, seq, object, at, number, until } = visit;
        let host = &self.clients[client];
        if host.machine.life != life || host.visiting.get(&seq) != Some(&number) {
            return;
        }
        let guest = host.session_id.map(|session| (client_key(client), session));
        let there = self.workers.iter().position(|worker| worker.offer.peer == Some(at));
        let there = there.filter(|m| self.workers[*m].machine.state != State::Down);
        let opens = there.is_some_and(|m| self.opens(m, client, guest));
        if there.is_some() && !opens && self.now < until {
            return self.agenda.plan(self.now + SECOND / 2, Happening::Visited(visit));
        }
        self.clients[client].visiting.remove(&seq);
        let fails = self.rng.chance(self.plan.fetch_trouble, 200);
        let result = match there.filter(|_| opens && !fails) {
            Some(m) => {
                let session = guest.map(|(_, session)| session);
                assert_eq!(session, Some(object.0.task.session), "client {client} is sent for another's value");
                self.serve_guest(m, object)
            }
            None => Err(Unfetched::Unreachable),
        };
        match &result {
            Ok(value) => {
                probe!("value fetched from a worker");
                self.ledger.executions.check_maker(object, value);
            }
            Err(_) => probe!("client could not fetch from a worker"),
        }
        self.post(Node::Client(client), Input::Session(Event::Visited { seq, object, result }));
    }

    /// Whether a worker's machine answers a client's and lets it in.
    fn opens(&mut self, m: usize, client: usize, guest: Option<(Fingerprint, SessionId)>) -> bool {
        let ends = [Node::Worker(m), Node::Client(client)];
        let cut = ends.iter().any(|node| End::BOTH.iter().any(|end| self.network.is_blocked(*node, *end)));
        let expected = guest.is_some_and(|guest| self.workers[m].guests.contains(&guest));
        !cut && expected && self.workers[m].machine.state == State::Up
    }
}
