//! What the end of an attempt means for its task: over, or once more.

use super::Scheduler;
use super::cut_text;
use super::task::{Place, Trouble};
use crate::limits;
use crate::outcome::{Death, Ending, Failure, NoSpace, Outcome, Retry};
use crate::value::Value;
use alloc::boxed::Box;

/// Deaths that are told with a crashed task; the count goes on beyond.
const DEATHS_TOLD: usize = 64;

impl Scheduler {
    /// The current attempt of a task has ended and left its worker.
    pub(super) fn attempt_ended(&mut self, slot: u32, ending: Ending, place: Place) {
        let outcome = match ending {
            Ending::Returned(value) => self.keep(slot, value, Outcome::Value),
            Ending::Skipped => Outcome::Skipped,
            Ending::Raised { error, retry } => {
                let task = &mut self.tasks[slot];
                let entry = self.sessions[task.session].options(task.options);
                let retries = entry.expect("a task's options are defined").options.retries;
                if retry == Retry::Allowed && task.raised < retries {
                    task.raised += 1;
                    return self.make_ready(slot);
                }
                self.keep(slot, error, Outcome::Raised)
            }
            Ending::Crashed(death) => match self.crashed(slot, *death, place) {
                Some(outcome) => outcome,
                None => {
                    return self.make_ready(slot);
                }
            },
            Ending::Cancelled => Outcome::Cancelled,
            Ending::TooLarge { size, limit } => too_large(size, limit),
            Ending::NoSpace(lack) => no_space(*lack),
        };
        if self.comes_apart(slot, &outcome) {
            return self.take_apart(slot);
        }
        self.conclude(slot, outcome, place);
    }

    /// Counts a death. The outcome, if it was one too many.
    fn crashed(&mut self, slot: u32, mut death: Death, place: Place) -> Option<Outcome> {
        cut_text(&mut death.host, limits::NAME_BYTES);
        cut_text(&mut death.log_tail, limits::LOG_TAIL_BYTES);
        let task = &mut self.tasks[slot];
        let options = &self.sessions[task.session].options(task.options).expect("a task's options are defined").options;
        let trouble = task.trouble.get_or_insert_with(|| Box::new(Trouble::default()));
        trouble.count += 1;
        if trouble.deaths.len() < DEATHS_TOLD {
            trouble.deaths.push(death);
        }
        if let Some(worker) = place.worker.filter(|worker| !trouble.workers.contains(worker)) {
            trouble.workers.push(worker);
        }
        if trouble.count < options.crash_limit {
            return None;
        }
        let deaths = core::mem::take(&mut trouble.deaths);
        Some(Outcome::Failed(Box::new(Failure::Crashed(deaths))))
    }

    /// A result or an exception, if it may be held once the task's arguments have gone.
    fn keep(&self, slot: u32, value: Value, outcome: impl FnOnce(Value) -> Outcome) -> Outcome {
        if let Some(stored) = value.stored() {
            let own = stored.object.0 == self.tasks[slot].attempt();
            let outcome = outcome(value);
            return if own && outcome.is_value() { outcome } else { unknown("its worker reported another's value") };
        }
        match self.refuse(value.carried(), self.tasks[slot].held_args()) {
            Some(failure) => failure,
            None => outcome(value),
        }
    }

    /// Why a value of so many bytes may not be held here, once `leaving` bytes have gone.
    pub(super) fn refuse(&self, size: u64, leaving: u64) -> Option<Outcome> {
        let room = self.results_limit().saturating_sub(self.held - leaving);
        let limit = [self.config.result_limit, room].into_iter().find(|limit| size > *limit)?;
        Some(too_large(size, limit))
    }

    /// Why a run may not keep so many bytes beside what its pieces come to.
    pub(super) fn refuse_beside(&self, size: u64) -> Option<Outcome> {
        let room = self.results_limit().saturating_sub(self.held);
        (size > room).then(|| too_large(size, room))
    }
}

fn unknown(text: &str) -> Outcome {
    Outcome::Failed(Box::new(Failure::Unknown(text.into())))
}

fn no_space(mut lack: NoSpace) -> Outcome {
    cut_text(&mut lack.path, limits::FIELD_BYTES);
    cut_text(&mut lack.reason, limits::FIELD_BYTES);
    Outcome::Failed(Box::new(Failure::NoSpace(Box::new(lack))))
}

fn too_large(size: u64, limit: u64) -> Outcome {
    Outcome::Failed(Box::new(Failure::ResultTooLarge { size, limit }))
}
