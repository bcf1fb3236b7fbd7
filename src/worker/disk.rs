//! The worker's disk: objects are written and read on threads that may wait for it, a few at once; the driver never does.

use crate::store::blob::Store;
use crate::store::spill::{Folder, ReadError, SpillError, Spilled};
use plait_core::id::ObjectId;
use plait_core::limits::SPILL_AT_ONCE;
use plait_core::value::Value;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// The objects on disk, and what is being done with them.
#[derive(Debug)]
pub(super) struct Disk {
    folder: Arc<Folder>,
    blobs: Arc<Store>,
    copies: BTreeMap<ObjectId, Arc<Spilled>>,
    waiting: VecDeque<(ObjectId, Job)>,
    /// What is at work, by the number of its job, and how to stop it.
    at_work: BTreeMap<u64, (ObjectId, Arc<AtomicBool>)>,
    jobs: u64,
    tasks: JoinSet<(u64, Outcome)>,
}

#[derive(Debug)]
enum Job {
    Write(Value),
    Restore(Arc<Spilled>),
    Show(Arc<Spilled>),
}

#[derive(Debug)]
enum Outcome {
    Written(Result<Spilled, SpillError>),
    Restored(Result<Value, ReadError>),
    Shown(Result<Value, ReadError>),
}

/// What has been done.
#[derive(Debug)]
pub(super) enum Done {
    /// It is on disk, or is not.
    Written(ObjectId, Result<(), SpillError>),
    /// It is back in memory, or cannot be read.
    Restored(ObjectId, Result<Value, ReadError>),
    /// It was read for somebody to see.
    Shown(ObjectId, Result<Value, ReadError>),
}

impl Disk {
    /// Objects go to `folder`, and come back into memory of `blobs`.
    pub(super) fn new(folder: PathBuf, blobs: Arc<Store>) -> Self {
        Self {
            folder: Arc::new(Folder::new(folder)),
            blobs,
            copies: BTreeMap::new(),
            waiting: VecDeque::new(),
            at_work: BTreeMap::new(),
            jobs: 0,
            tasks: JoinSet::new(),
        }
    }

    /// Bytes that objects may take there: half of what is free now.
    pub(super) fn limit(&self) -> u64 {
        self.folder.free_bytes() / 2
    }

    pub(super) fn write(&mut self, object: ObjectId, value: Value) {
        self.order(object, Job::Write(value));
    }

    /// Reads an object back into memory.
    pub(super) fn restore(&mut self, object: ObjectId) {
        let copy = self.copies.get(&object).cloned().expect("only what is on disk comes back");
        self.order(object, Job::Restore(copy));
    }

    /// Reads an object for somebody to see; false if it is not on disk.
    pub(super) fn show(&mut self, object: ObjectId) -> bool {
        let copy = self.copies.get(&object).cloned();
        copy.map(|copy| self.order(object, Job::Show(copy))).is_some()
    }

    /// Nobody needs it any more, nor hears of it.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.copies.remove(&object);
        self.waiting.retain(|(of, job)| *of != object || matches!(job, Job::Show(_)));
        for (_, unwanted) in self.at_work.values().filter(|(of, _)| *of == object) {
            unwanted.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for the next that is done. Cancel-safe.
    pub(super) async fn done(&mut self) -> Done {
        loop {
            let Some(joined) = self.tasks.join_next().await else { return pending().await };
            let (number, done) = joined.expect("no job panics, and none is aborted");
            let (object, unwanted) = self.at_work.remove(&number).expect("it was at work");
            self.begin();
            match (done, unwanted.load(Ordering::Relaxed)) {
                (Outcome::Written(Ok(spilled)), false) => {
                    self.copies.insert(object, Arc::new(spilled));
                    return Done::Written(object, Ok(()));
                }
                (Outcome::Written(Err(error)), false) => return Done::Written(object, Err(error)),
                (Outcome::Restored(value), false) => return Done::Restored(object, value),
                (Outcome::Shown(value), _) => return Done::Shown(object, value),
                (Outcome::Written(_) | Outcome::Restored(_), true) => {}
            }
        }
    }

    fn order(&mut self, object: ObjectId, job: Job) {
        self.waiting.push_back((object, job));
        self.begin();
    }

    /// Has threads do what waits, a few at once.
    fn begin(&mut self) {
        while self.at_work.len() < SPILL_AT_ONCE
            && let Some((object, job)) = self.waiting.pop_front()
        {
            self.jobs += 1;
            let (number, unwanted) = (self.jobs, Arc::new(AtomicBool::new(false)));
            self.at_work.insert(number, (object, Arc::clone(&unwanted)));
            // Who asked to see it hears of it in any case.
            let unwanted = if matches!(job, Job::Show(_)) { Arc::default() } else { unwanted };
            let (folder, blobs) = (Arc::clone(&self.folder), Arc::clone(&self.blobs));
            self.tasks.spawn_blocking(move || (number, job.run(&folder, &blobs, &unwanted)));
        }
    }
}

impl Job {
    fn run(self, folder: &Folder, blobs: &Arc<Store>, unwanted: &AtomicBool) -> Outcome {
        match self {
            Self::Write(value) => Outcome::Written(folder.write(&value, unwanted)),
            Self::Restore(copy) => Outcome::Restored(copy.read(blobs, unwanted)),
            Self::Show(copy) => Outcome::Shown(copy.read(blobs, unwanted)),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The runtime waits for its threads: they need not be long.
        self.at_work.values().for_each(|(_, unwanted)| unwanted.store(true, Ordering::Relaxed));
    }
}
