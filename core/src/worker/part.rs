//! Chunks in parts: one that was cut because an executor was idle or something of a larger priority waited, or around an
//! item that killed one.
//!
//! The parts of an attempt are attempts of their own here, each with some of its items and a place of its own; the whole
//! keeps its name and waits for them. It is reported once, when all its parts are over: what they came to follows one
//! another in the order of their items, or is folded in that order. Nobody else knows of parts.
//!
//! An item that takes its executor down is run again alone, and the others without it; once it has done so as often as
//! it may, the executor is only told that it did.

use super::attempt::{Attempt, Class, Handle, Place, Solid};
use super::drain::Stay;
use super::executor::{Executor, Life};
use super::hand::{Grip, Wish};
use super::queue::Links;
use super::tail::{Cutter, Cutting};
use super::{Action, Brain, Entry};
use crate::id::ExecutorId;
use crate::limits;
use crate::outcome::{Death, Ending, Outcome};
use crate::spec::{Call, Cancel, Part, Start, Tail};
use crate::time::Time;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Deaths that are told with a crashed item; the count goes on beyond.
const DEATHS_TOLD: usize = 64;

/// Which part of which attempt something is.
#[derive(Debug)]
pub(super) struct Share {
    whole: Handle,
    first: u32,
    end: u32,
    /// Executors that died under its one item.
    killed: u32,
    deaths: Vec<Death>,
}

/// An attempt in parts.
#[derive(Debug)]
pub(super) struct Split {
    /// By their first items; without gaps.
    pieces: BTreeMap<u32, Piece>,
    live: usize,
    run_micros: u64,
    demand: Demand,
}

#[derive(Debug)]
enum Piece {
    Live(Handle),
    Over { end: u32, ending: Ending },
}

impl Piece {
    const fn live(&self) -> Option<Handle> {
        match self {
            Self::Live(handle) => Some(*handle),
            Self::Over { .. } => None,
        }
    }
}

/// Whether the coordinator still wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    Wanted,
    Cancelled,
}

/// All attempts in parts.
pub(super) type Splits = BTreeMap<Handle, Split>;

impl Attempt {
    /// The first of its items, and the one after the last.
    pub(super) fn items(&self) -> (u32, u32) {
        let span = self.start.call.span();
        self.share.as_ref().map_or((span.first, span.end), |share| (share.first, share.end))
    }

    /// What its executor is told of its items, if not all of a chunk are meant.
    pub(super) fn part(&self) -> Option<Part> {
        let share = self.share.as_ref().filter(|_| !self.start.call.span().is_empty())?;
        let deaths = if self.has_crashed() { share.deaths.clone() } else { Vec::new() };
        Some(Part { first: share.first, end: share.end, deaths })
    }

    /// Whether its one item has killed as many executors as it may.
    fn has_crashed(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.killed >= self.start.crash_limit.max(1))
    }

    /// Whether it is not the first part of anything.
    pub(super) fn follows(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.first > self.start.call.span().first)
    }

    /// Whether it is one item that has taken executors down: what is known of that stays here.
    pub(super) fn has_killed(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.killed > 0)
    }

    pub(super) fn may_be_cut(&self) -> bool {
        let (first, end) = self.items();
        self.class == Class::Plain && self.solid == Solid::No && end - first > 1 && self.is_complete()
    }

    /// Whether all it needs is in its executor's hands.
    fn is_complete(&self) -> bool {
        self.passed as u64 >= self.start.inputs_total
    }
}

impl Split {
    /// The part with the last items, if it is not over.
    pub(super) fn last(&self) -> Option<Handle> {
        self.pieces.last_key_value().and_then(|(_, piece)| piece.live())
    }

    fn handles(&self) -> Vec<Handle> {
        self.pieces.values().filter_map(Piece::live).collect()
    }

    /// What the first parts that failed came to: an error of the function says more than that others were stopped for it.
    fn failure(&mut self) -> Option<Ending> {
        if self.demand == Demand::Cancelled {
            return Some(Ending::Cancelled);
        }
        let grade = |ending: &Ending| match ending {
            Ending::Raised { .. } => 0,
            Ending::Crashed(_) => 1,
            Ending::TooLarge { .. } | Ending::NoSpace(_) => 2,
            Ending::Cancelled => 3,
            Ending::Returned(_) | Ending::Skipped => 4,
        };
        let over = |piece: &Piece| if let Piece::Over { ending, .. } = piece { grade(ending) } else { 4 };
        let (first, worst) = self.pieces.iter().map(|(first, piece)| (*first, over(piece))).min_by_key(|(_, g)| *g)?;
        if worst == 4 {
            return None;
        }
        match self.pieces.remove(&first)? {
            Piece::Over { ending, .. } => Some(ending),
            Piece::Live(_) => None,
        }
    }

    /// The values of all parts, in order.
    fn values(self) -> Vec<Value> {
        let value = |piece| match piece {
            Piece::Over { ending: Ending::Returned(value), .. } => Some(value),
            Piece::Over { .. } | Piece::Live(_) => None,
        };
        self.pieces.into_values().filter_map(value).collect()
    }
}

impl Brain {
    pub(super) fn is_part(&self, handle: Handle) -> bool {
        self.attempts.get(handle).share.is_some()
    }

    /// Takes the tails of chunks for whoever should not have to wait for them.
    pub(super) fn cut_chunks(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.cut_at = None;
        let mut lenders = Vec::new();
        for seat in 0..self.fleet.slots() {
            let Some((since, entry)) = self.watch_front(now, seat) else { continue };
            if self.may_cut(seat, entry) {
                lenders.push((since, seat, entry));
            }
        }
        if self.reports.is_choked() {
            return;
        }
        for (since, seat, entry) in &lenders {
            if self.is_in_the_way(*seat, *entry) {
                self.cut(now, *since + limits::CUT_FOR_LARGER, *seat, *entry, actions);
            }
        }
        self.cut_for_idle(now, lenders, actions);
    }

    /// If executors are idle and nothing waits, takes the tails of the chunks that have been running longest. Those for which
    /// the coordinator asks are its own to give out.
    fn cut_for_idle(&mut self, now: Time, mut lenders: Vec<(Time, usize, Entry)>, actions: &mut Vec<Action>) {
        let idle =
            self.fleet.iter().filter(|(seat, executor)| *seat < self.fleet.slots() && executor.is_idle()).count();
        let idle = idle.min(self.fleet.free_cpus() as usize);
        let asked = self.fleet.iter().any(|(_, executor)| executor.hand.asked() > 0);
        if idle == 0 || asked || self.queue.plain.front().is_some() {
            return;
        }
        lenders.retain(|(_, seat, entry)| self.keeps_tail(*seat, *entry));
        lenders.sort_unstable();
        for (since, seat, entry) in lenders.into_iter().take(idle) {
            self.cut(now, since + limits::CUT_AFTER, seat, entry, actions);
        }
    }

    /// Cuts a chunk once that is due.
    fn cut(&mut self, now: Time, due: Time, seat: usize, entry: Entry, actions: &mut Vec<Action>) {
        if due > now {
            self.cut_at = Some(self.cut_at.map_or(due, |at| at.min(due)));
            return;
        }
        let executor = self.fleet.at(seat);
        if executor.cutting.replace(Cutting { entry, by: Cutter::Worker }).is_none() {
            actions.push(Action::Cut { executor: executor.id, entry });
        }
    }

    fn keeps_tail(&self, seat: usize, entry: Entry) -> bool {
        let held = self.fleet.get(seat).and_then(|executor| executor.hand.get(entry));
        held.is_some_and(|held| self.attempts.get(held.handle).start.tail == Tail::Kept)
    }

    /// Whether something of a larger priority waits while this executor is at this entry.
    fn is_in_the_way(&self, seat: usize, entry: Entry) -> bool {
        let Some(executor) = self.fleet.get(seat) else { return false };
        let Some(held) = executor.hand.get(entry) else { return false };
        let priority = self.attempts.get(held.handle).start.priority;
        let behind = executor.hand.iter().nth(1).map(|(_, held)| held.handle);
        let waiting = [behind, self.queue.plain.front(), self.queue.apart.front()];
        waiting.into_iter().flatten().any(|handle| self.attempts.get(handle).start.priority > priority)
    }

    /// The entry that an executor is at, and since when.
    fn watch_front(&mut self, now: Time, seat: usize) -> Option<(Time, Entry)> {
        self.fleet.get(seat)?;
        let executor = self.fleet.at(seat);
        let front = executor.hand.iter().next().map(|(entry, _)| entry);
        if executor.front.map(|(entry, _)| entry) != front {
            executor.front = front.map(|entry| (entry, now));
        }
        executor.front.map(|(entry, since)| (since, entry))
    }

    fn may_cut(&self, seat: usize, entry: Entry) -> bool {
        let executor = self.fleet.get(seat).filter(|x| x.life == Life::Ready && x.cutting.is_none());
        let held = executor.and_then(|executor| executor.hand.get(entry));
        held.is_some_and(|held| {
            let free = held.wish() == Wish::Run && held.grip() != Grip::Asked;
            free && self.attempts.get(held.handle).may_be_cut()
        })
    }

    /// An executor's page answers: it will never begin the items from `tail` on.
    pub(super) fn on_cut(&mut self, executor: ExecutorId, entry: Entry, tail: Option<u32>) {
        let Some(seat) = self.fleet.find(executor) else { return };
        let executor = self.fleet.at(seat);
        let Some(cutting) = executor.cutting.take_if(|cutting| cutting.entry == entry) else { return };
        let held = executor.hand.get(entry).copied();
        let items = held.map(|held| self.attempts.get(held.handle).items());
        let tail = items.and_then(|(first, end)| tail.filter(|at| first < *at && *at < end));
        let (Some(held), Some(at)) = (held, tail) else {
            held.into_iter().for_each(|held| self.attempts.get_mut(held.handle).solid = Solid::Yes);
            return self.answer_without_tail(cutting);
        };
        if let Cutter::Coordinator(id) = cutting.by
            && self.hand_over_cut(id, held.handle, at)
        {
            return;
        }
        let part = self.as_part(held.handle);
        let tail = self.split_off(part, at);
        let hand = &mut self.fleet.at(seat).hand;
        hand.set_handle(entry, part);
        match held.wish() {
            Wish::Cancel(Cancel::Running) => return self.conclude(tail, Ending::Cancelled, 0),
            // It has begun, in a way: now it cannot be returned.
            Wish::Return => hand.set_wish(entry, Wish::Run),
            Wish::Run | Wish::Cancel(Cancel::Pending) => {}
        }
        if self.is_whole(tail) {
            self.queue.push(&mut self.attempts, tail);
        }
    }

    /// One part that is all of an attempt, in its place, if it is not a part already.
    fn as_part(&mut self, handle: Handle) -> Handle {
        if self.is_part(handle) {
            return handle;
        }
        let whole = self.attempts.get(handle);
        let items = whole.items();
        let (start, place, class) = (whole.start.clone(), whole.place, whole.class);
        let part = self.add_part(handle, start, items, class, place);
        self.attempts.get_mut(handle).place = Place::Split;
        let pieces = BTreeMap::from([(items.0, Piece::Live(part))]);
        self.splits.insert(handle, Split { pieces, live: 1, run_micros: 0, demand: Demand::Wanted });
        part
    }

    fn add_part(&mut self, whole: Handle, start: Start, items: (u32, u32), class: Class, place: Place) -> Handle {
        let of = self.attempts.get(whole);
        let (function, merge) = match start.call {
            Call::Fold => (of.merge.expect("what is folded has a function for it"), None),
            _ => (of.function, of.merge),
        };
        [Some(function), merge].into_iter().flatten().for_each(|slot| self.functions.share(slot));
        let share = Some(Share { whole, first: items.0, end: items.1, killed: 0, deaths: Vec::new() });
        let order = of.order;
        let solid = Solid::No;
        let passed = start.inputs.len();
        let heirs = Vec::new();
        let part = Attempt { start, function, merge, class, order, suspicion: 0, heirs, passed, place, share, solid };
        self.attempts.insert_part(part)
    }

    /// Makes the items of a part from `at` on a part of their own, which has no place yet.
    fn split_off(&mut self, part: Handle, at: u32) -> Handle {
        let attempt = self.attempts.get_mut(part);
        let (_, end) = attempt.items();
        let (start, class) = (attempt.start.clone(), plain(attempt.class));
        let share = attempt.share.as_mut().expect("a part has a share");
        let whole = share.whole;
        share.end = at;
        let tail = self.add_part(whole, start, (at, end), class, Place::Queued(Links::default()));
        let split = self.splits.get_mut(&whole).expect("a part belongs to an attempt in parts");
        split.pieces.insert(at, Piece::Live(tail));
        split.live += 1;
        tail
    }

    /// The last part ends before the item `at` from now on; without any items it is not even over.
    pub(super) fn shorten_part(&mut self, whole: Handle, last: Handle, at: u32) {
        let share = self.attempts.get_mut(last).share.as_mut().expect("a part has a share");
        if share.first < at {
            share.end = at;
            return;
        }
        let first = share.first;
        self.queue.remove(&mut self.attempts, last);
        self.let_go(last);
        let split = self.splits.get_mut(&whole).expect("a part belongs to an attempt in parts");
        split.pieces.remove(&first);
        split.live -= 1;
        if split.live == 0 {
            self.complete(whole);
        }
    }

    /// An item has taken its executor down. What is to be run again: the items before it, whose values are lost, it alone,
    /// and those that had not begun. Nothing if that item is none of this attempt's.
    pub(super) fn isolate(&mut self, handle: Handle, item: Option<u32>, death: &Death) -> Vec<Handle> {
        let attempt = self.attempts.get(handle);
        let (first, end) = attempt.items();
        let complete = attempt.is_complete();
        let Some(item) = item.filter(|item| complete && first <= *item && *item < end) else { return Vec::new() };
        let part = self.as_part(handle);
        let mut again = Vec::new();
        if item + 1 < end {
            again.push(self.split_off(part, item + 1));
        }
        let suspect = if first < item { self.split_off(part, item) } else { part };
        if suspect != part {
            again.push(part);
        }
        again.push(suspect);
        let attempt = self.attempts.get_mut(suspect);
        let share = attempt.share.as_mut().expect("a part has a share");
        share.killed = share.killed.saturating_add(1);
        if share.deaths.len() < DEATHS_TOLD {
            share.deaths.push(death.clone());
        }
        attempt.class = match attempt.class {
            Class::Apart => Class::Apart,
            Class::Plain | Class::Last => {
                if attempt.has_crashed() {
                    Class::Plain
                } else {
                    Class::Last
                }
            }
        };
        again
    }

    /// A part is over; with the last one its attempt is.
    pub(super) fn end_part(&mut self, handle: Handle, ending: Ending, run_micros: u64) {
        let (_, end) = self.attempts.get(handle).items();
        let attempt = self.let_go(handle);
        let share = attempt.share.expect("a part has a share");
        let split = self.splits.get_mut(&share.whole).expect("a part belongs to an attempt in parts");
        split.live -= 1;
        split.run_micros = split.run_micros.saturating_add(run_micros);
        let failed = !matches!(ending, Ending::Returned(_) | Ending::Skipped);
        split.pieces.insert(share.first, Piece::Over { end, ending });
        if split.live == 0 {
            self.complete(share.whole);
        } else if failed {
            self.failed.push(attempt.start.attempt);
        }
    }

    fn complete(&mut self, whole: Handle) {
        let mut split = self.splits.remove(&whole).expect("it is in parts");
        let run_micros = split.run_micros;
        let folds = matches!(self.attempts.get(whole).start.call, Call::ChunkFold { .. });
        let ending = match split.failure() {
            Some(failure) => failure,
            None => {
                let values = split.values();
                if folds && values.len() > 1 {
                    return self.fold_parts(whole, values, run_micros);
                }
                if values.is_empty() { Ending::Skipped } else { join(values) }
            }
        };
        self.conclude(whole, ending, run_micros);
    }

    /// What the parts of a chunk came to is merged in order, which is a part once more: the last one.
    fn fold_parts(&mut self, whole: Handle, values: Vec<Value>, run_micros: u64) {
        if self.stay == Stay::Breaking {
            self.forget(whole);
            return;
        }
        let attempt = self.attempts.get(whole);
        let Call::ChunkFold { merge, .. } = attempt.start.call else { return };
        let (call, inputs_total) = (Call::Fold, values.len() as u64);
        let inputs = values.into_iter().map(Outcome::Value).collect();
        let (args, function) = (Value::empty(), merge);
        let start = Start { call, function, args, inputs, inputs_total, ..attempt.start.clone() };
        let class = plain(attempt.class);
        let fold = self.add_part(whole, start, (0, 0), class, Place::Queued(Links::default()));
        let pieces = BTreeMap::from([(0, Piece::Live(fold))]);
        self.splits.insert(whole, Split { pieces, live: 1, run_micros, demand: Demand::Wanted });
        self.queue.push(&mut self.attempts, fold);
    }

    /// Stops all parts of an attempt that nobody wants. What has been cut has begun: a softer wish comes too late, unless
    /// parts wait for an object, which nobody may bring them any more.
    pub(super) fn cancel_parts(&mut self, now: Time, whole: Handle, cancel: Cancel, actions: &mut Vec<Action>) {
        let Some(split) = self.splits.get_mut(&whole) else { return };
        let parts = split.handles();
        let waits = |part: &Handle| matches!(self.attempts.get(*part).place, Place::Awaiting { .. });
        if cancel != Cancel::Running && !parts.iter().any(waits) {
            return;
        }
        split.demand = Demand::Cancelled;
        parts.into_iter().for_each(|part| self.cancel_one(now, part, cancel, actions));
    }

    /// Where one part has failed, the others are of no use.
    pub(super) fn stop_failed(&mut self, now: Time, actions: &mut Vec<Action>) {
        for id in core::mem::take(&mut self.failed) {
            let split = self.attempts.find(id).and_then(|whole| self.splits.get(&whole));
            let parts = split.map(Split::handles).unwrap_or_default();
            parts.into_iter().for_each(|part| self.cancel_one(now, part, Cancel::Running, actions));
        }
        // Those that were stopped at once have failed too, but the others of their attempts know.
        self.failed.clear();
    }

    /// A worker that drains starts no executors. Attempts of which parts are left that none can take, while no other part
    /// runs, go back whole: they are made again elsewhere.
    pub(super) fn return_stuck(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.stay, Stay::Draining { .. }) {
            return;
        }
        let waits = |handle: &Handle| matches!(self.attempts.get(*handle).place, Place::Queued(_));
        let stuck = self.splits.iter().filter(|(_, split)| split.handles().iter().all(waits));
        for whole in stuck.map(|(whole, _)| *whole).collect::<Vec<_>>() {
            let split = self.splits.remove(&whole).expect("just seen");
            for part in split.handles() {
                self.queue.remove(&mut self.attempts, part);
                self.let_go(part);
            }
            self.give_back(whole);
        }
        // What only they needed goes with them.
        self.fleet.send_forgets(actions);
    }

    /// Drops what goes with the link.
    pub(super) fn abandon(&mut self, handle: Handle) {
        if !self.is_part(handle) {
            self.forget(handle);
            return;
        }
        let share = self.let_go(handle).share.expect("a part has a share");
        let split = self.splits.get_mut(&share.whole).expect("a part belongs to an attempt in parts");
        split.live -= 1;
        split.pieces.insert(share.first, Piece::Over { end: share.end, ending: Ending::Cancelled });
        if split.live == 0 {
            self.splits.remove(&share.whole);
            self.forget(share.whole);
        }
    }

    /// Parts and wholes know each other, and no item is lost or doubled.
    pub(super) fn check_parts(&self) {
        let split = self.attempts.iter().filter(|(_, attempt)| matches!(attempt.place, Place::Split));
        assert_eq!(split.count(), self.splits.len(), "what is split has its parts");
        let parts = self.attempts.iter().filter(|(_, attempt)| attempt.share.is_some()).count();
        assert_eq!(parts, self.splits.values().map(|split| split.live).sum::<usize>(), "parts are counted");
        for (whole, split) in &self.splits {
            assert_eq!(split.handles().len(), split.live);
            assert!(split.live > 0, "what has no part left is over");
            let span = self.attempts.get(*whole).start.call.span();
            let mut next = split.pieces.first_key_value().map_or(0, |(first, _)| *first);
            let first = next;
            for (first, piece) in &split.pieces {
                assert_eq!(*first, next, "no gap between parts");
                next = match piece {
                    Piece::Over { end, .. } => *end,
                    Piece::Live(handle) => {
                        let share = self.attempts.get(*handle).share.as_ref().expect("a part has a share");
                        assert_eq!((share.whole, share.first), (*whole, *first), "a part knows whose it is");
                        share.end
                    }
                };
            }
            let all = (first, next) == (span.first, span.end);
            assert!(all || next == 0, "every item is in a part, unless their values are being folded");
        }
        assert!(self.failed.is_empty(), "a step leaves nothing to stop");
    }
}

impl Executor {
    /// Nothing is known any more of what it is at.
    pub(super) const fn overlook(&mut self) {
        self.front = None;
        self.cutting = None;
    }
}

/// Parts of what could be queued can be.
const fn plain(class: Class) -> Class {
    match class {
        Class::Plain | Class::Last => Class::Plain,
        Class::Apart => Class::Apart,
    }
}

/// The values of parts one after the other: each is a pickle stream and its buffers, so whoever reads them finds the next.
fn join(mut values: Vec<Value>) -> Ending {
    if values.len() == 1 {
        return Ending::Returned(values.swap_remove(0));
    }
    let (size, limit) = (values.iter().map(|value| value.segments().len()).sum::<usize>(), limits::VALUE_SEGMENTS);
    if size > limit {
        return Ending::TooLarge { size: size as u64, limit: limit as u64 };
    }
    Ending::Returned(Value::from_segments(values.into_iter().flat_map(Value::into_segments).collect()))
}
