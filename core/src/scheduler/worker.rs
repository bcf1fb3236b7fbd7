//! Workers: what each offers, holds and has been told.

use super::gone::Gone;
use super::handover::Handover;
use super::ready::Class;
use super::reserve::Kept;
use super::share::Rest;
use super::slab::NONE;
use super::task::{Lease, State};
use super::timer::Timer;
use super::transfer::Gift;
use super::{Action, Exchange, Scheduler, Watch};
use crate::id::{AttemptId, FunctionKey, ObjectId, WorkerId};
use crate::limits;
use crate::resource::Resources;
use crate::spec::{Cancel, Offer, Start};
use crate::time::Time;
use crate::window::{Credit, Owed};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A worker that is there.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) offer: Offer,
    pub(super) watch: Watch,
    pub(super) exchange: Exchange,
    pub(super) heard: Time,
    /// When its silence is judged next.
    pub(super) judged: Option<Time>,
    pub(super) health: Health,
    /// Its capacity without what attempts in a seat of their own take.
    pub(super) free: Resources,
    /// Small attempts that it holds. As many as there are free slots run, the others are queued.
    pub(super) small: u32,
    /// How many of those there are of each priority, falling; as good as always of one.
    priorities: Vec<(i32, u32)>,
    /// Attempts that have named resources of it, by how many slots they have: how many do.
    holders: BTreeMap<u32, u32>,
    /// Attempts of living tasks, oldest first.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) held: u32,
    /// How many of those were asked back and are not known to run.
    pub(super) recalled: u32,
    /// How many of those have been running for a while.
    pub(super) long: u32,
    /// Attempts whose task is over: each takes its seat until the worker answers.
    pub(super) leaving: BTreeMap<AttemptId, Leaving>,
    pub(super) credit: Credit,
    pub(super) owed: Owed,
    /// Attempts whose inputs are still on their way, oldest first.
    pub(super) streams: VecDeque<Stream>,
    /// How long its small tasks run, on the average, in microseconds.
    pub(super) mean_micros: Option<u64>,
    /// What is kept free of it for a task that needs more than is free, in this placement pass.
    pub(super) kept: Kept,
    /// When a task that it took too long to make room for last went to wait elsewhere.
    pub(super) left: Option<Time>,
    /// Out of credit, in this placement pass.
    pub(super) choked: bool,
    /// In the list of workers that may take more small tasks.
    pub(super) roomy: bool,
    /// In the list of workers to look at before this step ends.
    stirred: bool,
    /// It is there no more: kept until nobody knows of it (see `gone`).
    pub(super) gone: bool,
    pub(super) starts: Vec<Start>,
    /// Tasks that it was given before their inputs were there.
    pub(super) advances: BTreeSet<u32>,
    /// Those that it may be given once there is room, with their tickets.
    pub(super) later: VecDeque<(u32, u64)>,
    /// Objects that it has, waits for or is about to have.
    pub(super) objects: BTreeSet<u32>,
    /// Workers that it could not reach lately, and when to try again.
    pub(super) unreachable: BTreeMap<WorkerId, Time>,
    /// What it has goes to others, if it drains.
    pub(super) handover: Handover,
    /// Objects that it need not keep.
    pub(super) drops: Vec<ObjectId>,
    /// Objects on their way to it from here.
    pub(super) gifts: VecDeque<Gift>,
    cancels: [Vec<AttemptId>; 2],
    /// Functions that it need not keep, to be told at the end of this step.
    pub(super) forgets: Vec<FunctionKey>,
}

/// What an attempt takes at its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// A slot once one is free, until then a place in the worker's queue.
    Small,
    /// All that it asks for, from its start on.
    Own,
}

/// An attempt whose task is over.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) seat: Seat,
    pub(super) request: Resources,
    pub(super) priority: i32,
    /// How the worker was told.
    pub(super) told: Cancel,
}

/// How a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Live,
    /// Silent for a while: it gets nothing new.
    Suspected,
    /// It finishes what it runs and leaves.
    Draining,
}

/// What workers come to together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Force {
    /// Slots of live workers.
    pub(super) slots: u64,
    /// Those of them that nothing uses.
    pub(super) idle: u64,
    /// Workers with small attempts beyond their slots.
    pub(super) queuing: u32,
}

/// Inputs on their way to a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) slot: u32,
    pub(super) ticket: u64,
    pub(super) attempt: AttemptId,
    pub(super) sent: usize,
}

impl Worker {
    /// Whether it has no attempt, nor is known to stop one.
    pub(super) fn is_idle(&self) -> bool {
        self.held == 0 && self.leaving.is_empty()
    }

    /// Slots that nothing uses.
    pub(super) fn idle(&self) -> u32 {
        self.free.cpus.saturating_sub(self.small)
    }

    /// Small attempts beyond the slots.
    pub(super) fn queued(&self) -> u32 {
        self.small.saturating_sub(self.free.cpus)
    }

    /// Small attempts of this priority or a larger one beyond the slots, as if there were no others.
    pub(super) fn queued_from(&self, priority: i32) -> u32 {
        let from = self.priorities.iter().take_while(|(other, _)| *other >= priority);
        from.map(|(_, count)| count).sum::<u32>().saturating_sub(self.free.cpus)
    }

    /// Whether one more may be queued or given in advance.
    pub(super) fn has_room(&self) -> bool {
        u64::from(self.queued()) + (self.advances.len() as u64) < u64::from(self.offer.queue)
    }

    /// Attempts that run, as far as can be told.
    pub(super) fn running(&self) -> u32 {
        self.small.min(self.free.cpus) + (self.held + self.leaving.len() as u32 - self.small)
    }

    /// What it adds to all workers together.
    pub(super) fn force(&self) -> Force {
        let live = self.health == Health::Live;
        Force {
            slots: if live { u64::from(self.offer.capacity.cpus) } else { 0 },
            idle: if live { u64::from(self.idle()) } else { 0 },
            queuing: u32::from(self.queued() > 0),
        }
    }

    /// Whether it may be given anything new.
    pub(super) fn is_open(&self) -> bool {
        self.health == Health::Live && !self.choked && self.kept != Kept::All
    }

    /// Whether it can run tasks of this kind at all.
    pub(super) fn speaks(&self, python: Option<crate::spec::PythonVersion>) -> bool {
        python.is_none_or(|python| python == self.offer.python)
    }

    /// Slots that nothing uses and small tasks may have.
    pub(super) fn spare(&self) -> u32 {
        self.idle().saturating_sub(self.kept.slots())
    }

    /// Whether `request` fits beside what runs and what is kept now. What waits for a named resource is not overtaken
    /// by others that want some.
    pub(super) fn fits(&self, request: &Resources) -> bool {
        let waits = self.kept == Kept::Nothing || request.named().is_empty();
        waits && request.cpus <= self.spare() && self.free.holds(request)
    }

    pub(super) fn sit(&mut self, seat: Seat, class: &Class) {
        match seat {
            Seat::Small => {
                self.small += 1;
                match self.find_priority(class.priority) {
                    Ok(at) => self.priorities[at].1 += 1,
                    Err(at) => self.priorities.insert(at, (class.priority, 1)),
                }
            }
            Seat::Own => {
                self.free.take(&class.request);
                if !class.request.named().is_empty() {
                    *self.holders.entry(class.request.cpus).or_insert(0) += 1;
                }
            }
        }
    }

    /// An attempt whose task is over keeps its seat until the worker answers, which is told.
    pub(super) fn leave(&mut self, attempt: AttemptId, leaving: Leaving) {
        self.cancels[usize::from(leaving.told == Cancel::Running)].push(attempt);
        self.leaving.insert(attempt, leaving);
    }

    pub(super) fn stand_up(&mut self, seat: Seat, request: &Resources, priority: i32) {
        match seat {
            Seat::Small => {
                self.small -= 1;
                let at = self.find_priority(priority).expect("who stands up sat there");
                self.priorities[at].1 -= 1;
                if self.priorities[at].1 == 0 {
                    self.priorities.remove(at);
                }
            }
            Seat::Own => {
                self.free.give_back(request);
                if !request.named().is_empty() {
                    let count = self.holders.get_mut(&request.cpus).expect("who stands up sat there");
                    *count -= 1;
                    if *count == 0 {
                        self.holders.remove(&request.cpus);
                    }
                }
            }
        }
    }

    fn find_priority(&self, priority: i32) -> Result<usize, usize> {
        self.priorities.binary_search_by_key(&Reverse(priority), |(priority, _)| Reverse(*priority))
    }

    /// Attempts that have named resources, by how many slots they have.
    pub(super) const fn holders(&self) -> &BTreeMap<u32, u32> {
        &self.holders
    }

    /// How many small attempts there are of each priority.
    pub(super) fn priorities(&self) -> &[(i32, u32)] {
        &self.priorities
    }
}

impl Force {
    pub(super) const fn add(&mut self, other: Self) {
        self.slots += other.slots;
        self.idle += other.idle;
        self.queuing += other.queuing;
    }

    pub(super) const fn take(&mut self, other: Self) {
        self.slots -= other.slots;
        self.idle -= other.idle;
        self.queuing -= other.queuing;
    }
}

impl Scheduler {
    pub(super) fn on_worker_joined(&mut self, id: WorkerId, mut offer: Offer, watch: Watch, exchange: Exchange) {
        super::cut_text(&mut offer.name, limits::NAME_BYTES);
        let worker = Worker {
            id,
            free: offer.capacity.clone(),
            offer,
            watch,
            exchange,
            heard: self.now,
            judged: None,
            health: Health::Live,
            small: 0,
            priorities: Vec::new(),
            holders: BTreeMap::new(),
            first: NONE,
            last: NONE,
            held: 0,
            recalled: 0,
            long: 0,
            leaving: BTreeMap::new(),
            credit: Credit::default(),
            owed: Owed::default(),
            streams: VecDeque::new(),
            mean_micros: None,
            kept: Kept::Nothing,
            left: None,
            choked: false,
            roomy: false,
            stirred: false,
            gone: false,
            starts: Vec::new(),
            advances: BTreeSet::new(),
            later: VecDeque::new(),
            objects: BTreeSet::new(),
            unreachable: BTreeMap::new(),
            handover: Handover::default(),
            drops: Vec::new(),
            gifts: VecDeque::new(),
            cancels: [Vec::new(), Vec::new()],
            forgets: Vec::new(),
        };
        let (force, python) = (worker.force(), worker.offer.python);
        let Some(slot) = self.workers.insert(id.0, worker) else {
            self.ignored += 1;
            return;
        };
        self.force.add(force);
        *self.spoken.entry(python).or_default() += 1;
        self.list_roomy(slot);
        self.worker_set += 1;
        if watch == Watch::Heartbeat {
            self.judge_at(slot, self.now + limits::SUSPECT_AFTER);
        }
    }

    pub(super) fn on_worker_draining(&mut self, id: WorkerId) {
        let Some(worker) = self.heard(id) else { return };
        if self.workers[worker].health != Health::Draining {
            self.draining.push(worker);
            self.workers[worker].handover.begin();
        }
        self.change(worker, |w| w.health = Health::Draining);
        self.worker_set += 1;
    }

    pub(super) fn on_worker_lost(&mut self, id: WorkerId) {
        match self.workers.find(id.0) {
            Some(worker) => self.remove_worker(worker),
            None => self.ignored += 1,
        }
    }

    pub(super) fn on_starts_taken(&mut self, id: WorkerId, cost: u64) {
        let Some(worker) = self.heard(id) else { return };
        self.workers[worker].credit.give_back(cost);
        self.ready.hear_of_room();
    }

    /// A worker said something. Its slot, if it is one.
    pub(super) fn heard(&mut self, id: WorkerId) -> Option<u32> {
        let Some(slot) = self.workers.find(id.0) else {
            self.ignored += 1;
            return None;
        };
        self.stir_worker(slot);
        let worker = &mut self.workers[slot];
        worker.heard = self.now;
        if worker.health == Health::Suspected {
            self.change(slot, |w| w.health = Health::Live);
            self.list_roomy(slot);
        }
        Some(slot)
    }

    /// Changes something about a worker that counts for all of them together.
    pub(super) fn change(&mut self, slot: u32, change: impl FnOnce(&mut Worker)) {
        let worker = &mut self.workers[slot];
        self.force.take(worker.force());
        change(worker);
        self.force.add(worker.force());
    }

    /// Has a worker looked at before this step ends.
    pub(super) fn stir_worker(&mut self, slot: u32) {
        let worker = &mut self.workers[slot];
        if !core::mem::replace(&mut worker.stirred, true) {
            self.stirred_workers.push((worker.id, slot));
        }
    }

    /// Workers to look at, in the order in which they joined.
    pub(super) fn stirred_workers(&mut self) -> Vec<u32> {
        self.stirred_workers.sort_unstable();
        self.stirred_workers.iter().map(|(_, slot)| *slot).collect()
    }

    /// All that was stirred up has been looked at.
    pub(super) fn calm_workers(&mut self) {
        for (_, slot) in self.stirred_workers.drain(..) {
            self.workers[slot].stirred = false;
        }
    }

    /// Has a worker's silence judged at a time.
    pub(super) fn judge_at(&mut self, slot: u32, time: Time) {
        let worker = &mut self.workers[slot];
        worker.judged = Some(time);
        self.timers.insert((time, Timer::JudgeWorker(worker.id)));
    }

    /// A worker is gone: what it held is ready again soon, and its loss counts against no task (see `gone`).
    pub(super) fn remove_worker(&mut self, slot: u32) {
        let worker = &mut self.workers[slot];
        self.force.take(worker.force());
        (worker.gone, worker.health) = (true, Health::Draining);
        let (id, judged, python) = (worker.id, worker.judged, worker.offer.python);
        let gifts = core::mem::take(&mut worker.gifts);
        let advances = core::mem::take(&mut worker.advances);
        self.held -= gifts.iter().map(|gift| gift.value.carried()).sum::<u64>();
        self.slice.chores = self.slice.chores.saturating_sub(worker.held as usize);
        self.worker_set += 1;
        let others = self.spoken.remove(&python).map_or(0, |count| count - 1);
        self.spoken.extend((others > 0).then_some((python, others)));
        self.advances.forget(advances);
        self.workers.retire(slot);
        self.strike_roomy(slot);
        self.stirred_workers.retain(|(other, _)| *other != id);
        self.draining.retain(|other| *other != slot);
        if let Some(time) = judged {
            self.timers.remove(&(time, Timer::JudgeWorker(id)));
        }
        for n in 0..self.workers.len() {
            let other = self.workers.slot_at(n);
            self.workers[other].unreachable.remove(&id);
        }
        self.gone.push_back(Gone::new(slot));
        self.forget_gone();
    }

    /// Gives an attempt a seat at a worker and a place in its list.
    pub(super) fn assign(&mut self, slot: u32, worker: u32, seat: Seat) {
        let Self { tasks, workers, ready, force, .. } = self;
        let w = &mut workers[worker];
        force.take(w.force());
        w.sit(seat, &ready.queue(tasks[slot].queue).class);
        force.add(w.force());
        let previous = core::mem::replace(&mut w.last, slot);
        match previous {
            NONE => w.first = slot,
            previous => tasks[previous].lease_mut().expect("what a worker lists is assigned").next = slot,
        }
        w.held += 1;
        let lease = Lease { worker, previous, next: NONE, seat, started: false, recalled: false, rest: Rest::Unknown };
        tasks[slot].state = State::Assigned(lease);
        self.counts.assigned += 1;
        if !self.tasks[slot].inputs.is_empty() {
            self.want_inputs(slot, worker);
        }
    }

    /// Takes an attempt off its worker's list and out of its seat.
    pub(super) fn release(&mut self, slot: u32) -> Lease {
        let lease = self.unlist(slot);
        let Class { request, priority, .. } = &self.ready.queue(self.tasks[slot].queue).class;
        let worker = &mut self.workers[lease.worker];
        self.force.take(worker.force());
        worker.stand_up(lease.seat, request, *priority);
        self.force.add(worker.force());
        self.list_roomy(lease.worker);
        self.counts.assigned -= 1;
        self.tasks[slot].state = State::Waiting { missing: NONE };
        lease
    }

    /// An attempt whose task is over leaves its worker's list; its seat stays taken until the worker answers. Nobody
    /// wants what it would come to, so it is stopped if it is known to run, or as soon as that is known.
    pub(super) fn depart(&mut self, slot: u32, cancel: Cancel) {
        let lease = self.unlist(slot);
        if self.workers[lease.worker].gone {
            return;
        }
        let told = if lease.started { Cancel::Running } else { cancel };
        self.stir_worker(lease.worker);
        let task = &self.tasks[slot];
        let Class { request, priority, .. } = self.ready.queue(task.queue).class.clone();
        let worker = &mut self.workers[lease.worker];
        worker.leave(task.attempt(), Leaving { seat: lease.seat, request, priority, told });
    }

    /// An attempt runs. If its task is over and the worker was only told not to begin it, it is stopped.
    pub(super) fn stop_if_leaving(&mut self, worker: u32, attempt: AttemptId) {
        let worker = &mut self.workers[worker];
        match worker.leaving.get_mut(&attempt) {
            Some(leaving) if leaving.told == Cancel::Pending => {
                leaving.told = Cancel::Running;
                worker.cancels[1].push(attempt);
            }
            Some(_) => {}
            None => self.ignored += 1,
        }
    }

    /// Tells workers what they need not go on with.
    pub(super) fn flush_cancels(&mut self, actions: &mut Vec<Action>) {
        for slot in self.stirred_workers() {
            let worker = &mut self.workers[slot];
            for (cancel, list) in [Cancel::Pending, Cancel::Running].into_iter().zip(&mut worker.cancels) {
                for attempts in list.chunks(limits::BATCH_ITEMS) {
                    actions.push(Action::CancelAttempts { worker: worker.id, attempts: attempts.to_vec(), cancel });
                }
                list.clear();
            }
        }
    }

    /// Lets drained workers go.
    pub(super) fn dismiss(&mut self, actions: &mut Vec<Action>) {
        let done = |slot: &u32| self.workers[*slot].is_idle() && self.workers[*slot].handover.is_done();
        let mut drained: Vec<u32> = self.draining.iter().copied().filter(done).collect();
        drained.sort_unstable_by_key(|slot| self.workers[*slot].id);
        for slot in drained {
            actions.push(Action::DismissWorker { worker: self.workers[slot].id });
            self.remove_worker(slot);
        }
    }

    pub(super) fn unlist(&mut self, slot: u32) -> Lease {
        let lease = *self.tasks[slot].lease().expect("only what is assigned leaves a worker");
        self.unlist_rest(slot, &lease);
        if !self.tasks[slot].inputs.is_empty() {
            self.unwant_inputs(slot, lease.worker);
        }
        let worker = &mut self.workers[lease.worker];
        worker.held -= 1;
        worker.recalled -= u32::from(lease.recalled && !lease.started);
        worker.long -= u32::from(lease.started);
        match lease.previous {
            NONE => worker.first = lease.next,
            previous => self.tasks[previous].lease_mut().expect("what a worker lists is assigned").next = lease.next,
        }
        match lease.next {
            NONE => worker.last = lease.previous,
            next => self.tasks[next].lease_mut().expect("what a worker lists is assigned").previous = lease.previous,
        }
        lease
    }
}
