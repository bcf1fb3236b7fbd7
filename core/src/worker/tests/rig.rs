//! Plays a scenario: each line at the margin is one step, or several events of one step divided by `;`; the indented
//! lines below it are what the worker wants done. `UPDATE_EXPECT=1` writes them anew.

use crate::id::{Attempt, AttemptId, ExecutorId, FunctionId, FunctionKey, ObjectId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Death, Ending, Exit, Outcome, Report, Retry, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::resource::{Amount, Resources};
use crate::spec::{Call, Cancel, Errors, FunctionSpec, Promised, Span, Start, Tail};
use crate::time::Time;
use crate::value::{Stored, Value};
use crate::worker::{Action, Brain, Condition, Config, Ended, Entry, Event, Order, Signal, Supervision};
use std::fmt::Write;
use std::time::Duration;

/// Plays the lines of `scenario` and compares all that follows with it.
pub(super) fn play(scenario: &str, expected: &expect_test::ExpectFile) {
    let mut rig = Rig { brain: worker("worker 2 slots"), now: Time::ZERO, out: String::new() };
    for line in scenario.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(rig.out, "{line}").expect("a string takes all");
        if !line.is_empty() && !line.starts_with('#') {
            rig.play(line);
        }
    }
    expected.assert_eq(&rig.out);
}

struct Rig {
    brain: Brain,
    now: Time,
    out: String,
}

impl Rig {
    fn play(&mut self, line: &str) {
        if line.starts_with("worker ") {
            self.brain = worker(line);
        } else if line == "next" {
            let next = self.brain.deadline().map(|(at, wake)| format!("{at} {wake:?}"));
            writeln!(self.out, "  {}", next.as_deref().unwrap_or("nothing")).expect("a string takes all");
        } else {
            if let Some(ms) = line.strip_prefix("wait ") {
                self.now = self.now + Duration::from_millis(number(ms));
            }
            self.step(line);
        }
    }

    fn step(&mut self, line: &str) {
        let mut actions = Vec::new();
        let events: Vec<_> = line.split("; ").filter(|event| !event.starts_with("wait")).map(event).collect();
        self.brain.step(self.now, events, &mut actions);
        self.brain.check();
        for action in &actions {
            writeln!(self.out, "  {}", show(action)).expect("a string takes all");
        }
    }
}

/// `worker 2 slots store=1MiB memory=8MiB disk=0MiB gpu=1`: nothing is stored if it is not said above which size.
fn worker(line: &str) -> Brain {
    let words: Vec<_> = line.split(' ').collect();
    let bytes = |name: &str, default| {
        words[3..].iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map_or(default, size)
    };
    let (store_above, memory_bytes) = (bytes("store", u64::MAX), bytes("memory", 8 << 20));
    let spill_bytes = if words.contains(&"disk=missing") { Err("missing".into()) } else { Ok(bytes("disk", 0)) };
    let named = words[3..].iter().filter(|word| !word.ends_with("iB") && !word.starts_with("disk=")).map(|word| {
        let (name, amount) = word.split_once('=').expect("name=amount");
        (name.into(), Amount(number::<u64>(amount) * Amount::SCALE))
    });
    let slots = number(words[1]);
    let capacity = Resources::new(slots, named);
    let supervision = Supervision::default();
    Brain::new(Config {
        slots,
        capacity,
        store_above,
        memory_bytes,
        spill_bytes,
        spill_dir: "/spill".into(),
        supervision,
    })
}

fn event(text: &str) -> Event {
    let words: Vec<_> = text.split(' ').collect();
    let rest = &words[1..];
    match words[0] {
        "link" if rest[0] == "opens" => {
            Event::LinkOpened { result_limit: rest.get(1).map_or(u64::MAX, |limit| size(limit)) }
        }
        "link" if rest == ["lost"] => Event::LinkLost,
        "drain" => Event::DrainRequested,
        "define" => define(rest[0]),
        "assign" => Event::AttemptsAssigned { starts: rest.iter().flat_map(|word| starts(word)).collect() },
        "inputs" => Event::InputsAppended { attempt: attempt(rest[0]), inputs: inputs(number(rest[1])) },
        "cancel" => Event::AttemptsCancelled { attempts: attempts(rest), cancel: Cancel::Pending },
        "stop" => Event::AttemptsCancelled { attempts: attempts(rest), cancel: Cancel::Running },
        "want" => Event::TailWanted { attempt: attempt(rest[0]) },
        "recall" => Event::AttemptsRecalled { attempts: attempts(rest) },
        "forget" if rest[0].contains('f') => {
            Event::FunctionsForgotten { functions: rest.iter().map(|word| function(word)).collect() }
        }
        "forget" => Event::SessionForgotten { session: SessionId(number(&rest[0][1..])) },
        "order" => Event::FetchOrdered { object: object(rest[0]), from: WorkerId(number(&rest[1][1..])), at: peer() },
        "given" => Event::ObjectGiven { object: object(rest[0]), value: bytes_of(rest[1]) },
        "show" => Event::ShowRequested { object: object(rest[0]) },
        "dropped" => Event::ObjectsDropped { objects: rest.iter().map(|word| object(word)).collect() },
        "arrived" => {
            Event::ObjectArrived { object: object(rest[0]), bytes: rest.get(1).map_or(1 << 20, |bytes| size(bytes)) }
        }
        "spilled" => Event::ObjectSpilled { object: object(rest[0]) },
        "unspilled" => Event::SpillFailed { object: object(rest[0]), reason: "full".into() },
        "restored" => Event::ObjectRestored { object: object(rest[0]) },
        "unrestored" => Event::RestoreFailed { object: object(rest[0]) },
        "unread" => Event::ReadFailed { object: object(rest[0]) },
        "unreachable" => Event::FetchFailed { object: object(rest[0]), reason: Unfetched::Unreachable },
        "gone" => Event::FetchFailed { object: object(rest[0]), reason: Unfetched::Gone },
        "damaged" => Event::ObjectsDamaged { objects: rest.iter().map(|word| object(word)).collect() },
        "read" => Event::ObjectRead { object: object(rest[0]), value: rest.get(1).map(|word| bytes_of(word)) },
        "append" => Event::InputsAppended {
            attempt: attempt(rest[0]),
            inputs: rest[1..].iter().map(|word| stored(word)).collect(),
        },
        "taken" => Event::ReportsTaken { cost: size(rest[0]) },
        executor => executor_event(ExecutorId(number(&executor[1..])), rest),
    }
}

fn executor_event(executor: ExecutorId, words: &[&str]) -> Event {
    let running = words.last().and_then(|word| word.strip_prefix('e')?.parse().ok()).map(Entry);
    match words[0] {
        "ready" => Event::ExecutorReady { executor },
        "fails" => Event::SpawnFailed { executor },
        "runs" => Event::ExecutorSeen { executor, running },
        "died" => {
            let place = words.last().and_then(|word| word.strip_prefix('e')?.split_once('@'));
            let running = place.and_then(|(entry, _)| entry.parse().ok()).map(Entry).or(running);
            let item = place.map(|(_, item)| number(item));
            Event::ExecutorDied { executor, running, item, death: Box::new(death()) }
        }
        "cuts" => {
            let (entry, tail) = words[1][1..].split_once('@').map_or((&words[1][1..], None), |(e, at)| (e, Some(at)));
            Event::EntryCut { executor, entry: Entry(number(entry)), tail: tail.map(number) }
        }
        "ends" => Event::EntriesEnded { executor, ended: words[1..].iter().map(|word| ended(word)).collect() },
        "gives" => {
            let of = words.iter().position(|word| *word == "of").expect("x0 gives e1 of e1 e2");
            let entries = |words: &[&str]| words.iter().map(|word| Entry(number(&word[1..]))).collect();
            Event::EntriesRevoked { executor, asked: entries(&words[of + 1..]), revoked: entries(&words[1..of]) }
        }
        other => panic!("no such thing: {other}"),
    }
}

/// `s0f1` or `s0f1:5MiB`
fn define(word: &str) -> Event {
    let (word, bytes) = word.split_once(':').map_or((word, 0), |(word, bytes)| (word, size(bytes)));
    let body = Value::from(bytes::Bytes::from(vec![0; bytes as usize]));
    let FunctionKey { session, function: id } = function(word);
    Event::FunctionDefined { session, function: FunctionSpec { id, hash: [0; 32], python: None, body } }
}

/// `s0f1`
fn function(word: &str) -> FunctionKey {
    let (session, function) = word[1..].split_once('f').expect("s0f1");
    FunctionKey { session: SessionId(number(session)), function: FunctionId(number(function)) }
}

/// `s0t1`, `s0t1..9`, `s0t1.2`, each with `:` and properties divided by commas.
fn starts(word: &str) -> Vec<Start> {
    let (name, properties) = word.split_once(':').unwrap_or((word, ""));
    if let Some((first, end)) = name.split_once("..") {
        let (session, first) = first.split_once('t').expect("s0t1");
        return (number::<u64>(first)..number(end)).map(|n| start(&format!("{session}t{n}"), properties)).collect();
    }
    vec![start(name, properties)]
}

/// `4`: so many items; `2..6`: these of somewhat more.
fn span(text: &str) -> Span {
    text.split_once("..").map_or_else(
        || Span::whole(number(text)),
        |(first, end)| Span { first: number(first), end: number(end), total: number::<u32>(end) + 1 },
    )
}

fn start(name: &str, properties: &str) -> Start {
    let mut start = Start {
        attempt: attempt(name),
        function: FunctionId(0),
        call: Call::Single,
        request: Resources::cpus(1),
        args: Value::empty(),
        inputs: Vec::new(),
        inputs_total: 0,
        deaths: 0,
        crash_limit: 2,
        priority: 0,
        promised: Vec::new(),
        tail: Tail::Kept,
    };
    for (name, value) in properties.split(',').filter_map(|property| property.split_once('=')) {
        match name {
            "f" => start.function = FunctionId(number(value)),
            "merge" => {
                let (errors, span) = (Errors::Raise, Span::whole(start.call.span().total.max(2)));
                start.call = Call::ChunkFold { errors, retries: 0, span, merge: FunctionId(number(value)) };
            }
            "items" => start.call = Call::Chunk { errors: Errors::Raise, retries: 0, span: span(value) },
            "deaths" => start.deaths = number(value),
            "priority" => start.priority = number(value),
            "tail" => start.tail = if value == "asked" { Tail::Asked } else { Tail::Kept },
            "cpus" => start.request.cpus = number(value),
            // `needs=s0t1+s0t2+0` or, with more to follow, `needs=s0t1/3`
            "needs" => {
                let (there, total) = value.split_once('/').unwrap_or((value, ""));
                start.inputs = there.split('+').map(stored).collect();
                start.inputs_total = total.parse().unwrap_or(start.inputs.len() as u64);
            }
            // `after=s0t1+s0t2`: attempts here that make the inputs
            "after" => {
                start.promised =
                    (0..).zip(value.split('+')).map(|(input, by)| Promised { input, by: attempt(by) }).collect();
                (start.inputs, start.inputs_total) =
                    (vec![Outcome::Skipped; start.promised.len()], start.promised.len() as u64);
            }
            "inputs" => {
                let (there, total) = value.split_once('/').expect("inputs=1/3");
                (start.inputs, start.inputs_total) = (inputs(number(there)), number(total));
            }
            name => {
                let amount = Amount(number::<u64>(value) * Amount::SCALE);
                start.request = Resources::new(start.request.cpus, [(name.into(), amount)]);
            }
        }
    }
    start
}

fn object(word: &str) -> ObjectId {
    ObjectId(attempt(word))
}

/// An input that is with workers, if it is named `s0t1` or `s0t1@4MiB`; a small value if it is a number.
fn stored(word: &str) -> Outcome {
    if word.parse::<u64>().is_ok() {
        return Outcome::Value(Value::empty());
    }
    let (name, bytes) = word.split_once('@').map_or((word, 1 << 20), |(name, bytes)| (name, size(bytes)));
    Outcome::Value(Stored { object: object(name), lengths: [bytes].into() }.into())
}

fn bytes_of(word: &str) -> Value {
    Value::from(bytes::Bytes::from(vec![0; size(word) as usize]))
}

fn inputs(count: usize) -> Vec<Outcome> {
    vec![Outcome::Value(Value::empty()); count]
}

fn attempts(words: &[&str]) -> Vec<AttemptId> {
    words.iter().map(|word| attempt(word)).collect()
}

/// `s0t1` or `s0t1.2`
fn attempt(word: &str) -> AttemptId {
    let (task, attempt) = word.split_once('.').unwrap_or((word, "1"));
    let (session, seq) = task[1..].split_once('t').expect("s0t1");
    AttemptId { task: TaskId::new(SessionId(number(session)), Seq(number(seq))), attempt: Attempt(number(attempt)) }
}

/// `e0`, `e0:raised`, `e0:soiled` or `e0:40MiB`
fn ended(word: &str) -> Ended {
    let (entry, how) = word[1..].split_once(':').unwrap_or((&word[1..], "returned"));
    let (ending, condition) = match how {
        "returned" => (Ending::Returned(Value::empty()), Condition::Clean),
        "soiled" => (Ending::Returned(Value::empty()), Condition::Soiled),
        "raised" => (Ending::Raised { error: Value::empty(), retry: Retry::Denied }, Condition::Clean),
        bytes => (Ending::Returned(Value::from(bytes::Bytes::from(vec![0; size(bytes) as usize]))), Condition::Clean),
    };
    Ended { entry: Entry(number(entry)), ending, run_micros: 0, condition }
}

/// Some other worker.
pub(super) fn peer() -> Peer {
    Peer { address: ([127, 0, 0, 1], 9).into(), key: Fingerprint::default() }
}

pub(super) fn death() -> Death {
    Death { host: "here".into(), pid: 1, exit: Exit::Signal(11), peak_memory: 0, log_tail: "".into() }
}

/// `64` or `40MiB`
fn size(word: &str) -> u64 {
    word.strip_suffix("MiB").map_or_else(|| number(word), |mib| number::<u64>(mib) << 20)
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn show(action: &Action) -> String {
    let names = |ids: &[AttemptId]| list(ids, ToString::to_string);
    let entries = |entries: &[Entry]| list(entries, ToString::to_string);
    match action {
        Action::Spawn { executor, cpus } => format!("spawn {executor} cpus={cpus}"),
        Action::Define { executor, session, function } => format!("{executor}: define {session}{}", function.id),
        Action::ForgetFunctions { executor, functions } => {
            format!("{executor}: forget {}", list(functions, ToString::to_string))
        }
        Action::Forget { executor, session } => format!("{executor}: forget {session}"),
        Action::Give { executor, orders } => format!("{executor}: give {}", list(orders, order)),
        Action::GiveInputs { executor, entry, inputs } => format!("{executor}: {} inputs for {entry}", inputs.len()),
        Action::Revoke { executor, entries: of } => format!("{executor}: revoke {}", entries(of)),
        Action::Cut { executor, entry } => format!("{executor}: cut {entry}"),
        Action::Observe { executors } => format!("observe {}", list(executors, ToString::to_string)),
        Action::Signal { executor, signal: Signal::Interrupt(entry) } => format!("{executor}: interrupt {entry}"),
        Action::Signal { executor, signal: Signal::Terminate(entry) } => format!("{executor}: terminate {entry}"),
        Action::Signal { executor, signal: Signal::Kill } => format!("{executor}: kill"),
        Action::Fetch { object, from, .. } => format!("fetch {object} from {from}"),
        Action::Store { object, value } => format!("store {object}: {} bytes", value.carried()),
        Action::Keep { object, value } => format!("keep {object}: {} bytes", value.carried()),
        Action::Spill { object } => format!("spill {object}"),
        Action::Evict { object } => format!("evict {object}"),
        Action::Restore { object } => format!("restore {object}"),
        Action::Read { object } => format!("read {object}"),
        Action::Drop { objects } => format!("drop {}", list(objects, ToString::to_string)),
        Action::ReportHeld { objects } => format!("held {}", list(objects, ToString::to_string)),
        Action::ReportUnfetched { object, reason } => format!("unfetched {object}: {reason:?}").to_lowercase(),
        Action::ReportLost { objects } => format!("lost {}", list(objects, ToString::to_string)),
        Action::Show { object, value } => {
            let what = value.as_ref().map_or("nothing".into(), |value| format!("{} bytes", value.carried()));
            format!("show {object}: {what}")
        }
        Action::Report { reports } => format!("report {}", list(reports, report)),
        Action::ReportStarted { attempts } => format!("started {}", names(attempts)),
        Action::Return { attempts } => format!("return {}", names(attempts)),
        Action::ReportCut { attempt, at: Some(at) } => format!("{attempt} ends at {at}"),
        Action::ReportCut { attempt, at: None } => format!("{attempt} keeps all"),
        Action::AcknowledgeStarts { cost } => format!("acknowledge {cost}"),
        Action::AnnounceDrain => "announce drain".into(),
        Action::Leave => "leave".into(),
    }
}

fn order(order: &Order) -> String {
    let (there, total) = (order.start.inputs.len(), order.start.inputs_total);
    let inputs = if total > 0 { format!("({there}/{total} inputs)") } else { String::new() };
    let part = order.part.as_ref().map(|part| {
        let crashed = if part.deaths.is_empty() { "" } else { " crashed" };
        format!("[{}..{}{crashed}]", part.first, part.end)
    });
    let fold = if order.start.call == Call::Fold { " folded" } else { "" };
    format!("{}={}{}{fold}{inputs}", order.entry, order.start.attempt, part.unwrap_or_default())
}

fn report(report: &Report) -> String {
    let ending = match &report.ending {
        Ending::Returned(value) if value.stored().is_some() => "stored".into(),
        Ending::Returned(_) => "returned".into(),
        Ending::Skipped => "skipped".into(),
        Ending::Raised { .. } => "raised".into(),
        Ending::Crashed(death) if death.pid == 0 => format!("refused({})", death.log_tail),
        Ending::Crashed(_) => "crashed".into(),
        Ending::Cancelled => "cancelled".into(),
        Ending::TooLarge { .. } => "too-large".into(),
        Ending::NoSpace(lack) => format!("no-space:{}:{}", lack.path, lack.reason),
    };
    format!("{}:{ending}", report.attempt)
}
