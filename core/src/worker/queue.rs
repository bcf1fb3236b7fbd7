//! What waits for an executor: two lanes, each by falling priority and then in order, linked through the slab so that
//! any attempt leaves in one step.

use super::attempt::{Attempts, Class, Handle, Place};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// An attempt's neighbours in its lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    before: Option<Handle>,
    after: Option<Handle>,
}

/// The local queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// For the executors of one slot each, possibly behind others.
    pub(super) plain: Lane,
    /// For what runs alone: more than one slot, or named resources.
    pub(super) apart: Lane,
}

impl Queue {
    /// Adds an attempt behind all of its priority.
    pub(super) fn push(&mut self, attempts: &mut Attempts, handle: Handle) {
        self.lane(attempts.get(handle).class).push(attempts, handle);
    }

    /// Puts attempts, which ascend, where they would stand had they never left.
    pub(super) fn put_back(&mut self, attempts: &mut Attempts, handles: &[Handle]) {
        let (mut plain, mut apart) = (None, None);
        for handle in handles {
            let class = attempts.get(*handle).class;
            let last = if class == Class::Apart { &mut apart } else { &mut plain };
            self.lane(class).put_back(attempts, *handle, last.replace(*handle));
        }
    }

    /// Takes an attempt out, wherever it stands.
    pub(super) fn remove(&mut self, attempts: &mut Attempts, handle: Handle) {
        self.lane(attempts.get(handle).class).remove(attempts, handle);
    }

    /// Takes out the first of any lane.
    pub(super) fn pop(&mut self, attempts: &mut Attempts) -> Option<Handle> {
        let handle = self.plain.front().or(self.apart.front())?;
        self.remove(attempts, handle);
        Some(handle)
    }

    const fn lane(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Plain | Class::Last => &mut self.plain,
            Class::Apart => &mut self.apart,
        }
    }
}

/// Lines by falling priority, none of them empty: as good as always one.
#[derive(Debug, Default)]
pub(super) struct Lane {
    lines: Vec<(Reverse<i32>, Line)>,
}

impl Lane {
    pub(super) fn front(&self) -> Option<Handle> {
        self.lines.first()?.1.head
    }

    /// How many of the largest priority stand in it.
    pub(super) fn first_len(&self) -> usize {
        self.lines.first().map_or(0, |(_, line)| line.len)
    }

    /// Who stands behind `handle`, which stands in this lane.
    pub(super) fn after(&self, attempts: &Attempts, handle: Handle) -> Option<Handle> {
        let next = |at: usize| self.lines.get(at + 1)?.1.head;
        links(attempts, handle).after.or_else(|| next(self.find(attempts, handle).expect("it stands in this lane")))
    }

    fn push(&mut self, attempts: &mut Attempts, handle: Handle) {
        let line = self.line(attempts, handle);
        let last = line.tail;
        line.insert(attempts, handle, last);
    }

    /// Puts an attempt back among those of its priority. What comes before `last`, if that is one of them, also comes
    /// before it.
    fn put_back(&mut self, attempts: &mut Attempts, handle: Handle, last: Option<Handle>) {
        let (priority, order) = attempts.get(handle).rank();
        let mut before = last.filter(|last| attempts.get(*last).rank().0 == priority);
        let line = self.line(attempts, handle);
        loop {
            let next = before.map_or(line.head, |before| links(attempts, before).after);
            match next.filter(|next| attempts.get(*next).order < order) {
                Some(next) => before = Some(next),
                None => return line.insert(attempts, handle, before),
            }
        }
    }

    fn remove(&mut self, attempts: &mut Attempts, handle: Handle) {
        let at = self.find(attempts, handle).expect("it stands in this lane");
        let line = &mut self.lines[at].1;
        line.remove(attempts, handle);
        if line.len == 0 {
            self.lines.remove(at);
        }
    }

    /// The line of an attempt's priority, made if there is none.
    fn line(&mut self, attempts: &Attempts, handle: Handle) -> &mut Line {
        let at = self.find(attempts, handle).unwrap_or_else(|at| {
            self.lines.insert(at, (attempts.get(handle).rank().0, Line::default()));
            at
        });
        &mut self.lines[at].1
    }

    fn find(&self, attempts: &Attempts, handle: Handle) -> Result<usize, usize> {
        let (priority, _) = attempts.get(handle).rank();
        self.lines.binary_search_by_key(&priority, |(priority, _)| *priority)
    }

    /// Walks all lines; returns how many stand in them.
    pub(super) fn check(&self, attempts: &Attempts) -> usize {
        assert!(self.lines.is_sorted_by(|a, b| a.0 < b.0), "priorities fall");
        assert!(self.lines.iter().all(|(_, line)| line.len > 0), "no line is empty");
        self.lines.iter().map(|(priority, line)| line.check(attempts, *priority)).sum()
    }
}

/// A doubly linked list through the slab.
#[derive(Debug, Default)]
struct Line {
    head: Option<Handle>,
    tail: Option<Handle>,
    len: usize,
}

impl Line {
    /// Puts an attempt behind another, or first.
    fn insert(&mut self, attempts: &mut Attempts, handle: Handle, before: Option<Handle>) {
        let after = match before {
            Some(before) => links_mut(attempts, before).after.replace(handle),
            None => self.head.replace(handle),
        };
        match after {
            Some(after) => links_mut(attempts, after).before = Some(handle),
            None => self.tail = Some(handle),
        }
        attempts.get_mut(handle).place = Place::Queued(Links { before, after });
        self.len += 1;
    }

    fn remove(&mut self, attempts: &mut Attempts, handle: Handle) {
        let Links { before, after } = links(attempts, handle);
        match before {
            Some(before) => links_mut(attempts, before).after = after,
            None => self.head = after,
        }
        match after {
            Some(after) => links_mut(attempts, after).before = before,
            None => self.tail = before,
        }
        self.len -= 1;
    }

    /// Walks the line both ways; returns how many stand in it.
    fn check(&self, attempts: &Attempts, priority: Reverse<i32>) -> usize {
        let (mut count, mut last, mut at) = (0, None, self.head);
        while let Some(handle) = at {
            assert_eq!(links(attempts, handle).before, last, "neighbours know each other");
            assert_eq!(attempts.get(handle).rank().0, priority, "a line is of one priority");
            (count, last, at) = (count + 1, at, links(attempts, handle).after);
        }
        assert_eq!((count, last), (self.len, self.tail), "a line ends where it says");
        count
    }
}

fn links(attempts: &Attempts, handle: Handle) -> Links {
    match attempts.get(handle).place {
        Place::Queued(links) => links,
        Place::Awaiting { .. } | Place::Given { .. } | Place::Split => {
            unreachable!("what stands in a lane is queued")
        }
    }
}

fn links_mut(attempts: &mut Attempts, handle: Handle) -> &mut Links {
    match &mut attempts.get_mut(handle).place {
        Place::Queued(links) => links,
        Place::Awaiting { .. } | Place::Given { .. } | Place::Split => {
            unreachable!("what stands in a lane is queued")
        }
    }
}
