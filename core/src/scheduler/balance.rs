//! Balance: work that waits in one worker's queue while another has idle slots is asked back.

use super::slab::NONE;
use super::worker::{Health, Worker};
use super::{Action, Scheduler};
use crate::limits;
use crate::spec::PythonVersion;
use alloc::vec::Vec;

/// A queue that is done sooner than this, in microseconds, is not worth asking: the answer would come too late.
const WORTH_MICROS: u64 = 5_000;
/// Attempts looked at in one queue for each that is wanted back.
const LOOKED_AT: usize = 4;

impl Scheduler {
    /// Asks for attempts back that others could begin at once, latest first. They come back as `AttemptsReturned`.
    pub(super) fn balance(&mut self, actions: &mut Vec<Action>) {
        if self.force.idle == 0 || self.force.queuing == 0 || self.slice.starts == 0 {
            return;
        }
        let slots = |w: &Worker| u64::from(w.offer.capacity.cpus);
        let takes = |w: &&Worker| w.health == Health::Live && slots(w) > 0 && !w.reserved;
        let takers = || self.workers.iter().map(|(_, w)| w).filter(takes);
        let Some(python) = takers().filter(|w| w.idle() > 0).map(|w| w.offer.python).next() else { return };
        let takers = || takers().filter(|w| w.offer.python == python);
        let (small, all_slots) = takers().fold((0, 0), |(n, s), w| (n + u64::from(w.small), s + slots(w)));
        let share = |w: &Worker| (small * slots(w)).div_ceil(all_slots);
        let lacks = |w: &Worker| share(w).max(1).saturating_sub(u64::from(w.small));
        let lacking: u64 = takers().filter(|w| w.idle() > 0).map(lacks).sum();
        let owners = self.workers.iter().filter(|(_, w)| w.queued() > 0);
        let owners: Vec<(u32, u64, u64)> =
            owners.map(|(slot, w)| (slot, self.surplus(w, share(w)), u64::from(w.recalled))).collect();
        let mut wanted = lacking.saturating_sub(owners.iter().map(|(_, _, outstanding)| outstanding).sum());
        for (owner, surplus, outstanding) in owners {
            let count = surplus.saturating_sub(outstanding).min(wanted).min(limits::BATCH_ITEMS as u64);
            if count > 0 {
                wanted -= self.recall(owner, count as usize, python, actions);
            }
        }
    }

    /// How many attempts a worker holds beyond its share that it will not begin soon.
    fn surplus(&self, worker: &Worker, share: u64) -> u64 {
        let queued = u64::from(worker.queued());
        // Where every slot is at something that takes long, nothing begins soon.
        let moves = worker.long < worker.offer.capacity.cpus;
        let soon = moves && worker.mean_micros.is_some_and(|mean| queued.saturating_mul(mean) < WORTH_MICROS);
        if soon || worker.health == Health::Draining {
            return 0;
        }
        queued.min(u64::from(worker.small).saturating_sub(share))
    }

    /// Asks a worker for attempts that it has not begun, as far as is known, and says for how many.
    fn recall(&mut self, worker: u32, count: usize, python: PythonVersion, actions: &mut Vec<Action>) -> u64 {
        let mut attempts = Vec::new();
        let mut slot = self.workers[worker].last;
        let mut looks = count * LOOKED_AT + limits::BATCH_ITEMS;
        while slot != NONE && attempts.len() < count && looks > 0 {
            looks -= 1;
            let task = &mut self.tasks[slot];
            let attempt = task.attempt();
            let speaks = self.ready.queue(task.queue).class.python.is_none_or(|needed| needed == python);
            let lease = task.lease_mut().expect("what a worker lists is assigned");
            slot = lease.previous;
            if speaks && !lease.started && !lease.recalled && lease.seat == super::worker::Seat::Small {
                lease.recalled = true;
                attempts.push(attempt);
            }
        }
        let got = attempts.len() as u64;
        self.workers[worker].recalled += attempts.len() as u32;
        if got > 0 {
            actions.push(Action::RecallAttempts { worker: self.workers[worker].id, attempts });
        }
        got
    }
}
