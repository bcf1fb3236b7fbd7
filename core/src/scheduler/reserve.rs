//! Reservation: what fits nowhere now has room kept at one worker, so that what is younger and smaller cannot starve
//! it.
//!
//! One that lacks slots there has all that comes free kept for it. One that lacks a named resource alone has slots
//! kept, no more than it will need beside those of whoever gives the resource back: small tasks have the others.
//!
//! It waits there even if another worker is nearly free for a moment, for each change of mind gives up what has come
//! free. Only if that takes far longer than tasks take elsewhere does it wait at another worker, and ever longer if it
//! has been everywhere.

use super::Scheduler;
use super::ready::Line;
use super::worker::{Health, Worker};
use crate::id::WorkerId;
use crate::resource::Resources;
use crate::time::Time;
use core::time::Duration;

/// A task waits at a worker for this many times what others there take, before it is to wait at another one.
const PATIENCE: u64 = 4;
/// And this long in any case: to change about among short tasks would keep it from all of them.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// Each time that it has waited so at all workers, it waits twice as long, up to this often.
const ROUNDS_MAX: u32 = 20;

/// Where room is kept for the oldest task of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reserved {
    worker: WorkerId,
    /// Since when it waits there.
    since: Time,
    /// Who was left since then did not have room in time.
    begun: Time,
    /// How often it has waited everywhere.
    rounds: u32,
}

impl Reserved {
    const fn new(worker: WorkerId, now: Time) -> Self {
        Self { worker, since: now, begun: now, rounds: 0 }
    }

    fn tried(&self, worker: &Worker) -> bool {
        worker.left.is_some_and(|left| left > self.begun)
    }

    /// The task waits at another worker from now on. What it waits there grows, so that in the end somebody has room.
    fn moved(self, worker: &Worker, now: Time) -> Self {
        let again = self.tried(worker);
        Self {
            worker: worker.id,
            since: now,
            begun: if again { now } else { self.begun },
            rounds: (self.rounds + u32::from(again)).min(ROUNDS_MAX),
        }
    }

    fn patience(&self, wait_micros: u64) -> Duration {
        let wait = Duration::from_micros(wait_micros.saturating_mul(PATIENCE)).max(PATIENCE_MIN);
        wait.saturating_mul(1 << self.rounds)
    }
}

/// What is kept free of a worker, in a placement pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// So many slots, for a task that waits for a named resource.
    Slots(u32),
    All,
}

impl Kept {
    pub(super) const fn slots(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Slots(slots) => slots,
            Self::All => u32::MAX,
        }
    }
}

impl Worker {
    /// Whether something can be kept for a request for which there is no room now.
    fn may_keep(&self, request: &Resources) -> bool {
        let beside = match self.kept {
            Kept::Nothing => true,
            // Whoever waits there goes first.
            Kept::Slots(slots) => {
                request.named().is_empty() && request.cpus.saturating_add(slots) <= self.offer.capacity.cpus
            }
            Kept::All => false,
        };
        beside && self.health == Health::Live && self.offer.capacity.holds(request)
    }

    fn lacks_named(&self, request: &Resources) -> bool {
        !self.free.holds_named(request)
    }

    /// What is to be kept for a request for which there is no room now.
    fn to_keep(&self, request: &Resources) -> Kept {
        // Whatever of the named resources it waits for, one of those who have some ends before it begins.
        let given_back = self.holders().keys().next().copied().unwrap_or(0);
        let slots = request.cpus.saturating_sub(given_back);
        if !self.lacks_named(request) || self.small.saturating_add(slots) > self.free.cpus {
            return Kept::All;
        }
        Kept::Slots(slots)
    }

    /// How long it usually takes until there is room for a request, as far as that is known.
    fn wait_micros(&self, request: &Resources) -> Option<u64> {
        let ends = request.cpus.saturating_add(self.small).saturating_sub(self.free.cpus);
        let turns = 1 + u64::from(ends / self.offer.capacity.cpus.max(1));
        self.mean_micros.map(|mean| mean.saturating_mul(turns))
    }

    /// Whether slots that are kept are free.
    pub(super) fn keeps_slots(&self) -> bool {
        !matches!(self.kept, Kept::Slots(slots) if self.small + slots > self.free.cpus)
    }
}

impl Scheduler {
    /// Keeps room for the oldest task of a line: where it already is kept, or else at the least loaded worker that
    /// could run it and has the named resources, if any has.
    pub(super) fn reserve(&mut self, queue: u32, line: Line, slot: u32) {
        let kept = self.keeper(queue, line, slot).zip(self.ready.queue(queue).reserved(line));
        let reserved = if self.pass.is_brief {
            kept
        } else if self.is_refused(queue, |pass| &pass.unkept) {
            None
        } else {
            self.slice.looks = self.slice.looks.saturating_sub(self.workers.len());
            let chosen = self.choose_keeper(queue, slot, kept);
            if chosen.is_none() && line == Line::Main {
                self.pass.unkept.add(&self.ready.queue(queue).class);
            }
            chosen
        };
        self.ready.keep(queue, line, reserved.map(|(_, reserved)| reserved));
        if let Some((worker, _)) = reserved {
            let kept = self.workers[worker].to_keep(&self.ready.queue(queue).class.request);
            self.mark(worker, |w| w.kept = kept);
        }
    }

    /// Where room is kept for the oldest task of a line, if it still can be.
    pub(super) fn keeper(&self, queue: u32, line: Line, slot: u32) -> Option<u32> {
        let reserved = self.ready.queue(queue).reserved(line)?;
        self.workers.find(reserved.worker.0).filter(|worker| self.may_keep_at(*worker, queue, slot))
    }

    pub(super) fn may_keep_at(&self, worker: u32, queue: u32, slot: u32) -> bool {
        let (w, class) = (&self.workers[worker], &self.ready.queue(queue).class);
        w.speaks(class.python)
            && w.may_keep(&class.request)
            && self.may_die_at(slot, worker, &class.request, class.python)
    }

    /// Where room is to be kept, if anywhere: the same as before, or at another worker that had better.
    fn choose_keeper(&mut self, queue: u32, slot: u32, kept: Option<(u32, Reserved)>) -> Option<(u32, Reserved)> {
        let request = &self.ready.queue(queue).class.request;
        let could = self.workers.iter().filter(|(worker, _)| self.may_keep_at(*worker, queue, slot));
        let Some((worker, reserved)) = kept else {
            let key = |(worker, w): &(u32, &Worker)| (w.lacks_named(request), self.load(*worker), *worker);
            return could.min_by_key(key).map(|(worker, w)| (worker, Reserved::new(w.id, self.now)));
        };
        let others = could.filter(|(other, _)| *other != worker);
        let Some(other) = self.sooner(&reserved, &self.workers[worker], others, request) else { return kept };
        let moved = reserved.moved(&self.workers[other], self.now);
        self.workers[worker].left = Some(self.now);
        Some((other, moved))
    }

    /// Another worker that is likely to have room sooner than the one where it is kept: that one lacks a named resource
    /// which the other has, or has taken far longer than tasks take at the other.
    fn sooner<'a>(
        &self,
        held: &Reserved,
        at: &Worker,
        others: impl Iterator<Item = (u32, &'a Worker)>,
        request: &Resources,
    ) -> Option<u32> {
        let wait = |w: &Worker| w.wait_micros(request).unwrap_or(u64::MAX);
        let key = |(worker, w): &(u32, &Worker)| {
            (w.lacks_named(request), held.tried(w), wait(w), self.load(*worker), *worker)
        };
        let (other, w) = others.min_by_key(key).filter(|(_, w)| !w.lacks_named(request))?;
        let late = |wait| self.now.since(held.since) > held.patience(wait);
        (at.lacks_named(request) || w.wait_micros(request).is_some_and(late)).then_some(other)
    }
}
