//! Anything at all, in any order: nothing may panic, every invariant must hold, and nothing may be left at the end.

use super::super::{Action, Config, Event, Exchange, Scheduler, Watch, World};
use super::world::{PYTHON, function, task, value_of};
use crate::id::{Attempt, AttemptId, FunctionId, ObjectId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId};
use crate::limits;
use crate::outcome::{Death, Ending, Exit, Notice, Report, Retry, Unfetched};
use crate::peer::Fingerprint;
use crate::resource::{Amount, Resources};
use crate::rng::Rng;
use crate::spec::{
    Call, Cancel, Errors, Finish, Grouping, Offer, Options, PythonVersion, Request, Retention, RunSpec, Span, TaskSpec,
};
use crate::time::Time;
use crate::value::{Stored, Value};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::string::String;
use std::vec::Vec;
use std::{format, println};

pub(super) fn death() -> Death {
    Death { host: "host".into(), pid: 1, exit: Exit::Signal(11), peak_memory: 0, log_tail: "tail".into() }
}

/// Makes events up. It keeps books of what would be right, so that most of it is believed and the lies reach far.
struct Cook {
    rng: Rng,
    books: BTreeMap<SessionId, Book>,
    sessions: u32,
    workers: u32,
    known: Vec<(WorkerId, AttemptId)>,
    /// Objects that workers were told of.
    objects: Vec<(WorkerId, ObjectId)>,
    /// Objects that clients were told of.
    found: Vec<ObjectId>,
    /// Whether values are left with workers.
    stores: bool,
    ready: VecDeque<Event>,
}

/// What a session has asked for so far.
#[derive(Default)]
struct Book {
    seq: u64,
    /// Pieces of its runs, and whether they may still grow.
    runs: Vec<(u64, bool)>,
    /// Functions that gave way to others: each of the three in use is one of the next three numbers.
    renewed: u32,
}

impl Cook {
    fn event(&mut self) -> Event {
        if let Some(event) = self.ready.pop_front() {
            return event;
        }
        if !self.objects.is_empty() && self.rng.chance(1, 5) {
            return self.of_object();
        }
        if !self.found.is_empty() && self.rng.chance(1, 10) {
            return self.of_fetch();
        }
        match self.rng.below(100) {
            0 => self.open(),
            1 => Event::SessionCut { session: self.session() },
            2..4 => Event::SessionResumed {
                session: self.session(),
                token: self.rng.below(8).min(1).into(),
                taken: self.rng.below(30) / 29,
            },
            4 if self.rng.chance(1, 8) => Event::SessionClosed { session: self.session() },
            4..6 => Event::NoticesTaken { session: self.session(), taken: self.rng.below(30) / 27 },
            6..9 => {
                self.workers += u32::from(self.rng.chance(3, 4));
                let (worker, offer) = (WorkerId(self.workers), self.offer());
                Event::WorkerJoined { worker, offer, watch: self.watch(), exchange: self.exchange() }
            }
            9 if self.rng.chance(1, 4) => Event::WorkerDraining { worker: self.worker() },
            9 => Event::WorkerLost { worker: self.worker() },
            10..16 => Event::WorkerHeard { worker: self.worker() },
            16..20 => Event::StartsTaken { worker: self.worker(), cost: self.rng.next_u64() >> self.rng.below(64) },
            20..27 => {
                let (worker, attempts) = self.attempts();
                Event::AttemptsStarted { worker, attempts }
            }
            27 => {
                let (worker, attempts) = self.attempts();
                let attempt = attempts.first().copied().unwrap_or_default();
                Event::ChunkCut { worker, attempt, at: self.rng.chance(2, 3).then(|| self.rng.below(4) as u32) }
            }
            28..31 => {
                let (worker, attempts) = self.attempts();
                Event::AttemptsReturned { worker, attempts }
            }
            31..60 => {
                let (worker, attempts) = self.attempts();
                let report = |attempt| Report { attempt, ending: self.ending(attempt), run_micros: 20_000 };
                Event::AttemptsEnded { worker, reports: attempts.into_iter().map(report).collect() }
            }
            _ => self.request(),
        }
    }

    /// What a worker says of an object: mostly the answer to what it was told.
    fn of_object(&mut self) -> Event {
        let at = self.rng.below(self.objects.len() as u64) as usize;
        let (told, object) = self.objects[at];
        let worker = if self.rng.chance(1, 16) { self.worker() } else { told };
        match self.rng.below(12) {
            0 => Event::ObjectUnfetched { worker, object, reason: Unfetched::Gone },
            1 | 2 => Event::ObjectUnfetched { worker, object, reason: Unfetched::Unreachable },
            3 if self.rng.chance(1, 4) => Event::ObjectsLost { worker, objects: [object].into() },
            4 => Event::ObjectShown { worker, object, value: None },
            5..8 => Event::ObjectShown { worker, object, value: Some(value_of(&"v".repeat(STORED as usize))) },
            _ => Event::ObjectsHeld { worker, objects: [object].into() },
        }
    }

    /// A client wants a value that it was told is with workers, or says what became of that.
    fn of_fetch(&mut self) -> Event {
        let object = self.found[self.rng.below(self.found.len() as u64) as usize];
        let TaskId { session, seq } = object.0.task;
        let seq = if self.rng.chance(1, 16) { Seq(self.rng.below(20)) } else { seq };
        let reason = if self.rng.chance(1, 2) { Unfetched::Gone } else { Unfetched::Unreachable };
        let request = match self.rng.below(16) {
            0 => Request::Introduce(Fingerprint::default()),
            1 => Request::Release([seq].into()),
            2..5 => Request::Took(seq),
            5..8 => Request::Relay { seq, object, reason },
            _ => Request::Fetch { seq },
        };
        Event::Requested { session, request }
    }

    /// A new session, mostly with what its tasks will name.
    fn open(&mut self) -> Event {
        self.sessions += u32::from(self.rng.chance(3, 4));
        let session = SessionId(self.sessions);
        self.books.entry(session).or_default();
        for id in 0..3 {
            let python = self.rng.chance(1, 2).then_some(PYTHON);
            let (define, options) = (Request::DefineFunction(function(id, python)), self.options());
            let options = Request::DefineOptions { id: OptionsId(id), options };
            self.ready.extend([define, options].map(|request| Event::Requested { session, request }));
        }
        if self.rng.chance(3, 4) {
            let request = Request::Introduce(Fingerprint::default());
            self.ready.push_front(Event::Requested { session, request });
        }
        Event::SessionOpened { session, token: 1, exchange: self.exchange() }
    }

    fn request(&mut self) -> Event {
        let session = self.session();
        let mut book = self.books.remove(&session).unwrap_or_default();
        let request = match self.rng.below(200) {
            0 => Request::DefineFunction(function(self.small(), None)),
            1 => Request::DefineOptions { id: OptionsId(self.small()), options: self.options() },
            2..20 => Request::OpenRun(self.run(&mut book)),
            20..50 => {
                let run = self.small() as usize % (book.runs.len() + 1);
                let pieces = book.runs.get_mut(run).map_or(0, |run| {
                    run.1 = false;
                    run.0
                });
                Request::SealRun { run: RunId(run as u32), pieces: pieces + self.lie() }
            }
            50..75 => Request::Cancel { tasks: self.seqs(&book).collect(), cancel: self.cancel() },
            75..78 if self.stores => Request::Fetch { seq: self.seqs(&book).next().unwrap_or_default() },
            75..86 => Request::Release(self.seqs(&book).collect()),
            86..88 => self.renew(session, &mut book),
            88..90 => Request::ReleaseFunctions([self.gone(&book)].into()),
            90..100 => {
                book.seq += 1 + self.rng.below(2) - self.lie();
                Request::Put { seq: Seq(book.seq), value: value_of("put") }
            }
            _ => Request::Submit((0..self.rng.below(8)).map(|_| self.task(&mut book)).collect()),
        };
        self.books.insert(session, book);
        Event::Requested { session, request }
    }

    fn task(&mut self, book: &mut Book) -> TaskSpec {
        let inputs: Vec<Seq> = if self.rng.chance(1, 3) { self.seqs(book).collect() } else { Vec::new() };
        let times = if self.rng.chance(1, 4) { self.rng.below(12) as usize } else { 1 };
        let inputs: Vec<Seq> = inputs.iter().copied().cycle().take(inputs.len() * times).collect();
        book.seq += 1 + self.rng.below(2) - self.lie();
        let call = match self.rng.below(6) {
            0 => Call::Chunk { errors: Errors::Return, retries: 1, span: Span::whole(3) },
            1 => Call::ChunkFold { errors: Errors::Skip, retries: 1, span: Span::whole(3), merge: self.named(book) },
            _ => Call::Single,
        };
        let open = (0..book.runs.len()).rev().find(|run| book.runs[*run].1);
        let run = open.filter(|_| self.rng.chance(1, 2)).map(|run| {
            book.runs[run].0 += 1;
            RunId(run as u32 + self.lie() as u32)
        });
        let retention = if self.rng.chance(1, 2) { Retention::Release } else { Retention::Delivery };
        let (function, options) = (self.named(book), OptionsId(self.small()));
        TaskSpec { function, options, call, inputs: inputs.into(), run, retention, ..task(book.seq) }
    }

    fn run(&mut self, book: &mut Book) -> RunSpec {
        book.seq += 1;
        book.runs.push((0, true));
        let function = self.named(book);
        let finish = if self.rng.chance(1, 2) {
            Finish::Reduce { function, initial: self.rng.chance(1, 2).then(|| value_of("i")) }
        } else {
            Finish::Combine { function, grouping: Grouping::Chunks }
        };
        let reduces = matches!(finish, Finish::Reduce { .. });
        let errors =
            [Errors::Raise, Errors::Skip, Errors::Return][self.rng.below(if reduces { 2 } else { 3 }) as usize];
        let id = RunId(book.runs.len() as u32 - 1);
        RunSpec { id, result: Seq(book.seq), finish, errors, options: OptionsId(self.small()) }
    }

    /// The oldest function in use gives way to a new one.
    fn renew(&mut self, session: SessionId, book: &mut Book) -> Request {
        let old = FunctionId(book.renewed);
        book.renewed += 1;
        self.ready.push_back(Event::Requested { session, request: Request::ReleaseFunctions([old].into()) });
        Request::DefineFunction(function(old.0 + 3, None))
    }

    /// A function in use, or nearly always.
    fn named(&mut self, book: &Book) -> FunctionId {
        FunctionId(book.renewed.wrapping_add(self.small()))
    }

    /// A function that was released, or nearly always.
    fn gone(&mut self, book: &Book) -> FunctionId {
        if self.rng.chance(1, 30) { self.named(book) } else { FunctionId(book.renewed.wrapping_sub(1 + self.small())) }
    }

    fn options(&mut self) -> Options {
        let named = self.rng.chance(1, 3).then(|| ("gpu".into(), Amount(self.rng.below(3) * 5_000)));
        let cpus = if self.rng.chance(1, 200) { 0 } else { 1 + (self.rng.below(6) / 3) as u32 };
        Options {
            request: Resources::new(cpus, named),
            retries: self.rng.below(2) as u32,
            crash_limit: 1 + self.rng.below(3) as u32,
            priority: self.rng.below(3) as i32 - 1,
            ..Options::default()
        }
    }

    fn offer(&mut self) -> Offer {
        let gpu = self.rng.chance(1, 2).then_some(("gpu".into(), Amount(10_000)));
        let minor = if self.rng.chance(1, 4) { 11 } else { 12 };
        Offer {
            name: "host".into(),
            capacity: Resources::new(self.rng.below(5) as u32, gpu),
            queue: self.rng.below(6) as u32,
            python: PythonVersion { major: 3, minor },
            peer: (minor == 12).then(|| super::peer(WorkerId(1))),
        }
    }

    fn ending(&mut self, attempt: AttemptId) -> Ending {
        match self.rng.below(if self.stores { 20 } else { 12 }) {
            12 => Ending::Returned(stored(AttemptId { attempt: Attempt(self.small()), ..attempt })),
            13.. => Ending::Returned(stored(attempt)),
            0 => Ending::Skipped,
            1 | 2 => Ending::Raised { error: value_of("error"), retry: Retry::Allowed },
            3 => Ending::Raised { error: value_of("error"), retry: Retry::Denied },
            4 | 5 => Ending::Crashed(death().into()),
            6 => Ending::Cancelled,
            7 => Ending::TooLarge { size: 9, limit: 8 },
            8 => Ending::Returned(value_of("far too long for this scheduler")),
            _ => Ending::Returned(value_of("v")),
        }
    }

    fn attempts(&mut self) -> (WorkerId, Vec<AttemptId>) {
        if self.known.is_empty() || self.rng.chance(1, 10) {
            let task = TaskId::new(self.session(), Seq(self.rng.below(20)));
            return (self.worker(), [AttemptId { task, attempt: Attempt(self.small()) }].into());
        }
        let (worker, attempt) = self.known[self.rng.below(self.known.len() as u64) as usize];
        let mine = self.known.iter().rev().filter(|(w, _)| *w == worker).map(|(_, attempt)| *attempt);
        (worker, mine.take(self.rng.below(4) as usize).chain([attempt]).collect())
    }

    /// Numbers near the last one.
    fn seqs(&mut self, book: &Book) -> impl Iterator<Item = Seq> + use<> {
        let far = self.rng.chance(1, 300).then(|| Seq(self.rng.next_u64()));
        let near = (0..self.rng.below(4)).map(|_| Seq(book.seq.saturating_sub(self.rng.below(12))));
        near.chain(far).collect::<Vec<_>>().into_iter()
    }

    /// Nearly always nothing.
    fn lie(&mut self) -> u64 {
        u64::from(self.rng.chance(1, 400))
    }

    fn session(&mut self) -> SessionId {
        SessionId(self.sessions.saturating_sub((self.rng.below(12) / 5) as u32))
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId(self.workers.saturating_sub(self.rng.below(4) as u32))
    }

    fn watch(&mut self) -> Watch {
        if self.rng.chance(1, 3) { Watch::Heartbeat } else { Watch::None }
    }

    fn exchange(&mut self) -> Exchange {
        if self.rng.chance(1, 3) { Exchange::Memory } else { Exchange::Bytes }
    }

    fn cancel(&mut self) -> Cancel {
        if self.rng.chance(1, 2) { Cancel::Running } else { Cancel::Pending }
    }

    /// Mostly a small number that exists.
    fn small(&mut self) -> u32 {
        if self.rng.chance(1, 2_000) { self.rng.next_u64() as u32 } else { self.rng.below(3) as u32 }
    }
}

/// Bytes of what is left with workers.
const STORED: u64 = 40;

fn stored(attempt: AttemptId) -> Value {
    Stored { object: ObjectId(attempt), lengths: [STORED].into() }.into()
}

fn found(notice: &Notice) -> Vec<ObjectId> {
    match notice {
        Notice::Found { object, .. } => [*object].into(),
        Notice::Ended(ended) => ended.iter().filter_map(|delivery| Some(delivery.outcome.stored()?.object)).collect(),
        _ => Vec::new(),
    }
}

fn stir(seed: u64, seen: &mut BTreeMap<String, u64>) -> u64 {
    let mut rng = Rng::new(seed);
    let world = if rng.chance(1, 2) { World::Open } else { World::Closed };
    let held_bytes_limit = if rng.chance(1, 3) { 60 } else { 4_000 };
    let config = Config {
        held_bytes_limit,
        result_limit: 20,
        session_tasks: 30,
        world,
        ride_along: rng.below(12),
        direct_bytes: rng.below(2 * STORED),
        slice: 1 + rng.below(8) as usize,
    };
    let mut scheduler = Scheduler::new(config, seed);
    let mut cook = Cook {
        rng: rng.fork(),
        books: BTreeMap::new(),
        sessions: 0,
        workers: 0,
        known: Vec::new(),
        objects: Vec::new(),
        found: Vec::new(),
        stores: rng.chance(2, 3),
        ready: VecDeque::new(),
    };
    let (mut now, mut hash) = (Time::ZERO, seed);
    for _ in 0..300 {
        let events: Vec<Event> = (0..rng.below(12)).map(|_| cook.event()).collect();
        let pause = if rng.chance(1, 30) { 70_000 } else { 50 };
        now = now + Duration::from_millis(rng.below(pause));
        let mut actions = Vec::new();
        scheduler.step(now, events, &mut actions);
        scheduler.check();
        note_slices(&scheduler, seen);
        for action in &actions {
            let text = format!("{action:?}");
            let kind = text.split([' ', '{']).next().unwrap_or_default();
            *seen.entry(kind.into()).or_default() += 1;
            for word in WORDS[SLICES..].iter().filter(|word| text.contains(**word)) {
                *seen.entry((*word).into()).or_default() += 1;
            }
            hash = std::format!("{hash}{action:?}")
                .bytes()
                .fold(hash, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
            match action {
                Action::StartAttempts { worker, starts } => {
                    cook.known.extend(starts.iter().map(|start| (*worker, start.attempt)));
                }
                Action::FetchObject { worker, object, .. }
                | Action::GiveObject { worker, object, .. }
                | Action::ShowObject { worker, object } => cook.objects.push((*worker, *object)),
                Action::Notify { notices, .. } => cook.found.extend(notices.iter().flat_map(found)),
                _ => {}
            }
        }
        let old = cook.objects.len().saturating_sub(20);
        cook.objects.drain(..old);
        let old = cook.found.len().saturating_sub(20);
        cook.found.drain(..old);
        let old = cook.known.len().saturating_sub(60);
        cook.known.drain(..old);
    }
    close_down(&mut scheduler, now, cook.sessions);
    hash
}

/// What this step has left for the next ones.
fn note_slices(scheduler: &Scheduler, seen: &mut BTreeMap<String, u64>) {
    let left = [
        (scheduler.walks.iter().next().is_some(), "a walk"),
        (!scheduler.walks.partings.is_empty(), "a parting"),
        (!scheduler.behind.is_empty(), "a request"),
        (!scheduler.lost.is_empty(), "a loss"),
        (!scheduler.dregs.is_empty(), "dregs"),
        (scheduler.pass.is_unfinished(), "lines"),
        (scheduler.gone.iter().any(|gone| scheduler.workers[gone.worker].held > 0), "a lost attempt"),
    ];
    let left = left.into_iter().filter(|(is_left, _)| *is_left);
    left.for_each(|(_, what)| *seen.entry(what.into()).or_default() += 1);
}

/// Once all sessions are over, nothing of them is left.
fn close_down(scheduler: &mut Scheduler, now: Time, sessions: u32) {
    let closed = (0..=sessions).map(|id| Event::SessionClosed { session: SessionId(id) });
    scheduler.step(now, closed.collect::<Vec<_>>(), &mut Vec::new());
    let now = now + limits::SESSION_KEPT;
    scheduler.step(now, [], &mut Vec::new());
    scheduler.check();
    for _ in 0..10_000 {
        if scheduler.deadline().is_some_and(|(due, _)| due <= now) {
            scheduler.step(now, [], &mut Vec::new());
            scheduler.check();
        }
    }
    assert_eq!((scheduler.tasks.len(), scheduler.edges.len(), scheduler.runs.len(), scheduler.held), (0, 0, 0, 0));
    assert_eq!((scheduler.objects.len(), scheduler.recipes.len(), scheduler.showing), (0, 0, 0));
    assert!(scheduler.walks.is_empty() && scheduler.lost.is_empty() && scheduler.dregs.is_empty(), "all has passed");
    assert!(scheduler.ready.all().next().is_none() && scheduler.sessions.len() == 0, "nothing of a session is left");
}

/// The first words are what steps leave for the next ones.
const SLICES: usize = 7;
/// What must turn up there and among the actions, or the soup is too thin.
const WORDS: [&str; 36] = [
    "a walk",
    "a parting",
    "a request",
    "a loss",
    "dregs",
    "lines",
    "a lost attempt",
    "FetchObject",
    "ExpectClient",
    "Found",
    "GiveObject",
    "ShowObject",
    "DropObjects",
    "Fetched",
    "no longer kept",
    "DefineFunction",
    "StartAttempts",
    "CancelAttempts",
    "RecallAttempts",
    "CutChunk",
    "ForgetFunctions",
    "ForgetSession",
    "FenceWorker",
    "DismissWorker",
    "Welcome",
    "Notify",
    "EndSession",
    "Gone",
    "Misbehaved",
    "Closed",
    "Dependency",
    "Unschedulable",
    "ResultTooLarge",
    "Crashed",
    "Progressed",
    "Fold",
];

#[test]
fn nothing_that_arrives_breaks_an_invariant() {
    let mut seen = BTreeMap::new();
    for seed in 0..3000 {
        println!("seed {seed}");
        let hash = stir(seed, &mut seen);
        if seed % 20 == 0 {
            assert_eq!(hash, stir(seed, &mut BTreeMap::new()), "the same seed gives the same actions");
        }
    }
    println!("{seen:?}");
    let missed: Vec<_> = WORDS.iter().filter(|word| !seen.contains_key(**word)).collect();
    assert!(missed.is_empty(), "never seen: {missed:?}");
}
