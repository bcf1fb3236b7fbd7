//! What executors really did.

use crate::model::are_among;
use crate::probe::probe;
use crate::script;
use plait_core::id::{Attempt, AttemptId, FunctionId, ObjectId, SessionId, TaskId};
use plait_core::outcome::{Death, Ending, Outcome, Retry};
use plait_core::spec::Start;
use plait_core::value::Value;
use plait_core::worker::Condition;
use std::collections::{BTreeMap, BTreeSet};

/// What one call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Returns(Condition),
    Raises(Retry),
    Dies,
    Hangs,
    HangsStubbornly,
}

/// Where something ran: the worker machine, and a process id that is never used again there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) worker: usize,
    pub(crate) pid: u32,
}

/// One run of a task's code.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) task: TaskId,
    pub(crate) attempt: Attempt,
    plan: Option<(Ending, Condition)>,
    pub(crate) ended: bool,
}

/// Every execution, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Executions {
    all: Vec<Execution>,
    /// The one execution of an attempt whose outcome counts, or those of its parts.
    committed: BTreeMap<(TaskId, Attempt), Vec<u64>>,
    first: BTreeMap<TaskId, Vec<u64>>,
    /// Attempts that were given in advance, each with one that was to make an input.
    promised: BTreeSet<(AttemptId, AttemptId)>,
    /// What attempts made of such inputs counts once they count themselves: they may all be lost together.
    borrowed: BTreeMap<(TaskId, Attempt), Vec<Vec<u64>>>,
    /// Tasks that began again after they were over.
    remade: BTreeSet<TaskId>,
    /// How often each script of a task was called.
    runs: BTreeMap<(TaskId, u32), u32>,
    /// How often each function that joins was called.
    calls: BTreeMap<(SessionId, FunctionId), u32>,
    /// Executors that died while they had this task in their hands, by where that was.
    falls: BTreeMap<TaskId, Vec<Site>>,
    /// How many executors died while this item had begun.
    item_falls: BTreeMap<(SessionId, u32), u32>,
    /// How many died that had this item in their hands, begun or not.
    chunk_falls: BTreeMap<(SessionId, u32), u32>,
}

impl Executions {
    pub(crate) fn begin(&mut self, start: &Start) -> u64 {
        let execution = self.all.len() as u64;
        self.all.push(Execution { task: start.attempt.task, attempt: start.attempt.attempt, plan: None, ended: false });
        execution
    }

    pub(crate) fn plan(&mut self, execution: u64, ending: Ending, condition: Condition) {
        self.all[execution as usize].plan = Some((ending, condition));
    }

    pub(crate) fn take_plan(&mut self, execution: u64) -> (Ending, Condition) {
        self.all[execution as usize].plan.take().expect("what finishes was planned")
    }

    pub(crate) fn end(&mut self, execution: u64) {
        self.all[execution as usize].ended = true;
    }

    /// The bytes that these executions made, parts of one attempt, are the task's outcome: no others' may ever be.
    pub(crate) fn commit(&mut self, executions: &[u64]) -> &Execution {
        let made = |n: &u64| self.all.get(*n as usize).expect("a value names the execution that made it");
        let Execution { task, attempt, .. } = *made(&executions[0]);
        let whole = (task, attempt);
        for part in executions.iter().map(made) {
            assert!(part.ended, "a value of {} came from an execution that did not end", part.task);
            assert_eq!((part.task, part.attempt), whole, "a value has parts of two attempts");
        }
        let committed = self.committed.entry(whole).or_insert_with(|| executions.to_vec());
        assert_eq!(*committed, executions, "an attempt of {task} has two outcomes");
        let again = self.remade.contains(&task);
        let first = self.first.entry(task).or_insert_with(|| executions.to_vec());
        assert!(*first == executions || again, "outcomes of two attempts of {task} are in use");
        for makers in self.borrowed.remove(&whole).unwrap_or_default() {
            self.commit(&makers);
        }
        &self.all[executions[0] as usize]
    }

    /// An attempt comes to its worker, maybe before its inputs.
    pub(crate) fn promise(&mut self, start: &Start) {
        if !start.promised.is_empty() {
            probe!("task given in advance");
        }
        self.promised.extend(start.promised.iter().map(|promised| (start.attempt, promised.by)));
    }

    /// The value of a task was with workers and may be made again.
    pub(crate) fn allow_again(&mut self, task: TaskId) {
        self.remade.insert(task);
    }

    /// Whether the value of a task was made again.
    pub(crate) fn was_allowed_again(&self, task: TaskId) -> bool {
        self.remade.contains(&task)
    }

    /// Whether the value of any task of a session was made again.
    pub(crate) fn was_any_allowed_again(&self, session: SessionId) -> bool {
        self.remade.iter().any(|task| task.session == session)
    }

    /// The bytes of an object are those that the attempt made of which it has its name; what was put nobody made.
    pub(crate) fn check_maker(&self, object: ObjectId, value: &Value) {
        let makers = script::makers(value);
        if makers.is_empty() {
            assert!(self.all.iter().all(|made| made.task != object.0.task), "what is in a store was made, or put");
            probe!("put given to a worker");
        }
        for made in makers.iter().map(|maker| &self.all[*maker as usize]) {
            let name = (object.0.task, object.0.attempt);
            assert_eq!((made.task, made.attempt), name, "the bytes of {object} are another's");
        }
    }

    /// The text of an input of an attempt. What its own parts came to is no outcome yet.
    pub(crate) fn use_input(&mut self, by: AttemptId, input: &Outcome) -> String {
        let Outcome::Value(value) = input else { panic!("an input without a value: {input:?}") };
        let makers = script::makers(value);
        let own = |made: &Execution| (made.task, made.attempt) == (by.task, by.attempt);
        if makers.first().is_some_and(|maker| own(&self.all[*maker as usize])) {
            probe!("parts of a chunk folded");
        } else if let Some(maker) = makers.first() {
            let Execution { task, attempt, .. } = self.all[*maker as usize];
            if self.promised.contains(&(by, AttemptId { task, attempt })) {
                probe!("input made after its task was given");
                self.borrowed.entry((by.task, by.attempt)).or_default().push(makers);
            } else {
                self.commit(&makers);
            }
        }
        script::text(value)
    }

    /// How often this script of this task was called before.
    pub(crate) fn count_run(&mut self, task: TaskId, tag: u32) -> u32 {
        let runs = self.runs.entry((task, tag)).or_default();
        *runs += 1;
        *runs - 1
    }

    /// How often this joining function was called before.
    pub(crate) fn count_call(&mut self, session: SessionId, function: FunctionId) -> u32 {
        let calls = self.calls.entry((session, function)).or_default();
        *calls += 1;
        *calls - 1
    }

    pub(crate) fn fall(&mut self, task: TaskId, site: Site) {
        self.falls.entry(task).or_default().push(site);
    }

    pub(crate) fn item_fell(&mut self, session: SessionId, tag: u32) {
        *self.item_falls.entry((session, tag)).or_default() += 1;
    }

    pub(crate) fn chunk_fell(&mut self, session: SessionId, tag: u32) {
        *self.chunk_falls.entry((session, tag)).or_default() += 1;
    }

    /// How many executors died under an item.
    pub(crate) fn item_falls(&self, session: SessionId, tag: u32) -> u32 {
        self.item_falls.get(&(session, tag)).copied().unwrap_or(0)
    }

    /// How many executors died under a chunk with an item in it.
    pub(crate) fn chunk_falls(&self, session: SessionId, tag: u32) -> u32 {
        self.chunk_falls.get(&(session, tag)).copied().unwrap_or(0)
    }

    /// Whether these are deaths under a task.
    pub(crate) fn are_known(&self, task: TaskId, deaths: &[Death]) -> bool {
        are_among(deaths, self.falls(task))
    }

    /// Executors that died under a task.
    pub(crate) fn falls(&self, task: TaskId) -> &[Site] {
        self.falls.get(&task).map_or(&[], Vec::as_slice)
    }

    /// Whether these executors all died under one and the same task of a session.
    pub(crate) fn fell_together(&self, session: SessionId, deaths: &[Death]) -> bool {
        self.falls.iter().any(|(task, falls)| task.session == session && are_among(deaths, falls))
    }

    /// Whether any task of which `which` holds was ever executed.
    pub(crate) fn ran(&self, which: impl Fn(&TaskId) -> bool) -> bool {
        self.all.iter().any(|execution| which(&execution.task))
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }
}
