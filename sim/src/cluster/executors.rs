//! The executors of a worker: what the supervisor does to them, and what user code does in them.

use super::{Input, State, World};
use crate::agenda::{Happening, Inner, Node};
use crate::checker::{Effect, Site};
use crate::clock::{MICRO, MILLI};
use crate::probe::probe;
use crate::process::{Executor, ExecutorFrame, Running, Stage, WorkerFrame};
use crate::script::{self, Behaviour, Function, Script};
use plait_core::id::{ExecutorId, FunctionKey, SessionId};
use plait_core::limits;
use plait_core::outcome::{Death, Ending, Exit, Outcome, Retry};
use plait_core::spec::{Call, Errors, FunctionSpec, Grouping, Start};
use plait_core::worker::{Condition, Ended, Entry, Event, Order, Signal};

/// What a whole call comes to.
#[derive(Debug)]
pub(crate) enum Fate {
    Ends(Ending, Condition),
    Dies,
    HangsUntilInterrupted,
    HangsUntilKilled,
}

const FLUSH_AFTER: u64 = limits::FLUSH_AFTER.as_nanos() as u64;

/// What SIGINT makes a task raise.
const INTERRUPTED: &str = "KeyboardInterrupt";

impl World {
    fn executor(&mut self, n: usize, id: ExecutorId) -> Option<&mut Executor> {
        self.workers[n].executors.get_mut(&id).filter(|executor| executor.stage != Stage::Dead)
    }

    fn plan_inner(&mut self, n: usize, executor: ExecutorId, wait: u64, inner: Inner) {
        let life = self.workers[n].machine.life;
        self.agenda.plan(self.now + wait, Happening::Executor { worker: n, life, executor, inner });
    }

    pub(super) fn spawn(&mut self, n: usize, id: ExecutorId, cpus: u32) {
        let host = &mut self.workers[n];
        let pid = host.next_pid;
        host.next_pid += 1;
        let known = host.executors.insert(id, Executor::new(id, pid, cpus));
        assert!(known.is_none(), "the executor id {id} is used twice");
        let live: u32 = host.executors.values().filter(|e| e.stage != Stage::Dead).map(|e| e.cpus).sum();
        assert!(live <= 4 * host.slots() + 4, "{live} slots' worth of executors live on {} slots", host.slots());
        let wait = 20 * MILLI + self.rng.below(80 * MILLI);
        if !self.rng.chance(self.plan.spawn_trouble, 100) {
            return self.plan_inner(n, id, wait, Inner::Up);
        }
        match self.rng.below(3) {
            0 => {
                probe!("executor spawn failed");
                self.workers[n].executors.remove(&id);
                self.say_to_worker(n, id, 0, ExecutorFrame::NotSpawned);
            }
            1 => self.plan_inner(n, id, wait, Inner::Die),
            _ => probe!("executor never became ready"),
        }
    }

    pub(super) fn define(&mut self, n: usize, id: ExecutorId, session: SessionId, spec: &FunctionSpec) {
        let key = FunctionKey { session, function: spec.id };
        if let Some(python) = spec.python {
            assert_eq!(python, self.workers[n].offer.python, "{key} cannot be loaded by this Python");
        }
        let function = Function::of(&spec.body);
        self.say_to_executor(n, id, WorkerFrame::Define { key, function });
    }

    pub(super) fn forget(&mut self, n: usize, id: ExecutorId, session: SessionId) {
        self.say_to_executor(n, id, WorkerFrame::Forget(session));
    }

    pub(super) fn forget_functions(&mut self, n: usize, id: ExecutorId, functions: Vec<FunctionKey>) {
        self.say_to_executor(n, id, WorkerFrame::ForgetFunctions(functions));
    }

    pub(super) fn give(&mut self, n: usize, id: ExecutorId, mut orders: Vec<Order>) {
        for order in &mut orders {
            let inputs = std::mem::take(&mut order.start.inputs);
            order.start.inputs = inputs.iter().map(|input| self.resolve(n, input)).collect();
        }
        let Some(executor) = self.executor(n, id) else { return };
        assert_eq!(executor.stage, Stage::Up, "{id} was given work before it was ready");
        for order in &orders {
            assert_eq!(order.start.request.cpus, executor.cpus, "{} is not for {id}", order.start.attempt);
            executor.offer(order);
        }
        self.say_to_executor(n, id, WorkerFrame::Orders(orders));
    }

    pub(super) fn give_inputs(&mut self, n: usize, id: ExecutorId, entry: Entry, inputs: &[Outcome]) {
        let inputs = inputs.iter().map(|input| self.resolve(n, input)).collect();
        self.say_to_executor(n, id, WorkerFrame::Inputs { entry, inputs });
    }

    /// Takes entries back through the page; answered at once.
    pub(super) fn revoke(&mut self, n: usize, id: ExecutorId, asked: Vec<Entry>) {
        let revoked: Vec<Entry> = match self.executor(n, id) {
            Some(executor) => asked.iter().copied().filter(|entry| executor.revoke(*entry)).collect(),
            None => Vec::new(),
        };
        if revoked.len() < asked.len() {
            probe!("revoke lost the race");
        }
        if !revoked.is_empty() {
            probe!("revoke won the race");
        }
        self.post(Node::Worker(n), Input::Brain(Event::EntriesRevoked { executor: id, asked, revoked }));
    }

    /// Takes the tail of a chunk through the page; answered at once.
    pub(super) fn cut_chunk(&mut self, n: usize, id: ExecutorId, entry: Entry) {
        let tail = self.executor(n, id).and_then(|executor| executor.cut(entry));
        match tail {
            Some(_) => probe!("chunk cut for an idle executor"),
            None => probe!("cut came too late"),
        }
        self.post(Node::Worker(n), Input::Brain(Event::EntryCut { executor: id, entry, tail }));
    }

    pub(super) fn observe(&mut self, n: usize, executors: Vec<ExecutorId>) {
        for id in executors {
            if let Some(executor) = self.executor(n, id) {
                let running = executor.seen();
                self.post(Node::Worker(n), Input::Brain(Event::ExecutorSeen { executor: id, running }));
            }
        }
    }

    pub(super) fn signal(&mut self, n: usize, id: ExecutorId, signal: Signal) {
        let Some(executor) = self.executor(n, id) else { return };
        let seen = executor.seen();
        let stubborn = executor.running.as_ref().is_some_and(|running| is_stubborn(&running.start));
        match signal {
            Signal::Kill => {
                probe!("executor killed");
                self.end_executor(n, id, Exit::Signal(9));
            }
            Signal::Terminate(entry) if seen == Some(entry) && !stubborn => {
                self.end_executor(n, id, Exit::Signal(15));
            }
            Signal::Interrupt(entry) if seen == Some(entry) && !stubborn => {
                if self.rng.chance(3, 4) {
                    self.interrupt(n, id);
                }
            }
            Signal::Terminate(_) | Signal::Interrupt(_) => {}
        }
    }

    fn interrupt(&mut self, n: usize, id: ExecutorId) {
        let Some(running) = self.executor(n, id).and_then(|executor| executor.running.as_ref()) else { return };
        let Some(execution) = running.execution else { return };
        let error = script::value(INTERRUPTED, execution, 0);
        self.end_entry(n, id, Ending::Raised { error, retry: Retry::Denied }, Condition::Clean);
    }

    /// Sends a frame to an executor; a dead one hears nothing.
    fn say_to_executor(&mut self, n: usize, id: ExecutorId, frame: WorkerFrame) {
        let at = self.now + self.rng.below(60 * MICRO);
        let life = self.workers[n].machine.life;
        let Some(executor) = self.executor(n, id) else { return };
        executor.frames_due[0] = executor.frames_due[0].max(at);
        let due = executor.frames_due[0];
        self.agenda.plan(due, Happening::ToExecutor { worker: n, life, executor: id, frame: Box::new(frame) });
    }

    fn say_to_worker(&mut self, n: usize, id: ExecutorId, earliest: u64, frame: ExecutorFrame) {
        let at = (self.now + self.rng.below(60 * MICRO)).max(earliest);
        let life = self.workers[n].machine.life;
        self.agenda.plan(at, Happening::FromExecutor { worker: n, life, executor: id, frame: Box::new(frame) });
    }

    fn say_in_order(&mut self, n: usize, id: ExecutorId, frame: ExecutorFrame) {
        let at = self.now + self.rng.below(60 * MICRO);
        let Some(executor) = self.workers[n].executors.get_mut(&id) else { return };
        executor.frames_due[1] = executor.frames_due[1].max(at);
        let due = executor.frames_due[1];
        let life = self.workers[n].machine.life;
        self.agenda.plan(due, Happening::FromExecutor { worker: n, life, executor: id, frame: Box::new(frame) });
    }

    pub(super) fn on_frame_to_executor(&mut self, n: usize, life: u32, id: ExecutorId, frame: WorkerFrame) {
        if self.workers[n].machine.life != life {
            return;
        }
        if self.workers[n].frozen_until > self.now {
            let at = self.workers[n].frozen_until;
            return self
                .agenda
                .plan(at, Happening::ToExecutor { worker: n, life, executor: id, frame: Box::new(frame) });
        }
        let Some(executor) = self.executor(n, id) else { return };
        executor.receive(frame);
        self.advance(n, id);
    }

    pub(super) fn on_frame_from_executor(&mut self, n: usize, life: u32, id: ExecutorId, frame: ExecutorFrame) {
        if self.workers[n].machine.life != life {
            return;
        }
        let event = match frame {
            ExecutorFrame::NotSpawned => Event::SpawnFailed { executor: id },
            ExecutorFrame::Ready => Event::ExecutorReady { executor: id },
            ExecutorFrame::Ended(ended) => Event::EntriesEnded { executor: id, ended },
            ExecutorFrame::Gone { running, item, death } => {
                self.workers[n].executors.remove(&id);
                Event::ExecutorDied { executor: id, running, item, death }
            }
        };
        self.post(Node::Worker(n), Input::Brain(event));
    }

    pub(super) fn on_inner(&mut self, n: usize, life: u32, id: ExecutorId, inner: Inner) {
        let host = &self.workers[n];
        if host.machine.life != life || host.machine.state == State::Down {
            return;
        }
        if host.frozen_until > self.now {
            let at = host.frozen_until;
            return self.agenda.plan(at, Happening::Executor { worker: n, life, executor: id, inner });
        }
        let Some(executor) = self.executor(n, id) else { return };
        match inner {
            Inner::Up => {
                executor.stage = Stage::Up;
                self.say_in_order(n, id, ExecutorFrame::Ready);
            }
            Inner::Step { execution } => self.step_chunk(n, id, execution),
            Inner::Finish { execution } => self.finish(n, id, execution),
            Inner::Flush { batch } if executor.batch == batch => self.flush(n, id),
            Inner::Flush { .. } => {}
            Inner::Die => self.end_executor(n, id, Exit::Signal(11)),
            Inner::Fall { execution } => {
                if executor.running.as_ref().is_some_and(|running| running.execution == Some(execution)) {
                    self.end_executor(n, id, Exit::Signal(11));
                }
            }
        }
    }

    /// The executor claims what is next, and begins what is whole.
    fn advance(&mut self, n: usize, id: ExecutorId) {
        let Some(executor) = self.executor(n, id) else { return };
        if executor.claim() {
            let start = executor.running.as_ref().expect("it was claimed just now").start.clone();
            let host = &mut self.workers[n];
            assert!(host.in_use.holds(&start.request), "{} does not fit into what is free here", start.attempt);
            host.in_use.take(&start.request);
        }
        let Some(executor) = self.executor(n, id) else { return };
        if let Some(start) = executor.beginnable() {
            let function = executor.function(start);
            let start = start.clone();
            self.begin(n, id, &start, function);
        }
    }

    fn begin(&mut self, n: usize, id: ExecutorId, start: &Start, function: Function) {
        let execution = self.ledger.executions.begin(start);
        let running = self.executor(n, id).and_then(|executor| executor.running.as_mut());
        running.expect("what begins was claimed").execution = Some(execution);
        if !start.call.span().is_empty() {
            return self.begin_chunk(n, id, start, execution);
        }
        let (fate, micros) = self.call(start, function, execution);
        self.follow(n, id, execution, fate, micros);
    }

    fn follow(&mut self, n: usize, id: ExecutorId, execution: u64, fate: Fate, micros: u64) {
        let wait = micros * MICRO;
        match fate {
            Fate::Ends(ending, condition) => {
                self.ledger.executions.plan(execution, ending, condition);
                self.plan_inner(n, id, wait, Inner::Finish { execution });
            }
            Fate::Dies => self.plan_inner(n, id, wait, Inner::Fall { execution }),
            Fate::HangsUntilInterrupted | Fate::HangsUntilKilled => {}
        }
    }

    /// What a call does, and how long it takes.
    fn call(&mut self, start: &Start, function: Function, execution: u64) -> (Fate, u64) {
        match (start.call, function) {
            (Call::Single, Function::Plain) => {
                let script = script::scripts(&start.args)[0];
                let inputs: Vec<String> =
                    start.inputs.iter().map(|input| self.ledger.executions.use_input(start.attempt, input)).collect();
                (self.single(start, &script, &inputs, execution), script.micros)
            }
            (Call::Fold, Function::Join { crashes, micros }) => {
                let texts: Vec<String> =
                    start.inputs.iter().map(|input| self.ledger.executions.use_input(start.attempt, input)).collect();
                assert!(texts.len() >= 2, "a fold of {} values is no work", texts.len());
                let runs = self.ledger.executions.count_call(start.attempt.task.session, start.function);
                if runs < crashes {
                    return (Fate::Dies, micros);
                }
                if runs == crashes && crashes > 0 {
                    probe!("fold retried after a crash");
                }
                let value = script::value(&texts.concat(), execution, 0);
                (Fate::Ends(Ending::Returned(value), Condition::Clean), micros)
            }
            (Call::Combine { grouping, errors }, Function::Join { crashes, micros }) => {
                let runs = self.ledger.executions.count_call(start.attempt.task.session, start.function);
                if runs < crashes {
                    return (Fate::Dies, micros);
                }
                let value = script::value(&combined(start, grouping, errors), execution, 0);
                (Fate::Ends(Ending::Returned(value), Condition::Clean), micros)
            }
            (Call::Fold | Call::Combine { .. }, Function::Fail) => {
                let error = script::value("Ejoin;", execution, 0);
                (Fate::Ends(Ending::Raised { error, retry: Retry::Denied }, Condition::Clean), 50)
            }
            (call, function) => panic!("{} calls {function:?} as {call:?}", start.attempt),
        }
    }

    fn single(&mut self, start: &Start, script: &Script, inputs: &[String], execution: u64) -> Fate {
        let runs = self.ledger.executions.count_run(start.attempt.task, script.tag);
        match effect(script.behaviour, runs) {
            Effect::Returns(condition) => {
                let value = script::value(&script::result_text(script.tag, inputs), execution, script.ballast);
                Fate::Ends(Ending::Returned(value), condition)
            }
            Effect::Raises(retry) => {
                let error = script::value(&script::error_text(script.tag), execution, 0);
                Fate::Ends(Ending::Raised { error, retry }, Condition::Clean)
            }
            Effect::Dies => Fate::Dies,
            Effect::Hangs => Fate::HangsUntilInterrupted,
            Effect::HangsStubbornly => Fate::HangsUntilKilled,
        }
    }

    /// A chunk is begun item by item, unless its one item may not be begun again.
    fn begin_chunk(&mut self, n: usize, id: ExecutorId, start: &Start, execution: u64) {
        let running = self.executor(n, id).and_then(|executor| executor.running.as_ref());
        let part = running.and_then(|running| running.part.clone());
        let Some(part) = part.filter(|part| !part.deaths.is_empty()) else {
            return self.step_chunk(n, id, execution);
        };
        probe!("item crashed in place");
        let task = start.attempt.task;
        assert_eq!(part.first + 1, part.end, "one item has crashed");
        assert_eq!(part.deaths.len(), start.crash_limit.max(1) as usize, "it has died as often as it may");
        assert!(self.ledger.executions.are_known(task, &part.deaths), "{task} is blamed for deaths not its own");
        let item = script::scripts(&start.args)[part.first as usize];
        if let Some(ending) = self.settle_item(n, id, execution, Err(script::crash_text(item.tag))) {
            return self.follow(n, id, execution, Fate::Ends(ending, Condition::Clean), 1);
        }
        self.end_chunk(n, id, execution);
    }

    /// The item before is over: claims the next, which retries in place, or ends.
    fn step_chunk(&mut self, n: usize, id: ExecutorId, execution: u64) {
        let Some(executor) = self.executor(n, id) else { return };
        let Some(running) = executor.running.as_ref().filter(|r| r.execution == Some(execution)) else { return };
        let start = running.start.clone();
        if let Some(part) = &running.part
            && part.first + 1 == part.end
        {
            probe!("item run again alone");
        }
        let Some(item) = executor.claim_item() else { return self.end_chunk(n, id, execution) };
        let item = script::scripts(&start.args)[item as usize];
        let (Call::Chunk { retries, .. } | Call::ChunkFold { retries, .. }) = start.call else { return };
        let mut tries = 0;
        let result = loop {
            let runs = self.ledger.executions.count_run(start.attempt.task, item.tag);
            match effect(item.behaviour, runs) {
                Effect::Returns(_) => break Ok(script::result_text(item.tag, &[])),
                Effect::Raises(Retry::Allowed) if tries < retries => tries += 1,
                Effect::Raises(_) => break Err(script::error_text(item.tag)),
                Effect::Dies => return self.follow(n, id, execution, Fate::Dies, item.micros),
                Effect::Hangs | Effect::HangsStubbornly => return,
            }
        };
        if let Some(running) = self.executor(n, id).and_then(|executor| executor.running.as_mut()) {
            running.weight += item.ballast;
        }
        match self.settle_item(n, id, execution, result) {
            Some(ending) => self.follow(n, id, execution, Fate::Ends(ending, Condition::Clean), item.micros),
            None => self.plan_inner(n, id, item.micros * MICRO, Inner::Step { execution }),
        }
    }

    /// Takes note of what an item came to; the ending of the whole, if it fails with that.
    fn settle_item(
        &mut self,
        n: usize,
        id: ExecutorId,
        execution: u64,
        result: Result<String, String>,
    ) -> Option<Ending> {
        let running = self.executor(n, id)?.running.as_mut()?;
        let (Call::Chunk { errors, .. } | Call::ChunkFold { errors, .. }) = running.start.call else { return None };
        match (result, errors) {
            (Ok(text), _) => running.texts.push(text),
            (Err(text), Errors::Return) => running.texts.push(format!("!{text}")),
            (Err(_), Errors::Skip) => {}
            (Err(text), Errors::Raise) => {
                let error = script::value(&text, execution, 0);
                return Some(Ending::Raised { error, retry: Retry::Denied });
            }
        }
        None
    }

    /// All items that were left to this executor are done.
    fn end_chunk(&mut self, n: usize, id: ExecutorId, execution: u64) {
        let limit = self.plan.result_limit;
        let Some(running) = self.executor(n, id).and_then(|executor| executor.running.as_mut()) else { return };
        let (texts, folds) = (&running.texts, matches!(running.start.call, Call::ChunkFold { .. }));
        let size = running.weight;
        let ending = match folds {
            // Its worker would say so.
            _ if size > limit => Ending::TooLarge { size, limit },
            true if texts.is_empty() => Ending::Skipped,
            true => Ending::Returned(script::value(&texts.concat(), execution, 0)),
            false => Ending::Returned(script::value(&script::chunk_text(texts), execution, 0)),
        };
        self.end_entry(n, id, ending, Condition::Clean);
    }

    fn finish(&mut self, n: usize, id: ExecutorId, execution: u64) {
        let Some(executor) = self.executor(n, id) else { return };
        if executor.running.as_ref().and_then(|running| running.execution) != Some(execution) {
            return;
        }
        let (ending, condition) = self.ledger.executions.take_plan(execution);
        if condition == Condition::Soiled {
            probe!("soiled executor");
            // Children remain; or a module is half made, and it says so and ends by itself.
            if execution.is_multiple_of(2) {
                self.record_end(n, id, ending, condition);
                self.flush(n, id);
                return self.end_executor(n, id, Exit::Code(0));
            }
        }
        self.end_entry(n, id, ending, condition);
    }

    fn end_entry(&mut self, n: usize, id: ExecutorId, ending: Ending, condition: Condition) {
        if !self.record_end(n, id, ending, condition) {
            return;
        }
        let Some(executor) = self.executor(n, id) else { return };
        let batch = executor.batch;
        if executor.queued() > 0 {
            self.plan_inner(n, id, FLUSH_AFTER, Inner::Flush { batch });
        } else {
            self.flush(n, id);
        }
        self.advance(n, id);
    }

    /// What ran is over; nobody has been told. False if nothing ran.
    fn record_end(&mut self, n: usize, id: ExecutorId, ending: Ending, condition: Condition) -> bool {
        let Some(executor) = self.executor(n, id) else { return false };
        let Some(running) = executor.end() else { return false };
        executor.unsent.push(Ended { entry: running.entry, ending, run_micros: 1, condition });
        self.let_go(n, &running);
        if let Some(execution) = running.execution {
            self.ledger.executions.end(execution);
        }
        true
    }

    fn let_go(&mut self, n: usize, running: &Running) {
        self.workers[n].in_use.give_back(&running.start.request);
    }

    fn flush(&mut self, n: usize, id: ExecutorId) {
        let Some(executor) = self.executor(n, id) else { return };
        executor.batch += 1;
        let ended = std::mem::take(&mut executor.unsent);
        if !ended.is_empty() {
            self.say_in_order(n, id, ExecutorFrame::Ended(ended));
        }
    }

    /// An executor dies, whatever the reason; what it had sent still arrives before the news.
    pub(super) fn end_executor(&mut self, n: usize, id: ExecutorId, exit: Exit) {
        let Some(executor) = self.executor(n, id) else { return };
        let unsent = std::mem::take(&mut executor.unsent);
        let pid = executor.pid;
        let (running, item) = executor.die();
        if !unsent.is_empty() {
            probe!("finished result lost with its executor");
        }
        match &running {
            Some(running) => {
                self.let_go(n, running);
                let task = running.start.attempt.task;
                self.ledger.executions.fall(task, Site { worker: n, pid });
                let span = running.start.call.span();
                for script in &script::scripts_of(&running.start) {
                    self.ledger.executions.chunk_fell(task.session, script.tag);
                }
                let first = running.part.as_ref().map_or(span.first, |part| part.first);
                if let Some(item) = item.filter(|item| !running.start.call.span().is_empty() && *item >= first) {
                    let script = script::scripts(&running.start.args)[item as usize];
                    self.ledger.executions.item_fell(task.session, script.tag);
                }
            }
            None => probe!("executor died between tasks"),
        }
        let host = self.workers[n].offer.name.clone();
        let death = Box::new(Death { host, pid, exit, peak_memory: 0, log_tail: "".into() });
        let running = running.map(|running| running.entry);
        self.say_in_order(n, id, ExecutorFrame::Gone { running, item, death });
    }
}

/// What one call does when it has been made `runs` times before.
pub(crate) fn effect(behaviour: Behaviour, runs: u32) -> Effect {
    match behaviour {
        Behaviour::Raise(times) if runs < times => Effect::Raises(Retry::Allowed),
        Behaviour::Crash(times) if runs < times => Effect::Dies,
        Behaviour::Refuse => Effect::Raises(Retry::Denied),
        Behaviour::Hang => Effect::Hangs,
        Behaviour::Stubborn => Effect::HangsStubbornly,
        Behaviour::Soil => Effect::Returns(Condition::Soiled),
        Behaviour::Return | Behaviour::Raise(_) | Behaviour::Crash(_) => Effect::Returns(Condition::Clean),
    }
}

fn is_stubborn(start: &Start) -> bool {
    start.call == Call::Single
        && script::scripts(&start.args).first().is_some_and(|script| script.behaviour == Behaviour::Stubborn)
}

/// The list that a combine makes: items in order, one text each; of a failed piece its failure and what it was given.
fn combined(start: &Start, grouping: Grouping, errors: Errors) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut inputs = start.inputs.iter();
    while let Some(input) = inputs.next() {
        match (input, grouping) {
            (Outcome::Value(value), Grouping::Items) => texts.push(script::text(value)),
            (Outcome::Value(value), Grouping::Chunks) => texts.extend(script::item_texts(value)),
            (failure, _) => {
                assert!(errors == Errors::Return, "{} was given {failure:?}", start.attempt);
                let mut next = || inputs.next().and_then(Outcome::value);
                let given = script::scripts(next().expect("a failure is followed by what its piece was given"));
                let given = match grouping {
                    Grouping::Items => &given[..],
                    Grouping::Chunks => &given[script::place(next().expect("and by which items of that are meant"))],
                };
                texts.push(script::failure_text(failure, given));
                probe!("combine over failed pieces");
            }
        }
    }
    format!("[{}]", texts.join(","))
}
