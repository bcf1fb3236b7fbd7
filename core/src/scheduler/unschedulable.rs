//! Tasks that no worker can ever run: they wait a while for one that could, then fail and say what is missing.

use super::ready::{Class, Line};
use super::task::Place;
use super::worker::{Health, Worker};
use super::{Scheduler, World};
use crate::limits;
use crate::outcome::{Failure, Outcome};
use crate::resource::Amount;
use crate::spec::Cancel;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What is missing for a queue takes as long to say as so many tasks to fail,
const CHORES_PER_QUEUE: usize = 2;
/// and one more for each so many workers.
const EXPLAINED_PER_CHORE: usize = 4;

/// Whether anybody could run the tasks of a queue, as far as that was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// For which set of workers; one more than its number.
    judged: u64,
    /// If nobody could, how long workers had been there when that was first seen.
    begun: Option<Duration>,
}

impl Clock {
    /// Whether anybody could run them, if that was looked at for a set of workers.
    pub(super) fn verdict(&self, worker_set: u64) -> Option<bool> {
        (self.judged == worker_set + 1).then_some(self.begun.is_none())
    }
}

/// The clocks of all queues with tasks in them.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// How long workers have been there, up to when they came last,
    spent: Duration,
    /// which was then, if they still are.
    since: Option<Time>,
    /// All queues, by when they were judged.
    judged: BTreeSet<(u64, u32)>,
    /// Those whose tasks nobody could run, by when that began.
    unfit: BTreeSet<(Duration, u32)>,
}

impl Clocks {
    /// There is a task in a queue.
    pub(super) fn begin(&mut self, queue: u32, clock: &Clock) {
        self.judged.insert((clock.judged, queue));
    }

    /// There is none any more. That somebody could run such tasks is remembered; that nobody could begins anew.
    pub(super) fn end(&mut self, queue: u32, clock: &mut Clock) {
        self.judged.remove(&(clock.judged, queue));
        if let Some(begun) = clock.begun {
            self.unfit.remove(&(begun, queue));
            *clock = Clock::default();
        }
    }

    /// It was looked at whether anybody could run what stands in a queue.
    pub(super) fn judge(&mut self, queue: u32, clock: &mut Clock, worker_set: u64, fits: bool, now: Time) {
        self.judged.remove(&(clock.judged, queue));
        clock.judged = worker_set + 1;
        self.judged.insert((clock.judged, queue));
        match clock.begun {
            Some(begun) if fits => {
                self.unfit.remove(&(begun, queue));
                clock.begun = None;
            }
            None if !fits => {
                let begun = self.spent(now);
                self.unfit.insert((begun, queue));
                clock.begun = Some(begun);
            }
            _ => {}
        }
    }

    /// How long workers have been there.
    fn spent(&self, now: Time) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Time passes while somebody is there.
    fn run(&mut self, anybody: bool, now: Time) {
        match anybody {
            true => drop(self.since.get_or_insert(now)),
            false => (self.spent, self.since) = (self.spent(now), None),
        }
    }

    /// A queue that was not looked at since workers came or went, if there is one.
    pub(super) fn unjudged(&self, worker_set: u64) -> Option<u32> {
        self.judged.first().filter(|(judged, _)| *judged <= worker_set).map(|(_, queue)| *queue)
    }

    /// When the patience with a queue is over. If nobody is there it never is, unless it is already.
    fn due(&self, patience: Duration, now: Time) -> Option<Time> {
        let (begun, _) = self.unfit.first()?;
        let left = (*begun + patience).saturating_sub(self.spent(now));
        (self.since.is_some() || left.is_zero()).then(|| now + left)
    }

    /// The queue with which the patience has been over for longest.
    fn over(&self, patience: Duration, now: Time) -> Option<u32> {
        self.unfit.first().filter(|(begun, _)| *begun + patience <= self.spent(now)).map(|(_, queue)| *queue)
    }

    /// Panics unless these queues have their clocks here, and no others.
    pub(super) fn check<'a>(&self, queues: impl Iterator<Item = (u32, &'a Clock)>) {
        let (mut judged, mut unfit) = (BTreeSet::new(), BTreeSet::new());
        for (queue, clock) in queues {
            judged.insert((clock.judged, queue));
            unfit.extend(clock.begun.map(|begun| (begun, queue)));
        }
        assert!(judged == self.judged && unfit == self.unfit, "queues with tasks have their clocks");
    }
}

impl Scheduler {
    /// Fails what has waited long enough for a worker that could run it.
    pub(super) fn fail_unschedulable(&mut self) {
        if self.unschedulable_at.is_none_or(|at| at > self.now) {
            return;
        }
        // The last worker may have gone in this very step: what ran out while it was there has run out.
        self.run_clocks();
        while self.slice.chores > 0
            && self.slice.verdicts > 0
            && let Some(queue) = self.ready.clocks().over(self.patience(), self.now)
        {
            if !self.judge_queue(queue) {
                self.fail_queue(queue);
                let chores = CHORES_PER_QUEUE + self.workers.len() / EXPLAINED_PER_CHORE;
                self.slice.chores = self.slice.chores.saturating_sub(chores);
            }
        }
    }

    /// Keeps the time for every queue with tasks in it.
    pub(super) fn wind_clocks(&mut self) {
        self.run_clocks();
        while self.slice.verdicts > 0
            && let Some(queue) = self.ready.clocks().unjudged(self.worker_set)
        {
            self.judge_queue(queue);
        }
        self.unschedulable_at = self.ready.clocks().due(self.patience(), self.now);
    }

    fn run_clocks(&mut self) {
        let closed_and_used = self.config.world == World::Closed && self.worker_set > 0;
        let anybody = closed_and_used || self.workers.iter().any(|(_, w)| w.health != Health::Draining);
        self.ready.clocks_mut().run(anybody, self.now);
    }

    /// Whether anybody could run the tasks of a queue.
    fn judge_queue(&mut self, queue: u32) -> bool {
        let class = &self.ready.queue(queue).class;
        let nearest = self.workers.iter().position(|(_, w)| could_run(w, class));
        self.slice.verdicts = self.slice.verdicts.saturating_sub(1 + nearest.unwrap_or(self.workers.len()));
        self.ready.judge(queue, self.worker_set, nearest.is_some(), self.now);
        nearest.is_some()
    }

    const fn patience(&self) -> Duration {
        match self.config.world {
            World::Closed => limits::UNSCHEDULABLE_EMBEDDED,
            World::Open => limits::UNSCHEDULABLE_AFTER,
        }
    }

    /// Fails the tasks of a queue, as many as this step may: the queue's time is still up in the next one.
    fn fail_queue(&mut self, queue: u32) {
        let failure = self.explain(queue);
        for line in [Line::Main, Line::Troubled] {
            while self.slice.chores > 0
                && let Some((_, slot)) = self.ready.head(&self.tasks, queue, line)
            {
                self.slice.chores -= 1;
                self.withdraw(slot, Cancel::Running);
                self.conclude(slot, Outcome::Failed(Box::new(failure.clone())), Place::default());
            }
        }
    }

    /// Says what is asked for, who comes nearest, and what is missing there.
    fn explain(&self, queue: u32) -> Failure {
        let class = &self.ready.queue(queue).class;
        let mut asked = format!("{}", class.request);
        if let Some(python) = class.python {
            asked = format!("{asked}, Python {python}");
        }
        let present = self.workers.iter().filter(|(_, w)| w.health != Health::Draining).map(|(_, w)| w);
        let (best, missing) = match present.min_by_key(|w| (lacking(w, class), w.id)) {
            Some(w) => {
                let best = format!("{}: {}, Python {}", w.offer.name, w.offer.capacity, w.offer.python);
                (best, missing(w, class).join("; "))
            }
            None => (String::new(), String::from("a worker")),
        };
        Failure::Unschedulable { asked: asked.into(), best: best.into(), missing: missing.into() }
    }
}

pub(super) fn could_run(worker: &Worker, class: &Class) -> bool {
    worker.health != Health::Draining && worker.speaks(class.python) && worker.offer.capacity.holds(&class.request)
}

/// How many things are missing at a worker.
fn lacking(worker: &Worker, class: &Class) -> usize {
    let (has, asks) = (&worker.offer.capacity, &class.request);
    let named = asks.named().iter().filter(|(name, amount)| has.amount(name) < *amount).count();
    usize::from(asks.cpus > has.cpus) + named + usize::from(!worker.speaks(class.python))
}

/// What they are.
fn missing(worker: &Worker, class: &Class) -> Vec<String> {
    let (has, asks) = (&worker.offer.capacity, &class.request);
    let mut missing = Vec::new();
    if asks.cpus > has.cpus {
        missing.push(format!("cpus: asks for {}, has {}", asks.cpus, has.cpus));
    }
    for (name, amount) in asks.named() {
        match has.amount(name) {
            Amount(0) => missing.push(format!("{name}: asks for {amount}, has none")),
            some if some < *amount => missing.push(format!("{name}: asks for {amount}, has {some}")),
            _ => {}
        }
    }
    if let Some(python) = class.python.filter(|_| !worker.speaks(class.python)) {
        missing.push(format!("Python: asks for {python}, has {}", worker.offer.python));
    }
    missing
}
