//! Telling: how the end of a task reaches those that wait for it.
//!
//! A million may wait for one value, or fail with it: a step tells as many as its slice allows, and remembers how far it
//! has come. Whoever comes to wait meanwhile stands behind those that are still to be told, and knows already.

use super::Scheduler;
use super::input::Edge;
use super::slab::NONE;
use super::task::{Place, State, dependency};
use crate::outcome::Outcome;
use crate::spec::Cancel;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

/// Tasks that are over and have not told all that wait for them.
#[derive(Debug, Default)]
pub(super) struct Tellings {
    /// In the order in which they ended.
    tasks: VecDeque<u32>,
    /// For each, the edges to the next one and to the last one to be told.
    edges: BTreeMap<u32, (u32, u32)>,
}

impl Tellings {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn begin(&mut self, task: u32, edges: (u32, u32)) {
        self.tasks.push_back(task);
        self.edges.insert(task, edges);
    }

    /// Who tells next, and over which edge.
    fn next(&self) -> Option<(u32, Option<u32>)> {
        let task = *self.tasks.front()?;
        Some((task, self.edges.get(&task).map(|(next, _)| *next)))
    }

    /// Nobody is to be told over this edge, which is that of its list.
    pub(super) fn pass_over(&mut self, edge: u32, of: &Edge) {
        if self.edges.is_empty() {
            return;
        }
        let Some((next, last)) = self.edges.get_mut(&of.input) else { return };
        match (*next == edge, *last == edge) {
            (true, true) => drop(self.edges.remove(&of.input)),
            (true, false) => *next = of.next,
            (false, true) => *last = of.previous,
            (false, false) => {}
        }
    }

    /// Nobody else is told. The edges to those who would have been.
    pub(super) fn end(&mut self, task: u32) -> Option<(u32, u32)> {
        if self.edges.is_empty() { None } else { self.edges.remove(&task) }
    }

    pub(super) fn is_about(&self, task: u32) -> bool {
        !self.edges.is_empty() && self.edges.contains_key(&task)
    }
}

impl Scheduler {
    /// Tells all that wait for a task that it is over. Those that can never run follow it soon.
    pub(super) fn tell_dependents(&mut self, slot: u32) {
        let mut edge = self.tasks[slot].dependents;
        if matches!(&self.tasks[slot].state, State::Done(outcome) if outcome.is_value()) {
            while edge != NONE && self.slice.trifles > 0 {
                let Edge { dependent, next, .. } = self.edges[edge];
                self.slice.trifles -= 1;
                self.input_arrived(dependent);
                edge = next;
            }
        }
        if edge != NONE {
            let last = self.edges[self.tasks[slot].dependents].previous;
            self.tellings.begin(slot, (edge, last));
        }
    }

    /// Ends all that cannot go on, and tells those that can, as many as this step may.
    pub(super) fn run_fallout(&mut self) {
        while self.slice.chores > 0 {
            if let Some((slot, ticket, outcome)) = self.fallout.pop_front() {
                self.slice.chores -= 1;
                if self.tasks.get(slot).is_some_and(|task| task.ticket == ticket) {
                    self.fail(slot, outcome);
                }
            } else if let Some((task, next)) = self.tellings.next() {
                match next {
                    Some(_) if self.slice.trifles == 0 => return,
                    Some(edge) => self.tell(task, edge),
                    None => drop(self.tellings.tasks.pop_front()),
                }
            } else {
                return;
            }
        }
    }

    fn tell(&mut self, task: u32, edge: u32) {
        let told = self.edges[edge];
        self.tellings.pass_over(edge, &told);
        let dependent = told.dependent;
        let State::Done(outcome) = &self.tasks[task].state else { unreachable!("only who is over tells") };
        if outcome.is_value() {
            self.slice.trifles -= 1;
            self.input_arrived(dependent);
        } else {
            self.slice.chores -= 1;
            let failure = dependency(self.tasks[task].id, outcome);
            self.fail(dependent, failure);
        }
    }

    /// Ends a task that can never run.
    fn fail(&mut self, slot: u32, outcome: Outcome) {
        if !self.tasks[slot].is_done() {
            self.withdraw(slot, Cancel::Running);
            self.conclude_one(slot, outcome, Place::default());
        }
    }

    /// Edges whose tasks do not know yet that what they wait for is there.
    pub(super) fn untold(&self) -> BTreeSet<u32> {
        let mut untold = BTreeSet::new();
        for (task, edges) in &self.tellings.edges {
            assert!(self.tellings.tasks.contains(task) && self.tasks[*task].is_done(), "who is over tells in turn");
            untold.extend(self.between(*edges));
        }
        untold
    }

    /// The edges of a list from one to another.
    pub(super) fn between(&self, (first, last): (u32, u32)) -> impl Iterator<Item = u32> {
        let after = move |edge: &u32| (*edge != last).then(|| self.edges[*edge].next);
        core::iter::successors(Some(first), after)
    }
}
