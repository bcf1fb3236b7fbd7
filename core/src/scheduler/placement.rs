//! Placement: which ready task goes to which worker.
//!
//! One pass per step, by falling priority and within a priority in the order of submission (see `pass`). Small tasks
//! (one slot, nothing else) fill idle slots first, spread over the workers, and then their queues, evenly and no deeper
//! than what keeps a worker busy for a while; in a queue they overtake what has a lower priority and has not begun.
//! Everything else starts only where it fits at once; if it fits nowhere now, room is kept for it at one worker, so that
//! younger small tasks cannot starve it (see `reserve`). Tasks that need objects go to a worker with room that has them,
//! and a worker with room gets tasks of which it has the inputs (see `home`).

use super::function::called;
use super::pass::{Pool, Turn};
use super::ready::{Class, Line, Rank};
use super::reserve::Kept;
use super::share::tail_of;
use super::worker::{Health, Seat, Stream, Worker};
use super::{Action, Scheduler};
use crate::limits;
use crate::outcome::Outcome;
use crate::resource::Resources;
use crate::spec::{PythonVersion, Start};
use crate::window;
use alloc::collections::binary_heap::PeekMut;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Work that a worker's queue holds in advance, in microseconds: covers many round trips, yet is soon done.
const PREFETCH_MICROS: u64 = 100_000;
/// Small tasks per slot that are queued in advance at the least, whatever they take.
pub(super) const QUEUE_MIN: u64 = 2;
/// The same at the most while it is not known how long they take.
const QUEUE_UNMEASURED: u64 = 16;
/// Inputs that take as long to send as one more start.
pub(super) const INPUTS_PER_START: usize = 2;
/// A task with a seat of its own takes as long to place as so many small ones.
const STARTS_PER_OWN: usize = 2;
/// Troubled tasks of one class that a pass looks at.
const TROUBLED_LOOKED_AT: usize = 64;

/// Workers that may take small tasks: whoever is not listed was found to hold enough, and nothing has left it since.
#[derive(Debug)]
pub(super) struct Roomy {
    workers: Vec<u32>,
    /// Up to this depth and priority that is so; beyond it everybody may.
    depth: u64,
    priority: i32,
}

impl Roomy {
    pub(super) const fn new() -> Self {
        Self { workers: Vec::new(), depth: u64::MAX, priority: i32::MAX }
    }
}

impl Worker {
    /// Small tasks per slot that keep it busy for a while.
    pub(super) fn prefetch(&self) -> u64 {
        self.mean_micros.map_or(QUEUE_UNMEASURED, |mean| PREFETCH_MICROS / mean.max(1))
    }
}

impl Scheduler {
    /// One placement pass. It ends early once this step has started enough; the next step goes on.
    pub(super) fn place(&mut self, actions: &mut Vec<Action>) {
        self.open_pass();
        if self.workers.len() == 0 {
            return;
        }
        while self.slice.starts > 0
            && let Some((rank, until)) = self.next_line()
        {
            let Rank { queue, line, .. } = rank;
            let is_small = line == Line::Main && self.ready.queue(queue).class.is_small();
            let turn = match line {
                Line::Troubled => self.place_troubled(rank, actions),
                Line::Main if is_small => self.place_small(queue, until, actions),
                Line::Main => self.place_large(queue, until, actions),
            };
            self.end_turn(rank, is_small, turn);
        }
        if self.slice.starts == 0 {
            self.break_off();
        }
    }

    fn open_pass(&mut self) {
        for worker in core::mem::take(&mut self.pass.marked) {
            if let Some(worker) = self.workers.get_mut(worker) {
                (worker.kept, worker.choked) = (Kept::Nothing, false);
            }
        }
        self.begin_pass();
    }

    /// Something about a worker holds for this pass alone.
    pub(super) fn mark(&mut self, slot: u32, change: impl FnOnce(&mut Worker)) {
        let worker = &mut self.workers[slot];
        if worker.kept == Kept::Nothing && !worker.choked {
            self.pass.marked.push(slot);
        }
        change(worker);
    }

    /// Small tasks per slot that would share what is ready evenly, twice over: the tail stays here.
    fn fair_depth(&self) -> u64 {
        self.ready.small_len() / (2 * self.force.slots.max(1))
    }

    /// The oldest task of a line that may begin.
    fn head(&mut self, queue: u32, line: Line) -> Option<(u64, u32)> {
        while self.slice.starts > 0 {
            let (ticket, slot) = self.ready.head(&self.tasks, queue, line)?;
            if !self.is_withheld(slot) {
                return Some((ticket, slot));
            }
            self.slice.starts -= 1;
        }
        None
    }

    /// Whether a ready task is not to begin, and so has left its queue: it is nobody's any more, or a value that it needs
    /// is lost.
    pub(super) fn is_withheld(&mut self, slot: u32) -> bool {
        if self.is_leftover_task(slot) {
            self.shelve(slot);
            return true;
        }
        self.hears_of_loss(slot)
    }

    fn place_small(&mut self, queue: u32, until: u64, actions: &mut Vec<Action>) -> Turn {
        let Class { python, priority, .. } = self.ready.queue(queue).class;
        while let Some((ticket, slot)) = self.head(queue, Line::Main) {
            if ticket > until {
                break;
            }
            let Some(worker) = self.pick(python, priority) else { return Turn::Closed };
            let takes = |s: &Self, w: u32| s.workers[w].speaks(python) && s.takes_small(w, s.fair_depth(), priority);
            let (slot, worker) = self.nearer(queue, slot, worker, takes);
            if let Some(inputs) = self.afford(slot, worker) {
                self.start(slot, worker, Seat::Small, inputs, actions);
            }
        }
        Turn::Yields
    }

    fn place_large(&mut self, queue: u32, until: u64, actions: &mut Vec<Action>) -> Turn {
        while let Some((ticket, slot)) = self.head(queue, Line::Main) {
            // Where room is kept for it, there is no other turn for what waits there.
            if ticket > until && !self.pass.is_brief {
                break;
            }
            if !self.place_own(queue, Line::Main, slot, actions) {
                self.reserve(queue, Line::Main, slot);
                return Turn::Over(ticket);
            }
            if self.slice.looks == 0 {
                break;
            }
        }
        Turn::Yields
    }

    fn place_troubled(&mut self, rank: Rank, actions: &mut Vec<Action>) -> Turn {
        let Rank { queue, line, ticket, .. } = rank;
        let troubled: Vec<u32> = self.ready.troubled(queue, TROUBLED_LOOKED_AT.min(self.slice.starts)).collect();
        let mut reserve = true;
        for slot in troubled {
            if self.is_withheld(slot) {
                continue;
            }
            let placed = self.place_own(queue, line, slot, actions);
            if !placed && core::mem::take(&mut reserve) {
                self.reserve(queue, line, slot);
            }
        }
        Turn::Over(ticket)
    }

    /// Starts a task in a seat of its own, if it fits somewhere now.
    fn place_own(&mut self, queue: u32, line: Line, slot: u32, actions: &mut Vec<Action>) -> bool {
        while let Some(worker) = self.find_room(queue, line, slot) {
            let (slot, worker) = self.nearer(queue, slot, worker, |s, w| s.takes_own(w, queue));
            if let Some(inputs) = self.afford(slot, worker) {
                self.ready.keep(queue, line, None);
                self.start(slot, worker, Seat::Own, inputs, actions);
                return true;
            }
        }
        false
    }

    /// The least loaded worker at which a task fits now.
    fn find_room(&mut self, queue: u32, line: Line, slot: u32) -> Option<u32> {
        if self.pass.is_brief {
            return self.keeper(queue, line, slot).filter(|worker| self.takes_own(*worker, queue));
        }
        if self.is_refused(queue, |pass| &pass.roomless) {
            return None;
        }
        if line == Line::Troubled {
            return self.find_other(queue, slot);
        }
        let found = self.least_open(queue);
        if found.is_none() {
            self.pass.roomless.add(&self.ready.queue(queue).class);
        }
        found
    }

    /// The least loaded of all workers that takes one more task with a seat of its own.
    fn least_open(&mut self, queue: u32) -> Option<u32> {
        let listed = self.pass.open.take();
        let mut open =
            listed.unwrap_or_else(|| self.workers.iter().map(|(worker, _)| (self.load(worker), worker)).collect());
        let (mut at, mut found) = (self.pass.refused_by.get(&queue).copied().unwrap_or_default(), None);
        while let Some((load, worker)) = open.range(at..).next().copied() {
            self.slice.looks = self.slice.looks.saturating_sub(1);
            let now = self.load(worker);
            if !self.workers[worker].is_open() {
                open.remove(&(load, worker));
            } else if load != now {
                open.remove(&(load, worker));
                open.insert((now, worker));
            } else if self.takes_own(worker, queue) {
                found = Some(worker);
                break;
            }
            at = (load, worker + 1);
        }
        self.pass.open = Some(open);
        self.pass.refused_by.insert(queue, at);
        found
    }

    /// The same for a task under which executors died.
    fn find_other(&mut self, queue: u32, slot: u32) -> Option<u32> {
        self.slice.looks = self.slice.looks.saturating_sub(self.workers.len());
        let class = &self.ready.queue(queue).class;
        let fits = self.workers.iter().filter(|(_, w)| w.is_open() && w.speaks(class.python) && w.fits(&class.request));
        let fits = fits.filter(|(worker, _)| self.may_die_at(slot, *worker, &class.request, class.python));
        fits.min_by_key(|(worker, _)| (self.load(*worker), *worker)).map(|(worker, _)| worker)
    }

    /// Whether a task of a queue fits at a worker now.
    pub(super) fn takes_own(&self, worker: u32, queue: u32) -> bool {
        let (w, class) = (&self.workers[worker], &self.ready.queue(queue).class);
        w.is_open() && w.speaks(class.python) && w.fits(&class.request)
    }

    /// The least loaded of a pool that takes one more; those that do not are struck off.
    fn least(&self, pool: &mut Pool, takes: impl Fn(u32) -> bool) -> Option<u32> {
        while let Some(mut top) = pool.peek_mut() {
            let Reverse((load, worker)) = *top;
            let now = self.load(worker);
            if !takes(worker) {
                PeekMut::pop(top);
            } else if load != now {
                *top = Reverse((now, worker));
            } else {
                return Some(worker);
            }
        }
        None
    }

    /// Whether a task may go to a worker of which it has killed an executor: only if no other can run it.
    pub(super) fn may_die_at(
        &self,
        slot: u32,
        worker: u32,
        request: &Resources,
        python: Option<PythonVersion>,
    ) -> bool {
        let Some(trouble) = &self.tasks[slot].trouble else { return true };
        let was_at = |id| trouble.workers.contains(&id);
        !was_at(self.workers[worker].id)
            || !self.workers.iter().any(|(_, w)| {
                w.health == Health::Live && !was_at(w.id) && w.speaks(python) && w.offer.capacity.holds(request)
            })
    }

    /// The least loaded worker that takes one more small task.
    fn pick(&mut self, python: Option<PythonVersion>, priority: i32) -> Option<u32> {
        let depth = self.fair_depth();
        let mut pools = core::mem::take(&mut self.pass.small);
        let pool = pools.entry(python).or_insert_with(|| {
            let able = self.roomy(depth, priority).into_iter().filter(|worker| self.workers[*worker].speaks(python));
            able.map(|worker| Reverse((self.load(worker), worker))).collect()
        });
        let found = self.least(pool, |worker| self.takes_small(worker, depth, priority));
        self.pass.small = pools;
        found
    }

    /// Workers that take one more small task. Strikes those off the list that do not.
    fn roomy(&mut self, depth: u64, priority: i32) -> Vec<u32> {
        if depth > self.roomy.depth || priority > self.roomy.priority {
            self.roomy = Roomy::new();
            for n in 0..self.workers.len() {
                let worker = self.workers.slot_at(n);
                self.workers[worker].roomy = true;
                self.roomy.workers.push(worker);
            }
        }
        let mut listed = core::mem::take(&mut self.roomy.workers);
        let before = listed.len();
        listed.retain(|worker| {
            let keeps = self.workers.get(*worker).is_some_and(|w| w.roomy && (w.kept != Kept::Nothing || w.choked))
                || self.takes_small(*worker, depth, priority);
            if !keeps && let Some(worker) = self.workers.get_mut(*worker) {
                worker.roomy = false;
            }
            keeps
        });
        if listed.len() < before {
            self.roomy.depth = self.roomy.depth.min(depth);
            self.roomy.priority = self.roomy.priority.min(priority);
        }
        self.roomy.workers.clone_from(&listed);
        listed
    }

    /// Panics if a worker that is not listed takes more.
    pub(super) fn check_roomy(&self) {
        let Roomy { workers, depth, priority } = &self.roomy;
        for (slot, worker) in self.workers.iter() {
            assert!(!worker.roomy || workers.contains(&slot), "who may take more is listed");
            assert!(worker.roomy || !self.takes_small(slot, *depth, *priority), "{} takes more", worker.id);
        }
    }

    /// A worker is gone.
    pub(super) fn strike_roomy(&mut self, worker: u32) {
        self.roomy.workers.retain(|other| *other != worker);
        self.pass.marked.retain(|other| *other != worker);
    }

    /// Something has left a worker, or there is more that it may hold.
    pub(super) fn list_roomy(&mut self, worker: u32) {
        self.ready.hear_of_room();
        if !core::mem::replace(&mut self.workers[worker].roomy, true) {
            self.roomy.workers.push(worker);
        }
    }

    /// Idle slots that small tasks do not get in this pass.
    pub(super) fn kept_slots(&self) -> u64 {
        let kept = self.pass.marked.iter().filter_map(|worker| self.workers.get(*worker));
        kept.map(|worker| worker.force().idle - u64::from(worker.spare())).sum()
    }

    /// How full a worker is, comparable between workers: attempts per slot.
    pub(super) fn load(&self, worker: u32) -> u64 {
        let w = &self.workers[worker];
        let slots = u64::from(w.offer.capacity.cpus);
        let busy = u64::from(w.small) + slots - u64::from(w.free.cpus);
        (busy << 20) / slots.max(1)
    }

    /// Whether a worker takes one more small task of this priority. What it holds of lower priority is overtaken there,
    /// so it counts against the worker's own bound alone.
    fn takes_small(&self, worker: u32, fair: u64, priority: i32) -> bool {
        let Some(w) = self.workers.get(worker) else { return false };
        if !w.is_open() || w.offer.capacity.cpus == 0 {
            return false;
        }
        if w.spare() > 0 {
            return true;
        }
        // What waits in a queue would take the slots that are kept as they come free.
        if w.kept != Kept::Nothing {
            return false;
        }
        let per_slot = fair.min(w.prefetch()).max(QUEUE_MIN);
        let depth = per_slot.saturating_mul(u64::from(w.offer.capacity.cpus));
        w.has_room() && u64::from(w.queued_from(priority)) < depth
    }

    /// Spends the worker's credit on the task's start and the functions that go before it. The inputs that go with it; or
    /// nothing if that is not allowed, and the worker gets nothing more in this pass.
    fn afford(&mut self, slot: u32, worker: u32) -> Option<Vec<Outcome>> {
        let (inputs, cost) = self.start_cost(slot, worker);
        if !self.workers[worker].credit.allows(cost) {
            self.mark(worker, |w| w.choked = true);
            return None;
        }
        self.workers[worker].credit.spend(cost);
        Some(inputs)
    }

    /// The inputs that go with a task's start, and what that and the functions before it take of a worker's credit.
    pub(super) fn start_cost(&self, slot: u32, worker: u32) -> (Vec<Outcome>, u64) {
        let (inputs, bytes) = self.input_batch(slot, 0);
        let cost = window::cost(bytes + self.tasks[slot].args.carried());
        (inputs, cost.saturating_add(self.untold_cost(slot, worker)))
    }

    /// Hands a ready task to a worker.
    fn start(&mut self, slot: u32, worker: u32, seat: Seat, inputs: Vec<Outcome>, actions: &mut Vec<Action>) {
        self.define(slot, worker, actions);
        let starts = if seat == Seat::Own { STARTS_PER_OWN } else { 1 };
        self.slice.starts = self.slice.starts.saturating_sub(starts + inputs.len() / INPUTS_PER_START);
        self.counts.ready -= 1;
        self.ready.take(&mut self.tasks, slot);
        self.assign(slot, worker, seat);
        let (inputs_total, sent) = (self.input_count(slot), inputs.len());
        let start = self.next_attempt(slot, seat, inputs, inputs_total);
        let (ticket, attempt) = (self.tasks[slot].ticket, start.attempt);
        self.stir_worker(worker);
        let w = &mut self.workers[worker];
        w.starts.push(start);
        if sent < inputs_total {
            w.streams.push_back(Stream { slot, ticket, attempt, sent });
        }
        self.consider_dependents(slot);
    }

    /// A new attempt of a task, with the first of its inputs.
    pub(super) fn next_attempt(&mut self, slot: u32, seat: Seat, inputs: Vec<Outcome>, inputs_total: usize) -> Start {
        let task = &mut self.tasks[slot];
        let options = self.sessions[task.session].options(task.options);
        let crash_limit = options.expect("a task's options are defined").options.crash_limit;
        task.attempts += 1;
        let class = &self.ready.queue(task.queue).class;
        Start {
            attempt: task.attempt(),
            function: task.function,
            call: task.call,
            request: class.request.clone(),
            args: task.args.clone(),
            inputs,
            inputs_total: inputs_total as u64,
            promised: Vec::new(),
            deaths: task.trouble.as_ref().map_or(0, |trouble| trouble.count),
            crash_limit,
            priority: class.priority,
            tail: tail_of(task, seat, self.config.world),
        }
    }

    /// What the functions of a task that the worker does not have take of its credit.
    pub(super) fn untold_cost(&self, slot: u32, worker: u32) -> u64 {
        let task = &self.tasks[slot];
        let session = &self.sessions[task.session];
        // One that is called twice is told once.
        let mut before = None;
        let called = called(task.function, task.call).filter(|id| before.replace(*id) != Some(*id));
        let functions = called.filter_map(|id| session.functions.get(id));
        functions.filter(|f| !f.known_at.contains(worker)).map(|f| window::cost(f.spec.body.carried())).sum()
    }

    /// Tells the worker the functions of a task that it does not have.
    pub(super) fn define(&mut self, slot: u32, worker: u32, actions: &mut Vec<Action>) {
        let task = &self.tasks[slot];
        let session = &mut self.sessions[task.session];
        for id in called(task.function, task.call) {
            let function = session.functions.get_mut(id).expect("a task's functions are defined");
            if function.known_at.insert(worker) {
                session.known_at.insert(worker);
                actions.push(Action::DefineFunction {
                    worker: self.workers[worker].id,
                    session: session.id,
                    function: function.spec.clone(),
                });
            }
        }
    }

    /// Sends what this pass has given out, in messages that stay under their bound.
    pub(super) fn flush_starts(&mut self, actions: &mut Vec<Action>) {
        for slot in self.stirred_workers() {
            let worker = &mut self.workers[slot];
            let (mut batch, mut weight) = (Vec::new(), 0);
            for start in worker.starts.drain(..) {
                let own = weigh(&start);
                if batch.len() == limits::BATCH_ITEMS || (weight + own > limits::CONTROL_BYTES as u64 / 2 && weight > 0)
                {
                    actions.push(Action::StartAttempts { worker: worker.id, starts: core::mem::take(&mut batch) });
                    weight = 0;
                }
                weight += own;
                batch.push(start);
            }
            if !batch.is_empty() {
                actions.push(Action::StartAttempts { worker: worker.id, starts: batch });
            }
        }
    }
}

/// What a start takes of a message: all that is in it.
fn weigh(start: &Start) -> u64 {
    let names: usize = start.request.named().iter().map(|(name, _)| name.len() + 16).sum();
    start.len() + names as u64 + 64 + 16 * start.inputs.len() as u64
}
