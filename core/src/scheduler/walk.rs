//! Walks: what happens to a task's inputs, one after the other, in slices.
//!
//! A task may have a million inputs, and each is to be fetched as it begins, need not be as it leaves its worker, may go
//! as it is over. Where the inputs are few that is done at once; else the task is listed here, and led past them step by
//! step. Each edge says how far it has come, so a walk may give way to another at any point.

use super::Scheduler;
use super::input::Edge;
use super::object::Tie;
use super::parting::Parting;
use super::slab::{NONE, Slab};
use super::task::{State, Task, dependency};
use crate::id::WorkerId;
use alloc::collections::{BTreeMap, VecDeque};

/// To let go of the value of an object takes as long as to pass so many inputs.
const PASSES_PER_REST: usize = 11;

/// What a task is led past its inputs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// It has begun: its worker is to get them.
    Want,
    /// It has left its worker. It is ready again only after this, and waits for it as for one more input.
    Leave,
    /// It is over and its value with a worker: they are only what it can be made from, and how much that is is counted.
    Keep,
    /// The same once more: it had been made again.
    Rest,
    /// It is made again. It waits for the end of this as for one more input.
    Need,
}

/// A worker that may not be there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) worker: u32,
    pub(super) id: WorkerId,
}

/// A task on its way past its inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) errand: Errand,
    /// The first input that it has not passed.
    pub(super) next: usize,
    /// Who may be to have inputs because of an attempt of it.
    pub(super) site: Option<Site>,
}

/// All of them, and the tasks that part with their inputs (see `parting`).
#[derive(Debug, Default)]
pub(super) struct Walks {
    by_task: BTreeMap<u32, Walk>,
    pub(super) partings: BTreeMap<u32, Parting>,
    /// Who goes on next. Some may have ended.
    turns: VecDeque<Turn>,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Walk(u32),
    Part(u32),
}

impl Walks {
    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty() && self.partings.is_empty()
    }

    pub(super) fn get(&self, task: u32) -> Option<&Walk> {
        if self.by_task.is_empty() { None } else { self.by_task.get(&task) }
    }

    /// Whether a task waits for the end of its walk.
    pub(super) fn delays(&self, task: u32) -> bool {
        self.get(task).is_some_and(|walk| matches!(walk.errand, Errand::Leave | Errand::Need))
    }

    /// A walk is over or gives way. Who may be to have inputs because of it.
    pub(super) fn end(&mut self, task: u32) -> Option<Site> {
        if self.by_task.is_empty() { None } else { self.by_task.remove(&task)?.site }
    }

    fn begin(&mut self, task: u32, walk: Walk) {
        if self.by_task.insert(task, walk).is_none() {
            self.turns.push_back(Turn::Walk(task));
        }
    }

    pub(super) fn begin_parting(&mut self, task: u32, parting: Parting) {
        self.partings.insert(task, parting);
        self.turns.push_back(Turn::Part(task));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Walk)> {
        self.by_task.iter().map(|(task, walk)| (*task, walk))
    }

    /// The edges of tasks that have left a worker and may still have it get inputs; none of others.
    pub(super) fn left_at<'a>(&'a self, tasks: &'a Slab<Task>, site: Site) -> impl Iterator<Item = &'a [u32]> {
        let there = move |other: Option<Site>| other == Some(site);
        let walking = self.by_task.iter().map(move |(task, walk)| match walk.errand {
            Errand::Want => &[],
            Errand::Leave | Errand::Keep | Errand::Rest | Errand::Need if there(walk.site) => &tasks[*task].inputs[..],
            Errand::Leave | Errand::Keep | Errand::Rest | Errand::Need => &[],
        });
        let parting = self.partings.values();
        let parting = parting.map(move |parting| if there(parting.site) { parting.edges.as_slice() } else { &[] });
        walking.chain(parting)
    }

    /// Whose turn it is.
    fn front(&mut self) -> Option<Turn> {
        while let Some(turn) = self.turns.front().copied() {
            let goes_on = match turn {
                Turn::Walk(task) => self.by_task.contains_key(&task),
                Turn::Part(task) => self.partings.contains_key(&task),
            };
            if goes_on {
                return Some(turn);
            }
            self.turns.pop_front();
        }
        None
    }
}

impl Scheduler {
    /// Goes on with all that was begun, until so much of this step's slice is left. Who has not come to an end then is the
    /// last one next time.
    pub(super) fn walk_on(&mut self, leave: usize) {
        while self.slice.passes > leave
            && let Some(turn) = self.walks.front()
        {
            match turn {
                Turn::Walk(task) => self.walk(task, leave),
                Turn::Part(task) => self.go_on_parting(task, leave),
            }
            self.sweep();
            self.walks.turns.rotate_left(1);
        }
    }

    fn walk(&mut self, slot: u32, leave: usize) {
        let mut walk = *self.walks.get(slot).expect("only who walks has a turn");
        let all = self.pass_inputs(slot, &mut walk, leave);
        if !all {
            self.walks.by_task.insert(slot, walk);
            return;
        }
        self.walks.end(slot);
        match walk.errand {
            Errand::Want => {}
            Errand::Leave | Errand::Need => self.input_arrived(slot),
            Errand::Keep => self.judge_origin(slot),
            Errand::Rest => self.make_again(self.tasks[slot].object),
        }
    }

    /// Leads a task past its inputs, as far as this step may. Whether it has passed all.
    fn lead(&mut self, slot: u32, errand: Errand, site: Option<Site>) -> bool {
        let site = self.walks.end(slot).or(site);
        let mut walk = Walk { errand, next: 0, site };
        let all = self.pass_inputs(slot, &mut walk, 0);
        if !all {
            self.walks.begin(slot, walk);
        }
        all
    }

    fn pass_inputs(&mut self, slot: u32, walk: &mut Walk, leave: usize) -> bool {
        let inputs = core::mem::take(&mut self.tasks[slot].inputs);
        while self.slice.passes > leave
            && let Some(edge) = inputs.get(walk.next)
        {
            walk.next += 1;
            self.slice.passes -= 1;
            self.pass(*edge, walk);
        }
        let all = walk.next >= inputs.len();
        self.tasks[slot].inputs = inputs;
        all
    }

    fn pass(&mut self, edge: u32, walk: &Walk) {
        match walk.errand {
            Errand::Want => self.want_input(edge, walk.site),
            Errand::Leave => self.unwant_input(edge, walk.site),
            Errand::Keep => {
                self.unwant_input(edge, walk.site);
                self.count_origin(edge);
                self.rest_on_input(edge);
            }
            Errand::Rest => {
                self.unwant_input(edge, walk.site);
                self.rest_on_input(edge);
            }
            Errand::Need => self.need_again(edge),
        }
    }

    /// An attempt goes to a worker: what that lacks of its inputs is to come there.
    pub(super) fn want_inputs(&mut self, slot: u32, worker: u32) {
        let site = self.site(worker);
        self.lead(slot, Errand::Want, Some(site));
    }

    /// An attempt leaves a worker.
    pub(super) fn unwant_inputs(&mut self, slot: u32, worker: u32) {
        let site = self.site(worker);
        self.lead(slot, Errand::Leave, Some(site));
    }

    pub(super) fn site(&self, worker: u32) -> Site {
        Site { worker, id: self.workers[worker].id }
    }

    /// A task is over and its value with a worker: what its inputs hold counts for that value's origin.
    pub(super) fn keep_inputs(&mut self, slot: u32) {
        if self.lead(slot, Errand::Keep, None) {
            self.judge_origin(slot);
        }
    }

    /// A task that was needing its inputs is over: it only may have to be made again from them.
    pub(super) fn rest_on_origin(&mut self, slot: u32) {
        self.lead(slot, Errand::Rest, None);
    }

    /// A task that waits for one input more than it misses needs its inputs again.
    pub(super) fn need_inputs(&mut self, slot: u32) {
        if self.lead(slot, Errand::Need, None) {
            self.input_arrived(slot);
        }
    }

    fn rest_on_input(&mut self, edge: u32) {
        let Edge { input, tie, .. } = self.edges[edge];
        if tie == Tie::Need {
            self.edges[edge].tie = Tie::Origin;
            let object = self.tasks[input].object;
            if object != NONE {
                self.slice.passes = self.slice.passes.saturating_sub(PASSES_PER_REST);
                self.objects[object].needs -= 1;
                self.unwanted.push(input);
            }
        }
    }

    fn need_again(&mut self, edge: u32) {
        let Edge { input, dependent, .. } = self.edges[edge];
        if self.tellings.spans.get(input).or_else(|| self.losses.spans.get(input)).is_some() {
            // It sees for itself: it is neither told later nor has it heard.
            self.unlink(edge);
            self.link(edge, input);
        }
        self.edges[edge].tie = Tie::Need;
        if self.tasks[input].object != NONE {
            self.objects[self.tasks[input].object].needs += 1;
        }
        if !self.is_there(input) {
            if let State::Waiting { missing } = &mut self.tasks[dependent].state {
                *missing += 1;
            }
            self.remake(input);
        }
        if let State::Done(outcome) = &self.tasks[input].state
            && !outcome.is_value()
        {
            let failure = dependency(self.tasks[input].id, outcome);
            self.fallout.push_back((dependent, self.tasks[dependent].ticket, failure));
        }
    }
}
