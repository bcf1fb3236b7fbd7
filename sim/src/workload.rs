//! A user's program: what it submits, cancels, releases and expects, and what it was told.

mod draw;
mod parts;

use crate::clock::{MILLI, SECOND};
use crate::options::{Plan, Shape, log_uniform};
use crate::probe::probe;
use crate::script::{self, Function, Script};
use draw::Draw;
use plait_core::id::{FunctionId, ObjectId, OptionsId, RunId, Seq};
use plait_core::outcome::{Admission, Delivery, Outcome, Progress, Story, Unfetched};
use plait_core::rng::Rng;
use plait_core::spec::{
    Call, Cancel, Errors, Finish, FunctionSpec, Grouping, Options, PythonVersion, Request, Retention, RunSpec, Span,
    TaskSpec,
};
use plait_core::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Single(Script),
    Chunk {
        items: Vec<Script>,
        errors: Errors,
        retries: u32,
    },
    ChunkFold {
        items: Vec<Script>,
        errors: Errors,
        retries: u32,
        merge: FunctionId,
    },
    /// The result of a run.
    Result(usize),
    /// A value with this text that was put.
    Put(String),
}

impl Kind {
    /// What its calls are told to do.
    pub(crate) fn scripts(&self) -> &[Script] {
        match self {
            Self::Single(script) => std::slice::from_ref(script),
            Self::Chunk { items, .. } | Self::ChunkFold { items, .. } => items,
            Self::Result(_) | Self::Put(_) => &[],
        }
    }
}

/// A task as its program knows it.
#[derive(Clone, Debug)]
pub(crate) struct TaskRecord {
    pub(crate) kind: Kind,
    pub(crate) function: FunctionId,
    pub(crate) options: OptionsId,
    pub(crate) inputs: Vec<Seq>,
    pub(crate) run: Option<usize>,
    pub(crate) retention: Retention,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) released: bool,
    pub(crate) told: Option<(Outcome, Story)>,
}

/// A run as its program knows it.
#[derive(Clone, Debug)]
pub(crate) struct RunRecord {
    pub(crate) fold: bool,
    pub(crate) grouping: Grouping,
    pub(crate) join: Function,
    pub(crate) join_id: FunctionId,
    pub(crate) initial: Option<String>,
    pub(crate) errors: Errors,
    pub(crate) pieces: Vec<Seq>,
    pub(crate) sealed: bool,
    pub(crate) shown: u64,
    /// Pieces it will still be given.
    planned: u64,
}

/// How far a program has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not begun.
    New,
    /// It asks for more and more.
    Working,
    /// It waits for what is left.
    Finishing,
    /// Everything it asked for is over and released.
    Through,
}

/// What a program does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It asks for this, then goes on after a while.
    Ask(Vec<Request>),
    /// It closes its client.
    Close,
}

/// A user's program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) tasks: Vec<TaskRecord>,
    /// What the ends of chunks have become that others got, by the numbers that the coordinator gave them.
    parts: BTreeMap<Seq, TaskRecord>,
    pub(crate) runs: Vec<RunRecord>,
    pub(crate) options: Vec<Options>,
    pub(crate) pythons: BTreeMap<FunctionId, PythonVersion>,
    draw: Draw,
    rng: Rng,
    stage: Stage,
    admission: Admission,
    /// While it has open runs, it waits to be admitted and does nothing else: nobody but it could seal them.
    patient: bool,
    /// Open runs that it has at the most, so that they alone are not too many tasks.
    most_open: usize,
    operations: u64,
    pause: u64,
    next_function: u32,
    /// The functions that tasks call: one that runs anywhere, then one per Python.
    plain: Vec<FunctionId>,
    /// Bytes of the functions that it may still name.
    bodies: BTreeMap<FunctionId, u64>,
    /// Tasks that hang and will be cancelled, and when.
    hanging: Vec<(u64, Seq)>,
    closes_early: bool,
    /// What it submitted last.
    submitted: Option<Request>,
    /// Tasks of which it has only a reference to the value so far.
    references: Vec<Seq>,
    /// Of those, the ones whose value it has asked for.
    asked: BTreeSet<Seq>,
    /// Of those, the ones that it released: their values may be on their way.
    let_go: BTreeSet<Seq>,
}

impl Program {
    pub(crate) fn new(plan: &Plan, rng: &mut Rng) -> Self {
        let mut rng = rng.fork();
        let pause = (plan.fault_until / plan.operations).max(MILLI);
        Self {
            tasks: Vec::new(),
            parts: BTreeMap::new(),
            runs: Vec::new(),
            options: draw::options(&mut rng),
            pythons: BTreeMap::new(),
            draw: Draw::new(plan),
            stage: Stage::New,
            admission: Admission::Open,
            patient: rng.chance(1, 2),
            most_open: (plan.session_tasks / 2).min(1 << 10) as usize,
            operations: plan.operations,
            pause,
            next_function: 0,
            plain: Vec::new(),
            bodies: BTreeMap::new(),
            submitted: None,
            references: Vec::new(),
            asked: BTreeSet::new(),
            let_go: BTreeSet::new(),
            hanging: Vec::new(),
            closes_early: rng.chance(1, if plan.shape == Shape::Embedded { 10 } else { 20 }),
            rng,
        }
    }

    pub(crate) fn is_through(&self) -> bool {
        self.stage == Stage::Through
    }

    /// Begins to finish: nothing new is started.
    pub(crate) fn hurry(&mut self) {
        self.operations = 0;
    }

    pub(crate) fn admit(&mut self, admission: Admission) {
        if admission == Admission::Open && self.admission == Admission::Closed {
            probe!("admission closed and opened again");
        }
        self.admission = admission;
    }

    /// Bytes of the functions that it has not released.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.bodies.values().sum()
    }

    /// The last tasks it submitted, once more: their numbers are used, so nothing must come of it.
    pub(crate) fn repeat(&self) -> Option<Request> {
        self.submitted.clone()
    }

    /// What became of a visit for a value that it does not wait for: whatever is said of that, nothing must come of it.
    pub(crate) fn stale(&mut self) -> Option<Request> {
        let seq = Seq(self.rng.below(self.tasks.len() as u64 + 3));
        let (object, reason) = (ObjectId::default(), Unfetched::Unreachable);
        let said = if self.rng.chance(1, 2) { Request::Took(seq) } else { Request::Relay { seq, object, reason } };
        (!self.asked.contains(&seq)).then_some(said)
    }

    /// How long until its next step.
    pub(crate) fn pause(&mut self) -> u64 {
        match self.stage {
            Stage::New => MILLI,
            Stage::Working => log_uniform(&mut self.rng, MILLI / 2, 2 * self.pause),
            Stage::Finishing | Stage::Through => 100 * MILLI,
        }
    }

    /// What it does at the true time `now`.
    pub(crate) fn step(&mut self, now: u64) -> Step {
        let requests = match self.stage {
            Stage::New => self.begin(),
            Stage::Working if self.waits_for_admission() => self.cancel_hanging(now),
            Stage::Working if self.operations == 0 => {
                if self.closes_early {
                    self.stage = Stage::Through;
                    return Step::Close;
                }
                self.stage = Stage::Finishing;
                self.seal_all()
            }
            Stage::Working => self.work(now),
            Stage::Finishing => self.finish(now),
            Stage::Through => Vec::new(),
        };
        if let Some(submitted) =
            requests.iter().find(|request| matches!(request, Request::Submit(_) | Request::Put { .. }))
        {
            self.submitted = Some(submitted.clone());
        }
        Step::Ask(requests)
    }

    fn waits_for_admission(&self) -> bool {
        self.patient && self.admission == Admission::Closed && self.open_runs().next().is_some()
    }

    fn open_runs(&self) -> impl Iterator<Item = usize> {
        (0..self.runs.len()).filter(|n| !self.runs[*n].sealed)
    }

    fn begin(&mut self) -> Vec<Request> {
        self.stage = Stage::Working;
        let mut requests = Vec::new();
        for python in [None, Some(11), Some(12), Some(13)] {
            let python = python.map(|minor| PythonVersion { major: 3, minor });
            requests.push(self.define(Function::Plain, python));
            self.plain.push(FunctionId(self.next_function - 1));
        }
        for (n, options) in self.options.iter().enumerate() {
            requests.push(Request::DefineOptions { id: OptionsId(n as u32), options: options.clone() });
        }
        requests
    }

    fn define(&mut self, function: Function, python: Option<PythonVersion>) -> Request {
        let id = FunctionId(self.next_function);
        self.next_function += 1;
        if let Some(python) = python {
            self.pythons.insert(id, python);
        }
        let body = function.body();
        self.bodies.insert(id, body.len());
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&id.0.to_le_bytes());
        Request::DefineFunction(FunctionSpec { id, hash, python, body })
    }

    fn work(&mut self, now: u64) -> Vec<Request> {
        self.operations -= 1;
        let mut requests = self.cancel_hanging(now);
        let closed = self.admission == Admission::Closed;
        let choice = if closed { 70 + self.rng.below(30) } else { self.rng.below(100) };
        match choice {
            0..40 => requests.extend(self.submit(now)),
            40..45 => requests.push(self.put()),
            45..55 => requests.extend(self.open_run()),
            55..70 => requests.extend(self.feed_run()),
            70..76 => requests.extend(self.seal_run()),
            76..80 => requests.extend(self.renew_function()),
            80..88 => requests.extend(self.cancel_some()),
            _ => requests.extend(self.release_some()),
        }
        if self.rng.chance(1, 4) {
            requests.extend(self.follow_some());
        }
        if closed {
            self.operations += self.rng.below(2);
            requests.extend(self.release_told());
        }
        requests
    }

    fn finish(&mut self, now: u64) -> Vec<Request> {
        let mut requests = self.cancel_hanging(now);
        requests.extend(self.follow_all());
        requests.extend(self.release_told());
        let over = |task: &TaskRecord| task.told.is_some() || task.run.is_some();
        if self.records().all(|(_, task)| over(task)) && self.hanging.is_empty() && self.asked.is_empty() {
            self.stage = Stage::Through;
        }
        requests
    }

    fn next_seq(&self) -> Seq {
        Seq(self.tasks.len() as u64)
    }

    fn submit(&mut self, now: u64) -> Vec<Request> {
        let count = 1 + self.rng.below(12);
        let specs: Vec<TaskSpec> = (0..count).map(|_| self.draw_task(now)).collect();
        vec![Request::Submit(specs)]
    }

    fn draw_task(&mut self, now: u64) -> TaskSpec {
        let seq = self.next_seq();
        let inputs = self.draw_inputs();
        let kind = if inputs.is_empty() && self.rng.chance(1, 5) {
            let items = self.draw.items(seq, &mut self.rng);
            let errors = if self.rng.chance(1, 2) { Errors::Return } else { Errors::Raise };
            Kind::Chunk { items, errors, retries: self.rng.below(3) as u32 }
        } else {
            Kind::Single(self.draw.script(seq, &mut self.rng))
        };
        if matches!(&kind, Kind::Single(script) if draw::hangs(script)) {
            let patience = log_uniform(&mut self.rng, 5 * MILLI, 3 * SECOND);
            self.hanging.push((now + patience, seq));
        }
        // Nobody holds a chunk's value for long.
        let kept = if matches!(kind, Kind::Chunk { .. }) { 1 } else { 3 };
        let retention = if self.rng.chance(kept, 4) { Retention::Release } else { Retention::Delivery };
        let record = TaskRecord {
            kind,
            function: self.draw_function(),
            options: draw::options_id(&mut self.rng, self.options.len()),
            inputs,
            run: None,
            retention,
            cancel: None,
            released: retention == Retention::Delivery,
            told: None,
        };
        self.add(record)
    }

    fn add(&mut self, record: TaskRecord) -> TaskSpec {
        let (call, scripts) = match &record.kind {
            Kind::Single(script) => (Call::Single, std::slice::from_ref(script)),
            Kind::Chunk { items, errors, retries } => {
                let span = Span::whole(items.len() as u32);
                (Call::Chunk { errors: *errors, retries: *retries, span }, items.as_slice())
            }
            Kind::ChunkFold { items, errors, retries, merge } => {
                let span = Span::whole(items.len() as u32);
                let call = Call::ChunkFold { errors: *errors, retries: *retries, span, merge: *merge };
                (call, items.as_slice())
            }
            Kind::Result(_) | Kind::Put(_) => unreachable!("only what runs is submitted"),
        };
        let spec = TaskSpec {
            seq: self.next_seq(),
            function: record.function,
            options: record.options,
            call,
            args: script::arguments(scripts),
            inputs: record.inputs.clone().into(),
            run: record.run.map(|run| RunId(run as u32)),
            retention: record.retention,
        };
        self.tasks.push(record);
        spec
    }

    fn put(&mut self) -> Request {
        let seq = self.next_seq();
        let text = self.draw.put(seq, &mut self.rng);
        self.tasks.push(TaskRecord {
            kind: Kind::Put(text.clone()),
            function: self.plain[0],
            options: OptionsId(0),
            inputs: Vec::new(),
            run: None,
            retention: Retention::Release,
            cancel: None,
            released: false,
            told: None,
        });
        Request::Put { seq, value: Value::from(bytes::Bytes::from(text)) }
    }

    fn draw_function(&mut self) -> FunctionId {
        if self.rng.chance(1, 10) { self.plain[1 + self.rng.below(3) as usize] } else { self.plain[0] }
    }

    /// A function gives way to another; what was asked for still calls it.
    fn renew_function(&mut self) -> Vec<Request> {
        let which = if self.rng.chance(1, 2) { 0 } else { self.rng.below(self.plain.len() as u64) as usize };
        let old = self.plain[which];
        let python = self.pythons.get(&old).copied();
        let defined = self.define(Function::Plain, python);
        self.plain[which] = FunctionId(self.next_function - 1);
        vec![defined, self.release_functions(vec![old])]
    }

    fn release_functions(&mut self, functions: Vec<FunctionId>) -> Request {
        self.bodies.retain(|id, _| !functions.contains(id));
        Request::ReleaseFunctions(functions)
    }

    /// Futures that are still held.
    fn draw_inputs(&mut self) -> Vec<Seq> {
        if !self.rng.chance(1, 4) || self.tasks.is_empty() {
            return Vec::new();
        }
        // Some tasks need more than a small slice of a step can be about.
        let most = if self.rng.chance(1, 20) { 30 } else { 4 };
        let count = 1 + self.rng.below(most);
        let tasks = self.tasks.len() as u64;
        // What has just been submitted is not over: chains and trees come of it.
        let reach = if self.rng.chance(2, 3) { tasks.min(4) } else { tasks };
        let drawn: Vec<u64> = (0..count).map(|_| tasks - 1 - self.rng.below(reach)).collect();
        let usable = |n: &u64| {
            let task = &self.tasks[*n as usize];
            let makes_text = match task.kind {
                // Whoever waits until it may seal a run waits for ever beside what needs the run's result.
                Kind::Result(run) => !self.patient || self.runs[run].sealed,
                Kind::Single(_) | Kind::Put(_) => true,
                Kind::Chunk { .. } | Kind::ChunkFold { .. } => false,
            };
            makes_text && !task.released && task.run.is_none()
        };
        drawn.into_iter().filter(usable).map(Seq).collect()
    }

    fn open_run(&mut self) -> Vec<Request> {
        if self.patient && self.open_runs().count() >= self.most_open {
            return self.seal_run();
        }
        let fold = self.rng.chance(2, 3);
        let join = self.draw.join(&mut self.rng);
        let defined = self.define(join, None);
        let join_id = FunctionId(self.next_function - 1);
        let errors = match self.rng.below(3) {
            0 => Errors::Raise,
            1 => Errors::Skip,
            _ if fold => Errors::Raise,
            _ => Errors::Return,
        };
        let result = self.next_seq();
        let initial = (fold && self.rng.chance(1, 2)).then(|| format!("initial{result};"));
        let grouping = if self.rng.chance(1, 2) { Grouping::Chunks } else { Grouping::Items };
        let planned = self.draw.pieces(&mut self.rng);
        let options = draw::easy_options_id(&mut self.rng, self.options.len());
        let run = self.runs.len();
        let function = join_id;
        let finish = if fold {
            let initial = initial.as_ref().map(|text| Value::from(bytes::Bytes::from(text.clone())));
            Finish::Reduce { function, initial }
        } else {
            Finish::Combine { function, grouping }
        };
        self.runs.push(RunRecord {
            fold,
            grouping,
            join,
            join_id,
            initial,
            errors,
            pieces: Vec::new(),
            sealed: false,
            shown: 0,
            planned,
        });
        self.tasks.push(TaskRecord {
            kind: Kind::Result(run),
            function,
            options,
            inputs: Vec::new(),
            run: None,
            retention: Retention::Release,
            cancel: None,
            released: false,
            told: None,
        });
        let spec = RunSpec { id: RunId(run as u32), result, finish, errors, options };
        vec![defined, Request::OpenRun(spec)]
    }

    fn feed_run(&mut self) -> Vec<Request> {
        let open: Vec<usize> = self.open_runs().collect();
        if open.is_empty() {
            return self.open_run();
        }
        let run = open[self.rng.below(open.len() as u64) as usize];
        let most = if self.runs[run].planned > 100 { self.runs[run].planned } else { 1 + self.rng.below(16) };
        let count = most.min(self.runs[run].planned);
        self.runs[run].planned -= count;
        let specs: Vec<TaskSpec> = (0..count).map(|_| self.draw_piece(run)).collect();
        if specs.is_empty() { self.seal(run) } else { vec![Request::Submit(specs)] }
    }

    fn draw_piece(&mut self, run: usize) -> TaskSpec {
        let seq = self.next_seq();
        let RunRecord { fold, grouping, errors, join_id: merge, join, .. } = self.runs[run];
        let retries = self.rng.below(3) as u32;
        let folds_well = matches!(join, Function::Join { .. });
        let kind = match (fold, grouping) {
            (true, Grouping::Chunks) if folds_well => {
                Kind::ChunkFold { items: self.draw.items(seq, &mut self.rng), errors, retries, merge }
            }
            (false, Grouping::Chunks) => Kind::Chunk { items: self.draw.items(seq, &mut self.rng), errors, retries },
            _ => Kind::Single(self.draw.piece(seq, &mut self.rng)),
        };
        self.runs[run].pieces.push(seq);
        let record = TaskRecord {
            kind,
            function: self.draw_function(),
            options: draw::easy_options_id(&mut self.rng, self.options.len()),
            inputs: Vec::new(),
            run: Some(run),
            retention: Retention::Delivery,
            cancel: None,
            released: true,
            told: None,
        };
        self.add(record)
    }

    fn seal_run(&mut self) -> Vec<Request> {
        let open = self.open_runs().next();
        open.map_or_else(Vec::new, |run| self.seal(run))
    }

    fn seal(&mut self, run: usize) -> Vec<Request> {
        let record = &mut self.runs[run];
        record.sealed = true;
        let (join, pieces) = (record.join_id, record.pieces.len() as u64);
        vec![Request::SealRun { run: RunId(run as u32), pieces }, self.release_functions(vec![join])]
    }

    fn seal_all(&mut self) -> Vec<Request> {
        let open: Vec<usize> = self.open_runs().collect();
        open.into_iter().flat_map(|run| self.seal(run)).collect()
    }

    fn cancel_some(&mut self) -> Vec<Request> {
        let pending: Vec<Seq> =
            self.records().filter(|(_, task)| task.told.is_none() && task.run.is_none()).map(|(seq, _)| seq).collect();
        if pending.is_empty() {
            return Vec::new();
        }
        let count = 1 + self.rng.below(4);
        let drawn = (0..count).map(|_| pending[self.rng.below(pending.len() as u64) as usize]).collect();
        let cancel = if self.rng.chance(1, 2) { Cancel::Pending } else { Cancel::Running };
        vec![self.cancel(drawn, cancel)]
    }

    fn cancel(&mut self, tasks: Vec<Seq>, cancel: Cancel) -> Request {
        for seq in &tasks {
            let task = self.record_mut(*seq);
            if task.cancel != Some(Cancel::Running) {
                task.cancel = Some(cancel);
            }
            if matches!(task.kind, Kind::Result(_)) {
                probe!("run cancelled");
            }
        }
        Request::Cancel { tasks, cancel }
    }

    fn cancel_hanging(&mut self, now: u64) -> Vec<Request> {
        let (due, later) = self.hanging.drain(..).partition(|(at, _)| *at <= now);
        self.hanging = later;
        let due: Vec<Seq> = due.into_iter().map(|(_, seq): (u64, Seq)| seq).collect();
        if due.is_empty() { Vec::new() } else { vec![self.cancel(due, Cancel::Running)] }
    }

    fn release_some(&mut self) -> Vec<Request> {
        if self.tasks.is_empty() {
            return Vec::new();
        }
        let drawn: Vec<u64> = (0..3).map(|_| self.rng.below(self.tasks.len() as u64)).collect();
        self.release(drawn.into_iter())
    }

    fn release_told(&mut self) -> Vec<Request> {
        let told: Vec<u64> = (0..self.tasks.len() as u64).filter(|n| self.tasks[*n as usize].told.is_some()).collect();
        self.release(told.into_iter())
    }

    fn release(&mut self, which: impl Iterator<Item = u64>) -> Vec<Request> {
        let mut released = Vec::new();
        for n in which {
            let task = &mut self.tasks[n as usize];
            if !std::mem::replace(&mut task.released, true) {
                released.push(Seq(n));
                if self.asked.remove(&Seq(n)) {
                    probe!("released while it was fetched");
                    self.let_go.insert(Seq(n));
                }
            }
        }
        if released.is_empty() { Vec::new() } else { vec![Request::Release(released)] }
    }

    /// Asks for values of which it has references.
    fn follow_some(&mut self) -> Vec<Request> {
        let count = self.rng.below(4).min(self.references.len() as u64);
        let followed: Vec<Seq> = self.references.drain(..count as usize).collect();
        followed.into_iter().map(|seq| self.follow(seq)).collect()
    }

    /// Asks for some of the values that are left, and for the others never.
    fn follow_all(&mut self) -> Vec<Request> {
        let left = std::mem::take(&mut self.references);
        let follow = |program: &mut Self, seq: Seq| {
            if program.rng.chance(2, 3) {
                return program.follow(seq);
            }
            program.record_mut(seq).released = true;
            Request::Release(vec![seq])
        };
        left.into_iter().map(|seq| follow(self, seq)).collect()
    }

    fn follow(&mut self, seq: Seq) -> Request {
        self.asked.insert(seq);
        Request::Fetch { seq }
    }

    /// Takes a value that it asked for, or hears why it is lost.
    pub(crate) fn supply(&mut self, seq: Seq, outcome: Outcome) {
        if self.let_go.remove(&seq) {
            return;
        }
        assert!(self.asked.remove(&seq), "a value of {seq} that was not asked for");
        let (told, _) = self.record_mut(seq).told.as_mut().expect("only what is over is asked for");
        assert!(told.stored().is_some(), "a second value of {seq}");
        if outcome.is_value() {
            assert!(outcome.stored().is_none(), "what was fetched is whole");
            *told = outcome;
        }
    }

    /// Takes an outcome, exactly once per task.
    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { seq, mut outcome, story } = delivery;
        let task = self.record_mut(seq);
        assert!(task.run.is_none(), "the outcome of {seq}, a piece, reached the client");
        assert!(task.told.is_none(), "a second outcome of {seq}: {outcome:?} after {:?}", task.told);
        if let (Kind::Put(text), Outcome::Value(value)) = (&task.kind, &mut outcome) {
            assert!(value.is_empty(), "the bytes of {seq} came back");
            *value = Value::from(bytes::Bytes::from(text.clone()));
        }
        if outcome.stored().is_some() {
            self.references.push(seq);
        }
        self.record_mut(seq).told = Some((outcome, story));
    }

    pub(crate) fn show_progress(&mut self, run: RunId, progress: Progress) {
        let record = &mut self.runs[run.index()];
        let items = |seq: &Seq| self.tasks[seq.index()].kind.scripts().len() as u64;
        let (done, all) = (progress.items, record.pieces.iter().map(items).sum::<u64>());
        assert!(done > record.shown || done == 0, "{run} went back from {} to {done}", record.shown);
        assert!(done <= all, "{run} has more ends than items");
        assert!(progress.pieces <= done && progress.pieces > 0, "a piece has its items");
        record.shown = done;
    }
}

/// A task's number as an index.
pub(crate) trait Index {
    fn index(self) -> usize;
}

impl Index for Seq {
    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}
