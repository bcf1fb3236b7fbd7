//! What must hold, seen from outside: the ledger writes down what the coordinator was told and what it ordered, what
//! executors really did, and what clients were told, and compares them as they happen.

mod execution;

pub(crate) use execution::{Effect, Site};

use crate::cluster::ClientHost;
use crate::options::{Canary, Plan, Shape};
use crate::probe::probe;
use crate::script;
use execution::Executions;
use plait_core::id::{
    Attempt, AttemptId, FunctionId, FunctionKey, ObjectId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId,
};
use plait_core::limits;
use plait_core::outcome::{Delivery, Ending, Failure, Notice, Outcome, Report, Retry};
use plait_core::peer::Fingerprint;
use plait_core::rng::Rng;
use plait_core::scheduler::{Action, EndReason, Event, Exchange};
use plait_core::spec::{Offer, Options, PythonVersion, Request, Span, Start};
use std::collections::{BTreeMap, BTreeSet};

/// Nine tenths of how long a session is kept: clocks drift.
const KEPT_LEAST: u64 = limits::SESSION_KEPT.as_nanos() as u64 / 10 * 9;

/// What is known of a session.
#[derive(Debug)]
struct SessionFacts {
    client: usize,
    /// By which workers know its client.
    key: Option<Fingerprint>,
    exchange: Option<Exchange>,
    cut_since: Option<u64>,
    closed: bool,
    /// Notices sent, as the client would count them.
    notices: u64,
    run_of: BTreeMap<Seq, RunId>,
    results: BTreeMap<RunId, Seq>,
    options: BTreeMap<OptionsId, Options>,
    pythons: BTreeMap<FunctionId, PythonVersion>,
    /// Functions that its client will not name again.
    released: BTreeSet<FunctionId>,
    asked: BTreeMap<Seq, (OptionsId, FunctionId)>,
}

/// What is known of a worker.
#[derive(Debug)]
struct WorkerFacts {
    offer: Offer,
    exchange: Exchange,
    draining: bool,
    joined_at: u64,
    gone_at: Option<u64>,
    leases: BTreeSet<AttemptId>,
    /// What it was told and not told to forget.
    functions: BTreeSet<FunctionKey>,
}

/// Which attempt made a value.
#[derive(Debug)]
struct Made {
    task: TaskId,
    attempt: Attempt,
}

/// What is known of a task that was started or ended.
#[derive(Debug, Default)]
struct TaskFacts {
    last_attempt: u32,
    /// The items that it had when it was last started, without those of which its worker let go.
    span: Span,
    lease: Option<(AttemptId, WorkerId)>,
    recalled: Option<AttemptId>,
    lost: bool,
    raised: bool,
    /// Exceptions that a retry may cure, reported so far.
    raises: u32,
    /// One was reported that no retry may cure.
    denied: bool,
    /// Cancelled while no worker held it: it never starts again.
    never: bool,
    over: bool,
    /// Its value was left with a worker: it may begin again once that is lost.
    stored: bool,
}

/// The ledger of a world.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) executions: Executions,
    sessions: BTreeMap<SessionId, SessionFacts>,
    workers: BTreeMap<WorkerId, WorkerFacts>,
    tasks: BTreeMap<TaskId, TaskFacts>,
    /// Workers that said they hold an object.
    copies: BTreeMap<ObjectId, BTreeSet<WorkerId>>,
    /// What workers were told to drop.
    dropped: BTreeSet<(WorkerId, ObjectId)>,
    /// What was left by attempts that were not current any more: whoever repeats that is told again to drop it.
    stale: BTreeSet<(WorkerId, ObjectId)>,
    /// Of each request of this step, in order, the tasks that it cancelled for good if it was taken.
    requests: Vec<(SessionId, Vec<TaskId>)>,
    faults: u64,
    /// How long a task waits at least before it is unschedulable.
    patience: u64,
    canary: Canary,
    struck: bool,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            executions: Executions::default(),
            sessions: BTreeMap::new(),
            workers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            copies: BTreeMap::new(),
            dropped: BTreeSet::new(),
            stale: BTreeSet::new(),
            requests: Vec::new(),
            faults: 0,
            patience: patience(plan.shape),
            canary: plan.canary,
            struck: false,
        }
    }

    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }

    /// True once, for the canary.
    pub(crate) fn strike_canary(&mut self) -> bool {
        !std::mem::replace(&mut self.struck, true)
    }

    /// A canary: changes the first value that is reported.
    pub(crate) fn change_value(&mut self, reports: &mut [Report]) {
        for report in reports {
            if let Ending::Returned(value) = &mut report.ending
                && let Some(maker) = script::makers(value).first().copied()
                && self.strike_canary()
            {
                *value = script::value(&format!("{}x", script::text(value)), maker, 0);
            }
        }
    }

    /// A canary: hands the first attempt out twice.
    pub(crate) fn double_start(&mut self, actions: &mut Vec<Action>) {
        let first = actions.iter().position(|action| matches!(action, Action::StartAttempts { .. }));
        if let Some(n) = first
            && self.canary == Canary::DoubledStart
            && self.strike_canary()
        {
            actions.insert(n, actions[n].clone());
        }
    }

    pub(crate) fn on_session(&mut self, session: SessionId, client: usize) {
        let facts = SessionFacts {
            client,
            key: None,
            exchange: None,
            cut_since: None,
            closed: false,
            notices: 0,
            run_of: BTreeMap::new(),
            results: BTreeMap::new(),
            options: BTreeMap::new(),
            pythons: BTreeMap::new(),
            released: BTreeSet::new(),
            asked: BTreeMap::new(),
        };
        self.sessions.insert(session, facts);
    }

    pub(crate) fn is_worker_gone(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_none_or(|facts| facts.gone_at.is_some())
    }

    /// Whether the value of a task was left with a worker.
    pub(crate) fn was_stored(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|facts| facts.stored)
    }

    pub(crate) fn is_session_gone(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_none_or(|facts| facts.closed)
    }

    /// Whether a coordinator may have forgotten this session by `now`.
    pub(crate) fn may_be_gone(&self, session: Option<SessionId>, now: u64) -> bool {
        let Some(facts) = session.and_then(|session| self.sessions.get(&session)) else { return true };
        facts.closed || facts.cut_since.is_some_and(|since| now >= since + KEPT_LEAST)
    }

    /// What the coordinator was told.
    pub(crate) fn on_event(&mut self, now: u64, event: &Event) {
        match event {
            Event::WorkerJoined { worker, offer, exchange, .. } => self.meet_worker(now, *worker, offer, *exchange),
            Event::WorkerDraining { worker } => {
                if let Some(facts) = self.workers.get_mut(worker) {
                    facts.draining = true;
                }
            }
            Event::WorkerLost { worker } => self.lose_worker(now, *worker),
            Event::AttemptsEnded { worker, reports } => {
                reports.iter().for_each(|report| self.on_report(*worker, report));
            }
            Event::AttemptsReturned { worker, attempts } => {
                for attempt in attempts {
                    if self.end_lease(*worker, *attempt) && self.was_recalled(*attempt) {
                        probe!("recall answered with work returned");
                    }
                }
            }
            Event::ChunkCut { worker, attempt, at } => self.on_chunk_cut(*worker, *attempt, *at),
            Event::SessionCut { session } => {
                self.doubt_requests(*session);
                if let Some(facts) = self.sessions.get_mut(session) {
                    facts.cut_since.get_or_insert(now);
                }
            }
            Event::SessionClosed { session } => {
                if let Some(facts) = self.sessions.get_mut(session) {
                    facts.closed = true;
                }
            }
            Event::SessionResumed { session, taken, .. } => {
                self.doubt_requests(*session);
                if let Some(facts) = self.sessions.get_mut(session)
                    && facts.notices > *taken
                {
                    probe!("resume resent notices");
                    facts.notices = *taken;
                }
            }
            Event::Requested { session, request } => self.on_request(*session, request),
            Event::ObjectsHeld { worker, objects } => {
                let gone = self.is_worker_gone(*worker);
                for object in objects.iter().filter(|_| !gone) {
                    self.copies.entry(*object).or_default().insert(*worker);
                }
            }
            Event::ObjectsLost { worker, objects } => {
                for object in objects {
                    self.copies.entry(*object).or_default().remove(worker);
                }
            }
            Event::SessionOpened { session, exchange, .. } => {
                // One that is opened again is the first one.
                if let Some(facts) = self.sessions.get_mut(session) {
                    facts.exchange.get_or_insert(*exchange);
                }
            }
            Event::ObjectUnfetched { .. }
            | Event::ObjectShown { .. }
            | Event::NoticesTaken { .. }
            | Event::WorkerHeard { .. }
            | Event::AttemptsStarted { .. }
            | Event::StartsTaken { .. } => {}
        }
    }

    fn meet_worker(&mut self, now: u64, worker: WorkerId, offer: &Offer, exchange: Exchange) {
        self.workers.entry(worker).or_insert_with(|| WorkerFacts {
            offer: offer.clone(),
            exchange,
            draining: false,
            joined_at: now,
            gone_at: None,
            leases: BTreeSet::new(),
            functions: BTreeSet::new(),
        });
    }

    fn on_chunk_cut(&mut self, worker: WorkerId, attempt: AttemptId, at: Option<u32>) {
        let Some(task) = self.tasks.get_mut(&attempt.task).filter(|task| task.lease == Some((attempt, worker))) else {
            return;
        };
        let Some(at) = at else { return probe!("no end of a piece left to share") };
        if (task.span.first + 1..task.span.end).contains(&at) {
            probe!("end of a piece shared");
            task.span.end = at;
        }
    }

    fn on_request(&mut self, session: SessionId, request: &Request) {
        let Some(facts) = self.sessions.get_mut(&session).filter(|facts| !facts.closed) else { return };
        let mut cancelled = Vec::new();
        match request {
            Request::OpenRun(run) => {
                facts.results.insert(run.id, run.result);
            }
            Request::Submit(tasks) => {
                facts.asked.extend(tasks.iter().map(|task| (task.seq, (task.options, task.function))));
                let pieces = tasks.iter().filter_map(|task| task.run.map(|run| (task.seq, run)));
                facts.run_of.extend(pieces);
            }
            Request::Cancel { tasks, .. } => {
                for id in tasks.iter().map(|seq| TaskId::new(session, *seq)) {
                    let task = self.tasks.entry(id).or_default();
                    if task.lease.is_none() && !task.over && !std::mem::replace(&mut task.never, true) {
                        cancelled.push(id);
                    }
                }
            }
            Request::DefineOptions { id, options } => {
                facts.options.insert(*id, options.clone());
            }
            Request::DefineFunction(function) => facts.pythons.extend(function.python.map(|p| (function.id, p))),
            Request::ReleaseFunctions(functions) => facts.released.extend(functions),
            Request::Introduce(key) => facts.key = Some(*key),
            Request::Relay { .. } => probe!("value wanted through the coordinator after all"),
            Request::SealRun { .. }
            | Request::Release(_)
            | Request::Put { .. }
            | Request::Fetch { .. }
            | Request::Took(_) => {}
        }
        self.requests.push((session, cancelled));
    }

    /// A connection is gone, and with it what came over it in this step if it waits.
    fn doubt_requests(&mut self, session: SessionId) {
        for (_, cancelled) in self.requests.iter_mut().filter(|(other, _)| *other == session) {
            let tasks = std::mem::take(cancelled);
            tasks.into_iter().for_each(|task| self.tasks.entry(task).or_default().never = false);
        }
    }

    /// The coordinator has made its step: the last so many requests of each session are not taken yet. When they are, what
    /// they cancel may have begun.
    pub(crate) fn on_step(&mut self, waiting: impl Fn(SessionId) -> usize) {
        let mut counted = BTreeMap::<SessionId, usize>::new();
        for (session, cancelled) in std::mem::take(&mut self.requests).into_iter().rev() {
            let later = counted.entry(session).or_default();
            if *later < waiting(session) {
                probe!("request waited for an earlier one");
                for task in cancelled {
                    self.tasks.entry(task).or_default().never = false;
                }
            }
            *later += 1;
        }
    }

    fn on_report(&mut self, worker: WorkerId, report: &Report) {
        let attempt = report.attempt;
        let current = self.end_lease(worker, attempt);
        if !current {
            if let Ending::Returned(value) = &report.ending
                && let Some(stored) = value.stored()
            {
                self.stale.insert((worker, stored.object));
            }
            if self.is_worker_gone(worker) {
                probe!("report after fence ignored");
            } else {
                probe!("stale result of an old attempt");
            }
            return;
        }
        if self.was_recalled(attempt) {
            probe!("recall came too late");
        }
        match &report.ending {
            Ending::Returned(value) => {
                if let Some(task) = self.tasks.get_mut(&attempt.task) {
                    (task.raises, task.denied) = (0, false);
                    task.stored |= value.stored().is_some();
                }
                if let Some(stored) = value.stored() {
                    self.copies.entry(stored.object).or_default().insert(worker);
                }
            }
            Ending::Crashed(_) => probe!("blamed executor death reported"),
            Ending::Raised { retry, .. } => {
                if let Some(task) = self.tasks.get_mut(&attempt.task) {
                    task.raised = true;
                    task.raises += u32::from(*retry == Retry::Allowed);
                    task.denied |= *retry == Retry::Denied;
                }
            }
            _ => {}
        }
    }

    fn was_recalled(&self, attempt: AttemptId) -> bool {
        self.tasks.get(&attempt.task).is_some_and(|task| task.recalled == Some(attempt))
    }

    /// Ends the lease of an attempt, if this worker has it and it is the current one.
    fn end_lease(&mut self, worker: WorkerId, attempt: AttemptId) -> bool {
        if let Some(facts) = self.workers.get_mut(&worker) {
            facts.leases.remove(&attempt);
        }
        let Some(task) = self.tasks.get_mut(&attempt.task) else { return false };
        let current = task.lease == Some((attempt, worker));
        if current {
            task.lease = None;
        }
        current
    }

    fn lose_worker(&mut self, now: u64, worker: WorkerId) {
        let Some(facts) = self.workers.get_mut(&worker) else { return };
        facts.gone_at.get_or_insert(now);
        for attempt in std::mem::take(&mut facts.leases) {
            if let Some(task) = self.tasks.get_mut(&attempt.task)
                && task.lease == Some((attempt, worker))
            {
                task.lease = None;
                task.lost = true;
            }
        }
    }

    /// What the coordinator ordered.
    pub(crate) fn on_action(&mut self, now: u64, action: &Action) {
        match action {
            Action::StartAttempts { worker, starts } => starts.iter().for_each(|start| self.on_start(*worker, start)),
            Action::RecallAttempts { worker, attempts } => {
                for attempt in attempts {
                    let task = self.tasks.entry(attempt.task).or_default();
                    assert_eq!(task.lease, Some((*attempt, *worker)), "only what a worker has been sent is asked back");
                    task.recalled = Some(*attempt);
                }
            }
            Action::CutChunk { worker, attempt } => {
                let lease = self.tasks.get(&attempt.task).and_then(|task| task.lease);
                assert_eq!(lease, Some((*attempt, *worker)), "only of what a worker has an end is wanted");
            }
            Action::FenceWorker { worker } => {
                probe!("worker fenced for silence");
                self.lose_worker(now, *worker);
            }
            Action::DismissWorker { worker } => self.lose_worker(now, *worker),
            Action::Welcome { session, .. } => {
                if let Some(facts) = self.sessions.get_mut(session) {
                    facts.cut_since = None;
                }
            }
            Action::EndSession { session, reason } => {
                assert_ne!(*reason, EndReason::Misbehaved, "{session} was sent away, but behaved well");
            }
            Action::Notify { session, notices } => {
                notices.iter().for_each(|notice| self.on_notice(now, *session, notice));
            }
            Action::CancelAttempts { worker, attempts, .. } => {
                // Whatever it comes to, it is current no more.
                for attempt in attempts {
                    let task = self.tasks.entry(attempt.task).or_default();
                    task.lease.take_if(|lease| *lease == (*attempt, *worker));
                }
            }
            Action::FetchObject { worker, object, from, .. } => self.on_fetch(*worker, *object, *from),
            Action::ShowObject { worker, object } => self.check_holder(*object, *worker),
            Action::ExpectClient { worker, object, key } => self.check_client(*worker, *object, *key),
            Action::DropObjects { worker, objects } => {
                for object in objects {
                    self.copies.entry(*object).or_default().remove(worker);
                    let first = self.dropped.insert((*worker, *object)) || self.stale.contains(&(*worker, *object));
                    assert!(first, "{worker} is told twice to drop {object}");
                }
            }
            Action::DefineFunction { worker, session, function } => {
                let key = FunctionKey { session: *session, function: function.id };
                let fresh = self.workers.get_mut(worker).is_some_and(|facts| facts.functions.insert(key));
                assert!(fresh, "{worker} was told {key} twice, or is nobody");
            }
            Action::ForgetFunctions { worker, functions } => {
                functions.iter().for_each(|key| self.on_forgotten(*worker, *key));
            }
            Action::ForgetSession { worker, session } => {
                if let Some(facts) = self.workers.get_mut(worker) {
                    facts.functions.retain(|key| key.session != *session);
                }
            }
            Action::AppendInputs { .. }
            | Action::GiveObject { .. }
            | Action::AcknowledgeReports { .. }
            | Action::AcknowledgeRequests { .. } => {}
        }
    }

    /// Only what was told is forgotten, and only once its client has released it.
    fn on_forgotten(&mut self, worker: WorkerId, key: FunctionKey) {
        let knew = self.workers.get_mut(&worker).is_some_and(|facts| facts.functions.remove(&key));
        assert!(knew, "{worker} is to forget {key}, which it does not know");
        let released = self.sessions.get(&key.session).is_some_and(|facts| facts.released.contains(&key.function));
        assert!(released, "{worker} is to forget {key}, which its client may still name");
        probe!("function forgotten");
    }

    fn on_fetch(&mut self, worker: WorkerId, object: ObjectId, from: WorkerId) {
        self.check_holder(object, from);
        let from_maker = self.copies[&object].iter().next() == Some(&from) || self.copies[&object].len() == 1;
        if !from_maker {
            probe!("object spread from a copy");
        }
        if self.workers.get(&from).is_some_and(|facts| facts.draining) {
            probe!("object fetched from a worker that drains");
        }
        assert!(!self.is_worker_gone(worker), "{object} is to be fetched by {worker}, which is gone");
    }

    fn on_start(&mut self, worker: WorkerId, start: &Start) {
        let attempt = start.attempt;
        let facts = self.workers.get_mut(&worker).expect("only workers that joined get work");
        assert!(facts.gone_at.is_none(), "{attempt} was given to {worker}, which is gone");
        assert!(!facts.draining, "{attempt} was given to {worker}, which drains");
        assert!(facts.offer.capacity.holds(&start.request), "{attempt} does not fit {worker}");
        for function in script::called(start) {
            assert!(facts.functions.contains(&function), "{attempt} was given to {worker} without {function}");
        }
        facts.leases.insert(attempt);
        let most = u64::from(facts.offer.capacity.cpus) + u64::from(facts.offer.queue);
        assert!(facts.leases.len() as u64 <= most, "{worker} holds more than it offered");
        if self.tasks.get(&attempt.task).is_none_or(|task| !task.stored) {
            self.check_run_lives(attempt);
        }
        let task = self.tasks.entry(attempt.task).or_default();
        if task.stored {
            probe!("object made again");
            self.executions.allow_again(attempt.task);
        }
        assert!(!task.over || task.stored, "{attempt} was started after its task was over");
        // A cancel in the step that takes the report finds the task over.
        assert!(!task.never || task.stored, "{attempt} was started after its task was cancelled");
        assert!(task.lease.is_none(), "{attempt} was started while {:?} was current", task.lease);
        assert!(attempt.attempt.0 > task.last_attempt, "{attempt} does not follow {}", task.last_attempt);
        let (before, span) = (std::mem::replace(&mut task.span, start.call.span()), start.call.span());
        if task.last_attempt > 0 && span != before {
            probe!("piece taken apart");
            assert!(span.first == before.first && span.end < before.end, "{attempt} has items that were not its own");
        }
        task.last_attempt = attempt.attempt.0;
        task.lease = Some((attempt, worker));
        if std::mem::take(&mut task.lost) {
            probe!("task ran again after its worker was lost");
        }
        if std::mem::take(&mut task.raised) {
            probe!("retry after an exception");
        }
    }

    /// Only workers that are there and said so are named as holders.
    fn check_holder(&self, object: ObjectId, worker: WorkerId) {
        let holds = self.copies.get(&object).is_some_and(|copies| copies.contains(&worker));
        assert!(holds && !self.is_worker_gone(worker), "{worker} is said to hold {object}");
    }

    /// A client comes to a worker that has a value of its session.
    fn check_client(&self, worker: WorkerId, object: ObjectId, key: Fingerprint) {
        self.check_holder(object, worker);
        let session = &self.sessions[&object.0.task.session];
        assert_eq!(session.key, Some(key), "whose value {object} is comes for it");
        let here = session.exchange == Some(Exchange::Memory) && self.workers[&worker].exchange == Exchange::Memory;
        assert!(!here, "{object} could have been handed over on the coordinator's machine");
    }

    /// A piece does not start once its run is over.
    fn check_run_lives(&self, attempt: AttemptId) {
        let TaskId { session, seq } = attempt.task;
        let result = self.sessions.get(&session).and_then(|facts| facts.results.get(facts.run_of.get(&seq)?));
        let over = result.and_then(|result| self.tasks.get(&TaskId::new(session, *result))).is_some_and(|t| t.over);
        assert!(!over, "{attempt}, a piece, was started after its run was over");
    }

    fn on_notice(&mut self, now: u64, session: SessionId, notice: &Notice) {
        if let Some(facts) = self.sessions.get_mut(&session) {
            facts.notices += 1;
        }
        let deliveries = match notice {
            Notice::Ended(deliveries) => deliveries,
            Notice::Divided { seq, parts } => return self.on_divided(session, *seq, parts),
            Notice::Started(_)
            | Notice::Progressed { .. }
            | Notice::WorkerNamed { .. }
            | Notice::Admission(_)
            | Notice::Fetched { .. }
            | Notice::Found { .. } => return,
        };
        for delivery in deliveries {
            let task = self.tasks.entry(TaskId::new(session, delivery.seq)).or_default();
            let first = !std::mem::replace(&mut task.over, true);
            assert!(
                !first || task.stored || task.lease.is_none() || !is_made(&delivery.outcome),
                "{} ended, but still runs",
                delivery.seq
            );
            match &delivery.outcome {
                Outcome::Failed(failure) if first => {
                    self.on_failure(now, TaskId::new(session, delivery.seq), failure);
                }
                Outcome::Raised(_) if first => self.check_retries(TaskId::new(session, delivery.seq)),
                _ => {}
            }
        }
    }

    /// What the end of a chunk has become is asked for as the chunk was. A client that comes back hears of it again.
    fn on_divided(&mut self, session: SessionId, chunk: Seq, parts: &[(u32, Seq)]) {
        let facts = self.sessions.get_mut(&session).expect("only sessions that were opened are told anything");
        let asked = *facts.asked.get(&chunk).expect("only what was asked for is divided");
        let over = self.tasks.get(&TaskId::new(session, chunk)).is_some_and(|task| task.over);
        for (_, part) in parts {
            let again = facts.asked.insert(*part, asked).is_some();
            assert!(again || !over, "{chunk} was divided after its end");
            assert!(part.is_internal(), "{part} is no number for a client to be told");
        }
    }

    fn on_failure(&self, now: u64, task: TaskId, failure: &Failure) {
        match failure {
            Failure::Crashed(_) => probe!("crash limit reached"),
            Failure::Dependency { .. } => probe!("dependency failed"),
            Failure::Unschedulable { .. } => {
                probe!("unschedulable");
                assert!(!self.was_schedulable(now, task), "{task} is unschedulable, but a worker fits it");
            }
            Failure::ResultTooLarge { .. } => probe!("result too large"),
            Failure::NoSpace(_) => probe!("no space for a result"),
            Failure::Unknown(_) => {}
        }
    }

    /// A task that raised used up its retries, no more and no less; lost workers do not count.
    fn check_retries(&self, task: TaskId) {
        let session = &self.sessions[&task.session];
        let Some((options, _)) = session.asked.get(&task.seq) else { return };
        let (facts, retries) = (&self.tasks[&task], session.options[options].retries);
        let right = if facts.denied { facts.raises <= retries } else { facts.raises == retries + 1 };
        assert!(right, "{task} raised {} times under {retries} retries", facts.raises);
    }

    /// Whether a worker that fits was there all the time that a task waits before it is unschedulable.
    fn was_schedulable(&self, now: u64, task: TaskId) -> bool {
        let session = &self.sessions[&task.session];
        let Some((options, function)) = session.asked.get(&task.seq) else { return false };
        let (request, python) = (&session.options[options].request, session.pythons.get(function));
        let from = now.saturating_sub(self.patience);
        self.workers.values().any(|worker| {
            let there = worker.joined_at <= from && worker.gone_at.is_none() && !worker.draining;
            there && worker.offer.capacity.holds(request) && python.is_none_or(|python| *python == worker.offer.python)
        })
    }

    /// What a client was told, the moment it hears it.
    pub(crate) fn on_delivered(&mut self, client: usize, delivery: &Delivery) {
        let Delivery { seq, outcome, story } = delivery;
        if let Outcome::Value(value) | Outcome::Raised(value) = outcome
            && let makers = script::makers(value)
            && !makers.is_empty()
        {
            let made = self.executions.commit(&makers);
            let (made_task, made) = (made.task, (made.task, made.attempt));
            let made = Made { task: made.0, attempt: made.1 };
            let session = &self.sessions[&made.task.session];
            assert_eq!(session.client, client, "a value of another client's reached client {client}");
            let is_result =
                self.executions.was_allowed_again(made_task) || session.results.values().any(|result| result == seq);
            if !is_result {
                assert_eq!(made.task.seq, *seq, "the outcome of {seq} was made by {made:?}");
                assert_eq!(made.attempt, story.attempts, "{seq} tells of another attempt than the one that made it");
            }
        }
        if *outcome == Outcome::Cancelled {
            let ran = self.executions.ran(|task| {
                task.seq == *seq && self.sessions.get(&task.session).is_some_and(|facts| facts.client == client)
            });
            if ran {
                probe!("attempt cancelled while it ran");
            } else {
                probe!("cancelled before it began");
            }
        }
    }

    /// A value that a client asked for.
    pub(crate) fn on_supplied(&mut self, client: usize, seq: Seq, outcome: &Outcome) {
        if let Outcome::Value(value) = outcome
            && let makers = script::makers(value)
            && !makers.is_empty()
        {
            probe!("value fetched on demand");
            let made = self.executions.commit(&makers);
            let session = &self.sessions[&made.task.session];
            assert_eq!(session.client, client, "a value of another client's reached client {client}");
            let is_result = session.results.values().any(|result| *result == seq);
            assert!(is_result || made.task.seq == seq, "the value of {seq} was made by {made:?}");
        }
    }

    /// Fails once tasks should be over and are not.
    pub(crate) fn demand_end(&self, now: u64, until: u64, clients: &[ClientHost]) {
        if now < until {
            return;
        }
        if let Some((n, client)) = clients.iter().enumerate().find(|(_, client)| !client.is_through()) {
            let stuck = client.program.records();
            let stuck: Vec<_> = stuck.filter(|(_, t)| t.run.is_none() && t.told.is_none()).take(5).collect();
            panic!("client {n} still waits for {stuck:?}");
        }
    }

    /// Some attempt that a worker has, and that worker.
    pub(crate) fn draw_lease(&self, rng: &mut Rng) -> Option<(AttemptId, WorkerId)> {
        let leases = self.tasks.values().filter_map(|task| task.lease);
        let count = leases.clone().count() as u64;
        leases.into_iter().nth(rng.below(count) as usize)
    }

    /// Attempts that workers still hold, as far as was told.
    pub(crate) fn leases(&self) -> usize {
        self.workers.values().map(|worker| worker.leases.len()).sum()
    }
}

/// Nine tenths of how long a task waits for a worker that fits: clocks drift.
const fn patience(shape: Shape) -> u64 {
    let patience = match shape {
        Shape::Embedded => limits::UNSCHEDULABLE_EMBEDDED,
        Shape::Cluster => limits::UNSCHEDULABLE_AFTER,
    };
    patience.as_nanos() as u64 / 10 * 9
}

/// Whether an execution made this outcome.
fn is_made(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Value(_) | Outcome::Raised(_))
}
