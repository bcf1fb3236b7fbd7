//! Values that clients put here: tasks that are over from the start.

use super::Scheduler;
use super::object::Object;
use super::request::Misbehaved;
use super::slab::NONE;
use super::task::{Role, State, Task, compact};
use crate::id::{Attempt, AttemptId, FunctionId, ObjectId, OptionsId, Seq, TaskId};
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
        let refusal = self.refuse(value.carried(), 0);
        self.counts.done += 1;
        self.counts.failed += u64::from(refusal.is_some());
        // Its client has the bytes.
        let told = refusal.clone().unwrap_or(Outcome::Value(Value::empty()));
        let slot = match refusal {
            Some(failure) => self.keep_put(session, seq, failure),
            None if value.carried() > self.config.ride_along => self.keep_large(session, seq, value),
            None => self.keep_put(session, seq, compact(Outcome::Value(value))),
        };
        self.deliver(slot, told, Story::default());
        Ok(())
    }

    /// What is large is an object from the start: workers are given it once, and each other's copies after that.
    fn keep_large(&mut self, session: u32, seq: Seq, value: Value) -> u32 {
        let task = TaskId::new(self.sessions[session].id, seq);
        let reference = value.referred_to_as(ObjectId(AttemptId { task, attempt: Attempt(0) }));
        let slot = self.keep_put(session, seq, Outcome::Value(reference.clone()));
        self.held += value.carried();
        let object = Object { here: Some(value), ..Object::new(slot, reference) };
        self.tasks[slot].object = self.objects.insert(object);
        slot
    }

    /// A task that never runs: it has no function, no options and no queue.
    fn keep_put(&mut self, session: u32, seq: Seq, outcome: Outcome) -> u32 {
        self.held += outcome.len();
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
            dependents_total: 0,
            object: NONE,
            role: Role::Put(Retention::Release),
            released: false,
            trouble: None,
            state: State::Done(outcome),
            args: Value::empty(),
        });
        owner.index.insert(seq, slot);
        slot
    }
}
