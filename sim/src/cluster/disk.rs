//! The simulated disks of workers: they take their time, fill up, fail to write and lose what was written;
//! and what is to come back from them may find no memory.

use super::{Input, World};
use crate::agenda::{Happening, Node};
use crate::clock::{MICRO, SECOND};
use crate::options::{Canary, log_uniform};
use crate::probe::probe;
use crate::script;
use plait_core::id::ObjectId;
use plait_core::value::Value;
use plait_core::worker::Event;
use std::collections::BTreeMap;

/// What lies on a worker's disk, and what it is at work on.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    written: BTreeMap<ObjectId, Value>,
    /// Numbers of what is being done, so that nothing is heard of what was dropped meanwhile.
    at_work: BTreeMap<ObjectId, u64>,
    jobs: u64,
}

impl Disk {
    pub(super) fn get(&self, object: ObjectId) -> Option<&Value> {
        self.written.get(&object)
    }

    pub(super) fn drop(&mut self, object: ObjectId) {
        self.written.remove(&object);
        self.at_work.remove(&object);
    }

    fn bytes(&self) -> u64 {
        self.written.values().map(Value::carried).sum()
    }
}

/// What a disk does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    Write,
    Read,
}

impl World {
    pub(super) fn use_disk(&mut self, n: usize, object: ObjectId, job: Job) {
        let disk = &mut self.workers[n].disk;
        disk.jobs += 1;
        let number = disk.jobs;
        let before = disk.at_work.insert(object, number);
        assert!(before.is_none(), "worker {n} moves {object} while it is being moved");
        let wait = log_uniform(&mut self.rng, 20 * MICRO, SECOND / 2);
        let life = self.workers[n].machine.life;
        self.agenda.plan(self.now + wait, Happening::DiskDone { worker: n, life, object, job, number });
    }

    pub(super) fn on_disk_done(&mut self, (n, life): (usize, u32), object: ObjectId, job: Job, number: u64) {
        let host = &self.workers[n];
        if host.machine.life != life || host.disk.at_work.get(&object) != Some(&number) {
            return;
        }
        let event = match job {
            Job::Write => self.written(n, object),
            Job::Read => self.read_back(n, object),
        };
        self.workers[n].disk.at_work.remove(&object);
        self.post(Node::Worker(n), Input::Brain(event));
    }

    fn written(&mut self, n: usize, object: ObjectId) -> Event {
        let host = &mut self.workers[n];
        let value = host.store[&object].clone();
        let full = host.disk.bytes() + value.carried() > self.plan.disk_bytes;
        if full || self.rng.chance(self.plan.disk_trouble, 100) {
            probe!("disk full or failing");
            return Event::SpillFailed { object, reason: "full".into() };
        }
        host.disk.written.insert(object, value);
        Event::ObjectSpilled { object }
    }

    fn read_back(&mut self, n: usize, object: ObjectId) -> Event {
        // It may have been lost with somebody else's reading it.
        let is_lost = self.workers[n].disk.get(object).is_none();
        if is_lost || self.rng.chance(self.plan.disk_trouble, 200) {
            probe!("disk lost an object");
            self.workers[n].disk.written.remove(&object);
            return Event::ObjectsDamaged { objects: vec![object] };
        }
        if self.rng.chance(self.plan.disk_trouble, 50) {
            probe!("no memory for an object on disk");
            return Event::RestoreFailed { object };
        }
        probe!("object back from disk");
        let mut value = self.workers[n].disk.written[&object].clone();
        if self.plan.canary == Canary::RottenDisk
            && let Some(maker) = script::makers(&value).first().copied()
            && self.ledger.strike_canary()
        {
            value = script::value(&format!("{}x", script::text(&value)), maker, 0);
        }
        self.workers[n].store.insert(object, value);
        Event::ObjectRestored { object }
    }

    /// What is on disk needs no memory any more.
    pub(super) fn evict(&mut self, n: usize, object: ObjectId) {
        let host = &mut self.workers[n];
        assert!(host.disk.written.contains_key(&object), "worker {n} forgets {object}, which is nowhere else");
        assert!(host.store.remove(&object).is_some(), "worker {n} forgets {object}, which takes no memory");
        probe!("object on disk alone");
    }
}
