//! The executors of a worker: started, written to, listened to, ended. None outlives the supervisor.

use super::Place;
use super::ear::attend;
use super::executor::{Executor, Means, Written};
use super::launch::Launch;
use super::process::end_orphans;
use crate::store::blob::Store;
use crate::store::passing::Reserve;
use crate::telemetry::Scribe;
use plait_core::id::ExecutorId;
use plait_core::limits::SPAWN_FAILURES;
use plait_core::outcome::{Death, Exit};
use plait_core::protocol::message::executor::{EntryEnded, FromExecutor, ToExecutor};
use plait_core::worker::{Entry, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages of executors that wait for the driver; then the executors' own sockets fill up.
const WAITING: usize = 1_024;

/// What an executor said, or that it will say nothing any more.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is up.
    Ready,
    /// It is through with these.
    Ended(Vec<EntryEnded>),
    /// It is gone.
    Died(Box<Death>),
}

/// What an executor ran when it died.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Blame {
    /// The entry.
    pub(crate) running: Option<Entry>,
    /// The last item of it that was begun, if it is a chunk.
    pub(crate) item: Option<u32>,
}

impl From<FromExecutor> for Said {
    fn from(message: FromExecutor) -> Self {
        match message {
            FromExecutor::Ready => Self::Ready,
            FromExecutor::Ended(ended) => Self::Ended(ended),
        }
    }
}

/// All executors of one worker.
#[derive(Debug)]
pub(crate) struct Supervisor {
    launch: Launch,
    place: Place,
    means: Means,
    /// Where the executors' stderr goes, if anywhere.
    stderr: Option<Scribe>,
    executors: BTreeMap<ExecutorId, Arc<Executor>>,
    /// Those that were not ready yet.
    starting: BTreeSet<ExecutorId>,
    /// Executors in a row that came to nothing before they were ready.
    failures: u32,
    /// One that listens and one that passes stderr on for each executor, and some that wait for room.
    tasks: JoinSet<()>,
    said: mpsc::Receiver<(ExecutorId, Said)>,
    say: mpsc::Sender<(ExecutorId, Said)>,
}

impl Supervisor {
    pub(crate) fn new(launch: Launch, place: Place, store: Arc<Store>, stderr: Option<Scribe>) -> Self {
        let (say, said) = mpsc::channel(WAITING);
        let host = rustix::system::uname().nodename().to_string_lossy().into();
        Self {
            launch,
            place,
            means: Means { host, store, reserve: Reserve::new() },
            stderr,
            executors: BTreeMap::new(),
            starting: BTreeSet::new(),
            failures: 0,
            tasks: JoinSet::new(),
            said,
            say,
        }
    }

    /// Starts an executor. The death signal follows the thread that does this: it must live as long as the worker.
    pub(crate) fn spawn(&mut self, id: ExecutorId, cpus: u32) -> io::Result<()> {
        let started = Executor::start(&self.launch, id, cpus, &self.means);
        let executor = Arc::new(started.inspect_err(|error| self.failed_to_start(&error.to_string()))?);
        self.tasks.spawn(executor.stderr.clone().pass_on(self.stderr.clone()));
        self.tasks.spawn(attend(Arc::clone(&executor), self.say.clone()));
        self.executors.insert(id, executor);
        self.starting.insert(id);
        Ok(())
    }

    fn note(&mut self, id: ExecutorId, said: &Said) {
        match said {
            Said::Ready => {
                self.starting.remove(&id);
                self.failures = 0;
            }
            Said::Died(death) if self.starting.remove(&id) => self.failed_to_start(&match death.exit {
                Exit::Code(code) => format!("the last one ended with code {code} before it was ready"),
                Exit::Signal(signal) => format!("signal {signal} ended the last one before it was ready"),
                Exit::Unknown => "the last one ended before it was ready".to_owned(),
            }),
            Said::Died(_) | Said::Ended(_) => {}
        }
    }

    /// Says so where the executors' own words would go, once in a row: tasks wait, and nobody would know what for.
    fn failed_to_start(&mut self, why: &str) {
        self.failures += 1;
        if self.failures == SPAWN_FAILURES {
            let program = self.launch.program().display();
            let line = format!("plait: tasks wait, since no executor can be started with {program}: {why}\n");
            if let Some(sink) = self.stderr.clone() {
                self.tasks.spawn(async move { sink.pass(line.as_bytes()).await });
            }
        }
    }

    /// Sends a message to an executor; one that is gone gets none.
    pub(crate) fn send(&mut self, id: ExecutorId, message: ToExecutor) {
        let Some(executor) = self.executors.get(&id) else { return };
        if executor.send(message) == Written::Blocked {
            self.tasks.spawn(Arc::clone(executor).write_rest());
        }
    }

    /// Lets an executor begin an entry, which is sent after this.
    pub(crate) fn offer(&self, id: ExecutorId, entry: Entry, items: (u32, u32)) {
        if let Some(executor) = self.executors.get(&id) {
            executor.page().offer(entry.0, items);
        }
    }

    /// Takes entries back; returns those that will never begin. Of an executor that is gone, none will.
    pub(crate) fn revoke(&self, id: ExecutorId, entries: &[Entry]) -> Vec<Entry> {
        let Some(executor) = self.executors.get(&id) else { return Vec::new() };
        entries.iter().copied().filter(|entry| executor.page().revoke(entry.0)).collect()
    }

    /// Takes the tail of a chunk; returns the first of the items that will never begin there.
    pub(crate) fn cut(&self, id: ExecutorId, entry: Entry) -> Option<u32> {
        self.executors.get(&id)?.page().cut(entry.0)
    }

    /// The entry that an executor runs, by its page.
    pub(crate) fn observe(&self, id: ExecutorId) -> Option<Entry> {
        self.executors.get(&id)?.observe()
    }

    pub(crate) fn signal(&self, id: ExecutorId, signal: Signal) {
        if let Some(executor) = self.executors.get(&id) {
            executor.signal(signal);
        }
    }

    /// Waits for something that an executor said, then takes what is there, up to `max`. Cancel-safe.
    pub(crate) async fn listen(&mut self, into: &mut Vec<(ExecutorId, Said)>, max: usize) {
        while let Some(ended) = self.tasks.try_join_next() {
            debug_assert!(!ended.is_err_and(|error| error.is_panic()), "no task of the supervisor panics");
        }
        let before = into.len();
        self.said.recv_many(into, max).await;
        into[before..].iter().for_each(|(id, said)| self.note(*id, said));
    }

    /// The process ids of all executors.
    #[cfg(test)]
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.executors.values().map(|executor| executor.pid()).collect()
    }

    /// Forgets an executor that has died; returns what its page blames.
    pub(crate) fn bury(&mut self, id: ExecutorId) -> Blame {
        let Some(executor) = self.executors.remove(&id) else { return Blame::default() };
        let running = executor.page().running();
        let item = running.and_then(|entry| executor.page().item(entry));
        if self.place == Place::Own {
            let own: BTreeSet<u32> = self.executors.values().map(|executor| executor.pid()).collect();
            end_orphans(&own);
        }
        Blame { running: running.map(Entry), item }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // All at once first: each takes a moment to die.
        self.executors.values().for_each(|executor| executor.kill());
        self.executors.values().for_each(|executor| executor.end());
        // What they wrote last has a moment to get through.
        self.stderr.iter().for_each(Scribe::flush);
    }
}
