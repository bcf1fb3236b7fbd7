//! Combine: one last call over all outcomes of a run, in order.

use super::Scheduler;
use super::run::Gather;
use super::task::State;
use crate::outcome::Outcome;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The outcomes of a run's pieces, by piece. They become the inputs of the run's result without ever being listed by
/// name.
#[derive(Debug)]
pub(super) struct Combine {
    /// Nothing where a piece is not over, or was left out.
    outcomes: Vec<Option<Outcome>>,
    /// What pieces were given that came to no value, by piece; once all are over it follows their outcomes.
    given: BTreeMap<u64, Value>,
}

const _: () = assert!(size_of::<Option<Outcome>>() == size_of::<Outcome>(), "an outcome is held per piece");

impl Combine {
    pub(super) const fn new() -> Self {
        Self { outcomes: Vec::new(), given: BTreeMap::new() }
    }

    /// A piece is over; without an outcome it is left out.
    pub(super) fn put(&mut self, piece: u64, outcome: Option<Outcome>) {
        let Ok(place) = usize::try_from(piece) else { return };
        if place >= self.outcomes.len() {
            self.outcomes.resize(place + 1, None);
        }
        self.outcomes[place] = outcome;
    }

    /// Keeps what a piece was given that has come to no value.
    pub(super) fn keep_given(&mut self, piece: u64, args: Value) {
        self.given.insert(piece, args);
    }

    /// Every piece is over: what was left out vanishes, and failures are followed by what they were given.
    fn close_ranks(&mut self) {
        let given = core::mem::take(&mut self.given);
        if given.is_empty() {
            return self.outcomes.retain(Option::is_some);
        }
        let mut given = given.into_iter().peekable();
        for (piece, outcome) in (0..).zip(core::mem::take(&mut self.outcomes)) {
            self.outcomes.extend(outcome.map(Some));
            let args = given.next_if(|(of, _)| *of == piece);
            self.outcomes.extend(args.map(|(_, args)| Some(Outcome::Value(args))));
        }
    }

    pub(super) fn outcomes(&self) -> &[Option<Outcome>] {
        &self.outcomes
    }

    pub(super) fn held(&self) -> u64 {
        let given = self.given.values().map(Value::carried).sum::<u64>();
        given + self.outcomes.iter().flatten().map(Outcome::len).sum::<u64>()
    }

    pub(super) fn check(&self, pieces: u64) {
        let failures = self.outcomes.iter().flatten().filter(|outcome| !outcome.is_value()).count() as u64;
        assert!(self.outcomes.len() as u64 <= pieces + failures, "a combine only gathers");
        let failed = |piece: &u64| self.outcomes[*piece as usize].as_ref().is_some_and(|outcome| !outcome.is_value());
        assert!(self.given.keys().all(failed), "what failed pieces were given is kept, no other");
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
        combine.close_ranks();
        let result = r.result;
        let task = &self.tasks[result];
        if matches!(task.state, State::Waiting { .. }) && task.inputs.is_empty() {
            self.await_values(result);
        }
    }
}
