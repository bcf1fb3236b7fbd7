//! The attempts that a worker holds, in a slab with dense handles, found by their names through a small table.

use super::Entry;
use super::function::FunctionSlot;
use super::part::Share;
use super::queue::Links;
use crate::id::AttemptId;
use crate::spec::Start;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// An attempt's place in the slab; used again once the attempt is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One attempt that has not been answered for.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) start: Start,
    pub(super) function: FunctionSlot,
    pub(super) merge: Option<FunctionSlot>,
    pub(super) class: Class,
    /// When it came, as a number: smaller ones came earlier.
    pub(super) order: u64,
    /// Executors that died before it without saying what they ran, while it was the next.
    pub(super) suspicion: u32,
    /// Attempts that need what it comes to, each as often as it names it.
    pub(super) heirs: Vec<Handle>,
    /// Inputs that its executor has been sent.
    pub(super) passed: usize,
    pub(super) place: Place,
    /// Which part of which attempt it is, if it is not a whole one.
    pub(super) share: Option<Share>,
    /// Whether its executor had nothing to give of it.
    pub(super) solid: Solid,
}

/// Whether a chunk may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Solid {
    /// Not known.
    No,
    /// All of it has begun.
    Yes,
}

/// Where an attempt stands among those that wait: larger priorities first, then in the order in which they came.
pub(super) type Rank = (Reverse<i32>, u64);

impl Attempt {
    pub(super) const fn rank(&self) -> Rank {
        (Reverse(self.start.priority), self.order)
    }
}

/// How an attempt may be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Ahead and behind others.
    Plain,
    /// Behind others, but nothing behind it: it has killed an executor before, or its inputs are still on the way.
    Last,
    /// Alone: it takes more than one slot, or named resources.
    Apart,
}

/// Where an attempt is: always in exactly one place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Not to be begun before so many of its inputs have come, each counted as often as it is named.
    Awaiting { missing: usize },
    /// In the local queue.
    Queued(Links),
    /// In the hands of the executor on this seat.
    Given { seat: usize, entry: Entry },
    /// In parts, each of which has a place of its own.
    Split,
}

/// The slab.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    slots: Vec<Option<Attempt>>,
    free: Vec<Handle>,
    index: Index,
}

impl Attempts {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a part of an attempt that is there: it is found through that one, not by its name.
    pub(super) fn insert_part(&mut self, part: Attempt) -> Handle {
        assert!(part.share.is_some(), "only parts are without a name");
        self.put(part)
    }

    /// Adds an attempt that is not there yet.
    pub(super) fn insert(&mut self, attempt: Attempt) -> Handle {
        let id = attempt.start.attempt;
        let handle = self.put(attempt);
        self.index.insert(id, handle, &self.slots);
        handle
    }

    fn put(&mut self, attempt: Attempt) -> Handle {
        let handle = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Handle(u32::try_from(self.slots.len() - 1).expect("credit bounds the attempts far below"))
        });
        self.slots[handle.index()] = Some(attempt);
        handle
    }

    pub(super) fn find(&self, id: AttemptId) -> Option<Handle> {
        self.index.position(id, &self.slots).map(|at| Handle(self.index.table[at]))
    }

    pub(super) fn get(&self, handle: Handle) -> &Attempt {
        self.slots[handle.index()].as_ref().expect("a handle lives as long as its attempt")
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> &mut Attempt {
        self.slots[handle.index()].as_mut().expect("a handle lives as long as its attempt")
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Attempt {
        let attempt = self.get(handle);
        if attempt.share.is_none() {
            let id = attempt.start.attempt;
            self.index.remove(id, &self.slots);
        }
        self.free.push(handle);
        self.slots[handle.index()].take().expect("a handle lives as long as its attempt")
    }

    /// Every attempt, for those who check.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &Attempt)> {
        self.slots.iter().zip(0_u32..).filter_map(|(slot, n)| slot.as_ref().map(|attempt| (Handle(n), attempt)))
    }

    pub(super) fn check(&self) {
        let whole = self.iter().filter(|(_, attempt)| attempt.share.is_none());
        let named = whole.map(|(handle, attempt)| {
            assert_eq!(self.find(attempt.start.attempt), Some(handle), "each attempt is found by its name");
        });
        let (named, filled) = (named.count(), self.index.table.iter().filter(|n| **n != Index::EMPTY).count());
        assert_eq!(named, filled, "the index names each attempt once");
        assert_eq!(self.iter().count(), self.len(), "free places are counted");
    }
}

/// Names to handles: open addressing with a fixed hash; the names themselves stay in the slab. Never iterated.
#[derive(Debug, Default)]
struct Index {
    /// A power of two long and at most half full.
    table: Vec<u32>,
    len: usize,
}

impl Index {
    const EMPTY: u32 = u32::MAX;
    const SMALLEST: usize = 64;

    fn insert(&mut self, id: AttemptId, handle: Handle, slots: &[Option<Attempt>]) {
        if self.table.len() < 2 * (self.len + 1) {
            self.grow(slots);
        }
        self.put(id, handle.0);
        self.len += 1;
    }

    fn put(&mut self, id: AttemptId, handle: u32) {
        let mut at = self.home(id);
        while self.table[at] != Self::EMPTY {
            at = self.after(at);
        }
        self.table[at] = handle;
    }

    fn grow(&mut self, slots: &[Option<Attempt>]) {
        let size = (2 * self.table.len()).max(Self::SMALLEST);
        let old = core::mem::replace(&mut self.table, vec![Self::EMPTY; size]);
        for handle in old.into_iter().filter(|n| *n != Self::EMPTY) {
            self.put(name(slots, handle), handle);
        }
    }

    fn position(&self, id: AttemptId, slots: &[Option<Attempt>]) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        let mut at = self.home(id);
        while self.table[at] != Self::EMPTY {
            if name(slots, self.table[at]) == id {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    /// Removes a name and closes the gap, so that no search ends too early.
    fn remove(&mut self, id: AttemptId, slots: &[Option<Attempt>]) {
        let Some(mut gap) = self.position(id, slots) else { return };
        self.len -= 1;
        let mut at = self.after(gap);
        while self.table[at] != Self::EMPTY {
            let home = self.home(name(slots, self.table[at]));
            let mask = self.table.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.table[gap] = self.table[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.table[gap] = Self::EMPTY;
    }

    fn home(&self, id: AttemptId) -> usize {
        let task = id.task.seq.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rest = (u64::from(id.task.session.0) << 32 | u64::from(id.attempt.0)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((task ^ rest.rotate_left(29)) >> 20) as usize & (self.table.len() - 1)
    }

    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.table.len() - 1)
    }
}

fn name(slots: &[Option<Attempt>], handle: u32) -> AttemptId {
    slots[handle as usize].as_ref().expect("the index names what is there").start.attempt
}
