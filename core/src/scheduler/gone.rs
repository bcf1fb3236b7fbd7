//! Gone: workers that are there no more, and what is still known of them.
//!
//! Nobody finds such a worker, and its attempts are ready again at once: as many in a step as its slice allows, for one of a
//! thousand slots may hold hundreds of thousands. A million objects may be with it and a million functions be known
//! there: those forget it in slices too, and until all have, its place is not given to another.

use super::Scheduler;
use super::function::Functions;
use super::slab::NONE;
use crate::id::{FunctionId, SessionId};
use alloc::vec::Vec;

/// To forget that it has an object takes as long as to pass so many inputs.
const PASSES_PER_OBJECT: usize = 4;

/// A worker that is gone, and who has forgotten it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) worker: u32,
    /// All sessions before this one have.
    session: SessionId,
    /// All functions of that one before this one have.
    function: FunctionId,
}

impl Gone {
    pub(super) const fn new(worker: u32) -> Self {
        Self { worker, session: SessionId(0), function: FunctionId(0) }
    }
}

impl Functions {
    /// So many functions from one on forget a worker. How many did, and which follows.
    fn forget_worker(&mut self, worker: u32, from: FunctionId, most: usize) -> (usize, Option<FunctionId>) {
        let mut count = 0;
        for (id, function) in self.from(from) {
            if count == most {
                return (count, Some(id));
            }
            function.known_at.remove(worker);
            count += 1;
        }
        (count, None)
    }
}

impl Scheduler {
    /// Forgets what workers that are gone had, as much as this step may. Until then it is as if the news came late.
    pub(super) fn forget_gone(&mut self) {
        while let Some(mut gone) = self.gone.front().copied() {
            let all = self.place_anew(gone.worker)
                && self.forget_objects_at(gone.worker)
                && self.forget_functions_at(&mut gone);
            if !all {
                self.gone[0] = gone;
                return;
            }
            self.workers.bury(gone.worker);
            self.gone.pop_front();
        }
    }

    /// Has what it held wait for another, oldest first. Whether it has nothing left.
    fn place_anew(&mut self, worker: u32) -> bool {
        while let Some(task) = Some(self.workers[worker].first).filter(|first| *first != NONE) {
            if self.slice.trifles == 0 {
                return false;
            }
            self.slice.trifles -= 1;
            self.counts.assigned -= 1;
            self.unlist(task);
            self.make_ready(task);
        }
        true
    }

    /// Whether it has none left.
    fn forget_objects_at(&mut self, worker: u32) -> bool {
        let mut objects = Vec::new();
        while objects.len() < self.slice.chores
            && let Some(object) = self.workers[worker].objects.pop_first()
        {
            objects.push(object);
        }
        self.slice.chores -= objects.len();
        self.slice.passes = self.slice.passes.saturating_sub(PASSES_PER_OBJECT * objects.len());
        self.forget_holder(worker, objects);
        self.workers[worker].objects.is_empty()
    }

    /// Whether no session and no function knows it any more. Those that have come since it went never did.
    fn forget_functions_at(&mut self, gone: &mut Gone) -> bool {
        while let Some(slot) = self.sessions.find_from(gone.session.0) {
            if self.slice.trifles == 0 {
                return false;
            }
            let session = &mut self.sessions[slot];
            if session.id != gone.session {
                // The one that was looked through is no more.
                (gone.session, gone.function) = (session.id, FunctionId(0));
            }
            if session.known_at.contains(gone.worker) {
                let (count, next) = session.functions.forget_worker(gone.worker, gone.function, self.slice.trifles);
                self.slice.trifles -= count;
                if let Some(next) = next {
                    (gone.session, gone.function) = (session.id, next);
                    return false;
                }
                session.known_at.remove(gone.worker);
            }
            session.named.remove(gone.worker);
            session.unreachable.remove(&self.workers[gone.worker].id);
            self.slice.trifles = self.slice.trifles.saturating_sub(1);
            (gone.session, gone.function) = (SessionId(session.id.0.saturating_add(1)), FunctionId(0));
        }
        true
    }
}
