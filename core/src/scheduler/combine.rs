//! Combine: one last call over all outcomes of a run, in order.

use super::Scheduler;
use super::run::Gather;
use super::task::State;
use crate::outcome::Outcome;
use alloc::vec::Vec;

/// The outcomes of a run's pieces, by piece. They become the inputs of the run's result without ever being listed by
/// name.
#[derive(Debug)]
pub(super) struct Combine {
    /// Nothing where a piece is not over, or was left out.
    outcomes: Vec<Option<Outcome>>,
}

const _: () = assert!(size_of::<Option<Outcome>>() == size_of::<Outcome>(), "an outcome is held per piece");

impl Combine {
    pub(super) const fn new() -> Self {
        Self { outcomes: Vec::new() }
    }

    /// A piece is over; without an outcome it is left out.
    pub(super) fn put(&mut self, piece: u64, outcome: Option<Outcome>) {
        let Ok(place) = usize::try_from(piece) else { return };
        if place >= self.outcomes.len() {
            self.outcomes.resize(place + 1, None);
        }
        self.outcomes[place] = outcome;
    }

    pub(super) fn outcomes(&self) -> &[Option<Outcome>] {
        &self.outcomes
    }

    pub(super) fn held(&self) -> u64 {
        self.outcomes.iter().flatten().map(Outcome::len).sum()
    }
}

impl Scheduler {
    /// Starts a run's result once all pieces are over.
    pub(super) fn call_combine(&mut self, run: u32) {
        let r = &mut self.runs[run];
        if !r.is_complete() {
            return;
        }
        let Gather::Combine(combine) = &mut r.gather else { return };
        combine.outcomes.retain(Option::is_some);
        let result = r.result;
        let task = &self.tasks[result];
        if matches!(task.state, State::Waiting { .. }) && task.inputs.is_empty() {
            self.await_values(result);
        }
    }
}
