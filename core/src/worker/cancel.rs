//! What is taken back, cancelled or stopped before its own end.

use super::attempt::{Class, Handle, Place};
use super::executor::{Future, Life, Sent, Stop};
use super::hand::{Grip, Held, Wish};
use super::{Action, Brain, Entry, Signal};
use crate::id::{AttemptId, ExecutorId};
use crate::outcome::Ending;
use crate::spec::Cancel;
use crate::time::Time;
use alloc::vec::Vec;

impl Brain {
    pub(super) fn on_cancelled(&mut self, now: Time, ids: &[AttemptId], cancel: Cancel, actions: &mut Vec<Action>) {
        for id in ids {
            if let Some(handle) = self.attempts.find(*id) {
                self.cancel_one(now, handle, cancel, actions);
            }
        }
    }

    /// Cancels an attempt or a part of one, wherever it is.
    pub(super) fn cancel_one(&mut self, now: Time, handle: Handle, cancel: Cancel, actions: &mut Vec<Action>) {
        match self.attempts.get(handle).place {
            Place::Awaiting { .. } => self.conclude(handle, Ending::Cancelled, 0),
            Place::Queued(_) => {
                self.queue.remove(&mut self.attempts, handle);
                self.conclude(handle, Ending::Cancelled, 0);
            }
            Place::Given { seat, entry } => {
                self.want_cancelled(seat, entry, cancel);
                self.steer(now, seat, actions);
            }
            Place::Split => self.cancel_parts(now, handle, cancel, actions),
        }
    }

    fn want_cancelled(&mut self, seat: usize, entry: Entry, cancel: Cancel) {
        let hand = &mut self.fleet.at(seat).hand;
        let Some(held) = hand.get(entry) else { return };
        let softer = held.grip() != Grip::Begun && held.wish() != STOP;
        if cancel == Cancel::Running || softer {
            hand.set_wish(entry, Wish::Cancel(cancel));
        }
        self.ask_back(seat, entry);
    }

    pub(super) fn on_recalled(&mut self, ids: &[AttemptId]) {
        for id in ids {
            if let Some(handle) = self.attempts.find(*id) {
                self.recall(handle);
            }
        }
    }

    /// Gives an attempt back to the coordinator unless it has begun, as what is in parts has.
    pub(super) fn recall(&mut self, handle: Handle) {
        if self.is_part(handle) {
            return;
        }
        match self.attempts.get(handle).place {
            Place::Awaiting { .. } => self.give_back(handle),
            Place::Queued(_) => {
                self.queue.remove(&mut self.attempts, handle);
                self.give_back(handle);
            }
            Place::Given { seat, entry } => {
                let hand = &mut self.fleet.at(seat).hand;
                if hand.get(entry).is_some_and(|held| held.grip() != Grip::Begun && held.wish() == Wish::Run) {
                    hand.set_wish(entry, Wish::Return);
                }
                self.ask_back(seat, entry);
            }
            Place::Split => {}
        }
    }

    /// Asks for an entry back, if nothing is known of it and its executor still listens.
    pub(super) fn ask_back(&mut self, seat: usize, entry: Entry) {
        let executor = self.fleet.at(seat);
        if executor.life == Life::Ready && executor.hand.get(entry).is_some_and(|held| held.grip() == Grip::Loose) {
            executor.hand.set_grip(entry, Grip::Asked);
            executor.asks.push(entry);
        }
    }

    /// An executor answers: what it was asked for and did not give back has begun or is over.
    pub(super) fn on_revoked(
        &mut self,
        now: Time,
        executor: ExecutorId,
        asked: &[Entry],
        revoked: &[Entry],
        actions: &mut Vec<Action>,
    ) {
        let Some(seat) = self.fleet.find(executor) else { return };
        let mut back = Vec::new();
        for entry in revoked {
            let Some((handle, wish)) = self.release(seat, *entry) else { continue };
            match wish {
                Wish::Run => back.push(handle),
                Wish::Return => self.give_back(handle),
                Wish::Cancel(_) => self.conclude(handle, Ending::Cancelled, 0),
            }
        }
        self.put_back(back);
        for entry in asked {
            self.on_kept(seat, *entry);
        }
        self.steer(now, seat, actions);
    }

    /// An entry that was asked back has begun: only a hard cancel still stands.
    fn on_kept(&mut self, seat: usize, entry: Entry) {
        let hand = &mut self.fleet.at(seat).hand;
        let Some(held) = hand.get(entry).filter(|held| held.grip() == Grip::Asked) else { return };
        let wish = held.wish();
        hand.set_grip(entry, Grip::Begun);
        if wish != Wish::Cancel(Cancel::Running) {
            hand.set_wish(entry, Wish::Run);
        }
    }

    /// Takes the next step towards emptying an executor in which something is to be stopped, or which is to go.
    ///
    /// Before a signal goes, all that is queued beside the entry is taken back, so that nothing else can be hit.
    pub(super) fn steer(&mut self, now: Time, seat: usize, actions: &mut Vec<Action>) {
        let Some(executor) = self.fleet.get(seat) else { return };
        let quiet = executor.future == Future::Kept && executor.hand.stopping() == 0;
        if quiet || executor.life != Life::Ready {
            return;
        }
        let undecided = |held: &Held| held.grip() != Grip::Begun && held.wish() == STOP;
        if executor.hand.stopping() > 0 && executor.hand.iter().any(|(_, held)| undecided(held)) {
            return;
        }
        let loose: Vec<_> =
            executor.hand.iter().filter(|(_, held)| held.grip() == Grip::Loose).map(|(e, _)| e).collect();
        loose.into_iter().for_each(|entry| self.ask_back(seat, entry));
        let grace = self.config.supervision.kill_grace;
        let executor = self.fleet.at(seat);
        if executor.hand.asked() > 0 {
            return;
        }
        // What is before the last one has ended; its report is on the way.
        let last = executor.hand.iter().next_back().map(|(entry, held)| (entry, held.wish()));
        match last {
            None if executor.future == Future::Retired => executor.kill(actions),
            Some((entry, STOP)) if executor.stop.is_none() => {
                executor.stop = Some(Stop { entry, sent: Sent::Interrupt, until: now + grace });
                actions.push(Action::Signal { executor: executor.id, signal: Signal::Interrupt(entry) });
            }
            None | Some(_) => {}
        }
    }

    /// An interrupted entry had its time: the next signal is harder.
    pub(super) fn harden(&mut self, now: Time, seat: usize, actions: &mut Vec<Action>) {
        let grace = self.config.supervision.kill_grace;
        let executor = self.fleet.at(seat);
        let Some(stop) = executor.stop.as_mut().filter(|stop| stop.until <= now) else { return };
        match stop.sent {
            Sent::Interrupt => {
                stop.sent = Sent::Terminate;
                stop.until = now + grace;
                actions.push(Action::Signal { executor: executor.id, signal: Signal::Terminate(stop.entry) });
            }
            Sent::Terminate => executor.kill(actions),
        }
    }

    /// Takes an entry out of an executor's hands, and its named resources with it.
    pub(super) fn release(&mut self, seat: usize, entry: Entry) -> Option<(Handle, Wish)> {
        let executor = self.fleet.at(seat);
        let held = executor.hand.take(entry)?;
        if let Some(stop) = executor.stop.take_if(|stop| stop.entry == entry) {
            // One that was told to terminate may still do so.
            if stop.sent == Sent::Terminate {
                executor.future = Future::Retired;
            }
        }
        if held.class() == Class::Apart {
            self.free.give_back(&self.attempts.get(held.handle).start.request);
        }
        Some((held.handle, held.wish()))
    }
}

const STOP: Wish = Wish::Cancel(Cancel::Running);
