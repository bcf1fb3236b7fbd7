//! Plays a scenario: each line at the margin is one step, or several events of one step divided by `;`; the indented
//! lines below it are what the session wants done. `UPDATE_EXPECT=1` writes them anew.

use crate::client::{Action, Config, Event, Resume, Session};
use crate::id::{Attempt, AttemptId, FunctionId, ObjectId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Admission, Delivery, Notice, Outcome, Progress, Story, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::spec::{Call, Options, Request, Retention, TaskSpec};
use crate::time::Time;
use crate::value::{Stored, Value};
use std::fmt::Write;
use std::time::Duration;

/// Plays the lines of `scenario` and compares all that follows with it.
pub(super) fn play(scenario: &str, expected: &expect_test::ExpectFile) {
    let mut rig = Rig { session: session(Resume::Kept, None), now: Time::ZERO, out: String::new() };
    for line in scenario.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(rig.out, "{line}").expect("a string takes all");
        if !line.is_empty() && !line.starts_with('#') {
            rig.play(line);
        }
    }
    expected.assert_eq(&rig.out);
}

struct Rig {
    session: Session,
    now: Time,
    out: String,
}

impl Rig {
    fn play(&mut self, line: &str) {
        match line {
            "session kept" => self.session = session(Resume::Kept, None),
            "session in memory" => self.session = session(Resume::Never, None),
            "session with a key" => self.session = session(Resume::Kept, Some(Fingerprint([9; 16]))),
            "next" => {
                let next = self.session.deadline().map(|(at, wake)| format!("{at} {wake:?}"));
                writeln!(self.out, "  {}", next.as_deref().unwrap_or("nothing")).expect("a string takes all");
            }
            _ => self.step(line),
        }
    }

    fn step(&mut self, line: &str) {
        if let Some(ms) = line.strip_prefix("wait ") {
            self.now = self.now + Duration::from_millis(number(ms));
        }
        let mut actions = Vec::new();
        let events: Vec<_> = line.split("; ").filter(|event| !event.starts_with("wait")).flat_map(events).collect();
        self.session.step(self.now, events, &mut actions);
        self.session.check();
        for action in &actions {
            writeln!(self.out, "  {}", show(action)).expect("a string takes all");
        }
    }
}

fn session(resume: Resume, key: Option<Fingerprint>) -> Session {
    Session::new(Config { resume, key, seed: 1 })
}

/// One event, or as many as `× n` says.
fn events(text: &str) -> Vec<Event> {
    let (text, times) = text.split_once(" × ").unwrap_or((text, "1"));
    vec![event(text); number(times)]
}

fn event(text: &str) -> Event {
    let words: Vec<_> = text.split(' ').collect();
    match words[..] {
        ["submit", ref tasks @ ..] => Event::Asked(Request::Submit(tasks.iter().map(|word| task(word)).collect())),
        ["options", id] => {
            Event::Asked(Request::DefineOptions { id: OptionsId(number(&id[1..])), options: Options::default() })
        }
        ["put", word] => {
            let (seq, value) = sized(word);
            Event::Asked(Request::Put { seq, value })
        }
        ["seal", run] => Event::Asked(Request::SealRun { run: RunId(number(&run[1..])), pieces: 1 }),
        ["release", ref tasks @ ..] => Event::Asked(Request::Release(seqs(tasks))),
        ["welcome", session, taken] => {
            Event::Welcomed { session: SessionId(number(&session[1..])), taken: number(taken) }
        }
        ["cut"] => Event::LinkCut,
        ["refused"] => Event::Refused,
        ["ended"] => Event::CoordinatorEnded,
        ["taken", taken] => Event::RequestsTaken { taken: number(taken) },
        ["fetch", seq] => Event::Asked(Request::Fetch { seq: Seq(number(&seq[1..])) }),
        ["fetched", word] => {
            let (seq, value) = sized(word);
            Event::Noticed(Notice::Fetched { seq, outcome: Outcome::Value(value) })
        }
        ["found", seq, "as", attempt, "at", worker] => {
            let n = number(&worker[1..]);
            let at = Peer { address: ([10, 0, 0, n], 9_000).into(), key: Fingerprint([n; 16]) };
            Event::Noticed(Notice::Found { seq: Seq(number(&seq[1..])), object: object(seq, attempt), at })
        }
        ["visit", "of", attempt, "brings", word] => {
            let (seq, value) = sized(word);
            Event::Visited { seq, object: object(word, attempt), result: Ok(value) }
        }
        ["visit", "of", attempt, how @ ("misses" | "fails"), seq] => Event::Visited {
            seq: Seq(number(&seq[1..])),
            object: object(seq, attempt),
            result: Err(if how == "misses" { Unfetched::Gone } else { Unfetched::Unreachable }),
        },
        ["close"] => Event::CloseRequested,
        ["ended", ref tasks @ ..] => Event::Noticed(Notice::Ended(tasks.iter().map(|word| delivery(word)).collect())),
        ["divided", task, ref parts @ ..] => {
            let part = |word: &&str| {
                let (from, seq) = word.split_once(':').expect("2:i0");
                (number(from), seq_of(seq))
            };
            Event::Noticed(Notice::Divided { seq: seqs(&[task])[0], parts: parts.iter().map(part).collect() })
        }
        ["started", ref tasks @ ..] => Event::Noticed(Notice::Started(seqs(tasks))),
        ["progress", run, done] => {
            let progress = Progress { items: number(done), ..Progress::default() };
            Event::Noticed(Notice::Progressed { run: RunId(number(&run[1..])), progress })
        }
        ["worker", worker, name] => {
            Event::Noticed(Notice::WorkerNamed { worker: WorkerId(number(&worker[1..])), name: name.into() })
        }
        ["admission", "open"] => Event::Noticed(Notice::Admission(Admission::Open)),
        ["admission", "closed"] => Event::Noticed(Notice::Admission(Admission::Closed)),
        _ => panic!("no such thing: {text}"),
    }
}

/// `t1` or `t1:40MiB`
fn task(word: &str) -> TaskSpec {
    let (seq, args) = sized(word);
    TaskSpec {
        seq,
        function: FunctionId(0),
        options: OptionsId(0),
        call: Call::Single,
        args,
        inputs: Box::default(),
        run: None,
        retention: Retention::Release,
    }
}

/// What this attempt at a task, `t1` or `t1:40MiB`, made.
fn object(task: &str, attempt: &str) -> ObjectId {
    let (seq, _) = task[1..].split_once(':').unwrap_or((&task[1..], ""));
    let task = TaskId::new(SessionId(0), Seq(number(seq)));
    ObjectId(AttemptId { task, attempt: Attempt(number(attempt)) })
}

fn delivery(word: &str) -> Delivery {
    let (seq, value) = sized(word);
    Delivery { seq, outcome: Outcome::Value(value), story: Story::default() }
}

/// `t1`, `t1:40MiB` or `t1@w`: here, or with workers.
fn sized(word: &str) -> (Seq, Value) {
    if let Some(seq) = word[1..].strip_suffix("@w") {
        let task = TaskId::new(SessionId(0), Seq(number(seq)));
        let object = ObjectId(AttemptId { task, attempt: Attempt(1) });
        return (task.seq, Stored { object, lengths: [1 << 20].into() }.into());
    }
    let (seq, mib) = word[1..].split_once(':').unwrap_or((&word[1..], "0MiB"));
    let bytes = number::<usize>(mib.strip_suffix("MiB").expect("t1:40MiB")) << 20;
    (seq_of(seq), Value::from(bytes::Bytes::from(vec![0; bytes])))
}

fn seqs(words: &[&str]) -> Vec<Seq> {
    words.iter().map(|word| seq_of(&word[1..])).collect()
}

/// `1`, or `i1`: the coordinator's.
fn seq_of(word: &str) -> Seq {
    word.strip_prefix('i').map_or_else(|| Seq(number(word)), |n| Seq::internal(number(n)))
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn show(action: &Action) -> String {
    match action {
        Action::Dial { taken } => format!("dial, {taken} notices taken"),
        Action::Send { requests } if requests.len() > 9 => format!("send {} requests", requests.len()),
        Action::Send { requests } => format!("send {}", requests.iter().map(request).collect::<Vec<_>>().join(", ")),
        Action::AcknowledgeNotices { taken } => format!("acknowledge {taken}"),
        Action::Deliver { deliveries } if deliveries.len() > 9 => format!("deliver {} outcomes", deliveries.len()),
        Action::Deliver { deliveries } => format!("deliver {}", list(deliveries, |d| format!("t{}", d.seq))),
        Action::Divide { seq, parts } => {
            format!("divide t{seq} {}", list(parts, |(from, seq)| format!("{from}:{seq}")))
        }
        Action::Supply { seq, outcome } => format!("supply t{seq}: {outcome:?}"),
        Action::Visit { seq, object, at } => format!("visit {} for t{seq} as {object}", at.address),
        Action::StopVisits { tasks } => format!("no more visits for {}", list(tasks, |seq| format!("t{seq}"))),
        Action::MarkStarted { tasks } => format!("started {}", list(tasks, |seq| format!("t{seq}"))),
        Action::ShowProgress { run, progress } => format!("progress {run} {}", progress.items),
        Action::NameWorker { worker, name } => format!("worker {worker} is {name}"),
        Action::Admit { admission } => format!("admission {admission:?}").to_lowercase(),
        Action::GiveUp { loss } => format!("give up: {loss:?}").to_lowercase(),
        Action::SayGoodbye => "say goodbye".into(),
    }
}

fn request(request: &Request) -> String {
    match request {
        Request::Submit(tasks) => format!("submit {}", list(tasks, |task| format!("t{}", task.seq))),
        Request::DefineOptions { id, .. } => format!("options {id}"),
        Request::Put { seq, .. } => format!("put t{seq}"),
        Request::SealRun { run, .. } => format!("seal {run}"),
        Request::Release(tasks) => format!("release {}", list(tasks, |seq| format!("t{seq}"))),
        Request::Fetch { seq } => format!("fetch t{seq}"),
        Request::Introduce(key) => format!("introduce {}", key.0[0]),
        Request::Took(seq) => format!("took t{seq}"),
        Request::Relay { seq, object, reason } => format!("relay t{seq} as {object}: {reason:?}"),
        Request::DefineFunction(_) | Request::OpenRun(_) | Request::Cancel { .. } | Request::ReleaseFunctions(_) => {
            format!("{request:?}")
        }
    }
}
