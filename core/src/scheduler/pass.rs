//! A placement pass: which line comes next, and what is known already of those before it.
//!
//! Lines come by rank. Small tasks are alike to workers, so once nobody takes one, those for the same Python have had their
//! turn. All others may have to be held against every worker, so a pass has only so many looks. The next one has half of
//! them for the first lines and half for those that this one did not come to; of lines that it passes over it sees those
//! for which room is kept, at that worker alone, so that nobody loses a place that it waits for. When all have been seen,
//! and something has changed meanwhile for those that were passed over, it begins again.

use super::Scheduler;
use super::ready::{Class, Rank};
use crate::resource::Resources;
use crate::spec::PythonVersion;
use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Refusals that are remembered.
const REFUSALS: usize = 16;
/// A line that is refused without being held against any worker takes as long as so many looks.
const LOOKS_PER_LINE: usize = 4;

/// Workers that may take a task, least loaded first. Loads only grow during a pass, so an entry that is out of date sorts
/// too early and is put right when it is met.
pub(super) type Pool = BinaryHeap<Reverse<(u64, u32)>>;

/// What one pass keeps in mind.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Workers for small tasks, by the Python that those need.
    pub(super) small: BTreeMap<Option<PythonVersion>, Pool>,
    /// Workers that may be given tasks with a seat of their own, by load as it was when each was met last.
    pub(super) open: Option<BTreeSet<(u64, u32)>>,
    /// Up to where all of those have refused the tasks of a queue.
    pub(super) refused_by: BTreeMap<u32, (u64, u32)>,
    /// Workers of which something is kept or that are choked in this pass.
    pub(super) marked: Vec<u32>,
    /// For what there was room nowhere, and for what nowhere any could be kept.
    pub(super) roomless: Refusals,
    pub(super) unkept: Refusals,
    /// Pythons for which small tasks may still be taken, and the last line of each that had its turn.
    lanes: Vec<(Option<PythonVersion>, Option<Rank>)>,
    /// The last line of others that had its turn.
    own_at: Option<Rank>,
    scope: Scope,
    has_passed_over: bool,
    /// Looks for the part that begins where the last pass left off.
    later_looks: usize,
    /// The last line before those that the last pass did not come to.
    resume: Option<Rank>,
    /// The same of this one.
    left_off: Option<Rank>,
    /// What was new when the first of these passes began.
    since: u64,
    /// They are to begin again.
    again: bool,
    /// It came to the last line.
    is_over: bool,
    /// Lines for which room is kept, once some are passed over.
    keeping: Option<Vec<Rank>>,
    /// Whether the line that has its turn is only looked at where room is kept for it.
    pub(super) is_brief: bool,
}

/// Which lines of tasks with a seat of their own come next.
#[derive(Clone, Copy, Debug, Default)]
enum Scope {
    #[default]
    All,
    /// Up to that one those for which room is kept, then all.
    KeepingUntil(Rank),
    /// Those for which room is kept.
    Keeping,
}

/// What became of a line that had its turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// Its head is younger than another line's, or there is none.
    Yields,
    /// Its head, with this ticket, cannot be placed.
    Over(u64),
    /// Nobody takes any more small tasks for its Python.
    Closed,
}

/// Requests that were refused in a pass. Room only shrinks during one, so all that ask for as much or more are refused too.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<(Option<PythonVersion>, Resources)>);

impl Refusals {
    pub(super) fn cover(&self, class: &Class) -> bool {
        let speaks = |python: &Option<PythonVersion>| python.is_none() || *python == class.python;
        self.0.iter().any(|(python, refused)| speaks(python) && class.request.holds(refused))
    }

    pub(super) fn add(&mut self, class: &Class) {
        let Class { python, request, .. } = class;
        self.0.retain(|(other, refused)| !(python.is_none() || python == other) || !refused.holds(request));
        if self.0.len() < REFUSALS {
            self.0.push((*python, request.clone()));
        }
    }
}

impl Pass {
    /// Whether lines have to be looked at that it did not come to.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.left_off.is_some() || self.again
    }
}

impl Scheduler {
    pub(super) fn begin_pass(&mut self) {
        // A pass that started all that it may did not get there.
        let resume = self.pass.left_off.or(self.pass.resume);
        let spoken = self.spoken.keys().map(|python| Some(*python)).chain([None]);
        let lanes = spoken.filter(|python| self.ready.has_small(*python)).map(|python| (python, None)).collect();
        let later_looks = if resume.is_some() { self.slice.looks / 2 } else { 0 };
        self.slice.looks -= later_looks;
        let since = if resume.is_some() { self.pass.since } else { self.news() };
        self.pass = Pass { lanes, later_looks, resume, since, ..Pass::default() };
    }

    fn news(&self) -> u64 {
        self.ready.news() + self.worker_set
    }

    /// The line that comes next, and the ticket at which it yields to the one after it.
    pub(super) fn next_line(&mut self) -> Option<(Rank, u64)> {
        loop {
            let small = self.pass.lanes.iter().filter_map(|(python, at)| self.ready.small_after(*python, *at)).min();
            let own = self.next_own();
            let rank = own.iter().map(|(rank, _)| *rank).chain(small).min()?;
            if self.ready.put_right(&self.tasks, rank.queue, rank.line) {
                let is_own = own.is_some_and(|(own, _)| own == rank);
                self.slice.looks = self.slice.looks.saturating_sub(if is_own { LOOKS_PER_LINE } else { 0 });
                continue;
            }
            self.pass.is_brief = own.is_some_and(|(own, is_brief)| own == rank && is_brief);
            let lanes = self.pass.lanes.iter().map(|(python, at)| (*python, (*at).max(Some(rank))));
            let others = lanes.filter_map(|(python, at)| self.ready.small_after(python, at));
            let own = self.ready.own_after(self.pass.own_at.max(Some(rank))).next();
            let next = own.into_iter().chain(others).min().filter(|next| next.priority == rank.priority);
            return Some((rank, next.map_or(u64::MAX, |next| next.ticket)));
        }
    }

    /// A line has had its turn.
    pub(super) fn end_turn(&mut self, rank: Rank, is_small: bool, turn: Turn) {
        let Rank { queue, line, .. } = rank;
        self.ready.put_right(&self.tasks, queue, line);
        let python = self.ready.queue(queue).class.python;
        let at = match turn {
            Turn::Over(ticket) if !self.pass.is_brief => Rank { ticket, ..rank },
            _ => rank,
        };
        let lanes = &mut self.pass.lanes;
        match turn {
            _ if !is_small => self.pass.own_at = Some(at),
            Turn::Closed if python.is_none() => lanes.clear(),
            Turn::Closed => lanes.retain(|(other, _)| *other != python),
            Turn::Yields | Turn::Over(_) => {
                lanes.iter_mut().filter(|(other, _)| *other == python).for_each(|(_, last)| *last = Some(at));
            }
        }
    }

    /// A pass ends before its time: the next one goes on from there.
    pub(super) fn break_off(&mut self) {
        let Pass { scope, own_at, resume, left_off, is_over, .. } = &mut self.pass;
        if resume.is_none() && left_off.is_none() && !*is_over {
            *left_off = match *scope {
                Scope::KeepingUntil(last) => (*own_at).max(Some(last)),
                Scope::All | Scope::Keeping => *own_at,
            };
        }
    }

    /// The next line of tasks with a seat of their own, and whether it is only to be looked at where room is kept for it.
    fn next_own(&mut self) -> Option<(Rank, bool)> {
        loop {
            let at = self.pass.own_at;
            match self.pass.scope {
                Scope::All => {
                    self.skip_refused();
                    let next = self.ready.own_after(self.pass.own_at).next();
                    match next {
                        Some(next) if self.slice.looks > 0 => return Some((next, false)),
                        Some(_) => self.leave_out(),
                        None => {
                            (self.pass.resume, self.pass.is_over) = (None, true);
                            self.pass.again = self.pass.has_passed_over && self.pass.since != self.news();
                            return None;
                        }
                    }
                }
                Scope::KeepingUntil(last) => match self.next_keeping(at).filter(|next| *next <= last) {
                    Some(next) => return Some((next, true)),
                    None => (self.pass.scope, self.pass.own_at) = (Scope::All, Some(last)),
                },
                Scope::Keeping => return self.next_keeping(at).map(|next| (next, true)),
            }
        }
    }

    /// Passes over lines for which there is no room and nowhere to keep any, as is known from others.
    fn skip_refused(&mut self) {
        let Pass { roomless, unkept, own_at, .. } = &mut self.pass;
        let mut skipped = *own_at;
        for rank in self.ready.own_after(*own_at) {
            let queue = self.ready.queue(rank.queue);
            let keeps = queue.reserved(rank.line).is_some();
            if self.slice.looks == 0 || keeps || !roomless.cover(&queue.class) || !unkept.cover(&queue.class) {
                break;
            }
            self.slice.looks = self.slice.looks.saturating_sub(LOOKS_PER_LINE);
            skipped = Some(rank);
        }
        *own_at = skipped;
    }

    /// There are no more looks for the lines that come next.
    fn leave_out(&mut self) {
        let at = self.pass.own_at;
        self.slice.looks = core::mem::take(&mut self.pass.later_looks);
        match self.pass.resume.take() {
            Some(last) if Some(last) > at => {
                (self.pass.scope, self.pass.has_passed_over) = (Scope::KeepingUntil(last), true);
            }
            Some(_) => {}
            None => {
                // One that follows another in its step may have had no looks at all.
                self.pass.again |= at.is_none();
                (self.pass.left_off, self.pass.scope) = (at, Scope::Keeping);
            }
        }
    }

    fn next_keeping(&mut self, at: Option<Rank>) -> Option<Rank> {
        let keeping = self.pass.keeping.get_or_insert_with(|| self.ready.keeping(&self.tasks));
        keeping.get(keeping.partition_point(|rank| Some(*rank) <= at)).copied()
    }

    /// Whether a request was refused in this pass already.
    pub(super) fn is_refused(&mut self, queue: u32, by: impl Fn(&Pass) -> &Refusals) -> bool {
        self.slice.looks = self.slice.looks.saturating_sub(LOOKS_PER_LINE);
        by(&self.pass).cover(&self.ready.queue(queue).class)
    }
}
