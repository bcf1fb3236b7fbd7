//! What arrives from the coordinator: functions, attempts, and inputs that follow an attempt.

use super::attempt::{Attempt, Class, Handle, Place, Solid};
use super::executor::Life;
use super::function::FunctionSlot;
use super::queue::Links;
use super::{Action, Brain};
use crate::id::{AttemptId, FunctionKey, SessionId};
use crate::outcome::Outcome;
use crate::spec::{Call, FunctionSpec, Start};
use alloc::vec::Vec;

impl Brain {
    pub(super) fn on_function(&mut self, session: SessionId, function: FunctionSpec) {
        self.reports.take(function.body.carried());
        self.functions.define(session, function);
    }

    pub(super) fn on_assigned(&mut self, starts: Vec<Start>) {
        for start in starts {
            self.reports.take(start.len());
            self.accept(start);
        }
    }

    fn accept(&mut self, mut start: Start) {
        let id = start.attempt;
        if self.attempts.find(id).is_some() {
            return;
        }
        if self.is_draining() {
            return self.reports.push_returned(id);
        }
        if !self.config.capacity.holds(&start.request) || start.request.cpus.max(1) > self.config.slots {
            return self.refuse(id, "the task asks for more than this worker offers");
        }
        let Some((function, merge)) = self.hold_functions(&start) else {
            return self.refuse(id, "this worker was never told the function");
        };
        start.inputs.truncate(usize::try_from(start.inputs_total).unwrap_or(usize::MAX));
        let order = self.arrivals;
        self.arrivals += 1;
        let (class, place) = (class(&start), Place::Queued(Links::default()));
        let (passed, share, solid) = (0, None, Solid::No);
        let heirs = Vec::new();
        let attempt =
            Attempt { start, function, merge, class, order, suspicion: 0, heirs, passed, place, share, solid };
        let handle = self.attempts.insert(attempt);
        if !self.await_promised(handle) {
            return self.give_back(handle);
        }
        if self.is_whole(handle) {
            self.queue.push(&mut self.attempts, handle);
        }
    }

    fn hold_functions(&mut self, start: &Start) -> Option<(FunctionSlot, Option<FunctionSlot>)> {
        let session = start.attempt.task.session;
        let function = self.functions.hold(session, start.function)?;
        let Call::ChunkFold { merge, .. } = start.call else { return Some((function, None)) };
        match self.functions.hold(session, merge) {
            Some(merge) => Some((function, Some(merge))),
            None => {
                // Known a moment ago, so it is not let go for good.
                let _ = self.functions.let_go(function);
                None
            }
        }
    }

    pub(super) fn on_inputs(&mut self, id: AttemptId, mut inputs: Vec<Outcome>, actions: &mut Vec<Action>) {
        self.reports.take(inputs.iter().map(Outcome::len).sum());
        let Some(handle) = self.attempts.find(id) else { return };
        let start = &mut self.attempts.get_mut(handle).start;
        let missing = start.inputs_total.saturating_sub(start.inputs.len() as u64);
        inputs.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
        let known = start.inputs.len();
        start.inputs.append(&mut inputs);
        let more = self.await_objects(handle, known);
        match &mut self.attempts.get_mut(handle).place {
            Place::Awaiting { missing } => *missing += more,
            Place::Queued(_) if more > 0 => {
                self.queue.remove(&mut self.attempts, handle);
                self.attempts.get_mut(handle).place = Place::Awaiting { missing: more };
            }
            Place::Queued(_) | Place::Split => {}
            Place::Given { .. } => self.pass_inputs(handle, actions),
        }
    }

    /// Sends an executor the inputs that have come, up to the first that has not.
    pub(super) fn pass_inputs(&mut self, handle: Handle, actions: &mut Vec<Action>) {
        let attempt = self.attempts.get_mut(handle);
        let Place::Given { seat, entry } = attempt.place else { return };
        let next = &attempt.start.inputs[attempt.passed..];
        let inputs: Vec<Outcome> = next.iter().take_while(|input| self.objects.has(input)).cloned().collect();
        attempt.passed += inputs.len();
        let executor = self.fleet.at(seat);
        if executor.life == Life::Ready && !inputs.is_empty() {
            actions.push(Action::GiveInputs { executor: executor.id, entry, inputs });
        }
    }

    /// No task needs these functions any more: each goes at once, or with the last attempt here that needs it.
    pub(super) fn on_functions_forgotten(&mut self, functions: &[FunctionKey]) {
        for key in functions {
            if let Some(slot) = self.functions.forget(*key) {
                self.fleet.forget_function(slot, *key);
            }
        }
    }

    /// Nothing is left of a session: executors may drop its functions.
    pub(super) fn on_session_forgotten(&mut self, session: SessionId, actions: &mut Vec<Action>) {
        self.fleet.send_forgets(actions);
        let slots = self.functions.forget_session(session);
        for executor in self.fleet.iter_mut() {
            let knew = slots.iter().filter(|slot| executor.mirror.unlearn(**slot)).count() > 0;
            if knew && executor.life == Life::Ready {
                actions.push(Action::Forget { executor: executor.id, session });
            }
        }
    }

    /// Puts attempts that have not begun back into the queue, each before what came after it.
    pub(super) fn put_back(&mut self, mut handles: Vec<Handle>) {
        if self.is_draining() {
            let (mut parts, whole): (Vec<_>, Vec<_>) = handles.into_iter().partition(|handle| self.is_part(*handle));
            whole.into_iter().for_each(|handle| self.give_back(handle));
            // The others of their attempts run, or have.
            parts.retain(|handle| self.is_whole(*handle));
            parts.into_iter().for_each(|handle| self.queue.push(&mut self.attempts, handle));
        } else {
            handles.retain(|handle| self.is_whole(*handle));
            handles.sort_unstable_by_key(|handle| self.attempts.get(*handle).rank());
            self.queue.put_back(&mut self.attempts, &handles);
        }
    }
}

fn class(start: &Start) -> Class {
    if start.request.cpus > 1 || !start.request.named().is_empty() {
        Class::Apart
    } else if start.deaths > 0 || (start.inputs.len() as u64) < start.inputs_total {
        Class::Last
    } else {
        Class::Plain
    }
}
