//! Parting: how tasks that are over let go of what they needed, and what goes with it.
//!
//! A task that has let go of few inputs is gone at once. One of a million goes for its client and for whoever names it,
//! but keeps its slot, as a record of the past, until it has let go of the last: the edges to its inputs name it. What a
//! combine was given goes in the same way.

use super::Scheduler;
use super::input::Edge;
use super::object::Tie;
use super::slab::NONE;
use super::task::{Role, State};
use super::walk::Site;
use crate::outcome::Outcome;
use alloc::vec;

/// To let go of an input takes as long as to pass so many.
const PASSES_PER_PARTING: usize = 2;
/// The same of one that has been an object, with whose record it goes.
const PASSES_PER_OBJECT: usize = 12;

/// A task that lets go of its inputs.
#[derive(Debug)]
pub(super) struct Parting {
    /// Edges to those that it has not let go of.
    pub(super) edges: vec::IntoIter<u32>,
    /// Who may be to have inputs because of an attempt of it.
    pub(super) site: Option<Site>,
}

impl Scheduler {
    /// A task lets go of all its inputs, as far as this step may; who may go in turn is looked at by [`Scheduler::sweep`].
    pub(super) fn part_with_inputs(&mut self, slot: u32) {
        let edges = core::mem::take(&mut self.tasks[slot].inputs);
        if edges.is_empty() {
            return;
        }
        let mut parting = Parting { edges: edges.into_vec().into_iter(), site: self.walks.end(slot) };
        self.part(&mut parting, 0);
        if parting.edges.len() > 0 {
            self.walks.begin_parting(slot, parting);
        }
    }

    /// Goes on with a task that has not let go of all its inputs.
    pub(super) fn go_on_parting(&mut self, slot: u32, leave: usize) {
        let mut parting = self.walks.partings.remove(&slot).expect("only who parts has a turn");
        self.part(&mut parting, leave);
        if parting.edges.len() > 0 {
            self.walks.partings.insert(slot, parting);
        } else if let Role::Past = self.tasks[slot].role {
            self.tasks.remove(slot);
        }
    }

    fn part(&mut self, parting: &mut Parting, leave: usize) {
        while self.slice.passes > leave
            && let Some(edge) = parting.edges.next()
        {
            self.unwant_input(edge, parting.site);
            let Edge { input, tie, .. } = self.unlink(edge);
            self.edges.remove(edge);
            let mut passes = PASSES_PER_PARTING;
            if self.tasks[input].object != NONE {
                passes = PASSES_PER_OBJECT;
                let object = &mut self.objects[self.tasks[input].object];
                match tie {
                    Tie::Need => object.needs -= 1,
                    Tie::Alias => object.aliases -= 1,
                    Tie::Origin => {}
                }
            }
            self.slice.passes = self.slice.passes.saturating_sub(passes);
            self.unwanted.push(input);
        }
    }

    /// A task that is over is nobody's any more.
    pub(super) fn free(&mut self, slot: u32) {
        let task = &mut self.tasks[slot];
        self.sessions[task.session].index.remove(task.id.seq);
        if self.walks.partings.contains_key(&slot) {
            (task.role, task.object) = (Role::Past, NONE);
            task.state = State::Done(Outcome::Skipped);
        } else {
            self.tasks.remove(slot);
        }
    }

    /// What was given to a call goes, as much of it as this step may.
    pub(super) fn clear_dregs(&mut self) {
        while self.slice.trifles > 0
            && let Some(outcomes) = self.dregs.front_mut()
        {
            let most = self.slice.trifles.min(outcomes.len());
            outcomes.truncate(outcomes.len() - most);
            self.slice.trifles -= most;
            if outcomes.is_empty() {
                self.dregs.pop_front();
            }
        }
    }
}
