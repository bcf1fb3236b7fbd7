//! Reservation: what fits nowhere now has room kept at one worker, so that what is younger and smaller cannot starve it.
//!
//! One that lacks slots there has all that comes free kept for it. One that lacks a named resource alone has slots kept, no
//! more than it will need beside those of whoever gives the resource back: small tasks have the others.

use super::Scheduler;
use super::ready::Line;
use super::worker::{Health, Worker};
use crate::resource::Resources;

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

    /// What is to be kept for a request for which there is no room now.
    fn to_keep(&self, request: &Resources) -> Kept {
        // Whatever of the named resources it waits for, one of those who have some ends before it begins.
        let given_back = self.holders().keys().next().copied().unwrap_or(0);
        let slots = request.cpus.saturating_sub(given_back);
        if self.free.holds_named(request) || self.small.saturating_add(slots) > self.free.cpus {
            return Kept::All;
        }
        Kept::Slots(slots)
    }

    /// Whether slots that are kept are free.
    pub(super) fn keeps_slots(&self) -> bool {
        !matches!(self.kept, Kept::Slots(slots) if self.small + slots > self.free.cpus)
    }
}

impl Scheduler {
    /// Keeps room for the oldest task of a queue: where it already is kept, or at the least loaded worker that could run it.
    pub(super) fn reserve(&mut self, queue: u32, line: Line, slot: u32) {
        let q = self.ready.queue(queue);
        let class = &q.class;
        let could = self.workers.iter().filter(|(_, w)| w.speaks(class.python) && w.may_keep(&class.request));
        let could = could.filter(|(worker, _)| self.may_die_at(slot, *worker, &class.request, class.python));
        let best =
            could.min_by_key(|(worker, w)| (q.reserved[line as usize] != Some(w.id), self.load(*worker), *worker));
        let reserved = best.map(|(worker, w)| (worker, w.id, w.to_keep(&class.request)));
        self.ready.queue_mut(queue).reserved[line as usize] = reserved.map(|(_, id, _)| id);
        if let Some((worker, _, kept)) = reserved {
            self.mark(worker, |w| w.kept = kept);
        }
    }
}
