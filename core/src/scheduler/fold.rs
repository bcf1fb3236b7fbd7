//! Folds: merging adjacent results of a run while others are still being made.
//!
//! The positions of a run are its initial value (0) and its items (from 1). Each position that is over belongs to one
//! range: a value, nothing at all, or a fold that runs. Ranges are disjoint, so the order is never lost.
//!
//! While pieces run, a fold starts only with a full set of adjacent values of which none outweighs all others together:
//! so each value is carried through few folds, whatever the order in which the pieces end.

use super::request::Work;
use super::run::{Gather, Phase, Run};
use super::task::Role;
use super::{Action, Scheduler, Slice};
use crate::id::Seq;
use crate::limits;
use crate::outcome::Outcome;
use crate::spec::Call;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Fewer adjacent values than this are not worth a fold as long as others are to come.
const EARLY_INPUTS: usize = 4;
/// Early folds are looked for among so many ranges at the most.
const EARLY_RANGES: usize = 4_096;

/// The positions of a run that are over.
#[derive(Debug)]
pub(super) struct Fold {
    ranges: BTreeMap<u64, Range>,
    /// Folds that run.
    folding: usize,
    /// Where values have come to be since the run was last looked at.
    fresh: Vec<u64>,
}

/// Positions up to `end`, taken together.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) end: u64,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// All of it was left out.
    Nothing,
    Value(Value),
    /// A fold over it runs; its inputs are kept, for it may have to run again.
    Folding(Vec<Value>),
}

impl Fold {
    pub(super) fn new(initial: Option<Value>) -> Self {
        let content = initial.map_or(Content::Nothing, Content::Value);
        Self { ranges: BTreeMap::from([(0, Range { end: 1, content })]), folding: 0, fresh: Vec::new() }
    }

    /// A piece is over, which was about so many items.
    pub(super) fn put(&mut self, at: u64, items: u64, value: Option<Value>) {
        self.insert(at + 1, at + 1 + items, value);
    }

    /// The fold that began at `start` is over. Gives its inputs back.
    pub(super) fn take_back(&mut self, start: u64, value: Option<Value>) -> Vec<Value> {
        let range = self.ranges.remove(&start).expect("a fold that runs has its range");
        let Content::Folding(inputs) = range.content else { unreachable!("the range of a fold that runs is folding") };
        self.folding -= 1;
        self.insert(start, range.end, value);
        inputs
    }

    /// Every value in it.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.ranges.values().flat_map(|range| match &range.content {
            Content::Nothing => &[],
            Content::Value(value) => core::slice::from_ref(value),
            Content::Folding(inputs) => &inputs[..],
        })
    }

    /// Takes up to so many values out, once no fold runs any more.
    pub(super) fn take_values(&mut self, most: usize) -> Vec<Outcome> {
        let mut values = Vec::new();
        while values.len() < most
            && let Some((_, range)) = self.ranges.pop_first()
        {
            match range.content {
                Content::Nothing => {}
                Content::Value(value) => values.push(Outcome::Value(value)),
                Content::Folding(inputs) => values.extend(inputs.into_iter().map(Outcome::Value)),
            }
        }
        values
    }

    pub(super) fn inputs(&self, start: u64) -> &[Value] {
        match self.ranges.get(&start) {
            Some(Range { content: Content::Folding(inputs), .. }) => inputs,
            _ => &[],
        }
    }

    pub(super) fn held(&self) -> u64 {
        let bytes = |range: &Range| match &range.content {
            Content::Nothing => 0,
            Content::Value(value) => value.carried(),
            Content::Folding(inputs) => inputs.iter().map(Value::carried).sum(),
        };
        self.ranges.values().map(bytes).sum()
    }

    pub(super) const fn ranges(&self) -> &BTreeMap<u64, Range> {
        &self.ranges
    }

    pub(super) const fn folding(&self) -> usize {
        self.folding
    }

    /// Adds a range. Nothing beside a value or beside nothing becomes part of it, so a gap never separates two values.
    fn insert(&mut self, mut start: u64, mut end: u64, value: Option<Value>) {
        let mut content = value.map_or(Content::Nothing, Content::Value);
        if let Some((left, range)) = self.ranges.range(..start).next_back()
            && range.end == start
            && range.content.joins(&content)
        {
            start = *left;
            let range = self.ranges.remove(&start).expect("just seen");
            content = content.or(range.content);
        }
        if let Some(range) = self.ranges.get(&end)
            && range.content.joins(&content)
        {
            let range = self.ranges.remove(&end).expect("just seen");
            end = range.end;
            content = content.or(range.content);
        }
        if let Content::Value(_) = content {
            self.fresh.push(start);
        }
        self.ranges.insert(start, Range { end, content });
    }

    /// The values that lie side by side around the one at `start`, as far as one fold could reach.
    fn streak(&self, start: u64) -> Vec<(u64, u64)> {
        let mut streak = Vec::new();
        let mut border = start;
        for (left, range) in self.ranges.range(..start).rev().take(limits::FOLD_INPUTS - 1) {
            if range.end != border || !range.content.is_value() {
                break;
            }
            streak.push((*left, range.end));
            border = *left;
        }
        streak.reverse();
        border = start;
        for (right, range) in self.ranges.range(start..).take(limits::FOLD_INPUTS) {
            if *right != border || !range.content.is_value() {
                break;
            }
            streak.push((*right, range.end));
            border = range.end;
        }
        streak
    }

    /// Takes adjacent values out for a fold over them.
    fn begin(&mut self, ranges: &[(u64, u64)]) -> u64 {
        let (start, end) = (ranges[0].0, ranges[ranges.len() - 1].1);
        let mut inputs = Vec::with_capacity(ranges.len());
        for (start, _) in ranges {
            if let Some(Range { content: Content::Value(value), .. }) = self.ranges.remove(start) {
                inputs.push(value);
            }
        }
        assert!(inputs.len() == ranges.len(), "only values are folded");
        self.ranges.insert(start, Range { end, content: Content::Folding(inputs) });
        self.folding += 1;
        start
    }

    /// Sets of values to fold now, while others are still to come.
    fn full_sets(&mut self) -> Vec<Vec<(u64, u64)>> {
        let mut sets: Vec<Vec<(u64, u64)>> = Vec::new();
        let mut seen_to = 0;
        let mut fresh = core::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        for start in fresh {
            let is_value = self.ranges.get(&start).is_some_and(|range| range.content.is_value());
            if start < seen_to || !is_value {
                continue;
            }
            let mut streak = self.streak(start);
            streak.retain(|(start, _)| *start >= seen_to);
            if let Some(set) = streak.windows(limits::FOLD_INPUTS).find(|set| is_even(set)) {
                seen_to = set[set.len() - 1].1;
                sets.push(set.to_vec());
            } else if streak.len() < limits::FOLD_INPUTS {
                // That was all there is side by side: none of it needs another look.
                seen_to = streak.last().map_or(seen_to, |(_, end)| *end);
            }
        }
        sets
    }

    /// All values, in sets of adjacent ones, once nothing else is to come.
    fn last_sets(&self) -> Vec<Vec<(u64, u64)>> {
        let values = self.ranges.iter().filter(|(_, range)| range.content.is_value());
        let values: Vec<(u64, u64)> = values.map(|(start, range)| (*start, range.end)).collect();
        values.chunks(limits::FOLD_INPUTS).filter(|set| set.len() > 1).map(<[_]>::to_vec).collect()
    }

    /// Sets of adjacent values that a slot with nothing better to do may fold.
    fn early_sets(&self) -> Vec<Vec<(u64, u64)>> {
        let mut sets: Vec<Vec<(u64, u64)>> = Vec::from([Vec::new()]);
        for (start, range) in &self.ranges {
            let set = sets.last_mut().expect("there is always a last set");
            let adjacent = set.last().is_none_or(|(_, end)| end == start);
            if !range.content.is_value() {
                sets.push(Vec::new());
            } else if adjacent && set.len() < limits::FOLD_INPUTS {
                set.push((*start, range.end));
            } else {
                sets.push(Vec::from([(*start, range.end)]));
            }
        }
        sets.retain(|set| set.len() >= EARLY_INPUTS && is_even(set));
        sets
    }
}

impl Content {
    const fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// Whether two neighbours become one: if one of them is nothing and none is being folded.
    pub(super) const fn joins(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folding(_), _) | (_, Self::Folding(_)) => false,
            (Self::Nothing, _) | (_, Self::Nothing) => true,
            (Self::Value(_), Self::Value(_)) => false,
        }
    }

    fn or(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            some => some,
        }
    }
}

/// Whether no range outweighs all others of the set together.
fn is_even(set: &[(u64, u64)]) -> bool {
    let sizes = set.iter().map(|(start, end)| end - start);
    sizes.clone().sum::<u64>() >= 2 * sizes.max().unwrap_or(0)
}

impl Scheduler {
    /// Starts what can be folded, or finishes the run.
    pub(super) fn drive_fold(&mut self, run: u32) {
        let r = &mut self.runs[run];
        let complete = r.is_complete();
        if r.sealed {
            self.unfolded.insert(run);
        }
        let Gather::Fold(fold) = &mut r.gather else { return };
        let mut sets = fold.full_sets();
        if complete && sets.is_empty() && fold.folding == 0 {
            if fold.ranges.len() == 1 {
                return self.finish_fold(run);
            }
            sets = fold.last_sets();
        }
        for set in sets {
            self.start_fold(run, &set);
        }
    }

    /// Gives slots that would idle adjacent values to fold, if that leaves less for the last fold. Only runs to which
    /// something has happened since are looked at again.
    pub(super) fn fold_early(&mut self, actions: &mut Vec<Action>) {
        if self.force.idle == 0 || !self.ready.is_empty() {
            return;
        }
        while self.slice.trifles > 0
            && let Some(run) = self.unfolded.pop_first()
        {
            let Run { phase: Phase::Open, gather: Gather::Fold(fold), .. } = &self.runs[run] else { continue };
            if (EARLY_INPUTS..EARLY_RANGES).contains(&fold.ranges.len()) {
                self.slice.trifles = self.slice.trifles.saturating_sub(fold.ranges.len());
                fold.early_sets().iter().for_each(|set| self.start_fold(run, set));
            }
        }
        if !self.fallout.is_empty() || !self.lost.is_empty() {
            // What was placed may be what is cancelled now.
            self.flush_starts(actions);
            self.settle();
            self.flush_cancels(actions);
            self.flush_forgets(actions);
            actions.append(&mut self.farewells);
        }
        if !self.ready.is_empty() {
            self.place(actions);
        }
    }

    fn start_fold(&mut self, run: u32, set: &[(u64, u64)]) {
        self.slice.chores = self.slice.chores.saturating_sub(Slice::CHORES_PER_FOLD);
        let Run { session, function, options, .. } = self.runs[run];
        let Gather::Fold(fold) = &mut self.runs[run].gather else { return };
        let start = fold.begin(set);
        let owner = &mut self.sessions[session];
        let seq = Seq::internal(owner.next_internal);
        owner.next_internal += 1;
        let queue = self.tasks[self.runs[run].result].queue;
        let work = Work { function, options, queue, call: Call::Fold, args: Value::empty() };
        let task = self.accept(session, seq, work, Role::Fold { run, start });
        let stored = |value: &&Value| value.stored().is_some();
        let values: Vec<Value> = self.runs[run].fold_inputs(start).iter().filter(stored).cloned().collect();
        self.await_values(task, &values);
    }

    /// One range is left: what it holds is what the run comes to.
    fn finish_fold(&mut self, run: u32) {
        let Gather::Fold(fold) = &self.runs[run].gather else { return };
        let outcome = match fold.ranges.values().next() {
            Some(Range { content: Content::Value(value), .. }) => {
                let value = value.clone();
                self.latest(self.runs[run].session, value)
            }
            // Nothing to reduce, and no initial value: the client knows what to make of that.
            _ => Outcome::Skipped,
        };
        self.finish_run(run, outcome);
    }
}
