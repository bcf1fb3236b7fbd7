//! Promises: attempts that came before what they need, which others here are to make.
//!
//! The coordinator gives a worker what follows on its own attempts ahead of time, so that the next link of a chain begins as
//! soon as the last one ends, without a word from afar. Each such attempt is answered like any other: if one that it waits
//! for leaves without a value, it goes back, and with it what waits for it in turn.
//!
//! All that such an attempt has, and comes to, is in its start: it takes no room among the objects while it waits, which
//! those that it waits for may need. So it goes back as well if what it was promised is a large value, an object.

use super::attempt::{Handle, Place};
use super::{Action, Brain};
use crate::id::AttemptId;
use crate::outcome::{Ending, Outcome};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Brain {
    /// Has an attempt that is new wait for those that are to make its inputs. False if one of them is not here any more.
    pub(super) fn await_promised(&mut self, handle: Handle) -> bool {
        let start = &self.attempts.get(handle).start;
        if start.promised.is_empty() {
            return true;
        }
        let places: BTreeSet<u32> = start.promised.iter().map(|promised| promised.input).collect();
        let fit = places.last().is_none_or(|last| (*last as usize) < start.inputs.len());
        let apart = places.len() == start.promised.len() && start.promised.iter().all(|p| p.by != start.attempt);
        let makers = start.promised.iter().map(|promised| self.attempts.find(promised.by));
        let makers: Option<Vec<Handle>> = makers.collect::<Option<_>>().filter(|_| fit && apart);
        let start = &mut self.attempts.get_mut(handle).start;
        let Some(makers) = makers else {
            start.promised.clear();
            return false;
        };
        // Nothing else is waited for in their places, whatever stands there.
        places.into_iter().for_each(|place| start.inputs[place as usize] = Outcome::Skipped);
        if start.inputs.len() as u64 != start.inputs_total || start.inputs.iter().any(|input| input.stored().is_some())
        {
            start.promised.clear();
            return false;
        }
        makers.into_iter().for_each(|maker| self.attempts.get_mut(maker).heirs.push(handle));
        true
    }

    /// An attempt is over: those that waited for its value have it, or never will.
    pub(super) fn inherit(&mut self, heirs: Vec<Handle>, by: AttemptId, ending: &Ending) {
        let Ending::Returned(value) = ending else { return self.disinherit(heirs) };
        if value.stored().is_some() {
            return self.disinherit(heirs);
        }
        for heir in heirs {
            let start = &mut self.attempts.get_mut(heir).start;
            let at = start.promised.iter().position(|promised| promised.by == by).expect("an heir was promised it");
            let input = start.promised.swap_remove(at).input as usize;
            start.inputs[input] = Outcome::Value(value.clone());
            self.miss_one_less(heir);
        }
    }

    /// An attempt leaves: it waits for nothing any more, and whoever waits for it does so in vain.
    pub(super) fn renounce(&mut self, handle: Handle) {
        let attempt = self.attempts.get_mut(handle);
        let (heirs, promised) = (core::mem::take(&mut attempt.heirs), core::mem::take(&mut attempt.start.promised));
        for promised in promised {
            if let Some(maker) = self.attempts.find(promised.by) {
                self.attempts.get_mut(maker).heirs.retain(|heir| *heir != handle);
            }
        }
        self.disinherit(heirs);
    }

    fn disinherit(&mut self, heirs: Vec<Handle>) {
        self.disinherited.extend(heirs.into_iter().map(|heir| self.attempts.get(heir).start.attempt));
    }

    /// Gives back what will not come to its inputs here, and all that follows on it.
    pub(super) fn return_disinherited(&mut self, actions: &mut Vec<Action>) {
        while let Some(id) = self.disinherited.pop() {
            if let Some(handle) = self.attempts.find(id) {
                self.give_back(handle);
            }
        }
        // What only they needed goes with them.
        self.fleet.send_forgets(actions);
    }

    /// Who waits for an attempt is known to it, and the reverse.
    pub(super) fn check_promises(&self) {
        assert!(self.disinherited.is_empty(), "what will not come to its inputs goes back");
        for (handle, attempt) in self.attempts.iter() {
            let promised = &attempt.start.promised;
            let waits = matches!(attempt.place, Place::Awaiting { .. });
            assert!(promised.is_empty() || waits, "what was promised is waited for");
            let objects = attempt.start.inputs.iter().filter_map(Outcome::stored).count();
            assert!(promised.is_empty() || objects == 0, "who was promised something needs no object");
            for promised in promised {
                let maker = self.attempts.find(promised.by).expect("who is to make an input is here");
                let named = self.attempts.get(maker).heirs.iter().filter(|heir| **heir == handle).count();
                let times = attempt.start.promised.iter().filter(|other| other.by == promised.by).count();
                assert_eq!(named, times, "an heir is known as often as it names what it waits for");
            }
            let own = attempt.start.attempt;
            let waits = |heir: &Handle| self.attempts.get(*heir).start.promised.iter().any(|p| p.by == own);
            assert!(attempt.heirs.iter().all(waits), "an heir waits");
        }
    }
}
