//! The door: what the user's threads call.

use super::inbox::{End, Inbox};
use super::lull::Lull;
use super::outgoing::{Batch, Gate, Outgoing, Question};
use super::waiter::{Waiter, Wish};
use super::{Close, Completion, Loss, NewTask, State, SubmitError, Verdict};
use crate::store::blob::Store;
use crate::store::objects::Objects;
use plait_core::id::{FunctionId, OptionsId, RunId, Seq, WorkerId};
use plait_core::outcome::{Outcome, Progress, Story};
use plait_core::protocol::message::client::Status;
use plait_core::spec::{Cancel, Errors, Finish, Options, PythonVersion, Retention};
use plait_core::value::{Stored, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client, shared by the threads that use it and the driver that serves it.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Arc<Shared>);

/// What user threads and driver share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outgoing: Outgoing,
    pub(super) inbox: Inbox,
    lull: Lull,
    store: Arc<Store>,
    objects: Option<Arc<Objects>>,
}

impl Handle {
    /// A client that has no driver yet.
    pub(super) fn new(objects: Option<Arc<Objects>>) -> Self {
        let store = objects.as_deref().map_or_else(Store::new, |objects| Arc::clone(objects.blobs()));
        let (outgoing, inbox, lull) = (Outgoing::default(), Inbox::default(), Lull::default());
        Self(Arc::new(Shared { outgoing, inbox, lull, store, objects }))
    }

    /// Where the memory of large values is; the worker's too, if that is in this process.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    /// The objects of the worker in this process; none if the coordinator is elsewhere.
    #[must_use]
    pub fn objects(&self) -> Option<&Arc<Objects>> {
        self.0.objects.as_ref()
    }

    /// Makes a function known; `python` is where it must run if it travels by value.
    ///
    /// # Errors
    /// If its body is larger than the coordinator takes.
    pub fn define_function(&self, python: Option<PythonVersion>, body: Value) -> Result<FunctionId, SubmitError> {
        self.0.outgoing.define_function(python, body)
    }

    /// Makes options known; equal ones get the same id.
    ///
    /// # Errors
    /// If there are more sets of them than a session may have.
    pub fn define_options(&self, options: Options) -> Result<OptionsId, SubmitError> {
        self.0.outgoing.define_options(options)
    }

    /// Submits a task.
    pub fn submit(&self, task: NewTask) -> Result<Seq, SubmitError> {
        self.offer(&mut Some(task))
    }

    /// Submits the task in `task` and leaves nothing there; one that is not admitted stays, for the next try.
    pub fn offer(&self, task: &mut Option<NewTask>) -> Result<Seq, SubmitError> {
        self.0.outgoing.offer(task)
    }

    /// Puts the value in `value` where tasks can have it, and leaves nothing there; one that is not admitted stays, for the
    /// next try. It is over, like a task, once it is known that it is kept.
    pub fn put(&self, value: &mut Option<Value>) -> Result<Seq, SubmitError> {
        self.0.outgoing.put(value)
    }

    /// Opens a run: its name, and the task whose outcome is the run's.
    pub fn open_run(&self, finish: Finish, errors: Errors, options: OptionsId) -> Result<(RunId, Seq), SubmitError> {
        self.0.outgoing.open_run(finish, errors, options)
    }

    /// Says that a run has all its pieces.
    pub fn seal_run(&self, run: RunId, pieces: u64) {
        self.0.outgoing.seal_run(run, pieces);
    }

    /// Asks that tasks be cancelled; their outcomes tell whether they were.
    pub fn cancel(&self, tasks: &[Seq], cancel: Cancel) {
        self.0.outgoing.cancel(tasks, cancel);
    }

    /// Asks that everything that is not over be cancelled.
    pub fn cancel_all(&self, cancel: Cancel) {
        self.cancel(&self.0.inbox.open(self.0.outgoing.next_task()), cancel);
    }

    /// This function will not be named again. What was asked for with it still runs.
    pub fn release_function(&self, function: FunctionId) {
        self.0.outgoing.release_function(function);
    }

    /// Nobody holds this task's future any more: its outcome is dropped, now or when it comes.
    pub fn release(&self, task: Seq) {
        if !self.0.outgoing.release(task) {
            self.0.inbox.forget(&[task]);
        }
    }

    /// Where a task is.
    #[must_use]
    pub fn state(&self, task: Seq) -> State {
        self.0.inbox.state(task, self.0.outgoing.next_task())
    }

    /// How a task ended and the story behind it, if its outcome is still to be taken. Its value is neither fetched nor read.
    #[must_use]
    pub fn look(&self, task: Seq) -> Option<(Verdict, Story)> {
        self.0.inbox.look(task)
    }

    /// Takes a task's outcome; once. A value that lies in the store is not needed there any more, unless it is kept until it
    /// is released; if it is not there, the task is not over before it has been fetched.
    #[must_use]
    pub fn take(&self, task: Seq, retention: Retention) -> Option<Completion> {
        let mut completion = self.0.inbox.take(task)?;
        let Some(stored) = completion.stored() else { return Some(completion) };
        if let Some(value) = self.0.read(stored) {
            if retention == Retention::Delivery {
                self.release(task);
            }
            completion.outcome = Ok(Outcome::Value(value));
            return Some(completion);
        }
        let Some(lost) = self.0.inbox.await_value(task, completion) else {
            self.0.outgoing.fetch(task);
            return None;
        };
        Some(Completion { outcome: Err(Loss::Unreachable), ..lost })
    }

    /// Whether a task is over and its outcome still to be taken, or on its way here because somebody tried to take it.
    #[must_use]
    pub fn is_over(&self, task: Seq) -> bool {
        self.0.inbox.is_over(task)
    }

    /// Waits until the task is over (or unknown); false if `timeout` passes first.
    #[must_use]
    pub fn wait(&self, task: Seq, timeout: Duration) -> bool {
        self.0.inbox.wait(&[task], Wish::Outcome, timeout)
    }

    /// Takes over what the end of a chunk has become, for slots that were idle: tasks that each have the items from there on, up
    /// to the next one. Until then they share the fate of the chunk.
    #[must_use]
    pub fn take_parts(&self, chunk: Seq) -> Vec<(u32, Seq)> {
        self.0.inbox.take_parts(chunk)
    }

    /// Waits until one of `tasks` is over (or unknown), a run whose result is among them makes progress, or a chunk among them
    /// has parts that nobody has taken over.
    #[must_use]
    pub fn wait_any(&self, tasks: &[Seq], timeout: Duration) -> bool {
        self.0.inbox.wait(tasks, Wish::Progress, timeout)
    }

    /// Waits until every task submitted so far is over, also those that were released.
    #[must_use]
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        self.0.inbox.wait_idle(self.0.outgoing.next_task(), timeout)
    }

    /// Waits until [`submit`](Self::submit) is worth another try.
    #[must_use]
    pub fn wait_admission(&self, timeout: Duration) -> bool {
        self.0.outgoing.wait_admission(timeout)
    }

    /// Lets [`next_watched`](Self::next_watched) tell when this task is over; at once if it is.
    pub fn watch(&self, task: Seq) {
        self.0.inbox.watch(task);
    }

    /// Moves watched tasks that are over into `into`, waiting for the first. Once the client has ended it never waits.
    pub fn next_watched(&self, timeout: Duration, into: &mut Vec<Seq>) {
        self.0.inbox.next_watched(timeout, into);
    }

    /// Waits until a run is over (or unknown), or more of its items are than `seen`; false if `timeout` passes first.
    #[must_use]
    pub fn wait_progress(&self, result: Seq, seen: u64, timeout: Duration) -> bool {
        self.0.inbox.wait_progress(result, seen, timeout)
    }

    /// How far a run is, as far as is known; nothing once its result was released.
    #[must_use]
    pub fn progress(&self, run: RunId) -> Progress {
        self.0.inbox.progress(run)
    }

    /// A worker's name; known before a story mentions it.
    #[must_use]
    pub fn worker_name(&self, worker: WorkerId) -> Option<Arc<str>> {
        self.0.inbox.worker_name(worker)
    }

    /// Asks for the cluster's state; nothing if no answer comes in time.
    #[must_use]
    pub fn ask_status(&self, timeout: Duration) -> Option<Status> {
        let question = self.ask()?;
        question.waiter.wait(timeout);
        let answer = question.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.map(|status| *status)
    }

    fn ask(&self) -> Option<Arc<Question>> {
        let question = Arc::new(Question { waiter: Waiter::new(Wish::Outcome), answer: Mutex::default() });
        self.0.outgoing.question(Arc::clone(&question)).then_some(question)
    }

    /// What a thread waited for has come.
    pub fn end_lull(&self) {
        self.0.lull.end();
    }

    /// A thread has waited in vain until `now`. True, once, if somebody should be told that no worker is there.
    #[must_use]
    pub fn is_deserted(&self, now: Instant) -> bool {
        self.0.lull.goes_on(now, || self.ask())
    }

    /// Closes the client; returns at once.
    pub fn close(&self, how: Close) {
        self.0.outgoing.close(how);
    }
}

impl Shared {
    /// Whether an object is here.
    pub(super) fn has(&self, stored: &Stored) -> bool {
        self.objects.as_ref().is_some_and(|objects| objects.has(stored.object))
    }

    /// An object, if it is here.
    fn read(&self, stored: &Stored) -> Option<Value> {
        self.objects.as_ref()?.read(stored.object)
    }

    /// Settles everything that is pending, for good.
    pub(super) fn end(&self, end: End) {
        let gate = match end {
            End::Closed => Gate::Closed,
            End::Lost(_) => Gate::Lost,
        };
        let mut rest = Batch::default();
        self.outgoing.end(gate, &mut rest);
        self.inbox.register(&rest.requests);
        self.inbox.forget(&rest.released);
        self.inbox.end(end, |stored| self.read(stored));
        rest.questions.iter().for_each(|question| question.waiter.wake());
    }
}
