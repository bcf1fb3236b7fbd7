//! Values that clients put here: tasks that are over from the start.

use super::Scheduler;
use super::request::Misbehaved;
use super::slab::NONE;
use super::task::{Role, State, Task, compact};
use crate::id::{FunctionId, OptionsId, Seq, TaskId};
use crate::outcome::{Outcome, Story};
use crate::spec::{Call, Retention};
use crate::value::Value;
use alloc::boxed::Box;

impl Scheduler {
    pub(super) fn put(&mut self, session: u32, seq: Seq, value: Value) -> Result<(), Misbehaved> {
        self.judge_overrun(session)?;
        if seq.0 < self.sessions[session].next_seq {
            self.ignored += 1;
            return Ok(());
        }
        if seq.is_internal() || value.stored().is_some() {
            return Err(Misbehaved);
        }
        self.sessions[session].next_seq = seq.0 + 1;
        let (told, outcome) = match self.refuse(value.carried(), 0) {
            // Its client has the bytes.
            None => (Outcome::Value(Value::empty()), compact(Outcome::Value(value))),
            Some(failure) => (failure.clone(), failure),
        };
        self.counts.done += 1;
        self.counts.failed += u64::from(!outcome.is_value());
        self.held += outcome.len();
        let slot = self.keep_put(session, seq, outcome);
        self.deliver(slot, told, Story::default());
        Ok(())
    }

    /// A task that never runs: it has no function, no options and no queue.
    fn keep_put(&mut self, session: u32, seq: Seq, outcome: Outcome) -> u32 {
        let (owner, ticket) = (&mut self.sessions[session], self.ticket);
        self.ticket += 1;
        let slot = self.tasks.insert(Task {
            id: TaskId::new(owner.id, seq),
            ticket,
            accepted: self.now,
            session,
            function: FunctionId::default(),
            options: OptionsId::default(),
            queue: NONE,
            call: Call::Single,
            attempts: 0,
            raised: 0,
            inputs: Box::default(),
            dependents: NONE,
            object: NONE,
            role: Role::Put(Retention::Release),
            trouble: None,
            state: State::Done(outcome),
            args: Value::empty(),
        });
        owner.index.insert(seq, slot);
        slot
    }
}
