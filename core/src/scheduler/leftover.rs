//! Leftovers: what runs and sessions leave behind when they are over, cleared away in slices.
//!
//! A run whose result is over and a session whose client is gone for good may have millions of tasks and values. Nothing
//! of it begins any more, and what workers hold of it is stopped first; the rest goes step by step, while others get on.
//! Until it is gone each task is as consistent as any other: workers may still report it.

use super::object::Claim;
use super::remake::Recipe;
use super::run::{Gather, Phase, Run};
use super::session::Link;
use super::slab::NONE;
use super::task::{Place, Role, State, Task};
use super::{Action, Scheduler, Slice};
use crate::id::{Seq, WorkerId};
use crate::outcome::Outcome;
use crate::spec::{Cancel, Retention};
use crate::value::Value;
use alloc::vec::Vec;

/// What a ready task is said to miss that is not to begin any more: more than it has inputs, whatever becomes of those.
pub(super) const SHELVED: u32 = 1 << 31;

/// A session whose client is gone for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remains {
    pub(super) session: u32,
    stage: Stage,
}

/// How far it is cleared away.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Runs that were not over.
    Runs,
    /// What workers hold, from this one on.
    Workers(WorkerId),
    /// Tasks from the latest to the earliest: whoever waits goes before what it waits for. Those from this number on
    /// have had their turn.
    Tasks(Option<Seq>),
    Functions,
}

impl Remains {
    pub(super) const fn new(session: u32) -> Self {
        Self { session, stage: Stage::Runs }
    }
}

impl Scheduler {
    /// Ends all that cannot go on, looks at every run to which something has happened, and clears away what is over: as
    /// much of it as this step may.
    pub(super) fn settle(&mut self) {
        loop {
            let before = self.slice;
            self.run_fallout();
            self.spread_losses();
            self.forget_gone();
            self.remake_lost();
            self.walk_on(0);
            self.settle_runs();
            self.order_combines();
            self.clear_runs();
            self.clear_sessions();
            self.clear_dregs();
            let ended = (self.fallout.is_empty() && self.stirred.is_empty()) || self.slice.chores == 0;
            if self.slice == before && ended {
                return;
            }
        }
    }

    /// Whether a task is not to begin any more.
    pub(super) fn is_leftover_task(&self, slot: u32) -> bool {
        if self.over.is_empty() && self.remains.is_empty() {
            return false;
        }
        let Task { session, role, .. } = self.tasks[slot];
        let of_run = matches!(role, Role::Piece { run, .. } | Role::Fold { run, .. } if self.runs[run].is_over());
        of_run || self.sessions[session].link == Link::Left
    }

    /// Takes a task that is not to begin any more out of its queue.
    pub(super) fn shelve(&mut self, slot: u32) {
        self.ready.take(&mut self.tasks, slot);
        self.counts.ready -= 1;
        self.counts.waiting += 1;
        self.tasks[slot].state = State::Waiting { missing: SHELVED };
    }

    /// Clears away runs that are over.
    pub(super) fn clear_runs(&mut self) {
        while self.slice.chores > 0
            && let Some(run) = self.over.front().copied()
        {
            if self.runs[run].live > 0 {
                self.clear_tasks(run);
            } else if self.slice.trifles == 0 {
                return;
            } else if !self.clear_values(run) {
                self.runs.remove(run);
                self.unfolded.remove(&run);
                self.unordered.remove(&run);
                self.over.pop_front();
            }
        }
    }

    /// Takes tasks of a run away, from wherever they are.
    fn clear_tasks(&mut self, run: u32) {
        let Run { session, phase: Phase::Over(cancel, from), .. } = self.runs[run] else { return };
        let tasks = self.sessions[session].index.range(from..=Seq(u64::MAX));
        let tasks: Vec<u32> = tasks.take(self.slice.chores).collect();
        let last = self.tasks[*tasks.last().expect("what lives is indexed")].id.seq;
        self.runs[run].phase = Phase::Over(cancel, Seq(last.0.saturating_add(1)));
        self.slice.chores -= tasks.len();
        for slot in tasks {
            // One that went before it may have taken it along.
            let role = self.tasks.get(slot).map(|task| task.role);
            if matches!(role, Some(Role::Piece { run: r, .. } | Role::Fold { run: r, .. }) if r == run) {
                self.clear_task(slot, cancel);
            }
        }
    }

    /// Takes a piece or a fold of a run that is over away.
    fn clear_task(&mut self, slot: u32, cancel: Cancel) {
        self.withdraw(slot, cancel);
        self.let_inputs_go(slot);
        let task = &mut self.tasks[slot];
        self.held -= task.held_args();
        task.args = Value::empty();
        let Task { session, function, call, role, .. } = *task;
        self.free(slot);
        self.let_functions_go(session, function, call);
        self.counts.done += 1;
        self.counts.failed += 1;
        if let Role::Piece { run, .. } | Role::Fold { run, .. } = role {
            self.runs[run].live -= 1;
        }
        self.sessions[session].pending -= 1;
        self.touch(session);
    }

    /// Lets go of values of a run that is over. False if it has none.
    fn clear_values(&mut self, run: u32) -> bool {
        let Run { session, gather, .. } = &mut self.runs[run];
        let session = *session;
        let most = self.slice.trifles.div_ceil(Slice::TRIFLES);
        let values = match gather {
            Gather::Fold(fold) => fold.take_values(most),
            Gather::Combine(combine) => combine.take_outcomes(most),
        };
        if values.is_empty() {
            let rest = self.runs[run].take_combine_inputs().into_iter();
            rest.for_each(|Recipe { inputs, bytes }| {
                self.held -= bytes;
                self.dregs.push_back(inputs);
            });
            return false;
        }
        for outcome in &values {
            // The record of an object goes with it.
            let trifles = if outcome.stored().is_some() { Slice::TRIFLES } else { 1 };
            self.slice.trifles = self.slice.trifles.saturating_sub(trifles);
            self.held -= outcome.len();
            outcome.value().into_iter().for_each(|value: &Value| self.unhold(session, value));
        }
        self.sweep();
        true
    }

    /// A client is gone for good: whatever is left of its session goes, as soon as may be.
    pub(super) fn leave_session(&mut self, session: u32) {
        self.remains.push_back(Remains::new(session));
        self.clear_sessions();
    }

    /// Clears away sessions whose clients are gone.
    pub(super) fn clear_sessions(&mut self) {
        while self.slice.chores > 0
            && let Some(Remains { session, stage }) = self.remains.front().copied()
        {
            let next = match stage {
                Stage::Runs => self.clear_runs_of(session),
                Stage::Workers(from) => self.clear_workers_of(session, from),
                Stage::Tasks(below) => self.clear_tasks_of(session, below),
                Stage::Functions => self.clear_functions_of(session),
            };
            match next {
                Some(stage) => self.remains[0].stage = stage,
                None => {
                    self.remains.pop_front();
                    self.bury_session(session);
                }
            }
            if matches!(next, Some(Stage::Tasks(None))) {
                // What is left waits for others that are being cleared away.
                return;
            }
        }
    }

    fn clear_runs_of(&mut self, session: u32) -> Option<Stage> {
        let Some((_, run)) = self.sessions[session].runs.first_key_value() else {
            let few = self.sessions[session].pending <= self.slice.chores as u64;
            return Some(if few { Stage::Tasks(Some(Seq(u64::MAX))) } else { Stage::Workers(WorkerId(0)) });
        };
        let run = *run;
        self.slice.chores -= 1;
        self.stop_run(run, Cancel::Running);
        let result = self.runs[run].result;
        self.withdraw(result, Cancel::Running);
        self.conclude(result, Outcome::Cancelled, Place::default());
        Some(Stage::Runs)
    }

    /// Stops what one worker holds of a session.
    fn clear_workers_of(&mut self, session: u32, from: WorkerId) -> Option<Stage> {
        let Some(worker) = self.workers.find_from(from.0) else { return Some(Stage::Tasks(Some(Seq(u64::MAX)))) };
        let next = Stage::Workers(WorkerId(self.workers[worker].id.0 + 1));
        self.slice.chores -= 1;
        if !self.sessions[session].known_at.contains(worker) {
            return Some(next);
        }
        let (mut slot, mut ours) = (self.workers[worker].first, Vec::new());
        while slot != NONE {
            let task = &self.tasks[slot];
            if task.session == session {
                ours.push(slot);
            }
            slot = task.lease().expect("what a worker lists is assigned").next;
        }
        self.slice.chores = self.slice.chores.saturating_sub(self.workers[worker].held as usize);
        for slot in ours {
            // One that went before it may have taken it along.
            if self.tasks.get(slot).is_some_and(|task| task.session == session) {
                self.leave_task(slot);
            }
        }
        Some(next)
    }

    fn clear_tasks_of(&mut self, session: u32, below: Option<Seq>) -> Option<Stage> {
        let index = &self.sessions[session].index;
        let Some(below) = below else {
            let again = Stage::Tasks(Some(Seq(u64::MAX)));
            return Some(if index.is_empty() { Stage::Functions } else { again });
        };
        let tasks: Vec<u32> = index.before(below).take(self.slice.chores).collect();
        let Some(last) = tasks.last() else {
            return Some(if index.is_empty() { Stage::Functions } else { Stage::Tasks(None) });
        };
        let last = self.tasks[*last].id.seq;
        self.slice.chores -= tasks.len();
        for slot in tasks {
            if self.tasks.get(slot).is_some_and(|task| task.session == session) {
                self.leave_task(slot);
            }
        }
        Some(Stage::Tasks(Some(last)))
    }

    /// Lets go of a task whose client is gone: it ends if it is not over, and nobody keeps it.
    fn leave_task(&mut self, slot: u32) {
        let Task { role, ticket, object, .. } = self.tasks[slot];
        if let Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } =
            &mut self.tasks[slot].role
        {
            *retention = Retention::Delivery;
        }
        if object != NONE {
            self.objects[object].claim = Claim::Settled;
            self.objects[object].fetchers.clear();
        } else if !self.tasks[slot].is_done() {
            if let Role::Piece { .. } | Role::Fold { .. } = role {
                return self.clear_task(slot, Cancel::Running);
            }
            self.withdraw(slot, Cancel::Running);
            self.conclude(slot, Outcome::Cancelled, Place::default());
        }
        if self.tasks.get(slot).is_some_and(|task| task.ticket == ticket) {
            self.free_if_unwanted(slot);
        }
    }

    fn clear_functions_of(&mut self, session: u32) -> Option<Stage> {
        let function = self.sessions[session].functions.pop()?;
        self.slice.chores -= 1;
        self.held -= function.spec.body.carried();
        Some(Stage::Functions)
    }

    /// Nothing of a session is left.
    fn bury_session(&mut self, slot: u32) {
        let session = self.sessions.remove(slot);
        for (_, queue) in session.options.iter().flatten().flat_map(|entry| &entry.queues) {
            self.ready.let_go(*queue);
        }
        self.touched.retain(|touched| *touched != slot);
        for (_, w) in self.workers.iter().filter(|(worker, _)| session.known_at.contains(*worker)) {
            self.farewells.push(Action::ForgetSession { worker: w.id, session: session.id });
        }
    }
}
