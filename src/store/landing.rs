//! Memory for large segments that come over a network: on large pages, written once and seen by Python where they are.
//!
//! A segment is put together in memory of its own, which takes a fault for every 2 MiB where the kernel has large pages, and
//! for every 4 KiB otherwise. What is small, or has no place among the mappings of the store, is put together on the heap.

use super::blob::Store;
use super::shm::Snapshot;
use bytes::Bytes;
use plait_core::landing::{Ground, Landing};
use std::sync::Arc;

/// From so many bytes on memory of its own is worth two calls of the system.
const MAPPED_FROM: usize = 4 << 20;

/// Where a link puts large segments together: in `store`.
#[must_use]
pub fn ground(store: Arc<Store>) -> Arc<dyn Ground> {
    Arc::new(Mapped(store))
}

#[derive(Debug)]
struct Mapped(Arc<Store>);

impl Ground for Mapped {
    fn landing(&self, bytes: usize) -> Option<Box<dyn Landing>> {
        let memory = if bytes < MAPPED_FROM { None } else { self.0.blank_memory(bytes) }?;
        Some(Box::new(Place { store: Arc::clone(&self.0), memory, filled: 0 }))
    }
}

/// A segment of which not all has come.
#[derive(Debug)]
struct Place {
    store: Arc<Store>,
    memory: Snapshot,
    filled: usize,
}

impl Landing for Place {
    fn space(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[self.filled..]
    }

    fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    fn held(&self) -> usize {
        self.filled
    }

    fn finish(self: Box<Self>) -> Bytes {
        debug_assert_eq!(self.filled, self.memory.len(), "nothing is missing");
        let Self { store, memory, .. } = *self;
        store.own(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::Objects;
    use super::*;
    use plait_core::value::Value;

    const LENGTH: usize = MAPPED_FROM + 12_345;

    /// Writes bytes in steps, as a link does.
    fn land(ground: &dyn Ground, bytes: &[u8]) -> Bytes {
        let mut landing = ground.landing(bytes.len()).expect("there is memory");
        for piece in bytes.chunks(1_000_003) {
            landing.space()[..piece.len()].copy_from_slice(piece);
            landing.advance(piece.len());
        }
        assert_eq!(landing.held(), bytes.len());
        landing.finish()
    }

    #[test]
    fn what_has_landed_is_whose_it_is_alone_without_a_copy() {
        let store = Store::new();
        let ground = ground(Arc::clone(&store));
        let sent: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
        let segment = land(&*ground, &sent);
        assert_eq!((&segment, store.mapped_bytes()), (&Bytes::from(sent.clone()), LENGTH));
        let (at, other) = (segment.as_ptr(), segment.clone());
        let shared = store.take(segment).expect_err("somebody else holds it too");
        drop(other);
        let mut own = store.take(shared).expect("nobody else does");
        assert_eq!((own.start(), own.bytes()), (at, &sent[..]));
        own.bytes_mut().fill(0);
        drop(own);
        assert_eq!((store.mapped_bytes(), store.descriptors()), (0, 0));
    }

    #[test]
    fn what_is_to_be_passed_on_is_copied_once() {
        let objects = Objects::new(Store::new());
        let segment = land(&*ground(Arc::clone(objects.blobs())), &vec![5; LENGTH]);
        let sealed = objects.seal(segment.clone().into());
        assert_eq!((&sealed, objects.blobs().descriptors()), (&Value::from(segment.clone()), 1));
        drop(segment);
        assert_eq!(objects.seal(sealed.clone()).shared()[0].as_ptr(), sealed.shared()[0].as_ptr());
        assert_eq!(objects.blobs().mapped_bytes(), LENGTH, "what it was copied from is gone");
    }

    #[test]
    fn what_is_small_or_larger_than_any_memory_lands_elsewhere() {
        let ground = ground(Store::new());
        assert!(ground.landing(MAPPED_FROM - 1).is_none() && ground.landing(usize::MAX / 2).is_none());
    }

    #[test]
    fn what_never_comes_takes_no_memory() {
        let store = Store::new();
        let landing = ground(Arc::clone(&store)).landing(1 << 40);
        assert!(landing.is_none_or(|landing| landing.held() == 0), "addresses alone, if the system has so many");
        assert_eq!(store.mapped_bytes(), 0);
    }
}
