//! Inputs on their way to workers: the first travel with the start, the rest follows as credit allows.

use super::slab::{NONE, Slab};
use super::task::{Role, State, Task};
use super::{Action, Scheduler};
use crate::limits;
use crate::outcome::Outcome;
use crate::window;
use alloc::vec::Vec;

impl Scheduler {
    /// How many inputs a task has.
    pub(super) fn input_count(&self, slot: u32) -> usize {
        let task = &self.tasks[slot];
        if task.object != NONE
            && let Some(recipe) = self.recipes.get(&slot)
        {
            return recipe.inputs.len();
        }
        match task.role {
            Role::Plain(_) | Role::Put(_) | Role::Piece { .. } | Role::Made | Role::Past => task.inputs.len(),
            Role::Fold { run, start } => self.runs[run].fold_inputs(start).len(),
            Role::Result { run, .. } => self.runs[run].combine_inputs().len(),
        }
    }

    /// The n-th input of a task whose inputs are all there.
    fn input(&self, slot: u32, n: usize) -> Outcome {
        let task = &self.tasks[slot];
        if task.object != NONE
            && let Some(recipe) = self.recipes.get(&slot)
        {
            return self.latest_of(task.session, recipe.inputs[n].clone());
        }
        match task.role {
            Role::Plain(_) | Role::Put(_) | Role::Piece { .. } | Role::Made | Role::Past => {
                value_of(&self.tasks, self.edges[task.inputs[n]].input)
            }
            Role::Fold { run, start } => self.latest(task.session, self.runs[run].fold_inputs(start)[n].clone()),
            Role::Result { run, .. } => self.latest_of(task.session, self.runs[run].combine_inputs()[n].clone()),
        }
    }

    /// The inputs from the n-th on that fit into one message, at least one if there is one, and their bytes.
    pub(super) fn input_batch(&self, slot: u32, from: usize) -> (Vec<Outcome>, u64) {
        let until = self.input_count(slot).min(from + limits::STREAMED_INPUTS);
        let (mut batch, mut bytes) = (Vec::with_capacity(until - from), 0);
        for n in from..until {
            let input = self.input(slot, n);
            if !batch.is_empty() && bytes + input.len() > limits::INLINE_FRAME_BYTES as u64 {
                break;
            }
            bytes += input.len();
            batch.push(input);
        }
        (batch, bytes)
    }

    /// Has those looked at whose inputs the last step had no time for.
    pub(super) fn resume_streams(&mut self) {
        for (id, worker) in core::mem::take(&mut self.unfed) {
            if self.workers.get(worker).is_some_and(|w| w.id == id) {
                self.stir_worker(worker);
            }
        }
    }

    /// Sends on what is left of inputs, as far as each worker's credit goes and this step may.
    pub(super) fn feed_streams(&mut self, actions: &mut Vec<Action>) {
        for worker in self.stirred_workers() {
            while let Some(mut stream) = self.workers[worker].streams.pop_front() {
                if self.slice.trifles == 0 {
                    self.workers[worker].streams.push_front(stream);
                    self.unfed.push((self.workers[worker].id, worker));
                    break;
                }
                let task = self.tasks.get(stream.slot);
                let current = task.is_some_and(|task| {
                    task.ticket == stream.ticket
                        && task.attempt() == stream.attempt
                        && task.lease().is_some_and(|lease| lease.worker == worker)
                });
                if !current {
                    continue;
                }
                let (inputs, bytes) = self.input_batch(stream.slot, stream.sent);
                let total = self.input_count(stream.slot);
                let w = &mut self.workers[worker];
                if !w.credit.allows(window::cost(bytes)) {
                    w.streams.push_front(stream);
                    break;
                }
                w.credit.spend(window::cost(bytes));
                self.slice.trifles = self.slice.trifles.saturating_sub(inputs.len());
                stream.sent += inputs.len();
                actions.push(Action::AppendInputs { worker: w.id, attempt: stream.attempt, inputs });
                if stream.sent < total {
                    w.streams.push_front(stream);
                }
            }
        }
    }
}

fn value_of(tasks: &Slab<Task>, slot: u32) -> Outcome {
    match &tasks[slot].state {
        State::Done(outcome) => outcome.clone(),
        State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => {
            unreachable!("a task starts once its inputs are there")
        }
    }
}
