//! The reference: what each task may have come to, worked out from its script and its inputs alone.

mod run;

use crate::checker::{Ledger, Site};
use crate::cluster::ClientHost;
use crate::options::Plan;
use crate::script::{self, ALWAYS, Behaviour, Script};
use crate::workload::{Index, Kind, Program, TaskRecord};
use plait_core::id::{Seq, SessionId, TaskId};
use plait_core::outcome::{Death, Failure, Outcome};
use plait_core::spec::{Errors, Options};

/// Whether there was a value that is gone, or what it would be made from again.
fn is_lost(outcome: &Outcome) -> bool {
    let Outcome::Failed(failure) = outcome else { return false };
    match &**failure {
        Failure::Unknown(_) => true,
        Failure::Dependency { cause, .. } => is_lost(cause),
        _ => false,
    }
}

/// What a task of a certain script may come to, its inputs apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prospects {
    /// Texts that its value may have; none if it cannot return.
    pub(crate) texts: Vec<String>,
    /// Whether it may fail.
    pub(crate) fails: bool,
}

/// Judges what one client was told.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ledger: &'a Ledger,
    pub(crate) program: &'a Program,
    pub(crate) session: SessionId,
}

/// Compares every outcome that a client was told with what may be.
pub(crate) fn judge(plan: &Plan, ledger: &Ledger, client: &ClientHost) {
    let Some(session) = client.session_id else { return };
    let judge = Judge { plan, ledger, program: &client.program, session };
    for (seq, task) in client.program.records() {
        if let Some((outcome, _)) = &task.told
            && let Err(wrong) = judge.allows(seq, task, outcome)
        {
            panic!("{seq} came to {outcome:?}, but {wrong}: {task:?}");
        }
    }
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, otherwise: &str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise.to_string()) }
}

impl Judge<'_> {
    fn allows(&self, seq: Seq, task: &TaskRecord, outcome: &Outcome) -> Verdict {
        if *outcome == Outcome::Cancelled {
            return ensure(task.cancel.is_some(), "nobody cancelled it");
        }
        if let Kind::Result(run) = task.kind {
            return self.allows_result(task, &self.program.runs[run], outcome);
        }
        let failed = task.inputs.iter().filter(|input| self.failure_of(**input).is_some()).count();
        if let Outcome::Failed(failure) = outcome
            && let Failure::Dependency { task: root, cause } = &**failure
        {
            return self.allows_dependency(task, root.seq, cause);
        }
        ensure(failed == 0, "an input failed")?;
        match outcome {
            Outcome::Value(value) if value.stored().is_some() => Ok(()),
            Outcome::Value(value) if value.carried() > self.plan.store_above => {
                self.allows_text(seq, task, &script::text(value))
            }
            Outcome::Value(value) => {
                let size = value.len();
                ensure(size <= self.plan.result_limit, "its value is larger than may be")?;
                self.allows_text(seq, task, &script::text(value))
            }
            Outcome::Raised(error) => self.allows_error(task, &script::text(error)),
            Outcome::Skipped => Err("nothing of it may be skipped".to_string()),
            Outcome::Cancelled => unreachable!("seen above"),
            Outcome::Failed(failure) => self.allows_failure(seq, task, failure),
        }
    }

    fn failure_of(&self, input: Seq) -> Option<&Outcome> {
        let (outcome, _) = self.program.tasks[input.index()].told.as_ref()?;
        // Whoever let go of it, or lost it, may have had it before.
        (!outcome.is_value() && !is_lost(outcome) && !self.was_remade(input)).then_some(outcome)
    }

    /// The cause is the outcome of an input, or what that one failed of.
    fn allows_dependency(&self, task: &TaskRecord, root: Seq, cause: &Outcome) -> Verdict {
        let mut unknown =
            self.may_fail_later(TaskId::new(self.session, root), cause) || (is_lost(cause) && self.is_tight());
        for input in &task.inputs {
            let Some((outcome, _)) = &self.program.tasks[input.index()].told else {
                unknown = true;
                continue;
            };
            if *input == root && outcome == cause {
                return Ok(());
            }
            if let Outcome::Failed(failure) = outcome
                && let Failure::Dependency { task: inner, cause: inner_cause } = &**failure
                && inner.seq == root
                && inner_cause == cause
            {
                return Ok(());
            }
        }
        ensure(unknown, "none of its inputs came to that")
    }

    fn allows_text(&self, seq: Seq, task: &TaskRecord, text: &str) -> Verdict {
        let prospects = match &task.kind {
            Kind::Single(script) => {
                let Some(inputs) = self.input_texts(task) else { return Ok(()) };
                let mut prospects = self.prospects(seq, task);
                prospects.texts.iter_mut().for_each(|text| *text = script::result_text(script.tag, &inputs));
                prospects
            }
            _ => self.prospects(seq, task),
        };
        ensure(prospects.texts.iter().any(|allowed| allowed == text), &format!("{text:?} is not among {prospects:?}"))
    }

    /// The texts of its inputs, if its client was told all of them, and not of another making: who crashed while a chunk or
    /// a run was made may not have when it was made again.
    fn input_texts(&self, task: &TaskRecord) -> Option<Vec<String>> {
        let text = |input: &Seq| {
            let input_task = &self.program.tasks[input.index()];
            let varies = match input_task.kind {
                Kind::Single(_) | Kind::Put(_) => false,
                Kind::Chunk { .. } | Kind::ChunkFold { .. } => self.was_remade(*input),
                Kind::Result(_) => self.ledger.executions.was_any_allowed_again(self.session),
            };
            let (outcome, _) = input_task.told.as_ref().filter(|_| !varies)?;
            outcome.value().filter(|value| value.stored().is_none()).map(script::text)
        };
        task.inputs.iter().map(text).collect()
    }

    fn allows_error(&self, task: &TaskRecord, text: &str) -> Verdict {
        let fails = |script: &Script| script::error_text(script.tag) == text && may_raise(script);
        let known = match &task.kind {
            Kind::Single(script) => fails(script),
            Kind::Chunk { items, errors, .. } | Kind::ChunkFold { items, errors, .. } => {
                let crashes = |script: &Script| script::crash_text(script.tag) == text && self.may_crash(task, script);
                *errors == Errors::Raise && items.iter().any(|item| fails(item) || crashes(item))
            }
            Kind::Result(_) | Kind::Put(_) => false,
        };
        ensure(known, &format!("it never raises {text:?}"))
    }

    fn allows_failure(&self, seq: Seq, task: &TaskRecord, failure: &Failure) -> Verdict {
        match failure {
            Failure::Crashed(deaths) => {
                let limit = self.options(task).crash_limit;
                ensure(deaths.len() == limit as usize, "it was blamed for another number of deaths")?;
                ensure(self.are_known(seq, deaths), "it was blamed for deaths that were not its own")
            }
            Failure::Unschedulable { .. } => ensure(self.is_constrained(task), "every worker can run it"),
            Failure::ResultTooLarge { size, limit } => {
                ensure(size > limit && self.may_be_too_large(task), "its result is not too large")
            }
            Failure::NoSpace(lack) => self.allows_no_space(lack.size),
            Failure::Unknown(text) => self.allows_unknown(task, text),
            Failure::Dependency { .. } => unreachable!("seen before"),
        }
    }

    /// Whether the value of a task was made again: then it may have failed after it was there.
    fn was_remade(&self, seq: Seq) -> bool {
        self.ledger.executions.was_allowed_again(TaskId::new(self.session, seq))
    }

    /// Whether a task whose value was there once may come to `cause` after all: it was made again, or nobody is left who
    /// could.
    fn may_fail_later(&self, task: TaskId, cause: &Outcome) -> bool {
        let unschedulable =
            matches!(cause, Outcome::Failed(failure) if matches!(**failure, Failure::Unschedulable { .. }));
        self.ledger.executions.was_allowed_again(task) || (unschedulable && self.ledger.was_stored(task))
    }

    /// A value is lost for good only if it was let go of, or if there was no room for what it was made from.
    /// A worker whose memory is short may have no room for what would have stayed there.
    pub(crate) fn allows_no_space(&self, size: u64) -> Verdict {
        ensure(self.plan.may_lack_space() && size > self.plan.store_above, "there was room for its result")
    }

    pub(crate) fn allows_unknown(&self, task: &TaskRecord, text: &str) -> Verdict {
        let stored = self.plan.store_above < u64::MAX;
        ensure(stored && (task.released || self.is_tight()), &format!("nothing about it is unknown ({text})"))
    }

    /// Each death is one of an executor that had this task in its hands.
    pub(crate) fn are_known(&self, seq: Seq, deaths: &[Death]) -> bool {
        let falls = self.ledger.executions.falls(TaskId::new(self.session, seq));
        are_among(deaths, falls)
    }

    pub(crate) fn options(&self, task: &TaskRecord) -> &Options {
        &self.program.options[task.options.index()]
    }

    /// Whether some worker might be unfit for it.
    pub(crate) fn is_constrained(&self, task: &TaskRecord) -> bool {
        let request = &self.options(task).request;
        request.cpus > 1 || !request.named().is_empty() || self.program.pythons.contains_key(&task.function)
    }

    fn may_be_too_large(&self, task: &TaskRecord) -> bool {
        let heavy = match &task.kind {
            Kind::Single(script) => script.ballast + 64 > self.plan.result_limit,
            Kind::Put(text) => text.len() as u64 > self.plan.result_limit,
            Kind::Chunk { items, .. } | Kind::ChunkFold { items, .. } => {
                task.run.is_none() && items.iter().map(|item| item.ballast).sum::<u64>() > self.plan.result_limit
            }
            Kind::Result(_) => false,
        };
        heavy || self.is_tight()
    }

    /// Whether any value may find no room.
    pub(crate) fn is_tight(&self) -> bool {
        self.plan.held_bytes_limit < 1 << 30 || self.plan.may_lack_space()
    }

    /// What its script alone makes it come to.
    pub(crate) fn prospects(&self, seq: Seq, task: &TaskRecord) -> Prospects {
        let mut prospects = match &task.kind {
            Kind::Single(script) => self.single(task, script),
            Kind::Chunk { items, errors, retries } => {
                let mut all = self.chunk(task, items, *errors, *retries);
                all.texts = all.items.iter().map(|items| script::chunk_text(items)).collect();
                Prospects { texts: all.texts, fails: all.fails }
            }
            Kind::ChunkFold { items, errors, retries, .. } => {
                let all = self.chunk(task, items, *errors, *retries);
                Prospects { texts: all.items.iter().map(|items| items.concat()).collect(), fails: all.fails }
            }
            Kind::Result(_) => Prospects::default(),
            Kind::Put(text) => Prospects { texts: vec![text.clone()], fails: false },
        };
        let limit = self.options(task).crash_limit as usize;
        let deaths = self.ledger.executions.falls(TaskId::new(self.session, seq)).len();
        prospects.fails |= deaths >= limit || self.is_constrained(task) || self.may_be_too_large(task);
        prospects
    }

    /// Whether so many executors died under an item that it may not be run again.
    fn may_crash(&self, task: &TaskRecord, item: &Script) -> bool {
        self.ledger.executions.item_falls(self.session, item.tag) >= self.options(task).crash_limit
    }

    /// Whether an item of a piece that was taken apart may fail otherwise than by its script.
    fn may_fail(&self, task: &TaskRecord, item: &Script) -> bool {
        let deaths = self.ledger.executions.chunk_falls(self.session, item.tag);
        task.run.is_some() && (deaths >= self.options(task).crash_limit || self.is_tight())
    }

    /// Every list of item texts that a chunk may have.
    fn chunk(&self, task: &TaskRecord, items: &[Script], errors: Errors, retries: u32) -> ChunkProspects {
        let mut lists: Vec<Vec<String>> = vec![Vec::new()];
        let mut fails = false;
        for item in items {
            let value = script::result_text(item.tag, &[]);
            let (returns, raises) = match item.behaviour {
                Behaviour::Return | Behaviour::Soil | Behaviour::Hang | Behaviour::Stubborn => (true, false),
                Behaviour::Raise(times) => (times != ALWAYS, times > retries),
                Behaviour::Refuse => (false, true),
                Behaviour::Crash(times) => (times != ALWAYS, false),
            };
            let mut choices: Vec<Option<String>> = Vec::new();
            if returns {
                choices.push(Some(value));
            }
            let given = script::given_text(std::slice::from_ref(item));
            let errors_of = [
                (raises, script::error_text(item.tag)),
                (self.may_crash(task, item), script::crash_text(item.tag)),
                (self.may_fail(task, item), format!("failed{given}")),
            ];
            for (_, text) in errors_of.into_iter().filter(|(may_be, _)| *may_be) {
                match errors {
                    Errors::Return => choices.push(Some(format!("!{text}"))),
                    Errors::Skip => choices.push(None),
                    Errors::Raise => fails = true,
                }
            }
            let extended = |list: &Vec<String>, choice: &Option<String>| {
                list.iter().cloned().chain(choice.clone()).collect::<Vec<String>>()
            };
            lists = lists.iter().flat_map(|list| choices.iter().map(|choice| extended(list, choice))).collect();
        }
        ChunkProspects { items: lists, texts: Vec::new(), fails }
    }

    fn single(&self, task: &TaskRecord, script: &Script) -> Prospects {
        let options = self.options(task);
        let (returns, fails) = match script.behaviour {
            Behaviour::Return | Behaviour::Soil => (true, false),
            Behaviour::Raise(times) => (times != ALWAYS, times > options.retries),
            Behaviour::Crash(times) => (times != ALWAYS, times >= options.crash_limit),
            Behaviour::Refuse => (false, true),
            Behaviour::Hang | Behaviour::Stubborn => (false, false),
        };
        let text = script::result_text(script.tag, &[]);
        Prospects { texts: if returns { vec![text] } else { Vec::new() }, fails }
    }
}

/// What a chunk may come to, item by item.
struct ChunkProspects {
    items: Vec<Vec<String>>,
    texts: Vec<String>,
    fails: bool,
}

fn may_raise(script: &Script) -> bool {
    matches!(script.behaviour, Behaviour::Raise(_) | Behaviour::Refuse)
}

/// Whether all these deaths, each a different one, are among the known falls.
pub(crate) fn are_among(deaths: &[Death], falls: &[Site]) -> bool {
    let mut named: Vec<(String, u32)> = deaths.iter().map(|death| (death.host.to_string(), death.pid)).collect();
    named.sort();
    named.dedup();
    let known = |(host, pid): &(String, u32)| {
        falls.iter().any(|site| format!("host{}", site.worker) == *host && site.pid == *pid)
    };
    named.len() == deaths.len() && named.iter().all(known)
}
