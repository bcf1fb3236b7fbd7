//! The network: connections of two ordered streams, and the paths below them that are slow, blocked or cut.
//!
//! A stream loses nothing while its connection lives: what a blocked path holds back arrives later, in order. A
//! connection ends by a close that travels behind the data, by a reset that tears away what is on the way, or unheard,
//! when its machine loses power.

use crate::agenda::Node;
use plait_core::id::{Epoch, SessionId};
use plait_core::limits;
use plait_core::outcome::{Outcome, Report};
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::spec::{Offer, Start};
use plait_core::window::cost;
use std::collections::VecDeque;

/// A connection, by the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) usize);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The coordinator's.
    Coordinator,
    /// The worker's or client's.
    Peer,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Coordinator, Self::Peer];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Coordinator => Self::Peer,
            Self::Peer => Self::Coordinator,
        }
    }
}

/// What travels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Packet {
    /// A worker's first packet.
    WorkerHello(Offer),
    /// A client's first packet.
    ClientHello {
        token: u128,
        resume: Option<(Epoch, SessionId, u64)>,
    },
    ToWorker(ToWorker),
    FromWorker(FromWorker),
    ToClient(ToClient),
    FromClient(FromClient),
    /// The sender lives.
    Heartbeat,
    /// The sender has closed the connection.
    Close,
}

impl Packet {
    /// Bytes of payload, as the links of the shells count them.
    fn payload(&self) -> u64 {
        match self {
            Self::ToWorker(ToWorker::Start(starts)) => starts.iter().map(Start::len).sum(),
            Self::ToWorker(ToWorker::Inputs { inputs, .. }) => inputs.iter().map(Outcome::len).sum(),
            Self::ToWorker(ToWorker::Define { function, .. }) => function.body.carried(),
            Self::ToWorker(ToWorker::Give { value, .. }) => value.carried(),
            Self::FromWorker(FromWorker::Shown { value: Some(value), .. }) => value.carried(),
            Self::FromWorker(FromWorker::Ended(reports)) => reports.iter().map(Report::len).sum(),
            Self::ToClient(ToClient::Notice(notice)) => notice.len(),
            Self::FromClient(FromClient::Request(request)) => request.len(),
            _ => 0,
        }
    }

    /// What it takes of the credit between coordinator and worker.
    pub(crate) fn credit(&self) -> u64 {
        match self {
            Self::ToWorker(ToWorker::Start(starts)) => starts.iter().map(|start| cost(start.len())).sum(),
            Self::ToWorker(ToWorker::Inputs { .. } | ToWorker::Define { .. } | ToWorker::Give { .. })
            | Self::FromWorker(FromWorker::Shown { .. }) => cost(self.payload()),
            Self::FromWorker(FromWorker::Ended(reports)) => reports.iter().map(|report| cost(report.len())).sum(),
            _ => 0,
        }
    }

    /// What it gives back of that of the other direction.
    pub(crate) const fn returned(&self) -> u64 {
        match self {
            Self::ToWorker(ToWorker::Taken(cost)) | Self::FromWorker(FromWorker::Taken(cost)) => *cost,
            _ => 0,
        }
    }

    /// Whether it belongs to a session's counted streams.
    pub(crate) const fn is_counted(&self) -> bool {
        matches!(self, Self::ToClient(ToClient::Notice(_)) | Self::FromClient(FromClient::Request(_)))
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    packets: VecDeque<(u64, Packet)>,
    last_due: u64,
    /// Payload on the way.
    bytes: u64,
}

/// Payload on the way at which a shell cuts a link: a machine that keeps to its credit never gets there.
const OVERRUN: u64 = 2 * limits::CONNECTION_CREDIT_BYTES;

/// What lies below a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Memory shared by both ends: fast, never cut.
    Memory,
    /// A network.
    Wire,
}

/// A connection between a peer and the coordinator.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Node,
    pub(crate) life: u32,
    pub(crate) medium: Medium,
    open: [bool; 2],
    heard: [u64; 2],
    streams: [Stream; 2],
    /// Torn by a reset: nothing more is taken.
    torn: bool,
}

/// The state of the path between the coordinator and a machine.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    /// Per sending end: how many blocks hold it.
    blocks: [u32; 2],
}

/// Every connection and path.
#[derive(Debug)]
pub(crate) struct Network {
    connections: Vec<Connection>,
    worker_paths: Vec<Path>,
    client_paths: Vec<Path>,
    /// Messages sent, heartbeats apart.
    pub(crate) messages: u64,
}

impl Network {
    pub(crate) fn new(workers: usize, clients: usize) -> Self {
        Self {
            connections: Vec::new(),
            worker_paths: vec![Path::default(); workers],
            client_paths: vec![Path::default(); clients],
            messages: 0,
        }
    }

    fn path(&mut self, node: Node) -> Option<&mut Path> {
        match node {
            Node::Coordinator => None,
            Node::Worker(n) => self.worker_paths.get_mut(n),
            Node::Client(n) => self.client_paths.get_mut(n),
        }
    }

    /// Adds one more machine of the kind of `node`.
    pub(crate) fn add_path(&mut self, node: Node) {
        match node {
            Node::Coordinator => {}
            Node::Worker(_) => self.worker_paths.push(Path::default()),
            Node::Client(_) => self.client_paths.push(Path::default()),
        }
    }

    pub(crate) fn block(&mut self, node: Node, from: End) {
        if let Some(path) = self.path(node) {
            path.blocks[from as usize] += 1;
        }
    }

    /// Takes one block away; true if the path is free now.
    pub(crate) fn unblock(&mut self, node: Node, from: End) -> bool {
        let Some(path) = self.path(node) else { return true };
        let blocks = &mut path.blocks[from as usize];
        *blocks = blocks.saturating_sub(1);
        *blocks == 0
    }

    pub(crate) fn is_blocked(&mut self, node: Node, from: End) -> bool {
        self.path(node).is_some_and(|path| path.blocks[from as usize] > 0)
    }

    /// A new connection of `peer` in its `life`, made at `now`.
    pub(crate) fn connect(&mut self, peer: Node, life: u32, medium: Medium, now: u64) -> ConnectionId {
        let id = ConnectionId(self.connections.len());
        self.connections.push(Connection {
            peer,
            life,
            medium,
            open: [true; 2],
            heard: [now; 2],
            streams: [Stream::default(), Stream::default()],
            torn: false,
        });
        id
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> &Connection {
        &self.connections[id.0]
    }

    /// Whether this end still holds the connection.
    pub(crate) fn is_open(&self, id: ConnectionId, end: End) -> bool {
        self.connections[id.0].open[end as usize]
    }

    /// Puts a packet on its way; when it arrives if nothing holds it back, or nothing if it cannot leave.
    pub(crate) fn send(&mut self, id: ConnectionId, from: End, packet: Packet, earliest: u64) -> Option<u64> {
        let connection = &mut self.connections[id.0];
        if connection.torn || !connection.open[from as usize] {
            return None;
        }
        if !matches!(packet, Packet::Heartbeat | Packet::Close) {
            self.messages += 1;
        }
        let stream = &mut connection.streams[from as usize];
        stream.bytes += packet.payload();
        assert!(stream.bytes <= OVERRUN, "{} bytes on the way from {from:?} over {id:?}", stream.bytes);
        stream.last_due = stream.last_due.max(earliest);
        stream.packets.push_back((stream.last_due, packet));
        Some(stream.last_due)
    }

    /// Takes the next packet sent by `from` if it is due and nothing holds it back.
    pub(crate) fn arrive(&mut self, id: ConnectionId, from: End, now: u64) -> Option<Packet> {
        let peer = self.connections[id.0].peer;
        if self.connections[id.0].medium == Medium::Wire && self.is_blocked(peer, from) {
            return None;
        }
        let connection = &mut self.connections[id.0];
        let stream = &mut connection.streams[from as usize];
        if stream.packets.front().is_none_or(|(due, _)| *due > now) {
            return None;
        }
        connection.heard[from.other() as usize] = now;
        let (_, packet) = stream.packets.pop_front()?;
        stream.bytes -= packet.payload();
        Some(packet)
    }

    /// When `end` last heard something.
    pub(crate) fn heard(&self, id: ConnectionId, end: End) -> u64 {
        self.connections[id.0].heard[end as usize]
    }

    /// Lets go of the connection at this end; true if it was held.
    pub(crate) fn release(&mut self, id: ConnectionId, end: End) -> bool {
        std::mem::replace(&mut self.connections[id.0].open[end as usize], false)
    }

    /// Tears the connection: of what is on the way, the first `kept` packets of each direction still arrive, then a
    /// close. Returns when each close arrives, and whether something was torn away.
    pub(crate) fn tear(&mut self, id: ConnectionId, kept: [usize; 2], now: u64) -> ([u64; 2], bool) {
        let connection = &mut self.connections[id.0];
        connection.torn = true;
        let mut lost = false;
        let dues = End::BOTH.map(|from| {
            let stream = &mut connection.streams[from as usize];
            lost |= stream.packets.len() > kept[from as usize];
            stream.packets.truncate(kept[from as usize]);
            let due = stream.packets.back().map_or(now, |(due, _)| *due);
            stream.packets.push_back((due, Packet::Close));
            due
        });
        (dues, lost)
    }

    /// Packets on the way from `from`, with the time at which each is due.
    pub(crate) fn on_the_way(&self, id: ConnectionId, from: End) -> impl Iterator<Item = u64> + '_ {
        self.connections[id.0].streams[from as usize].packets.iter().map(|(due, _)| *due)
    }

    /// What is on the way from `from`.
    pub(crate) fn packets(&self, id: ConnectionId, from: End) -> impl Iterator<Item = &Packet> {
        self.connections[id.0].streams[from as usize].packets.iter().map(|(_, packet)| packet)
    }

    /// Whether both ends hold the connection and nothing of it was torn away.
    pub(crate) fn is_whole(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id.0];
        connection.open == [true; 2] && !connection.torn
    }

    /// Connections of `node` that at least one end still holds.
    pub(crate) fn of(&self, node: Node) -> Vec<ConnectionId> {
        let held = |c: &Connection| c.peer == node && (c.open[0] || c.open[1]);
        self.connections.iter().enumerate().filter(|(_, c)| held(c)).map(|(n, _)| ConnectionId(n)).collect()
    }
}
