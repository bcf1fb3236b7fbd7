//! The end of a world: nothing may be left, and what clients were told must be what the model allows.

use super::client::Ending;
use super::{State, World};
use crate::Summary;
use crate::agenda::Node;
use crate::clock::SECOND;
use crate::model;
use crate::probe::probe;
use crate::process::Stage;

/// Messages that a task may cost on average, resends apart.
const MESSAGES_PER_TASK: u64 = 40;
/// Messages that a fault may cost: everything on the way is sent again.
const MESSAGES_PER_FAULT: u64 = 400;
/// Messages that a world may cost before its first task.
const MESSAGES_AT_ALL: u64 = 2_000;

impl World {
    /// What keeps the world from being as empty as it was, if anything.
    pub(super) fn leftovers(&self) -> Option<String> {
        let snapshot = self.coordinator.scheduler.snapshot();
        let tasks = snapshot.tasks();
        let at_work = tasks.waiting + tasks.ready + tasks.assigned;
        if at_work > 0 {
            return Some(format!("tasks in the scheduler: {tasks:?}"));
        }
        for worker in snapshot.workers() {
            if worker.running + worker.queued > 0 {
                return Some(format!("attempts at a worker: {worker:?}"));
            }
        }
        let sessions = self.clients.iter().filter(|client| client.ending == Ending::Lives).count();
        if snapshot.sessions() != sessions {
            return Some(format!("{} sessions of {sessions} clients", snapshot.sessions()));
        }
        let functions: u64 = self.living().map(|client| client.program.body_bytes()).sum();
        if snapshot.held_bytes() != functions {
            return Some(format!("{} bytes held, {functions} of them functions", snapshot.held_bytes()));
        }
        if self.ledger.leases() > 0 {
            return Some(format!("{} leases", self.ledger.leases()));
        }
        if let Some((n, host)) = self.workers.iter().enumerate().find(|(_, host)| !host.store.is_empty()) {
            return Some(format!("{:?} in the store of worker {n}", host.store.keys()));
        }
        self.busy_executor()
    }

    fn living(&self) -> impl Iterator<Item = &super::ClientHost> {
        self.clients.iter().filter(|client| client.ending == Ending::Lives)
    }

    fn busy_executor(&self) -> Option<String> {
        for (n, host) in self.workers.iter().enumerate().filter(|(_, host)| host.machine.state == State::Up) {
            for executor in host.executors.values().filter(|executor| executor.stage == Stage::Up) {
                if executor.running.is_some() || executor.queued() > 0 || !executor.unsent.is_empty() {
                    return Some(format!("work in {} of worker {n}", executor.id));
                }
            }
        }
        None
    }

    /// Everything else that must hold in the end.
    pub(super) fn conclude(&mut self) {
        for n in 0..self.clients.len() {
            if self.clients[n].ending == Ending::Killed && self.clients[n].session_id.is_some() {
                probe!("session expired");
            }
            self.note(Node::Client(n), format_args!("is judged"));
            model::judge(&self.plan, &self.ledger, &self.clients[n]);
        }
        let tasks = self.tasks();
        let most = MESSAGES_AT_ALL + MESSAGES_PER_TASK * tasks + MESSAGES_PER_FAULT * self.ledger.faults();
        let sent = self.network.messages;
        assert!(sent <= most, "{sent} messages for {tasks} tasks and {} faults", self.ledger.faults());
    }

    fn tasks(&self) -> u64 {
        self.clients.iter().map(|client| client.program.tasks.len() as u64).sum()
    }

    /// What the world was like.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            hash: self.log.hash(),
            lines: self.log.lines(),
            steps: self.steps,
            tasks: self.tasks(),
            executions: self.ledger.executions.count() as u64,
            messages: self.network.messages,
            faults: self.ledger.faults(),
            virtual_seconds: self.now / SECOND,
        }
    }
}
