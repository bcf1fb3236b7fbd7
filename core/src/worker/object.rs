//! Objects: what this machine's store holds, what is on its way there, and which attempts wait for it.
//!
//! An attempt is kept out of executors' hands until its inputs are here. What several attempts need comes once. The
//! coordinator says from whom, and when an object may go. A large result becomes an object when its attempt is over; what
//! parts of an attempt come to has no name and is none. Whether an object lies in memory or on disk is for `memory` to say.

use super::attempt::{Handle, Place};
use super::fetch::Orders;
use super::memory::Memory;
use super::{Action, Brain, Config};
use crate::id::{AttemptId, ObjectId, WorkerId};
use crate::outcome::{Ending, Outcome, Unfetched};
use crate::peer::Peer;
use crate::spec::Start;
use crate::time::Time;
use crate::value::Value;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// An object that is here, or is wanted here.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) stage: Stage,
    /// What it takes, in bytes; nothing as long as nobody has said so.
    pub(super) bytes: u64,
    /// Attempts that wait for it, each as often as it names it, and parts of attempts.
    pub(super) waiters: Vec<Handle>,
}

impl Object {
    /// One of which nothing is known but its name.
    const WANTED: Self = Self { stage: Stage::Wanted, bytes: 0, waiters: Vec::new() };
}

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has said yet where it is to be had.
    Wanted,
    /// It will be fetched once there is room for it.
    Ordered,
    /// It is being fetched, or put into the store.
    Coming,
    Here,
    /// This worker has it, on disk.
    Away,
}

impl Stage {
    /// Whether it is in the store.
    const fn is_held(self) -> bool {
        matches!(self, Self::Here | Self::Away)
    }

    /// Whether it is in the store, or on its way there.
    const fn takes_store(self) -> bool {
        matches!(self, Self::Coming | Self::Here | Self::Away)
    }
}

/// All objects of which this worker knows.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) known: BTreeMap<ObjectId, Object>,
    pub(super) orders: Orders,
    pub(super) memory: Memory,
    /// What the store is to take.
    made: Vec<(ObjectId, Value)>,
    /// What is to be shown once there is memory to read it into, as often as that was asked for.
    unread: Vec<ObjectId>,
}

impl Objects {
    /// None yet.
    pub(super) const fn new(memory: Memory) -> Self {
        Self { known: BTreeMap::new(), orders: Orders::new(), memory, made: Vec::new(), unread: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether an input can be given to an executor.
    pub(super) fn has(&self, input: &Outcome) -> bool {
        input.stored().is_none_or(|stored| self.is_here(stored.object))
    }

    fn is_here(&self, object: ObjectId) -> bool {
        self.known.get(&object).is_some_and(|known| known.stage == Stage::Here)
    }

    fn is_held(&self, object: ObjectId) -> bool {
        self.known.get(&object).is_some_and(|known| known.stage.is_held())
    }

    /// What an object takes that is here, or that is to come and that an attempt has named.
    pub(super) fn bytes(&self, object: ObjectId) -> u64 {
        self.known.get(&object).filter(|known| known.stage != Stage::Wanted).map_or(0, |known| known.bytes)
    }

    /// Whether this worker has all inputs of an attempt, in memory or on disk.
    pub(super) fn has_all(&self, start: &Start) -> bool {
        start.inputs.iter().filter_map(Outcome::stored).all(|stored| self.is_held(stored.object))
    }

    /// Takes a value that was made here, and returns the reference to it. A name that is known already is another's: it
    /// stays as it is.
    fn store(&mut self, object: ObjectId, value: Value) -> Value {
        if self.known.contains_key(&object) {
            return value;
        }
        let (told, bytes) = (value.referred_to_as(object), value.carried());
        self.known.insert(object, Object { stage: Stage::Here, bytes, waiters: Vec::new() });
        self.memory.insert(object, bytes);
        self.made.push((object, value));
        told
    }

    /// Nobody wants these any more. Each goes after what was made before, and before what comes later by its name.
    pub(super) fn drop(&mut self, objects: &[ObjectId], actions: &mut Vec<Action>) {
        self.flush(actions);
        let mut dropped = Vec::new();
        for object in objects {
            let Some(known) = self.known.get_mut(object) else { continue };
            if known.stage.takes_store() {
                dropped.push(*object);
            }
            known.stage = Stage::Wanted;
            self.orders.remove(*object);
            self.memory.remove(*object);
            if known.waiters.is_empty() {
                self.known.remove(object);
            }
        }
        take_out(dropped, actions);
    }

    /// An attempt is gone: it waits for nothing any more, and has used what it had.
    pub(super) fn let_go(&mut self, handle: Handle, start: &Start) {
        for stored in start.inputs.iter().filter_map(Outcome::stored) {
            self.memory.touch(stored.object);
            let Some(known) = self.known.get_mut(&stored.object) else { continue };
            known.waiters.retain(|waiter| *waiter != handle);
            if known.stage == Stage::Wanted && known.waiters.is_empty() {
                self.known.remove(&stored.object);
            }
        }
    }

    /// The link is gone: nothing here will be asked for again.
    pub(super) fn clear(&mut self, actions: &mut Vec<Action>) {
        self.flush(actions);
        let known = core::mem::take(&mut self.known);
        self.orders = Orders::new();
        self.memory.clear();
        self.unread.clear();
        let stored = known.into_iter().filter(|(_, known)| known.stage.takes_store());
        take_out(stored.map(|(object, _)| object).collect(), actions);
    }

    pub(super) fn flush(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.made.drain(..).map(|(object, value)| Action::Store { object, value }));
    }
}

/// The store need not keep these any more.
fn take_out(objects: Vec<ObjectId>, actions: &mut Vec<Action>) {
    if !objects.is_empty() {
        actions.push(Action::Drop { objects });
    }
}

impl Brain {
    /// What the coordinator is told of how an attempt ended. A large value stays here under the attempt's name; without room
    /// for it the attempt has failed.
    pub(super) fn store_value(&mut self, attempt: AttemptId, ending: Ending) -> Ending {
        let Config { store_above, .. } = self.config;
        match ending {
            Ending::Returned(value) if value.carried() > store_above => {
                match self.objects.memory.lack(value.carried(), &self.config.spill_dir) {
                    Some(lack) => Ending::NoSpace(Box::new(lack)),
                    None => Ending::Returned(self.objects.store(ObjectId(attempt), value)),
                }
            }
            other => other,
        }
    }

    /// Has an attempt wait for what is not here of its inputs from the n-th on. How many that are.
    pub(super) fn await_objects(&mut self, handle: Handle, from: usize) -> usize {
        let start = &self.attempts.get(handle).start;
        let mut missing = 0;
        for stored in start.inputs[from..].iter().filter_map(Outcome::stored) {
            let known = self.objects.known.entry(stored.object).or_insert(Object::WANTED);
            if !known.stage.takes_store() {
                known.bytes = stored.len();
            }
            if known.stage != Stage::Here {
                known.waiters.push(handle);
                missing += 1;
            }
        }
        missing
    }

    /// Whether all inputs that an attempt in no place has are here; if not, it waits for them.
    pub(super) fn is_whole(&mut self, handle: Handle) -> bool {
        self.objects.let_go(handle, &self.attempts.get(handle).start);
        let missing = self.await_objects(handle, 0) + self.attempts.get(handle).start.promised.len();
        if missing > 0 {
            self.attempts.get_mut(handle).place = Place::Awaiting { missing };
        }
        missing == 0
    }

    /// The coordinator says who has an object: it is fetched at the end of this step, or later.
    pub(super) fn on_fetch_ordered(&mut self, object: ObjectId, from: WorkerId, at: Peer) {
        let known = self.objects.known.entry(object).or_insert(Object::WANTED);
        match known.stage {
            Stage::Wanted => {
                known.stage = Stage::Ordered;
                self.objects.orders.insert(object, from, at);
            }
            Stage::Ordered | Stage::Coming => {}
            Stage::Here | Stage::Away => self.reports.push_held(object),
        }
    }

    /// The coordinator sends an object itself. It takes memory already, so there is nothing to wait for.
    pub(super) fn on_object_given(&mut self, object: ObjectId, value: Value, actions: &mut Vec<Action>) {
        self.reports.take(value.carried());
        let known = self.objects.known.entry(object).or_insert(Object::WANTED);
        match known.stage {
            Stage::Wanted | Stage::Ordered => {
                (known.stage, known.bytes) = (Stage::Coming, value.carried());
                self.objects.orders.remove(object);
                self.objects.memory.reserve(object, value.carried());
                actions.push(Action::Keep { object, value });
            }
            Stage::Coming => {}
            Stage::Here | Stage::Away => self.reports.push_held(object),
        }
    }

    /// An object has come: whoever waited for it may go on.
    pub(super) fn on_object_arrived(&mut self, object: ObjectId, bytes: u64, actions: &mut Vec<Action>) {
        let Some(known) = self.objects.known.get_mut(&object).filter(|known| known.stage == Stage::Coming) else {
            return;
        };
        (known.stage, known.bytes) = (Stage::Here, bytes);
        self.objects.memory.arrived(object, bytes);
        self.reports.push_held(object);
        self.serve_waiters(object, actions);
    }

    /// An object is back from disk.
    pub(super) fn on_object_restored(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        if !self.objects.memory.restored(object) {
            return;
        }
        let known = self.objects.known.get_mut(&object).expect("what takes memory is known");
        known.stage = Stage::Here;
        self.serve_waiters(object, actions);
    }

    /// There was no memory for an object that was to come back.
    pub(super) fn on_restore_failed(&mut self, now: Time, object: ObjectId, actions: &mut Vec<Action>) {
        if self.objects.memory.not_restored(object) && self.objects.memory.refused(now) {
            self.give_up(object, actions);
        }
    }

    /// An object is on disk, and there is never memory for it.
    fn give_up(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        take_out(vec![object], actions);
        self.on_objects_damaged(&[object]);
    }

    fn serve_waiters(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        let known = self.objects.known.get_mut(&object).expect("whoever calls has seen to it");
        for handle in core::mem::take(&mut known.waiters) {
            match self.attempts.get(handle).place {
                Place::Awaiting { .. } => self.miss_one_less(handle),
                Place::Queued(_) | Place::Split => unreachable!("what is queued, or waits as parts, waits for nothing"),
                Place::Given { .. } => self.pass_inputs(handle, actions),
            }
        }
    }

    /// One input less that an attempt waits for.
    pub(super) fn miss_one_less(&mut self, handle: Handle) {
        match &mut self.attempts.get_mut(handle).place {
            Place::Awaiting { missing: 1 } => self.queue.push(&mut self.attempts, handle),
            Place::Awaiting { missing } => *missing -= 1,
            Place::Queued(_) | Place::Split | Place::Given { .. } => unreachable!("it waits for its inputs"),
        }
    }

    pub(super) fn on_fetch_failed(&mut self, object: ObjectId, reason: Unfetched) {
        let Some(known) = self.objects.known.get_mut(&object).filter(|known| known.stage == Stage::Coming) else {
            return;
        };
        known.stage = Stage::Wanted;
        if known.waiters.is_empty() {
            self.objects.known.remove(&object);
        }
        self.objects.memory.remove(object);
        self.reports.push_unfetched(object, reason);
    }

    /// What was here is not any more. Attempts that have not begun wait for it again.
    pub(super) fn on_objects_damaged(&mut self, objects: &[ObjectId]) {
        let lost: Vec<ObjectId> = objects.iter().copied().filter(|object| self.objects.is_held(*object)).collect();
        let were_here: BTreeSet<ObjectId> =
            lost.iter().copied().filter(|object| self.objects.is_here(*object)).collect();
        for object in &lost {
            let known = self.objects.known.get_mut(object).expect("it was held");
            known.stage = Stage::Wanted;
            if known.waiters.is_empty() {
                self.objects.known.remove(object);
            }
            self.objects.memory.remove(*object);
        }
        self.await_objects_again(&were_here);
        self.reports.push_lost(lost);
    }

    /// These have just gone to disk alone.
    pub(super) fn await_again(&mut self, evicted: &BTreeSet<ObjectId>) {
        for object in evicted {
            self.objects.known.get_mut(object).expect("what takes memory is known").stage = Stage::Away;
        }
        self.await_objects_again(evicted);
    }

    /// What has not begun waits for these, which were here and are no more.
    fn await_objects_again(&mut self, lost: &BTreeSet<ObjectId>) {
        if lost.is_empty() {
            return;
        }
        let needs = |start: &Start| start.inputs.iter().filter_map(Outcome::stored).any(|s| lost.contains(&s.object));
        let hit: Vec<Handle> =
            self.attempts.iter().filter(|(_, attempt)| needs(&attempt.start)).map(|(handle, _)| handle).collect();
        for handle in hit {
            let attempt = self.attempts.get(handle);
            let from = match attempt.place {
                // What was passed its executor has.
                Place::Given { .. } => attempt.passed,
                // Its parts wait.
                Place::Split => continue,
                Place::Queued(_) | Place::Awaiting { .. } => 0,
            };
            let of_lost = attempt.start.inputs[from..].iter().filter_map(Outcome::stored);
            let of_lost = of_lost.filter(|stored| lost.contains(&stored.object));
            let of_lost: Vec<(ObjectId, u64)> = of_lost.map(|stored| (stored.object, stored.len())).collect();
            match attempt.place {
                Place::Given { .. } | Place::Split => {}
                Place::Queued(_) => {
                    self.queue.remove(&mut self.attempts, handle);
                    self.attempts.get_mut(handle).place = Place::Awaiting { missing: of_lost.len() };
                }
                Place::Awaiting { missing } => {
                    self.attempts.get_mut(handle).place = Place::Awaiting { missing: missing + of_lost.len() };
                }
            }
            for (object, bytes) in of_lost {
                let wanted = Object { bytes, ..Object::WANTED };
                self.objects.known.entry(object).or_insert(wanted).waiters.push(handle);
            }
        }
    }

    pub(super) fn on_show_requested(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        if self.objects.is_held(object) {
            actions.push(Action::Read { object });
        } else {
            self.reports.push_shown(object, None);
        }
    }

    pub(super) fn on_object_read(&mut self, object: ObjectId, value: Option<Value>) {
        if !self.linked {
            return;
        }
        if value.is_none() {
            self.on_objects_damaged(&[object]);
        }
        self.objects.memory.granted();
        self.reports.push_shown(object, value);
    }

    /// There was no memory for an object that was to be shown.
    pub(super) fn on_read_failed(&mut self, now: Time, object: ObjectId, actions: &mut Vec<Action>) {
        if self.objects.is_held(object) && self.objects.memory.refused(now) {
            self.give_up(object, actions);
        }
        self.objects.unread.push(object);
    }

    /// Has objects read for which there was no memory, if it may be tried again.
    pub(super) fn read_again(&mut self, actions: &mut Vec<Action>) {
        if !self.objects.memory.is_scarce() {
            for object in core::mem::take(&mut self.objects.unread) {
                self.on_show_requested(object, actions);
            }
        }
    }

    pub(super) fn check_objects(&self) {
        assert!(self.objects.made.is_empty(), "what was made is told");
        let stored = self.objects.known.values().filter(|known| known.stage.takes_store()).count();
        assert_eq!(stored, self.objects.memory.len(), "what is held or coming is counted");
        for (object, known) in &self.objects.known {
            assert_eq!(known.stage == Stage::Coming, self.objects.memory.is_coming(*object), "what comes takes memory");
            assert_eq!(known.stage == Stage::Ordered, self.objects.orders.has(*object), "what is ordered is listed");
            assert_eq!(known.stage == Stage::Away, self.objects.memory.is_away(*object), "what is away is on disk");
            assert!(known.stage != Stage::Here || known.waiters.is_empty(), "nobody waits for what is here");
            assert!(known.stage != Stage::Wanted || !known.waiters.is_empty(), "what is wanted is waited for");
            for waiter in &known.waiters {
                let names = self.attempts.get(*waiter).start.inputs.iter().filter_map(Outcome::stored);
                assert!(names.filter(|stored| stored.object == *object).count() > 0, "who waits needs it");
            }
        }
        for (_, attempt) in self.attempts.iter() {
            let lacking = attempt.start.inputs.iter().filter(|input| !self.objects.has(input)).count();
            let lacking = lacking + attempt.start.promised.len();
            match attempt.place {
                Place::Awaiting { missing } => assert!(missing == lacking && missing > 0, "what is missing is counted"),
                Place::Queued(_) => assert_eq!(lacking, 0, "what is queued has its inputs"),
                Place::Split => {}
                Place::Given { .. } => assert!(attempt.passed <= attempt.start.inputs.len(), "what is there is passed"),
            }
        }
    }
}
