//! Ready tasks, in queues: one for each class of tasks that any worker sees as the same.

use super::slab::Slab;
use super::task::Trouble;
use super::unschedulable::Clock;
use crate::id::WorkerId;
use crate::resource::Resources;
use crate::spec::PythonVersion;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use core::cmp::Reverse;

/// What placement looks at, beyond a task's age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) priority: i32,
    pub(super) request: Resources,
    pub(super) python: Option<PythonVersion>,
}

impl Class {
    /// Whether such a task takes one slot and nothing else, so that workers may hold some in advance.
    pub(super) fn is_small(&self) -> bool {
        self.request.cpus == 1 && self.request.named().is_empty()
    }
}

/// Which line of a queue. Tasks under which an executor died stand apart: they choose their worker one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Main,
    Troubled,
}

/// The ready tasks of one class, oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) class: Class,
    /// Sets of options and tasks that refer to it.
    users: u32,
    /// In order of submission, as nearly all arrive; entries of tasks that left in between are skipped.
    fifo: VecDeque<Entry>,
    /// Those that came after younger ones.
    late: BinaryHeap<Reverse<Entry>>,
    /// How many entries of both are still ready.
    main: usize,
    troubled: BTreeMap<u64, u32>,
    /// The worker kept free for the oldest task of each line.
    pub(super) reserved: [Option<WorkerId>; 2],
    pub(super) clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    ticket: u64,
    slot: u32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.main + self.troubled.len()
    }

    pub(super) const fn main_len(&self) -> usize {
        self.main
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        let main = self.fifo.iter().chain(self.late.iter().map(|Reverse(entry)| entry));
        main.map(|entry| (entry.ticket, entry.slot)).chain(self.troubled.iter().map(|(ticket, slot)| (*ticket, *slot)))
    }

    fn tidy(&mut self, is_ready: impl Fn(u64, u32) -> bool) {
        self.fifo.retain(|entry| is_ready(entry.ticket, entry.slot));
        self.late.retain(|Reverse(entry)| is_ready(entry.ticket, entry.slot));
    }
}

/// All ready queues.
#[derive(Debug)]
pub(super) struct Ready {
    queues: Slab<Queue>,
    names: BTreeMap<Class, u32>,
    /// Queues with something in them, by falling priority.
    active: BTreeSet<(Reverse<i32>, u32)>,
}

impl Ready {
    pub(super) const fn new() -> Self {
        Self { queues: Slab::new(), names: BTreeMap::new(), active: BTreeSet::new() }
    }

    /// The queue of a class, which it keeps until [`Ready::let_go`].
    pub(super) fn intern(&mut self, class: Class) -> u32 {
        if let Some(queue) = self.names.get(&class) {
            self.queues[*queue].users += 1;
            return *queue;
        }
        let queue = self.queues.insert(Queue {
            class: class.clone(),
            users: 1,
            fifo: VecDeque::new(),
            late: BinaryHeap::new(),
            main: 0,
            troubled: BTreeMap::new(),
            reserved: [None; 2],
            clock: Clock::default(),
        });
        self.names.insert(class, queue);
        queue
    }

    /// One user of a queue less.
    pub(super) fn let_go(&mut self, queue: u32) {
        self.queues[queue].users -= 1;
        if self.queues[queue].users == 0 {
            let queue = self.queues.remove(queue);
            assert!(queue.len() == 0, "the last user of a queue leaves it empty");
            self.names.remove(&queue.class);
        }
    }

    pub(super) fn queue(&self, queue: u32) -> &Queue {
        &self.queues[queue]
    }

    pub(super) fn queue_mut(&mut self, queue: u32) -> &mut Queue {
        &mut self.queues[queue]
    }

    pub(super) fn active(&self) -> impl Iterator<Item = (i32, u32)> {
        self.active.iter().map(|(Reverse(priority), queue)| (*priority, *queue))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn push(&mut self, queue: u32, ticket: u64, slot: u32, trouble: &Option<Box<Trouble>>) {
        let q = &mut self.queues[queue];
        if q.len() == 0 {
            self.active.insert((Reverse(q.class.priority), queue));
        }
        if trouble.is_some() {
            q.troubled.insert(ticket, slot);
            return;
        }
        q.main += 1;
        if q.fifo.back().is_none_or(|last| last.ticket < ticket) {
            q.fifo.push_back(Entry { ticket, slot });
        } else {
            q.late.push(Reverse(Entry { ticket, slot }));
        }
    }

    /// The oldest task of a line. `is_ready` tells entries from those whose task has left.
    pub(super) fn head(&mut self, queue: u32, line: Line, is_ready: impl Fn(u64, u32) -> bool) -> Option<(u64, u32)> {
        let q = &mut self.queues[queue];
        if line == Line::Troubled {
            return q.troubled.first_key_value().map(|(ticket, slot)| (*ticket, *slot));
        }
        while q.fifo.front().is_some_and(|entry| !is_ready(entry.ticket, entry.slot)) {
            q.fifo.pop_front();
        }
        while q.late.peek().is_some_and(|Reverse(entry)| !is_ready(entry.ticket, entry.slot)) {
            q.late.pop();
        }
        let late = q.late.peek().map(|Reverse(entry)| entry);
        let oldest = q.fifo.front().into_iter().chain(late).min()?;
        Some((oldest.ticket, oldest.slot))
    }

    /// Tasks of the troubled line, oldest first, not more than `limit`.
    pub(super) fn troubled(&self, queue: u32, limit: usize) -> impl Iterator<Item = (u64, u32)> {
        self.queues[queue].troubled.iter().take(limit).map(|(ticket, slot)| (*ticket, *slot))
    }

    /// Takes a head out.
    pub(super) fn pop(&mut self, queue: u32, line: Line, ticket: u64) {
        let q = &mut self.queues[queue];
        match line {
            Line::Troubled => drop(q.troubled.remove(&ticket)),
            Line::Main => {
                q.main -= 1;
                if q.fifo.front().is_some_and(|entry| entry.ticket == ticket) {
                    q.fifo.pop_front();
                } else {
                    q.late.pop();
                }
            }
        }
        self.rest(queue);
    }

    /// A task leaves its queue from wherever it stands.
    pub(super) fn forget(&mut self, queue: u32, ticket: u64, trouble: &Option<Box<Trouble>>) {
        let q = &mut self.queues[queue];
        if trouble.is_some() {
            q.troubled.remove(&ticket);
        } else {
            q.main -= 1;
        }
        self.rest(queue);
    }

    /// Throws the entries of gone tasks away once they outnumber the others.
    pub(super) fn tidy(&mut self, is_ready: impl Fn(u64, u32) -> bool) {
        for (_, queue) in &self.active {
            let q = &mut self.queues[*queue];
            if q.fifo.len() + q.late.len() > 2 * q.main + 1_024 {
                q.tidy(&is_ready);
            }
        }
    }

    /// Every entry, those of gone tasks included.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, u64, u32)> {
        self.queues.iter().flat_map(|(queue, q)| q.entries().map(move |(ticket, slot)| (queue, ticket, slot)))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Queue)> {
        self.queues.iter()
    }

    fn rest(&mut self, queue: u32) {
        let q = &mut self.queues[queue];
        if q.main == 0 {
            q.fifo.clear();
            q.late.clear();
        }
        if q.fifo.is_empty() && q.fifo.capacity() > 64 << 10 {
            q.fifo = VecDeque::new();
        }
        if q.len() == 0 {
            (q.reserved, q.clock) = ([None; 2], Clock::default());
            self.active.remove(&(Reverse(q.class.priority), queue));
        }
    }
}
