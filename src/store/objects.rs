//! Objects: values that stay on the machine where they were made or fetched, under the names of the attempts that made them.
//!
//! What of an object is large lies in sealed memory ([`blob`](super::blob)): executors get it by descriptor, and whoever
//! shares the store maps it. What takes an object out of the store takes it from nobody who has it.
//!
//! What this must never do: decide what is kept, or for how long.

use super::blob::Store;
use bytes::Bytes;
use plait_core::id::ObjectId;
use plait_core::limits::PASSED_BYTES;
use plait_core::outcome::Outcome;
use plait_core::value::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The objects of one worker.
#[derive(Debug)]
pub struct Objects {
    blobs: Arc<Store>,
    here: Mutex<BTreeMap<ObjectId, Value>>,
}

impl Objects {
    /// None yet; what is large will lie in `blobs`.
    #[must_use]
    pub fn new(blobs: Arc<Store>) -> Self {
        Self { blobs, here: Mutex::default() }
    }

    /// Where what is large lies.
    #[must_use]
    pub const fn blobs(&self) -> &Arc<Store> {
        &self.blobs
    }

    /// Takes a value: one that was made here, or is [sealed](Self::seal).
    pub fn store(&self, object: ObjectId, value: Value) {
        self.lock().insert(object, value);
    }

    /// Copies what is large of a value that came as bytes, once, so that it can be passed on without a copy. If there is no
    /// memory for that, it stays as it came.
    #[must_use]
    pub fn seal(&self, value: Value) -> Value {
        let segments = value.into_segments().into_iter().map(|segment| self.sealed(segment));
        Value::from_segments(segments.collect())
    }

    /// Whether a value is here.
    #[must_use]
    pub fn has(&self, object: ObjectId) -> bool {
        self.lock().contains_key(&object)
    }

    /// A value, if it is here.
    #[must_use]
    pub fn read(&self, object: ObjectId) -> Option<Value> {
        self.lock().get(&object).cloned()
    }

    /// What an executor gets in the place of an input: the bytes of what lies here.
    #[must_use]
    pub fn resolve(&self, input: Outcome) -> Outcome {
        match input.stored() {
            Some(stored) => Outcome::Value(self.read(stored.object).expect("an input is given once it is here")),
            None => input,
        }
    }

    /// Nobody needs these here.
    pub fn forget(&self, objects: &[ObjectId]) {
        let mut here = self.lock();
        let dropped: Vec<Value> = objects.iter().filter_map(|object| here.remove(object)).collect();
        drop(here);
        // To unmap what is large takes a while.
        drop(dropped);
    }

    fn sealed(&self, segment: Bytes) -> Bytes {
        if segment.len() < PASSED_BYTES || self.blobs.has(&segment) {
            return segment;
        }
        let written = self.blobs.write(&[&segment]).ok().and_then(|mut written| written.pop());
        written.unwrap_or(segment)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectId, Value>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plait_core::id::{Attempt, AttemptId, Seq, SessionId, TaskId};

    fn object(seq: u64) -> ObjectId {
        ObjectId(AttemptId { task: TaskId::new(SessionId(0), Seq(seq)), attempt: Attempt(1) })
    }

    #[test]
    fn what_comes_as_bytes_is_copied_once_and_then_passed_on() {
        let objects = Objects::new(Store::new());
        let whole = Value::from_segments(vec![Bytes::from_static(b"stream"), Bytes::from(vec![7; PASSED_BYTES])]);
        objects.store(object(1), objects.seal(whole.clone()));
        assert_eq!(objects.blobs().mapped_bytes(), PASSED_BYTES);
        let read = objects.read(object(1)).expect("it is kept");
        assert_eq!(read, whole);
        objects.store(object(2), objects.seal(read.clone()));
        assert_eq!(objects.blobs().mapped_bytes(), PASSED_BYTES, "what lies there already is not copied");
        let input = objects.resolve(Outcome::Value(whole.referred_to_as(object(2))));
        assert_eq!((input.value(), objects.resolve(Outcome::Skipped)), (Some(&whole), Outcome::Skipped));
        objects.forget(&[object(1), object(2), object(3)]);
        assert_eq!((objects.read(object(1)), read), (None, whole), "who has it keeps it");
        drop(input);
        assert_eq!(objects.blobs().mapped_bytes(), 0);
    }
}
