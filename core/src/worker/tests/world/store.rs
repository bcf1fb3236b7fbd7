//! Objects in the small world: in memory, on disk, and on their way.

use super::super::rig::peer;
use super::World;
use crate::id::{Attempt, AttemptId, ObjectId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Outcome, Unfetched};
use crate::value::{Stored, Value};
use crate::worker::Event;
use bytes::Bytes;
use std::collections::BTreeSet;

impl World {
    /// An object, wherever it lies.
    pub(super) fn held(&self, object: ObjectId) -> Option<&Value> {
        self.store.get(&object).or_else(|| self.disk.get(&object))
    }

    /// It is nowhere any more. False if it never was.
    pub(super) fn forget(&mut self, object: ObjectId) -> bool {
        self.writing.remove(&object);
        self.reading.remove(&object);
        let (memory, disk) = (self.store.remove(&object), self.disk.remove(&object));
        memory.is_some() || disk.is_some()
    }

    /// An input that is here, or with another worker.
    pub(super) fn input(&mut self) -> Outcome {
        if self.rng.chance(1, 3) {
            return Outcome::Skipped;
        }
        let task = TaskId::new(SessionId(9_000), Seq(1_000_000 + self.rng.below(6)));
        let object = ObjectId(AttemptId { task, attempt: Attempt(1) });
        self.named.insert(object);
        Outcome::Value(Stored { object, lengths: [5].into() }.into())
    }

    /// The coordinator says where an object is, or sends it.
    pub(super) fn order(&mut self) {
        let at = self.rng.below(self.named.len().max(1) as u64) as usize;
        let Some(object) = self.named.iter().nth(at).copied() else { return };
        let event = if self.rng.chance(1, 4) {
            Event::ObjectGiven { object, value: Value::from(Bytes::from_static(b"bytes")) }
        } else {
            Event::FetchOrdered { object, from: WorkerId(7), at: peer() }
        };
        self.send(event);
    }

    /// An object comes, or does not.
    pub(super) fn transfer(&mut self) {
        let at = self.rng.below(self.coming.len().max(1) as u64) as usize;
        let Some(object) = self.coming.iter().nth(at).copied() else { return };
        self.coming.remove(&object);
        self.events.push_back(if self.rng.chance(1, 4) {
            Event::FetchFailed { object, reason: Unfetched::Unreachable }
        } else {
            self.store.insert(object, Value::from(Bytes::from_static(b"bytes")));
            Event::ObjectArrived { object, bytes: 5 }
        });
    }

    /// The disk does the next thing, or fails.
    pub(super) fn turn_disk(&mut self) {
        if let Some(object) = self.writing.pop_first() {
            self.events.push_back(if self.rng.chance(1, 6) {
                Event::SpillFailed { object, reason: "full".into() }
            } else {
                self.disk.insert(object, self.store[&object].clone());
                Event::ObjectSpilled { object }
            });
        }
        if let Some(object) = self.reading.pop_first() {
            if self.rng.chance(1, 6) {
                return self.damage(object);
            }
            self.events.push_back(if self.rng.chance(1, 6) {
                Event::RestoreFailed { object }
            } else {
                self.store.insert(object, self.disk[&object].clone());
                Event::ObjectRestored { object }
            });
        }
    }

    pub(super) fn damage_some(&mut self) {
        let coming: BTreeSet<_> = self.events.iter().filter_map(news_of).collect();
        let here: Vec<_> = self.store.keys().filter(|object| !coming.contains(object)).copied().collect();
        let Some(object) = here.get(self.rng.below(here.len().max(1) as u64) as usize).copied() else { return };
        self.damage(object);
    }

    /// An object that is here can no longer be read. The worker hears of it before it does anything else.
    pub(super) fn damage(&mut self, object: ObjectId) {
        assert!(self.forget(object));
        let mut actions = Vec::new();
        self.brain.step(self.now, [Event::ObjectsDamaged { objects: vec![object] }], &mut actions);
        self.brain.check();
        actions.into_iter().for_each(|action| self.carry_out(action));
    }

    /// What was made here is wanted no more.
    pub(super) fn drop_made(&mut self) {
        let made = self.store.keys().chain(self.disk.keys()).filter(|object| !self.named.contains(object));
        let objects = made.copied().take(2).collect();
        self.events.push_back(Event::ObjectsDropped { objects });
    }
}

/// The object of which the store tells something that is no news once it is dropped.
pub(super) fn news_of(event: &Event) -> Option<ObjectId> {
    match event {
        Event::ObjectArrived { object, .. }
        | Event::ObjectSpilled { object }
        | Event::SpillFailed { object, .. }
        | Event::ObjectRestored { object }
        | Event::RestoreFailed { object } => Some(*object),
        _ => None,
    }
}
