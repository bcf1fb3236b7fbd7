//! A world around the scheduler: workers that do what they are told, clients that remember what they heard. Every step
//! is followed by `check()`, and every action is held against what a worker or a client may expect.

use super::super::{Action, Config, Event, Exchange, Scheduler, Watch};
use crate::id::{Attempt, AttemptId, FunctionId, FunctionKey, OptionsId, SessionId, TaskId, WorkerId};
use crate::outcome::{Ending, Notice, Outcome, Report};
use crate::resource::Resources;
use crate::spec::{Call, Errors, FunctionSpec, Grouping, Offer, Options, PythonVersion, Request, Start, TaskSpec};
use crate::time::Time;
use crate::value::Value;
use crate::window::{self, Flow};
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

pub(super) const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 12 };

/// An attempt in a worker's hands.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) start: Start,
    pub(super) cancelled: bool,
}

impl Held {
    fn is_whole(&self) -> bool {
        self.start.inputs.len() as u64 == self.start.inputs_total && self.start.promised.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Hand {
    pub(super) offer: Offer,
    pub(super) held: VecDeque<Held>,
    functions: BTreeSet<FunctionKey>,
    taken: u64,
    /// What it reported and was not given back, by its cost.
    reported: u64,
}

impl Hand {
    /// How many of the oldest it runs.
    pub(super) fn running(&self) -> usize {
        let mut free = self.offer.capacity.cpus;
        let runs = |held: &&Held| {
            let fits = held.start.request.cpus <= free;
            free = free.saturating_sub(held.start.request.cpus);
            fits
        };
        self.held.iter().take_while(runs).count()
    }
}

impl Hand {
    /// An attempt has left: those that were promised its value have it, or go too.
    fn bequeath(&mut self, maker: AttemptId, ending: &Ending) -> Vec<AttemptId> {
        let mut returned = Vec::new();
        let Ending::Returned(value) = ending else {
            let waits = |held: &Held| held.start.promised.iter().any(|promised| promised.by == maker);
            while let Some(at) = self.held.iter().position(waits) {
                let heir = self.held.remove(at).expect("just seen").start.attempt;
                returned.push(heir);
                returned.extend(self.bequeath(heir, &Ending::Skipped));
            }
            return returned;
        };
        for Held { start, .. } in &mut self.held {
            let inputs = &mut start.inputs;
            start.promised.retain(|promised| {
                if promised.by == maker {
                    inputs[promised.input as usize] = Outcome::Value(value.clone());
                }
                promised.by != maker
            });
        }
        returned
    }
}

#[derive(Debug)]
pub(super) struct Rig {
    pub(super) scheduler: Scheduler,
    pub(super) now: Time,
    pub(super) hands: BTreeMap<WorkerId, Hand>,
    pub(super) outcomes: BTreeMap<TaskId, Outcome>,
    pub(super) progress: u64,
    attempts: BTreeMap<TaskId, Attempt>,
    notices: BTreeMap<SessionId, u64>,
    pub(super) pending: Vec<Event>,
    pub(super) log: Vec<Action>,
    /// Objects that workers fetched from others.
    pub(super) fetched: usize,
}

impl Rig {
    pub(super) fn new(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config, 0),
            now: Time::ZERO,
            hands: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            progress: 0,
            attempts: BTreeMap::new(),
            notices: BTreeMap::new(),
            pending: Vec::new(),
            log: Vec::new(),
            fetched: 0,
        }
    }

    pub(super) fn open(&mut self, session: SessionId) {
        let options = Options::default();
        self.step([
            Event::SessionOpened { session, token: 7, exchange: Exchange::Bytes },
            request(session, Request::DefineOptions { id: OptionsId(0), options }),
            request(session, Request::DefineFunction(function(0, None))),
            request(session, Request::DefineFunction(function(1, Some(PYTHON)))),
        ]);
    }

    pub(super) fn join(&mut self, worker: WorkerId, slots: u32, queue: u32) {
        let offer = Offer {
            name: format!("host-{worker}").into(),
            capacity: Resources::cpus(slots),
            queue,
            python: PYTHON,
            peer: Some(super::peer(worker)),
        };
        let hand =
            Hand { offer: offer.clone(), held: VecDeque::new(), functions: BTreeSet::new(), taken: 0, reported: 0 };
        self.hands.insert(worker, hand);
        self.step([Event::WorkerJoined { worker, offer, watch: Watch::None, exchange: Exchange::Bytes }]);
    }

    pub(super) fn lose(&mut self, worker: WorkerId) {
        self.hands.remove(&worker);
        self.step([Event::WorkerLost { worker }]);
    }

    pub(super) fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        self.now = self.now + Duration::from_micros(10);
        let mut actions = Vec::new();
        let events: Vec<Event> = self.pending.drain(..).chain(events).collect();
        events.iter().for_each(|event| self.spend(event));
        self.scheduler.step(self.now, events, &mut actions);
        self.scheduler.check();
        for action in &actions {
            self.perform(action);
        }
        self.log.append(&mut actions);
        for (worker, hand) in &self.hands {
            let flow = self.scheduler.snapshot().flow(*worker);
            let expected = Flow { spent: hand.taken, owed: hand.reported };
            assert_eq!(flow, Some(expected), "credit is what both ends say");
        }
    }

    /// A worker's reports take of its credit.
    fn spend(&mut self, event: &Event) {
        if let Event::AttemptsEnded { worker, reports } = event
            && let Some(hand) = self.hands.get_mut(worker)
        {
            hand.reported += reports.iter().map(|report| window::cost(report.len())).sum::<u64>();
        }
    }

    /// Ends the n-th attempt that a worker runs.
    pub(super) fn end(&mut self, worker: WorkerId, n: usize, ending: impl FnOnce(&Start) -> Ending) {
        let Some(hand) = self.hands.get_mut(&worker) else { return };
        if !hand.held.get(n).is_some_and(Held::is_whole) {
            return;
        }
        let held = hand.held.remove(n).expect("just seen");
        let ending = if held.cancelled { Ending::Cancelled } else { ending(&held.start) };
        let attempt = held.start.attempt;
        let returned = hand.bequeath(attempt, &ending);
        let report = Report { attempt, ending, run_micros: 100 };
        self.pending.push(Event::AttemptsEnded { worker, reports: vec![report] });
        if !returned.is_empty() {
            self.pending.push(Event::AttemptsReturned { worker, attempts: returned });
        }
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::DefineFunction { worker, session, function } => {
                let key = FunctionKey { session: *session, function: function.id };
                let hand = self.hand(*worker);
                assert!(hand.functions.insert(key), "a function is told once");
                hand.taken += window::cost(function.body.len());
            }
            Action::StartAttempts { worker, starts } => starts.iter().for_each(|start| self.begin(*worker, start)),
            Action::AppendInputs { worker, attempt, inputs } => {
                let hand = self.hand(*worker);
                hand.taken += window::cost(inputs.iter().map(Outcome::len).sum());
                let held = hand.held.iter_mut().find(|held| held.start.attempt == *attempt);
                let start = &mut held.expect("inputs follow their start").start;
                start.inputs.extend(inputs.iter().cloned());
                assert!(start.inputs.len() as u64 <= start.inputs_total, "no more inputs than announced");
            }
            Action::CancelAttempts { worker, attempts, .. } => {
                for attempt in attempts {
                    let held = self.hand(*worker).held.iter_mut().find(|held| held.start.attempt == *attempt);
                    held.into_iter().for_each(|held| held.cancelled = true);
                }
            }
            Action::RecallAttempts { worker, attempts } => self.give_back(*worker, attempts),
            Action::ForgetFunctions { worker, functions } => {
                let known = &mut self.hand(*worker).functions;
                assert!(functions.iter().all(|key| known.remove(key)), "only what was told is forgotten");
            }
            Action::ForgetSession { worker, session } => {
                self.hand(*worker).functions.retain(|key| key.session != *session);
            }
            Action::FenceWorker { worker } | Action::DismissWorker { worker } => drop(self.hands.remove(worker)),
            Action::Notify { session, notices } => notices.iter().for_each(|notice| self.hear(*session, notice)),
            Action::FetchObject { worker, object, .. } => {
                self.fetched += 1;
                self.pending.push(Event::ObjectsHeld { worker: *worker, objects: vec![*object] });
            }
            Action::DropObjects { .. } => {}
            Action::CutChunk { .. } => panic!("nothing is known to take long here: {action:?}"),
            Action::GiveObject { .. } | Action::ShowObject { .. } | Action::ExpectClient { .. } => {
                panic!("all reach each other here: {action:?}")
            }
            Action::AcknowledgeReports { worker, cost } => self.hand(*worker).reported -= cost,
            Action::Welcome { .. } | Action::AcknowledgeRequests { .. } | Action::EndSession { .. } => {}
        }
    }

    fn begin(&mut self, worker: WorkerId, start: &Start) {
        let AttemptId { task, attempt } = start.attempt;
        let last = self.attempts.insert(task, attempt).unwrap_or_default();
        assert!(attempt > last, "attempts of a task ascend");
        let over = self.outcomes.get(&task).is_some_and(|outcome| outcome.stored().is_none());
        assert!(!over, "what is over starts again only for a value that may be lost");
        let hand = self.hand(worker);
        assert!(
            hand.functions.contains(&FunctionKey { session: task.session, function: start.function }),
            "told first"
        );
        hand.taken += window::cost(start.len());
        let has = |maker| hand.held.iter().any(|held| held.start.attempt == maker);
        if !start.promised.iter().all(|promised| has(promised.by)) {
            return self.pending.push(Event::AttemptsReturned { worker, attempts: vec![start.attempt] });
        }
        hand.held.push_back(Held { start: start.clone(), cancelled: false });
        let most = hand.offer.capacity.cpus + hand.offer.queue;
        assert!(hand.held.len() <= most as usize, "no worker is given more than it offers");
    }

    fn give_back(&mut self, worker: WorkerId, attempts: &[AttemptId]) {
        let hand = self.hand(worker);
        let running = hand.running();
        let (mut kept, mut returned) = (VecDeque::new(), Vec::new());
        for (n, held) in hand.held.drain(..).enumerate() {
            if n >= running && attempts.contains(&held.start.attempt) {
                returned.push(held.start.attempt);
            } else {
                kept.push_back(held);
            }
        }
        hand.held = kept;
        for maker in returned.clone() {
            returned.extend(hand.bequeath(maker, &Ending::Skipped));
        }
        self.pending.push(Event::AttemptsReturned { worker, attempts: returned });
    }

    fn hear(&mut self, session: SessionId, notice: &Notice) {
        let taken = self.notices.entry(session).or_default();
        *taken += 1;
        self.pending.push(Event::NoticesTaken { session, taken: *taken });
        match notice {
            Notice::Ended(deliveries) => {
                for delivery in deliveries {
                    let task = TaskId::new(session, delivery.seq);
                    let before = self.outcomes.insert(task, delivery.outcome.clone());
                    assert!(before.is_none(), "one outcome a task: {task}");
                }
            }
            Notice::Progressed { progress, .. } => {
                assert!(progress.items > self.progress, "progress goes on");
                self.progress = progress.items;
            }
            Notice::Started(_)
            | Notice::WorkerNamed { .. }
            | Notice::Admission(_)
            | Notice::Fetched { .. }
            | Notice::Divided { .. } => {}
            Notice::Found { .. } => panic!("no client here goes to workers: {notice:?}"),
        }
    }

    /// Has every worker say that it has taken what it was sent.
    pub(super) fn take_all(&mut self) {
        for (worker, hand) in &mut self.hands {
            let cost = core::mem::take(&mut hand.taken);
            self.pending.push(Event::StartsTaken { worker: *worker, cost });
        }
    }

    fn hand(&mut self, worker: WorkerId) -> &mut Hand {
        self.hands.get_mut(&worker).expect("actions name workers that are there")
    }
}

/// What the functions of these worlds do: a piece says its argument, folds and combines string things together.
pub(super) fn call(start: &Start) -> Ending {
    let texts = start.inputs.iter().map(|input| input.value().map(text).unwrap_or_default());
    let value = match start.call {
        Call::Single | Call::Chunk { .. } | Call::ChunkFold { .. } => text(&start.args),
        Call::Fold => texts.collect(),
        Call::Combine { .. } => format!("[{}]", texts.collect::<Vec<_>>().join(",")),
    };
    Ending::Returned(value_of(&value))
}

pub(super) fn text(value: &Value) -> String {
    value.segments().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

pub(super) fn value_of(text: &str) -> Value {
    Value::from(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn request(session: SessionId, request: Request) -> Event {
    Event::Requested { session, request }
}

pub(super) fn function(id: u32, python: Option<PythonVersion>) -> FunctionSpec {
    FunctionSpec { id: FunctionId(id), hash: [0; 32], python, body: value_of("body") }
}

pub(super) fn task(seq: u64) -> TaskSpec {
    TaskSpec {
        seq: crate::id::Seq(seq),
        function: FunctionId(0),
        options: OptionsId(0),
        call: Call::Single,
        args: value_of(&format!("{seq} ")),
        inputs: [].into(),
        run: None,
        retention: crate::spec::Retention::Delivery,
    }
}

pub(super) const GROUPED: Grouping = Grouping::Items;
pub(super) const RAISE: Errors = Errors::Raise;
