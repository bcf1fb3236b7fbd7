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
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// How long a queue has held tasks that fit nowhere, while there were workers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    spent: Duration,
    since: Option<Time>,
    /// For which set of workers the answer below was found; one more than its number.
    judged: u64,
    fits: bool,
}

impl Scheduler {
    /// Fails what has waited long enough for a worker that could run it.
    pub(super) fn fail_unschedulable(&mut self) {
        if self.unschedulable_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.wind_clocks();
        let patience = self.patience();
        let queues: Vec<u32> = self.ready.active().map(|(_, queue)| queue).collect();
        for queue in queues {
            let clock = self.ready.queue(queue).clock;
            // The last worker may have gone in this very step: what ran out while it was there has run out.
            if clock.since.map_or(Duration::ZERO, |since| self.now.since(since)) + clock.spent >= patience {
                self.fail_queue(queue);
            }
        }
    }

    /// Keeps the time for every queue with tasks in it.
    pub(super) fn wind_clocks(&mut self) {
        let closed_and_used = self.config.world == World::Closed && self.worker_set > 0;
        let anybody = closed_and_used || self.workers.iter().any(|(_, w)| w.health != Health::Draining);
        let queues: Vec<u32> = self.ready.active().map(|(_, queue)| queue).collect();
        self.unschedulable_at = None;
        for queue in queues {
            let q = self.ready.queue(queue);
            let mut clock = q.clock;
            if clock.judged != self.worker_set + 1 {
                clock.fits = self.workers.iter().any(|(_, w)| could_run(w, &q.class));
                clock.judged = self.worker_set + 1;
            }
            let up = match (clock.fits, anybody) {
                (true, _) => {
                    (clock.spent, clock.since) = (Duration::ZERO, None);
                    None
                }
                (false, true) => {
                    let since = *clock.since.get_or_insert(self.now);
                    Some(since + self.patience().saturating_sub(clock.spent))
                }
                (false, false) => {
                    clock.spent += clock.since.take().map_or(Duration::ZERO, |since| self.now.since(since));
                    // What ran out in a step that could do no more is due in the next one, whoever is there then.
                    (clock.spent >= self.patience()).then_some(self.now)
                }
            };
            self.unschedulable_at = self.unschedulable_at.into_iter().chain(up).min();
            self.ready.queue_mut(queue).clock = clock;
        }
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
        let nearest = present.map(|w| (missing(w, class), w)).min_by_key(|(missing, w)| (missing.len(), w.id));
        let (best, missing) = match nearest {
            Some((missing, w)) => {
                let best = format!("{}: {}, Python {}", w.offer.name, w.offer.capacity, w.offer.python);
                (best, missing.join("; "))
            }
            None => (String::new(), String::from("a worker")),
        };
        Failure::Unschedulable { asked: asked.into(), best: best.into(), missing: missing.into() }
    }
}

fn could_run(worker: &Worker, class: &Class) -> bool {
    worker.health != Health::Draining && worker.speaks(class.python) && worker.offer.capacity.holds(&class.request)
}

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
