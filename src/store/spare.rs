//! Mappings that an executor keeps from one order to the next.
//!
//! An array that is given to many tasks comes with each of their orders, as a descriptor of the same memory. To map it
//! afresh costs a fault for every few pages that the task reads: more than to sum it. So a mapping that nobody holds any
//! more is kept, until the next order has what it needs: if that is the same memory, and no page of the mapping was
//! written to (a page that was is the writer's own), it is used again. The system says it of each page. Once it has said
//! that none was, whoever writes to one has a page fault: as long as this process has had none since, none was.
//!
//! What this must never do: give anybody a page that somebody wrote to, or keep memory for longer than that. An executor
//! that gets no order lets go too: see [`Store::drop_spares`](super::blob::Store::drop_spares).

use super::shm::{Mapping, Snapshot, page_faults};
use rustix::fs::fstat;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most mappings that are kept: what one order brings is seldom more.
const SPARES: usize = 16;
/// What the system says of each page, in bytes.
const PAGE_WORD: usize = size_of::<u64>();
/// Pages that are looked at in one go.
const PAGES_READ: usize = 4_096;
/// A page is there, or swapped out …
const IS_MAPPED: u64 = 1 << 63 | 1 << 62;
/// … and is that of a file, as long as nobody has written to it through a private mapping.
const IS_OF_FILE: u64 = 1 << 61;

/// Which memory a mapping shows, as long as there is such a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    device: u64,
    inode: u64,
    offset: u64,
}

impl Origin {
    pub(super) fn of(memory: BorrowedFd<'_>, offset: u64) -> io::Result<Self> {
        let stat = fstat(memory)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino, offset })
    }
}

/// What is known of a mapping that comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    origin: Origin,
    /// How many page faults this process had had when the system last said that no page of it had been written to.
    faults: Option<u64>,
}

/// Mappings that nobody holds.
#[derive(Debug, Default)]
pub(super) struct Spares {
    kept: Mutex<Vec<(Label, Mapping)>>,
    /// Whether there are any, to be read without the lock.
    any: AtomicBool,
}

impl Spares {
    /// A mapping of `origin`, which `fresh` is too: one that has been used, if there is one. It comes back here.
    pub(super) fn exchange(self: &Arc<Self>, origin: Origin, fresh: Snapshot) -> Snapshot {
        // First: what comes while pages are looked at counts as after it.
        let faults = page_faults();
        let is_clean = |(label, map): &(Label, Mapping)| {
            faults.is_some() && label.faults == faults || is_untouched(map).unwrap_or(false)
        };
        let used = self.take(origin, fresh.len()).filter(is_clean).map(|(_, map)| map);
        // Of a fresh one the system has said nothing: where all memory is locked its pages are the process's own from the start.
        let faults = faults.filter(|_| used.is_some());
        fresh.at_home(used, Arc::clone(self), Label { origin, faults })
    }

    /// Nobody holds this mapping any more.
    pub(super) fn keep(&self, label: Label, map: Mapping) {
        // Never waits: in a forked child the lock may be held by a thread that is not there.
        if let Ok(mut kept) = self.kept.try_lock()
            && kept.len() < SPARES
        {
            kept.push((label, map));
            self.any.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn are_there(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn drop_all(&self) {
        if self.are_there() {
            let mut kept = self.lock();
            let gone = std::mem::take(&mut *kept);
            self.any.store(false, Ordering::Relaxed);
            drop(kept);
            drop(gone);
        }
    }

    fn take(&self, origin: Origin, length: usize) -> Option<(Label, Mapping)> {
        let mut kept = self.lock();
        let found = kept.iter().position(|(label, map)| label.origin == origin && map.len() == length)?;
        Some(kept.swap_remove(found))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Label, Mapping)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether every page of a private mapping is still that of its file.
fn is_untouched(map: &Mapping) -> io::Result<bool> {
    let page = rustix::param::page_size();
    let (mut next, pages) = (map.address() / page, map.len().div_ceil(page));
    let end = next + pages;
    let said = File::open("/proc/self/pagemap")?;
    let mut words = vec![0; PAGES_READ.min(pages) * PAGE_WORD];
    while next < end {
        let words = &mut words[..PAGES_READ.min(end - next) * PAGE_WORD];
        said.read_exact_at(words, (next * PAGE_WORD) as u64)?;
        let (words, _) = words.as_chunks::<PAGE_WORD>();
        let written = |word: &[u8; PAGE_WORD]| {
            let word = u64::from_ne_bytes(*word);
            word & IS_MAPPED != 0 && word & IS_OF_FILE == 0
        };
        if words.iter().any(written) {
            return Ok(false);
        }
        next += words.len();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::blob::{Keep, Store};
    use super::super::shm::Counted;
    use super::*;
    use bytes::Bytes;

    const LENGTH: usize = 40_000_000;

    /// What an executor gets with an order: the same memory each time.
    fn order(from: &Arc<Store>, to: &Arc<Store>, segment: &Bytes) -> Bytes {
        let memory = from.memory_of(segment).expect("a blob");
        let descriptor = memory.descriptor().try_clone_to_owned().expect("a descriptor");
        to.adopt(descriptor, memory.offset(), segment.len() as u64, Keep::Mapping).expect("mapped")
    }

    fn stores() -> (Arc<Store>, Arc<Store>, Bytes) {
        let (worker, executor) = (Store::new(), Store::for_executor());
        let sent: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
        let segment = worker.write(&[&sent]).expect("written").remove(0);
        (worker, executor, segment)
    }

    #[test]
    fn the_next_order_with_the_same_memory_has_the_same_mapping() {
        let (worker, executor, segment) = stores();
        let first = executor.take(order(&worker, &executor, &segment)).expect("alone");
        let (at, waiting) = (first.start(), order(&worker, &executor, &segment));
        assert!(first.bytes() == segment && !executor.has_spares());
        drop(first);
        assert!(executor.has_spares());
        let second = executor.take(waiting).expect("alone");
        assert_eq!((second.start(), executor.has_spares()), (at, true), "the flag is only cleared with all of them");
        assert!(second.bytes() == segment);
        drop(second);
        executor.drop_spares();
        assert!(!executor.has_spares());
    }

    #[test]
    fn a_mapping_that_was_written_to_is_not_used_again() {
        let (worker, executor, segment) = stores();
        for place in [0, LENGTH / 2, LENGTH - 1] {
            let mut first = executor.take(order(&worker, &executor, &segment)).expect("alone");
            assert!(first.bytes() == segment);
            first.bytes_mut()[place] ^= 1;
            let (at, waiting) = (first.start(), order(&worker, &executor, &segment));
            drop(first);
            let second = executor.take(waiting).expect("alone");
            assert!(second.bytes() == segment, "written at {place}");
            assert_ne!(second.start(), at);
        }
    }

    #[test]
    fn page_faults_count_only_once_the_system_has_said_that_a_mapping_is_clean() {
        let (worker, _, segment) = stores();
        let memory = worker.memory_of(&segment).expect("a blob");
        let (descriptor, offset) = (memory.descriptor(), memory.offset());
        let origin = Origin::of(descriptor, offset).expect("it has one");
        let spares = Arc::new(Spares::default());
        let fresh = || {
            let counted = Counted::new(&Arc::default(), 1).expect("the first");
            Snapshot::map(descriptor, offset, LENGTH, counted).expect("mapped")
        };
        let known = || spares.lock()[0].0.faults.is_some();
        drop(spares.exchange(origin, fresh()));
        assert!(!known(), "a fresh one has not been looked at");
        drop(spares.exchange(origin, fresh()));
        assert!(known(), "it was used again, so it has");
    }

    #[test]
    fn other_memory_has_its_own_mapping() {
        let (worker, executor, segment) = stores();
        let other = worker.write(&[&vec![7; LENGTH]]).expect("written").remove(0);
        let first = executor.take(order(&worker, &executor, &segment)).expect("alone");
        assert!(first.bytes() == segment);
        drop(first);
        assert!(executor.take(order(&worker, &executor, &other)).expect("alone").bytes() == other);
        let part = segment.slice(..LENGTH - 1);
        assert!(executor.take(order(&worker, &executor, &part)).expect("alone").bytes() == part);
    }
}
