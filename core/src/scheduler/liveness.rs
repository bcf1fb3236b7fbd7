//! Silence: a worker that says nothing is suspected, then given up.

use super::worker::Health;
use super::{Action, Scheduler};
use crate::id::WorkerId;
use crate::limits;

impl Scheduler {
    pub(super) fn judge_worker(&mut self, id: WorkerId) {
        let Some(slot) = self.workers.find(id.0) else { return };
        let worker = &mut self.workers[slot];
        worker.judged = None;
        let silent = self.now.since(worker.heard);
        if silent >= limits::FENCE_AFTER {
            self.farewells.push(Action::FenceWorker { worker: id });
            return self.remove_worker(slot);
        }
        let next = if silent >= limits::SUSPECT_AFTER { limits::FENCE_AFTER } else { limits::SUSPECT_AFTER };
        let at = worker.heard + next;
        if silent >= limits::SUSPECT_AFTER && worker.health == Health::Live {
            self.change(slot, |w| w.health = Health::Suspected);
            // Who has died elsewhere may run where it was again.
            self.ready.hear_of_room();
        }
        self.judge_at(slot, at);
    }
}
