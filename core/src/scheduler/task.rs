//! A task: what it needs, where it is, and how it ends.

use super::Scheduler;
use super::ready::Post;
use super::run::Ended;
use super::share::Rest;
use super::slab::NONE;
use super::worker::Seat;
use crate::id::{Attempt, AttemptId, FunctionId, OptionsId, TaskId, WorkerId};
use crate::limits;
use crate::outcome::{Death, Failure, Outcome, Story};
use crate::spec::{Call, Cancel, Retention};
use crate::time::Time;
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One accepted task. It lives until its outcome has been handed on and nobody waits for its value any more.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    /// Its place in the order of submission over all sessions; never used again, so it also tells tasks apart that
    /// had the same slot one after the other.
    pub(super) ticket: u64,
    pub(super) accepted: Time,
    pub(super) session: u32,
    pub(super) function: FunctionId,
    pub(super) options: OptionsId,
    /// The ready queue of its class.
    pub(super) queue: u32,
    pub(super) call: Call,
    /// Starts so far.
    pub(super) attempts: u32,
    /// Exceptions retried so far.
    pub(super) raised: u32,
    /// Edges to what it needs, in the order of its inputs, as long as it is not over.
    pub(super) inputs: Box<[u32]>,
    /// The first edge to a task that waits for its value.
    pub(super) dependents: u32,
    /// How many edges there are to such tasks.
    pub(super) dependents_total: u32,
    /// Its place among the objects, once its value has been with a worker.
    pub(super) object: u32,
    pub(super) role: Role,
    /// Its client has let go of it: nobody can ask any more what it comes to.
    pub(super) released: bool,
    pub(super) trouble: Option<Box<Trouble>>,
    pub(super) state: State,
    /// Empty once it is over.
    pub(super) args: Value,
}

/// What a task is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// A client named it and hears of its end.
    Plain(Retention),
    /// A client put its value here: it is over from the start.
    Put(Retention),
    /// A piece of a run, from this item on: its value goes there.
    Piece { run: u32, at: u64 },
    /// A fold of a run, over what begins at this position.
    Fold { run: u32, start: u64 },
    /// What a run comes to.
    Result { run: u32, retention: Retention },
    /// It was a piece or a fold, and is kept as the record of its value.
    Made,
    /// It is nobody's any more, and goes once it has let go of all that it needed (see `parting`).
    Past,
}

/// Where a task is.
#[derive(Debug)]
pub(super) enum State {
    /// So many inputs are not there yet. The result of a run counts the run as one.
    Waiting { missing: u32 },
    /// In its ready queue.
    Ready(Post),
    /// A worker has it.
    Assigned(Lease),
    /// Over, its outcome kept for whoever names it.
    Done(Outcome),
}

/// A worker's hold on an attempt, and its place in that worker's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) worker: u32,
    pub(super) previous: u32,
    pub(super) next: u32,
    pub(super) seat: Seat,
    /// Known to have begun.
    pub(super) started: bool,
    /// Asked back.
    pub(super) recalled: bool,
    pub(super) rest: Rest,
}

/// The executors that died under a task.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) deaths: Vec<Death>,
    pub(super) workers: Vec<WorkerId>,
    /// Deaths counted, those no longer told included.
    pub(super) count: u32,
}

/// Where a task ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) worker: Option<WorkerId>,
    pub(super) run_micros: u64,
}

const _: () = assert!(size_of::<Option<Task>>() <= 208, "a task is held per pending task and must stay small");

impl Task {
    pub(super) const fn attempt(&self) -> AttemptId {
        AttemptId { task: self.id, attempt: Attempt(self.attempts) }
    }

    /// Bytes of arguments that are held for it: the parts of a piece that was taken apart share them.
    pub(super) fn held_args(&self) -> u64 {
        self.call.span().share(self.args.carried())
    }

    /// Whether it is a chunk of several items, of which several may be made: a piece of a run, or one whose value nobody keeps
    /// once its client has it, if others can have its arguments before they would be too late.
    pub(super) fn is_divisible(&self) -> bool {
        let of_parts = match (self.role, self.call) {
            (Role::Piece { .. }, _) => true,
            // What is made again comes to what it came to.
            (Role::Plain(Retention::Delivery), Call::Chunk { .. }) => {
                self.object == NONE && self.args.carried() <= limits::SHARED_BYTES
            }
            _ => false,
        };
        // Inputs are tied to one task.
        of_parts && self.call.span().len() > 1 && self.inputs.is_empty()
    }

    /// Whether it is the result of a run that came to the value of another task.
    pub(super) fn is_alias(&self) -> bool {
        self.object == NONE && self.state.is_stored()
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    pub(super) const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Assigned(lease) => Some(lease),
            _ => None,
        }
    }

    pub(super) const fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Assigned(lease) => Some(lease),
            _ => None,
        }
    }
}

impl State {
    /// Whether it is over with a value that is with workers, or was.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Done(outcome) if outcome.stored().is_some())
    }
}

impl Scheduler {
    /// Ends a task that is in no ready queue and at no worker, and all that cannot go on without it.
    pub(super) fn conclude(&mut self, slot: u32, outcome: Outcome, place: Place) {
        self.conclude_one(slot, outcome, place);
        self.run_fallout();
    }

    /// Takes a task that is not over out of whatever holds it: a queue, or a worker that is told so.
    pub(super) fn withdraw(&mut self, slot: u32, cancel: Cancel) {
        match self.tasks[slot].state {
            State::Waiting { .. } => {
                self.counts.waiting -= 1;
                self.take_back(slot, cancel);
            }
            State::Ready(_) => {
                self.counts.ready -= 1;
                self.ready.take(&mut self.tasks, slot);
            }
            State::Assigned(_) => {
                self.counts.assigned -= 1;
                self.depart(slot, cancel);
            }
            State::Done(_) => return,
        }
        self.tasks[slot].state = State::Waiting { missing: NONE };
    }

    pub(super) fn conclude_one(&mut self, slot: u32, outcome: Outcome, place: Place) {
        self.counts.done += 1;
        self.counts.failed += u64::from(!matches!(outcome, Outcome::Value(_) | Outcome::Skipped));
        let Task { session, function, call, .. } = self.tasks[slot];
        self.sessions[session].pending -= 1;
        self.touch(session);
        if self.tasks[slot].object != NONE {
            return self.remade(slot, &outcome, place);
        }
        if outcome.stored().is_some() {
            return self.conclude_stored(slot, outcome, place);
        }
        self.held -= self.tasks[slot].held_args();
        let args = core::mem::replace(&mut self.tasks[slot].args, Value::empty());
        self.let_inputs_go(slot);
        self.let_functions_go(session, function, call);
        match self.tasks[slot].role {
            Role::Plain(retention) | Role::Put(retention) => self.publish(slot, outcome, place, retention),
            Role::Result { run, retention } => {
                self.close_run(run);
                self.publish(slot, outcome, place, retention);
            }
            Role::Piece { run, at } => {
                self.free(slot);
                self.piece_ended(run, at, Ended { call, args, run_micros: place.run_micros }, outcome);
            }
            Role::Fold { run, start } => {
                self.free(slot);
                self.fold_ended(run, start, outcome);
            }
            Role::Made | Role::Past => unreachable!("what was made has its object, what is past is over"),
        }
    }

    /// Hands the outcome of a task that a client named to the client and to those who wait for it.
    fn publish(&mut self, slot: u32, outcome: Outcome, place: Place, retention: Retention) {
        let story = self.story(slot, place);
        let waited_for = self.tasks[slot].dependents != NONE;
        if retention == Retention::Delivery && !waited_for {
            self.deliver(slot, outcome, story);
            return self.free(slot);
        }
        let outcome = if retention == Retention::Release { compact(outcome) } else { outcome };
        self.deliver(slot, outcome.clone(), story);
        self.held += outcome.len();
        self.tasks[slot].state = State::Done(outcome);
        self.tell_dependents(slot);
        self.free_if_unwanted(slot);
    }

    pub(super) fn story(&self, slot: u32, place: Place) -> Story {
        let task = &self.tasks[slot];
        Story {
            attempts: Attempt(task.attempts),
            worker: place.worker,
            run_micros: place.run_micros,
            total_micros: self.now.since(task.accepted).as_micros() as u64,
        }
    }

    /// Frees a task that is over, and what it alone kept.
    pub(super) fn free_if_unwanted(&mut self, slot: u32) {
        self.free_one(slot);
        self.sweep();
    }

    /// Frees a task that is over, whose client does not keep it and for which nobody waits.
    pub(super) fn free_one(&mut self, slot: u32) {
        let task = &self.tasks[slot];
        if let Role::Past = task.role {
            return;
        }
        if task.object != NONE {
            return self.settle_record(slot);
        }
        let State::Done(outcome) = &task.state else { return };
        let kept = match task.role {
            Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } => {
                retention == Retention::Release
            }
            Role::Piece { .. } | Role::Fold { .. } | Role::Made | Role::Past => false,
        };
        if !kept && task.dependents == NONE {
            self.held -= outcome.len();
            self.part_with_inputs(slot);
            self.free(slot);
        }
    }
}

/// The outcome to pass on to whoever needed `outcome` of `task`, which is not a value.
pub(super) fn dependency(task: TaskId, outcome: &Outcome) -> Outcome {
    if let Outcome::Failed(failure) = outcome
        && let Failure::Dependency { .. } = &**failure
    {
        return outcome.clone();
    }
    Outcome::Failed(Box::new(Failure::Dependency { task, cause: outcome.clone() }))
}

/// A small value that is kept for long and shares its buffer gets one of its own, so that it does not pin the message
/// it came in.
pub(super) fn compact(outcome: Outcome) -> Outcome {
    const SMALL: u64 = 4 << 10;
    match outcome {
        Outcome::Value(value) if value.carried() <= SMALL && shares(&value) => Outcome::Value(copied(&value)),
        Outcome::Raised(value) if value.carried() <= SMALL && shares(&value) => Outcome::Raised(copied(&value)),
        other => other,
    }
}

fn shares(value: &Value) -> bool {
    value.shared().iter().any(|segment| !segment.is_empty() && !segment.is_unique())
}

fn copied(value: &Value) -> Value {
    Value::from_segments(value.segments().map(bytes::Bytes::copy_from_slice).collect())
}
