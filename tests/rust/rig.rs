//! A coordinator, its clients and workers that run nothing, all on one thread and linked in memory.
//!
//! A [`Rig`]'s workers answer by themselves: a task's value is its arguments followed by its inputs, joined by nothing, so
//! that the value of any graph can be written down. Every rig ends by checking that nothing is left in the coordinator.

use bytes::Bytes;
use plait::client::{self, Close, Completion, Handle, NewTask};
use plait::coordinator::{self, World};
use plait::net::link::{self, Link};
use plait::net::listener::{Arrival, Exchange, Watch};
use plait::net::peers::{Guests, Pass};
use plait_core::id::{AttemptId, FunctionId, ObjectId, OptionsId, Seq};
use plait_core::outcome::{Ending, Outcome, Report};
use plait_core::protocol::message::client::{FromClient, Status, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::resource::Resources;
use plait_core::spec::{Call, Offer, Options, PythonVersion, Retention, Start};
use plait_core::value::Value;
use plait_core::window;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Of the tasks of a rig's workers.
pub(crate) const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 11 };

/// A coordinator on a thread of its own.
pub(crate) struct Rig {
    pub(crate) config: coordinator::Config,
    arrivals: mpsc::Sender<Arrival>,
    runtime: runtime::Handle,
    token: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    /// A coordinator with nobody there.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, its config adjusted.
    pub(crate) fn with(adjust: impl FnOnce(&mut coordinator::Config)) -> Self {
        let mut config = coordinator::Config::new(World::Open);
        adjust(&mut config);
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (arrivals, arriving) = mpsc::channel(16);
        let token = CancellationToken::new();
        let (handle, shutdown) = (runtime.handle().clone(), token.clone());
        let body = move || runtime.block_on(coordinator::run(config, arriving, shutdown));
        Self { config, arrivals, runtime: handle, token, thread: Some(std::thread::spawn(body)) }
    }

    /// A rig with one worker of so many slots, and a client.
    pub(crate) fn pair(slots: u32) -> (Self, Handle) {
        let rig = Self::new();
        drop(rig.worker(slots, answer));
        let client = rig.client();
        (rig, client)
    }

    /// A client.
    pub(crate) fn client(&self) -> Handle {
        self.client_that_assumes(self.config.value_limit())
    }

    /// A client that assumes this limit of a request's values until it is told.
    pub(crate) fn client_that_assumes(&self, value_limit: u64) -> Handle {
        let (near, far) = link::memory::<FromClient, ToClient>();
        let (handle, driver) = client::over(self.config.epoch, value_limit, near);
        self.runtime.spawn(driver);
        self.arrive(Arrival::Client {
            name: "test".into(),
            token: 1,
            resume: None,
            exchange: Exchange::Memory,
            link: far,
        });
        handle
    }

    /// A worker that does with each start what `act` says.
    pub(crate) fn worker(&self, slots: u32, act: impl FnMut(&Start) -> Act + Send + 'static) -> Probe {
        let (near, far) = link::memory::<FromWorker, ToWorker>();
        let (probe, worker) = Worker::new(near, act);
        self.runtime.spawn(worker.run());
        let offer = Offer {
            name: "host:1".into(),
            capacity: Resources::cpus(slots),
            queue: 256 * slots,
            python: PYTHON,
            peer: None,
        };
        self.arrive(Arrival::Worker { offer, watch: Watch::None, exchange: Exchange::Memory, link: far });
        probe
    }

    fn arrive(&self, arrival: Arrival) {
        self.arrivals.blocking_send(arrival).expect("the coordinator runs");
    }

    /// Ends the coordinator in good order.
    pub(crate) fn end(mut self) {
        self.token.cancel();
        self.thread.take().expect("ended once").join().expect("the coordinator did not panic");
    }
}

/// What a worker of so many slots says it is.
pub(crate) fn offer(slots: u32) -> Offer {
    Offer { name: "host:1".into(), capacity: Resources::cpus(slots), queue: 256 * slots, python: PYTHON, peer: None }
}

/// What a worker does with a start.
pub(crate) enum Act {
    /// It is through with it at once.
    End(Ending),
    /// The same with this value, which stays with the worker.
    Keep(Value),
    /// It runs until [`Probe::finish`].
    Hold,
}

/// The arguments, then the inputs.
pub(crate) fn answer(start: &Start) -> Act {
    let inputs = start.inputs.iter().filter_map(Outcome::value);
    let joined: Vec<u8> =
        std::iter::once(&start.args).chain(inputs).flat_map(|v| v.segments().collect::<Vec<_>>().concat()).collect();
    Act::End(Ending::Returned(Value::from(Bytes::from(joined))))
}

/// Holds tasks whose arguments begin with `hold`, answers the others.
pub(crate) fn hold(start: &Start) -> Act {
    if start.args.segments().collect::<Vec<_>>().concat().starts_with(b"hold") { Act::Hold } else { answer(start) }
}

/// What a test does to a worker.
pub(crate) struct Probe {
    orders: mpsc::UnboundedSender<Order>,
    pub(crate) started: Arc<Mutex<Vec<AttemptId>>>,
    /// What the worker has kept.
    pub(crate) store: Arc<Mutex<BTreeMap<ObjectId, Value>>>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Finish,
    Cut,
}

impl Probe {
    /// Ends what is held, as [`answer`] would have, and holds nothing any more.
    pub(crate) fn finish(&self) {
        self.orders.send(Order::Finish).expect("the worker runs");
    }

    /// The worker dies.
    pub(crate) fn cut(&self) {
        self.orders.send(Order::Cut).expect("the worker runs");
    }

    /// Waits until so many attempts were started here.
    pub(crate) fn await_starts(&self, count: usize) {
        eventually(|| self.started.lock().unwrap().len() >= count);
    }
}

/// Does what a real worker does, but for the work.
pub(crate) struct Worker<A> {
    link: Link<FromWorker, ToWorker>,
    act: A,
    held: Vec<Start>,
    holding: bool,
    orders: mpsc::UnboundedReceiver<Order>,
    started: Arc<Mutex<Vec<AttemptId>>>,
    store: Arc<Mutex<BTreeMap<ObjectId, Value>>>,
    /// Starts whose inputs have not all come.
    streamed: Vec<Start>,
    /// Who may come to it, if it has a place for guests.
    pub(crate) guests: Arc<Guests>,
}

impl<A: FnMut(&Start) -> Act + Send> Worker<A> {
    /// A worker over a link, to be run.
    pub(crate) fn new(link: Link<FromWorker, ToWorker>, act: A) -> (Probe, Self) {
        let (sender, orders) = mpsc::unbounded_channel();
        let (started, store) = (Arc::default(), Arc::default());
        let probe = Probe { orders: sender, started: Arc::clone(&started), store: Arc::clone(&store) };
        let (held, streamed, guests) = (Vec::new(), Vec::new(), Arc::default());
        (probe, Self { link, act, held, holding: true, orders, started, store, streamed, guests })
    }

    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = self.link.receiver.receive(&mut batch, 64) => if received.is_err() { return },
                Some(order) = self.orders.recv() => match order {
                    Order::Cut => return self.link.sender.abort(),
                    Order::Finish => self.finish_held(),
                },
            }
            for message in batch.drain(..) {
                match message {
                    ToWorker::Start(starts) => self.on_starts(starts),
                    ToWorker::Inputs { attempt, inputs } => self.on_inputs(attempt, inputs),
                    ToWorker::Cancel { attempts, .. } => self.on_cancel(&attempts),
                    ToWorker::Define { function, .. } => {
                        self.send(FromWorker::Taken(window::cost(function.body.len())));
                    }
                    ToWorker::Show(object) => {
                        let value = self.store.lock().unwrap().get(&object).cloned();
                        self.send(FromWorker::Shown { object, value });
                    }
                    ToWorker::Drop(objects) => self.store.lock().unwrap().retain(|object, _| !objects.contains(object)),
                    ToWorker::ExpectClient { key, session } => self.guests.introduce(key, Pass::Client(session)),
                    ToWorker::Goodbye | ToWorker::Fenced => return,
                    ToWorker::Welcome { .. }
                    | ToWorker::Recall(_)
                    | ToWorker::Cut(_)
                    | ToWorker::Forget(_)
                    | ToWorker::ForgetFunctions(_)
                    | ToWorker::Fetch { .. }
                    | ToWorker::Expect(_)
                    | ToWorker::Give { .. }
                    | ToWorker::Taken(_) => {}
                }
            }
        }
    }

    fn finish_held(&mut self) {
        self.holding = false;
        let reports = std::mem::take(&mut self.held).iter().map(|start| report(start.attempt, answer(start))).collect();
        self.send(FromWorker::Ended(reports));
    }

    fn on_starts(&mut self, starts: Vec<Start>) {
        self.send(FromWorker::Taken(starts.iter().map(|start| window::cost(start.len())).sum()));
        // Each answers for itself here: what waits for another of this worker's goes back.
        let (early, starts): (Vec<_>, Vec<_>) = starts.into_iter().partition(|start| !start.promised.is_empty());
        if !early.is_empty() {
            self.send(FromWorker::Returned(early.iter().map(|start| start.attempt).collect()));
        }
        self.started.lock().unwrap().extend(starts.iter().map(|start| start.attempt));
        let (whole, streamed): (Vec<_>, Vec<_>) =
            starts.into_iter().partition(|start| start.inputs.len() as u64 == start.inputs_total);
        self.streamed.extend(streamed);
        self.perform(whole);
    }

    fn on_inputs(&mut self, attempt: AttemptId, inputs: Vec<Outcome>) {
        self.send(FromWorker::Taken(window::cost(inputs.iter().map(Outcome::len).sum())));
        let Some(index) = self.streamed.iter().position(|start| start.attempt == attempt) else { return };
        self.streamed[index].inputs.extend(inputs);
        if self.streamed[index].inputs.len() as u64 == self.streamed[index].inputs_total {
            let start = self.streamed.swap_remove(index);
            self.perform(vec![start]);
        }
    }

    fn perform(&mut self, starts: Vec<Start>) {
        let mut reports = Vec::new();
        for start in starts {
            match (self.act)(&start) {
                Act::Hold if self.holding => self.held.push(start),
                Act::Hold => reports.push(report(start.attempt, answer(&start))),
                Act::Keep(value) => {
                    let object = ObjectId(start.attempt);
                    let told = value.referred_to_as(object);
                    self.store.lock().unwrap().insert(object, value);
                    reports.push(report(start.attempt, Act::End(Ending::Returned(told))));
                }
                act @ Act::End(_) => reports.push(report(start.attempt, act)),
            }
        }
        if !reports.is_empty() {
            self.send(FromWorker::Ended(reports));
        }
    }

    fn on_cancel(&mut self, attempts: &[AttemptId]) {
        let (cancelled, held) = std::mem::take(&mut self.held).into_iter().partition(|s| attempts.contains(&s.attempt));
        self.held = held;
        let cancelled: Vec<Start> = cancelled;
        let end = |start: &Start| report(start.attempt, Act::End(Ending::Cancelled));
        self.send(FromWorker::Ended(cancelled.iter().map(end).collect()));
    }

    fn send(&self, message: FromWorker) {
        let _ = self.link.sender.send(message);
    }
}

fn report(attempt: AttemptId, act: Act) -> Report {
    let Act::End(ending) = act else { unreachable!("only what ended is reported") };
    Report { attempt, ending, run_micros: 1 }
}

/// A task with these arguments.
pub(crate) fn task(args: impl AsRef<[u8]>) -> NewTask {
    NewTask {
        function: FunctionId(0),
        options: OptionsId(0),
        call: Call::Single,
        args: Value::from(Bytes::copy_from_slice(args.as_ref())),
        inputs: Box::default(),
        run: None,
        retention: Retention::Delivery,
    }
}

/// Defines what [`task`] names.
pub(crate) fn define(client: &Handle) {
    assert_eq!(client.define_function(None, Value::empty()), Ok(FunctionId(0)));
    assert_eq!(client.define_options(Options::default()), Ok(OptionsId(0)));
}

/// Waits for a task's end and takes it.
pub(crate) fn take(client: &Handle, task: Seq) -> Completion {
    assert!(client.wait(task, PATIENCE), "task {task} ended");
    client.take(task, Retention::Delivery).expect("an outcome that was waited for is there")
}

/// The value of a task, as text.
pub(crate) fn value(client: &Handle, task: Seq) -> String {
    let outcome = take(client, task).outcome.expect("the coordinator is there");
    let value = outcome.value().unwrap_or_else(|| panic!("{task} came to {outcome:?}"));
    String::from_utf8(value.segments().collect::<Vec<_>>().concat()).unwrap()
}

/// Waits until nothing of a session is left in its coordinator but the session.
pub(crate) fn await_empty(client: &Handle) -> Status {
    let start = Instant::now();
    loop {
        let status = client.ask_status(PATIENCE).expect("an answer");
        let tasks = status.tasks;
        if tasks.waiting + tasks.ready + tasks.assigned + status.held_bytes == 0 {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "something is left: {status:?}");
        std::thread::yield_now();
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Closes a client at once.
pub(crate) fn close(client: &Handle) {
    client.close(Close::Now);
    assert!(client.wait_idle(PATIENCE));
}
