//! The lives of executors: started, ready, watched, ended.

use super::executor::{Executor, Future, Life, Record, View};
use super::hand::{Grip, Wish};
use super::{Action, Brain, Condition, Ended, Entry, Stay, Supervision, Wake};
use crate::id::ExecutorId;
use crate::limits;
use crate::outcome::{Death, Ending};
use crate::spec::Cancel;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Failed starts, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Executors that ended in a row without having been of use.
    failures: u32,
    /// None is started before then.
    paused_until: Option<Time>,
}

impl Brain {
    /// Fills vacant seats.
    pub(super) fn fill_seats(&mut self, now: Time, actions: &mut Vec<Action>) {
        for seat in 0..self.fleet.slots() {
            if self.fleet.get(seat).is_none() && self.may_spawn() {
                self.fleet.spawn(seat, 1, now + self.config.supervision.spawn_timeout, actions);
            }
        }
    }

    /// Whether one more executor may be started: after many failures, one at a time.
    pub(super) fn may_spawn(&self) -> bool {
        let starting = |executor: &Executor| matches!(executor.life, Life::Starting { .. });
        let doubtful = self.starts.failures >= self.config.supervision.spawn_failures;
        let waits = doubtful && self.fleet.iter().any(|(_, executor)| starting(executor));
        !self.is_draining() && self.starts.paused_until.is_none() && !waits
    }

    pub(super) fn on_ready(&mut self, id: ExecutorId) {
        let Some(seat) = self.fleet.find(id) else { return };
        let executor = self.fleet.at(seat);
        if matches!(executor.life, Life::Starting { .. }) {
            executor.life = Life::Ready;
            // It works after all; but only one that has been of use makes up for those that did not.
            let doubtful = self.config.supervision.spawn_failures;
            self.starts.failures = self.starts.failures.min(doubtful.saturating_sub(1));
        }
    }

    pub(super) fn on_spawn_failed(&mut self, now: Time, id: ExecutorId) {
        let Some(seat) = self.fleet.find(id) else { return };
        let executor = self.fleet.at(seat);
        let life = executor.life;
        if life == Life::Ready || !executor.hand.is_empty() {
            return;
        }
        self.fleet.vacate(seat);
        if matches!(life, Life::Starting { .. }) {
            self.count_failure(now);
        }
    }

    fn count_failure(&mut self, now: Time) {
        self.starts.failures = self.starts.failures.saturating_add(1);
        if self.starts.failures >= self.config.supervision.spawn_failures {
            self.starts.paused_until = Some(now + self.config.supervision.spawn_pause);
        }
    }

    pub(super) fn on_ended(&mut self, now: Time, id: ExecutorId, ended: Vec<Ended>, actions: &mut Vec<Action>) {
        let Some(seat) = self.fleet.find(id) else { return };
        for Ended { entry, ending, run_micros, condition } in ended {
            let Some((handle, wish)) = self.release(seat, entry) else { continue };
            self.starts.failures = 0;
            let executor = self.fleet.at(seat);
            executor.record = Record::Useful;
            if condition == Condition::Soiled {
                executor.future = Future::Retired;
            }
            let stopped = wish == Wish::Cancel(Cancel::Running);
            self.conclude(handle, if stopped { Ending::Cancelled } else { ending }, run_micros);
        }
        self.steer(now, seat, actions);
    }

    /// An executor is gone. What its shared page blames has ended with it; what had not begun goes elsewhere.
    pub(super) fn on_died(
        &mut self,
        now: Time,
        id: ExecutorId,
        running: Option<Entry>,
        item: Option<u32>,
        death: Box<Death>,
    ) {
        let Some(seat) = self.fleet.find(id) else { return };
        let killed = matches!(self.fleet.at(seat).life, Life::Dying { .. });
        let retired = self.fleet.at(seat).future == Future::Retired;
        let blamed = running.filter(|entry| self.fleet.at(seat).hand.get(*entry).is_some());
        let blamed = blamed.or_else(|| if killed || retired { None } else { self.suspect(seat) });
        self.judge(now, seat, killed, blamed.is_some());
        let mut death = Some(death);
        let mut back = Vec::new();
        for entry in self.fleet.at(seat).hand.iter().map(|(entry, _)| entry).collect::<Vec<_>>() {
            let Some((handle, wish)) = self.release(seat, entry) else { continue };
            match wish {
                _ if killed && self.stay == Stay::Breaking => self.abandon(handle),
                Wish::Cancel(_) => self.conclude(handle, Ending::Cancelled, 0),
                Wish::Run | Wish::Return if blamed == Some(entry) => {
                    let death = death.take().expect("one entry is blamed");
                    match self.isolate(handle, item, &death) {
                        again if again.is_empty() => self.conclude(handle, Ending::Crashed(death), 0),
                        again => back.extend(again),
                    }
                }
                Wish::Return => self.give_back(handle),
                Wish::Run => back.push(handle),
            }
        }
        let cutting = self.fleet.vacate(seat).cutting;
        cutting.into_iter().for_each(|cutting| self.answer_without_tail(cutting));
        self.put_back(back);
    }

    /// Nobody is blamed. The entry that was next is suspected, and blamed once that has happened to it too often: what
    /// kills executors before it begins must not do so for ever.
    fn suspect(&mut self, seat: usize) -> Option<Entry> {
        let (entry, held) = self.fleet.get(seat)?.hand.iter().next()?;
        let attempt = self.attempts.get_mut(held.handle);
        attempt.suspicion += 1;
        (attempt.suspicion >= limits::UNBLAMED_DEATHS).then_some(entry)
    }

    /// Whether this death speaks against executors as such.
    fn judge(&mut self, now: Time, seat: usize, killed: bool, blamed: bool) {
        let executor = self.fleet.at(seat);
        let fresh = executor.record == Record::Fresh;
        if blamed {
            self.starts.failures = 0;
        } else if fresh && !killed {
            self.count_failure(now);
        }
    }

    /// What a shared page shows: an entry seen twice has been running for a while.
    pub(super) fn on_seen(&mut self, now: Time, id: ExecutorId, running: Option<Entry>) {
        let Some(seat) = self.fleet.find(id) else { return };
        let executor = self.fleet.at(seat);
        let Some((entry, held)) = running.and_then(|entry| Some((entry, *executor.hand.get(entry)?))) else { return };
        if held.grip() == Grip::Loose {
            executor.hand.set_grip(entry, Grip::Begun);
        }
        match executor.view {
            View::Told(told) if told == entry => {}
            View::Since(seen, since) if seen == entry => {
                if now.since(since) >= self.config.supervision.started_after {
                    executor.view = View::Told(entry);
                    let attempt = self.attempts.get(held.handle);
                    if !attempt.follows() {
                        self.reports.push_started(attempt.start.attempt);
                    }
                }
            }
            View::Unknown | View::Since(..) | View::Told(_) => executor.view = View::Since(entry, now),
        }
    }

    /// Fires what is due.
    pub(super) fn fire(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.starts.paused_until.take_if(|until| *until <= now);
        self.break_off(now, actions);
        for seat in self.fleet.seats() {
            let Some(executor) = self.fleet.get(seat) else { continue };
            match executor.life {
                Life::Starting { until } if until <= now => {
                    self.fleet.at(seat).kill(actions);
                    self.count_failure(now);
                }
                Life::Ready if executor.stop.is_some() => self.harden(now, seat, actions),
                Life::Starting { .. } | Life::Ready | Life::Dying { .. } => {}
            }
        }
        if self.look_at.take_if(|at| *at <= now).is_some() {
            let executors: Vec<_> = self.fleet.iter().filter(|(_, x)| x.is_busy()).map(|(_, x)| x.id).collect();
            if !executors.is_empty() {
                actions.push(Action::Observe { executors });
            }
        }
    }

    /// Looks at what is busy in a while: soon while a shared page may show something new, else for the memory it takes.
    pub(super) fn plan_look(&mut self, now: Time) {
        let busy = || self.fleet.iter().map(|(_, executor)| executor).filter(|executor| executor.is_busy());
        let Supervision { started_after, look_every, .. } = self.config.supervision;
        self.look_at = if busy().any(Executor::is_unseen) {
            let soon = now + started_after;
            Some(self.look_at.map_or(soon, |at| at.min(soon)))
        } else if busy().next().is_some() {
            self.look_at.or(Some(now + look_every))
        } else {
            None
        };
    }

    /// The earliest of what is to come.
    pub(super) fn next_due(&self) -> Option<(Time, Wake)> {
        let executors = self.fleet.iter().filter_map(|(_, executor)| match (executor.life, executor.stop) {
            (Life::Starting { until }, _) => Some((until, Wake::SpawnTimeout)),
            (Life::Ready, Some(stop)) => Some((stop.until, Wake::Harden)),
            (Life::Ready, None) | (Life::Dying { .. }, _) => None,
        });
        let drain = match self.stay {
            Stay::Draining { until } => Some((until, Wake::Drain)),
            Stay::Working | Stay::Breaking | Stay::Left => None,
        };
        let look = self.look_at.map(|at| (at, Wake::Look));
        let pause = self.starts.paused_until.map(|at| (at, Wake::Spawn));
        let cut = self.cut_at.map(|at| (at, Wake::Cut));
        let disk = self.objects.memory.due().map(|at| (at, Wake::Disk));
        executors.chain(drain).chain(look).chain(pause).chain(cut).chain(disk).min_by_key(|(at, _)| *at)
    }
}

impl Executor {
    /// Whether it has something to do.
    fn is_busy(&self) -> bool {
        self.life == Life::Ready && !self.hand.is_empty()
    }

    /// Whether its page may show an attempt of which the coordinator should hear.
    fn is_unseen(&self) -> bool {
        let told = matches!(self.view, View::Told(entry) if self.hand.get(entry).is_some());
        self.is_busy() && !told
    }
}
