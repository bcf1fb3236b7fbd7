//! The queue in one executor's hands, as the worker knows it.

use super::Entry;
use super::attempt::{Class, Handle};
use crate::limits;
use crate::spec::Cancel;
use alloc::collections::VecDeque;

/// A window of entries: from the oldest one that is not over to the newest one given. Never longer than the ring in the
/// shared page, in which an entry's place is its number modulo the ring's length.
#[derive(Debug, Default)]
pub(super) struct Hand {
    first: Entry,
    entries: VecDeque<Option<Held>>,
    held: usize,
    asked: usize,
    stopping: usize,
    closing: usize,
    /// Priorities between which all in it lie: widened by what comes, made anew once it is empty.
    span: Option<(i32, i32)>,
}

/// One entry that is not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) handle: Handle,
    class: Class,
    priority: i32,
    grip: Grip,
    wish: Wish,
}

/// What is known of an entry's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grip {
    /// Nothing.
    Loose,
    /// It has been asked back; the answer is on its way.
    Asked,
    /// It has begun.
    Begun,
}

/// What shall become of an entry, if not just its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To run; taken back, to go elsewhere.
    Run,
    /// The coordinator wants it back.
    Return,
    /// Nobody wants it.
    Cancel(Cancel),
}

impl Held {
    pub(super) const fn grip(&self) -> Grip {
        self.grip
    }

    pub(super) const fn wish(&self) -> Wish {
        self.wish
    }

    pub(super) const fn class(&self) -> Class {
        self.class
    }

    pub(super) const fn priority(&self) -> i32 {
        self.priority
    }

    const fn is_stopping(&self) -> bool {
        matches!(self.wish, Wish::Cancel(Cancel::Running))
    }
}

impl Hand {
    /// How many entries are not over.
    pub(super) const fn len(&self) -> usize {
        self.held
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether anything in it may have less than this priority.
    pub(super) fn may_be_below(&self, priority: i32) -> bool {
        self.span.is_some_and(|(lowest, _)| lowest < priority)
    }

    /// Whether anything in it may have more than this priority.
    pub(super) fn may_be_above(&self, priority: i32) -> bool {
        self.span.is_some_and(|(_, highest)| highest > priority)
    }

    /// How many have been asked back.
    pub(super) const fn asked(&self) -> usize {
        self.asked
    }

    /// How many are to be stopped even if they run.
    pub(super) const fn stopping(&self) -> usize {
        self.stopping
    }

    /// Whether one more may be queued behind those that are there.
    pub(super) fn is_open(&self) -> bool {
        self.stopping == 0 && self.closing == 0 && self.entries.len() < limits::EXECUTOR_QUEUE
    }

    pub(super) fn push(&mut self, handle: Handle, class: Class, priority: i32) -> Entry {
        assert!(self.is_open(), "only an open hand is given more");
        let length = u32::try_from(self.entries.len()).expect("a window is short");
        let held = Held { handle, class, priority, grip: Grip::Loose, wish: Wish::Run };
        let (lowest, highest) = self.span.filter(|_| self.held > 0).unwrap_or((priority, priority));
        self.span = Some((lowest.min(priority), highest.max(priority)));
        self.add(held, 1);
        self.entries.push_back(Some(held));
        Entry(self.first.0.wrapping_add(length))
    }

    pub(super) fn get(&self, entry: Entry) -> Option<&Held> {
        self.entries.get(entry.0.wrapping_sub(self.first.0) as usize)?.as_ref()
    }

    /// The entry is over, or will never begin.
    pub(super) fn take(&mut self, entry: Entry) -> Option<Held> {
        let held = self.entries.get_mut(entry.0.wrapping_sub(self.first.0) as usize)?.take()?;
        self.add(held, -1);
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first.0 = self.first.0.wrapping_add(1);
        }
        Some(held)
    }

    pub(super) fn set_grip(&mut self, entry: Entry, grip: Grip) {
        self.change(entry, |held| held.grip = grip);
    }

    /// The entry is now about this attempt: a part of the one that it was about.
    pub(super) fn set_handle(&mut self, entry: Entry, handle: Handle) {
        self.change(entry, |held| held.handle = handle);
    }

    pub(super) fn set_wish(&mut self, entry: Entry, wish: Wish) {
        self.change(entry, |held| held.wish = wish);
    }

    /// The entries that are not over, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Entry, &Held)> {
        let first = self.first.0;
        let numbered = self.entries.iter().enumerate();
        numbered.filter_map(move |(n, held)| Some((Entry(first.wrapping_add(n as u32)), held.as_ref()?)))
    }

    /// Forgets everything; numbers are not used again.
    pub(super) fn clear(&mut self) {
        let next = self.first.0.wrapping_add(u32::try_from(self.entries.len()).expect("a window is short"));
        *self = Self { first: Entry(next), ..Self::default() };
    }

    fn change(&mut self, entry: Entry, change: impl FnOnce(&mut Held)) {
        let Some(Some(held)) = self.entries.get_mut(entry.0.wrapping_sub(self.first.0) as usize) else { return };
        let before = *held;
        change(held);
        let after = *held;
        self.add(before, -1);
        self.add(after, 1);
    }

    fn add(&mut self, held: Held, by: isize) {
        self.held = self.held.wrapping_add_signed(by);
        self.asked = self.asked.wrapping_add_signed(by * isize::from(held.grip == Grip::Asked));
        self.stopping = self.stopping.wrapping_add_signed(by * isize::from(held.is_stopping()));
        self.closing = self.closing.wrapping_add_signed(by * isize::from(held.class != Class::Plain));
    }

    pub(super) fn check(&self) {
        let count = |which: fn(&Held) -> bool| self.iter().filter(|(_, held)| which(held)).count();
        assert!(self.entries.len() <= limits::EXECUTOR_QUEUE, "a window fits into the ring");
        assert!(!matches!(self.entries.front(), Some(None)), "a window begins with what is not over");
        assert_eq!(self.held, count(|_| true));
        assert_eq!(self.asked, count(|held| held.grip == Grip::Asked));
        assert_eq!(self.stopping, count(Held::is_stopping));
        assert_eq!(self.closing, count(|held| held.class != Class::Plain));
        let within = |(_, held): (_, &Held)| self.span.is_some_and(|(a, b)| a <= held.priority && held.priority <= b);
        assert!(self.iter().all(within), "a hand knows between which priorities it lies");
        let mut closed = self.iter().skip_while(|(_, held)| held.class == Class::Plain).skip(1);
        assert!(closed.next().is_none(), "nothing is queued behind what closes the queue");
    }
}
