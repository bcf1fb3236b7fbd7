//! Combine: one last call over all outcomes of a run, in order.

use super::Scheduler;
use super::object::Hold;
use super::remake::Recipe;
use super::run::{Gather, Phase, Run};
use super::task::State;
use crate::outcome::Outcome;
use crate::spec::{Call, Span};
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// To tie a result to an outcome takes as long as so many trifles.
const TRIFLES_PER_TIE: usize = 2;

/// The outcomes of a run's pieces. They become the inputs of the run's result without ever being listed by name.
#[derive(Debug)]
pub(super) struct Combine {
    /// What pieces came to, by their first items.
    ended: BTreeMap<u64, Outcome>,
    /// Values that are with workers.
    stored: u64,
    /// What those of them were given that came to no value.
    given: BTreeMap<u64, Given>,
    /// All of it in order, once every piece is over; those that are not there yet follow.
    inputs: Vec<Outcome>,
    /// How many of those are tied to the run's result, if they are with workers: it alone holds them.
    tied: usize,
    /// Bytes of all that.
    bytes: u64,
}

/// What a piece was given.
#[derive(Debug)]
struct Given {
    args: Value,
    span: Span,
}

impl Combine {
    pub(super) const fn new() -> Self {
        Self { ended: BTreeMap::new(), stored: 0, given: BTreeMap::new(), inputs: Vec::new(), tied: 0, bytes: 0 }
    }

    /// A piece is over. Returns the bytes that are held for it: what it was given too, if it came to no value.
    pub(super) fn put(&mut self, at: u64, outcome: Outcome, call: Call, args: Value) -> u64 {
        let mut bytes = outcome.len();
        if !outcome.is_value() {
            let given = Given { args, span: call.span() };
            bytes += given.len();
            self.given.insert(at, given);
        }
        self.stored += u64::from(outcome.stored().is_some());
        self.ended.insert(at, outcome);
        self.bytes += bytes;
        bytes
    }

    /// Looks at so many more outcomes in order, if any are with workers. How many there were, and those that are.
    fn next_to_tie(&mut self, most: usize) -> (usize, Vec<Value>) {
        if self.stored == 0 {
            self.tied = self.inputs.len();
        }
        let until = self.inputs.len().min(self.tied + most);
        let next = core::mem::replace(&mut self.tied, until)..until;
        let stored = |value: &&Value| value.stored().is_some();
        (next.len(), self.inputs[next].iter().filter_map(Outcome::value).filter(stored).cloned().collect())
    }

    /// Whether its call has all that it is given.
    pub(super) fn is_ready(&self) -> bool {
        self.ended.is_empty() && self.tied == self.inputs.len()
    }

    /// Every piece is over: puts up to so many outcomes in order, failures followed by what they were given. How many.
    fn close_ranks(&mut self, most: usize) -> usize {
        if self.inputs.is_empty() {
            // Growing would copy them again and again.
            self.inputs.reserve_exact(self.ended.len());
        }
        // An allocator may sort all that was freed when it is next asked for much. Asked once a slice, it has few to sort.
        let mut slice = Vec::with_capacity(most.min(self.ended.len()));
        slice.extend(core::iter::from_fn(|| self.ended.pop_first()).take(most));
        let before = self.inputs.len();
        for (at, outcome) in slice {
            self.inputs.push(outcome);
            if let Some(given) = self.given.remove(&at) {
                self.inputs.extend(given.into_inputs());
            }
        }
        self.inputs.len() - before
    }

    /// Takes up to so many outcomes out that are not tied to the run's result, and what failed pieces were given.
    pub(super) fn take_outcomes(&mut self, most: usize) -> Vec<Outcome> {
        let inputs = core::iter::from_fn(|| (self.inputs.len() > self.tied).then(|| self.inputs.pop()).flatten());
        let ended = core::iter::from_fn(|| self.ended.pop_first()).map(|(_, outcome)| outcome);
        let mut taken: Vec<Outcome> = inputs.chain(ended).take(most).collect();
        while taken.len() < most
            && let Some((_, given)) = self.given.pop_first()
        {
            taken.extend(given.into_inputs());
        }
        self.bytes -= taken.iter().map(Outcome::len).sum::<u64>();
        taken
    }

    /// Takes out what its call was given.
    pub(super) fn take_inputs(&mut self) -> Recipe {
        self.tied = 0;
        Recipe { inputs: core::mem::take(&mut self.inputs), bytes: core::mem::take(&mut self.bytes) }
    }

    /// What its call is given, once every piece is over.
    pub(super) fn inputs(&self) -> &[Outcome] {
        &self.inputs
    }

    /// Every outcome that its run holds.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.ended.values().chain(&self.inputs[self.tied..])
    }

    pub(super) const fn held(&self) -> u64 {
        self.bytes
    }

    pub(super) fn check(&self) {
        let outcomes = || self.ended.values().chain(&self.inputs);
        let bytes = self.given.values().map(Given::len).sum::<u64>() + outcomes().map(Outcome::len).sum::<u64>();
        assert_eq!(bytes, self.bytes, "bytes of a combine");
        let failed = self.ended.iter().filter(|(_, outcome)| !outcome.is_value()).map(|(at, _)| at);
        assert!(self.given.keys().eq(failed), "what failed pieces were given is kept, no other");
        let stored = outcomes().filter(|outcome| outcome.stored().is_some()).count() as u64;
        assert_eq!(stored, self.stored, "values with workers are counted");
    }
}

impl Given {
    fn len(&self) -> u64 {
        self.args.carried() + self.place().map_or(0, |place| place.carried())
    }

    /// Which items of a chunk are meant.
    fn place(&self) -> Option<Value> {
        let Span { first, end, .. } = self.span;
        (first < end).then(|| Value::copied(format!("{first} {end}").as_bytes()))
    }

    fn into_inputs(self) -> impl Iterator<Item = Outcome> {
        let place = self.place();
        [Some(self.args), place].into_iter().flatten().map(Outcome::Value)
    }
}

impl Scheduler {
    /// Has a run's outcomes put in order once all pieces are over.
    pub(super) fn call_combine(&mut self, run: u32) {
        if self.runs[run].is_complete() {
            self.unordered.insert(run);
        }
    }

    /// Puts outcomes of runs whose pieces are all over in order, as many as this step may, then starts their results.
    pub(super) fn order_combines(&mut self) {
        while self.slice.trifles > 0
            && let Some(run) = self.unordered.first().copied()
        {
            if let Run { phase: Phase::Open, result, gather: Gather::Combine(combine), .. } = &mut self.runs[run] {
                self.slice.trifles -= combine.close_ranks(self.slice.trifles).min(self.slice.trifles);
                if !combine.ended.is_empty() {
                    return;
                }
                let result = *result;
                if matches!(self.tasks[result].state, State::Waiting { .. }) && !self.tie_combine(run, result) {
                    return;
                }
            }
            self.unordered.remove(&run);
        }
    }

    /// Ties a run's result to the outcomes that are with workers, as many as this step may. Whether all are.
    fn tie_combine(&mut self, run: u32, result: u32) -> bool {
        let Gather::Combine(combine) = &mut self.runs[run].gather else { return true };
        let (seen, values) = combine.next_to_tie(self.slice.trifles.div_ceil(TRIFLES_PER_TIE));
        let all = combine.is_ready();
        self.slice.trifles = self.slice.trifles.saturating_sub(TRIFLES_PER_TIE * seen);
        self.tie_values(result, &values, Hold::Ends);
        if all {
            // The run itself, for which it waited like for one more input.
            self.input_arrived(result);
        }
        all
    }
}
