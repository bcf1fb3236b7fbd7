//! The state of everything, for people.

use super::Scheduler;
use super::session::Link;
use super::worker::{Health, Worker};
use crate::id::{SessionId, WorkerId};
use crate::resource::Resources;
use crate::spec::PythonVersion;
use crate::window::{Flow, Tally};

/// A read-only view of a scheduler between two steps.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a>(&'a Scheduler);

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// Waiting for inputs.
    pub waiting: u64,
    /// Ready for a slot.
    pub ready: u64,
    /// Handed to a worker.
    pub assigned: u64,
    /// Over, since the start.
    pub done: u64,
    /// Of those, failed or cancelled.
    pub failed: u64,
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerView<'a> {
    /// Its id.
    pub id: WorkerId,
    /// Its name for people.
    pub name: &'a str,
    /// Slots and named resources.
    pub capacity: &'a Resources,
    /// Attempts that it is known or assumed to run.
    pub running: u32,
    /// Attempts that it holds beyond those.
    pub queued: u32,
    /// How it is doing.
    pub health: Health,
    /// The Python of its executors.
    pub python: PythonVersion,
}

impl Scheduler {
    /// The state of everything, for people.
    #[must_use]
    pub const fn snapshot(&self) -> Snapshot<'_> {
        Snapshot(self)
    }
}

impl<'a> Snapshot<'a> {
    /// Every worker, in the order in which they joined.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView<'a>> {
        self.0.workers.iter().map(|(_, worker)| view(worker))
    }

    /// Tasks over all sessions.
    #[must_use]
    pub const fn tasks(&self) -> TaskTotals {
        self.0.counts
    }

    /// Open sessions, those included whose client may come back.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.iter().filter(|(_, session)| session.link != Link::Left).count()
    }

    /// Functions held, over all sessions.
    #[must_use]
    pub fn functions(&self) -> usize {
        self.0.sessions.iter().map(|(_, session)| session.functions.len()).sum()
    }

    /// Bytes of values held, with what clients have not taken yet.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.0.held_bytes()
    }

    /// What is believed of a worker's credit, if it is there.
    #[must_use]
    pub fn flow(&self, worker: WorkerId) -> Option<Flow> {
        let worker = &self.0.workers[self.0.workers.find(worker.0)?];
        Some(Flow { spent: worker.credit.used(), owed: worker.owed.amount() })
    }

    /// How a session's two streams are believed to stand, if it is there.
    #[must_use]
    pub fn tally(&self, session: SessionId) -> Option<Tally> {
        let session = &self.0.sessions[self.0.find_session(session)?];
        Some(session.outbox.tally(session.taken))
    }

    /// Requests of a session that have come and wait until an earlier one is taken to its end.
    #[must_use]
    pub fn waiting(&self, session: SessionId) -> usize {
        let session = self.0.find_session(session).map(|slot| &self.0.sessions[slot]);
        session.and_then(|session| session.intake.as_ref()).map_or(0, |intake| intake.waiting())
    }

    /// Events, or parts of them, that were unknown, late or repeated.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.0.ignored
    }
}

fn view(worker: &Worker) -> WorkerView<'_> {
    WorkerView {
        id: worker.id,
        name: &worker.offer.name,
        capacity: &worker.offer.capacity,
        running: worker.running(),
        queued: worker.queued(),
        health: worker.health,
        python: worker.offer.python,
    }
}
