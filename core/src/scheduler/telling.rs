//! Telling: how the end of a task reaches those that wait for it.
//!
//! A million may wait for one value, or fail with it: a step tells as many as its slice allows, and remembers how far it
//! has come. Whoever comes to wait meanwhile stands behind those that are still to be told, and knows already.

use super::Scheduler;
use super::input::Edge;
use super::object::Tie;
use super::slab::NONE;
use super::task::{Place, State, dependency};
use crate::outcome::Outcome;
use crate::spec::Cancel;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

/// Whoever waited for a run's result and now refers to what it came to takes as long as so many that are only told.
const TRIFLES_PER_MOVE: usize = 2;

/// Of some tasks, edges that follow one another in the list of all who need them: the first and the last.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<u32, (u32, u32)>);

impl Spans {
    pub(super) fn insert(&mut self, task: u32, span: (u32, u32)) {
        self.0.insert(task, span);
    }

    pub(super) fn get(&self, task: u32) -> Option<(u32, u32)> {
        if self.0.is_empty() { None } else { self.0.get(&task).copied() }
    }

    pub(super) fn remove(&mut self, task: u32) -> Option<(u32, u32)> {
        if self.0.is_empty() { None } else { self.0.remove(&task) }
    }

    /// An edge, which is that of its list, is not among them any more.
    pub(super) fn pass_over(&mut self, edge: u32, of: &Edge) {
        if self.0.is_empty() {
            return;
        }
        let Some((first, last)) = self.0.get_mut(&of.input) else { return };
        match (*first == edge, *last == edge) {
            (true, true) => drop(self.0.remove(&of.input)),
            (true, false) => *first = of.next,
            (false, true) => *last = of.previous,
            (false, false) => {}
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, (u32, u32))> {
        self.0.iter().map(|(task, span)| (*task, *span))
    }
}

/// Tasks that are over and have not told all that wait for them.
#[derive(Debug, Default)]
pub(super) struct Tellings {
    /// In the order in which they ended.
    tasks: VecDeque<u32>,
    /// For each, the edges to those that are still to be told.
    pub(super) spans: Spans,
}

impl Tellings {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn begin(&mut self, task: u32, span: (u32, u32)) {
        self.tasks.push_back(task);
        self.spans.insert(task, span);
    }

    /// Who tells next, and over which edge.
    fn next(&self) -> Option<(u32, Option<u32>)> {
        let task = *self.tasks.front()?;
        Some((task, self.spans.get(task).map(|(next, _)| next)))
    }

    /// Nobody else is told. The edges to those who would have been.
    pub(super) fn end(&mut self, task: u32) -> Option<(u32, u32)> {
        self.spans.remove(task)
    }
}

impl Scheduler {
    /// Tells all that wait for a task that it is over. Those that can never run follow it soon.
    pub(super) fn tell_dependents(&mut self, slot: u32) {
        let task = &self.tasks[slot];
        let mut edge = task.dependents;
        if matches!(&task.state, State::Done(outcome) if outcome.is_value()) && !task.is_alias() {
            while edge != NONE && self.slice.trifles > 0 {
                let Edge { dependent, next, tie, .. } = self.edges[edge];
                self.slice.trifles -= 1;
                if tie == Tie::Need {
                    self.input_arrived(dependent);
                }
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
        if self.tasks[task].is_alias() {
            self.slice.trifles = self.slice.trifles.saturating_sub(TRIFLES_PER_MOVE);
            return self.refer_to_source(edge);
        }
        let told = self.edges[edge];
        self.tellings.spans.pass_over(edge, &told);
        let dependent = told.dependent;
        if told.tie != Tie::Need {
            self.slice.trifles -= 1;
            return;
        }
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
        for (task, span) in self.tellings.spans.iter() {
            assert!(self.tellings.tasks.contains(&task) && self.tasks[task].is_done(), "who is over tells in turn");
            untold.extend(self.between(span));
        }
        untold
    }

    /// The edges of a list from one to another.
    pub(super) fn between(&self, (first, last): (u32, u32)) -> impl Iterator<Item = u32> {
        let after = move |edge: &u32| (*edge != last).then(|| self.edges[*edge].next);
        core::iter::successors(Some(first), after)
    }
}
