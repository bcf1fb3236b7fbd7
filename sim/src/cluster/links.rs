//! The simulated shells' links: dialling, sending, heartbeats, silence and the ways in which a link ends.

use super::{Input, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{MICRO, SECOND};
use crate::network::{ConnectionId, End, Medium, Packet};
use crate::probe::probe;
use plait_core::limits;

const BEAT_EVERY: u64 = limits::HEARTBEAT_EVERY.as_nanos() as u64;
const SILENT_AFTER: u64 = limits::FENCE_AFTER.as_nanos() as u64;
const STUCK_AFTER: u64 = limits::TCP_USER_TIMEOUT.as_nanos() as u64;
const HANDSHAKE_WITHIN: u64 = limits::HANDSHAKE_TIMEOUT.as_nanos() as u64;

impl World {
    /// How long the next packet takes.
    fn journey(&mut self, medium: Medium) -> u64 {
        match medium {
            Medium::Memory => self.rng.below(2 * MICRO),
            Medium::Wire => self.plan.latency + self.rng.below(self.plan.jitter + 1),
        }
    }

    /// Which node holds this end.
    pub(crate) fn holder(&self, connection: ConnectionId, end: End) -> Node {
        match end {
            End::Coordinator => Node::Coordinator,
            End::Peer => self.network.connection(connection).peer,
        }
    }

    /// Sends a packet; one that cannot leave any more is lost, as with a socket that is gone.
    pub(crate) fn send(&mut self, connection: ConnectionId, from: End, packet: Packet) {
        let packet = self.through_codec(packet);
        let medium = self.network.connection(connection).medium;
        let earliest = self.now + self.journey(medium);
        if let Some(due) = self.network.send(connection, from, packet, earliest) {
            self.agenda.plan(due, Happening::Arrive { connection, from });
        }
    }

    /// Closes this end in order: what was sent still arrives, then the close.
    pub(crate) fn close(&mut self, connection: ConnectionId, end: End) {
        self.send(connection, end, Packet::Close);
        self.network.release(connection, end);
    }

    /// Takes a new connection up: both ends beat and listen.
    fn tend(&mut self, connection: ConnectionId) {
        if self.network.connection(connection).medium == Medium::Memory {
            return;
        }
        for end in End::BOTH {
            let first = self.now + self.rng.below(BEAT_EVERY);
            self.agenda.plan(first, Happening::Beat { connection, end });
            self.agenda.plan(self.now + SILENT_AFTER, Happening::Listen { connection, end });
        }
    }

    /// Whether the process that made this end is still the one that lives.
    fn is_alive(&mut self, connection: ConnectionId, end: End) -> bool {
        let life = self.network.connection(connection).life;
        let node = self.holder(connection, end);
        let machine = self.machine(node);
        machine.state != State::Down && (end == End::Coordinator || machine.life == life)
    }

    pub(super) fn on_arrive(&mut self, connection: ConnectionId, from: End) {
        let Some(packet) = self.network.arrive(connection, from, self.now) else { return };
        let end = from.other();
        if !self.is_alive(connection, end) {
            return;
        }
        let node = self.holder(connection, end);
        match packet {
            Packet::Close if self.network.release(connection, end) => self.post(node, Input::Lost(connection)),
            Packet::Close => {}
            packet if self.network.is_open(connection, end) => self.post(node, Input::Packet(connection, packet)),
            _ => {}
        }
    }

    pub(super) fn on_beat(&mut self, connection: ConnectionId, end: End) {
        if !self.is_alive(connection, end) || !self.network.is_open(connection, end) {
            return;
        }
        let node = self.holder(connection, end);
        if self.is_up(node) {
            self.send(connection, end, Packet::Heartbeat);
        }
        self.agenda.plan(self.now + BEAT_EVERY, Happening::Beat { connection, end });
    }

    pub(super) fn on_listen(&mut self, connection: ConnectionId, end: End) {
        if !self.is_alive(connection, end) || !self.network.is_open(connection, end) {
            return;
        }
        let node = self.holder(connection, end);
        let silent_at = self.network.heard(connection, end) + SILENT_AFTER;
        let next = if !self.is_up(node) {
            self.now + SECOND / 4
        } else if silent_at > self.now {
            silent_at + self.rng.below(SECOND / 2)
        } else {
            self.note(node, format_args!("hears nothing over {connection:?} any more"));
            return self.lose(connection, end);
        };
        self.agenda.plan(next, Happening::Listen { connection, end });
    }

    pub(super) fn on_stuck(&mut self, connection: ConnectionId, end: End) {
        if !self.network.is_open(connection, end) || !self.is_alive(connection, end) {
            return;
        }
        let (now, node) = (self.now, self.network.connection(connection).peer);
        let old = |due: u64| due + STUCK_AFTER <= now;
        if self.network.is_blocked(node, end) && self.network.on_the_way(connection, end).any(old) {
            self.note(node, format_args!("{connection:?} is stuck from {end:?}"));
            self.lose(connection, end);
        }
    }

    /// This end gives the connection up by itself.
    fn lose(&mut self, connection: ConnectionId, end: End) {
        self.close(connection, end);
        let node = self.holder(connection, end);
        self.post(node, Input::Lost(connection));
    }

    /// A reset: part of what is on the way is torn away.
    pub(super) fn reset(&mut self, connection: ConnectionId) {
        let kept = [self.rng.below(4) as usize, self.rng.below(4) as usize];
        let (dues, lost) = self.network.tear(connection, kept, self.now);
        if lost {
            probe!("link reset with messages on the way");
        }
        for from in End::BOTH {
            let due = dues[from as usize].max(self.now);
            self.agenda.plan(due, Happening::Arrive { connection, from });
        }
    }

    /// Begins to dial; ends in a connection or in `DialFailed`.
    pub(super) fn dial(&mut self, node: Node, dial: u64) {
        let life = self.machine(node).life;
        let medium = self.medium();
        let blocked = medium == Medium::Wire && End::BOTH.iter().any(|end| self.network.is_blocked(node, *end));
        let wait = if blocked || !self.is_up(Node::Coordinator) {
            HANDSHAKE_WITHIN
        } else {
            (0..4).map(|_| self.journey(medium)).sum()
        };
        self.agenda.plan(self.now + wait, Happening::Dialled { node, life, dial });
    }

    pub(super) fn on_dialled(&mut self, node: Node, life: u32, dial: u64) {
        if self.machine(node).life != life || self.machine(node).state == State::Down {
            return;
        }
        let blocked = End::BOTH.iter().any(|end| self.network.is_blocked(node, *end));
        if (blocked && self.medium() == Medium::Wire) || !self.is_up(Node::Coordinator) {
            return self.post(node, Input::DialFailed);
        }
        let hello = match node {
            Node::Coordinator => return,
            Node::Worker(n) => self.workers[n].hello(dial),
            Node::Client(n) => self.clients[n].hello(dial),
        };
        let Some(hello) = hello else { return };
        let connection = self.network.connect(node, life, self.medium(), self.now);
        match node {
            Node::Coordinator => {}
            Node::Worker(n) => self.workers[n].connection = Some(connection),
            Node::Client(n) => self.clients[n].connection = Some(connection),
        }
        self.tend(connection);
        self.send(connection, End::Peer, hello);
    }

    /// A blocked path: data that stays stuck on it ends its connections.
    pub(super) fn block(&mut self, node: Node, from: End, until: u64) {
        self.network.block(node, from);
        self.agenda.plan(until, Happening::Unblock { node, from });
        for connection in self.network.of(node) {
            let mut at = self.now + STUCK_AFTER;
            while at < until {
                self.agenda.plan(at, Happening::Stuck { connection, end: from });
                at += SECOND;
            }
        }
    }

    pub(super) fn on_unblock(&mut self, node: Node, from: End) {
        if !self.network.unblock(node, from) {
            return;
        }
        for connection in self.network.of(node) {
            let dues: Vec<u64> = self.network.on_the_way(connection, from).collect();
            for due in dues {
                self.agenda.plan(due.max(self.now), Happening::Arrive { connection, from });
            }
        }
    }
}
