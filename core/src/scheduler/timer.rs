//! Deadlines: few, so one ordered set is enough.

use super::{Scheduler, Wake};
use crate::id::{SessionId, WorkerId};
use crate::time::Time;

/// What is looked at when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// How long has this worker been silent? Armed again when it was heard meanwhile.
    JudgeWorker(WorkerId),
    /// Its client has not come back.
    DropSession(SessionId),
}

impl Scheduler {
    pub(super) fn next_deadline(&self) -> Option<(Time, Wake)> {
        let timer = self.timers.first().map(|(time, timer)| match timer {
            Timer::JudgeWorker(worker) => (*time, Wake::WorkerSilent(*worker)),
            Timer::DropSession(session) => (*time, Wake::SessionLeft(*session)),
        });
        let unfinished = self.is_unfinished().then_some((self.now, Wake::Unfinished));
        let unschedulable = self.unschedulable_at.map(|time| (time, Wake::Unschedulable));
        timer.into_iter().chain(unschedulable).chain(unfinished).min_by_key(|(time, _)| *time)
    }

    /// Whether the last step has left something for the next one.
    pub(super) fn is_unfinished(&self) -> bool {
        let cut = self.slice.starts == 0 && !self.ready.is_empty() || self.pass.is_unfinished();
        let unjudged = self.ready.clocks().unjudged(self.worker_set).is_some();
        let told =
            self.fallout.is_empty() && self.tellings.is_empty() && self.losses.is_empty() && self.unfed.is_empty();
        let unfolded = self.slice.trifles == 0 && !self.unfolded.is_empty() && self.force.idle > 0;
        let settled = self.stirred.is_empty() && self.unordered.is_empty() && self.gone.is_empty();
        let taken = self.behind.is_empty() && !self.advances.are_unfinished();
        let walked = self.walks.is_empty() && self.lost.is_empty() && self.dregs.is_empty();
        let unshown = self.slice.services == 0 && !self.to_show.is_empty();
        let unserved = unshown || !self.stirred_objects.is_empty() || self.is_handing_over();
        let empty =
            self.tasks.has_empty() || self.edges.has_empty() || self.objects.has_empty() || self.runs.has_empty();
        cut || unjudged
            || unfolded
            || unserved
            || empty
            || !told
            || !settled
            || !walked
            || !taken
            || !self.over.is_empty()
            || !self.remains.is_empty()
    }

    /// Looks at everything whose time has come, one thing in any case, as long as this step may.
    pub(super) fn fire_timers(&mut self) {
        while let Some((time, timer)) = self.timers.first().copied() {
            if time > self.now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::JudgeWorker(worker) => self.judge_worker(worker),
                Timer::DropSession(session) => self.drop_left_session(session),
            }
            if self.slice.chores == 0 {
                return;
            }
        }
    }
}
