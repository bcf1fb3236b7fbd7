//! Chunks of a run that fail as such: they are tried again in parts, and those in parts, until the item is alone that
//! brings it about.

use super::Scheduler;
use super::request::Work;
use super::task::Role;
use crate::id::Seq;
use crate::limits;
use crate::outcome::{Failure, Outcome};
use crate::spec::Errors;

impl Scheduler {
    /// Whether a task is a piece of several items that has come to something that need not be what each of them would
    /// come to. Where a failing item ends the run, only the sum of their values can be wrong.
    pub(super) fn comes_apart(&self, slot: u32, outcome: &Outcome) -> bool {
        let task = &self.tasks[slot];
        let Role::Piece { run, .. } = task.role else { return false };
        // Inputs are tied to one task.
        if task.call.span().len() < 2 || !task.inputs.is_empty() || self.runs[run].is_over() {
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
        let Role::Piece { run, at } = task.role else { return };
        let span = task.call.span();
        let mut parts = span.parts(limits::CHUNK_PARTS);
        let Some(first) = parts.next() else { return };
        self.held -= task.held_args();
        task.call = task.call.over(first);
        self.held += task.held_args();
        (task.raised, task.trouble) = (0, None);
        let (session, function, options, queue) = (task.session, task.function, task.options, task.queue);
        let (call, args) = (task.call, task.args.clone());
        self.make_ready(slot);
        for part in parts {
            let owner = &mut self.sessions[session];
            let seq = Seq::internal(owner.next_internal);
            owner.next_internal += 1;
            let work = Work { function, options, queue, call: call.over(part), args: args.clone() };
            let role = Role::Piece { run, at: at + u64::from(part.first - span.first) };
            let task = self.accept(session, seq, work, role);
            self.counts.waiting -= 1;
            self.make_ready(task);
        }
        // It has more tasks now, perhaps too many.
        self.touch(session);
    }
}
