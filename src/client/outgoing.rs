//! What the user's threads have asked for and the driver has not taken yet, in the order of the calls.
//!
//! Tasks are batched as they come: the driver takes the whole queue with one swap, already cut into requests that the
//! protocol allows. It is notified only if it sleeps; while it dozes (right after it had something to do) a release alone
//! does not wake it, because releases are many and in no hurry.

use super::waiter::{Waiter, Wish, wake_all};
use super::{Close, NewTask, SubmitError};
use plait_core::id::{FunctionId, OptionsId, RunId, Seq};
use plait_core::limits;
use plait_core::outcome::Admission;
use plait_core::protocol::message::client::Status;
use plait_core::spec::{Cancel, Errors, Finish, FunctionSpec, Options, PythonVersion, Request, RunSpec, TaskSpec};
use plait_core::value::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The queue and the driver's bell.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: Mutex<Queue>,
    bell: Notify,
    /// The next task's number, to be read without the lock.
    tasks: AtomicU64,
}

/// Most bytes of values in one request; everything goes until the coordinator is known.
#[derive(Clone, Copy, Debug)]
struct ValueLimit(u64);

impl Default for ValueLimit {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl ValueLimit {
    fn check(self, value: &Value) -> Result<(), SubmitError> {
        let (size, limit) = (value.len(), self.0);
        if size > limit { Err(SubmitError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// Payload of the last request of the batch, if that is a submit.
    submit_bytes: u64,
    /// Payload of the whole batch.
    bytes: u64,
    driver: Alertness,
    gate: Gate,
    admission: Admission,
    value_limit: ValueLimit,
    waiting: Vec<Arc<Waiter>>,
    options: HashMap<Options, OptionsId>,
    functions: u32,
    runs: u32,
}

/// What the driver takes at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of the calls.
    pub(super) requests: Vec<Request>,
    /// Tasks that nobody holds any more; later than all requests.
    pub(super) released: Vec<Seq>,
    /// Functions that will not be named again; later than all requests.
    pub(super) released_functions: Vec<FunctionId>,
    /// Questions to the coordinator.
    pub(super) questions: Vec<Arc<Question>>,
    /// The client is to be closed.
    pub(super) close: Option<Close>,
}

/// A question for the cluster's state and its answer.
#[derive(Debug)]
pub(super) struct Question {
    /// Who waits for it.
    pub(super) waiter: Arc<Waiter>,
    /// The answer.
    pub(super) answer: Mutex<Option<Box<Status>>>,
}

/// How deep the driver sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Alertness {
    /// It will look by itself.
    #[default]
    Awake,
    /// It looks by itself in a moment; what is urgent wakes it.
    Dozing,
    /// It looks when it is woken.
    Asleep,
}

/// Whether the client is still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// It is.
    #[default]
    Open,
    /// No new tasks; the rest goes on.
    Closing,
    /// Closed.
    Closed,
    /// The coordinator is lost.
    Lost,
}

impl Outgoing {
    /// The number of the next task: all below it were given out.
    pub(super) fn next_task(&self) -> Seq {
        Seq(self.tasks.load(Ordering::Acquire))
    }

    /// Adds a task; takes it only then.
    pub(super) fn offer(&self, task: &mut Option<NewTask>) -> Result<Seq, SubmitError> {
        let mut queue = self.lock();
        queue.gate.check()?;
        let offered = task.as_ref().expect("a task is offered until it is taken");
        queue.value_limit.check(&offered.args)?;
        if queue.is_full() {
            return Err(SubmitError::Full);
        }
        let task = task.take().expect("it was just there");
        let seq = self.number();
        queue.push_task(task, seq);
        self.ring(queue, Alertness::Dozing);
        Ok(seq)
    }

    /// Adds a value to be kept; takes it only then.
    pub(super) fn put(&self, value: &mut Option<Value>) -> Result<Seq, SubmitError> {
        let mut queue = self.lock();
        queue.gate.check()?;
        queue.value_limit.check(value.as_ref().expect("a value is offered until it is taken"))?;
        if queue.is_full() {
            return Err(SubmitError::Full);
        }
        let (seq, value) = (self.number(), value.take().expect("it was just there"));
        queue.push(Request::Put { seq, value });
        self.ring(queue, Alertness::Dozing);
        Ok(seq)
    }

    /// Adds a run.
    pub(super) fn open_run(
        &self,
        finish: Finish,
        errors: Errors,
        options: OptionsId,
    ) -> Result<(RunId, Seq), SubmitError> {
        let mut queue = self.lock();
        queue.gate.check()?;
        if let Finish::Reduce { initial: Some(initial), .. } = &finish {
            queue.value_limit.check(initial)?;
        }
        let (id, result) = (RunId(queue.runs), self.number());
        queue.runs += 1;
        queue.push(Request::OpenRun(RunSpec { id, result, finish, errors, options }));
        self.ring(queue, Alertness::Dozing);
        Ok((id, result))
    }

    /// Adds a function; it travels with whatever is asked for next.
    pub(super) fn define_function(
        &self,
        python: Option<PythonVersion>,
        body: Value,
    ) -> Result<FunctionId, SubmitError> {
        let mut hasher = blake3::Hasher::new();
        for segment in body.segments() {
            hasher.update(segment);
        }
        let hash = *hasher.finalize().as_bytes();
        let mut queue = self.lock();
        queue.value_limit.check(&body)?;
        let id = FunctionId(queue.functions);
        // The coordinator never takes a number twice.
        queue.functions = queue.functions.checked_add(1).ok_or(SubmitError::Exhausted)?;
        queue.push(Request::DefineFunction(FunctionSpec { id, hash, python, body }));
        self.ring(queue, Alertness::Asleep);
        Ok(id)
    }

    /// Adds options, unless equal ones are known.
    pub(super) fn define_options(&self, options: Options) -> Result<OptionsId, SubmitError> {
        let mut queue = self.lock();
        if let Some(id) = queue.options.get(&options) {
            return Ok(*id);
        }
        let number = queue.options.len();
        let id = u32::try_from(number).ok().filter(|_| number < limits::SESSION_OPTIONS);
        let id = OptionsId(id.ok_or(SubmitError::TooManyOptions)?);
        queue.options.insert(options.clone(), id);
        queue.push(Request::DefineOptions { id, options });
        self.ring(queue, Alertness::Asleep);
        Ok(id)
    }

    /// Says how many pieces a run has.
    pub(super) fn seal_run(&self, run: RunId, pieces: u64) {
        self.ask(Request::SealRun { run, pieces });
    }

    /// Adds cancels.
    pub(super) fn cancel(&self, tasks: &[Seq], cancel: Cancel) {
        for tasks in tasks.chunks(limits::BATCH_ITEMS) {
            self.ask(Request::Cancel { tasks: tasks.to_vec(), cancel });
        }
    }

    /// Asks for the value of a task that is over.
    pub(super) fn fetch(&self, task: Seq) {
        self.ask(Request::Fetch { seq: task });
    }

    /// Adds a release. False once nobody takes it any more.
    #[must_use]
    pub(super) fn release(&self, task: Seq) -> bool {
        let mut queue = self.lock();
        if matches!(queue.gate, Gate::Closed | Gate::Lost) {
            return false;
        }
        queue.batch.released.push(task);
        self.ring(queue, Alertness::Asleep);
        true
    }

    /// Adds the release of a function, behind all that names it.
    pub(super) fn release_function(&self, function: FunctionId) {
        let mut queue = self.lock();
        if matches!(queue.gate, Gate::Open | Gate::Closing) {
            queue.batch.released_functions.push(function);
            self.ring(queue, Alertness::Asleep);
        }
    }

    /// Adds a question. False once nobody answers it any more.
    #[must_use]
    pub(super) fn question(&self, question: Arc<Question>) -> bool {
        let mut queue = self.lock();
        if matches!(queue.gate, Gate::Closed | Gate::Lost) {
            return false;
        }
        queue.batch.questions.push(question);
        self.ring(queue, Alertness::Dozing);
        true
    }

    /// Lets no new task in, and tells the driver.
    pub(super) fn close(&self, how: Close) {
        let mut queue = self.lock();
        if queue.gate == Gate::Open {
            queue.gate = Gate::Closing;
        }
        queue.batch.close = queue.batch.close.max(Some(how));
        let mut waiting = std::mem::take(&mut queue.waiting);
        self.ring(queue, Alertness::Dozing);
        wake_all(&mut waiting);
    }

    /// Waits until a task may be submitted, or never again.
    pub(super) fn wait_admission(&self, timeout: Duration) -> bool {
        let waiter = {
            let mut queue = self.lock();
            if queue.gate != Gate::Open || !queue.is_full() {
                return true;
            }
            let waiter = Waiter::new(Wish::Outcome);
            queue.waiting.push(Arc::clone(&waiter));
            waiter
        };
        let woken = waiter.wait(timeout);
        if !woken {
            self.lock().waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
        }
        woken
    }

    fn ask(&self, request: Request) {
        let mut queue = self.lock();
        if matches!(queue.gate, Gate::Open | Gate::Closing) {
            queue.push(request);
            self.ring(queue, Alertness::Dozing);
        }
    }

    /// Called under the queue's lock, so that numbers ascend in the queue.
    fn number(&self) -> Seq {
        Seq(self.tasks.fetch_add(1, Ordering::AcqRel))
    }

    /// Wakes the driver if it sleeps as deep as `from` or deeper.
    fn ring(&self, mut queue: MutexGuard<'_, Queue>, from: Alertness) {
        let wake = match queue.driver {
            Alertness::Awake => false,
            Alertness::Dozing => from == Alertness::Dozing,
            Alertness::Asleep => true,
        };
        if wake {
            queue.driver = Alertness::Awake;
            drop(queue);
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's side.
impl Outgoing {
    /// Takes all there is.
    pub(super) fn take(&self, batch: &mut Batch) {
        let mut waiting = Vec::new();
        {
            let mut queue = self.lock();
            queue.driver = Alertness::Awake;
            std::mem::swap(&mut queue.batch, batch);
            queue.bytes = 0;
            queue.submit_bytes = 0;
            if !queue.is_full() {
                std::mem::swap(&mut queue.waiting, &mut waiting);
            }
        }
        wake_all(&mut waiting);
    }

    /// The driver lies down. False if there is something urgent to do.
    #[must_use]
    pub(super) fn lie_down(&self, how: Alertness) -> bool {
        let mut queue = self.lock();
        let urgent = queue.batch.is_urgent() || (how == Alertness::Asleep && !queue.batch.is_empty());
        if !urgent {
            queue.driver = how;
        }
        !urgent
    }

    /// Waits to be woken. Cancel-safe.
    pub(super) async fn woken(&self) {
        self.bell.notified().await;
    }

    /// The coordinator says how much one request may carry.
    pub(super) fn limit_values(&self, bytes: u64) {
        self.lock().value_limit = ValueLimit(bytes);
    }

    /// The coordinator says whether tasks are welcome.
    pub(super) fn admit(&self, admission: Admission) {
        let mut waiting = Vec::new();
        {
            let mut queue = self.lock();
            queue.admission = admission;
            if !queue.is_full() {
                std::mem::swap(&mut queue.waiting, &mut waiting);
            }
        }
        wake_all(&mut waiting);
    }

    /// Nothing is taken any more; what is still there goes into `rest`.
    pub(super) fn end(&self, gate: Gate, rest: &mut Batch) {
        let mut waiting = {
            let mut queue = self.lock();
            if !matches!(queue.gate, Gate::Closed | Gate::Lost) {
                queue.gate = gate;
            }
            std::mem::swap(&mut queue.batch, rest);
            std::mem::take(&mut queue.waiting)
        };
        wake_all(&mut waiting);
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.admission == Admission::Closed || self.bytes >= limits::CONNECTION_CREDIT_BYTES
    }

    fn push(&mut self, request: Request) {
        self.bytes += request.len();
        self.submit_bytes = 0;
        self.batch.requests.push(request);
    }

    /// Adds a task to the last request if that is a submit with room for it, else to a new one.
    fn push_task(&mut self, task: NewTask, seq: Seq) {
        let NewTask { function, options, call, args, inputs, run, retention } = task;
        let bytes = args.len() + limits::MESSAGE_COST_BYTES;
        let spec = TaskSpec { seq, function, options, call, args, inputs, run, retention };
        self.bytes += bytes;
        let room = self.submit_bytes + bytes <= limits::INLINE_FRAME_BYTES as u64;
        match self.batch.requests.last_mut() {
            Some(Request::Submit(tasks)) if room && tasks.len() < limits::BATCH_ITEMS => {
                tasks.push(spec);
                self.submit_bytes += bytes;
            }
            last => {
                // Behind a full request the next one will be full too.
                let more = if matches!(last, Some(Request::Submit(_))) { limits::BATCH_ITEMS } else { 1 };
                let mut tasks = Vec::with_capacity(more);
                tasks.push(spec);
                self.batch.requests.push(Request::Submit(tasks));
                self.submit_bytes = bytes;
            }
        }
    }
}

impl Batch {
    fn is_urgent(&self) -> bool {
        let lazy = |request: &Request| matches!(request, Request::DefineFunction(_) | Request::DefineOptions { .. });
        !self.requests.iter().all(lazy) || !self.questions.is_empty() || self.close.is_some()
    }

    /// Whether nothing was asked for.
    pub(super) fn is_empty(&self) -> bool {
        let released = self.released.len() + self.released_functions.len();
        self.requests.is_empty() && released == 0 && !self.is_urgent()
    }
}

impl Gate {
    fn check(self) -> Result<(), SubmitError> {
        match self {
            Self::Open => Ok(()),
            Self::Closing | Self::Closed => Err(SubmitError::Closed),
            Self::Lost => Err(SubmitError::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use plait_core::spec::{Call, Retention};

    fn task(bytes: usize) -> NewTask {
        NewTask {
            function: FunctionId(0),
            options: OptionsId(0),
            call: Call::Single,
            args: Value::from(Bytes::from(vec![0; bytes])),
            inputs: Box::default(),
            run: None,
            retention: Retention::Delivery,
        }
    }

    fn some(bytes: usize) -> Option<NewTask> {
        Some(task(bytes))
    }

    fn taken(outgoing: &Outgoing) -> Batch {
        let mut batch = Batch::default();
        outgoing.take(&mut batch);
        batch
    }

    #[test]
    fn tasks_are_cut_into_requests_that_the_protocol_allows() {
        let outgoing = Outgoing::default();
        (0..2_500).for_each(|_| assert!(outgoing.offer(&mut some(10)).is_ok()));
        (0..3).for_each(|_| assert!(outgoing.offer(&mut some(500 << 10)).is_ok()));
        outgoing.seal_run(RunId(0), 3);
        outgoing.offer(&mut some(0)).expect("the queue is open");
        let sizes: Vec<_> = taken(&outgoing)
            .requests
            .iter()
            .map(|request| if let Request::Submit(tasks) = request { tasks.len() } else { 0 })
            .collect();
        assert_eq!(sizes, [1_000, 1_000, 501, 2, 0, 1]);
        assert!(taken(&outgoing).is_empty());
    }

    #[test]
    fn a_full_queue_admits_again_once_it_is_taken() {
        let outgoing = Outgoing::default();
        outgoing.offer(&mut some(64 << 20)).expect("the queue is open");
        assert_eq!(outgoing.offer(&mut some(0)), Err(SubmitError::Full));
        assert!(!outgoing.wait_admission(Duration::ZERO));
        taken(&outgoing);
        assert!(outgoing.wait_admission(Duration::ZERO));
        outgoing.admit(Admission::Closed);
        assert_eq!(outgoing.offer(&mut some(0)), Err(SubmitError::Full));
    }

    #[test]
    fn what_the_coordinator_would_not_take_is_refused_at_once_and_alone() {
        let outgoing = Outgoing::default();
        outgoing.limit_values(100);
        let body = |bytes| Value::from(Bytes::from(vec![0; bytes]));
        let reduce = |bytes| Finish::Reduce { function: FunctionId(0), initial: Some(body(bytes)) };
        let refused = SubmitError::TooLarge { size: 101, limit: 100 };
        outgoing.admit(Admission::Closed);
        assert_eq!(outgoing.offer(&mut some(101)), Err(refused), "waiting would be in vain");
        outgoing.admit(Admission::Open);
        assert_eq!(outgoing.define_function(None, body(101)), Err(refused));
        assert_eq!(outgoing.open_run(reduce(101), Errors::Raise, OptionsId(0)), Err(refused));
        assert!(taken(&outgoing).is_empty());
        assert_eq!(outgoing.define_function(None, body(100)), Ok(FunctionId(0)));
        assert_eq!(outgoing.open_run(reduce(100), Errors::Raise, OptionsId(0)), Ok((RunId(0), Seq(0))));
        assert_eq!(outgoing.offer(&mut some(100)), Ok(Seq(1)));
    }

    #[test]
    fn equal_options_have_one_id() {
        let outgoing = Outgoing::default();
        let other = Options { retries: 1, ..Options::default() };
        let ids = [Options::default(), other, Options::default()].map(|options| outgoing.define_options(options));
        assert_eq!(ids, [Ok(OptionsId(0)), Ok(OptionsId(1)), Ok(OptionsId(0))]);
        assert_eq!(taken(&outgoing).requests.len(), 2);
    }

    #[test]
    fn more_options_than_a_coordinator_keeps_are_refused() {
        let outgoing = Outgoing::default();
        let labelled = |n: usize| Options { label: n.to_string().into(), ..Options::default() };
        let known = (0..limits::SESSION_OPTIONS).map(|n| (labelled(n), OptionsId(0)));
        outgoing.lock().options.extend(known);
        assert_eq!(outgoing.define_options(labelled(limits::SESSION_OPTIONS)), Err(SubmitError::TooManyOptions));
        assert_eq!(outgoing.define_options(labelled(7)), Ok(OptionsId(0)), "equal ones are known");
        assert!(taken(&outgoing).is_empty());
    }

    #[test]
    fn a_function_is_released_behind_what_names_it() {
        let outgoing = Outgoing::default();
        let body = || Value::from(Bytes::from_static(b"body"));
        assert_eq!(outgoing.define_function(None, body()), Ok(FunctionId(0)));
        outgoing.release_function(FunctionId(0));
        outgoing.offer(&mut some(0)).expect("the queue is open");
        let batch = taken(&outgoing);
        assert_eq!((batch.requests.len(), &batch.released_functions[..]), (2, &[FunctionId(0)][..]));
        assert_eq!(outgoing.define_function(None, body()), Ok(FunctionId(1)), "numbers are not used twice");
    }

    #[test]
    fn the_last_number_of_a_function_is_not_given_out() {
        let outgoing = Outgoing::default();
        outgoing.lock().functions = u32::MAX;
        let body = Value::from(Bytes::from_static(b"body"));
        assert_eq!(outgoing.define_function(None, body), Err(SubmitError::Exhausted));
        assert!(taken(&outgoing).is_empty());
    }

    #[test]
    fn a_dozing_driver_is_not_kept_up_by_releases() {
        let outgoing = Outgoing::default();
        assert!(outgoing.lie_down(Alertness::Dozing));
        assert!(outgoing.release(Seq(0)));
        assert!(outgoing.lie_down(Alertness::Dozing) && !outgoing.lie_down(Alertness::Asleep));
        outgoing.offer(&mut some(0)).expect("the queue is open");
        assert!(!outgoing.lie_down(Alertness::Dozing));
    }

    #[test]
    fn a_closed_queue_says_so() {
        let outgoing = Outgoing::default();
        outgoing.close(Close::WhenDone);
        assert_eq!(outgoing.offer(&mut some(0)), Err(SubmitError::Closed));
        outgoing.cancel(&[Seq(0)], Cancel::Pending);
        let mut rest = Batch::default();
        outgoing.end(Gate::Lost, &mut rest);
        assert_eq!((rest.requests.len(), rest.close), (1, Some(Close::WhenDone)));
        assert_eq!(outgoing.offer(&mut some(0)), Err(SubmitError::Lost));
        assert!(!outgoing.release(Seq(0)));
    }
}
