//! What waits for an executor: two lanes, each in order, linked through the slab so that any attempt leaves in one step.

use super::attempt::{Attempts, Class, Handle, Place};

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
    pub(super) fn push_back(&mut self, attempts: &mut Attempts, handle: Handle) {
        self.lane(attempts.get(handle).class).push_back(attempts, handle);
    }

    pub(super) fn push_front(&mut self, attempts: &mut Attempts, handle: Handle) {
        self.lane(attempts.get(handle).class).push_front(attempts, handle);
    }

    /// Takes an attempt out, wherever it stands.
    pub(super) fn remove(&mut self, attempts: &mut Attempts, handle: Handle) {
        self.lane(attempts.get(handle).class).remove(attempts, handle);
    }

    /// Takes out the first of any lane.
    pub(super) fn pop(&mut self, attempts: &mut Attempts) -> Option<Handle> {
        let handle = self.plain.head.or(self.apart.head)?;
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

/// A doubly linked list through the slab.
#[derive(Debug, Default)]
pub(super) struct Lane {
    head: Option<Handle>,
    tail: Option<Handle>,
    len: usize,
}

impl Lane {
    pub(super) const fn front(&self) -> Option<Handle> {
        self.head
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Who stands behind `handle`, which stands in this lane.
    pub(super) fn after(attempts: &Attempts, handle: Handle) -> Option<Handle> {
        links(attempts, handle).after
    }

    fn push_back(&mut self, attempts: &mut Attempts, handle: Handle) {
        let before = self.tail.replace(handle);
        attempts.get_mut(handle).place = Place::Queued(Links { before, after: None });
        match before {
            Some(before) => links_mut(attempts, before).after = Some(handle),
            None => self.head = Some(handle),
        }
        self.len += 1;
    }

    fn push_front(&mut self, attempts: &mut Attempts, handle: Handle) {
        let after = self.head.replace(handle);
        attempts.get_mut(handle).place = Place::Queued(Links { before: None, after });
        match after {
            Some(after) => links_mut(attempts, after).before = Some(handle),
            None => self.tail = Some(handle),
        }
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

    /// Walks the lane both ways; returns how many stand in it.
    pub(super) fn check(&self, attempts: &Attempts) -> usize {
        let (mut count, mut last, mut at) = (0, None, self.head);
        while let Some(handle) = at {
            assert_eq!(links(attempts, handle).before, last, "neighbours know each other");
            (count, last, at) = (count + 1, at, links(attempts, handle).after);
        }
        assert_eq!((count, last), (self.len, self.tail), "a lane ends where it says");
        count
    }
}

fn links(attempts: &Attempts, handle: Handle) -> Links {
    match attempts.get(handle).place {
        Place::Queued(links) => links,
        Place::Given { .. } => unreachable!("what stands in a lane is queued"),
    }
}

fn links_mut(attempts: &mut Attempts, handle: Handle) -> &mut Links {
    match &mut attempts.get_mut(handle).place {
        Place::Queued(links) => links,
        Place::Given { .. } => unreachable!("what stands in a lane is queued"),
    }
}
