//! Memory for large segments that come over a network: on large pages, written once and seen by Python where they are.
//!
//! At a worker, which hands them on, that is sealed memory. Elsewhere a segment is put together in memory of its own, which takes a fault for every 2 MiB where the kernel has large pages, and
//! for every 4 KiB otherwise. What nobody holds any more is kept for a moment: the next segment of about that size lands in it,
//! and no page need be cleared for it. What is small, or has no place among the mappings of the store, is put together on the heap.

use super::blob::{Open, Store};
use super::shm::{Mapping, Sheet, Snapshot};
use crate::clock::Clock;
use bytes::Bytes;
use plait_core::landing::{FIRST_BYTES, Ground, Heap, Landing};
use plait_core::limits;
use plait_core::time::Time;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory that is used again may be longer by this part of what is needed.
const SPARE_PART: usize = 8;
/// From so many bytes on memory of its own is worth two calls of the system.
const MAPPED_FROM: usize = 4 << 20;

/// Where a link puts large segments together that stay with this process: in `store`.
#[must_use]
pub fn ground(store: Arc<Store>) -> Arc<dyn Ground> {
    Arc::new(Mapped { store, pool: Arc::new(Pool::new(limits::LANDING_BYTES)) })
}

/// Where a link puts large segments together that are to be handed on: in `store`.
#[must_use]
pub fn sealed_ground(store: Arc<Store>) -> Arc<dyn Ground> {
    Arc::new(Sealed { store })
}

#[derive(Debug)]
struct Mapped {
    store: Arc<Store>,
    pool: Arc<Pool>,
}

impl Ground for Mapped {
    fn landing(&self, bytes: usize) -> Option<Box<dyn Landing>> {
        let memory = if bytes < MAPPED_FROM { None } else { self.store.blank_memory(bytes, &self.pool) }?;
        Some(Box::new(Place { store: Arc::clone(&self.store), memory, filled: 0 }))
    }

    fn rest(&self) {
        self.pool.rest(self.pool.clock.now());
    }
}

#[derive(Debug)]
struct Sealed {
    store: Arc<Store>,
}

impl Ground for Sealed {
    fn landing(&self, bytes: usize) -> Option<Box<dyn Landing>> {
        Some(Box::new(Sealing::begin(&self.store, bytes).ok()?))
    }
}

/// A segment of which not all has come, in memory that is to be sealed.
#[derive(Debug)]
struct Sealing {
    store: Arc<Store>,
    length: usize,
    place: Fill,
}

#[derive(Debug)]
enum Fill {
    Memory(Open, Sheet),
    /// There is no such memory left.
    Heap(Heap),
    /// There was no memory at all: what comes goes nowhere.
    Lost(Vec<u8>),
}

impl Sealing {
    fn begin(store: &Arc<Store>, length: usize) -> io::Result<Self> {
        let open = store.open()?;
        open.stretch(length)?;
        let sheet = Sheet::new(open.memory(), length);
        Ok(Self { store: Arc::clone(store), length, place: Fill::Memory(open, sheet) })
    }

    /// What has come goes to the heap, as will the rest.
    fn give_up(&mut self) {
        let Fill::Memory(open, sheet) = &self.place else { return };
        let mut heap = Heap::new(self.length);
        let Ok(there) = open.read(sheet.come() - sheet.waiting().len()) else {
            self.place = Fill::Lost(vec![0; FIRST_BYTES]);
            return;
        };
        for mut bytes in [&there[..], sheet.waiting()] {
            while !bytes.is_empty() {
                let space = heap.space();
                let (now, later) = bytes.split_at(bytes.len().min(space.len()));
                space[..now.len()].copy_from_slice(now);
                heap.advance(now.len());
                bytes = later;
            }
        }
        self.place = Fill::Heap(heap);
    }
}

impl Landing for Sealing {
    fn space(&mut self) -> &mut [u8] {
        if let Fill::Memory(open, sheet) = &mut self.place
            && sheet.make_space(open.memory()).is_err()
        {
            self.give_up();
        }
        match &mut self.place {
            Fill::Memory(_, sheet) => sheet.space(),
            Fill::Heap(heap) => heap.space(),
            Fill::Lost(nowhere) => nowhere,
        }
    }

    fn advance(&mut self, bytes: usize) {
        let failed = match &mut self.place {
            Fill::Memory(open, sheet) => sheet.advance(open.memory(), bytes).is_err(),
            Fill::Heap(heap) => {
                heap.advance(bytes);
                false
            }
            Fill::Lost(_) => false,
        };
        if failed {
            self.give_up();
        }
    }

    fn held(&self) -> usize {
        match &self.place {
            Fill::Memory(_, sheet) => sheet.come(),
            Fill::Heap(heap) => heap.held(),
            Fill::Lost(nowhere) => nowhere.len(),
        }
    }

    fn finish(self: Box<Self>) -> Bytes {
        match self.place {
            Fill::Memory(open, sheet) => {
                debug_assert_eq!(sheet.come(), self.length, "nothing is missing");
                // What somebody may still write to cannot be sealed.
                drop(sheet);
                self.store.close(open, self.length).unwrap_or_default()
            }
            Fill::Heap(heap) => Box::new(heap).finish(),
            // The message is not whole, and the link is lost.
            Fill::Lost(_) => Bytes::new(),
        }
    }
}

/// Memory that nobody holds, for what is to come.
#[derive(Debug)]
pub(super) struct Pool {
    kept: Mutex<Kept>,
    /// Most bytes that are kept.
    limit: usize,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    maps: VecDeque<Mapping>,
    bytes: usize,
    /// When something was last taken or kept.
    used: Time,
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self { kept: Mutex::default(), limit, clock: Clock::start() }
    }

    /// The smallest that has so many bytes, if it has few more: all of it stays taken.
    pub(super) fn take(&self, length: usize) -> Option<Mapping> {
        let mut kept = self.lock();
        let fits = kept
            .maps
            .iter()
            .enumerate()
            .filter(|(_, map)| (length..=length + length / SPARE_PART).contains(&map.len()));
        let (best, _) = fits.min_by_key(|(_, map)| map.len())?;
        let map = kept.maps.remove(best)?;
        kept.bytes -= map.len();
        kept.used = self.clock.now();
        Some(map)
    }

    /// Nobody holds this memory any more. What was kept before makes room for it.
    pub(super) fn keep(&self, map: Mapping) {
        // Never waits: in a forked child the lock may be held by a thread that is not there.
        let Ok(mut kept) = self.kept.try_lock() else { return };
        if map.len() > self.limit {
            return;
        }
        let mut gone = Vec::new();
        while kept.bytes + map.len() > self.limit {
            let Some(oldest) = kept.maps.pop_front() else { break };
            kept.bytes -= oldest.len();
            gone.push(oldest);
        }
        kept.bytes += map.len();
        kept.maps.push_back(map);
        kept.used = self.clock.now();
        drop(kept);
        drop(gone);
    }

    fn rest(&self, now: Time) {
        let mut kept = self.lock();
        if now >= kept.used + limits::LANDING_KEPT {
            let gone = std::mem::take(&mut kept.maps);
            kept.bytes = 0;
            drop(kept);
            drop(gone);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
    use rustix::fs::{SealFlags, fcntl_add_seals};

    const LENGTH: usize = MAPPED_FROM + 12_345;

    /// Writes bytes in steps, as a link does.
    fn fill(landing: &mut dyn Landing, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = landing.space();
            let (now, later) = bytes.split_at(bytes.len().min(space.len()).min(1_000_003));
            space[..now.len()].copy_from_slice(now);
            landing.advance(now.len());
            bytes = later;
        }
    }

    fn land(ground: &dyn Ground, bytes: &[u8]) -> Bytes {
        let mut landing = ground.landing(bytes.len()).expect("there is memory");
        fill(&mut *landing, bytes);
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
    fn the_next_segment_lands_where_one_lay_that_is_gone() {
        let store = Store::new();
        let pool = Arc::new(Pool::new(3 * LENGTH));
        let ground = Mapped { store: Arc::clone(&store), pool: Arc::clone(&pool) };
        let first = land(&ground, &vec![1; LENGTH]);
        let at = first.as_ptr();
        drop(first);
        let second = land(&ground, &vec![2; LENGTH - 1]);
        assert_eq!((second.as_ptr(), second.len()), (at, LENGTH - 1));
        assert!(second.iter().all(|byte| *byte == 2), "nothing of the first is seen");
        let third = land(&ground, &vec![3; MAPPED_FROM]);
        assert_ne!(third.as_ptr(), at, "somebody holds that");
        drop((second, third));
        let far_smaller = pool.take(LENGTH * 3 / 4);
        assert!(far_smaller.is_none() && pool.lock().bytes == LENGTH + MAPPED_FROM);
        pool.rest(pool.clock.now());
        assert!(pool.lock().bytes > 0, "it was used just now");
        pool.rest(pool.clock.now() + limits::LANDING_KEPT);
        assert!(pool.lock().bytes == 0 && pool.lock().maps.is_empty());
        drop((0..5).map(|_| land(&ground, &vec![4; LENGTH])).collect::<Vec<_>>());
        assert_eq!((pool.lock().maps.len(), store.mapped_bytes()), (3, 0), "no more than there may be");
        drop(land(&ground, &vec![5; 2 * LENGTH]));
        assert_eq!(pool.lock().bytes, 3 * LENGTH, "the oldest make room");
        let last = land(&ground, &vec![6; LENGTH]);
        drop((ground, pool));
        assert_eq!(last, vec![6; LENGTH], "where nothing lands any more, nothing is kept");
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
    fn what_lands_sealed_is_handed_on_without_a_copy() {
        let objects = Objects::new(Store::new());
        let store = objects.blobs();
        for length in [300_000, LENGTH, 20 << 20] {
            let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let segment = land(&*sealed_ground(Arc::clone(store)), &sent);
            assert!(segment == sent && store.memory_behind(&segment).is_some(), "{length} bytes");
            let sealed = objects.seal(segment.clone().into());
            assert_eq!(sealed.shared()[0].as_ptr(), segment.as_ptr());
        }
        assert_eq!((store.mapped_bytes(), store.descriptors()), (0, 0));
        let poor = Store::with_limit(0);
        assert!(sealed_ground(Arc::clone(&poor)).landing(LENGTH).is_none() && poor.descriptors() == 0);
    }

    #[test]
    fn where_memory_ends_in_the_middle_the_heap_takes_all() {
        for length in [300_000, 600_000, 20 << 20] {
            let (store, sent) = (Store::new(), (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>());
            let mut landing = Sealing::begin(&store, length).expect("there is memory");
            let half = length / 2;
            fill(&mut landing, &sent[..half]);
            let Fill::Memory(open, _) = &landing.place else { panic!("there is memory") };
            fcntl_add_seals(open.memory(), SealFlags::FUTURE_WRITE).expect("nobody can write more than is mapped");
            fill(&mut landing, &sent[half..]);
            let segment = Box::new(landing).finish();
            assert!(segment == sent && store.memory_behind(&segment).is_none(), "{length} bytes");
            assert_eq!(store.descriptors(), 0);
        }
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
