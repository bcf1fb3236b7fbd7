//! Lineage: an object lost with its last worker is made again by its task, if somebody waits for it.
//!
//! For as long as the record of an object's task lives, so do its arguments and the records (not the values) of what it
//! was made from, up to a bound. Whoever is over and not wanted stays lost until somebody asks. A loss counts against
//! nobody: retries and deaths begin anew.

use super::Scheduler;
use super::object::{Object, Origin, Tie};
use super::slab::NONE;
use super::task::{Place, Role, State, Task, dependency};
use crate::limits;
use crate::outcome::{Failure, Outcome};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// What is kept so that objects can be made again.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Tasks.
    pub(super) tasks: u64,
    /// Bytes of their arguments and inputs.
    pub(super) bytes: u64,
}

impl Scheduler {
    /// What a fold or a combine was given: its inputs are not named by edges alone.
    pub(super) fn recipe_of(&self, slot: u32) -> Option<Vec<Outcome>> {
        Some(match self.tasks[slot].role {
            Role::Fold { run, start } => {
                self.runs[run].fold_inputs(start).iter().cloned().map(Outcome::Value).collect()
            }
            Role::Result { run, .. } => self.runs[run].combine_inputs().to_vec(),
            Role::Plain(_) | Role::Put(_) | Role::Piece { .. } | Role::Made => return None,
        })
    }

    /// A task is over and its value with a worker: keeps what it takes to make that again, if there is room.
    pub(super) fn keep_origin(&mut self, slot: u32, recipe: Option<Vec<Outcome>>) {
        let task = &self.tasks[slot];
        let input = |edge: &u32| {
            let input = &self.tasks[self.edges[*edge].input];
            let of_object = self.objects.get(input.object).map_or(0, Object::held);
            match &input.state {
                State::Done(outcome) => outcome.len() + of_object,
                State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => 0,
            }
        };
        let inputs: u64 = match &recipe {
            Some(recipe) => recipe.iter().map(Outcome::len).sum(),
            None => task.inputs.iter().map(input).sum(),
        };
        let bytes = task.held_args() + inputs;
        let limit = self.config.held_bytes_limit / limits::LINEAGE_PART;
        if self.origins.tasks >= limits::LINEAGE_TASKS || self.origins.bytes + bytes > limit {
            return self.let_origin_go(slot, Tie::Need);
        }
        self.origins.tasks += 1;
        self.origins.bytes += bytes;
        self.objects[task.object].origin = Origin::Kept(bytes);
        if let Some(recipe) = recipe {
            self.held += recipe.iter().map(Outcome::len).sum::<u64>();
            self.recipes.insert(slot, recipe);
        }
        self.rest_on_origin(slot);
    }

    /// A task that was needing its inputs is over: it only may have to be made again from them.
    pub(super) fn rest_on_origin(&mut self, slot: u32) {
        for n in 0..self.tasks[slot].inputs.len() {
            let input = self.edges[self.tasks[slot].inputs[n]].input;
            let object = self.tasks[input].object;
            if object != NONE {
                self.objects[object].needs -= 1;
                self.unwanted.push(input);
            }
        }
    }

    /// Gives up being able to make an object again.
    pub(super) fn forget_origin(&mut self, slot: u32, tie: Tie) {
        let object = self.tasks[slot].object;
        if let Origin::Kept(bytes) = core::mem::replace(&mut self.objects[object].origin, Origin::Forgotten) {
            self.origins.tasks -= 1;
            self.origins.bytes -= bytes;
            if let Some(recipe) = self.recipes.remove(&slot) {
                self.held -= recipe.iter().map(Outcome::len).sum::<u64>();
            }
            self.let_origin_go(slot, tie);
        }
    }

    fn let_origin_go(&mut self, slot: u32, tie: Tie) {
        self.held -= self.tasks[slot].held_args();
        self.tasks[slot].args = Value::empty();
        let Task { session, function, call, .. } = self.tasks[slot];
        self.let_functions_go(session, function, call);
        self.untie(slot, tie);
    }

    /// Has an object that is lost made again if anybody waits for it.
    pub(super) fn make_again(&mut self, object: u32) {
        if self.objects[object].is_awaited() {
            self.remake(self.objects[object].task);
        }
    }

    /// Has a lost object made again, and whatever is lost of what it is made from.
    pub(super) fn remake(&mut self, slot: u32) {
        let mut lost = vec![slot];
        while let Some(slot) = lost.pop() {
            if self.is_lost(slot) {
                self.begin_again(slot, &mut lost);
            }
        }
    }

    fn begin_again(&mut self, slot: u32, lost: &mut Vec<u32>) {
        // A new place in its queue; and what still waits to fail it, because of what it was before, must not meet it.
        let ticket = self.ticket;
        self.ticket += 1;
        let task = &mut self.tasks[slot];
        task.state = State::Waiting { missing: NONE };
        (task.ticket, task.raised, task.trouble) = (ticket, 0, None);
        let (session, object) = (task.session, task.object);
        self.counts.waiting += 1;
        self.sessions[session].pending += 1;
        self.touch(session);
        if self.objects[object].origin == Origin::Forgotten {
            let text = "its value was lost with its last worker, and what made it is no longer kept";
            let failure = Failure::Unknown(text.into());
            return self.fallout.push_back((slot, ticket, Outcome::Failed(Box::new(failure))));
        }
        let (mut missing, mut failure) = (0, None);
        for n in 0..self.tasks[slot].inputs.len() {
            let edge = self.tasks[slot].inputs[n];
            let input = self.edges[edge].input;
            if self.tellings.spans.get(input).or_else(|| self.losses.spans.get(input)).is_some() {
                // It sees for itself: it is neither told later nor has it heard.
                self.unlink(edge);
                self.link(edge, input);
            }
            if self.tasks[input].object != NONE {
                self.objects[self.tasks[input].object].needs += 1;
            }
            if !self.is_there(input) {
                missing += 1;
                lost.push(input);
            }
            if let State::Done(outcome) = &self.tasks[input].state
                && !outcome.is_value()
            {
                failure = Some(dependency(self.tasks[input].id, outcome));
            }
        }
        self.tasks[slot].state = State::Waiting { missing };
        match failure {
            Some(failure) => self.fallout.push_back((slot, ticket, failure)),
            None if missing == 0 => {
                self.counts.waiting -= 1;
                self.make_ready(slot);
            }
            None => {}
        }
    }

    /// A task has been run again for its value.
    pub(super) fn remade(&mut self, slot: u32, outcome: &Outcome, place: Place) {
        let object = self.tasks[slot].object;
        self.tasks[slot].state = State::Done(outcome.clone());
        match outcome {
            Outcome::Value(value) if value.stored().is_some() => {
                let worker = place.worker.and_then(|id| self.workers.find(id.0));
                let o = &mut self.objects[object];
                o.value = value.clone();
                o.copies = worker.into_iter().map(|worker| super::object::Copy { worker, serving: 0 }).collect();
                worker.into_iter().for_each(|worker| self.locate(object, worker));
                self.rest_on_origin(slot);
            }
            Outcome::Value(_) => {
                self.held += outcome.len();
                self.rest_on_origin(slot);
            }
            Outcome::Skipped | Outcome::Raised(_) | Outcome::Cancelled | Outcome::Failed(_) => {
                self.held += outcome.len();
                match self.objects[object].origin {
                    Origin::Kept(_) => self.forget_origin(slot, Tie::Need),
                    Origin::Forgotten => {}
                }
            }
        }
        self.tell_dependents(slot);
        self.answer_fetchers(object);
        self.stir_object(object);
        self.unwanted.push(slot);
        self.sweep();
    }
}
