//! Every invariant of a worker.

use super::attempt::{Class, Place};
use super::{Brain, Stay};
use crate::window::Flow;

impl Brain {
    /// Panics if an invariant is broken. Tests and the simulator call it after each step.
    pub fn check(&self) {
        self.attempts.check();
        self.reports.check();
        self.fleet.check();
        self.functions.check(self.attempts.iter().flat_map(|(_, a)| [Some(a.function), a.merge]).flatten());
        self.check_places();
        self.check_objects();
        self.check_promises();
        self.check_memory();
        self.check_fetches();
        self.check_resources();
        self.check_parts();
        if !self.linked {
            assert!(self.objects.is_empty(), "without a link no object is kept");
            assert!(self.attempts.is_empty() && self.reports.is_empty(), "without a link nothing is held");
            assert_eq!(self.flow(), Flow { spent: 0, owed: 0 }, "without a link nobody is owed anything");
        }
        if self.stay == Stay::Left {
            assert!(self.attempts.is_empty() && self.deadline().is_none(), "who has left holds nothing");
        }
    }

    /// Each attempt is in exactly one place, and that place knows it.
    fn check_places(&self) {
        let queued = self.queue.plain.check(&self.attempts) + self.queue.apart.check(&self.attempts);
        let given: usize = self.fleet.iter().map(|(_, executor)| executor.hand.len()).sum();
        let elsewhere = |place| matches!(place, Place::Awaiting { .. } | Place::Split);
        let elsewhere = self.attempts.iter().filter(|(_, attempt)| elsewhere(attempt.place)).count();
        assert_eq!(queued + given + elsewhere, self.attempts.len(), "each attempt is in one place");
        for (seat, executor) in self.fleet.iter() {
            for (entry, held) in executor.hand.iter() {
                let place = self.attempts.get(held.handle).place;
                let known = matches!(place, Place::Given { seat: s, entry: e } if (s, e) == (seat, entry));
                assert!(known, "an attempt knows in whose hands it is");
                let cpus = self.attempts.get(held.handle).start.request.cpus.max(1);
                assert_eq!(cpus, executor.cpus, "an executor gets what takes its slots");
            }
        }
    }

    /// What is free is the capacity without what is given.
    fn check_resources(&self) {
        let mut free = self.free.clone();
        let given = self.attempts.iter().map(|(_, a)| a).filter(|a| matches!(a.place, Place::Given { .. }));
        given.filter(|a| a.class == Class::Apart).for_each(|a| free.give_back(&a.start.request));
        assert_eq!(free, self.capacity_by_name(), "named resources are counted");
    }
}
