//! The worker's disk: objects are written, read and forgotten on threads that may wait for it, a few at once; the driver
//! never does.

use crate::config::SpillDir;
use crate::store::blob::Store;
use crate::store::spill::{Folder, ReadError, SpillError, Spilled};
use plait_core::id::ObjectId;
use plait_core::limits::SPILL_AT_ONCE;
use plait_core::value::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The objects on disk, and what is being done with them.
#[derive(Debug)]
pub(super) struct Disk {
    folder: Arc<Folder>,
    /// Bytes that objects may take there, or why they may not.
    room: Result<u64, Box<str>>,
    blobs: Arc<Store>,
    copies: BTreeMap<ObjectId, Arc<Spilled>>,
    /// Whose places are to be given back, before anything else is done.
    unneeded: Vec<Arc<Spilled>>,
    waiting: VecDeque<(ObjectId, Job)>,
    /// What is at work, by the number of its job: with which object, and how to stop it.
    at_work: BTreeMap<u64, (Option<ObjectId>, Arc<AtomicBool>)>,
    jobs: u64,
    /// The last job that a coordinator which is gone may have asked for.
    asked_before: u64,
    tasks: JoinSet<(u64, Outcome)>,
}

#[derive(Debug)]
enum Job {
    Write(Value),
    Restore(Arc<Spilled>),
    Show(Arc<Spilled>, Viewer),
    /// Whoever holds a copy last gives its place back: this, or what reads it still.
    Free(Vec<Arc<Spilled>>),
}

/// Who wants to see an object.
#[derive(Debug)]
pub(super) enum Viewer {
    Coordinator,
    /// Another worker, which is told what is read, or that there is nothing.
    Guest(oneshot::Sender<Option<Value>>),
}

#[derive(Debug)]
enum Outcome {
    Written(Result<Spilled, SpillError>),
    Restored(Result<Value, ReadError>),
    Shown(Viewer, Result<Value, ReadError>),
    Freed,
}

/// What has been done.
#[derive(Debug)]
pub(super) enum Done {
    /// It is on disk, or is not.
    Written(ObjectId, Result<(), SpillError>),
    /// It is back in memory, or cannot be read.
    Restored(ObjectId, Result<Value, ReadError>),
    /// It was read for somebody to see.
    Shown(ObjectId, Viewer, Result<Value, ReadError>),
}

impl Disk {
    /// Objects go to `spill_dir`, and come back into memory of `blobs`.
    pub(super) fn new(spill_dir: &SpillDir, blobs: Arc<Store>) -> Self {
        let folder = Folder::new(spill_dir.path().to_owned());
        let room = match spill_dir {
            // There are others who need some.
            SpillDir::Folder(_) => folder.free_bytes().map(|free| free / 2).map_err(|error| error.to_string().into()),
            SpillDir::Memory(_) => Err("this folder is memory itself".into()),
        };
        Self {
            folder: Arc::new(folder),
            room,
            blobs,
            copies: BTreeMap::new(),
            unneeded: Vec::new(),
            waiting: VecDeque::new(),
            at_work: BTreeMap::new(),
            jobs: 0,
            asked_before: 0,
            tasks: JoinSet::new(),
        }
    }

    /// Bytes that objects may take there, half of what was free at the beginning; or why they may not.
    pub(super) const fn room(&self) -> &Result<u64, Box<str>> {
        &self.room
    }

    pub(super) fn write(&mut self, object: ObjectId, value: Value) {
        self.order(object, Job::Write(value));
    }

    /// Reads an object back into memory.
    pub(super) fn restore(&mut self, object: ObjectId) {
        let copy = self.copies.get(&object).cloned().expect("only what is on disk comes back");
        self.order(object, Job::Restore(copy));
    }

    /// Reads an object for somebody to see.
    ///
    /// # Errors
    /// If it is not on disk; who wanted to see it is given back.
    pub(super) fn show(&mut self, object: ObjectId, viewer: Viewer) -> Result<(), Viewer> {
        match self.copies.get(&object).cloned() {
            Some(copy) => {
                self.order(object, Job::Show(copy, viewer));
                Ok(())
            }
            None => Err(viewer),
        }
    }

    /// Nobody needs these any more, nor hears of them.
    pub(super) fn forget(&mut self, objects: &[ObjectId]) {
        let gone: BTreeSet<ObjectId> = objects.iter().copied().collect();
        self.waiting.retain(|(of, job)| !gone.contains(of) || matches!(job, Job::Show(..)));
        for (_, unwanted) in self.at_work.values().filter(|(of, _)| of.is_some_and(|object| gone.contains(&object))) {
            unwanted.store(true, Ordering::Relaxed);
        }
        self.unneeded.extend(gone.iter().filter_map(|object| self.copies.remove(object)));
        self.begin();
    }

    /// The coordinator that asked to see objects is gone, and hears of none.
    pub(super) fn forget_coordinator(&mut self) {
        self.waiting.retain(|(_, job)| !matches!(job, Job::Show(_, Viewer::Coordinator)));
        self.asked_before = self.jobs;
    }

    /// Waits for the next that is done. Cancel-safe.
    pub(super) async fn done(&mut self) -> Done {
        loop {
            let Some(joined) = self.tasks.join_next().await else { return pending().await };
            let (number, outcome) = joined.expect("no job panics, and none is aborted");
            let (object, unwanted) = self.at_work.remove(&number).expect("it was at work");
            let is_unwanted = match outcome {
                Outcome::Shown(Viewer::Coordinator, _) => number <= self.asked_before,
                Outcome::Shown(Viewer::Guest(_), _) => false,
                _ => unwanted.load(Ordering::Relaxed),
            };
            let done = object.and_then(|object| self.news(object, outcome, is_unwanted));
            self.begin();
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// What is to be heard of a job, if that is still of interest.
    fn news(&mut self, object: ObjectId, outcome: Outcome, is_unwanted: bool) -> Option<Done> {
        match (outcome, is_unwanted) {
            (Outcome::Written(Ok(spilled)), false) => {
                self.copies.insert(object, Arc::new(spilled));
                Some(Done::Written(object, Ok(())))
            }
            (Outcome::Written(Ok(spilled)), true) => {
                self.unneeded.push(Arc::new(spilled));
                None
            }
            (Outcome::Written(Err(error)), false) => Some(Done::Written(object, Err(error))),
            (Outcome::Restored(value), false) => Some(Done::Restored(object, value)),
            (Outcome::Shown(viewer, value), false) => Some(Done::Shown(object, viewer, value)),
            (Outcome::Written(Err(_)) | Outcome::Restored(_) | Outcome::Shown(..), true) | (Outcome::Freed, _) => None,
        }
    }

    fn order(&mut self, object: ObjectId, job: Job) {
        self.waiting.push_back((object, job));
        self.begin();
    }

    /// Has threads do what waits, a few at once.
    fn begin(&mut self) {
        while self.at_work.len() < SPILL_AT_ONCE
            && let Some((object, job)) = self.next()
        {
            self.jobs += 1;
            let (number, unwanted) = (self.jobs, Arc::new(AtomicBool::new(false)));
            self.at_work.insert(number, (object, Arc::clone(&unwanted)));
            // Who asked to see it hears of it in any case.
            let unwanted = if matches!(job, Job::Show(..)) { Arc::default() } else { unwanted };
            let (folder, blobs) = (Arc::clone(&self.folder), Arc::clone(&self.blobs));
            self.tasks.spawn_blocking(move || (number, job.run(&folder, &blobs, &unwanted)));
        }
    }

    fn next(&mut self) -> Option<(Option<ObjectId>, Job)> {
        if self.unneeded.is_empty() {
            return self.waiting.pop_front().map(|(object, job)| (Some(object), job));
        }
        Some((None, Job::Free(std::mem::take(&mut self.unneeded))))
    }
}

impl Job {
    fn run(self, folder: &Folder, blobs: &Arc<Store>, unwanted: &AtomicBool) -> Outcome {
        match self {
            Self::Write(value) => Outcome::Written(folder.write(&value, unwanted)),
            Self::Restore(copy) => Outcome::Restored(read(copy, blobs, unwanted)),
            Self::Show(copy, viewer) => Outcome::Shown(viewer, read(copy, blobs, unwanted)),
            Self::Free(copies) => {
                let mut copies = copies.into_iter();
                // At the end of the worker the files give all back at once.
                while !unwanted.load(Ordering::Relaxed)
                    && let Some(copy) = copies.next()
                {
                    let_go(copy);
                }
                Outcome::Freed
            }
        }
    }
}

fn read(copy: Arc<Spilled>, blobs: &Arc<Store>, unwanted: &AtomicBool) -> Result<Value, ReadError> {
    let value = copy.read(blobs, unwanted);
    let_go(copy);
    value
}

/// Gives a place back, if nobody else has it.
fn let_go(copy: Arc<Spilled>) {
    if let Some(spilled) = Arc::into_inner(copy) {
        spilled.free();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The runtime waits for its threads: they need not be long.
        self.at_work.values().for_each(|(_, unwanted)| unwanted.store(true, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use plait_core::id::{Attempt, AttemptId, Seq, SessionId, TaskId};
    use std::sync::mpsc;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);
    const OBJECT: ObjectId = ObjectId(AttemptId { task: TaskId::new(SessionId(0), Seq(1)), attempt: Attempt(1) });

    /// Waits until nothing is at work, of which nothing may be heard, and next to nothing is left of what took `full` blocks.
    async fn freed(disk: &mut Disk, full: u64) {
        while !disk.at_work.is_empty() || disk.folder.blocks() > full / 10 {
            let pause = Duration::from_millis(1);
            if let Ok(done) = tokio::time::timeout(pause, disk.done()).await {
                panic!("{done:?} is of interest to nobody");
            }
        }
    }

    #[test]
    fn places_are_given_back_by_threads_that_may_wait_after_what_reads_them() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().max_blocking_threads(1).build().expect("a runtime");
        let value = Value::from_segments(vec![Bytes::from(vec![7; 5 << 20])]);
        let test = async {
            let mut disk = Disk::new(&SpillDir::Folder(std::env::temp_dir()), Store::new());
            disk.write(OBJECT, value.clone());
            assert!(matches!(disk.done().await, Done::Written(OBJECT, Ok(()))));
            let full = disk.folder.blocks();
            let (go, gate) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || gate.recv());
            disk.show(OBJECT, Viewer::Coordinator).expect("it is on disk");
            disk.forget(&[OBJECT]);
            assert!(disk.show(OBJECT, Viewer::Coordinator).is_err());
            assert_eq!(disk.folder.blocks(), full, "nothing is done on this thread");
            go.send(()).expect("it waits");
            assert!(busy.await.is_ok());
            assert!(matches!(disk.done().await, Done::Shown(OBJECT, _, Ok(shown)) if shown == value));
            freed(&mut disk, full).await;
            disk.write(OBJECT, value.clone());
            disk.forget(&[OBJECT]);
            freed(&mut disk, full).await;
            assert!(disk.copies.is_empty());
        };
        runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("in time") });
    }

    #[test]
    fn what_a_coordinator_asked_to_see_is_not_shown_to_the_next() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        let value = |byte| Value::from_segments(vec![Bytes::from(vec![byte; 1 << 20])]);
        let test = async {
            let mut disk = Disk::new(&SpillDir::Folder(std::env::temp_dir()), Store::new());
            disk.write(OBJECT, value(1));
            assert!(matches!(disk.done().await, Done::Written(OBJECT, Ok(()))));
            for _ in 0..=SPILL_AT_ONCE {
                disk.show(OBJECT, Viewer::Coordinator).expect("it is on disk");
            }
            disk.forget(&[OBJECT]);
            disk.forget_coordinator();
            disk.write(OBJECT, value(2));
            assert!(matches!(disk.done().await, Done::Written(OBJECT, Ok(()))), "nothing is heard of the others");
            disk.show(OBJECT, Viewer::Coordinator).expect("it is on disk");
            assert!(matches!(disk.done().await, Done::Shown(OBJECT, _, Ok(shown)) if shown == value(2)));
        };
        runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("in time") });
    }
}
