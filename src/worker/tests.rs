//! The supervisor and the driver with shells in place of interpreters.

use super::launch::tests::script;
use super::supervisor::{Blame, Said, Supervisor};
use super::{Config, Place, Stop, Upstream, WorkerExit, control};
use crate::config::SpillDir;
use crate::net::link;
use crate::store::blob::Store;
use crate::telemetry::Scribe;
use bytes::Bytes;
use plait_core::id::{
    Attempt, AttemptId, ExecutorId, FunctionId, FunctionKey, ObjectId, Seq, SessionId, TaskId, WorkerId,
};
use plait_core::limits::{LOG_TAIL_BYTES, PASSED_BYTES, SPAWN_FAILURES, WORKER_QUEUE_PER_SLOT};
use plait_core::outcome::{Death, Ending, Exit, Unfetched};
use plait_core::peer::{Fingerprint, Peer};
use plait_core::protocol::frame::Encoder;
use plait_core::protocol::message::executor::{EntryEnded, FromExecutor, ToExecutor};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::resource::Resources;
use plait_core::spec::{Call, FunctionSpec, PythonVersion, Start, Tail};
use plait_core::value::Value;
use plait_core::worker::{Entry, Signal};
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::time::Duration;

const X: ExecutorId = ExecutorId(1);
const DEADLINE: Duration = Duration::from_secs(30);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("in time") });
}

/// A supervisor with one executor, which runs `text`.
fn supervise(text: &str) -> Supervisor {
    let mut supervisor = Supervisor::new(script(text), Place::Guest, Store::new(), None);
    supervisor.spawn(X, 1).expect("a shell");
    supervisor
}

/// A shell command that sends `message`.
fn say(message: FromExecutor) -> String {
    let mut encoder = Encoder::new();
    encoder.message(message).expect("encodable");
    let octal: String = encoder.chunks().iter().flatten().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}' >&0;")
}

async fn hear(supervisor: &mut Supervisor) -> Vec<Said> {
    let mut said = Vec::new();
    while !said.iter().any(|(_, said)| matches!(said, Said::Died(_))) {
        supervisor.listen(&mut said, 100).await;
    }
    said.into_iter().map(|(_, said)| said).collect()
}

async fn death(supervisor: &mut Supervisor) -> Death {
    match hear(supervisor).await.pop() {
        Some(Said::Died(death)) => *death,
        other => panic!("a death, not {other:?}"),
    }
}

fn ended(entry: u32) -> FromExecutor {
    FromExecutor::Ended(vec![EntryEnded { entry, ending: Ending::Skipped, run_micros: 5, soiled: false }])
}

#[test]
fn all_that_an_executor_said_is_told_before_its_death() {
    run(async {
        let words = (0..50).map(|n| say(ended(n))).collect::<String>();
        let text = format!("{}{words} echo last words >&2; kill -SEGV $$", say(FromExecutor::Ready));
        let mut supervisor = supervise(&text);
        let said = hear(&mut supervisor).await;
        assert_eq!(said.len(), 52);
        assert!(matches!(said[0], Said::Ready));
        for (entry, said) in said[1..51].iter().enumerate() {
            assert!(matches!(said, Said::Ended(ended) if ended[0].entry as usize == entry));
        }
        let Said::Died(death) = &said[51] else { panic!("its end comes last") };
        assert_eq!((death.exit, &*death.log_tail), (Exit::Signal(11), "last words\n"));
        assert!(death.pid > 1 && !death.host.is_empty());
        assert_eq!(supervisor.bury(X), Blame::default(), "it ran nothing");
    });
}

#[test]
fn what_the_socket_does_not_take_is_written_later() {
    run(async {
        let mut supervisor = supervise("head -c 20000000 | wc -c >&2; exit 4");
        let body = Bytes::from(vec![7; PASSED_BYTES - 1]);
        for _ in 0..80 {
            supervisor.send(X, ToExecutor::Define { function: FunctionKey::default(), body: body.clone().into() });
        }
        let death = death(&mut supervisor).await;
        assert_eq!((death.exit, death.log_tail.trim()), (Exit::Code(4), "20000000"));
    });
}

#[test]
fn an_executor_without_a_channel_is_of_no_use() {
    run(async {
        assert_eq!(death(&mut supervise("exec 0<&-; exec sleep 1000")).await.exit, Exit::Signal(9));
        assert_eq!(
            death(&mut supervise("printf 'not a frame at all' >&0; exec sleep 1000")).await.exit,
            Exit::Signal(9)
        );
    });
}

#[test]
fn an_executor_that_cannot_be_told_what_to_do_is_of_no_use() {
    run(async {
        // What comes with the first byte is closed: nothing can be passed to it, though its channel is open.
        let mut supervisor = supervise(&format!("head -c 1 >/dev/null; {} exec sleep 1000", say(FromExecutor::Ready)));
        let mut said = Vec::new();
        supervisor.listen(&mut said, 100).await;
        assert!(matches!(said[..], [(X, Said::Ready)]));
        let body = Bytes::from(vec![7; PASSED_BYTES]);
        supervisor.send(X, ToExecutor::Define { function: FunctionKey::default(), body: body.into() });
        assert_eq!(death(&mut supervisor).await.exit, Exit::Signal(9));
    });
}

#[test]
fn it_is_said_that_no_executor_can_be_started() {
    run(async {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let sink = || Some(Scribe::new(writer.try_clone().expect("the same").into()));
        let nothing = super::Launch::python("/no/such/python".into(), Vec::new(), &[]);
        let mut missing = Supervisor::new(nothing, Place::Guest, Store::new(), sink());
        let mut failing = Supervisor::new(script("exit 3"), Place::Guest, Store::new(), sink());
        for id in (0..2 * SPAWN_FAILURES).map(ExecutorId) {
            assert!(missing.spawn(id, 1).is_err());
            failing.spawn(id, 1).expect("a shell");
            assert_eq!(death(&mut failing).await.exit, Exit::Code(3));
            failing.bury(id);
        }
        drop(writer);
        let mut reader = BufReader::new(reader);
        let read = move || {
            let mut lines = [String::new(), String::new()];
            for line in &mut lines {
                reader.read_line(line).expect("text");
            }
            (lines, reader)
        };
        let (lines, mut reader) = tokio::task::spawn_blocking(read).await.expect("two lines");
        assert!(
            lines.iter().all(|line| line.starts_with("plait: tasks wait, since no executor can be started with /"))
        );
        assert!(lines.iter().any(|line| line.ends_with("/no/such/python: No such file or directory (os error 2)\n")));
        assert!(lines.iter().any(|line| line.ends_with("the last one ended with code 3 before it was ready\n")));
        drop((missing, failing));
        assert_eq!(reader.read_line(&mut String::new()).expect("its end"), 0, "it is said once");
    });
}

#[test]
fn an_executor_that_refers_to_what_it_has_not_sent_is_not_believed() {
    run(async {
        let ended = |value: Value| {
            let ending = Ending::Returned(value);
            EntryEnded { entry: 0, ending, run_micros: 5, soiled: false }
        };
        let value = Value::copied(b"some bytes");
        let lie = ended(value.referred_to_as(ObjectId(start(7).attempt)));
        let words = say(FromExecutor::Ended(vec![ended(value)])) + &say(FromExecutor::Ended(vec![lie]));
        let mut supervisor = supervise(&format!("{words} exec sleep 1000"));
        let said = hear(&mut supervisor).await;
        assert!(matches!(&said[..], [Said::Ended(ended), Said::Died(_)] if ended.len() == 1), "{said:?}");
    });
}

#[test]
fn a_worker_shows_what_it_was_given_until_it_is_dropped() {
    run(async {
        let (_worker, _stop, mut link) = hire("exec sleep 1000");
        let (object, value) = (ObjectId(start(7).attempt), Value::copied(&[7; 300_000]));
        let shown = |value| FromWorker::Shown { object, value };
        link.sender.send(ToWorker::Show(object)).expect("linked");
        link.sender.send(ToWorker::Give { object, value: value.clone() }).expect("linked");
        hears(&mut link, &[shown(None), FromWorker::Held(vec![object])]).await;
        link.sender.send(ToWorker::Show(object)).expect("linked");
        hears(&mut link, &[shown(Some(value))]).await;
        link.sender.send(ToWorker::Drop(vec![object])).expect("linked");
        link.sender.send(ToWorker::Show(object)).expect("linked");
        hears(&mut link, &[shown(None)]).await;
        // A guest in another process meets nobody.
        let unfetched = FromWorker::Unfetched { object, reason: Unfetched::Unreachable };
        let at = Peer { address: ([127, 0, 0, 1], 9).into(), key: Fingerprint::default() };
        link.sender.send(ToWorker::Fetch { object, from: WorkerId(1), at }).expect("linked");
        hears(&mut link, &[unfetched]).await;
    });
}

#[test]
fn a_signal_for_an_entry_that_does_not_run_is_not_sent() {
    run(async {
        let ready = say(FromExecutor::Ready);
        let mut supervisor = supervise(&format!("trap 'exit 7' INT TERM; {ready} while true; do sleep 0.01; done"));
        let mut said = Vec::new();
        supervisor.listen(&mut said, 1).await;
        supervisor.offer(X, Entry(3), (0, 0));
        for signal in [Signal::Interrupt(Entry(3)), Signal::Terminate(Entry(3)), Signal::Kill] {
            supervisor.signal(X, signal);
        }
        assert_eq!((supervisor.observe(X), supervisor.revoke(X, &[Entry(3), Entry(4)])), (None, vec![Entry(3)]));
        assert_eq!(death(&mut supervisor).await.exit, Exit::Signal(9));
    });
}

#[test]
fn the_end_of_a_long_log_is_kept() {
    run(async {
        let mut supervisor = supervise("for i in 1 2 3 4 5 6; do printf '%01000d' $i >&2; done");
        let death = death(&mut supervisor).await;
        assert_eq!(death.log_tail.len(), LOG_TAIL_BYTES);
        assert!(death.log_tail.ends_with("06"));
    });
}

#[test]
fn no_executor_outlives_its_supervisor() {
    run(async {
        let ready = say(FromExecutor::Ready);
        let mut supervisor = supervise(&format!("sleep 1000 & {ready} wait"));
        let mut said = Vec::new();
        supervisor.listen(&mut said, 1).await;
        let pid = supervisor.pids()[0];
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        drop(supervisor);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

#[test]
fn a_program_that_does_not_exist_cannot_be_started() {
    run(async {
        let mut supervisor = Supervisor::new(
            super::Launch::python("/no/such/python".into(), Vec::new(), &[]),
            Place::Guest,
            Store::new(),
            None,
        );
        assert!(supervisor.spawn(X, 1).is_err());
        assert!(supervisor.revoke(X, &[Entry(0)]).is_empty());
    });
}

/// A worker with one slot whose executor is a shell, and the coordinator's end of its link.
fn hire(text: &str) -> (tokio::task::JoinHandle<WorkerExit>, Stop, link::Link<ToWorker, FromWorker>) {
    let (near, far) = link::memory();
    let (stop, control) = control();
    let python = PythonVersion { major: 3, minor: 11 };
    let config = Config {
        name: "test".into(),
        capacity: Resources::cpus(1),
        python,
        launch: script(text),
        place: Place::Guest,
        objects: None,
        spill_dir: SpillDir::Folder(std::env::temp_dir()),
    };
    assert_eq!(config.offer().queue, WORKER_QUEUE_PER_SLOT);
    let worker = tokio::spawn(super::run(config, Upstream::Memory(near), control));
    let welcome = ToWorker::Welcome { worker: WorkerId(0), result_limit: u64::MAX };
    far.sender.send(welcome).expect("a worker listens");
    (worker, stop, far)
}

/// Waits until the worker has said all of `words`.
async fn hears(link: &mut link::Link<ToWorker, FromWorker>, words: &[FromWorker]) {
    let mut heard = Vec::new();
    while !words.iter().all(|word| heard.contains(word)) {
        link.receiver.receive(&mut heard, 100).await.expect("linked");
    }
}

/// A start of an attempt with nothing to it.
fn start(seq: u64) -> Start {
    Start {
        attempt: AttemptId { task: TaskId::new(SessionId(0), Seq(seq)), attempt: Attempt(1) },
        function: FunctionId(0),
        call: Call::Single,
        request: Resources::cpus(1),
        args: Value::empty(),
        inputs: Vec::new(),
        inputs_total: 0,
        deaths: 0,
        crash_limit: 3,
        priority: 0,
        promised: Vec::new(),
        tail: Tail::Kept,
    }
}

#[test]
fn a_worker_reports_what_its_executor_said() {
    run(async {
        let ready = say(FromExecutor::Ready);
        let text = format!("{ready} head -c 30 >/dev/null; {} exec sleep 1000", say(ended(0)));
        let (worker, _stop, mut link) = hire(&text);
        let function =
            FunctionSpec { id: FunctionId(0), hash: [0; 32], python: None, body: Bytes::from_static(b"body").into() };
        link.sender.send(ToWorker::Define { session: SessionId(0), function }).expect("linked");
        link.sender.send(ToWorker::Start(vec![start(7)])).expect("linked");
        let mut heard = Vec::new();
        let reported = loop {
            link.receiver.receive(&mut heard, 100).await.expect("linked");
            if let Some(FromWorker::Ended(reports)) = heard.iter().find(|m| matches!(m, FromWorker::Ended(_))) {
                break reports[0].clone();
            }
        };
        assert_eq!((reported.attempt, reported.ending), (start(7).attempt, Ending::Skipped));
        link.sender.send(ToWorker::Goodbye).expect("linked");
        link.sender.finish();
        drop(link);
        assert!(matches!(worker.await.expect("it ends"), WorkerExit::Ended));
    });
}

#[test]
fn a_worker_ends_with_its_link_in_memory() {
    run(async {
        let (worker, _stop, link) = hire("exec sleep 1000");
        drop(link);
        assert!(matches!(worker.await.expect("it ends"), WorkerExit::Ended));
    });
}

#[test]
fn a_drained_worker_says_so_and_leaves() {
    run(async {
        let (worker, stop, mut link) = hire(&format!("{} exec sleep 1000", say(FromExecutor::Ready)));
        // Polled once before it is told, the worker has heard the welcome.
        tokio::task::yield_now().await;
        stop.escalate();
        let mut heard = Vec::new();
        while link.receiver.receive(&mut heard, 100).await.is_ok() {}
        assert_eq!(heard, [FromWorker::Draining, FromWorker::Goodbye]);
        drop(link);
        assert!(matches!(worker.await.expect("it ends"), WorkerExit::Ended));
    });
}

#[test]
fn a_worker_told_twice_leaves_at_once() {
    run(async {
        let (worker, stop, mut link) = hire("exec sleep 1000");
        stop.escalate();
        stop.escalate();
        stop.drain();
        let mut heard = Vec::new();
        while link.receiver.receive(&mut heard, 100).await.is_ok() {}
        assert_eq!(heard.last(), Some(&FromWorker::Goodbye), "and a later, milder word changes nothing");
        drop(link);
        assert!(matches!(worker.await.expect("it ends"), WorkerExit::Ended));
    });
}
