//! Losing: how those that need a value hear that its last copy is gone.
//!
//! A million may need one value: as many hear of its loss in a step as its slice allows, and only when all have is it
//! lost. Until then it is as if the news came late: for those who have not heard, and for whoever comes to need it
//! meanwhile, it is there, but nobody is sent for it. Those that have heard stand side by side in the list of all that
//! need it. A task that is about to begin hears before its turn.

use super::Scheduler;
use super::Slice;
use super::input::Edge;
use super::object::{Loss, Object, Tie};
use super::slab::NONE;
use super::task::State;
use super::telling::Spans;
use crate::spec::Cancel;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Inputs that are looked at of a task that is about to begin: one that has more may begin and be taken back.
const INPUTS_LOOKED_AT: usize = 16;

/// Values whose loss not all that need them have heard of.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Their tasks, in the order in which they were lost. Some may be lost no more.
    tasks: VecDeque<u32>,
    /// For each, the edges to those that have heard.
    pub(super) spans: Spans,
}

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn lists(&self, task: u32) -> bool {
        self.tasks.contains(&task)
    }
}

impl Scheduler {
    /// Objects may have lost their last copies: who needs one that has waits again, and it is made again if anybody does.
    /// Of several, all are missed before any is made again, as far as this step comes.
    pub(super) fn judge_losses(&mut self, objects: &[u32]) {
        let lost: Vec<u32> = objects.iter().copied().filter(|object| self.begin_loss(*object)).collect();
        let (known, unknown): (Vec<u32>, Vec<u32>) = lost.into_iter().partition(|object| self.spread_loss(*object));
        known.into_iter().for_each(|object| self.make_again(object));
        self.losses.tasks.extend(unknown.into_iter().map(|object| self.objects[object].task));
    }

    fn begin_loss(&mut self, object: u32) -> bool {
        let task = self.objects[object].task;
        if self.objects[object].loss != Loss::None || !self.is_lost(task) {
            return false;
        }
        self.unask(object);
        self.disinherit(object);
        // Those that are over need not hear.
        self.objects[object].loss = if self.objects[object].needs > 0 { Loss::Told } else { Loss::Known };
        // Those that have not been told that it was there miss it already.
        if let Some(untold) = self.tellings.end(task).filter(|_| self.objects[object].is_losing()) {
            self.losses.spans.insert(task, untold);
        }
        true
    }

    /// Has those that need a value hear of its loss, as many as this step may. Whether all have.
    fn spread_loss(&mut self, object: u32) -> bool {
        if !self.objects[object].is_losing() {
            return true;
        }
        let task = self.objects[object].task;
        let mut span = self.losses.spans.get(task);
        while let Some(edge) = self.beside(task, span) {
            if self.slice.trifles == 0 {
                span.into_iter().for_each(|span| self.losses.spans.insert(task, span));
                return false;
            }
            span = Some(match span {
                Some((first, last)) if self.edges[last].next == edge => (first, edge),
                Some((_, last)) => (edge, last),
                None => (edge, edge),
            });
            self.miss_input(edge);
        }
        self.end_loss(object);
        true
    }

    /// The next edge of those to a value that is not among these.
    fn beside(&self, task: u32, span: Option<(u32, u32)>) -> Option<u32> {
        let all = self.tasks[task].dependents;
        let edge = match span {
            None => all,
            Some((first, last)) => match self.edges[last].next {
                NONE if first != all => self.edges[first].previous,
                next => next,
            },
        };
        (edge != NONE).then_some(edge)
    }

    /// All know of a loss, or nobody need know.
    pub(super) fn end_loss(&mut self, object: u32) {
        if core::mem::replace(&mut self.objects[object].loss, Loss::Known) == Loss::Told {
            self.losses.spans.remove(self.objects[object].task);
        }
    }

    /// Goes on with what earlier steps have begun to lose.
    pub(super) fn spread_losses(&mut self) {
        while let Some(task) = self.losses.tasks.front() {
            let object = self.tasks.get(*task).map_or(NONE, |task| task.object);
            if self.objects.get(object).is_some_and(Object::is_losing) {
                if !self.spread_loss(object) {
                    return;
                }
                self.make_again(object);
            }
            self.losses.tasks.pop_front();
        }
    }

    /// A ready task is about to begin. Whether it must not, because it now hears that a value it needs is lost.
    pub(super) fn hears_of_loss(&mut self, slot: u32) -> bool {
        if self.losses.is_empty() {
            return false;
        }
        let mut hears = false;
        for n in 0..self.tasks[slot].inputs.len().min(INPUTS_LOOKED_AT) {
            let edge = self.tasks[slot].inputs[n];
            let input = self.edges[edge].input;
            if self.objects.get(self.tasks[input].object).is_some_and(Object::is_losing) {
                self.move_into_span(edge, input);
                self.miss_input(edge);
                hears = true;
            }
        }
        hears
    }

    fn move_into_span(&mut self, edge: u32, input: u32) {
        let span = match self.losses.spans.get(input) {
            Some((first, last)) => {
                self.unlink(edge);
                self.link_behind(edge, last);
                (first, edge)
            }
            None => (edge, edge),
        };
        self.losses.spans.insert(input, span);
    }

    /// One input of a task is there no more.
    fn miss_input(&mut self, edge: u32) {
        let Edge { dependent: slot, tie, .. } = self.edges[edge];
        let trifles = match &mut self.tasks[slot].state {
            State::Done(_) => 1,
            // It is being led past its inputs and will see for itself.
            State::Waiting { .. } if tie != Tie::Need => 1,
            State::Waiting { missing } => {
                *missing += 1;
                1
            }
            State::Ready(_) | State::Assigned(_) => {
                let held = self.tasks[slot].lease().is_some();
                self.withdraw(slot, Cancel::Pending);
                self.counts.waiting += 1;
                self.tasks[slot].state = State::Waiting { missing: 1 + u32::from(self.walks.delays(slot)) };
                if held { Slice::TRIFLES } else { 1 }
            }
        };
        self.slice.trifles = self.slice.trifles.saturating_sub(trifles);
    }

    /// Edges to those that have heard of a loss.
    pub(super) fn those_who_heard(&self) -> BTreeSet<u32> {
        let mut heard = BTreeSet::new();
        for (task, span) in self.losses.spans.iter() {
            let losing = self.objects.get(self.tasks[task].object).is_some_and(Object::is_losing);
            assert!(losing, "only of a loss is heard");
            heard.extend(self.between(span));
        }
        heard
    }
}
