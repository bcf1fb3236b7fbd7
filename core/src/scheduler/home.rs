//! Homes: which worker has most of what a ready task needs.
//!
//! A task whose inputs are objects had best run where most of their bytes are. That is a choice among workers that have
//! room, and for a worker that has room among tasks that are ready; no slot stays idle for it. So each ready task has at
//! most one home, looked up when it becomes ready and listed under it, and a placement costs a look at a few of its inputs.

use super::Scheduler;
use super::worker::Health;
use crate::id::WorkerId;
use crate::limits;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Inputs of one task that are looked at: all that a fold has. Those of a task with more lie at many workers anyway.
const INPUTS_LOOKED_AT: usize = limits::FOLD_INPUTS;
/// What more workers than this have, or are about to have, is as good as everywhere.
const HOLDERS: usize = 8;
/// Younger tasks per slot that may begin where their inputs are before the oldest of a queue, whose own home has no room,
/// goes to whoever has.
const PASSED_OVER: u64 = 16;

impl Scheduler {
    /// Where a task that becomes ready had best go.
    pub(super) fn home_of(&self, slot: u32) -> Option<WorkerId> {
        if self.objects.len() == 0 {
            return None;
        }
        let task = &self.tasks[slot];
        if task.inputs.is_empty() || task.trouble.is_some() {
            return None;
        }
        let live = |worker: u32| self.workers.get(worker).is_some_and(|w| w.health == Health::Live);
        self.nearest(slot, live).map(|worker| self.workers[worker].id)
    }

    /// Of the workers that may be chosen, the one that has most bytes of what a task needs, or is about to have.
    fn nearest(&self, slot: u32, may: impl Fn(u32) -> bool) -> Option<u32> {
        let mut shares: Vec<(u32, u64)> = Vec::new();
        for edge in self.tasks[slot].inputs.iter().take(INPUTS_LOOKED_AT) {
            let Some(object) = self.objects.get(self.tasks[self.edges[*edge].input].object) else { continue };
            if object.copies.len() + object.wants.len() > HOLDERS {
                continue;
            }
            let bytes = object.stored().len();
            let copies = object.copies.iter().map(|copy| copy.worker);
            for worker in copies.chain(object.wants.iter().map(|want| want.worker)).filter(|worker| may(*worker)) {
                match shares.iter_mut().find(|(known, _)| *known == worker) {
                    Some((_, share)) => *share += bytes,
                    None => shares.push((worker, bytes)),
                }
            }
        }
        let best = |(worker, share): &(u32, u64)| (*share, Reverse((self.load(*worker), *worker)));
        shares.into_iter().max_by_key(best).map(|(worker, _)| worker)
    }

    /// The least loaded worker that has room could take the oldest task of a queue. Which task had better go where: that
    /// one to a worker that has what it needs and either idles or is no fuller; else one whose home the least loaded is.
    pub(super) fn nearer(
        &mut self,
        queue: u32,
        oldest: u32,
        worker: u32,
        takes: impl Fn(&Self, u32) -> bool,
    ) -> (u32, u32) {
        if !self.ready.has_homes() || self.tasks[oldest].home().is_none() {
            return (oldest, worker);
        }
        let least = self.load(worker);
        let may = |other: u32| takes(self, other) && (self.workers[other].idle() > 0 || self.load(other) <= least);
        if let Some(near) = self.nearest(oldest, may) {
            self.ready.queue_mut(queue).passed_over = 0;
            return (oldest, near);
        }
        match self.overtaker(queue, worker) {
            Some(other) => (other, worker),
            None => (oldest, worker),
        }
    }

    /// The oldest task of a queue whose home a worker is, unless older ones have waited for theirs long enough.
    fn overtaker(&mut self, queue: u32, worker: u32) -> Option<u32> {
        if self.ready.queue(queue).passed_over >= PASSED_OVER * self.force.slots {
            return None;
        }
        let id = self.workers[worker].id;
        while self.slice.starts > 0 {
            let slot = self.ready.oldest_at(queue, id)?;
            if !self.is_withheld(slot) {
                self.ready.queue_mut(queue).passed_over += 1;
                return Some(slot);
            }
            self.slice.starts -= 1;
        }
        None
    }
}
