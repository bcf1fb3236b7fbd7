//! The ends of chunks that the coordinator asks for, because somebody is idle, perhaps at another worker.
//!
//! Only what comes last of an attempt can go: what remains of it is one value, over items that follow one another. What
//! has gone is the attempt's no more; its call is about fewer items from then on, whatever becomes of it.

use super::attempt::{Handle, Place};
use super::executor::Life;
use super::hand::{Grip, Wish};
use super::part::Split;
use super::{Action, Brain, Entry};
use crate::id::AttemptId;
use crate::spec::{Span, Tail};
use alloc::vec::Vec;

/// An entry of which the tail has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cutting {
    pub(super) entry: Entry,
    pub(super) by: Cutter,
}

/// Who wants the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cutter {
    /// This worker, for an executor of its own.
    Worker,
    /// The coordinator, which has to be answered.
    Coordinator(AttemptId),
}

impl Brain {
    pub(super) fn on_tail_wanted(&mut self, id: AttemptId, actions: &mut Vec<Action>) {
        // What is not here any more is answered by what became of it.
        let Some(whole) = self.attempts.find(id) else { return };
        let last = Some(whole).filter(|whole| self.attempts.get(*whole).start.tail == Tail::Asked);
        let last = last.and_then(|whole| self.last_part(whole));
        match last.map(|last| (last, self.attempts.get(last).place)) {
            Some((last, Place::Given { seat, entry })) if self.may_be_asked(last, seat, entry) => {
                self.ask_for_tail(id, seat, entry, actions);
            }
            Some((last, Place::Queued(_))) if !self.attempts.get(last).has_killed() => self.give_queued(whole, last),
            Some((_, Place::Queued(_) | Place::Given { .. } | Place::Awaiting { .. } | Place::Split)) | None => {
                self.reports.push_cut(id, None);
            }
        }
    }

    /// The part with the last items of an attempt, if that is not over; one that is not in parts is all of itself.
    fn last_part(&self, whole: Handle) -> Option<Handle> {
        self.splits.get(&whole).map_or(Some(whole), Split::last)
    }

    fn may_be_asked(&self, last: Handle, seat: usize, entry: Entry) -> bool {
        let executor = self.fleet.get(seat).filter(|executor| executor.life == Life::Ready);
        let Some(executor) = executor.filter(|x| x.cutting.is_none_or(|cutting| cutting.entry == entry)) else {
            return false;
        };
        let free = executor.hand.get(entry).is_some_and(|held| held.wish() == Wish::Run && held.grip() != Grip::Asked);
        free && self.attempts.get(last).may_be_cut()
    }

    fn ask_for_tail(&mut self, id: AttemptId, seat: usize, entry: Entry, actions: &mut Vec<Action>) {
        let executor = self.fleet.at(seat);
        let cutting = Cutting { entry, by: Cutter::Coordinator(id) };
        if executor.cutting.replace(cutting).is_none() {
            actions.push(Action::Cut { executor: executor.id, entry });
        }
    }

    /// Nobody is at these items: all of them go if others of the attempt are left, else half.
    fn give_queued(&mut self, whole: Handle, last: Handle) {
        let (first, end) = self.attempts.get(last).items();
        let follows = self.attempts.get(last).follows();
        let at = if follows { first } else { first + (end - first).div_ceil(2) };
        if at < end {
            self.hand_over(whole, last, at);
        } else {
            let id = self.attempts.get(whole).start.attempt;
            self.reports.push_cut(id, None);
        }
    }

    /// The page has answered for the coordinator: the items from `at` on will never begin here. False if others of the
    /// attempt come after them, so that they have to stay.
    pub(super) fn hand_over_cut(&mut self, id: AttemptId, part: Handle, at: u32) -> bool {
        let whole = self.attempts.find(id).filter(|whole| self.last_part(*whole) == Some(part));
        match whole {
            Some(whole) => self.hand_over(whole, part, at),
            None => self.reports.push_cut(id, None),
        }
        whole.is_some()
    }

    /// Nothing was to be had of an entry.
    pub(super) fn answer_without_tail(&mut self, cutting: Cutting) {
        if let Cutter::Coordinator(id) = cutting.by {
            self.reports.push_cut(id, None);
        }
    }

    fn hand_over(&mut self, whole: Handle, last: Handle, at: u32) {
        let start = &mut self.attempts.get_mut(whole).start;
        start.call = start.call.over(Span { end: at, ..start.call.span() });
        self.reports.push_cut(start.attempt, Some(at));
        if last != whole {
            self.shorten_part(whole, last, at);
        }
    }
}
