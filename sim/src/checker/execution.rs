//! What executors really did.

use crate::model::are_among;
use crate::script;
use plait_core::id::{Attempt, FunctionId, ObjectId, SessionId, TaskId};
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
    /// The one execution of a task whose outcome counts.
    committed: BTreeMap<(TaskId, Attempt), u64>,
    first: BTreeMap<TaskId, u64>,
    /// Tasks that began again after they were over.
    remade: BTreeSet<TaskId>,
    /// How often each script of a task was called.
    runs: BTreeMap<(TaskId, u32), u32>,
    /// How often each function that joins was called.
    calls: BTreeMap<(SessionId, FunctionId), u32>,
    /// Executors that died while they had this task in their hands, by where that was.
    falls: BTreeMap<TaskId, Vec<Site>>,
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

    /// The bytes that this execution made are the task's outcome: no other's may ever be.
    pub(crate) fn commit(&mut self, execution: u64) -> &Execution {
        let made = self.all.get(execution as usize).expect("a value names the execution that made it");
        assert!(made.ended, "a value of {} came from an execution that did not end", made.task);
        let committed = *self.committed.entry((made.task, made.attempt)).or_insert(execution);
        assert_eq!(committed, execution, "an attempt of {} has two outcomes", made.task);
        let first = *self.first.entry(made.task).or_insert(execution);
        let again = self.remade.contains(&made.task);
        assert!(first == execution || again, "outcomes of two attempts of {} are in use", made.task);
        made
    }

    /// The value of a task was with workers and may be made again.
    pub(crate) fn allow_again(&mut self, task: TaskId) {
        self.remade.insert(task);
    }

    /// Whether the value of a task was made again.
    pub(crate) fn was_allowed_again(&self, task: TaskId) -> bool {
        self.remade.contains(&task)
    }

    /// The bytes of an object are those that the attempt made of which it has its name.
    pub(crate) fn check_maker(&self, object: ObjectId, value: &Value) {
        let maker = script::maker(value).expect("what is left in a store was made there");
        let made = &self.all[maker as usize];
        assert_eq!((made.task, made.attempt), (object.0.task, object.0.attempt), "the bytes of {object} are another's");
    }

    /// The text of an input, which is a value or a failure.
    pub(crate) fn use_input(&mut self, input: &Outcome) -> String {
        let Outcome::Value(value) = input else { panic!("an input without a value: {input:?}") };
        if let Some(maker) = script::maker(value) {
            self.commit(maker);
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
