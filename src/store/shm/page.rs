//! The page of a worker and one executor: who may begin what, and what runs.
//!
//! The worker *offers* an entry before it sends it. The executor *claims* it before it begins; the worker *revokes* it to
//! take it back. Both are one compare-and-swap on the same word, so each entry is won by exactly one side, and neither
//! has to ask the other. A word says which entry runs, so that a death is blamed on the right one and "started" needs no
//! message; another says which entry an interrupt is meant for.
//!
//! A chunk is won item by item in the same way: a word holds the next item and the end of those that may begin. The
//! executor claims the next, the worker *cuts* the end off. A place in the ring is filled again only by the worker, once
//! what was there is over, so no side ever mistakes an old word for a new one.
//!
//! Neither side trusts what it reads: a word that makes no sense is an entry that was not won, or nothing that runs. A
//! page that lies costs the executor that wrote it and nobody else.

use memmap2::{MmapOptions, MmapRaw};
use plait_core::limits::EXECUTOR_QUEUE;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

const BYTES: usize = 4096;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

const OFFERED: u64 = 1;
const CLAIMED: u64 = 2;
const REVOKED: u64 = 3;
const DONE: u64 = 4;

/// What lies in the page. Every bit pattern is valid for every field.
#[repr(C)]
struct Layout {
    /// The entry that runs, plus one; 0 for none.
    running: AtomicU64,
    /// The entry that an interrupt is meant for, plus one; 0 for none.
    interrupt: AtomicU64,
    /// The ring: entry and state, at `entry % EXECUTOR_QUEUE`.
    slots: [AtomicU64; EXECUTOR_QUEUE],
    /// Beside each slot the items of its chunk that have not begun: the next, and the one after the last.
    spans: [AtomicU64; EXECUTOR_QUEUE],
}

const _: () = assert!(size_of::<Layout>() <= BYTES && align_of::<Layout>() <= 8);

const fn word(entry: u32, state: u64) -> u64 {
    (entry as u64) << 32 | state
}

const fn span(next: u32, end: u32) -> u64 {
    (next as u64) << 32 | end as u64
}

/// The next item and the end.
const fn items(span: u64) -> (u32, u32) {
    ((span >> 32) as u32, span as u32)
}

/// A word that names an entry plus one.
const fn named(word: u64) -> Option<u32> {
    match word {
        1..=0x1_0000_0000 => Some((word - 1) as u32),
        _ => None,
    }
}

/// The mapped page, as both sides see it.
#[derive(Debug)]
struct Page {
    map: MmapRaw,
}

impl Page {
    fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        if fstat(memory)?.st_size != BYTES as i64 || !fcntl_get_seals(memory)?.contains(SEALS) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { map: MmapOptions::new().len(BYTES).map_raw(&memory)? })
    }

    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is page-aligned, `BYTES` long (a `Layout` fits, see above) and lives as long as `self`. The
        // file has that size and is sealed against shrinking, so no access can fault. All fields are atomics for which
        // every bit pattern is valid, so whatever another process writes at any time is only a value.
        unsafe { &*self.map.as_ptr().cast::<Layout>() }
    }

    fn slot(&self, entry: u32) -> &AtomicU64 {
        &self.layout().slots[entry as usize % EXECUTOR_QUEUE]
    }

    fn span(&self, entry: u32) -> &AtomicU64 {
        &self.layout().spans[entry as usize % EXECUTOR_QUEUE]
    }

    fn change(&self, entry: u32, from: u64, to: u64) -> bool {
        let (from, to) = (word(entry, from), word(entry, to));
        self.slot(entry).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The worker's side of the page.
#[derive(Debug)]
pub struct WorkerPage {
    page: Page,
    memory: OwnedFd,
}

impl WorkerPage {
    /// A new page of its own, not yet shared.
    pub fn create() -> io::Result<Self> {
        let memory = memfd_create("plait-page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, BYTES as u64)?;
        fcntl_add_seals(&memory, SEALS)?;
        Ok(Self { page: Page::map(memory.as_fd())?, memory })
    }

    /// What to pass to the executor.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Lets the executor begin `entry`, if it is a chunk with these items (the first, and the one after the last).
    /// Whatever was in its place in the ring must be over.
    pub fn offer(&self, entry: u32, (first, end): (u32, u32)) {
        self.page.span(entry).store(span(first, end), Ordering::Release);
        self.page.slot(entry).store(word(entry, OFFERED), Ordering::Release);
    }

    /// Takes `entry` back. True means that it has not begun and never will.
    #[must_use]
    pub fn revoke(&self, entry: u32) -> bool {
        self.page.change(entry, OFFERED, REVOKED)
    }

    /// Takes the second half of the items of `entry` that have not begun; one that is alone is a half. Returns the first
    /// of them: none of them will ever begin.
    #[must_use]
    pub fn cut(&self, entry: u32) -> Option<u32> {
        let state = self.page.slot(entry).load(Ordering::Acquire);
        if state != word(entry, OFFERED) && state != word(entry, CLAIMED) {
            return None;
        }
        let tail = |(next, end): (u32, u32)| Some(next + end.checked_sub(next).filter(|left| *left > 0)? / 2);
        let cut = |word| tail(items(word)).map(|at| span(items(word).0, at));
        let before = self.page.span(entry).fetch_update(Ordering::AcqRel, Ordering::Acquire, cut).ok()?;
        tail(items(before))
    }

    /// The last item of a chunk that the executor says it has begun; not to be believed if it is before the first.
    #[must_use]
    pub fn item(&self, entry: u32) -> Option<u32> {
        let (next, _) = items(self.page.span(entry).load(Ordering::Acquire));
        next.checked_sub(1)
    }

    /// The entry that the executor says it runs.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        named(self.page.layout().running.load(Ordering::Acquire))
    }

    /// Says which entry the interrupt that follows is meant for.
    pub fn mark_interrupt(&self, entry: u32) {
        self.page.layout().interrupt.store(u64::from(entry) + 1, Ordering::Release);
    }
}

/// Whom an interrupt was meant for, seen from the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// What runs now is to stop.
    Running,
    /// Something that is over, or nothing runs: it is to be ignored.
    Stale,
    /// The worker sent none: it came from somewhere else.
    Foreign,
}

/// The executor's side of the page.
#[derive(Debug)]
pub struct ExecutorPage {
    page: Page,
}

impl ExecutorPage {
    /// Maps the page that the worker passed.
    pub fn open(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { page: Page::map(memory)? })
    }

    /// Begins `entry`: from here on its death is blamed on it. False means that the worker took it back.
    #[must_use]
    pub fn claim(&self, entry: u32) -> bool {
        let won = self.page.change(entry, OFFERED, CLAIMED);
        if won {
            self.page.layout().running.store(u64::from(entry) + 1, Ordering::Release);
        }
        won
    }

    /// Begins the next item of `entry`, which is claimed: from here on its death is blamed on it. None if none is left.
    #[must_use]
    pub fn claim_item(&self, entry: u32) -> Option<u32> {
        let claim = |word| {
            let (next, end) = items(word);
            (next < end).then(|| span(next + 1, end))
        };
        let before = self.page.span(entry).fetch_update(Ordering::AcqRel, Ordering::Acquire, claim).ok()?;
        Some(items(before).0)
    }

    /// Whether an item of `entry` is left to begin.
    #[must_use]
    pub fn has_items(&self, entry: u32) -> bool {
        let (next, end) = items(self.page.span(entry).load(Ordering::Acquire));
        next < end
    }

    /// No further item of `entry` will begin, and what happens now is the fault of none.
    pub fn settle(&self, entry: u32) {
        self.page.span(entry).store(span(0, 0), Ordering::Release);
    }

    /// Ends `entry`.
    pub fn done(&self, entry: u32) {
        self.page.layout().running.store(0, Ordering::Release);
        self.page.change(entry, CLAIMED, DONE);
    }

    /// Takes note of an interrupt that arrived.
    #[must_use]
    pub fn take_interrupt(&self) -> Interrupt {
        let layout = self.page.layout();
        match layout.interrupt.swap(0, Ordering::AcqRel) {
            0 => Interrupt::Foreign,
            meant if meant == layout.running.load(Ordering::Acquire) => Interrupt::Running,
            _ => Interrupt::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    fn pair() -> (WorkerPage, ExecutorPage) {
        let worker = WorkerPage::create().expect("a memfd");
        let executor = ExecutorPage::open(worker.memory()).expect("its page");
        (worker, executor)
    }

    #[test]
    fn an_entry_goes_from_offer_to_claim_to_done() {
        let (worker, executor) = pair();
        assert!(!executor.claim(7), "nothing was offered");
        worker.offer(7, (0, 0));
        assert!(executor.claim(7) && !executor.claim(7) && !worker.revoke(7));
        assert_eq!(worker.running(), Some(7));
        executor.done(7);
        assert_eq!(worker.running(), None);
        worker.offer(7 + EXECUTOR_QUEUE as u32, (0, 0));
        executor.done(7);
        assert!(worker.revoke(7 + EXECUTOR_QUEUE as u32), "a late end leaves the next entry of the ring alone");
        assert!(!executor.claim(7 + EXECUTOR_QUEUE as u32));
    }

    #[test]
    fn the_last_entry_number_is_as_good_as_any() {
        let (worker, executor) = pair();
        worker.offer(u32::MAX, (0, 0));
        assert!(executor.claim(u32::MAX));
        assert_eq!(worker.running(), Some(u32::MAX));
    }

    #[test]
    fn each_entry_is_won_by_exactly_one_side() {
        const ROUNDS: u32 = 20_000;
        let (worker, executor) = pair();
        let (offered, settled) = (AtomicU32::new(0), AtomicU32::new(0));
        let claimed = thread::scope(|scope| {
            let claims = scope.spawn(|| {
                let mut claimed = Vec::new();
                for entry in 0..ROUNDS {
                    for tries in 0_u32.. {
                        if offered.load(Ordering::Acquire) > entry {
                            break;
                        }
                        // Where both take turns on one cpu, to wait at work is to wait for the end of a time slice.
                        if tries % 1_000 == 999 { thread::yield_now() } else { std::hint::spin_loop() }
                    }
                    if executor.claim(entry) {
                        claimed.push(entry);
                        executor.done(entry);
                    }
                    settled.store(entry + 1, Ordering::Release);
                }
                claimed
            });
            let mut revoked = Vec::new();
            for entry in 0..ROUNDS {
                worker.offer(entry, (0, 0));
                offered.store(entry + 1, Ordering::Release);
                if entry % 8 == 0 {
                    // Some are claimed even where both take turns.
                    thread::yield_now();
                }
                (0..entry % 64).for_each(|_| std::hint::spin_loop());
                if worker.revoke(entry) {
                    revoked.push(entry);
                }
                while settled.load(Ordering::Acquire) <= entry {
                    thread::yield_now();
                }
            }
            let mut both = claims.join().expect("the claiming side");
            both.extend(revoked);
            both
        });
        let mut won = claimed;
        won.sort_unstable();
        assert_eq!(won, (0..ROUNDS).collect::<Vec<_>>());
    }

    #[test]
    fn half_of_what_has_not_begun_is_cut_off() {
        let (worker, executor) = pair();
        assert_eq!(worker.cut(4), None, "nothing was offered");
        worker.offer(4, (10, 20));
        assert_eq!(worker.cut(4), Some(15), "before it has begun");
        assert!(executor.claim(4));
        assert_eq!(worker.item(4), Some(9), "which is none of its items");
        assert_eq!((executor.claim_item(4), worker.item(4)), (Some(10), Some(10)));
        assert_eq!([worker.cut(4), worker.cut(4), worker.cut(4), worker.cut(4)], [Some(13), Some(12), Some(11), None]);
        assert!(!executor.has_items(4) && executor.claim_item(4).is_none());
        executor.settle(4);
        assert_eq!(worker.item(4), None, "what comes after the last item is the fault of none");
        executor.done(4);
        worker.offer(5, (0, 8));
        assert!(executor.claim(5) && executor.has_items(5));
        executor.settle(5);
        assert_eq!((worker.cut(5), executor.claim_item(5)), (None, None));
        worker.offer(6, (0, 8));
        assert!(worker.revoke(6) && worker.cut(6).is_none());
    }

    #[test]
    fn each_item_is_won_by_exactly_one_side() {
        const ITEMS: u32 = 200_000;
        let (worker, executor) = pair();
        worker.offer(9, (0, ITEMS));
        assert!(executor.claim(9));
        let (cut, claimed) = thread::scope(|scope| {
            let claims = scope.spawn(|| {
                let claimed = std::iter::from_fn(|| executor.claim_item(9)).collect::<Vec<_>>();
                (worker.item(9), claimed)
            });
            let mut cut = Vec::new();
            let mut end = ITEMS;
            while !claims.is_finished() {
                (0..end % 4_096).for_each(|_| std::hint::spin_loop());
                if let Some(at) = worker.cut(9) {
                    cut.extend(at..end);
                    end = at;
                }
            }
            let (last, claimed) = claims.join().expect("the claiming side");
            assert_eq!(last, claimed.last().copied(), "the page says how far it came");
            (cut, claimed)
        });
        let mut won = claimed;
        won.extend(cut);
        won.sort_unstable();
        assert_eq!(won, (0..ITEMS).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_lies_says_nothing() {
        let (worker, _executor) = pair();
        let layout = worker.page.layout();
        for lie in [u64::MAX, 1 << 33, 0] {
            layout.running.store(lie, Ordering::Release);
            assert_eq!(worker.running(), None);
        }
        worker.offer(3, (0, 0));
        worker.page.slot(3).store(u64::MAX, Ordering::Release);
        assert!(!worker.revoke(3) && worker.cut(3).is_none());
        worker.offer(4, (0, 9));
        worker.page.span(4).store(u64::MAX << 32, Ordering::Release);
        assert_eq!(worker.cut(4), None, "there are no items from the last to the first");
    }

    #[test]
    fn an_interrupt_hits_only_the_entry_it_is_meant_for() {
        let (worker, executor) = pair();
        assert_eq!(executor.take_interrupt(), Interrupt::Foreign);
        worker.offer(1, (0, 0));
        assert!(executor.claim(1));
        worker.mark_interrupt(1);
        assert_eq!(executor.take_interrupt(), Interrupt::Running);
        worker.mark_interrupt(1);
        executor.done(1);
        assert_eq!(executor.take_interrupt(), Interrupt::Stale);
        assert_eq!(executor.take_interrupt(), Interrupt::Foreign);
    }

    #[test]
    fn memory_that_could_shrink_is_not_mapped() {
        let memory = memfd_create("plait-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
        ftruncate(&memory, BYTES as u64).expect("grown");
        assert!(ExecutorPage::open(memory.as_fd()).is_err());
        fcntl_add_seals(&memory, SEALS).expect("sealed");
        assert!(ExecutorPage::open(memory.as_fd()).is_ok());
        assert!(ftruncate(&memory, 0).is_err());
    }
}
