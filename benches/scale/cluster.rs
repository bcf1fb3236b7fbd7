//! Both ends of the scheduler: workers that take, start, end, give back and acknowledge what they are given, and clients
//! that acknowledge what they are told. Events come as the coordinator's driver batches them: each peer its share of a
//! step's bound.

use crate::clock::Clock;
use bytes::Bytes;
use plait_core::id::{AttemptId, FunctionId, ObjectId, OptionsId, Seq, SessionId, WorkerId};
use plait_core::limits;
use plait_core::outcome::{Ending, Notice, Outcome, Report};
use plait_core::peer::{Fingerprint, Peer};
use plait_core::resource::{Amount, Resources};
use plait_core::scheduler::{Action, Config, Event, Exchange, Scheduler, Watch, World};
use plait_core::spec::{Call, FunctionSpec, Offer, Options, PythonVersion, Request, Retention, Start, TaskSpec};
use plait_core::time::Time;
use plait_core::value::{Stored, Value};
use plait_core::window::{self, Owed};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

pub(crate) const SLOTS: u32 = 64;
/// Bytes of a task's arguments: beyond what lies in a value itself.
pub(crate) const ARGS_BYTES: usize = 32;
/// Tasks of one message.
pub(crate) const BATCH: u64 = limits::BATCH_ITEMS as u64;
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(1);
/// The first number of options that is free: those before it ask for one slot, for two, for one more than a worker has.
pub(crate) const FIRST_OPTIONS: u32 = 3;
const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 12 };

/// What workers do with a task's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Results {
    /// It travels.
    Sent,
    /// It stays in the worker's store.
    Stored,
}

/// Whether workers get on with what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Goes,
    Stands,
}

/// What a worker is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(crate) slots: u32,
    /// How much it has of the one named resource.
    pub(crate) memory: u64,
    /// What its tasks run, in microseconds, as it reports it: it is given a few in advance.
    pub(crate) run_micros: u64,
    /// Whether others can fetch from it.
    pub(crate) listens: bool,
}

/// A worker as most are.
pub(crate) const USUAL: Make = Make { slots: SLOTS, memory: 0, run_micros: 50_000, listens: false };

/// A worker.
#[derive(Debug)]
struct Hand {
    make: Make,
    /// In the order in which they begin; the first so many are known to run.
    held: VecDeque<AttemptId>,
    started: usize,
    /// Those of them that were given in advance, by the attempts whose values they were promised.
    heirs: BTreeMap<AttemptId, Vec<AttemptId>>,
    /// How many inputs each lacks that lacks some.
    incoming: BTreeMap<AttemptId, u64>,
    owed: Owed,
    /// What it has fetched and not said.
    fetched: VecDeque<ObjectId>,
    /// What it has to say beside.
    words: VecDeque<Event>,
}

/// A scheduler and everybody around it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) scheduler: Scheduler,
    clock: Clock,
    now: Time,
    hands: BTreeMap<WorkerId, Hand>,
    pub(crate) make: Make,
    next_worker: u32,
    /// Where to go on, so that each has its turn.
    turn: WorkerId,
    beaten: WorkerId,
    /// Attempts that were taken from their worker.
    gone: HashSet<AttemptId>,
    /// What clients have said and the driver has not read.
    said: VecDeque<Event>,
    notices: BTreeMap<SessionId, u64>,
    next_seq: BTreeMap<SessionId, u64>,
    pub(crate) done: u64,
    pub(crate) results: Results,
    /// A task whose result travels in any case.
    pub(crate) travels: Option<Seq>,
    /// The first task that is to raise, for whoever wants one to.
    pub(crate) raises: Option<(SessionId, Seq)>,
    /// How long each step took since this was last taken.
    pub(crate) spans: Vec<Duration>,
    actions: Vec<Action>,
}

impl Cluster {
    /// Clients that are there, and no worker.
    pub(crate) fn new(sessions: u32) -> Self {
        let config = Config {
            held_bytes_limit: 16 << 30,
            result_limit: 1 << 30,
            session_tasks: limits::SESSION_TASKS,
            world: World::Open,
            ride_along: limits::INLINE_VALUE_BYTES as u64,
            direct_bytes: limits::DIRECT_BYTES,
            slice: limits::STEP_SLICE,
        };
        let mut cluster = Self {
            scheduler: Scheduler::new(config, 1),
            clock: Clock::new(),
            now: Time::ZERO,
            hands: BTreeMap::new(),
            make: USUAL,
            next_worker: 0,
            turn: WorkerId(0),
            beaten: WorkerId(0),
            gone: HashSet::new(),
            said: VecDeque::new(),
            notices: BTreeMap::new(),
            next_seq: BTreeMap::new(),
            done: 0,
            results: Results::Sent,
            travels: None,
            raises: None,
            spans: Vec::new(),
            actions: Vec::new(),
        };
        (0..sessions).for_each(|n| cluster.open(SessionId(n)));
        cluster
    }

    fn open(&mut self, session: SessionId) {
        self.said.push_back(Event::SessionOpened { session, token: 0, exchange: Exchange::Bytes });
        self.define(session, FunctionId(0));
        let requests = [Resources::cpus(1), Resources::cpus(2), Resources::cpus(SLOTS + 1)];
        for (id, request) in (0..).zip(requests) {
            let options = Options { request, ..Options::default() };
            self.ask(session, Request::DefineOptions { id: OptionsId(id), options });
        }
        self.step(Work::Stands);
    }

    /// A client defines a function.
    pub(crate) fn define(&mut self, session: SessionId, id: FunctionId) {
        let body = Value::from(Bytes::from_static(b"body"));
        self.ask(session, Request::DefineFunction(FunctionSpec { id, hash: [0; 32], python: None, body }));
    }

    /// A client defines options.
    pub(crate) fn choose(&mut self, session: SessionId, id: OptionsId, options: Options) {
        self.ask(session, Request::DefineOptions { id, options });
        if self.said.len() >= limits::STEP_ITEMS / 2 {
            self.hear_out(Work::Stands);
        }
    }

    /// One more worker, in a step of its own as the driver takes arrivals.
    pub(crate) fn join(&mut self) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        let Make { slots, memory, listens, .. } = self.make;
        let peer = Peer { address: ([127, 0, 0, 1], 9_000).into(), key: Fingerprint::default() };
        let offer = Offer {
            name: format!("host-{worker}").into(),
            capacity: asking(slots, memory),
            queue: limits::WORKER_QUEUE_PER_SLOT * slots,
            python: PYTHON,
            peer: listens.then_some(peer),
        };
        self.hands.insert(worker, Hand::new(self.make));
        self.step_with(vec![Event::WorkerJoined { worker, offer, watch: Watch::Heartbeat, exchange: Exchange::Bytes }]);
        worker
    }

    /// So many workers are gone at once: a step for each, as the driver weighs them.
    pub(crate) fn lose(&mut self, count: usize) {
        let lost: Vec<WorkerId> = self.hands.keys().copied().take(count).collect();
        for worker in &lost {
            self.hands.remove(worker);
        }
        lost.into_iter().for_each(|worker| self.step_with(vec![Event::WorkerLost { worker }]));
    }

    /// The worker that has most to do, if any has something, is gone.
    pub(crate) fn lose_busiest(&mut self) {
        let busiest = self.hands.iter().max_by_key(|(_, hand)| hand.held.len());
        let worker = *busiest.expect("there are workers").0;
        self.hands.remove(&worker);
        self.step_with(vec![Event::WorkerLost { worker }]);
    }

    /// A client asks for something.
    pub(crate) fn ask(&mut self, session: SessionId, request: Request) {
        self.said.push_back(Event::Requested { session, request });
    }

    /// A client submits `count` tasks; `change` makes of a plain one what it should be. The number of the first.
    pub(crate) fn submit(&mut self, session: SessionId, count: u64, change: impl Fn(u64, &mut TaskSpec)) -> u64 {
        let first = self.number(session, count);
        for from in (first..first + count).step_by(BATCH as usize) {
            let batch = BATCH.min(first + count - from);
            // As it arrives: the arguments of a batch are slices of one buffer.
            let mut buffer = Bytes::from(vec![7; ARGS_BYTES * batch as usize]);
            let task = |seq| {
                let mut task = TaskSpec {
                    seq: Seq(seq),
                    function: FunctionId(0),
                    options: OptionsId(0),
                    call: Call::Single,
                    args: Value::from(buffer.split_to(ARGS_BYTES)),
                    inputs: [].into(),
                    run: None,
                    retention: Retention::Delivery,
                };
                change(seq - first, &mut task);
                task
            };
            let tasks = (from..from + batch).map(task).collect();
            self.ask(session, Request::Submit(tasks));
            while self.said_much() {
                self.step(Work::Stands);
            }
        }
        self.hear_out(Work::Stands);
        first
    }

    /// The next `count` numbers of a session's tasks.
    pub(crate) fn number(&mut self, session: SessionId, count: u64) -> u64 {
        let next = self.next_seq.entry(session).or_default();
        *next += count;
        *next - count
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        self.said.push_back(Event::SessionClosed { session });
    }

    /// Whether clients have said more than a step takes.
    pub(crate) fn said_much(&self) -> bool {
        self.said.len() > 4
    }

    /// Steps until all that clients said is taken.
    pub(crate) fn hear_out(&mut self, work: Work) {
        while !self.said.is_empty() {
            self.step(work);
        }
    }

    /// Steps until the scheduler has nothing more to do at once.
    pub(crate) fn come_to_rest(&mut self) {
        while self.scheduler.deadline().is_some_and(|(at, _)| at <= self.now) {
            let beats = self.beats();
            self.step_with(beats);
        }
    }

    /// Lets time pass, in which everybody is heard.
    pub(crate) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            let heard = self.hands.keys().map(|worker| Event::WorkerHeard { worker: *worker }).collect();
            self.step_with(heard);
        }
    }

    /// One step with what has come meanwhile.
    pub(crate) fn step(&mut self, work: Work) {
        let mut events = self.beats();
        let mut weight = 0;
        while weight < limits::STEP_ITEMS / 2
            && let Some(event) = self.said.pop_front()
        {
            weight += weigh(&event);
            events.push(event);
        }
        if work == Work::Goes {
            self.read_workers(limits::STEP_ITEMS - weight.min(limits::STEP_ITEMS), &mut events);
        }
        self.step_with(events);
    }

    /// Every worker says now and then that it lives.
    fn beats(&mut self) -> Vec<Event> {
        let every = (limits::HEARTBEAT_EVERY.as_nanos() / PAUSE.as_nanos()) as usize;
        let count = self.hands.len().div_ceil(every);
        let after = self.hands.range(self.beaten..).chain(self.hands.range(..self.beaten));
        let due: Vec<WorkerId> = after.map(|(worker, _)| *worker).take(count).collect();
        self.beaten = due.last().map_or(WorkerId(0), |last| WorkerId(last.0 + 1));
        due.into_iter().map(|worker| Event::WorkerHeard { worker }).collect()
    }

    /// What workers have to say, each its share, until there is enough for a step.
    fn read_workers(&mut self, most: usize, events: &mut Vec<Event>) {
        let busy = |(worker, hand): (&WorkerId, &Hand)| (!hand.is_quiet()).then_some(*worker);
        let after = self.hands.range(self.turn..).chain(self.hands.range(..self.turn));
        let listed: Vec<WorkerId> = after.filter_map(busy).collect();
        let share = (most / listed.len().max(1)).max(1);
        let Self { results, travels, raises, .. } = *self;
        let ending = |attempt: AttemptId| match results {
            Results::Stored if travels == Some(attempt.task.seq) => ending(attempt, Results::Sent, raises),
            results => ending(attempt, results, raises),
        };
        let mut weight = 0;
        for worker in listed {
            if weight >= most {
                break;
            }
            self.turn = WorkerId(worker.0 + 1);
            let hand = self.hands.get_mut(&worker).expect("it is listed");
            let said = hand.speak(worker, share, &mut self.gone, &ending);
            weight += said.iter().map(weigh).sum::<usize>();
            events.extend(said);
        }
    }

    /// A step with these events alone.
    pub(crate) fn step_with(&mut self, events: Vec<Event>) {
        self.now = self.now + PAUSE;
        let span = self.clock.begin();
        self.scheduler.step(self.now, events, &mut self.actions);
        self.spans.push(self.clock.end(&span));
        let mut actions = std::mem::take(&mut self.actions);
        actions.drain(..).for_each(|action| self.perform(action));
        self.actions = actions;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::StartAttempts { worker, starts } => {
                let Some(hand) = self.hands.get_mut(&worker) else { return };
                hand.owed.take(starts.iter().map(|start| window::cost(start.len())).sum());
                starts.iter().for_each(|start| hand.take(start));
                let lacks = starts.iter().map(|start| (start.attempt, start.inputs_total - start.inputs.len() as u64));
                hand.incoming.extend(lacks.filter(|(_, lacks)| *lacks > 0));
                hand.acknowledge(worker);
            }
            Action::AppendInputs { worker, attempt, inputs } => {
                let Some(hand) = self.hands.get_mut(&worker) else { return };
                hand.receive(attempt, inputs.len() as u64);
                hand.owed.take(window::cost(inputs.iter().map(Outcome::len).sum()));
                hand.acknowledge(worker);
            }
            Action::CancelAttempts { worker, attempts, .. } => {
                let Some(hand) = self.hands.get_mut(&worker) else { return };
                let report = |attempt| Report { attempt, ending: Ending::Cancelled, run_micros: 0 };
                let reports = attempts.iter().copied().map(report).collect();
                hand.words.push_back(Event::AttemptsEnded { worker, reports });
                self.gone.extend(attempts);
            }
            Action::RecallAttempts { worker, mut attempts } => {
                let Some(hand) = self.hands.get_mut(&worker) else { return };
                let runs: HashSet<&AttemptId> = hand.held.iter().take(hand.make.slots as usize).collect();
                attempts.retain(|attempt| !runs.contains(attempt));
                self.gone.extend(&attempts);
                hand.words.push_back(Event::AttemptsReturned { worker, attempts });
            }
            Action::FetchObject { worker, object, .. } => {
                let Some(hand) = self.hands.get_mut(&worker) else { return };
                hand.fetched.push_back(object);
            }
            Action::Notify { session, notices } => {
                let taken = self.notices.entry(session).or_default();
                *taken += notices.len() as u64;
                self.said.push_back(Event::NoticesTaken { session, taken: *taken });
                let ended = |notice: &Notice| if let Notice::Ended(tasks) = notice { tasks.len() as u64 } else { 0 };
                self.done += notices.iter().map(ended).sum::<u64>();
            }
            _ => {}
        }
    }
}

impl Hand {
    fn new(make: Make) -> Self {
        Self {
            make,
            held: VecDeque::new(),
            started: 0,
            heirs: BTreeMap::new(),
            incoming: BTreeMap::new(),
            owed: Owed::default(),
            fetched: VecDeque::new(),
            words: VecDeque::new(),
        }
    }

    fn is_quiet(&self) -> bool {
        self.held.is_empty() && self.fetched.is_empty() && self.words.is_empty()
    }

    fn take(&mut self, start: &Start) {
        self.held.push_back(start.attempt);
        for promised in &start.promised {
            self.heirs.entry(promised.by).or_default().push(start.attempt);
        }
    }

    /// An attempt leaves. Without a value that travels, those that were promised it go back, and what was promised theirs.
    fn disinherit(
        &mut self,
        worker: WorkerId,
        maker: AttemptId,
        ending: Option<&Ending>,
        gone: &mut HashSet<AttemptId>,
    ) {
        let left = self.heirs.remove(&maker).unwrap_or_default();
        if matches!(ending, Some(Ending::Returned(value)) if value.stored().is_none()) {
            return;
        }
        let attempts: Vec<AttemptId> = left.into_iter().filter(|heir| gone.insert(*heir)).collect();
        attempts.iter().for_each(|heir| self.disinherit(worker, *heir, None, gone));
        if !attempts.is_empty() {
            self.words.push_back(Event::AttemptsReturned { worker, attempts });
        }
    }

    /// Further inputs of an attempt have come.
    fn receive(&mut self, attempt: AttemptId, count: u64) {
        let Some(lacks) = self.incoming.get_mut(&attempt) else { return };
        *lacks -= count;
        if *lacks == 0 {
            self.incoming.remove(&attempt);
        }
    }

    /// Gives credit back once it is worth a message.
    fn acknowledge(&mut self, worker: WorkerId) {
        if let Some(cost) = self.owed.settle() {
            self.words.push_back(Event::StartsTaken { worker, cost });
        }
    }

    /// What it has to say: what it answers, which of its attempts have ended, which others have begun.
    fn speak(
        &mut self,
        worker: WorkerId,
        share: usize,
        gone: &mut HashSet<AttemptId>,
        ending: &dyn Fn(AttemptId) -> Ending,
    ) -> Vec<Event> {
        let mut said = Vec::new();
        let mut weight = 0;
        while weight < share
            && let Some(word) = self.words.pop_front()
        {
            weight += weigh(&word);
            said.push(word);
        }
        if !self.fetched.is_empty() && weight < share {
            let objects: Vec<ObjectId> = self.fetched.drain(..self.fetched.len().min(share - weight)).collect();
            weight += objects.len();
            said.push(Event::ObjectsHeld { worker, objects });
        }
        let mut reports = Vec::new();
        while self.started > 0 && reports.len() + weight < share {
            let Some(attempt) = self.held.front().copied() else { break };
            let is_gone = gone.contains(&attempt);
            if self.incoming.contains_key(&attempt) && !is_gone {
                break;
            }
            self.started -= 1;
            self.held.pop_front();
            self.incoming.remove(&attempt);
            let ending = (!gone.remove(&attempt)).then(|| ending(attempt));
            self.disinherit(worker, attempt, ending.as_ref(), gone);
            if let Some(ending) = ending {
                reports.push(Report { attempt, ending, run_micros: self.make.run_micros });
            }
        }
        if !reports.is_empty() {
            said.push(Event::AttemptsEnded { worker, reports });
        }
        let runs = self.held.len().min(self.make.slots as usize);
        if self.started < runs {
            let begun = self.held.range(self.started..runs).filter(|attempt| !gone.contains(attempt));
            said.push(Event::AttemptsStarted { worker, attempts: begun.copied().collect() });
            self.started = runs;
        }
        said
    }
}

/// So many slots, and so much of the one named resource.
pub(crate) fn asking(slots: u32, memory: u64) -> Resources {
    Resources::new(slots, [("memory".into(), Amount(memory))])
}

fn ending(attempt: AttemptId, results: Results, raises: Option<(SessionId, Seq)>) -> Ending {
    if raises == Some((attempt.task.session, attempt.task.seq)) {
        let error = Value::from(Bytes::from_static(b"error"));
        return Ending::Raised { error, retry: plait_core::outcome::Retry::Denied };
    }
    Ending::Returned(match results {
        Results::Sent => Value::from(Bytes::from_static(b"result")),
        Results::Stored => Stored { object: ObjectId(attempt), lengths: [1 << 20].into() }.into(),
    })
}

/// What an event counts for in a step's bound, as the driver weighs it.
fn weigh(event: &Event) -> usize {
    match event {
        Event::Requested { request, .. } => request.items(),
        Event::AttemptsEnded { reports, .. } => reports.len(),
        Event::ObjectsHeld { objects, .. } => objects.len(),
        Event::AttemptsStarted { attempts, .. } | Event::AttemptsReturned { attempts, .. } => attempts.len(),
        _ => 1,
    }
}
