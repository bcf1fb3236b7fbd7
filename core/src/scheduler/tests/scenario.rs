//! Text scenarios: each line of `scenarios/*.txt` is one step, the actions it leads to stand indented below. Written
//! anew by `UPDATE_EXPECT=1 cargo test -p plait-core scenario`.
//!
//! `= title` begins a new world; ` + ` joins events of one step; `after 6s` lets time pass, before the events that it
//! is joined with; `nothing` is a step without events. The words are those of `event` below.

use super::super::{Action, Config, Event, Exchange, Scheduler, Watch, World};
use super::world::value_of;
use crate::id::{Attempt, AttemptId, FunctionId, ObjectId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Delivery, Ending, Failure, Notice, Outcome, Report, Retry, Unfetched};
use crate::peer::Fingerprint;
use crate::resource::{Amount, Resources};
use crate::spec::{
    Call, Cancel, Errors, Finish, FunctionSpec, Grouping, Offer, Options, PythonVersion, Request, Retention, RunSpec,
    Span, Start, Tail, TaskSpec,
};
use crate::time::Time;
use crate::value::Stored;
use core::time::Duration;
use expect_test::expect_file;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

struct Stage {
    scheduler: Scheduler,
    now: Time,
}

fn play(script: &str) -> String {
    let mut stage = Stage::new("");
    let mut played = String::new();
    for line in script.lines().filter(|line| !line.starts_with("    ")) {
        played += &format!("{line}\n");
        if line.starts_with('=') {
            stage = Stage::new("");
        } else if let Some(config) = line.strip_prefix("config ") {
            stage = Stage::new(config);
        } else if !line.is_empty() && !line.starts_with('#') {
            for action in stage.act(line) {
                played += &format!("    {action}\n");
            }
        }
    }
    played
}

impl Stage {
    fn new(config: &str) -> Self {
        let number = |word: &str, default| option(config, word).map_or(default, |n| n.parse().expect("a number"));
        let config = Config {
            held_bytes_limit: number("held", 1_000_000),
            result_limit: number("result", 100_000),
            session_tasks: number("tasks", 1_000),
            slice: number("slice", 4_096) as usize,
            ride_along: number("along", 100_000),
            direct_bytes: number("direct", 100_000),
            world: if config.contains("closed") { World::Closed } else { World::Open },
        };
        Self { scheduler: Scheduler::new(config, 0), now: Time::ZERO }
    }

    fn act(&mut self, line: &str) -> Vec<String> {
        if line == "status" {
            return self.status();
        }
        if line == "functions" {
            return vec![format!("{} held", self.scheduler.snapshot().functions())];
        }
        let mut events = Vec::new();
        for part in line.split(" + ") {
            if part == "nothing" {
                continue;
            }
            let Some(span) = part.strip_prefix("after ") else {
                events.push(event(part));
                continue;
            };
            let ms = span.strip_suffix("ms").map(|n| n.parse::<u64>().expect("milliseconds"));
            let ms = ms.unwrap_or_else(|| span.trim_end_matches('s').parse::<u64>().expect("seconds") * 1_000);
            self.now = self.now + Duration::from_millis(ms);
        }
        let mut actions = Vec::new();
        self.scheduler.step(self.now, events, &mut actions);
        self.scheduler.check();
        actions.iter().flat_map(show).collect()
    }

    fn status(&self) -> Vec<String> {
        let view = self.scheduler.snapshot();
        let t = view.tasks();
        let mut lines = vec![format!(
            "{} waiting, {} ready, {} assigned, {} done, {} of them failed; {} sessions; {} bytes held; {} ignored",
            t.waiting,
            t.ready,
            t.assigned,
            t.done,
            t.failed,
            view.sessions(),
            view.held_bytes(),
            view.ignored()
        )];
        let worker = |w: super::super::WorkerView<'_>| {
            format!("{} {:?}: {} running, {} queued, of {}", w.id, w.health, w.running, w.queued, w.capacity)
        };
        lines.extend(view.workers().map(worker));
        lines.extend(self.scheduler.deadline().map(|(time, wake)| format!("deadline {time}: {wake:?}")));
        lines
    }
}

/// `s0 …` and `w0 …`: who, then what.
fn event(text: &str) -> Event {
    let (who, what) = text.split_once(' ').expect("who does what");
    if who.starts_with('s') {
        let session = SessionId(number(who));
        client(session, what).unwrap_or_else(|| Event::Requested { session, request: request(what) })
    } else {
        worker(WorkerId(number(who)), what)
    }
}

fn client(session: SessionId, what: &str) -> Option<Event> {
    let words: Vec<&str> = what.split(' ').collect();
    Some(match words[..] {
        ["connects"] => Event::SessionOpened { session, token: 7, exchange: Exchange::Bytes },
        ["connects", "nearby"] => Event::SessionOpened { session, token: 7, exchange: Exchange::Memory },
        ["resumes", token, taken] => {
            Event::SessionResumed { session, token: number(token).into(), taken: number(taken).into() }
        }
        ["is", "cut"] => Event::SessionCut { session },
        ["leaves"] => Event::SessionClosed { session },
        ["took", taken] => Event::NoticesTaken { session, taken: number(taken).into() },
        _ => return None,
    })
}

fn worker(worker: WorkerId, what: &str) -> Event {
    let words: Vec<&str> = what.split(' ').collect();
    match words[..] {
        ["joins", ..] => {
            let gpu = option(what, "gpu")
                .map(|n| ("gpu".into(), Amount(n.parse::<u64>().expect("a number") * Amount::SCALE)));
            let find = |word, default: u32| option(what, word).map_or(default, |n| n.parse().expect("a number"));
            let offer = Offer {
                name: format!("host-{worker}").into(),
                capacity: Resources::new(find("slots", 1), gpu),
                queue: find("queue", 4),
                python: PythonVersion { major: 3, minor: find("python", 12) as u8 },
                peer: (!what.contains("unreachable")).then(|| super::peer(worker)),
            };
            let watch = if what.contains("watched") { Watch::Heartbeat } else { Watch::None };
            let exchange = if what.contains("nearby") { Exchange::Memory } else { Exchange::Bytes };
            Event::WorkerJoined { worker, offer, watch, exchange }
        }
        ["is", "heard"] => Event::WorkerHeard { worker },
        ["drains"] => Event::WorkerDraining { worker },
        ["is", "lost"] => Event::WorkerLost { worker },
        ["took", cost] => Event::StartsTaken { worker, cost: number(cost).into() },
        ["started", attempts] => Event::AttemptsStarted { worker, attempts: list(attempts, attempt) },
        ["has", objects] => Event::ObjectsHeld { worker, objects: list(objects, object) },
        ["lost", objects] => Event::ObjectsLost { worker, objects: list(objects, object) },
        ["misses", name] => Event::ObjectUnfetched { worker, object: object(name), reason: Unfetched::Gone },
        ["cannot", "reach", name] => {
            Event::ObjectUnfetched { worker, object: object(name), reason: Unfetched::Unreachable }
        }
        ["shows", name, value] => {
            let value = (value != "nothing").then(|| sized(value));
            Event::ObjectShown { worker, object: object(name), value }
        }
        ["returns", attempts] => Event::AttemptsReturned { worker, attempts: list(attempts, attempt) },
        ["cuts", name, "at", at] => Event::ChunkCut { worker, attempt: attempt(name), at: Some(number(at)) },
        ["keeps", name] => Event::ChunkCut { worker, attempt: attempt(name), at: None },
        ["ends", attempts, ..] => {
            let how = words[2..].join(" ");
            let (how, took) = how.split_once(" in ").map_or((&*how, None), |(how, took)| (how, Some(took)));
            let run_micros = took.map_or(1_000_000, |took| number(took).into());
            let report = |attempt| Report { attempt, ending: ending(how, attempt), run_micros };
            Event::AttemptsEnded { worker, reports: list(attempts, attempt).into_iter().map(report).collect() }
        }
        _ => panic!("unknown words: {what}"),
    }
}

/// What lies with a worker is named by the attempt that made it, unless another is named: `@50`, `@50 of t1.1`.
fn ending(how: &str, made_by: AttemptId) -> Ending {
    if let Some(value) = how.strip_prefix("with @") {
        let (bytes, of) = value.split_once(" of ").map_or((value, made_by), |(bytes, of)| (bytes, attempt(of)));
        let lengths = [number(bytes).into()].into();
        return Ending::Returned(Stored { object: ObjectId(of), lengths }.into());
    }
    if let Some(error) = how.strip_prefix("raising ") {
        return Ending::Raised { error: value_of(error), retry: Retry::Denied };
    }
    match how {
        "raising" => Ending::Raised { error: value_of("error"), retry: Retry::Allowed },
        "dead" => Ending::Crashed(super::soup::death().into()),
        "cancelled" => Ending::Cancelled,
        "skipped" => Ending::Skipped,
        "too large" => Ending::TooLarge { size: 9_000, limit: 8_000 },
        value => Ending::Returned(sized(value.strip_prefix("with ").expect("an ending"))),
    }
}

fn request(what: &str) -> Request {
    let words: Vec<&str> = what.split(' ').collect();
    match words[..] {
        ["defines", id, ..] if id.starts_with('f') => Request::DefineFunction(FunctionSpec {
            id: FunctionId(number(id)),
            hash: [0; 32],
            python: option(what, "python").map(|minor| PythonVersion { major: 3, minor: number(minor) as u8 }),
            body: option(what, "body").map_or_else(|| value_of("body"), sized),
        }),
        ["defines", id, ..] => Request::DefineOptions { id: OptionsId(number(id)), options: options(what) },
        ["submits", tasks, ..] => Request::Submit(list(tasks, |t| task(t, what))),
        ["puts", task, value] => Request::Put { seq: seq(task), value: sized(value) },
        ["opens", id, "as", result, ..] => Request::OpenRun(run(id, result, what)),
        ["seals", id, pieces] => Request::SealRun { run: RunId(number(id)), pieces: number(pieces).into() },
        ["cancels", tasks] => Request::Cancel { tasks: list(tasks, seq), cancel: Cancel::Pending },
        ["stops", tasks] => Request::Cancel { tasks: list(tasks, seq), cancel: Cancel::Running },
        ["releases", functions] if functions.starts_with('f') => {
            Request::ReleaseFunctions(list(functions, |f| FunctionId(number(f))))
        }
        ["fetches", task] => Request::Fetch { seq: seq(task) },
        ["has", "key", key] => Request::Introduce(Fingerprint([number(key) as u8; 16])),
        ["got", task] => Request::Took(seq(task)),
        ["missed", task, "as", name] => relay(task, name, Unfetched::Gone),
        ["cannot", "reach", task, "as", name] => relay(task, name, Unfetched::Unreachable),
        ["releases", tasks] => Request::Release(list(tasks, seq)),
        _ => panic!("unknown words: {what}"),
    }
}

fn relay(task: &str, name: &str, reason: Unfetched) -> Request {
    Request::Relay { seq: seq(task), object: object(name), reason }
}

fn options(what: &str) -> Options {
    let default = Options::default();
    let find = |word| option(what, word).map(|n| n.parse::<i64>().expect("a number"));
    let gpu = find("gpu").map(|n| ("gpu".into(), Amount(n as u64 * Amount::SCALE)));
    Options {
        request: Resources::new(find("cpus").unwrap_or(1) as u32, gpu),
        retries: find("retries").unwrap_or(0) as u32,
        crash_limit: find("crashes").map_or(default.crash_limit, |n| n as u32),
        priority: find("priority").unwrap_or(0) as i32,
        label: option(what, "label").unwrap_or_default().into(),
    }
}

fn task(name: &str, what: &str) -> TaskSpec {
    let merge = option(what, "merge").map(|f| FunctionId(number(f)));
    let items = option(what, "items").map(number);
    let span = Span::whole(items.unwrap_or(2));
    let errors = errors(what);
    TaskSpec {
        seq: seq(name),
        function: FunctionId(option(what, "f").map_or(0, number)),
        options: OptionsId(option(what, "o").map_or(0, number)),
        call: match (merge, items) {
            (Some(merge), _) => Call::ChunkFold { errors, retries: 0, span, merge },
            (None, Some(_)) => Call::Chunk { errors, retries: 0, span },
            (None, None) => Call::Single,
        },
        args: sized(option(what, "args").unwrap_or("a")),
        inputs: option(what, "needs").map(|tasks| list(tasks, seq)).unwrap_or_default().into(),
        run: option(what, "of").map(|run| RunId(number(run))),
        retention: if what.contains("held") { Retention::Release } else { Retention::Delivery },
    }
}

fn run(id: &str, result: &str, what: &str) -> RunSpec {
    let errors = errors(what);
    let finish = match (option(what, "reduce"), option(what, "combine")) {
        (Some(f), _) => Finish::Reduce { function: FunctionId(number(f)), initial: option(what, "initial").map(sized) },
        (_, Some(f)) => Finish::Combine { function: FunctionId(number(f)), grouping: Grouping::Items },
        _ => panic!("a run reduces or combines"),
    };
    RunSpec {
        id: RunId(number(id)),
        result: seq(result),
        finish,
        errors,
        options: OptionsId(option(what, "o").map_or(0, number)),
    }
}

/// What a failing item means, if not the end.
fn errors(what: &str) -> Errors {
    let errors = [("skip", Errors::Skip), ("return", Errors::Return)];
    errors.iter().find(|(word, _)| what.contains(word)).map_or(Errors::Raise, |(_, errors)| *errors)
}

/// `word=…` among the words.
fn option<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split(' ').find_map(|part| part.strip_prefix(word)?.strip_prefix('='))
}

/// `t1,t3..t5`: each of them.
fn list<T>(text: &str, parse: impl Fn(&str) -> T) -> Vec<T> {
    let mut items = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            None => items.push(parse(part)),
            Some((from, to)) => {
                let prefix: String = from.chars().take_while(|c| !c.is_ascii_digit()).collect();
                let (to, attempt) = to.find('.').map_or((to, ""), |dot| to.split_at(dot));
                items.extend((number(from)..=number(to)).map(|n| parse(&format!("{prefix}{n}{attempt}"))));
            }
        }
    }
    items
}

/// The digits of a name.
fn number(name: &str) -> u32 {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("a number in {name}"))
}

/// `t3` is a client's task, `ti3` one of the coordinator's own.
fn seq(name: &str) -> Seq {
    let n = u64::from(number(name));
    if name.contains('i') { Seq::internal(n) } else { Seq(n) }
}

/// `t3.1`, or `s1t3.1` for another session than the first.
fn attempt(name: &str) -> AttemptId {
    let (task, attempt) = name.split_once('.').expect("an attempt has its number");
    let at = task.find('t').expect("an attempt names its task");
    let session = SessionId(if at == 0 { 0 } else { number(&task[..at]) });
    AttemptId { task: TaskId::new(session, seq(&task[at..])), attempt: Attempt(number(attempt)) }
}

fn object(name: &str) -> ObjectId {
    ObjectId(attempt(name))
}

/// `50b` is a value of so many bytes, anything else stands for itself.
fn sized(text: &str) -> crate::value::Value {
    match text.strip_suffix('b').and_then(|n| n.parse().ok()) {
        Some(bytes) => value_of(&"x".repeat(bytes)),
        None => value_of(text),
    }
}

fn show(action: &Action) -> Vec<String> {
    let ids = |attempts: &[AttemptId]| attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    vec![match action {
        Action::DefineFunction { worker, session, function } => format!("{worker} learns {session}{}", function.id),
        Action::StartAttempts { worker, starts } => {
            if let [first, .., last] = &starts[..]
                && starts.len() > 40
            {
                return vec![format!("{worker} starts {}, from {} to {}", starts.len(), first.attempt, last.attempt)];
            }
            format!("{worker} starts {}", starts.iter().map(show_start).collect::<Vec<_>>().join(", "))
        }
        Action::AppendInputs { worker, attempt, inputs } => {
            format!("{worker} gets {} inputs of {attempt}", inputs.len())
        }
        Action::CancelAttempts { worker, attempts, cancel } => format!("{worker} drops {} ({cancel:?})", ids(attempts)),
        Action::FetchObject { worker, object, from, .. } => format!("{worker} fetches {object} from {from}"),
        Action::ExpectClient { worker, object, key } => format!("{worker} expects client {} for {object}", key.0[0]),
        Action::GiveObject { worker, object, value } => {
            format!("{worker} is given {object}: {} bytes", value.carried())
        }
        Action::ShowObject { worker, object } => format!("{worker} shows {object}"),
        Action::DropObjects { worker, objects } => {
            format!("{worker} frees {}", objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        Action::CutChunk { worker, attempt } => format!("{worker} cuts {attempt}"),
        Action::RecallAttempts { worker, attempts } => format!("{worker} gives back {}", ids(attempts)),
        Action::ForgetFunctions { worker, functions } => {
            format!("{worker} forgets {}", functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        Action::ForgetSession { worker, session } => format!("{worker} forgets {session}"),
        Action::AcknowledgeReports { worker, cost } => format!("{worker} is credited {cost}"),
        Action::FenceWorker { worker } => format!("{worker} is fenced"),
        Action::DismissWorker { worker } => format!("{worker} is dismissed"),
        Action::Welcome { session, taken } => format!("{session} is welcome, {taken} taken"),
        Action::AcknowledgeRequests { session, taken } => format!("{session} has {taken} requests taken"),
        Action::EndSession { session, reason } => format!("{session} ends: {reason:?}"),
        Action::Notify { session, notices } => {
            return notices.iter().map(|notice| format!("{session} hears: {}", show_notice(notice))).collect();
        }
    }]
}

fn show_start(start: &Start) -> String {
    let mut text = format!("{} {}", start.attempt, start.function);
    let span = start.call.span();
    if !span.is_whole() {
        text += &format!(" on {}..{} of {}", span.first, span.end, span.total);
    }
    if start.tail == Tail::Asked {
        text += " shared";
    }
    if start.request != Resources::cpus(1) {
        text += &format!(" [{}]", start.request);
    }
    if start.deaths > 0 {
        text += &format!(" after {} deaths", start.deaths);
    }
    if start.inputs_total > 0 {
        let inputs = if start.inputs.len() > 20 {
            format!("{} inputs", start.inputs.len())
        } else {
            let shown = start.inputs.iter().zip(0..).map(|(input, at)| {
                let promised = start.promised.iter().find(|promised| promised.input == at);
                promised.map_or_else(|| show_outcome(input), |promised| format!("of {}", promised.by))
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        let rest = start.inputs_total - start.inputs.len() as u64;
        text += &format!(" ({inputs}{})", if rest > 0 { format!(", {rest} more") } else { String::new() });
    }
    text
}

fn show_notice(notice: &Notice) -> String {
    match notice {
        Notice::Ended(deliveries) if deliveries.len() > 40 => format!("{} tasks ended", deliveries.len()),
        Notice::Ended(deliveries) => deliveries.iter().map(show_delivery).collect::<Vec<_>>().join(", "),
        Notice::Started(tasks) => {
            format!("started {}", tasks.iter().map(|t| format!("t{t}")).collect::<Vec<_>>().join(" "))
        }
        Notice::Progressed { run, progress } => format!("{} of {run} done", progress.items),
        Notice::WorkerNamed { worker, name } => format!("{worker} is {name}"),
        Notice::Divided { seq, parts } => {
            let parts: Vec<String> = parts.iter().map(|(from, seq)| format!("{from}:t{seq}")).collect();
            format!("t{seq} divided {}", parts.join(","))
        }
        Notice::Fetched { seq, outcome } => format!("fetched t{seq} {}", show_outcome(outcome)),
        Notice::Admission(admission) => format!("admission {admission:?}"),
        Notice::Found { seq, object, at } => format!("found t{seq} as {object} at {}", at.address),
    }
}

fn show_delivery(delivery: &Delivery) -> String {
    let Delivery { seq, outcome, story } = delivery;
    let at = story.worker.map(|worker| format!(" at {worker}")).unwrap_or_default();
    format!("t{seq} {}{at}", show_outcome(outcome))
}

fn show_outcome(outcome: &Outcome) -> String {
    let text = |value: &crate::value::Value| {
        if let Some(stored) = value.stored() {
            format!("@{}", stored.object)
        } else if value.len() > 30 {
            format!("{} bytes", value.len())
        } else {
            super::world::text(value)
        }
    };
    match outcome {
        Outcome::Value(value) => format!("'{}'", text(value)),
        Outcome::Raised(error) => format!("raised '{}'", text(error)),
        Outcome::Skipped => "skipped".into(),
        Outcome::Cancelled => "cancelled".into(),
        Outcome::Failed(failure) => match &**failure {
            Failure::Crashed(deaths) => format!("crashed {} times", deaths.len()),
            Failure::Dependency { task, cause } => format!("failed with {task}: {}", show_outcome(cause)),
            Failure::Unschedulable { asked, best, missing } => {
                format!("unschedulable: asked '{asked}', best '{best}', missing '{missing}'")
            }
            Failure::NoSpace(lack) => format!("no space: {} bytes in {}: {}", lack.size, lack.path, lack.reason),
            Failure::ResultTooLarge { size, limit } => format!("too large: {size} of {limit}"),
            Failure::Unknown(text) => format!("unknown: {text}"),
        },
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scheduler/scenarios/", stringify!($name), ".txt");
            let script = std::fs::read_to_string(path).expect("a scenario is a file");
            expect_file![path].assert_eq(&play(&script));
        }
    )*};
}

scenarios!(
    admission,
    advance,
    balance,
    cancels,
    direct,
    functions,
    homes,
    inputs,
    misbehaviour,
    objects,
    placement,
    puts,
    remakes,
    retries,
    runs,
    sessions,
    shares,
    slices,
    unschedulable,
    workers
);
