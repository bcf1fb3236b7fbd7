//! A small world: honest executors that carry out what they are told, in any order and at any speed, and die at any
//! time. Every attempt is answered once, whatever happens; and when the trouble stops, everything comes to its end.

mod store;

use super::rig::death;
use crate::id::{Attempt, AttemptId, ExecutorId, FunctionId, FunctionKey, ObjectId, Seq, SessionId, TaskId};
use crate::limits;
use crate::outcome::{Ending, Outcome, Report, Retry};
use crate::resource::{Amount, Resources};
use crate::rng::Rng;
use crate::spec::{Call, Cancel, Errors, FunctionSpec, Part, Promised, Span, Start, Tail};
use crate::time::Time;
use crate::value::Value;
use crate::window::{self, Flow};
use crate::worker::{Action, Brain, Condition, Config, Ended, Entry, Event, Order, Signal, Supervision};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use store::news_of;

const SLOTS: u32 = 3;
/// Results of more bytes stay with the worker.
const STORE_ABOVE: u64 = 4;
/// So many bytes of them in memory, and so many on disk.
const MEMORY_BYTES: u64 = 20;
const SPILL_BYTES: u64 = 30;

/// An executor as it really is.
#[derive(Default)]
struct Process {
    cpus: u32,
    ready: bool,
    killed: bool,
    knows: BTreeSet<FunctionKey>,
    queue: VecDeque<Order>,
    running: Option<Order>,
    /// The next item of the chunk that runs, and the one after the last.
    items: (u32, u32),
    unsent: Vec<Ended>,
    next: u32,
}

struct World {
    brain: Brain,
    now: Time,
    rng: Rng,
    processes: BTreeMap<ExecutorId, Process>,
    /// Taken by the worker and not answered.
    open: BTreeSet<AttemptId>,
    /// The session that lives.
    session: SessionId,
    /// What the coordinator has its tasks call: a function, and one that merges. The next number.
    functions: [u32; 2],
    next_function: u32,
    /// Which functions each open attempt needs.
    calls: BTreeMap<AttemptId, Vec<FunctionKey>>,
    /// Which items the chunks have.
    items: BTreeMap<AttemptId, Span>,
    /// Attempts of which the end is wanted and that were not answered for.
    wanted: BTreeMap<AttemptId, usize>,
    /// Inputs still to be sent.
    inputs: BTreeMap<AttemptId, u64>,
    /// Objects in memory, on disk, on their way from one to the other, and on their way to this worker.
    store: BTreeMap<ObjectId, Value>,
    disk: BTreeMap<ObjectId, Value>,
    writing: BTreeSet<ObjectId>,
    reading: BTreeSet<ObjectId>,
    coming: BTreeSet<ObjectId>,
    /// Objects of which the coordinator has spoken.
    named: BTreeSet<ObjectId>,
    events: VecDeque<Event>,
    assigned: u64,
    /// Credit for reports that the coordinator has not given back.
    owed: u64,
    /// What was sent to the worker over this link and not returned, by its cost.
    sent: u64,
    linked: bool,
    draining: bool,
    left: bool,
}

/// The functions that a start calls.
fn called(start: &Start) -> impl Iterator<Item = FunctionKey> + use<> {
    let session = start.attempt.task.session;
    let merge = if let Call::ChunkFold { merge, .. } = start.call { Some(merge) } else { None };
    [Some(start.function), merge].into_iter().flatten().map(move |function| FunctionKey { session, function })
}

/// What an event from the coordinator took of its credit.
fn cost(event: &Event) -> u64 {
    match event {
        Event::FunctionDefined { function, .. } => window::cost(function.body.carried()),
        Event::AttemptsAssigned { starts } => starts.iter().map(|start| window::cost(start.len())).sum(),
        Event::ObjectGiven { value, .. } => window::cost(value.carried()),
        Event::InputsAppended { inputs, .. } => window::cost(inputs.iter().map(Outcome::len).sum()),
        _ => 0,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let capacity = Resources::new(SLOTS, [("gpu".into(), Amount(2))]);
        let (store_above, memory_bytes, spill_bytes) = (STORE_ABOVE, MEMORY_BYTES, SPILL_BYTES);
        let supervision = Supervision::default();
        Self {
            brain: Brain::new(Config {
                slots: SLOTS,
                capacity,
                store_above,
                memory_bytes,
                spill_bytes: Ok(spill_bytes),
                spill_dir: "/spill".into(),
                supervision,
            }),
            now: Time::ZERO,
            rng: Rng::new(seed),
            processes: BTreeMap::new(),
            open: BTreeSet::new(),
            session: SessionId(0),
            functions: [0, 1],
            next_function: 2,
            calls: BTreeMap::new(),
            items: BTreeMap::new(),
            wanted: BTreeMap::new(),
            inputs: BTreeMap::new(),
            store: BTreeMap::new(),
            disk: BTreeMap::new(),
            writing: BTreeSet::new(),
            reading: BTreeSet::new(),
            coming: BTreeSet::new(),
            named: BTreeSet::new(),
            events: VecDeque::new(),
            assigned: 0,
            owed: 0,
            sent: 0,
            linked: false,
            draining: false,
            left: false,
        }
    }

    /// Delivers what has happened, a few at a time, until nothing follows from it.
    fn settle(&mut self) {
        loop {
            let some = self.rng.below(4) as usize;
            let batch: Vec<_> = self.events.drain(..some.min(self.events.len())).collect();
            let mut actions = Vec::new();
            self.brain.step(self.now, batch, &mut actions);
            self.brain.check();
            let idle = actions.is_empty() && self.events.is_empty();
            actions.into_iter().for_each(|action| self.carry_out(action));
            self.check();
            if idle && self.events.is_empty() {
                assert!(self.wanted.is_empty(), "whoever wants an end is answered");
                return;
            }
        }
    }

    fn check(&self) {
        let running = || self.processes.values().filter(|process| process.running.is_some());
        assert!(running().map(|process| process.cpus).sum::<u32>() <= SLOTS, "running cpus never exceed the slots");
        let gpus = running().filter(|process| !process.killed).filter_map(|process| process.running.as_ref());
        let gpus: u64 = gpus.map(|order| order.start.request.amount("gpu").0).sum();
        assert!(gpus <= 2, "running attempts share what there is");
        self.check_credit();
    }

    /// What one end has spent is on the way, or taken and not returned.
    fn check_credit(&self) {
        if self.left || self.events.iter().any(|event| matches!(event, Event::LinkOpened { .. } | Event::LinkLost)) {
            return;
        }
        let returned = |event: &Event| if let Event::ReportsTaken { cost } = event { *cost } else { 0 };
        let spent = self.owed + self.events.iter().map(returned).sum::<u64>();
        let owed = self.sent - self.events.iter().map(cost).sum::<u64>();
        assert_eq!(self.brain.flow(), Flow { spent, owed }, "credit is what both ends say");
    }

    fn carry_out(&mut self, action: Action) {
        assert!(!self.left, "nothing follows the goodbye");
        match action {
            Action::Spawn { executor, cpus } => {
                assert!(!self.draining, "a draining worker starts nothing");
                let fresh = self.processes.insert(executor, Process { cpus, ..Process::default() });
                assert!(fresh.is_none(), "ids are not used again");
            }
            Action::Define { executor, session, function } => {
                let Some(process) = self.alive(executor) else { return };
                let fresh = process.knows.insert(FunctionKey { session, function: function.id });
                assert!(fresh, "what is known is not told again");
            }
            Action::ForgetFunctions { executor, functions } => {
                let Some(process) = self.alive(executor) else { return };
                assert!(functions.iter().all(|key| process.knows.remove(key)), "only what was told is forgotten");
                let mut held = process.running.iter().chain(&process.queue);
                assert!(
                    !held.any(|order| called(&order.start).any(|key| functions.contains(&key))),
                    "what is needed stays"
                );
            }
            Action::Forget { executor, session } => {
                let Some(process) = self.alive(executor) else { return };
                process.knows.retain(|key| key.session != session);
            }
            Action::Give { executor, orders } => orders.into_iter().for_each(|order| self.accept(executor, order)),
            Action::GiveInputs { executor, entry, inputs } => {
                let here = self.store.clone();
                let Some(process) = self.alive(executor) else { return };
                let objects = inputs.iter().filter_map(Outcome::stored);
                objects.for_each(|stored| assert!(here.contains_key(&stored.object), "what is passed on is here"));
                let held = process.running.iter_mut().chain(&mut process.queue).find(|order| order.entry == entry);
                held.into_iter().for_each(|order| order.start.inputs.extend_from_slice(&inputs));
            }
            Action::Revoke { executor, entries } => self.revoke(executor, entries),
            Action::Cut { executor, entry } => self.cut_chunk(executor, entry),
            Action::Observe { executors } => {
                for executor in executors {
                    let running = self.alive(executor).and_then(|process| Some(process.running.as_ref()?.entry));
                    self.events.push_back(Event::ExecutorSeen { executor, running });
                }
            }
            Action::Signal { executor, signal } => self.signal(executor, signal),
            Action::Report { reports } => {
                self.owed += reports.iter().map(|report| window::cost(report.len())).sum::<u64>();
                reports.iter().for_each(|report| self.judge(report));
                reports.iter().for_each(|report| self.answer(report.attempt));
            }
            Action::Return { attempts } => attempts.iter().for_each(|attempt| self.answer(*attempt)),
            Action::ReportCut { attempt, at } => self.shorten(attempt, at),
            Action::ReportStarted { attempts } => {
                assert!(self.linked && attempts.iter().all(|attempt| self.open.contains(attempt)), "it runs");
            }
            Action::Store { object, value } => {
                assert!(value.carried() > STORE_ABOVE, "only what is large stays");
                assert!(self.store.insert(object, value).is_none(), "it is made once");
            }
            Action::Fetch { object, .. } | Action::Keep { object, .. } => {
                assert!(self.held(object).is_none() && self.coming.insert(object), "it comes once");
            }
            Action::Spill { object } => {
                let fresh = self.store.contains_key(&object) && !self.disk.contains_key(&object);
                assert!(fresh && self.writing.insert(object), "it is written once");
            }
            Action::Evict { object } => {
                assert!(self.disk.contains_key(&object), "nothing is forgotten that is nowhere else");
                assert!(self.store.remove(&object).is_some(), "it takes memory");
            }
            Action::Restore { object } => {
                let away = self.disk.contains_key(&object) && !self.store.contains_key(&object);
                assert!(away && self.reading.insert(object), "it comes back once");
            }
            Action::Read { object } => {
                let value = self.held(object).cloned();
                let on_disk_alone = !self.store.contains_key(&object) && value.is_some();
                self.events.push_back(if on_disk_alone && self.rng.chance(1, 6) {
                    Event::ReadFailed { object }
                } else {
                    Event::ObjectRead { object, value }
                });
            }
            Action::Drop { objects } => {
                for object in objects {
                    assert!(self.coming.remove(&object) || self.forget(object), "only what is there is dropped");
                    self.events.retain(|event| news_of(event) != Some(object));
                }
            }
            Action::ReportHeld { objects } => {
                assert!(self.linked && objects.iter().all(|object| self.held(*object).is_some()), "it is here");
            }
            Action::ReportUnfetched { object, .. } => assert!(self.linked && self.held(object).is_none()),
            Action::ReportLost { objects } => {
                assert!(self.linked && !objects.iter().any(|object| self.held(*object).is_some()), "it is lost");
            }
            Action::Show { value, .. } => {
                self.owed += window::cost(value.as_ref().map_or(0, Value::carried));
            }
            Action::AcknowledgeStarts { cost } => {
                assert!(self.linked);
                self.sent -= cost;
            }
            Action::AnnounceDrain => assert!(self.linked && self.draining),
            Action::Leave => self.left = true,
        }
    }

    /// The executor that an action names; none if it has died and the worker is yet to hear of it.
    fn alive(&mut self, executor: ExecutorId) -> Option<&mut Process> {
        let dead = |event: &Event| matches!(event, Event::ExecutorDied { executor: dead, .. } if *dead == executor);
        let process = self.processes.get_mut(&executor);
        assert!(process.is_some() || self.events.iter().any(dead), "only living executors are named");
        assert!(process.as_ref().is_none_or(|process| process.ready && !process.killed), "only those up are spoken to");
        process
    }

    fn accept(&mut self, executor: ExecutorId, order: Order) {
        assert!(self.open.contains(&order.start.attempt), "only what is wanted is given");
        let mut objects = order.start.inputs.iter().filter_map(Outcome::stored);
        assert!(objects.all(|stored| self.store.contains_key(&stored.object)), "inputs are here before the attempt");
        let Some(process) = self.alive(executor) else { return };
        assert_eq!(order.entry, Entry(process.next), "entries are numbered one by one");
        process.next += 1;
        let oldest = process.running.iter().chain(&process.queue).map(|order| order.entry).min();
        let oldest = oldest.into_iter().chain(process.unsent.iter().map(|ended| ended.entry)).min();
        let span = oldest.map_or(1, |oldest| order.entry.0 - oldest.0 + 1);
        assert!(span as usize <= limits::EXECUTOR_QUEUE, "every entry has a place in the ring");
        assert!(called(&order.start).all(|key| process.knows.contains(&key)), "defined before use");
        assert_eq!(process.cpus, order.start.request.cpus, "an executor serves what takes its slots");
        process.queue.push_back(order);
    }

    fn revoke(&mut self, executor: ExecutorId, asked: Vec<Entry>) {
        let Some(Process { queue, .. }) = self.alive(executor) else { return };
        let revoked = queue.iter().map(|order| order.entry).filter(|entry| asked.contains(entry)).collect();
        queue.retain(|order| !asked.contains(&order.entry));
        self.events.push_back(Event::EntriesRevoked { executor, asked, revoked });
    }

    fn signal(&mut self, executor: ExecutorId, signal: Signal) {
        let obeys = self.rng.chance(1, 2);
        let Some(process) = self.processes.get_mut(&executor) else { return };
        assert!(!process.killed, "nobody is killed twice");
        match signal {
            Signal::Kill => process.killed = true,
            Signal::Interrupt(entry) | Signal::Terminate(entry) => {
                assert!(process.queue.is_empty(), "nothing else can be hit");
                let hit = process.running.as_ref().is_some_and(|order| order.entry == entry);
                if hit && obeys && signal == Signal::Interrupt(entry) {
                    self.end(executor, Ending::Raised { error: Value::empty(), retry: Retry::Denied });
                } else if hit && obeys {
                    self.die(executor);
                }
            }
        }
    }

    /// Half of what has not begun is taken away, if that leaves something.
    fn cut_chunk(&mut self, executor: ExecutorId, entry: Entry) {
        let Some(process) = self.alive(executor) else { return };
        let (first, (next, end)) = match &process.running {
            Some(order) if order.entry == entry => (order.items().0, process.items),
            _ => process.queue.iter().find(|order| order.entry == entry).map_or((0, (0, 0)), |order| {
                let (first, end) = order.items();
                (first, (first, end))
            }),
        };
        let at = (next + end.saturating_sub(next) / 2).max(first + 1);
        let tail = (at < end).then_some(at);
        if let Some(at) = tail {
            match &mut process.running {
                Some(order) if order.entry == entry => process.items.1 = at,
                _ => process.queue.iter_mut().filter(|order| order.entry == entry).for_each(|order| {
                    order.part = Some(Part { first, end: at, deaths: Vec::new() });
                }),
            }
        }
        self.events.push_back(Event::EntryCut { executor, entry, tail });
    }

    /// What a chunk comes to is all its items in order.
    fn judge(&self, report: &Report) {
        let (Ending::Returned(value), Some(items)) = (&report.ending, self.items.get(&report.attempt)) else { return };
        // It may have been damaged while its report waited for credit.
        let kept = value.stored().map(|stored| self.held(stored.object));
        let Some(value) = kept.unwrap_or(Some(value)) else { return };
        let bytes: Vec<u8> = bytes_of(value).into_iter().map(|byte| byte & 0x7f).collect();
        let expected: Vec<u8> = (items.first as u8..items.end as u8).collect();
        assert_eq!(bytes, expected, "every item of a chunk, once, in order");
    }

    /// The coordinator hears where an attempt ends from now on, as it asked.
    fn shorten(&mut self, attempt: AttemptId, at: Option<u32>) {
        assert!(self.linked && self.open.contains(&attempt), "only what is here is spoken of");
        let wanted = self.wanted.get_mut(&attempt).expect("nobody asked");
        *wanted -= 1;
        if *wanted == 0 {
            self.wanted.remove(&attempt);
        }
        if let Some(at) = at {
            let items = self.items.get_mut(&attempt).expect("only a chunk has an end");
            assert!(items.first < at && at < items.end, "something stays, and something goes");
            items.end = at;
        }
    }

    fn answer(&mut self, attempt: AttemptId) {
        assert!(self.linked, "without a link nobody hears");
        assert!(self.open.remove(&attempt), "each attempt is answered once");
        self.wanted.remove(&attempt);
        self.inputs.remove(&attempt);
    }

    /// The executor ends what it runs, in its own good time.
    fn end(&mut self, executor: ExecutorId, ending: Ending) {
        let soiled = self.rng.chance(1, 16);
        let Some(process) = self.processes.get_mut(&executor) else { return };
        let whole = |order: &Order| order.start.inputs.len() as u64 == order.start.inputs_total;
        let done = |order: &Order| whole(order) && process.items.0 == process.items.1;
        if process.running.as_ref().is_some_and(|order| done(order) || !matches!(ending, Ending::Returned(_))) {
            let order = process.running.take().expect("something runs");
            let (entry, mut ending) = (order.entry, ending);
            if let Ending::Returned(value) = &mut ending {
                *value = result(&order, process.items.1);
            }
            let condition = if soiled { Condition::Soiled } else { Condition::Clean };
            process.unsent.push(Ended { entry, ending, run_micros: 1, condition });
        }
    }

    /// The executor begins the next of its queue.
    fn begin(&mut self, executor: ExecutorId) {
        let Some(process) = self.processes.get_mut(&executor) else { return };
        if process.running.is_none() && process.ready && !process.killed {
            process.running = process.queue.pop_front();
            process.items = process.running.as_ref().map_or((0, 0), Order::items);
        }
    }

    /// Items of the chunk that runs are begun and done, one after the other.
    fn advance(&mut self, executor: ExecutorId) {
        let some = self.rng.below(4) as u32;
        let Some(process) = self.processes.get_mut(&executor) else { return };
        let whole = |order: &Order| order.start.inputs.len() as u64 == order.start.inputs_total;
        if !process.running.as_ref().is_some_and(whole) {
            return; // what it does not have yet it cannot begin
        }
        process.items.0 = (process.items.0 + some).min(process.items.1);
    }

    fn flush(&mut self, executor: ExecutorId) {
        let Some(process) = self.processes.get_mut(&executor) else { return };
        let ended = std::mem::take(&mut process.unsent);
        if !ended.is_empty() {
            self.events.push_back(Event::EntriesEnded { executor, ended });
        }
    }

    /// The executor dies; what it had not sent is lost with it.
    fn die(&mut self, executor: ExecutorId) {
        let Some(process) = self.processes.remove(&executor) else { return };
        let begun = process.running.as_ref().filter(|order| order.items().0 < process.items.0);
        let item = begun.map(|_| process.items.0 - 1);
        let running = process.running.map(|order| order.entry);
        self.events.push_back(Event::ExecutorDied { executor, running, item, death: Box::new(death()) });
    }

    /// Something that takes credit is on its way to the worker.
    fn send(&mut self, event: Event) {
        self.sent += cost(&event);
        self.events.push_back(event);
    }

    fn link(&mut self) {
        self.linked = true;
        self.events.push_back(Event::LinkOpened { result_limit: 9 });
        self.define_both();
    }

    fn define_both(&mut self) {
        (self.functions, self.next_function) = ([0, 1], 2);
        self.functions.into_iter().for_each(|id| self.define(id));
    }

    /// The session ends, whatever runs, and another begins whose functions have the same numbers.
    fn end_session(&mut self) {
        let attempts = self.open.iter().filter(|id| id.task.session == self.session).copied().collect();
        self.events.push_back(Event::AttemptsCancelled { attempts, cancel: Cancel::Running });
        self.events.push_back(Event::SessionForgotten { session: self.session });
        self.session.0 += 1;
        self.define_both();
    }

    fn define(&mut self, id: u32) {
        let function = FunctionSpec { id: FunctionId(id), hash: [0; 32], python: None, body: Value::empty() };
        self.send(Event::FunctionDefined { session: self.session, function });
    }

    /// One of the functions gives way to another; what still calls it is cancelled.
    fn renew(&mut self) {
        let which = self.rng.below(2) as usize;
        let old = FunctionKey { session: self.session, function: FunctionId(self.functions[which]) };
        let attempts = self.calls.iter().filter(|(id, calls)| self.open.contains(id) && calls.contains(&old));
        let attempts = attempts.map(|(id, _)| *id).collect();
        let cancel = if self.rng.chance(1, 2) { Cancel::Running } else { Cancel::Pending };
        self.events.push_back(Event::AttemptsCancelled { attempts, cancel });
        self.events.push_back(Event::FunctionsForgotten { functions: vec![old] });
        self.functions[which] = self.next_function;
        self.define(self.next_function);
        self.next_function += 1;
    }

    fn cut(&mut self) {
        self.linked = false;
        self.events.retain(|event| news_of(event).is_none());
        (self.owed, self.sent) = (0, 0);
        self.calls.clear();
        self.open.clear();
        self.wanted.clear();
        self.inputs.clear();
        self.events.retain(|event| {
            let of_executor = matches!(event, Event::EntriesEnded { .. } | Event::EntriesRevoked { .. });
            let of_page = matches!(event, Event::ExecutorSeen { .. } | Event::EntryCut { .. });
            of_executor || of_page || matches!(event, Event::ExecutorDied { .. })
        });
        self.events.push_back(Event::LinkLost);
    }

    fn assign(&mut self, count: u64) {
        let starts = (0..count).map(|_| self.start()).collect();
        self.send(Event::AttemptsAssigned { starts });
    }

    fn start(&mut self) -> Start {
        let seq = Seq(self.assigned);
        self.assigned += 1;
        let deaths = u32::from(self.rng.chance(1, 8));
        let attempt = AttemptId { task: TaskId::new(self.session, seq), attempt: Attempt(1 + deaths) };
        let cpus = if self.rng.chance(1, 8) { 1 + self.rng.below(u64::from(SLOTS)) as u32 } else { 1 };
        let gpus = if self.rng.chance(1, 8) { 1 + self.rng.below(2) } else { 0 };
        let (function, merge) = (FunctionId(self.functions[self.rng.below(2) as usize]), FunctionId(self.functions[1]));
        let first = if self.rng.chance(1, 3) { self.rng.below(20) as u32 } else { 0 };
        let end = first + 1 + self.rng.below(8) as u32;
        let (errors, span) = (Errors::Skip, Span { first, end, total: end });
        let call = match self.rng.below(4) {
            0 => Call::ChunkFold { errors, retries: 0, span, merge },
            1 => Call::Chunk { errors, retries: 0, span },
            _ => Call::Single,
        };
        if !call.span().is_empty() {
            self.items.insert(attempt, span);
        }
        let total = if self.rng.chance(1, 8) { self.rng.below(5) } else { 0 };
        let priority = if self.rng.chance(1, 4) { self.rng.below(3) as i32 - 1 } else { 0 };
        let inputs =
            if self.rng.chance(1, 4) { (0..1 + self.rng.below(3)).map(|_| self.input()).collect() } else { Vec::new() };
        let (inputs, promised) = self.promise(attempt, call, inputs);
        let (total, more) = (total + inputs.len() as u64, total);
        self.open.insert(attempt);
        if more > 0 {
            self.inputs.insert(attempt, more);
        }
        let start = Start {
            attempt,
            function,
            call,
            request: Resources::new(cpus, [("gpu".into(), Amount(gpus))]),
            args: Value::empty(),
            inputs,
            inputs_total: total,
            deaths,
            crash_limit: 2,
            priority,
            promised,
            tail: if total == 0 && self.rng.chance(1, 2) { Tail::Asked } else { Tail::Kept },
        };
        self.calls.insert(attempt, called(&start).collect());
        start
    }

    /// Some attempts come before others here have made what they need; whoever was to make it may be over, too.
    fn promise(&mut self, attempt: AttemptId, call: Call, mut inputs: Vec<Outcome>) -> (Vec<Outcome>, Vec<Promised>) {
        let mut promised = Vec::new();
        if call == Call::Single && self.rng.chance(1, 3) {
            let open: Vec<AttemptId> = self.open.iter().copied().filter(|open| *open != attempt).collect();
            for _ in 0..1 + self.rng.below(3) {
                let stranger = AttemptId { attempt: Attempt(99), ..attempt };
                let known = open.get(self.rng.below(open.len() as u64 + 1) as usize);
                let by = *known.unwrap_or(&stranger);
                promised.push(Promised { input: inputs.len() as u32, by });
                inputs.push(Outcome::Skipped);
            }
        }
        (inputs, promised)
    }

    fn append(&mut self) {
        let Some((attempt, left)) = self.inputs.iter_mut().find(|(_, left)| **left > 0) else { return };
        *left -= 1;
        let attempt = *attempt;
        let inputs = vec![self.input()];
        self.send(Event::InputsAppended { attempt, inputs });
    }

    fn some_open(&mut self) -> Vec<AttemptId> {
        let (skip, take) = (self.rng.below(1 + self.open.len() as u64), self.rng.below(4));
        self.open.iter().skip(skip as usize).take(take as usize).copied().collect()
    }

    fn take_reports(&mut self) {
        let cost = std::mem::take(&mut self.owed);
        self.events.push_back(Event::ReportsTaken { cost });
    }

    /// Something happens.
    fn happen(&mut self, what: u8) {
        let ids: Vec<_> = self.processes.keys().copied().collect();
        let executor = ids.get(self.rng.below(ids.len().max(1) as u64) as usize).copied().unwrap_or_default();
        match what {
            0 if self.linked && !self.left => {
                let count = 1 + self.rng.below(12);
                self.assign(count);
            }
            1 if self.linked => {
                let cancel = if self.rng.chance(1, 2) { Cancel::Running } else { Cancel::Pending };
                let attempts = self.some_open();
                self.events.push_back(Event::AttemptsCancelled { attempts, cancel });
            }
            2 if self.linked => {
                let attempts = self.some_open();
                self.events.push_back(Event::AttemptsRecalled { attempts });
            }
            11 if self.linked => {
                for attempt in self.some_open() {
                    *self.wanted.entry(attempt).or_default() += 1;
                    self.events.push_back(Event::TailWanted { attempt });
                }
            }
            3 if self.linked => self.append(),
            4 if self.linked && self.rng.chance(1, 8) => self.cut(),
            5 if !self.linked => self.link(),
            6 if self.rng.chance(1, 4) => self.die(executor),
            7 if self.linked => self.take_reports(),
            12 if self.linked => self.order(),
            13 => self.transfer(),
            14 if self.linked => self.damage_some(),
            16 | 17 => self.turn_disk(),
            15 if self.linked => self.drop_made(),
            8 => self.now = self.now + Duration::from_millis(self.rng.below(1_500)),
            10 if self.linked && self.rng.chance(1, 3) => self.end_session(),
            10 if self.linked => self.renew(),
            9 => self.now = self.now + Duration::from_millis(self.rng.below(15)),
            _ => self.work(executor),
        }
    }

    /// An executor does the next thing it can do.
    fn work(&mut self, executor: ExecutorId) {
        let Some(process) = self.processes.get_mut(&executor) else { return };
        if process.killed {
            self.die(executor);
        } else if !process.ready {
            process.ready = true;
            self.events.push_back(Event::ExecutorReady { executor });
        } else {
            self.begin(executor);
            self.advance(executor);
            if self.rng.chance(2, 3) {
                self.end(executor, Ending::Returned(Value::empty()));
            }
            if self.rng.chance(1, 2) {
                self.flush(executor);
            }
        }
    }

    /// The trouble stops: every executor works, time passes, and everything must come to its end.
    fn heal(&mut self) {
        if !self.linked {
            self.link();
        }
        for _ in 0..2_000 {
            self.settle();
            if self.open.is_empty() && (self.left || !self.draining) {
                return;
            }
            self.append();
            self.order();
            self.transfer();
            self.turn_disk();
            self.take_reports();
            for executor in self.processes.keys().copied().collect::<Vec<_>>() {
                self.work(executor);
                self.flush(executor);
            }
            if let Some((due, _)) = self.brain.deadline() {
                self.now = self.now.max(due.min(self.now + Duration::from_millis(500)));
            }
        }
        panic!("{} attempts are never answered: {:?}", self.open.len(), self.brain);
    }
}

/// What an order comes to if it ends before the item `end`: a byte for each item, marked if it crashed, or its inputs' bytes.
fn result(order: &Order, end: u32) -> Value {
    let bytes: Vec<u8> = match (order.start.call, &order.part) {
        (Call::Fold, _) => order.start.inputs.iter().filter_map(Outcome::value).flat_map(bytes_of).collect(),
        (_, Some(part)) if !part.deaths.is_empty() => {
            assert_eq!(
                (part.first + 1, part.deaths.len()),
                (part.end, 2),
                "one item, that has died as often as it may"
            );
            vec![part.first as u8 | 0x80]
        }
        _ => (order.items().0..end).map(|item| item as u8).collect(),
    };
    Value::from(Bytes::from(bytes))
}

fn bytes_of(value: &Value) -> Vec<u8> {
    value.segments().flat_map(<[u8]>::to_vec).collect()
}

proptest! {
    #[test]
    fn every_attempt_is_answered_once(seed in any::<u64>(), happenings in prop::collection::vec(0..20_u8, 0..200)) {
        let mut world = World::new(seed);
        world.link();
        for what in happenings {
            world.happen(what);
            world.settle();
        }
        world.heal();
    }

    #[test]
    fn a_draining_worker_answers_everything_and_leaves(
        seed in any::<u64>(),
        before in prop::collection::vec(0..20_u8, 0..100),
        after in prop::collection::vec(0..20_u8, 0..50),
    ) {
        let mut world = World::new(seed);
        world.link();
        for what in before {
            world.happen(what);
            world.settle();
        }
        world.settle();
        world.draining = true;
        world.events.push_back(Event::DrainRequested);
        world.settle();
        for what in after {
            if !world.left {
                world.happen(what);
                world.settle();
            }
        }
        if !world.left {
            world.heal();
        }
        prop_assert!(world.left);
    }
}
