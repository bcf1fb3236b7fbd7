//! Who gets what: an idle executor first, then short queues behind what runs, and taking back from the longest queue.
//!
//! Larger priorities go first. Nothing is queued behind what runs while more of a larger priority waits anywhere, and
//! what has been is taken back for it.

use super::attempt::{Handle, Place, Rank};
use super::executor::{Executor, Life};
use super::hand::{Grip, Held};
use super::{Action, Brain, Entry, Order};
use crate::limits;
use crate::time::Time;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Behind all that can wait.
const LAST: Rank = (Reverse(i32::MIN), u64::MAX);

/// What may be done for an attempt that runs apart.
enum Room {
    /// This executor is free for it.
    Here(usize),
    /// An executor for it is on its way.
    Coming,
    /// It must wait, and nothing that came after it may overtake it.
    None,
}

impl Brain {
    /// Hands out what is queued, as far as executors have room.
    pub(super) fn place(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.attempts.is_empty() || self.reports.is_choked() {
            return;
        }
        if self.objects.memory.is_swamped() {
            return self.hold_back();
        }
        let mut free = self.fleet.free_cpus();
        if self.is_waiting_above(free) {
            return;
        }
        let bar = self.place_apart(now, &mut free, actions);
        self.place_idle(&mut free, bar, actions);
        match self.next_plain(bar).map(|handle| self.attempts.get(handle).start.priority) {
            Some(priority) => self.place_behind(priority, bar, actions),
            None => self.rebalance(free, None),
        }
    }

    /// Gives what runs apart, in order, after what came before it. Returns the rank that nothing plain may overtake.
    fn place_apart(&mut self, now: Time, free: &mut u32, actions: &mut Vec<Action>) -> Rank {
        let mut pledged = Vec::new();
        let mut next = self.queue.apart.front();
        while let Some(handle) = next {
            next = self.queue.apart.after(&self.attempts, handle);
            let attempt = self.attempts.get(handle);
            let (cpus, rank) = (attempt.start.request.cpus.max(1), attempt.rank());
            self.place_idle(free, rank, actions);
            if self.next_plain(rank).is_some() {
                return rank;
            }
            // Named resources that are taken hold up only those who ask for them.
            if !self.free.holds(&self.attempts.get(handle).start.request) {
                continue;
            }
            match self.room(now, cpus, free, &mut pledged, actions) {
                Room::Here(seat) => {
                    *free -= cpus;
                    self.free.take(&self.attempts.get(handle).start.request);
                    self.give(seat, handle, actions);
                }
                Room::Coming => {}
                Room::None => return rank,
            }
        }
        LAST
    }

    /// Finds an executor of `cpus` slots, or starts one.
    fn room(
        &mut self,
        now: Time,
        cpus: u32,
        free: &mut u32,
        pledged: &mut Vec<usize>,
        actions: &mut Vec<Action>,
    ) -> Room {
        let idle = self.fleet.iter().find(|(_, executor)| executor.cpus == cpus && executor.is_idle());
        if let Some((seat, _)) = idle.filter(|_| *free >= cpus) {
            return Room::Here(seat);
        }
        if cpus == 1 {
            return Room::None;
        }
        let starting = |executor: &Executor| matches!(executor.life, Life::Starting { .. });
        let coming = self.fleet.iter().find(|(seat, x)| x.cpus == cpus && starting(x) && !pledged.contains(seat));
        if let Some((seat, _)) = coming {
            pledged.push(seat);
            return Room::Coming;
        }
        if *free < cpus || !self.may_spawn() {
            return Room::None;
        }
        // Idle executors that serve another number of slots make room; those of one slot each stay.
        for executor in self.fleet.iter_mut().filter(|x| x.cpus > 1 && x.cpus != cpus && x.is_idle()) {
            executor.kill(actions);
        }
        let seat = self.fleet.wide_seat();
        self.fleet.spawn(seat, cpus, now + self.config.supervision.spawn_timeout, actions);
        *free -= cpus;
        pledged.push(seat);
        Room::Coming
    }

    /// One for each idle executor.
    fn place_idle(&mut self, free: &mut u32, bar: Rank, actions: &mut Vec<Action>) {
        for seat in 0..self.fleet.slots() {
            if *free == 0 || self.next_plain(bar).is_none() {
                return;
            }
            if self.fleet.get(seat).is_some_and(Executor::is_idle) {
                *free -= 1;
                self.give_next(seat, bar, actions);
            }
        }
    }

    /// Queues more behind what runs: as much as keeps executors busy, and no more, for what is queued here can still go
    /// anywhere. The next of the queue has this priority: what has less makes room first, and goes behind nothing yet.
    fn place_behind(&mut self, priority: i32, bar: Rank, actions: &mut Vec<Action>) {
        if self.outrank(priority) || self.is_outranked(priority) {
            return;
        }
        let bar = bar.min((Reverse(priority), u64::MAX));
        let depth = self.depth();
        for seat in 0..self.fleet.slots() {
            let Some(executor) = self.fleet.get(seat) else { continue };
            let held = executor.hand.len();
            // A quarter of it at a time, so that few messages go; but a queue of two is filled one by one.
            if held == 0 || held + (depth / 4).max(1) > depth {
                continue;
            }
            for _ in held..depth {
                if !self.fleet.get(seat).is_some_and(Executor::is_open) || !self.give_next(seat, bar, actions) {
                    break;
                }
            }
        }
    }

    /// Asks for all that has not begun: what it comes to finds no room yet.
    fn hold_back(&mut self) {
        for seat in 0..self.fleet.slots() {
            let Some(executor) = self.fleet.get(seat).filter(|executor| executor.life == Life::Ready) else { continue };
            let loose = spare(executor).filter(|(_, held)| held.grip() == Grip::Loose);
            let loose: Vec<Entry> = loose.map(|(entry, _)| entry).collect();
            loose.into_iter().for_each(|entry| self.ask_back(seat, entry));
        }
    }

    /// How many attempts an executor should hold: half of its share, one at least; no more while memory is short.
    fn depth(&self) -> usize {
        if self.objects.memory.is_short() {
            return 1;
        }
        let given: usize = (0..self.fleet.slots()).filter_map(|seat| self.fleet.get(seat)).map(|x| x.hand.len()).sum();
        let total = given + self.queue.plain.first_len();
        (total / (2 * self.fleet.slots()) + 1).min(limits::EXECUTOR_QUEUE)
    }

    fn next_plain(&self, bar: Rank) -> Option<Handle> {
        self.queue.plain.front().filter(|handle| self.attempts.get(*handle).rank() < bar)
    }

    /// Gives the next of the queue. False if there is none.
    fn give_next(&mut self, seat: usize, bar: Rank, actions: &mut Vec<Action>) -> bool {
        let Some(handle) = self.next_plain(bar) else { return false };
        self.give(seat, handle, actions);
        true
    }

    fn give(&mut self, seat: usize, handle: Handle, actions: &mut Vec<Action>) {
        self.queue.remove(&mut self.attempts, handle);
        let attempt = self.attempts.get_mut(handle);
        let executor = self.fleet.at(seat);
        for slot in [Some(attempt.function), attempt.merge].into_iter().flatten() {
            if !executor.mirror.knows(slot) {
                executor.mirror.learn(slot);
                let (session, function) = self.functions.get(slot);
                actions.push(Action::Define { executor: executor.id, session, function: function.clone() });
            }
        }
        let entry = executor.hand.push(handle, attempt.class, attempt.start.priority);
        attempt.place = Place::Given { seat, entry };
        attempt.passed = attempt.start.inputs.len();
        executor.orders.push(Order { entry, start: attempt.start.clone(), part: attempt.part() });
    }

    /// Asks for all of less than this priority that has not begun. Whether there is any.
    fn outrank(&mut self, priority: i32) -> bool {
        let mut outranked = false;
        for seat in 0..self.fleet.slots() {
            let Some(executor) = self.fleet.get(seat).filter(|x| x.hand.may_be_below(priority)) else { continue };
            let lower = spare(executor).filter(|(_, held)| held.priority() < priority);
            let lower: Vec<Entry> = lower.map(|(entry, _)| entry).collect();
            outranked |= executor.life == Life::Ready && !lower.is_empty();
            lower.into_iter().for_each(|entry| self.ask_back(seat, entry));
        }
        outranked
    }

    /// Whether something of more than this priority waits in an executor's hands.
    fn is_outranked(&self, priority: i32) -> bool {
        let hands = (0..self.fleet.slots()).filter_map(|seat| self.fleet.get(seat));
        let mut hands = hands.filter(|executor| executor.life == Life::Ready && executor.hand.may_be_above(priority));
        hands.any(|executor| spare(executor).any(|(_, held)| held.priority() > priority))
    }

    /// If executors are idle and something of a larger priority than all that is queued waits behind what runs, asks
    /// for that. Whether its return, or that of some asked for before, is to be waited for.
    fn is_waiting_above(&mut self, free: u32) -> bool {
        let Some(priority) = self.queue.plain.front().map(|handle| self.attempts.get(handle).start.priority) else {
            return false;
        };
        let above = |executor: &Executor| executor.life == Life::Ready && executor.hand.may_be_above(priority);
        if free == 0 || !self.fleet.iter().any(|(_, executor)| above(executor)) {
            return false;
        }
        self.rebalance(free, Some(priority));
        let asked = |(_, held): (_, &Held)| held.grip() == Grip::Asked && held.priority() > priority;
        self.fleet.iter().filter(|(_, executor)| above(executor)).any(|(_, executor)| executor.hand.iter().any(asked))
    }

    /// If executors are idle, asks the longest queue for a share of what has not begun and is above this priority.
    fn rebalance(&mut self, free: u32, above: Option<i32>) {
        if free == 0 {
            return;
        }
        let seats = || (0..self.fleet.slots()).filter_map(|seat| Some((seat, self.fleet.get(seat)?)));
        let idle = seats().filter(|(_, executor)| executor.is_idle()).count().min(free as usize);
        let lenders = seats().filter(|(_, executor)| executor.life == Life::Ready && executor.hand.asked() == 0);
        let lent = |(_, held): &(Entry, &Held)| {
            held.grip() == Grip::Loose && above.is_none_or(|priority| held.priority() > priority)
        };
        let longest = lenders.map(|(seat, executor)| (spare(executor).filter(lent).count(), seat)).max();
        let Some((most, seat)) = longest.filter(|(most, _)| idle * most > 0) else { return };
        let share = (most * idle / (idle + 1)).max(1);
        let executor = self.fleet.at(seat);
        let entries: Vec<_> = spare(executor).filter(lent).skip(most - share).map(|(entry, _)| entry).collect();
        entries.into_iter().for_each(|entry| self.ask_back(seat, entry));
    }

    /// Sends what executors are asked to give back.
    pub(super) fn send_asks(&mut self, actions: &mut Vec<Action>) {
        for executor in self.fleet.iter_mut().filter(|executor| !executor.asks.is_empty()) {
            let entries = core::mem::take(&mut executor.asks);
            actions.push(Action::Revoke { executor: executor.id, entries });
        }
    }

    /// Sends what executors are given.
    pub(super) fn send_orders(&mut self, actions: &mut Vec<Action>) {
        for executor in self.fleet.iter_mut().filter(|executor| !executor.orders.is_empty()) {
            let orders = core::mem::take(&mut executor.orders);
            actions.push(Action::Give { executor: executor.id, orders });
        }
    }
}

/// What an executor need not keep: all that is not known to have begun, but for the oldest, which is about to.
fn spare(executor: &Executor) -> impl Iterator<Item = (Entry, &Held)> {
    executor.hand.iter().skip(1).filter(|(_, held)| held.grip() != Grip::Begun)
}
