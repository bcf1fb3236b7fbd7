//! How a worker leaves, and how it starts anew after its link was lost.

use super::attempt::Attempts;
use super::executor::{Life, View};
use super::function::{Functions, Mirror};
use super::queue::Queue;
use super::report::Reports;
use super::{Action, Brain};
use crate::time::Time;
use alloc::vec::Vec;

/// How far a worker is from leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It works.
    Working,
    /// It finishes what runs, and keeps what it has until others have it, until then.
    Draining { until: Time },
    /// What still ran was killed. Nothing is reported of it: it goes with the link, as a lost worker's attempts do.
    Breaking,
    /// It has said goodbye.
    Left,
}

impl Brain {
    pub(super) const fn is_draining(&self) -> bool {
        !matches!(self.stay, Stay::Working)
    }

    pub(super) fn on_drain_requested(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.is_draining() {
            return;
        }
        self.stay = Stay::Draining { until: now + self.config.supervision.drain_timeout };
        if self.linked {
            actions.push(Action::AnnounceDrain);
        }
        let mut waiting = Vec::new();
        while let Some(handle) = self.queue.pop(&mut self.attempts) {
            waiting.push(handle);
        }
        self.put_back(waiting);
        let given: Vec<_> = self.attempts.iter().map(|(handle, _)| handle).collect();
        given.into_iter().for_each(|handle| self.recall(handle));
    }

    /// What runs has had its time.
    pub(super) fn break_off(&mut self, now: Time, actions: &mut Vec<Action>) {
        if !matches!(self.stay, Stay::Draining { until } if until <= now) {
            return;
        }
        self.stay = Stay::Breaking;
        self.fleet.iter_mut().filter(|executor| !executor.hand.is_empty()).for_each(|executor| executor.kill(actions));
        while let Some(handle) = self.queue.pop(&mut self.attempts) {
            self.abandon(handle);
        }
    }

    /// Leaves once nothing is left to do or to say. With objects it stays until the coordinator lets it go: others may be
    /// fetching them.
    pub(super) fn leave(&mut self, actions: &mut Vec<Action>) {
        let leaving = match self.stay {
            Stay::Draining { .. } => self.objects.is_empty(),
            Stay::Breaking => true,
            Stay::Working | Stay::Left => false,
        };
        if leaving && self.attempts.is_empty() && self.reports.is_empty() {
            self.stay = Stay::Left;
            actions.push(Action::Leave);
        }
    }

    /// The coordinator is gone: nothing of this link will be spoken of on the next one.
    pub(super) fn on_link_lost(&mut self, actions: &mut Vec<Action>) {
        self.linked = false;
        self.fleet.send_forgets(actions);
        let sessions = self.functions.sessions();
        for executor in self.fleet.iter_mut() {
            if !executor.hand.is_empty() {
                executor.kill(actions);
                executor.hand.clear();
            }
            if executor.life == Life::Ready && !executor.mirror.is_blank() {
                let executor = executor.id;
                actions.extend(sessions.iter().map(|session| Action::Forget { executor, session: *session }));
            }
            executor.mirror = Mirror::default();
            executor.view = View::Unknown;
            executor.overlook();
        }
        self.attempts = Attempts::default();
        self.queue = Queue::default();
        self.splits.clear();
        self.failed.clear();
        self.disinherited.clear();
        self.functions = Functions::default();
        self.reports = Reports::default();
        self.objects.clear(actions);
        self.free = self.capacity_by_name();
    }

    pub(super) fn on_link_opened(&mut self, result_limit: u64, actions: &mut Vec<Action>) {
        if self.linked {
            self.on_link_lost(actions);
        }
        self.linked = true;
        self.reports.open(result_limit);
    }
}
