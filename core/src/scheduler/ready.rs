//! Ready tasks, in queues: one for each class of tasks that any worker sees as the same.
//!
//! There may be as many classes as tasks, so whoever goes through them finds them in order: lines by rank, clocks by when
//! they are due.

use super::reserve::Reserved;
use super::slab::{NONE, Slab};
use super::task::{State, Task};
use super::unschedulable::{Clock, Clocks};
use crate::id::WorkerId;
use crate::resource::Resources;
use crate::spec::PythonVersion;
use crate::time::Time;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Bound;

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

/// Where a line comes in placement: by falling priority, and then by when its oldest task was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) priority: Reverse<i32>,
    pub(super) ticket: u64,
    pub(super) queue: u32,
    pub(super) line: Line,
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
    /// By which ticket each line is ranked, if there are tasks in it.
    ranked: [Option<u64>; 2],
    /// Where room is kept for the oldest task of each line.
    reserved: [Option<Reserved>; 2],
    /// Younger tasks that began at their homes since the oldest one did.
    pub(super) passed_over: u64,
    clock: Clock,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.line_len(Line::Main) + self.line_len(Line::Troubled)
    }

    fn line_len(&self, line: Line) -> usize {
        match line {
            Line::Main => self.listed + self.late.len(),
            Line::Troubled => self.troubled.len(),
        }
    }

    fn rank(&self, queue: u32, line: Line, ticket: u64) -> Rank {
        Rank { priority: Reverse(self.class.priority), ticket, queue, line }
    }

    /// Whether workers may hold tasks of a line in advance.
    fn is_small(&self, line: Line) -> bool {
        line == Line::Main && self.class.is_small()
    }

    /// Where room is kept for the oldest task of a line.
    pub(super) const fn reserved(&self, line: Line) -> Option<Reserved> {
        self.reserved[line as usize]
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
    /// Lines of small tasks that have some, but for troubled ones, by the Python that they need. Each is ranked by its oldest
    /// task or by one that has left it, so it may stand too early, and is put right when it is met.
    small: BTreeMap<Option<PythonVersion>, BTreeSet<Rank>>,
    /// How many tasks stand in those.
    small_len: u64,
    /// The same of all other lines.
    own: BTreeSet<Rank>,
    /// Lines for whose oldest task room is kept.
    keeping: BTreeSet<(u32, Line)>,
    clocks: Clocks,
    /// Rises with all that may give room to a task that was found to have none.
    news: u64,
    /// By home, queue and age, those that have one. Who has lost its home meanwhile stays listed where nobody looks.
    homed: BTreeSet<(WorkerId, u32, u64, u32)>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self {
            queues: Slab::new(),
            names: BTreeMap::new(),
            small: BTreeMap::new(),
            small_len: 0,
            own: BTreeSet::new(),
            keeping: BTreeSet::new(),
            clocks: Clocks::default(),
            news: 0,
            homed: BTreeSet::new(),
        }
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
            ranked: [None; 2],
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
            if self.small.get(&queue.class.python).is_some_and(BTreeSet::is_empty) {
                self.small.remove(&queue.class.python);
            }
        }
    }

    pub(super) fn queue(&self, queue: u32) -> &Queue {
        &self.queues[queue]
    }

    pub(super) fn queue_mut(&mut self, queue: u32) -> &mut Queue {
        &mut self.queues[queue]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.small_len == 0
    }

    /// Small tasks that are ready, but for troubled ones.
    pub(super) const fn small_len(&self) -> u64 {
        self.small_len
    }

    /// Whether small tasks for a Python are ready, but for troubled ones.
    pub(super) fn has_small(&self, python: Option<PythonVersion>) -> bool {
        self.small.get(&python).is_some_and(|lines| !lines.is_empty())
    }

    /// The next line of small tasks for a Python.
    pub(super) fn small_after(&self, python: Option<PythonVersion>, rank: Option<Rank>) -> Option<Rank> {
        self.small.get(&python).and_then(|lines| after(lines, rank).next())
    }

    /// The next lines of tasks that are not small, or troubled.
    pub(super) fn own_after(&self, rank: Option<Rank>) -> impl Iterator<Item = Rank> {
        after(&self.own, rank)
    }

    /// The lines for whose oldest task room is kept, in order.
    pub(super) fn keeping(&self, tasks: &Slab<Task>) -> Vec<Rank> {
        let rank = |(queue, line): &(u32, Line)| {
            self.head(tasks, *queue, *line).map(|(ticket, _)| self.queues[*queue].rank(*queue, *line, ticket))
        };
        let mut ranks: Vec<Rank> = self.keeping.iter().filter_map(rank).collect();
        ranks.sort_unstable();
        ranks
    }

    /// Where room is kept for the oldest task of a line from now on.
    pub(super) fn keep(&mut self, queue: u32, line: Line, reserved: Option<Reserved>) {
        let before = core::mem::replace(&mut self.queues[queue].reserved[line as usize], reserved);
        self.news += u64::from(before != reserved);
        match (before.is_some(), reserved.is_some()) {
            (false, true) => _ = self.keeping.insert((queue, line)),
            (true, false) => _ = self.keeping.remove(&(queue, line)),
            _ => {}
        }
    }

    /// Rises with all that may give room to a task that was found to have none.
    pub(super) const fn news(&self) -> u64 {
        self.news
    }

    /// There may be more room at a worker.
    pub(super) const fn hear_of_room(&mut self) {
        self.news += 1;
    }

    pub(super) const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(super) const fn clocks_mut(&mut self) -> &mut Clocks {
        &mut self.clocks
    }

    /// It was found whether anybody could run what stands in a queue, for a set of workers.
    pub(super) fn judge(&mut self, queue: u32, worker_set: u64, fits: bool, now: Time) {
        self.clocks.judge(queue, &mut self.queues[queue].clock, worker_set, fits, now);
    }

    /// Whether anybody could run what stands in a queue, if that was looked at for a set of workers.
    pub(super) fn verdict(&self, queue: u32, worker_set: u64) -> Option<bool> {
        self.queues[queue].clock.verdict(worker_set)
    }

    /// A task is ready.
    pub(super) fn push(&mut self, tasks: &mut Slab<Task>, slot: u32, home: Option<WorkerId>) {
        let Task { queue, ticket, .. } = tasks[slot];
        let line = if tasks[slot].trouble.is_some() { Line::Troubled } else { Line::Main };
        let q = &mut self.queues[queue];
        if q.len() == 0 {
            self.clocks.begin(queue, &q.clock);
        }
        let stand = q.post(tasks, slot);
        tasks[slot].state = State::Ready(Post { stand, home });
        let is_small = q.is_small(line);
        if q.ranked[line as usize].is_none_or(|ranked| ticket < ranked) {
            self.relist(queue, line, Some(ticket));
        }
        self.count(is_small, 1);
        if let Some(home) = home {
            self.homed.insert((home, queue, ticket, slot));
        }
    }

    /// More tasks of a kind are there, or fewer.
    const fn count(&mut self, is_small: bool, more: i64) {
        if is_small {
            self.small_len = self.small_len.wrapping_add_signed(more);
        } else {
            self.news += 1;
        }
    }

    /// Ranks a line by this ticket, or not at all.
    fn relist(&mut self, queue: u32, line: Line, ticket: Option<u64>) {
        let q = &mut self.queues[queue];
        let lines = match q.is_small(line) {
            true => self.small.entry(q.class.python).or_default(),
            false => &mut self.own,
        };
        if let Some(before) = core::mem::replace(&mut q.ranked[line as usize], ticket) {
            lines.remove(&q.rank(queue, line, before));
        }
        lines.extend(ticket.map(|ticket| q.rank(queue, line, ticket)));
    }

    /// Ranks a line by its oldest task, if there is one. Whether it was not.
    pub(super) fn put_right(&mut self, tasks: &Slab<Task>, queue: u32, line: Line) -> bool {
        let oldest = self.head(tasks, queue, line).map(|(ticket, _)| ticket);
        let is_wrong = self.queues[queue].ranked[line as usize] != oldest;
        if is_wrong {
            self.relist(queue, line, oldest);
        }
        is_wrong
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
        let line = if matches!(post.stand, Stand::Troubled) { Line::Troubled } else { Line::Main };
        let q = &mut self.queues[queue];
        q.take(tasks, ticket, post.stand);
        let (is_small, is_left) = (q.is_small(line), q.line_len(line) == 0);
        if let Some(home) = post.home {
            self.homed.remove(&(home, queue, ticket, slot));
        }
        if q.len() == 0 {
            q.passed_over = 0;
            self.clocks.end(queue, &mut q.clock);
            [Line::Main, Line::Troubled].into_iter().for_each(|line| self.keep(queue, line, None));
        }
        if is_left {
            self.relist(queue, line, None);
        }
        self.count(is_small, -1);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Queue)> {
        self.queues.iter()
    }

    /// Panics unless lines, clocks and homes are listed as they are, and nothing else.
    pub(super) fn check(&self, tasks: &Slab<Task>) {
        let (mut small, mut own, mut small_len) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new(), 0);
        for (queue, q) in self.queues.iter() {
            for line in [Line::Main, Line::Troubled] {
                let (oldest, ranked) = (q.head(tasks, line).map(|(ticket, _)| ticket), q.ranked[line as usize]);
                assert!(ranked.is_some() == oldest.is_some() && ranked <= oldest, "a line never stands too late");
                let keeping = q.reserved(line).is_some();
                assert!(
                    self.keeping.contains(&(queue, line)) == keeping && (q.len() > 0 || !keeping),
                    "who keeps room"
                );
                let rank = ranked.map(|ticket| q.rank(queue, line, ticket));
                match q.is_small(line) {
                    true => small.entry(q.class.python).or_default().extend(rank),
                    false => own.extend(rank),
                }
                small_len += if q.is_small(line) { q.line_len(line) } else { 0 };
            }
        }
        let listed = self.small.iter().filter(|(_, lines)| !lines.is_empty());
        small.retain(|_, lines| !lines.is_empty());
        assert!(listed.eq(&small) && self.own == own, "lines that have tasks are ranked");
        assert_eq!(small_len as u64, self.small_len, "small tasks are counted");
        self.clocks.check(self.queues.iter().filter(|(_, q)| q.len() > 0).map(|(queue, q)| (queue, &q.clock)));
        let listed = |(slot, task): (u32, &Task)| task.home().map(|home| (home, task.queue, task.ticket, slot));
        let homed: BTreeSet<_> = tasks.iter().filter_map(listed).collect();
        assert_eq!(homed, self.homed, "who has a home is listed there");
    }
}

fn after(lines: &BTreeSet<Rank>, rank: Option<Rank>) -> impl Iterator<Item = Rank> {
    lines.range((rank.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).copied()
}
