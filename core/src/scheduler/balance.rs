//! Balance: work that waits in one worker's queue while another has idle slots is asked back.

use super::reserve::Kept;
use super::slab::NONE;
use super::worker::{Health, Worker};
use super::{Action, Scheduler};
use crate::limits;
use crate::spec::PythonVersion;
use crate::window::Credit;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A queue that is done sooner than this, in microseconds, is not worth asking: the answer would come too late.
const WORTH_MICROS: u64 = 5_000;
/// Attempts asked for in one step, at the most. What more is lacking the next ones ask for.
const RECALLS: u64 = 1_024;
/// Attempts looked at in one queue for each that is wanted back.
const LOOKED_AT: usize = 4;

/// Different Pythons of idle workers that are looked at in one step: more than anybody has side by side.
const PYTHONS: usize = 16;

/// What idle workers can be given: what nobody has the credit for would only be sent back to where it was.
struct Rooms {
    /// The credit of each worker, and how many attempts it lacks.
    rooms: Vec<(u32, Credit, u64)>,
    /// Those that lack any, most credit first.
    open: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Rooms {
    fn new(rooms: Vec<(u32, Credit, u64)>) -> Self {
        let open = rooms.iter().enumerate().map(|(n, (_, credit, _))| Reverse((credit.used(), n))).collect();
        Self { rooms, open }
    }

    /// How many attempts they lack together.
    fn lacking(&self) -> u64 {
        self.rooms.iter().map(|(_, _, lacks)| lacks).sum()
    }

    /// The worker with most credit.
    fn widest(&self) -> Option<u32> {
        self.open.peek().map(|Reverse((_, n))| self.rooms[*n].0)
    }

    /// Whether the worker with most credit could be given an attempt at this cost. It is taken to be.
    fn take(&mut self, cost: u64) -> bool {
        let Some(Reverse((_, n))) = self.open.peek().copied() else { return false };
        let (_, credit, lacks) = &mut self.rooms[n];
        if !credit.allows(cost) {
            return false;
        }
        credit.spend(cost);
        *lacks -= 1;
        let left = (*lacks > 0).then_some(Reverse((credit.used(), n)));
        self.open.pop();
        self.open.extend(left);
        true
    }
}

impl Scheduler {
    /// Asks for attempts back that others could begin at once, latest first. They come back as `AttemptsReturned`.
    pub(super) fn balance(&mut self, actions: &mut Vec<Action>) {
        if self.force.idle == 0 || self.force.queuing == 0 || self.slice.starts == 0 {
            return;
        }
        let mut pythons: Vec<PythonVersion> = Vec::new();
        for (_, worker) in self.workers.iter().filter(|(_, w)| takes(w) && w.spare() > 0) {
            if pythons.len() < PYTHONS && !pythons.contains(&worker.offer.python) {
                pythons.push(worker.offer.python);
            }
        }
        let queuing = self.workers.iter().filter(|(_, w)| w.queued() > 0);
        let mut outstanding = queuing.map(|(_, w)| u64::from(w.recalled)).sum();
        let mut left = RECALLS;
        for python in pythons {
            self.balance_among(python, &mut outstanding, &mut left, actions);
        }
    }

    /// The same for workers of one Python. What was asked for before counts for those that it suffices for.
    fn balance_among(
        &mut self,
        python: PythonVersion,
        outstanding: &mut u64,
        left: &mut u64,
        actions: &mut Vec<Action>,
    ) {
        let slots = |w: &Worker| u64::from(w.offer.capacity.cpus);
        let takers = || self.workers.iter().filter(|(_, w)| takes(w) && w.offer.python == python);
        let (small, all_slots) = takers().fold((0, 0), |(n, s), (_, w)| (n + u64::from(w.small), s + slots(w)));
        let share = |w: &Worker| (small * slots(w)).div_ceil(all_slots);
        // Where slots are kept nothing queues.
        let most = |w: &Worker| if w.kept == Kept::Nothing { u64::MAX } else { u64::from(w.spare()) };
        let lacks = |w: &Worker| share(w).max(1).saturating_sub(u64::from(w.small)).min(most(w));
        let idle = takers().filter(|(_, w)| w.spare() > 0);
        let rooms = idle.map(|(slot, w)| (slot, w.credit.clone(), lacks(w))).filter(|(_, _, lacks)| *lacks > 0);
        let mut rooms = Rooms::new(rooms.collect());
        let coming = rooms.lacking().min(*outstanding);
        *outstanding -= coming;
        let mut wanted = (rooms.lacking() - coming).min(*left);
        let owners = self.workers.iter().filter(|(_, w)| w.queued() > 0);
        let owners: Vec<(u32, u64, u64)> =
            owners.map(|(slot, w)| (slot, self.surplus(w, share(w)), u64::from(w.recalled))).collect();
        for (owner, surplus, recalled) in owners {
            let count = surplus.saturating_sub(recalled).min(wanted).min(limits::BATCH_ITEMS as u64);
            if count > 0 {
                let got = self.recall(owner, count as usize, python, &mut rooms, actions);
                (wanted, *left) = (wanted - got, *left - got);
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

    /// Asks a worker for attempts that it has not begun, as far as is known, and others have room for. How many they are.
    fn recall(
        &mut self,
        worker: u32,
        count: usize,
        python: PythonVersion,
        rooms: &mut Rooms,
        actions: &mut Vec<Action>,
    ) -> u64 {
        let mut attempts = Vec::new();
        let mut slot = self.workers[worker].last;
        let mut looks = count * LOOKED_AT + limits::BATCH_ITEMS;
        while slot != NONE
            && attempts.len() < count
            && looks > 0
            && let Some(taker) = rooms.widest()
        {
            looks -= 1;
            let (task, at) = (&self.tasks[slot], slot);
            let attempt = task.attempt();
            let speaks = self.ready.queue(task.queue).class.python.is_none_or(|needed| needed == python);
            let lease = task.lease().expect("what a worker lists is assigned");
            slot = lease.previous;
            if speaks && !lease.started && !lease.recalled && lease.seat == super::worker::Seat::Small {
                let (inputs, cost) = self.start_cost(at, taker);
                looks = looks.saturating_sub(inputs.len());
                if rooms.take(cost) {
                    self.tasks[at].lease_mut().expect("just seen").recalled = true;
                    attempts.push(attempt);
                }
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

/// Whether a worker may be given what others hold.
fn takes(worker: &Worker) -> bool {
    worker.health == Health::Live && worker.offer.capacity.cpus > 0 && worker.kept != Kept::All
}
