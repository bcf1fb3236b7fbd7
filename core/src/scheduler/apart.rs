//! Chunks of a run that fail as such: they are tried again in parts, and those in parts, until the item is alone that
//! brings it about.

use super::Scheduler;
use super::task::Role;
use crate::limits;
use crate::outcome::{Failure, Outcome};
use crate::spec::Errors;

impl Scheduler {
    /// Whether a task is a piece of several items that has come to something that need not be what each of them would
    /// come to. Where a failing item ends the run, only the sum of their values can be wrong.
    pub(super) fn comes_apart(&self, slot: u32, outcome: &Outcome) -> bool {
        let task = &self.tasks[slot];
        let Role::Piece { run, .. } = task.role else { return false };
        if !task.is_divisible() || self.runs[run].is_over() {
            return false;
        }
        match outcome {
            Outcome::Value(_) | Outcome::Skipped | Outcome::Cancelled => false,
            Outcome::Raised(_) => self.runs[run].errors() != Errors::Raise,
            Outcome::Failed(failure) => match **failure {
                Failure::ResultTooLarge { .. } | Failure::NoSpace(_) => true,
                Failure::Crashed(_) => self.runs[run].errors() != Errors::Raise,
                Failure::Dependency { .. } | Failure::Unschedulable { .. } | Failure::Unknown(_) => false,
            },
        }
    }

    /// Makes a piece that has left its worker several. It stays the first of them; the others are the coordinator's own.
    pub(super) fn take_apart(&mut self, slot: u32) {
        let task = &mut self.tasks[slot];
        (task.raised, task.trouble) = (0, None);
        let span = task.call.span();
        let mut parts = span.parts(limits::CHUNK_PARTS);
        let Some(first) = parts.next() else { return };
        self.narrow(slot, first);
        self.make_ready(slot);
        self.add_parts(slot, span, parts);
    }
}
