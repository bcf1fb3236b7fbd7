//! Inputs: which tasks wait for the value of which others.

use super::Scheduler;
use super::object::Tie;
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
    /// The one before it; of the first, the last.
    pub(super) previous: u32,
    pub(super) next: u32,
    pub(super) tie: Tie,
    /// A worker is to have the value for an attempt of the needy one (see `walk`).
    pub(super) wanted: bool,
}

const _: () = assert!(size_of::<Option<Edge>>() <= 20, "an edge is held per input of a pending task");

impl Scheduler {
    /// Ties a waiting task to more of its inputs, or says why it can never run.
    pub(super) fn tie_inputs(&mut self, slot: u32, inputs: &[Seq]) -> Result<(), Outcome> {
        let session = self.tasks[slot].session;
        let mut found = Vec::with_capacity(inputs.len());
        for seq in inputs {
            let input = self.sessions[session].index.find(*seq).filter(|input| *input != slot);
            let nameable =
                |input: &u32| matches!(self.tasks[*input].role, Role::Plain(_) | Role::Put(_) | Role::Result { .. });
            // A piece would wait for what waits for it.
            let is_own =
                |input| matches!(self.tasks[slot].role, Role::Piece { run, .. } if self.runs[run].result == input);
            let Some(input) = input.filter(nameable).filter(|input| !is_own(*input)) else {
                let text = format!("its input {seq} is not held here");
                return Err(Outcome::Failed(Box::new(Failure::Unknown(text.into()))));
            };
            let input = self.source(input);
            match &self.tasks[input].state {
                State::Done(Outcome::Value(_)) | State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => {}
                State::Done(outcome) => return Err(dependency(self.tasks[input].id, outcome)),
            }
            found.push(input);
        }
        let mut edges = core::mem::take(&mut self.tasks[slot].inputs).into_vec();
        edges.reserve_exact(found.len());
        let mut late = 0;
        for input in found {
            if !self.is_there(input) {
                late += 1;
                self.remake(input);
            }
            edges.push(self.tie(slot, input));
        }
        self.tasks[slot].inputs = edges.into_boxed_slice();
        if let State::Waiting { missing } = &mut self.tasks[slot].state {
            *missing += late;
        }
        Ok(())
    }

    /// Unties a task that is over from its inputs; those that nobody needs any more go.
    pub(super) fn let_inputs_go(&mut self, slot: u32) {
        if !self.tasks[slot].inputs.is_empty() {
            self.part_with_inputs(slot);
            self.sweep();
        }
    }

    /// One thing less to wait for.
    pub(super) fn input_arrived(&mut self, slot: u32) {
        let State::Waiting { missing } = &mut self.tasks[slot].state else { return };
        *missing -= 1;
        if *missing == 0 {
            self.counts.waiting -= 1;
            self.make_ready(slot);
        } else {
            self.consider(slot);
        }
    }

    /// Ties a task to one that it needs.
    pub(super) fn tie(&mut self, dependent: u32, input: u32) -> u32 {
        let edge = Edge { input, dependent, previous: NONE, next: NONE, tie: Tie::Need, wanted: false };
        let edge = self.edges.insert(edge);
        self.link(edge, input);
        if self.tasks[input].object != NONE {
            self.objects[self.tasks[input].object].needs += 1;
        }
        edge
    }

    /// Takes an edge out of the list of those who need a task.
    pub(super) fn unlink(&mut self, edge: u32) -> Edge {
        let unlinked = self.edges[edge];
        let Edge { input, previous, next, .. } = unlinked;
        self.tellings.spans.pass_over(edge, &unlinked);
        self.losses.spans.pass_over(edge, &unlinked);
        let needed = &mut self.tasks[input];
        needed.dependents_total -= 1;
        let first = needed.dependents;
        if edge == first {
            needed.dependents = next;
        } else {
            self.edges[previous].next = next;
        }
        match next {
            NONE if edge == first => {}
            NONE => self.edges[first].previous = previous,
            next => self.edges[next].previous = previous,
        }
        unlinked
    }

    /// Puts an edge at the end of the list of those who need a task.
    pub(super) fn link(&mut self, edge: u32, input: u32) {
        let needed = &mut self.tasks[input];
        needed.dependents_total += 1;
        let previous = match needed.dependents {
            NONE => {
                needed.dependents = edge;
                edge
            }
            first => {
                let last = core::mem::replace(&mut self.edges[first].previous, edge);
                self.edges[last].next = edge;
                last
            }
        };
        let e = &mut self.edges[edge];
        (e.input, e.previous, e.next) = (input, previous, NONE);
    }

    /// Puts an edge behind another one of a list.
    pub(super) fn link_behind(&mut self, edge: u32, previous: u32) {
        let Edge { input, next, .. } = self.edges[previous];
        self.tasks[input].dependents_total += 1;
        self.edges[previous].next = edge;
        let after = if next == NONE { self.tasks[input].dependents } else { next };
        self.edges[after].previous = edge;
        let e = &mut self.edges[edge];
        (e.input, e.previous, e.next) = (input, previous, next);
    }
}
