//! Objects: values that live with workers. Who refers to each, and when it may go.
//!
//! An object belongs to the task that makes it, and its place in the table lasts as long as that task's record: made
//! again, it is a new object under a new attempt's name in the old place. A value is *wanted* while somebody may ask for
//! it: the client, a task that is not over, a run. What nobody wants is dropped by every worker. The record stays as long
//! as a task that is over may need it to be made again (see `remake`).

use super::Scheduler;
use super::by_worker::{ByWorker, OfWorker};
use super::direct::Fetcher;
use super::run::Ended;
use super::slab::NONE;
use super::task::{Place, Role, State, Task, dependency};
use super::transfer::{Want, Way};
use crate::id::{Attempt, AttemptId, ObjectId, WorkerId};
use crate::limits;
use crate::outcome::Outcome;
use crate::spec::{Cancel, Retention};
use crate::value::{Stored, Value};
use alloc::vec::Vec;

/// A value with workers, or one that was.
#[derive(Debug)]
pub(super) struct Object {
    /// The task that makes it.
    pub(super) task: u32,
    /// The reference to what the latest attempt made.
    pub(super) value: Value,
    /// The value itself, if a client put it here: for as long as the record lasts, for it cannot be made again.
    pub(super) here: Option<Value>,
    /// Workers that say they have it.
    pub(super) copies: ByWorker<Copy>,
    /// Workers that lack it and were given attempts that need it.
    pub(super) wants: ByWorker<Want>,
    /// How often tasks that are not over need it.
    pub(super) needs: u32,
    /// How often runs hold it.
    pub(super) holds: u32,
    /// Results of runs that came to it.
    pub(super) aliases: u32,
    pub(super) claim: Claim,
    /// That its client waits for the value of this task, or of aliases.
    pub(super) fetchers: Vec<Fetcher>,
    pub(super) show: Show,
    pub(super) origin: Origin,
    pub(super) loss: Loss,
    /// In the list of objects to be looked at.
    pub(super) stirred: bool,
}

/// A worker's copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) worker: u32,
    /// Workers that fetch from it.
    pub(super) serving: u32,
}

impl Copy {
    /// Which of equals comes first: another one for each task, so that no worker serves more than the others.
    pub(super) const fn turn(&self, task: u32) -> u32 {
        self.worker.wrapping_sub(task)
    }
}

impl OfWorker for Copy {
    fn worker(&self) -> u32 {
        self.worker
    }
}

/// Whether a client that keeps no future still has to take the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Open,
    Settled,
}

/// Whether a worker was asked to show the value to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Idle,
    /// It waits for its turn.
    Listed,
    Asked(WorkerId),
}

/// Whether its last copy is gone, and who knows (see `losing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    None,
    /// Those that need it are being told.
    Told,
    /// All know; who comes to need it sees for itself.
    Known,
}

/// What it takes to make an object again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is kept: arguments and inputs of so many bytes.
    Kept(u64),
    Forgotten,
}

/// How a task hangs on its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// It needs their values.
    Need,
    /// It is over and may have to be made again from them.
    Origin,
    /// It is the result of a run that came to the value of another task.
    Alias,
}

/// Whether a run holds a value that a call of it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Stays,
    /// The need is enough.
    Ends,
}

impl Object {
    /// What a task came to, with nobody yet.
    pub(super) const fn new(task: u32, value: Value) -> Self {
        Self {
            task,
            value,
            here: None,
            copies: ByWorker::new(),
            wants: ByWorker::new(),
            needs: 0,
            holds: 0,
            aliases: 0,
            claim: Claim::Settled,
            fetchers: Vec::new(),
            show: Show::Idle,
            origin: Origin::Forgotten,
            loss: Loss::None,
            stirred: false,
        }
    }

    pub(super) fn stored(&self) -> &Stored {
        self.value.stored().expect("an object keeps a reference")
    }

    pub(super) fn id(&self) -> ObjectId {
        self.stored().object
    }

    /// Whether it is here, at a worker, or on its way to one; or its loss is being told.
    pub(super) fn is_there(&self) -> bool {
        self.here.is_some() || !self.copies.is_empty() || self.is_losing() || self.wants.iter().any(Want::is_coming)
    }

    /// Whether not all that need it have heard that it is lost.
    pub(super) fn is_losing(&self) -> bool {
        self.loss == Loss::Told
    }

    /// Whether a worker has it, waits for it or is about to have it.
    pub(super) fn is_with(&self, worker: u32) -> bool {
        self.copies.contains(worker) || self.wants.contains(worker)
    }

    /// Workers that are being given it from here.
    pub(super) fn given(&self) -> usize {
        self.wants.iter().filter(|want| want.way == Way::Given).count()
    }

    /// Bytes of it that live here.
    pub(super) fn held(&self) -> u64 {
        self.here.as_ref().map_or(0, Value::carried)
    }

    /// Whether it can be made again.
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self.origin, Origin::Kept(_))
    }

    /// Whether somebody waits for it, now.
    pub(super) fn is_awaited(&self) -> bool {
        self.needs > 0 || self.holds > 0 || !self.fetchers.is_empty()
    }
}

impl Scheduler {
    /// The task whose object the outcome of a task refers to: itself, or what its run came to.
    pub(super) fn source(&self, slot: u32) -> u32 {
        let task = &self.tasks[slot];
        match &task.state {
            State::Done(Outcome::Value(value)) if task.object == NONE && value.stored().is_some() => {
                self.edges[task.inputs[0]].input
            }
            _ => slot,
        }
    }

    /// Whether the value of a task can be used now.
    pub(super) fn is_there(&self, slot: u32) -> bool {
        let task = &self.tasks[slot];
        let State::Done(Outcome::Value(value)) = &task.state else { return false };
        value.stored().is_none() || self.objects[task.object].is_there()
    }

    /// Whether the value of a task was with workers and is with none of them any more.
    pub(super) fn is_lost(&self, slot: u32) -> bool {
        let task = &self.tasks[slot];
        task.object != NONE && task.state.is_stored() && !self.objects[task.object].is_there()
    }

    /// The slot of the object that a peer names, if that is what its task last made.
    pub(super) fn find_object(&mut self, id: ObjectId) -> Option<u32> {
        let session = self.sessions.find(id.0.task.session.0)?;
        let slot = self.sessions[session].index.find(id.0.task.seq)?;
        let task = &self.tasks[slot];
        let current = task.object != NONE && task.state.is_stored() && self.objects[task.object].id() == id;
        current.then_some(task.object)
    }

    /// Ends a task whose outcome is with workers: its own value, or what its run came to.
    pub(super) fn conclude_stored(&mut self, slot: u32, outcome: Outcome, place: Place) {
        let Outcome::Value(value) = &outcome else { unreachable!("only values are stored") };
        let object = value.stored().expect("whoever calls has looked").object;
        if object.0.task != self.tasks[slot].id {
            return self.conclude_alias(slot, &outcome, place);
        }
        let recipe = self.recipe_of(slot);
        self.make_object(slot, value.clone(), place);
        self.keep_origin(slot, recipe);
        match self.tasks[slot].role {
            Role::Plain(retention) => self.publish_stored(slot, &outcome, place, retention),
            Role::Result { run, retention } => {
                self.close_run(run);
                self.publish_stored(slot, &outcome, place, retention);
            }
            Role::Piece { run, at } => {
                self.hold_for_run(slot, &outcome);
                let call = self.tasks[slot].call;
                self.piece_ended(run, at, Ended { call, args: Value::empty(), run_micros: place.run_micros }, outcome);
            }
            Role::Fold { run, start } => {
                self.hold_for_run(slot, &outcome);
                self.fold_ended(run, start, outcome);
            }
            Role::Put(_) | Role::Made | Role::Past => {
                unreachable!("what was put never runs, what was made has its object, what is past is over")
            }
        }
        self.sweep();
    }

    fn make_object(&mut self, slot: u32, value: Value, place: Place) {
        let worker = place.worker.and_then(|id| self.workers.find(id.0));
        let copies = ByWorker::of(worker.map(|worker| Copy { worker, serving: 0 }));
        let needs = self.tasks[slot].dependents_total;
        let object = self.objects.insert(Object { copies, needs, ..Object::new(slot, value) });
        self.tasks[slot].object = object;
        worker.into_iter().for_each(|worker| self.locate(object, worker));
    }

    /// The value of a piece or a fold goes to its run; its task stays as that value's record.
    fn hold_for_run(&mut self, slot: u32, outcome: &Outcome) {
        let task = &mut self.tasks[slot];
        task.role = Role::Made;
        task.state = State::Done(outcome.clone());
        self.objects[task.object].holds = 1;
    }

    /// A run lets a value go.
    pub(super) fn unhold(&mut self, session: u32, value: &Value) {
        let Some(stored) = value.stored() else { return };
        let record = self.sessions[session].index.find(stored.object.0.task.seq);
        let record = record.expect("what a run holds has its record");
        self.objects[self.tasks[record].object].holds -= 1;
        self.unwanted.push(record);
    }

    /// The record of a value that a run holds.
    pub(super) fn record_of(&mut self, session: u32, value: &Value) -> Option<u32> {
        self.sessions[session].index.find(value.stored()?.object.0.task.seq)
    }

    /// The outcome that a value in a run stands for: it may have been made again.
    pub(super) fn latest(&self, session: u32, value: Value) -> Outcome {
        let record = value.stored().and_then(|stored| self.sessions[session].index.peek(stored.object.0.task.seq));
        match record.map(|record| &self.tasks[record].state) {
            Some(State::Done(outcome)) => outcome.clone(),
            Some(State::Waiting { .. } | State::Ready(_) | State::Assigned(_)) | None => Outcome::Value(value),
        }
    }

    /// The same of an outcome.
    pub(super) fn latest_of(&self, session: u32, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Value(value) => self.latest(session, value),
            other => other,
        }
    }

    /// A fold has its values; those that are with workers must be there.
    pub(super) fn await_values(&mut self, slot: u32, values: &[Value]) {
        self.tasks[slot].state = State::Waiting { missing: 1 };
        self.tie_values(slot, values, Hold::Stays);
        self.input_arrived(slot);
    }

    /// Ties a fold or a combine that waits to more of its values, as far as those are with workers.
    pub(super) fn tie_values(&mut self, slot: u32, values: &[Value], hold: Hold) {
        let session = self.tasks[slot].session;
        let seqs = values.iter().filter_map(|value| Some(value.stored()?.object.0.task.seq));
        let mut edges = core::mem::take(&mut self.tasks[slot].inputs).into_vec();
        edges.reserve_exact(values.len());
        let mut late = 0;
        for seq in seqs {
            let record = self.sessions[session].index.find(seq);
            let record = record.expect("what a run holds has its record");
            if let State::Done(outcome) = &self.tasks[record].state
                && !outcome.is_value()
            {
                let failure = dependency(self.tasks[record].id, outcome);
                self.fallout.push_back((slot, self.tasks[slot].ticket, failure));
            }
            if !self.is_there(record) {
                late += 1;
                self.remake(record);
            }
            edges.push(self.tie(slot, record));
            self.objects[self.tasks[record].object].holds -= u32::from(hold == Hold::Ends);
        }
        self.tasks[slot].inputs = edges.into_boxed_slice();
        if let State::Waiting { missing } = &mut self.tasks[slot].state {
            *missing += late;
        }
    }

    fn publish_stored(&mut self, slot: u32, outcome: &Outcome, place: Place, retention: Retention) {
        let story = self.story(slot, place);
        if retention == Retention::Delivery {
            self.objects[self.tasks[slot].object].claim = Claim::Open;
        }
        self.deliver(slot, outcome.clone(), story);
        self.tasks[slot].state = State::Done(outcome.clone());
        self.tell_dependents(slot);
        self.unwanted.push(slot);
    }

    /// The result of a run is the value of its last fold, or of its only piece.
    fn conclude_alias(&mut self, slot: u32, outcome: &Outcome, place: Place) {
        let Role::Result { run, .. } = self.tasks[slot].role else {
            unreachable!("only a run comes to another's value")
        };
        let Outcome::Value(value) = outcome else { unreachable!("only values are stored") };
        let Task { session, function, call, .. } = self.tasks[slot];
        self.let_functions_go(session, function, call);
        let source = self.record_of(session, value).expect("what a run holds has its record");
        self.part_with_inputs(slot);
        let edge = self.tie(slot, source);
        self.edges[edge].tie = Tie::Alias;
        self.tasks[slot].inputs = [edge].into();
        let object = &mut self.objects[self.tasks[source].object];
        // Not a need: the run is over.
        object.needs -= 1;
        object.aliases += 1;
        self.close_run(run);
        let story = self.story(slot, place);
        self.deliver(slot, outcome.clone(), story);
        self.tasks[slot].state = State::Done(outcome.clone());
        self.tell_dependents(slot);
        self.unwanted.push(slot);
        self.sweep();
    }

    /// Somebody who waited for the result of a run needs the value of the task that made it, whatever has become of that.
    pub(super) fn refer_to_source(&mut self, edge: u32) {
        let alias = self.unlink(edge).input;
        let source = self.source(alias);
        self.link(edge, source);
        self.objects[self.tasks[source].object].needs += 1;
        let dependent = self.edges[edge].dependent;
        match &self.tasks[source].state {
            State::Done(outcome) if !outcome.is_value() => {
                let failure = dependency(self.tasks[source].id, outcome);
                self.fallout.push_back((dependent, self.tasks[dependent].ticket, failure));
            }
            State::Done(_) if self.is_there(source) => self.input_arrived(dependent),
            State::Done(_) | State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => self.remake(source),
        }
        self.free_if_unwanted(alias);
    }

    /// Looks again at records that somebody has let go of, and at what they let go in turn.
    pub(super) fn sweep(&mut self) {
        while let Some(slot) = self.unwanted.pop() {
            if self.tasks.get(slot).is_some() {
                self.free_one(slot);
            }
        }
    }

    /// Drops a value that nobody wants, and its record if nothing may have to be made from it.
    pub(super) fn settle_record(&mut self, slot: u32) {
        let task = &self.tasks[slot];
        let retained = match task.role {
            Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } => {
                retention == Retention::Release
            }
            Role::Piece { .. } | Role::Fold { .. } | Role::Made | Role::Past => false,
        };
        let object = &self.objects[task.object];
        if retained || object.claim == Claim::Open || object.aliases > 0 || object.is_awaited() {
            return;
        }
        if task.dependents != NONE {
            return self.drop_value(slot);
        }
        self.drop_value(slot);
        self.forget_origin(slot);
        let task = &self.tasks[slot];
        if let State::Done(outcome) = &task.state {
            self.held -= outcome.len();
        }
        self.held -= self.objects.remove(task.object).held();
        self.free(slot);
    }

    /// Nobody wants the value itself any more.
    fn drop_value(&mut self, slot: u32) {
        let object = self.tasks[slot].object;
        if !self.tasks[slot].is_done() {
            self.withdraw(slot, Cancel::Running);
            self.tasks[slot].state = State::Done(Outcome::Value(self.objects[object].value.clone()));
            self.counts.done += 1;
            self.counts.failed += 1;
            let session = self.tasks[slot].session;
            self.sessions[session].pending -= 1;
            self.touch(session);
            self.rest_on_origin(slot);
        }
        // How it failed to be made again is what there is to know.
        if let State::Done(Outcome::Value(value)) = &self.tasks[slot].state {
            self.held -= value.carried();
            self.drop_copies(object);
            self.rename_put(object);
            self.tasks[slot].state = State::Done(Outcome::Value(self.objects[object].value.clone()));
        }
    }

    /// Workers were told to drop what was put, and may be given it again: under another name, so that what they still
    /// say of the first is not taken for news of the second.
    fn rename_put(&mut self, object: u32) {
        let o = &mut self.objects[object];
        if let Some(here) = &o.here {
            let AttemptId { task, attempt } = o.id().0;
            o.value = here.referred_to_as(ObjectId(AttemptId { task, attempt: Attempt(attempt.0 + 1) }));
        }
    }

    /// Tells every worker that has an object, or is about to have it, that it may go.
    pub(super) fn drop_copies(&mut self, object: u32) {
        let o = &mut self.objects[object];
        let id = o.id();
        let holders = o.copies.take().map(|copy| (copy.worker, true));
        let others = o.wants.take().map(|want| (want.worker, want.is_coming()));
        for (worker, tell) in holders.chain(others) {
            self.workers[worker].objects.remove(&object);
            if tell && !self.workers[worker].gone {
                self.stir_worker(worker);
                self.workers[worker].drops.push(id);
            }
        }
        self.unask(object);
        self.end_loss(object);
    }

    /// Has an object looked at before this step ends.
    pub(super) fn stir_object(&mut self, object: u32) {
        if !core::mem::replace(&mut self.objects[object].stirred, true) {
            self.stirred_objects.push_back(object);
        }
    }

    /// Tells workers what they need not keep.
    pub(super) fn flush_drops(&mut self, actions: &mut Vec<super::Action>) {
        for slot in self.stirred_workers() {
            let worker = &mut self.workers[slot];
            for objects in core::mem::take(&mut worker.drops).chunks(limits::BATCH_ITEMS) {
                actions.push(super::Action::DropObjects { worker: worker.id, objects: objects.to_vec() });
            }
        }
    }
}
