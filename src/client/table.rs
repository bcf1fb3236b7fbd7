//! Outcomes by task number: pages of 64, so that a lookup is one hash of the page number and a bit.

use super::{Completion, State};
use plait_core::id::Seq;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Tasks of one page: one bit each in a word.
const PAGE_TASKS: usize = u64::BITS as usize;
/// Emptied pages whose memory is kept for the next ones.
const SPARE_PAGES: usize = 4;

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filed {
    /// Nobody can ask for it: dropped.
    Unwanted,
    /// Kept until it is taken.
    Kept,
    /// The same, and somebody wants to be told.
    Watched,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    pages: HashMap<u64, Page, FixedState>,
    spare: Vec<Slots>,
    pending: u64,
}

type Slots = Box<[Option<Completion>]>;

/// 64 adjacent tasks. Every bit is a task's; `running`, `watched` and `stopped` are meaningful for open ones alone.
#[derive(Debug, Default)]
struct Page {
    /// Its outcome has not come.
    open: u64,
    /// Somebody can still ask for it.
    live: u64,
    running: u64,
    watched: u64,
    /// It was asked to be stopped.
    stopped: u64,
    /// Empty until the first outcome of the page.
    slots: Slots,
}

impl Table {
    /// Tasks without an outcome, those included that nobody can ask for any more.
    pub(super) const fn pending(&self) -> u64 {
        self.pending
    }

    /// Pages in use.
    #[cfg(test)]
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Expects an outcome of `task`, if it does not already. Each number is used once.
    pub(super) fn register(&mut self, task: Seq) {
        let (page, index) = place(task);
        let page = self.pages.entry(page).or_default();
        if page.open & (1 << index) == 0 {
            page.open |= 1 << index;
            page.live |= 1 << index;
            self.pending += 1;
        }
    }

    /// Where a task is; unknown if it is not live.
    pub(super) fn state(&self, task: Seq) -> State {
        let (page, index) = place(task);
        match self.pages.get(&page) {
            Some(page) if page.live & (1 << index) != 0 => page.state(index),
            _ => State::Unknown,
        }
    }

    /// A task has been running for a while.
    pub(super) fn start(&mut self, task: Seq) {
        let (page, index) = place(task);
        if let Some(page) = self.pages.get_mut(&page) {
            page.running |= 1 << index;
        }
    }

    /// A task is to be stopped.
    pub(super) fn stop(&mut self, task: Seq) {
        let (page, index) = place(task);
        if let Some(page) = self.pages.get_mut(&page) {
            page.stopped |= 1 << index;
        }
    }

    /// Whether a task without an outcome is to be stopped.
    pub(super) fn is_stopped(&self, task: Seq) -> bool {
        let (page, index) = place(task);
        self.pages.get(&page).is_some_and(|page| page.open & page.stopped & (1 << index) != 0)
    }

    /// Whether it is expected, or its outcome kept.
    pub(super) fn is_known(&self, task: Seq) -> bool {
        let (page, index) = place(task);
        self.pages.get(&page).is_some_and(|page| (page.open | page.live) & (1 << index) != 0)
    }

    /// Tasks without an outcome, in order.
    pub(super) fn open(&self) -> Vec<Seq> {
        let mut numbers: Vec<_> = self.pages.keys().copied().collect();
        numbers.sort_unstable();
        let tasks = |number: &u64| {
            let (first, open) = (number * PAGE_TASKS as u64, self.pages[number].open);
            (0..PAGE_TASKS as u64).filter(move |index| open & (1 << index) != 0).map(move |index| Seq(first + index))
        };
        numbers.iter().flat_map(tasks).collect()
    }

    /// Whoever watches a live task is told once when it is over. True if it already is.
    pub(super) fn watch(&mut self, task: Seq) -> bool {
        let (page, index) = place(task);
        let Some(page) = self.pages.get_mut(&page).filter(|page| page.live & (1 << index) != 0) else { return false };
        if page.state(index) == State::Done {
            return true;
        }
        page.watched |= 1 << index;
        false
    }

    /// Whether somebody can ask for it.
    pub(super) fn is_live(&self, task: Seq) -> bool {
        self.state(task) != State::Unknown
    }

    /// Every outcome that is kept.
    pub(super) fn kept(&mut self) -> impl Iterator<Item = &mut Completion> {
        self.pages.values_mut().flat_map(|page| page.slots.iter_mut().flatten())
    }

    /// Files the outcome of a task; only the first one counts.
    pub(super) fn complete(&mut self, task: Seq, completion: Completion) -> Filed {
        let (number, index) = place(task);
        let Some(page) = self.pages.get_mut(&number) else { return Filed::Unwanted };
        if page.open & (1 << index) == 0 {
            return Filed::Unwanted;
        }
        page.open &= !(1 << index);
        self.pending -= 1;
        if page.live & (1 << index) == 0 {
            self.tidy(number);
            return Filed::Unwanted;
        }
        if page.slots.is_empty() {
            page.slots = self.spare.pop().unwrap_or_else(|| vec![None; PAGE_TASKS].into_boxed_slice());
        }
        page.slots[index] = Some(completion);
        if page.watched & (1 << index) == 0 { Filed::Kept } else { Filed::Watched }
    }

    /// An outcome that is kept.
    pub(super) fn look(&self, task: Seq) -> Option<&Completion> {
        let (page, index) = place(task);
        self.pages.get(&page)?.slots.get(index)?.as_ref()
    }

    /// Takes an outcome out; the task is then unknown here.
    pub(super) fn take(&mut self, task: Seq) -> Option<Completion> {
        let (number, index) = place(task);
        let page = self.pages.get_mut(&number)?;
        let completion = page.slots.get_mut(index)?.take()?;
        page.live &= !(1 << index);
        self.tidy(number);
        Some(completion)
    }

    /// Nobody can ask for a task any more; it may still be pending.
    pub(super) fn forget(&mut self, task: Seq) {
        let (number, index) = place(task);
        let Some(page) = self.pages.get_mut(&number) else { return };
        page.live &= !(1 << index);
        if let Some(slot) = page.slots.get_mut(index) {
            *slot = None;
        }
        self.tidy(number);
    }

    /// Gives every pending task the same end; `told` hears of the watched ones, in order.
    pub(super) fn complete_all(&mut self, end: &Completion, mut told: impl FnMut(Seq)) {
        let mut numbers: Vec<_> = self.pages.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            for index in 0..PAGE_TASKS {
                let task = Seq(number * PAGE_TASKS as u64 + index as u64);
                if self.complete(task, end.clone()) == Filed::Watched {
                    told(task);
                }
            }
        }
    }

    /// Drops a page in which nothing is expected or kept any more.
    fn tidy(&mut self, number: u64) {
        if self.pages.get(&number).is_none_or(|page| page.live | page.open != 0) {
            return;
        }
        let page = self.pages.remove(&number).expect("just seen");
        if !page.slots.is_empty() && self.spare.len() < SPARE_PAGES {
            self.spare.push(page.slots);
        }
    }
}

impl Page {
    fn state(&self, index: usize) -> State {
        if self.slots.get(index).is_some_and(Option::is_some) {
            State::Done
        } else if self.running & (1 << index) != 0 {
            State::Running
        } else {
            State::Pending
        }
    }
}

const fn place(task: Seq) -> (u64, usize) {
    (task.0 / PAGE_TASKS as u64, (task.0 % PAGE_TASKS as u64) as usize)
}

/// Hashes dense numbers by one multiplication: no seed, no attacker (the keys are our own counters).
pub(super) type FixedState = BuildHasherDefault<FixedHasher>;

/// See [`FixedState`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plait_core::outcome::{Outcome, Story};

    fn skipped() -> Completion {
        Completion { outcome: Ok(Outcome::Skipped), story: Story::default() }
    }

    fn table(tasks: u64) -> Table {
        let mut table = Table::default();
        (0..tasks).for_each(|n| table.register(Seq(n)));
        table
    }

    #[test]
    fn an_outcome_is_taken_once() {
        let mut table = table(2);
        assert_eq!((table.state(Seq(0)), table.state(Seq(2))), (State::Pending, State::Unknown));
        assert_eq!(table.complete(Seq(0), skipped()), Filed::Kept);
        assert_eq!(table.complete(Seq(0), skipped()), Filed::Unwanted);
        assert_eq!((table.state(Seq(0)), table.pending()), (State::Done, 1));
        assert!(table.take(Seq(0)).is_some() && table.take(Seq(0)).is_none());
        assert_eq!(table.complete(Seq(0), skipped()), Filed::Unwanted);
        assert_eq!((table.state(Seq(0)), table.state(Seq(1))), (State::Unknown, State::Pending));
    }

    #[test]
    fn what_nobody_can_ask_for_is_dropped_before_and_after_its_end() {
        let mut table = table(2);
        table.forget(Seq(0));
        assert_eq!((table.state(Seq(0)), table.pending()), (State::Unknown, 2));
        assert_eq!((table.open(), table.is_known(Seq(2))), (vec![Seq(0), Seq(1)], false));
        assert_eq!(table.complete(Seq(0), skipped()), Filed::Unwanted);
        assert_eq!(table.open(), [Seq(1)]);
        table.complete(Seq(1), skipped());
        table.forget(Seq(1));
        assert_eq!((table.pending(), table.pages()), (0, 0));
    }

    #[test]
    fn a_watched_task_is_told_once_and_in_order() {
        let mut table = table(200);
        table.complete(Seq(5), skipped());
        assert!(table.watch(Seq(5)));
        assert!([150, 3].iter().all(|n| !table.watch(Seq(*n))));
        let mut told = Vec::new();
        table.complete_all(&skipped(), |task| told.push(task.0));
        assert_eq!((told, table.pending()), (vec![3, 150], 0));
        table.complete_all(&skipped(), |task| panic!("{task} was told before"));
    }

    #[test]
    fn memory_follows_live_tasks() {
        let mut table = table(100_000);
        (1..100_000).for_each(|n| {
            table.complete(Seq(n), skipped());
            table.take(Seq(n));
        });
        assert_eq!((table.pages(), table.pending()), (1, 1));
    }
}
