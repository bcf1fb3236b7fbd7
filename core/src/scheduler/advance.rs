//! Advances: small tasks that a worker is given before their inputs are there, because it makes those itself.
//!
//! It begins each as soon as it has made what the task waits for, so the next link of a chain waits for no word from here. To
//! the scheduler such a task waits like any other. Once its inputs are told it is assigned to the worker that has it
//! already, if that made them in the very attempts that it was referred to; if not, the advance is taken back and the task
//! is ready like any other. The worker answers each advance as it answers any attempt: one that cannot come to its
//! inputs there comes back.
//!
//! Nothing is overtaken: as long as tasks are ready that nobody takes, nobody is given any in advance. And nobody idles
//! for it: where others have idle slots, only what follows on nothing but its inputs goes along with them.

use super::object::Tie;
use super::placement::{INPUTS_PER_START, QUEUE_MIN};
use super::reserve::Kept;
use super::slab::NONE;
use super::task::{Role, State, Task};
use super::worker::{Health, Leaving, Seat};
use super::{Action, Scheduler};
use crate::id::{AttemptId, WorkerId};
use crate::limits;
use crate::outcome::{Outcome, Report};
use crate::spec::{Call, Cancel, Promised};
use crate::window;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Inputs of a task that is given in advance, at the most.
const INPUTS: usize = 64;
/// Of all that need a task, so many are looked at when it goes to a worker.
const DEPENDENTS_LOOKED_AT: usize = 8;
/// Advances for each slot of a worker, at the most.
const PER_SLOT: u64 = 128;
/// Advances of a worker, at the most: they are forgotten in one step if it is lost.
const PER_WORKER: u64 = 4_096;
/// To look at a task, and at each of its inputs, takes as long as to pass so many inputs.
const PASSES_PER_LOOK: usize = 3;
/// To give one takes as long as so many starts.
const STARTS_PER_ADVANCE: usize = 3;
/// Tasks that wait to be looked at, or for room at one worker, at the most: those beyond it wait for their inputs like any
/// other.
const WAITING: usize = 4_096;

/// A task in the hands of a worker that is yet to make its inputs.
#[derive(Debug)]
struct Advance {
    worker: u32,
    /// The tasks that make them, and by which attempts.
    makers: Box<[(u32, u32)]>,
}

/// What workers were given in advance.
#[derive(Debug, Default)]
pub(super) struct Advances {
    given: BTreeMap<u32, Advance>,
    /// Tasks to look at, with their tickets.
    candidates: VecDeque<(u32, u64)>,
    /// Reports of attempts whose tasks have not been told that their inputs are there.
    early: VecDeque<(WorkerId, Report)>,
}

impl Advances {
    /// The worker that had these is gone.
    pub(super) fn forget(&mut self, tasks: BTreeSet<u32>) {
        for task in tasks {
            self.given.remove(&task);
        }
    }

    /// Whether the next step has tasks or reports to look at.
    pub(super) fn are_unfinished(&self) -> bool {
        !self.early.is_empty() || !self.candidates.is_empty()
    }
}

/// Where a task may go in advance.
struct Prospect {
    worker: u32,
    makers: Vec<(u32, u32)>,
    inputs: Vec<Outcome>,
    promised: Vec<Promised>,
}

impl Scheduler {
    /// Has a task looked at: what it still waits for may be in the hands of one worker.
    pub(super) fn consider(&mut self, slot: u32) {
        let task = &self.tasks[slot];
        let waiting = self.advances.candidates.len();
        if matches!(task.role, Role::Plain(_)) && task.inputs.len() <= INPUTS && waiting < WAITING {
            self.advances.candidates.push_back((slot, task.ticket));
        }
    }

    /// The same for those that need a task which a worker has been given.
    pub(super) fn consider_dependents(&mut self, slot: u32) {
        let mut edge = self.tasks[slot].dependents;
        for _ in 0..DEPENDENTS_LOOKED_AT {
            let Some(listed) = self.edges.get(edge) else { return };
            let (dependent, tie, next) = (listed.dependent, listed.tie, listed.next);
            if tie == Tie::Need {
                self.consider(dependent);
            }
            edge = next;
        }
    }

    /// Gives workers what follows on what they have.
    pub(super) fn give_in_advance(&mut self, actions: &mut Vec<Action>) {
        if self.ready.small_len() > 0 {
            return self.advances.candidates.clear();
        }
        for worker in self.stirred_workers() {
            while self.has_room_ahead(worker) && self.may_look_ahead() {
                let Some(later) = self.workers[worker].later.pop_front() else { break };
                self.look_ahead(later, actions);
            }
        }
        while self.may_look_ahead()
            && let Some(candidate) = self.advances.candidates.pop_front()
        {
            self.look_ahead(candidate, actions);
        }
    }

    const fn may_look_ahead(&self) -> bool {
        self.slice.starts > 0 && self.slice.passes > 0
    }

    fn look_ahead(&mut self, (slot, ticket): (u32, u64), actions: &mut Vec<Action>) {
        self.slice.passes = self.slice.passes.saturating_sub(PASSES_PER_LOOK);
        if let Some(prospect) = self.prospect(slot, ticket) {
            self.give_one_in_advance(slot, ticket, prospect, actions);
        }
    }

    fn has_room_ahead(&self, worker: u32) -> bool {
        let w = &self.workers[worker];
        let per_slot = w.prefetch().clamp(QUEUE_MIN, PER_SLOT);
        let most = per_slot.saturating_mul(u64::from(w.offer.capacity.cpus)).min(PER_WORKER);
        (w.advances.len() as u64) < most && w.has_room()
    }

    fn give_one_in_advance(&mut self, slot: u32, ticket: u64, prospect: Prospect, actions: &mut Vec<Action>) {
        let Prospect { worker, makers, inputs, promised } = prospect;
        let bytes: u64 = inputs.iter().map(Outcome::len).sum();
        let cost = window::cost(bytes + self.tasks[slot].args.carried());
        let cost = cost.saturating_add(self.untold_cost(slot, worker));
        let has_room = self.has_room_ahead(worker);
        let w = &mut self.workers[worker];
        if !has_room || !w.credit.allows(cost) {
            if w.later.len() < WAITING {
                w.later.push_back((slot, ticket));
            }
            return;
        }
        w.credit.spend(cost);
        self.define(slot, worker, actions);
        self.slice.starts = self.slice.starts.saturating_sub(STARTS_PER_ADVANCE + inputs.len() / INPUTS_PER_START);
        let inputs_total = inputs.len();
        let mut start = self.next_attempt(slot, Seat::Small, inputs, inputs_total);
        start.promised = promised;
        self.stir_worker(worker);
        let w = &mut self.workers[worker];
        w.starts.push(start);
        w.advances.insert(slot);
        self.advances.given.insert(slot, Advance { worker, makers: makers.into() });
        self.consider_dependents(slot);
    }

    /// Where a task may go before its inputs are there.
    fn prospect(&mut self, slot: u32, ticket: u64) -> Option<Prospect> {
        let task = self.tasks.get(slot).filter(|task| task.ticket == ticket)?;
        let State::Waiting { missing } = task.state else { return None };
        let class = &self.ready.queue(task.queue).class;
        let plain = matches!((task.role, task.call), (Role::Plain(_), Call::Single)) && class.is_small();
        let fresh = task.object == NONE && task.trouble.is_none() && !self.advances.given.contains_key(&slot);
        if !plain || !fresh || missing as usize > task.inputs.len() || self.is_leftover_task(slot) {
            return None;
        }
        self.slice.passes = self.slice.passes.saturating_sub(PASSES_PER_LOOK * task.inputs.len());
        let (mut found, mut bytes, mut alone) = (None, 0, true);
        let (mut makers, mut inputs, mut promised) = (Vec::new(), Vec::new(), Vec::new());
        for (at, edge) in (0_u32..).zip(&task.inputs) {
            let input = self.edges[*edge].input;
            let made = &self.tasks[input];
            if let State::Done(outcome) = &made.state {
                if !outcome.is_value() || outcome.stored().is_some() {
                    return None;
                }
                bytes += outcome.len();
                inputs.push(outcome.clone());
                continue;
            }
            let worker = self.maker(input, made)?;
            if *found.get_or_insert(worker) != worker {
                return None;
            }
            alone &= made.dependents_total == 1;
            makers.push((input, made.attempts));
            promised.push(Promised { input: at, by: made.attempt() });
            inputs.push(Outcome::Skipped);
        }
        let worker = found?;
        let w = &self.workers[worker];
        // Where slots are kept nothing queues.
        let open = w.is_open() && w.kept == Kept::Nothing;
        let fits = open && w.speaks(class.python) && bytes <= limits::INLINE_FRAME_BYTES as u64;
        let only = self.force.slots == u64::from(w.offer.capacity.cpus);
        // It may wait for more than its inputs: to be tied to the rest of them.
        let all = makers.len() == missing as usize;
        (all && fits && (alone || only || self.force.idle == 0)).then_some(Prospect {
            worker,
            makers,
            inputs,
            promised,
        })
    }

    /// Who is about to make the value of a task, and to keep it.
    fn maker(&self, slot: u32, task: &Task) -> Option<u32> {
        if task.object != NONE || !matches!((task.role, task.call), (Role::Plain(_), Call::Single)) {
            return None;
        }
        match task.state {
            State::Assigned(lease) => Some(lease.worker).filter(|_| !lease.recalled),
            State::Waiting { .. } => self.advances.given.get(&slot).map(|advance| advance.worker),
            State::Ready(_) | State::Done(_) => None,
        }
        .filter(|worker| self.workers[*worker].health == Health::Live)
    }

    /// A task has all its inputs. Whether a worker has it already, which made them as it was to.
    pub(super) fn take_up(&mut self, slot: u32) -> bool {
        let Some(advance) = self.advances.given.get(&slot) else { return false };
        if !self.is_kept(advance) || self.is_leftover_task(slot) {
            self.take_back(slot, Cancel::Running);
            return false;
        }
        let worker = self.end_advance(slot).expect("just seen");
        self.assign(slot, worker, Seat::Small);
        true
    }

    /// A task is to begin elsewhere, or not at all: the worker that was given it in advance is told.
    pub(super) fn take_back(&mut self, slot: u32, cancel: Cancel) {
        let Some(worker) = self.end_advance(slot) else { return };
        let task = &self.tasks[slot];
        let (attempt, class) = (task.attempt(), self.ready.queue(task.queue).class.clone());
        self.change(worker, |w| w.sit(Seat::Small, &class));
        self.stir_worker(worker);
        let leaving = Leaving { seat: Seat::Small, request: class.request, priority: class.priority, told: cancel };
        self.workers[worker].leave(attempt, leaving);
    }

    /// A worker gives an attempt back. Whether it had it in advance.
    pub(super) fn is_declined(&mut self, worker: u32, attempt: AttemptId) -> bool {
        let slot = self.latest_attempt(attempt).filter(|slot| self.workers[worker].advances.contains(slot));
        slot.is_some_and(|slot| self.end_advance(slot).is_some())
    }

    /// Keeps the report of an advance whose inputs are there and not told yet. Gives back what is due.
    pub(super) fn keep_early(&mut self, worker: u32, report: Report) -> Option<Report> {
        let slot = self.latest_attempt(report.attempt).filter(|slot| self.workers[worker].advances.contains(slot));
        let Some(slot) = slot else { return Some(report) };
        if self.advances.given.get(&slot).is_some_and(|advance| self.is_kept(advance)) {
            self.advances.early.push_back((self.workers[worker].id, report));
            return None;
        }
        // It has made something of inputs that are none.
        self.end_advance(slot);
        Some(report)
    }

    /// Looks again at reports that came early.
    pub(super) fn resume_reports(&mut self) {
        for (id, report) in core::mem::take(&mut self.advances.early) {
            if let Some(worker) = self.workers.find(id.0) {
                self.report_ended(worker, report);
            }
        }
    }

    fn end_advance(&mut self, slot: u32) -> Option<u32> {
        let Advance { worker, .. } = self.advances.given.remove(&slot)?;
        self.workers[worker].advances.remove(&slot);
        self.list_roomy(worker);
        Some(worker)
    }

    /// Whether all that an advance waits for was made by the attempts that it was referred to.
    fn is_kept(&self, advance: &Advance) -> bool {
        advance.makers.iter().all(|(maker, attempt)| {
            let made = self.tasks.get(*maker).filter(|made| made.attempts == *attempt);
            made.is_some_and(|made| matches!(&made.state, State::Done(outcome) if outcome.is_value()))
        })
    }

    /// Panics unless what was given in advance waits, and its worker is known to have it.
    pub(super) fn check_advances(&self) {
        assert!(self.advances.candidates.is_empty() || !self.may_look_ahead(), "what may be looked at is");
        let mut known = 0;
        for (worker, w) in self.workers.iter() {
            known += w.advances.len();
            let ours = |slot: &u32| self.advances.given.get(slot).is_some_and(|advance| advance.worker == worker);
            assert!(w.advances.iter().all(ours), "an advance is its worker's");
            let beyond = u64::from(w.queued()) + w.advances.len() as u64;
            assert!(beyond <= u64::from(w.offer.queue), "no more is given in advance than there are places");
        }
        assert_eq!(known, self.advances.given.len(), "each advance is known to a worker");
        for (slot, advance) in &self.advances.given {
            let task = &self.tasks[*slot];
            assert!(matches!(task.state, State::Waiting { missing } if missing > 0), "what is given in advance waits");
            assert!(matches!(task.role, Role::Plain(_)), "who is given in advance has a name");
            self.check_functions_known(&self.sessions[task.session], task, advance.worker);
        }
    }
}
