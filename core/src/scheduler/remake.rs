//! Lineage: an object lost with its last worker is made again by its task, if somebody waits for it.
//!
//! For as long as the record of an object's task lives, so do its arguments and the records (not the values) of what it
//! was made from, up to a bound. Whoever is over and not wanted stays lost until somebody asks. A loss counts against
//! nobody: retries and deaths begin anew.

use super::Scheduler;
use super::by_worker::ByWorker;
use super::direct::Route;
use super::input::Edge;
use super::object::{Copy, Loss, Object, Origin};
use super::slab::NONE;
use super::task::{Place, Role, State, Task};
use super::transfer::Way;
use crate::limits;
use crate::outcome::{Failure, Outcome};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What a fold or a combine was given: its inputs are not named by edges alone.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) inputs: Vec<Outcome>,
    /// Of all of them.
    pub(super) bytes: u64,
}

/// What is kept so that objects can be made again.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Tasks.
    pub(super) tasks: u64,
    /// Bytes of their arguments and inputs.
    pub(super) bytes: u64,
}

impl Scheduler {
    /// What a fold or a combine was given, whose value is with a worker. A combine has no more use for it.
    pub(super) fn recipe_of(&mut self, slot: u32) -> Option<Recipe> {
        match self.tasks[slot].role {
            Role::Fold { run, start } => {
                let inputs: Vec<Outcome> =
                    self.runs[run].fold_inputs(start).iter().cloned().map(Outcome::Value).collect();
                let bytes = inputs.iter().map(Outcome::len).sum();
                // The fold has them until its run has its value.
                self.held += bytes;
                Some(Recipe { inputs, bytes })
            }
            Role::Result { run, .. } => self.runs[run].take_combine_inputs(),
            Role::Plain(_) | Role::Put(_) | Role::Piece { .. } | Role::Made | Role::Past => None,
        }
    }

    /// A task is over and its value with a worker: keeps what it takes to make that again, if there is room.
    pub(super) fn keep_origin(&mut self, slot: u32, recipe: Option<Recipe>) {
        let task = &self.tasks[slot];
        let bytes = task.held_args() + recipe.as_ref().map_or(0, |recipe| recipe.bytes);
        self.origins.tasks += 1;
        self.origins.bytes += bytes;
        self.objects[task.object].origin = Origin::Kept(bytes);
        match recipe {
            Some(recipe) => {
                self.recipes.insert(slot, recipe);
                self.rest_on_origin(slot);
                self.judge_origin(slot);
            }
            None => self.keep_inputs(slot),
        }
    }

    /// What an input holds counts for the origin of what was made of it.
    pub(super) fn count_origin(&mut self, edge: u32) {
        let Edge { input, dependent, .. } = self.edges[edge];
        let input = &self.tasks[input];
        let of_object = self.objects.get(input.object).map_or(0, Object::held);
        let more = match &input.state {
            State::Done(outcome) => outcome.len() + of_object,
            State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => 0,
        };
        if let Origin::Kept(bytes) = &mut self.objects[self.tasks[dependent].object].origin {
            *bytes += more;
            self.origins.bytes += more;
        }
    }

    /// All that counts for an origin is counted: it is given up again if that is too much. If its object has been lost
    /// meanwhile, that is made again.
    pub(super) fn judge_origin(&mut self, slot: u32) {
        let limit = self.config.held_bytes_limit / limits::LINEAGE_PART;
        if self.origins.tasks > limits::LINEAGE_TASKS || self.origins.bytes > limit {
            self.forget_origin(slot);
        }
        self.make_again(self.tasks[slot].object);
    }

    /// Gives up being able to make an object again.
    pub(super) fn forget_origin(&mut self, slot: u32) {
        let object = self.tasks[slot].object;
        if let Origin::Kept(bytes) = core::mem::replace(&mut self.objects[object].origin, Origin::Forgotten) {
            self.origins.tasks -= 1;
            self.origins.bytes -= bytes;
            if let Some(recipe) = self.recipes.remove(&slot) {
                self.held -= recipe.bytes;
                self.dregs.push_back(recipe.inputs);
            }
            self.held -= self.tasks[slot].held_args();
            self.tasks[slot].args = Value::empty();
            let Task { session, function, call, .. } = self.tasks[slot];
            self.let_functions_go(session, function, call);
            self.part_with_inputs(slot);
        }
    }

    /// Has an object that is lost made again if anybody waits for it.
    pub(super) fn make_again(&mut self, object: u32) {
        if self.objects[object].is_awaited() {
            self.remake(self.objects[object].task);
        }
    }

    /// Has a lost object made again in its turn, and whatever is lost of what it is made from.
    pub(super) fn remake(&mut self, slot: u32) {
        if self.is_lost(slot) {
            self.lost.push_back(slot);
        }
    }

    /// Has tasks begin again whose objects are lost, as many as this step may.
    pub(super) fn remake_lost(&mut self) {
        while self.slice.chores > 0
            && let Some(slot) = self.lost.pop_front()
        {
            // Somebody else's by now, or done with before its turn came.
            let awaited = self.tasks.get(slot).and_then(|task| self.objects.get(task.object));
            // Who is still being led past its inputs comes again after that.
            if awaited.is_some_and(Object::is_awaited) && self.is_lost(slot) && self.walks.get(slot).is_none() {
                self.slice.chores -= 1;
                self.begin_again(slot);
            }
        }
    }

    fn begin_again(&mut self, slot: u32) {
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
        self.tasks[slot].state = State::Waiting { missing: 1 };
        self.need_inputs(slot);
    }

    /// A task has been run again for its value.
    pub(super) fn remade(&mut self, slot: u32, outcome: &Outcome, place: Place) {
        let object = self.tasks[slot].object;
        self.tasks[slot].state = State::Done(outcome.clone());
        match outcome {
            Outcome::Value(value) if value.stored().is_some() => {
                let worker = place.worker.and_then(|id| self.workers.find(id.0));
                let o = &mut self.objects[object];
                (o.value, o.loss) = (value.clone(), Loss::None);
                o.copies = ByWorker::of(worker.map(|worker| Copy { worker, serving: 0 }));
                // Of attempts that are on their way out.
                o.wants.retain(|want| Some(want.worker) != worker);
                o.wants.iter_mut().for_each(|want| want.way = Way::Waiting);
                o.fetchers.iter_mut().for_each(|fetcher| fetcher.route = Route::Open);
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
                    Origin::Kept(_) => self.forget_origin(slot),
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
