//! Ready tasks, in queues: one for each class of tasks that any worker sees as the same.

use super::reserve::Reserved;
use super::slab::{NONE, Slab};
use super::task::{State, Task};
use super::unschedulable::Clock;
use crate::id::WorkerId;
use crate::resource::Resources;
use crate::spec::PythonVersion;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
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

/// Where a ready task stands, and where it had best go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    stand: Stand,
    /// Who has most of what it needs, if that is with workers.
    home: Option<WorkerId>,
}

/// Where in its queue a ready task stands.
#[derive(Clone, Copy, Debug)]
enum Stand {
    /// In the list of those that came in order of submission, between its neighbours.
    Listed {
        previous: u32,
        next: u32,
    },
    /// Among those that came after younger ones.
    Late,
    Troubled,
}

/// The ready tasks of one class, oldest first. Each leaves from wherever it stands, and leaves nothing behind.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) class: Class,
    /// Sets of options and tasks that refer to it.
    users: u32,
    /// The list of those that came in order of submission, as nearly all do: linked through the tasks.
    first: u32,
    last: u32,
    listed: usize,
    late: BTreeMap<u64, u32>,
    troubled: BTreeMap<u64, u32>,
    /// Where room is kept for the oldest task of each line.
    pub(super) reserved: [Option<Reserved>; 2],
    /// Younger tasks that began at their homes since the oldest one did.
    pub(super) passed_over: u64,
    pub(super) clock: Clock,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.main_len() + self.troubled.len()
    }

    pub(super) fn main_len(&self) -> usize {
        self.listed + self.late.len()
    }

    /// The oldest task of a line.
    fn head(&self, tasks: &Slab<Task>, line: Line) -> Option<(u64, u32)> {
        let oldest = |line: &BTreeMap<u64, u32>| line.first_key_value().map(|(ticket, slot)| (*ticket, *slot));
        if line == Line::Troubled {
            return oldest(&self.troubled);
        }
        let listed = tasks.get(self.first).map(|task| (task.ticket, self.first));
        listed.into_iter().chain(oldest(&self.late)).min()
    }

    /// Puts a task where it belongs.
    fn post(&mut self, tasks: &mut Slab<Task>, slot: u32) -> Stand {
        let Task { ticket, trouble, .. } = &tasks[slot];
        let ticket = *ticket;
        if trouble.is_some() {
            self.troubled.insert(ticket, slot);
            return Stand::Troubled;
        }
        match tasks.get_mut(self.last) {
            Some(last) if last.ticket > ticket => {
                self.late.insert(ticket, slot);
                return Stand::Late;
            }
            Some(last) => *last.neighbours().1 = slot,
            None => self.first = slot,
        }
        self.listed += 1;
        Stand::Listed { previous: core::mem::replace(&mut self.last, slot), next: NONE }
    }

    /// Takes a task out.
    fn take(&mut self, tasks: &mut Slab<Task>, ticket: u64, stand: Stand) {
        match stand {
            Stand::Listed { previous, next } => {
                self.listed -= 1;
                match tasks.get_mut(previous) {
                    Some(previous) => *previous.neighbours().1 = next,
                    None => self.first = next,
                }
                match tasks.get_mut(next) {
                    Some(next) => *next.neighbours().0 = previous,
                    None => self.last = previous,
                }
            }
            Stand::Late => drop(self.late.remove(&ticket)),
            Stand::Troubled => drop(self.troubled.remove(&ticket)),
        }
    }

    /// Panics unless those who stand in it are linked and in order. Who they are.
    pub(super) fn check(&self, tasks: &Slab<Task>) -> Vec<u32> {
        let (mut slot, mut before, mut slots) = (self.first, (NONE, None), Vec::new());
        while slot != NONE {
            let task = &tasks[slot];
            let State::Ready(Post { stand: Stand::Listed { previous, next }, .. }) = task.state else {
                panic!("who is listed is ready")
            };
            assert!(previous == before.0 && before.1.is_none_or(|before| before < task.ticket), "a queue is in order");
            slots.push(slot);
            (before, slot) = ((slot, Some(task.ticket)), next);
        }
        assert_eq!((before.0, slots.len()), (self.last, self.listed), "a queue has its end and its length");
        for (ticket, slot) in self.late.iter().chain(&self.troubled) {
            let task = &tasks[*slot];
            let stands = matches!(task.state, State::Ready(Post { stand: Stand::Late | Stand::Troubled, .. }))
                && task.ticket == *ticket;
            assert!(
                stands && self.troubled.contains_key(ticket) == task.trouble.is_some(),
                "a task stands in its line"
            );
            slots.push(*slot);
        }
        slots
    }
}

impl Task {
    /// The neighbours of a task that is listed.
    fn neighbours(&mut self) -> (&mut u32, &mut u32) {
        match &mut self.state {
            State::Ready(Post { stand: Stand::Listed { previous, next }, .. }) => (previous, next),
            _ => unreachable!("who is listed is ready"),
        }
    }

    /// Where a ready task had best go, if that matters.
    pub(super) const fn home(&self) -> Option<WorkerId> {
        match &self.state {
            State::Ready(post) => post.home,
            _ => None,
        }
    }
}

/// All ready queues.
#[derive(Debug)]
pub(super) struct Ready {
    queues: Slab<Queue>,
    names: BTreeMap<Class, u32>,
    /// Queues with something in them, by falling priority.
    active: BTreeSet<(Reverse<i32>, u32)>,
    /// By home, queue and age, those that have one. Who has lost its home meanwhile stays listed where nobody looks.
    homed: BTreeSet<(WorkerId, u32, u64, u32)>,
}

impl Ready {
    pub(super) const fn new() -> Self {
        Self { queues: Slab::new(), names: BTreeMap::new(), active: BTreeSet::new(), homed: BTreeSet::new() }
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
            first: NONE,
            last: NONE,
            listed: 0,
            late: BTreeMap::new(),
            troubled: BTreeMap::new(),
            reserved: [None; 2],
            passed_over: 0,
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
            self.queues.give_back(1);
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

    /// A task is ready.
    pub(super) fn push(&mut self, tasks: &mut Slab<Task>, slot: u32, home: Option<WorkerId>) {
        let Task { queue, ticket, .. } = tasks[slot];
        let q = &mut self.queues[queue];
        if q.len() == 0 {
            self.active.insert((Reverse(q.class.priority), queue));
        }
        let stand = q.post(tasks, slot);
        tasks[slot].state = State::Ready(Post { stand, home });
        if let Some(home) = home {
            self.homed.insert((home, queue, ticket, slot));
        }
    }

    /// The oldest task of a line.
    pub(super) fn head(&self, tasks: &Slab<Task>, queue: u32, line: Line) -> Option<(u64, u32)> {
        self.queues[queue].head(tasks, line)
    }

    /// Tasks of the troubled line, oldest first, not more than `limit`.
    pub(super) fn troubled(&self, queue: u32, limit: usize) -> impl Iterator<Item = u32> {
        self.queues[queue].troubled.values().take(limit).copied()
    }

    /// Whether any ready task has a home.
    pub(super) fn has_homes(&self) -> bool {
        !self.homed.is_empty()
    }

    /// The oldest task of a queue that had best go to a worker.
    pub(super) fn oldest_at(&self, queue: u32, home: WorkerId) -> Option<u32> {
        let listed = self.homed.range((home, queue, 0, 0)..=(home, queue, u64::MAX, u32::MAX)).next();
        listed.map(|(.., slot)| *slot)
    }

    /// A ready task leaves its queue from wherever it stands.
    pub(super) fn take(&mut self, tasks: &mut Slab<Task>, slot: u32) {
        let Task { queue, ticket, .. } = tasks[slot];
        let State::Ready(post) = tasks[slot].state else { unreachable!("only who is ready stands in a queue") };
        let q = &mut self.queues[queue];
        q.take(tasks, ticket, post.stand);
        if let Some(home) = post.home {
            self.homed.remove(&(home, queue, ticket, slot));
        }
        if q.len() == 0 {
            (q.reserved, q.passed_over, q.clock) = ([None; 2], 0, Clock::default());
            self.active.remove(&(Reverse(q.class.priority), queue));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Queue)> {
        self.queues.iter()
    }

    /// Panics unless those that have a home are listed there, and nobody else.
    pub(super) fn check_homes(&self, tasks: &Slab<Task>) {
        let listed = |(slot, task): (u32, &Task)| task.home().map(|home| (home, task.queue, task.ticket, slot));
        let homed: BTreeSet<_> = tasks.iter().filter_map(listed).collect();
        assert_eq!(homed, self.homed, "who has a home is listed there");
    }
}
