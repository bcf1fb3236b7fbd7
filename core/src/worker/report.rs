//! What the coordinator is told, and what credit allows.

use super::attempt::{Attempt, Handle};
use super::{Action, Brain};
use crate::id::{AttemptId, ObjectId};
use crate::limits;
use crate::outcome::{Death, Ending, Exit, Report, Unfetched};
use crate::value::Value;
use crate::window::{self, Credit, Flow, Owed};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// News for the coordinator, and what is owed to it.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: VecDeque<Report>,
    waiting_cost: u64,
    credit: Credit,
    /// For functions, starts and inputs that were taken.
    owed: Owed,
    /// Largest result that the coordinator keeps, in bytes.
    result_limit: u64,
    started: Vec<AttemptId>,
    returned: Vec<AttemptId>,
    /// Where attempts end from now on; the coordinator hears of it before it hears of their ends.
    cuts: Vec<(AttemptId, Option<u32>)>,
    held: Vec<ObjectId>,
    unfetched: Vec<(ObjectId, Unfetched)>,
    lost: Vec<ObjectId>,
    /// Objects on their way to the coordinator once credit allows.
    shown: VecDeque<(ObjectId, Option<Value>)>,
}

impl Reports {
    /// There is a coordinator.
    pub(super) const fn open(&mut self, result_limit: u64) {
        self.result_limit = result_limit;
    }

    /// What is sent of an ending: a result that would not be kept stays here, for it might not even get through.
    fn fit(&self, ending: Ending) -> Ending {
        match &ending {
            Ending::Returned(value) | Ending::Raised { error: value, .. } if value.carried() > self.result_limit => {
                Ending::TooLarge { size: value.carried(), limit: self.result_limit }
            }
            _ => ending,
        }
    }

    /// A message of the coordinator was taken.
    pub(super) const fn take(&mut self, payload_bytes: u64) {
        self.owed.take(window::cost(payload_bytes));
    }

    /// The coordinator has taken reports.
    pub(super) const fn give_back(&mut self, cost: u64) {
        self.credit.give_back(cost);
    }

    pub(super) fn push(&mut self, report: Report) {
        self.waiting_cost = self.waiting_cost.saturating_add(window::cost(report.len()));
        self.waiting.push_back(report);
    }

    pub(super) fn push_started(&mut self, attempt: AttemptId) {
        self.started.push(attempt);
    }

    pub(super) fn push_returned(&mut self, attempt: AttemptId) {
        self.returned.push(attempt);
    }

    pub(super) fn push_cut(&mut self, attempt: AttemptId, at: Option<u32>) {
        self.cuts.push((attempt, at));
    }

    pub(super) fn push_held(&mut self, object: ObjectId) {
        self.held.push(object);
    }

    pub(super) fn push_unfetched(&mut self, object: ObjectId, reason: Unfetched) {
        self.unfetched.push((object, reason));
    }

    pub(super) fn push_lost(&mut self, objects: Vec<ObjectId>) {
        self.lost.extend(objects);
    }

    pub(super) fn push_shown(&mut self, object: ObjectId, value: Option<Value>) {
        self.shown.push_back((object, value));
    }

    /// Whether so much waits for credit that nothing new should begin.
    pub(super) const fn is_choked(&self) -> bool {
        self.waiting_cost > limits::REPORTS_WAITING_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        let said = self.held.is_empty() && self.unfetched.is_empty() && self.lost.is_empty();
        let of_attempts = self.started.is_empty() && self.returned.is_empty() && self.cuts.is_empty();
        said && of_attempts && self.waiting.is_empty() && self.shown.is_empty()
    }

    /// Sends what may be sent.
    pub(super) fn flush(&mut self, actions: &mut Vec<Action>) {
        if !self.started.is_empty() {
            actions.push(Action::ReportStarted { attempts: core::mem::take(&mut self.started) });
        }
        actions.extend(self.cuts.drain(..).map(|(attempt, at)| Action::ReportCut { attempt, at }));
        for attempts in self.returned.chunks(limits::BATCH_ITEMS) {
            actions.push(Action::Return { attempts: attempts.to_vec() });
        }
        self.returned.clear();
        self.flush_objects(actions);
        loop {
            let reports: Vec<_> = core::iter::from_fn(|| self.pop()).take(limits::BATCH_ITEMS).collect();
            if reports.is_empty() {
                break;
            }
            actions.push(Action::Report { reports });
        }
        if let Some(cost) = self.owed.settle() {
            actions.push(Action::AcknowledgeStarts { cost });
        }
    }

    fn flush_objects(&mut self, actions: &mut Vec<Action>) {
        for objects in core::mem::take(&mut self.held).chunks(limits::BATCH_ITEMS) {
            actions.push(Action::ReportHeld { objects: objects.to_vec() });
        }
        for objects in core::mem::take(&mut self.lost).chunks(limits::BATCH_ITEMS) {
            actions.push(Action::ReportLost { objects: objects.to_vec() });
        }
        for (object, reason) in self.unfetched.drain(..) {
            actions.push(Action::ReportUnfetched { object, reason });
        }
        while let Some((_, value)) = self.shown.front() {
            let cost = window::cost(value.as_ref().map_or(0, Value::carried));
            if !self.credit.allows(cost) {
                break;
            }
            self.credit.spend(cost);
            if let Some((object, value)) = self.shown.pop_front() {
                actions.push(Action::Show { object, value });
            }
        }
    }

    fn pop(&mut self) -> Option<Report> {
        let cost = window::cost(self.waiting.front()?.len());
        if !self.credit.allows(cost) {
            return None;
        }
        self.credit.spend(cost);
        self.waiting_cost = self.waiting_cost.saturating_sub(cost);
        self.waiting.pop_front()
    }

    pub(super) fn check(&self) {
        let cost: u64 = self.waiting.iter().map(|report| window::cost(report.len())).sum();
        assert_eq!(cost, self.waiting_cost, "what waits is counted");
        let of_attempts = self.started.is_empty() && self.returned.is_empty() && self.cuts.is_empty();
        assert!(of_attempts, "a step leaves nothing to say");
        let said = self.held.is_empty() && self.unfetched.is_empty() && self.lost.is_empty();
        assert!(said, "a step leaves no object to speak of");
        let next = self.waiting.front().map(|report| window::cost(report.len()));
        assert!(next.is_none_or(|cost| !self.credit.allows(cost)), "what waits has no credit");
        self.credit.check();
        self.owed.check();
    }

    /// What it believes of the connection.
    pub(super) const fn flow(&self) -> Flow {
        Flow { spent: self.credit.used(), owed: self.owed.amount() }
    }
}

impl Brain {
    /// The attempt is over: the coordinator will hear how it ended.
    pub(super) fn conclude(&mut self, handle: Handle, ending: Ending, run_micros: u64) {
        if self.is_part(handle) {
            return self.end_part(handle, ending, run_micros);
        }
        let heirs = core::mem::take(&mut self.attempts.get_mut(handle).heirs);
        let attempt = self.forget(handle);
        let ending = self.reports.fit(ending);
        let ending = self.store_value(attempt, ending);
        self.inherit(heirs, attempt, &ending);
        self.reports.push(Report { attempt, ending, run_micros });
    }

    /// The attempt was not begun: the coordinator gets it back.
    pub(super) fn give_back(&mut self, handle: Handle) {
        let attempt = self.forget(handle);
        self.reports.push_returned(attempt);
    }

    /// Lets go of an attempt that is in no place any more.
    pub(super) fn forget(&mut self, handle: Handle) -> AttemptId {
        self.let_go(handle).start.attempt
    }

    /// The same for an attempt or a part of one.
    pub(super) fn let_go(&mut self, handle: Handle) -> Attempt {
        self.renounce(handle);
        let attempt = self.attempts.remove(handle);
        self.objects.let_go(handle, &attempt.start);
        for slot in [Some(attempt.function), attempt.merge].into_iter().flatten() {
            if let Some(gone) = self.functions.let_go(slot) {
                self.fleet.forget_function(slot, gone);
            }
        }
        attempt
    }

    /// An order that no executor could carry out. It counts as a crash, so that it cannot come back for ever.
    pub(super) fn refuse(&mut self, attempt: AttemptId, reason: &str) {
        let death =
            Death { host: Box::default(), pid: 0, exit: Exit::Unknown, peak_memory: 0, log_tail: reason.into() };
        self.reports.push(Report { attempt, ending: Ending::Crashed(Box::new(death)), run_micros: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_of_three_sent() -> Reports {
        let mut reports = Reports { credit: Credit::new(2 * window::cost(0)), ..Reports::default() };
        for n in 0..3 {
            let attempt = AttemptId { attempt: crate::id::Attempt(n), ..AttemptId::default() };
            reports.push(Report { attempt, ending: Ending::Skipped, run_micros: 0 });
        }
        reports.flush(&mut Vec::new());
        reports.check();
        reports
    }

    #[test]
    #[should_panic(expected = "what waits has no credit")]
    fn credit_that_is_left_unused_is_noticed() {
        let mut reports = two_of_three_sent();
        reports.give_back(window::cost(0));
        reports.check();
    }

    #[test]
    #[should_panic(expected = "bytes on the way")]
    fn credit_beyond_the_window_is_noticed() {
        let mut reports = two_of_three_sent();
        reports.credit.spend(window::cost(0));
        reports.check();
    }

    #[test]
    #[should_panic(expected = "what waits is counted")]
    fn a_wrong_cost_of_what_waits_is_noticed() {
        let mut reports = two_of_three_sent();
        reports.waiting_cost = 0;
        reports.check();
    }
}
