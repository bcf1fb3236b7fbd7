//! Inputs: which tasks wait for the value of which others.

use super::Scheduler;
use super::slab::NONE;
use super::task::{Role, State, dependency};
use crate::id::Seq;
use crate::outcome::{Failure, Outcome};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

/// That one task needs another's value: part of the list of all that need it, as long as the needy one is not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) input: u32,
    pub(super) dependent: u32,
    pub(super) previous: u32,
    pub(super) next: u32,
}

impl Scheduler {
    /// Ties a new task to its inputs. Says how many are not there yet, or why it can never run.
    pub(super) fn tie_inputs(&mut self, slot: u32, inputs: &[Seq]) -> Result<u32, Outcome> {
        let session = self.tasks[slot].session;
        let mut found = Vec::with_capacity(inputs.len());
        for seq in inputs {
            let input = self.sessions[session].index.find(*seq).filter(|input| *input != slot);
            let nameable =
                |input: &u32| matches!(self.tasks[*input].role, Role::Plain(_) | Role::Put(_) | Role::Result { .. });
            let Some(input) = input.filter(nameable) else {
                let text = format!("its input {seq} is not held here");
                return Err(Outcome::Failed(Box::new(Failure::Unknown(text.into()))));
            };
            match &self.tasks[input].state {
                State::Done(Outcome::Value(_)) | State::Waiting { .. } | State::Ready | State::Assigned(_) => {}
                State::Done(outcome) => return Err(dependency(self.tasks[input].id, outcome)),
            }
            found.push(input);
        }
        let missing = found.iter().filter(|input| !self.tasks[**input].is_done()).count();
        self.tasks[slot].inputs = found.into_iter().map(|input| self.tie(slot, input)).collect();
        Ok(u32::try_from(missing).expect("a task has fewer than TASK_INPUTS inputs"))
    }

    /// Unties a task that is over from its inputs; those that nobody needs any more go.
    pub(super) fn let_inputs_go(&mut self, slot: u32) {
        let edges = core::mem::take(&mut self.tasks[slot].inputs);
        for edge in edges {
            let Edge { input, previous, next, .. } = self.edges.remove(edge);
            match previous {
                NONE => self.tasks[input].dependents = next,
                previous => self.edges[previous].next = next,
            }
            if next != NONE {
                self.edges[next].previous = previous;
            }
            self.free_if_unwanted(input);
        }
    }

    /// Tells all that wait for a task how it ended. Those that can never run follow it soon.
    pub(super) fn tell_dependents(&mut self, slot: u32, outcome: &Outcome) {
        let mut edge = self.tasks[slot].dependents;
        let failure = (!outcome.is_value()).then(|| dependency(self.tasks[slot].id, outcome));
        while edge != NONE {
            let Edge { dependent, next, .. } = self.edges[edge];
            match &failure {
                None => self.input_arrived(dependent),
                Some(failure) => {
                    self.fallout.push_back((dependent, self.tasks[dependent].ticket, failure.clone()));
                }
            }
            edge = next;
        }
    }

    /// One thing less to wait for.
    pub(super) fn input_arrived(&mut self, slot: u32) {
        let State::Waiting { missing } = &mut self.tasks[slot].state else { return };
        *missing -= 1;
        if *missing == 0 {
            self.counts.waiting -= 1;
            self.make_ready(slot);
        }
    }

    fn tie(&mut self, dependent: u32, input: u32) -> u32 {
        let next = self.tasks[input].dependents;
        let edge = self.edges.insert(Edge { input, dependent, previous: NONE, next });
        if next != NONE {
            self.edges[next].previous = edge;
        }
        self.tasks[input].dependents = edge;
        edge
    }
}
