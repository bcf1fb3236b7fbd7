//! Credit, seen from both ends: what one of them has spent is on the way, or taken and not returned, or on its way
//! back. What is counted in streams has arrived as often as it was sent, but for what is on the way.

use super::{Input, World};
use crate::agenda::Node;
use crate::network::{ConnectionId, End, Packet};
use plait_core::id::WorkerId;
use plait_core::outcome::Outcome;
use plait_core::value::Value;
use plait_core::window::cost;
use plait_core::{scheduler, worker as brain};
use std::collections::BTreeMap;

/// What was made up, by its cost: whoever was told owes it, but nobody has spent it.
#[derive(Debug, Default)]
pub(super) struct Lies {
    /// Reports of a worker, perhaps before it joined: that may have been made up as well.
    reports: BTreeMap<WorkerId, u64>,
    /// What a worker took for the coordinator's.
    starts: BTreeMap<ConnectionId, u64>,
}

/// What is on the way in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    /// What its sender has spent on it.
    spent: u64,
    /// Credit that it gives back.
    returned: u64,
    /// Messages of the counted stream.
    counted: u64,
}

impl World {
    /// Holds what `node` and those connected to it believe against each other.
    pub(super) fn check_flows(&self, node: Node) {
        let concerns = |other| node == Node::Coordinator || node == other;
        let workers = (0..self.workers.len()).filter(|n| concerns(Node::Worker(*n)));
        workers.for_each(|n| self.check_worker_flow(n));
        let clients = (0..self.clients.len()).filter(|n| concerns(Node::Client(*n)));
        clients.for_each(|n| self.check_client_flow(n));
    }

    fn check_worker_flow(&self, n: usize) {
        let host = &self.workers[n];
        let Some(connection) = host.link().filter(|connection| self.network.is_whole(*connection)) else { return };
        let Some(worker) = self.coordinator.worker_over(connection) else { return };
        let Some(far) = self.coordinator.scheduler.snapshot().flow(worker) else { return };
        let near = host.brain.flow();
        let [down, up] = End::BOTH.map(|from| self.under_way(connection, from));
        let (starts, reports) = (self.lies.starts.get(&connection), self.lies.reports.get(&worker));
        compare(n, "starts", far.spent, down.spent + near.owed + up.returned, starts);
        compare(n, "reports", near.spent, up.spent + far.owed + down.returned, reports);
    }

    fn check_client_flow(&self, n: usize) {
        let client = &self.clients[n];
        let whole = client.connection.filter(|connection| self.network.is_whole(*connection) && client.is_welcome());
        let (Some(connection), Some(session)) = (whole, client.session_id) else { return };
        if self.coordinator.session_over(connection) != Some(session) {
            return;
        }
        let Some(far) = self.coordinator.scheduler.snapshot().tally(session) else { return };
        let near = client.session.tally();
        let [down, up] = End::BOTH.map(|from| self.under_way(connection, from));
        let waiting = self.coordinator.scheduler.snapshot().waiting(session) as u64;
        assert_eq!(near.sent, far.taken + waiting + up.counted, "requests of client {n} that were sent");
        assert_eq!(far.sent, near.taken + down.counted, "notices to client {n} that were sent");
        let honest = near.acknowledged <= far.taken && far.acknowledged <= near.taken;
        assert!(honest, "only what was taken is acknowledged: client {n} has {near:?}, the coordinator {far:?}");
    }

    /// All that `from` has sent over a connection and the other end's machine has not taken.
    fn under_way(&self, connection: ConnectionId, from: End) -> UnderWay {
        let node = self.holder(connection, from.other());
        let mailbox = match node {
            Node::Coordinator => &self.coordinator.machine.mailbox,
            Node::Worker(n) => &self.workers[n].machine.mailbox,
            Node::Client(n) => &self.clients[n].machine.mailbox,
        };
        let arrived = mailbox.iter().filter_map(|input| match input {
            Input::Packet(over, packet) if *over == connection => Some(packet),
            _ => None,
        });
        self.network.packets(connection, from).chain(arrived).fold(UnderWay::default(), UnderWay::with)
    }

    /// The coordinator is told a report that no worker made.
    pub(super) fn note_lie_to_scheduler(&mut self, event: &scheduler::Event) {
        if let scheduler::Event::AttemptsEnded { worker, reports } = event {
            let lie: u64 = reports.iter().map(|report| cost(report.len())).sum();
            *self.lies.reports.entry(*worker).or_default() += lie;
        }
        if let scheduler::Event::ObjectShown { worker, value, .. } = event {
            let lie = cost(value.as_ref().map_or(0, Value::carried));
            *self.lies.reports.entry(*worker).or_default() += lie;
        }
    }

    /// A worker is told of inputs that the coordinator did not send.
    pub(super) fn note_lie_to_brain(&mut self, n: usize, event: &brain::Event) {
        if let brain::Event::InputsAppended { inputs, .. } = event
            && let Some(connection) = self.workers[n].link()
        {
            let lie = cost(inputs.iter().map(Outcome::len).sum());
            *self.lies.starts.entry(connection).or_default() += lie;
        }
    }
}

impl UnderWay {
    fn with(self, packet: &Packet) -> Self {
        Self {
            spent: self.spent + packet.credit(),
            returned: self.returned + packet.returned(),
            counted: self.counted + u64::from(packet.is_counted()),
        }
    }
}

/// What was returned for a lie may have been more than was spent, which is ignored.
fn compare(n: usize, what: &str, spent: u64, seen: u64, lies: Option<&u64>) {
    let lies = lies.copied().unwrap_or(0);
    let right = spent <= seen && seen <= spent + lies;
    assert!(right, "{spent} bytes are spent on {what} of worker {n}, {seen} are to be seen, {lies} made up");
}
