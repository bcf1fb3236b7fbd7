//! Objects: what this machine's store holds, what is on its way there, and which attempts wait for it.
//!
//! An attempt is kept out of executors' hands until its inputs are here. What several attempts need comes once. The
//! coordinator says from whom, and when an object may go. A large result becomes an object when its attempt is over; what
//! parts of an attempt come to has no name and is none.

use super::attempt::{Handle, Place};
use super::{Action, Brain, Config};
use crate::id::{AttemptId, ObjectId, WorkerId};
use crate::outcome::{Ending, Outcome, Unfetched};
use crate::spec::Start;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// An object that is here, or is wanted here.
#[derive(Debug)]
struct Object {
    stage: Stage,
    /// What it takes of the store, if it was made here.
    bytes: u64,
    /// Attempts that wait for it, each as often as it names it, and parts of attempts.
    waiters: Vec<Handle>,
}

impl Object {
    /// One of which nothing is known but its name.
    const WANTED: Self = Self { stage: Stage::Wanted, bytes: 0, waiters: Vec::new() };
}

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has said yet where it is to be had.
    Wanted,
    /// It is being fetched, or put into the store.
    Coming,
    Here,
}

/// All objects of which this worker knows.
#[derive(Debug, Default)]
pub(super) struct Objects {
    known: BTreeMap<ObjectId, Object>,
    /// Bytes in the store that were made here.
    made_bytes: u64,
    /// What the store is to take.
    made: Vec<(ObjectId, Value)>,
    /// What the store need not keep any more.
    dropped: Vec<ObjectId>,
}

impl Objects {
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

    /// Takes a value that was made here, and returns the reference to it. A name that is known already is another's: it
    /// stays as it is.
    fn store(&mut self, object: ObjectId, value: Value) -> Value {
        if self.known.contains_key(&object) {
            return value;
        }
        let (told, bytes) = (value.referred_to_as(object), value.carried());
        self.known.insert(object, Object { stage: Stage::Here, bytes, waiters: Vec::new() });
        self.made_bytes += bytes;
        self.made.push((object, value));
        told
    }

    /// Nobody wants these any more.
    pub(super) fn drop(&mut self, objects: &[ObjectId]) {
        for object in objects {
            let Some(known) = self.known.get_mut(object) else { continue };
            if known.stage != Stage::Wanted {
                self.dropped.push(*object);
            }
            known.stage = Stage::Wanted;
            self.made_bytes -= core::mem::take(&mut known.bytes);
            if known.waiters.is_empty() {
                self.known.remove(object);
            }
        }
    }

    /// An attempt is gone: it waits for nothing any more.
    pub(super) fn let_go(&mut self, handle: Handle, start: &Start) {
        for stored in start.inputs.iter().filter_map(Outcome::stored) {
            let Some(known) = self.known.get_mut(&stored.object) else { continue };
            known.waiters.retain(|waiter| *waiter != handle);
            if known.stage == Stage::Wanted && known.waiters.is_empty() {
                self.known.remove(&stored.object);
            }
        }
    }

    /// The link is gone: nothing here will be asked for again.
    pub(super) fn clear(&mut self, actions: &mut Vec<Action>) {
        let known = core::mem::take(&mut self.known);
        self.made_bytes = 0;
        let stored = known.into_iter().filter(|(_, known)| known.stage != Stage::Wanted);
        self.dropped.extend(stored.map(|(object, _)| object));
        self.flush(actions);
    }

    pub(super) fn flush(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.made.drain(..).map(|(object, value)| Action::Store { object, value }));
        if !self.dropped.is_empty() {
            actions.push(Action::Drop { objects: core::mem::take(&mut self.dropped) });
        }
    }
}

impl Brain {
    /// What the coordinator is told of how an attempt ended. A large value stays here under the attempt's name, if there is
    /// room.
    pub(super) fn store_value(&mut self, attempt: AttemptId, ending: Ending) -> Ending {
        let Config { store_above, store_bytes, .. } = self.config;
        let room = store_bytes.saturating_sub(self.objects.made_bytes);
        match ending {
            Ending::Returned(value) if value.carried() > store_above && value.carried() <= room => {
                Ending::Returned(self.objects.store(ObjectId(attempt), value))
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
        let missing = self.await_objects(handle, 0);
        if missing > 0 {
            self.attempts.get_mut(handle).place = Place::Awaiting { missing };
        }
        missing == 0
    }

    pub(super) fn on_fetch_ordered(&mut self, object: ObjectId, from: WorkerId, actions: &mut Vec<Action>) {
        self.bring(object, Action::Fetch { object, from }, actions);
    }

    pub(super) fn on_object_given(&mut self, object: ObjectId, value: Value, actions: &mut Vec<Action>) {
        self.reports.take(value.carried());
        self.bring(object, Action::Keep { object, value }, actions);
    }

    /// Has an object brought here by `action`, unless it is here or on its way.
    fn bring(&mut self, object: ObjectId, action: Action, actions: &mut Vec<Action>) {
        let known = self.objects.known.entry(object).or_insert(Object::WANTED);
        match known.stage {
            Stage::Wanted => {
                known.stage = Stage::Coming;
                actions.push(action);
            }
            Stage::Coming => {}
            Stage::Here => self.reports.push_held(object),
        }
    }

    /// An object has come: whoever waited for it may go on.
    pub(super) fn on_object_arrived(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        let Some(known) = self.objects.known.get_mut(&object).filter(|known| known.stage == Stage::Coming) else {
            return;
        };
        known.stage = Stage::Here;
        let waiters = core::mem::take(&mut known.waiters);
        self.reports.push_held(object);
        for handle in waiters {
            match &mut self.attempts.get_mut(handle).place {
                Place::Awaiting { missing: 1 } => self.queue.push(&mut self.attempts, handle),
                Place::Awaiting { missing } => *missing -= 1,
                Place::Queued(_) | Place::Split => unreachable!("what is queued, or waits as parts, waits for nothing"),
                Place::Given { .. } => self.pass_inputs(handle, actions),
            }
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
        self.reports.push_unfetched(object, reason);
    }

    /// What was here is not any more. Attempts that have not begun wait for it again.
    pub(super) fn on_objects_damaged(&mut self, objects: &[ObjectId]) {
        let lost: Vec<ObjectId> = objects.iter().copied().filter(|object| self.objects.is_here(*object)).collect();
        for object in &lost {
            let known = self.objects.known.remove(object);
            self.objects.made_bytes -= known.map_or(0, |known| known.bytes);
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
            let of_lost = attempt.start.inputs[from..].iter().filter_map(Outcome::stored).map(|stored| stored.object);
            let of_lost: Vec<ObjectId> = of_lost.filter(|object| lost.contains(object)).collect();
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
            for object in of_lost {
                self.objects.known.entry(object).or_insert(Object::WANTED).waiters.push(handle);
            }
        }
        self.reports.push_lost(lost);
    }

    pub(super) fn on_show_requested(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        if self.objects.is_here(object) {
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
        self.reports.push_shown(object, value);
    }

    pub(super) fn check_objects(&self) {
        assert!(self.objects.made.is_empty() && self.objects.dropped.is_empty(), "what comes and goes is told");
        let bytes: u64 = self.objects.known.values().map(|known| known.bytes).sum();
        assert_eq!(bytes, self.objects.made_bytes, "what the store has is counted");
        assert!(bytes <= self.config.store_bytes, "the store takes no more than it may");
        for (object, known) in &self.objects.known {
            assert!(known.stage != Stage::Here || known.waiters.is_empty(), "nobody waits for what is here");
            assert!(known.stage != Stage::Wanted || !known.waiters.is_empty(), "what is wanted is waited for");
            for waiter in &known.waiters {
                let names = self.attempts.get(*waiter).start.inputs.iter().filter_map(Outcome::stored);
                assert!(names.filter(|stored| stored.object == *object).count() > 0, "who waits needs it");
            }
        }
        for (_, attempt) in self.attempts.iter() {
            let lacking = attempt.start.inputs.iter().filter(|input| !self.objects.has(input)).count();
            match attempt.place {
                Place::Awaiting { missing } => assert!(missing == lacking && missing > 0, "what is missing is counted"),
                Place::Queued(_) => assert_eq!(lacking, 0, "what is queued has its inputs"),
                Place::Split => {}
                Place::Given { .. } => assert!(attempt.passed <= attempt.start.inputs.len(), "what is there is passed"),
            }
        }
    }
}
