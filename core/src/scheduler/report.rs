//! What workers say about attempts. Only the current attempt of a task counts; everything else is late.

use super::task::{Place, Role};
use super::worker::Leaving;
use super::{Action, Scheduler};
use crate::id::{AttemptId, WorkerId};
use crate::outcome::{Ending, Report};
use crate::window;
use alloc::vec::Vec;

/// A new measurement weighs one part in this many of the average.
const MEAN_PARTS: u64 = 16;

impl Scheduler {
    pub(super) fn on_attempts_started(&mut self, id: WorkerId, attempts: &[AttemptId]) {
        let Some(worker) = self.heard(id) else { return };
        for attempt in attempts {
            let Some(slot) = self.current(worker, *attempt) else {
                self.stop_if_leaving(worker, *attempt);
                continue;
            };
            let task = &mut self.tasks[slot];
            let session = task.session;
            let named = matches!(task.role, Role::Plain(_) | Role::Result { .. });
            let lease = task.lease_mut().expect("a current attempt is held by its worker");
            let begins = !core::mem::replace(&mut lease.started, true);
            self.workers[worker].recalled -= u32::from(begins && lease.recalled);
            if begins {
                self.workers[worker].long += 1;
                self.list_rest(slot);
            }
            if begins && named {
                self.sessions[session].started.push(attempt.task.seq);
                self.touch(session);
            }
        }
    }

    pub(super) fn on_attempts_ended(&mut self, id: WorkerId, reports: Vec<Report>) {
        let Some(worker) = self.heard(id) else { return };
        for report in reports {
            self.workers[worker].owed.take(window::cost(report.len()));
            self.report_ended(worker, report);
        }
    }

    pub(super) fn report_ended(&mut self, worker: u32, report: Report) {
        let Some(report) = self.keep_early(worker, report) else { return };
        let Some(slot) = self.current(worker, report.attempt) else {
            self.refuse_object(worker, &report.ending);
            return self.left(worker, report.attempt);
        };
        self.release(slot);
        self.measure(worker, report.run_micros);
        let place = Place { worker: Some(self.workers[worker].id), run_micros: report.run_micros };
        self.attempt_ended(slot, report.ending, place);
    }

    pub(super) fn on_attempts_returned(&mut self, id: WorkerId, attempts: &[AttemptId]) {
        let Some(worker) = self.heard(id) else { return };
        for attempt in attempts {
            match self.current(worker, *attempt) {
                Some(slot) => {
                    self.release(slot);
                    self.make_ready(slot);
                }
                None if self.is_declined(worker, *attempt) => {}
                None => self.left(worker, *attempt),
            }
        }
    }

    /// Nobody will ever ask for what a late attempt made; but a report that is repeated changes nothing.
    fn refuse_object(&mut self, worker: u32, ending: &Ending) {
        if let Ending::Returned(value) = ending
            && let Some(object) = value.stored().map(|stored| stored.object)
            && self.find_object(object).is_none()
        {
            self.workers[worker].drops.push(object);
        }
    }

    /// Gives workers their credit back for what this step has taken.
    pub(super) fn acknowledge_reports(&mut self, actions: &mut Vec<Action>) {
        for slot in self.stirred_workers() {
            let worker = &mut self.workers[slot];
            if let Some(cost) = worker.owed.settle() {
                actions.push(Action::AcknowledgeReports { worker: worker.id, cost });
            }
        }
    }

    /// The task whose current attempt this is, if this worker has it.
    pub(super) fn current(&mut self, worker: u32, attempt: AttemptId) -> Option<u32> {
        let slot = self.latest_attempt(attempt)?;
        (self.tasks[slot].lease()?.worker == worker).then_some(slot)
    }

    /// The task of which this is the latest attempt.
    pub(super) fn latest_attempt(&mut self, attempt: AttemptId) -> Option<u32> {
        let session = self.sessions.find(attempt.task.session.0)?;
        let slot = self.sessions[session].index.find(attempt.task.seq)?;
        (self.tasks[slot].attempts == attempt.attempt.0).then_some(slot)
    }

    /// An attempt that was no longer wanted has left its seat, or is none that this worker had.
    fn left(&mut self, worker: u32, attempt: AttemptId) {
        match self.workers[worker].leaving.remove(&attempt) {
            Some(Leaving { seat, request, priority, .. }) => {
                self.change(worker, |w| w.stand_up(seat, &request, priority));
                self.list_roomy(worker);
            }
            None => self.ignored += 1,
        }
    }

    fn measure(&mut self, worker: u32, run_micros: u64) {
        let mean = &mut self.workers[worker].mean_micros;
        let parts = |mean: u64| (mean.saturating_mul(MEAN_PARTS - 1).saturating_add(run_micros)) / MEAN_PARTS;
        *mean = Some(mean.map_or(run_micros, parts));
    }
}
