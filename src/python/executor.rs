//! The executor's channel for `_executor.py`: orders as tuples, endings as a number and segments.

use super::buffer::{segments_into, value_from};
use super::claims::Claims;
use super::outcome::outcome_into;
use super::pickle;
use crate::executor::{Channel, ExecutorOrder, Forgotten, Left, Next, remains, setup};
use crate::store::blob::Store;
use crate::store::shm::{ExecutorPage, Interrupt};
use plait_core::id::{AttemptId, FunctionKey};
use plait_core::outcome::{Ending, Failure, Outcome, Retry};
use plait_core::spec::{Call, Errors, Grouping};
use plait_core::value::Value;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};
use rustix::process::{Pid, getpid};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What [`ExecutorChannel::run`] could not finish, in the place of a call: a function's value.
const VALUE: u8 = 5;
/// The same: its exception.
const ERROR: u8 = 6;
/// Arguments of at most this many bytes become `bytes`; larger ones are not copied.
const COPIED_BYTES: u64 = 16 << 10;

/// A task that was faster than this has not forked: for an interpreter that alone takes several times as long. Two system
/// calls are spared where they would show.
const FORK_TAKES: Duration = Duration::from_micros(20);

/// The channel to the worker; used by the main thread of an executor alone.
#[pyclass(frozen, module = "plait._native")]
pub(super) struct ExecutorChannel {
    inner: Mutex<Inner>,
    page: Arc<ExecutorPage>,
    store: Arc<Store>,
    pid: Pid,
    inside: AtomicBool,
    cancelled: AtomicBool,
    changed: AtomicBool,
    broken: AtomicBool,
}

struct Inner {
    channel: Channel,
    /// It has been waited for, and nobody has looked at it yet.
    next: Option<ExecutorOrder>,
    /// Unpickled functions, by name.
    loaded: HashMap<FunctionKey, Py<PyAny>>,
    /// The function of the order at hand, and the one that merges its values.
    functions: [FunctionKey; 2],
    attempt: AttemptId,
}

#[pymethods]
impl ExecutorChannel {
    /// Makes this process an executor and opens the channel that is its standard input.
    #[staticmethod]
    fn open(py: Python<'_>) -> PyResult<Self> {
        let channel = py.detach(|| {
            let socket = setup::take_channel()?;
            setup::settle(&socket)?;
            Channel::open(socket)
        })?;
        let (page, store) = (channel.page(), Arc::clone(channel.store()));
        let inner = Inner {
            channel,
            next: None,
            loaded: HashMap::new(),
            functions: [FunctionKey::default(); 2],
            attempt: AttemptId::default(),
        };
        let [inside, cancelled, changed, broken] = [const { AtomicBool::new(false) }; 4];
        Ok(Self { inner: Mutex::new(inner), page, store, pid: getpid(), inside, cancelled, changed, broken })
    }

    /// Runs the simple orders among those at hand. Returns what it cannot finish, or None once nothing is at hand.
    ///
    /// That is an order as a tuple `(call, function, args, inputs, detail)`; with 5 as its call a function's value, with 6
    /// its exception, in the place of the arguments.
    fn run<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        loop {
            let Some((order, loaded)) = self.next(py) else { return Ok(None) };
            // Somebody may want it stopped before it has begun: that is for Python to say.
            let (Some((function, given)), false) = (simple(py, &order, loaded.as_ref()), self.cancelled()) else {
                return self.inner().tuple(py, order).map(Some);
            };
            self.store.drop_spares();
            self.inside.store(true, Relaxed);
            let call = match given {
                Given::Stream(stream) => pickle::load_any_call(py, stream),
                Given::Loaded(arguments) => Ok(arguments),
            };
            let called = call.and_then(|(args, kwargs)| function.call(args, kwargs.as_ref()));
            let called = called.and_then(|value| py.check_signals().map(|()| value));
            let stream = called.as_ref().ok().and_then(pickle::Stream::of_value);
            self.inside.store(false, Relaxed);
            if stream.is_some_and(|stream| self.end_plain(py, stream)) {
                continue;
            }
            let (what, left) = match called {
                Ok(value) => (VALUE, value.unbind()),
                Err(error) => (ERROR, error.into_value(py).into_any()),
            };
            return (what, loaded, left, py.None(), ()).into_pyobject(py).map(Some);
        }
    }

    /// Waits for an order, which `run` then finds. False when the worker is gone.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        loop {
            let next = py.detach(|| self.inner().channel.wait());
            // Dropped without the lock: what a function holds may run any code as it goes.
            let gone = self.inner().forget();
            drop(gone);
            match next {
                Next::Order(order) => {
                    self.inner().next = Some(order);
                    return Ok(true);
                }
                Next::End => return Ok(false),
                Next::Interrupted | Next::Forgotten => {}
            }
            py.check_signals()?;
        }
    }

    /// Whether a task runs: its unpickling, its function, the pickling of its result.
    #[getter]
    fn inside(&self) -> bool {
        self.inside.load(Relaxed)
    }

    #[setter]
    fn set_inside(&self, inside: bool) {
        self.inside.store(inside, Relaxed);
    }

    /// Whether the worker asked the task at hand to stop.
    #[getter]
    fn cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    #[setter]
    fn set_cancelled(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Relaxed);
    }

    /// Whether a task has changed its surroundings: then `run` leaves its end to Python.
    #[getter]
    fn changed(&self) -> bool {
        self.changed.load(Relaxed)
    }

    #[setter]
    fn set_changed(&self, changed: bool) {
        self.changed.store(changed, Relaxed);
    }

    /// Whether an import was interrupted: what it left half made would fail every later task. This process ends with the
    /// order at hand.
    #[getter]
    fn broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    #[setter]
    fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Relaxed);
    }

    /// The pickled function of the order at hand: which is 0 for its own, 1 for the one that merges.
    fn body<'py>(&self, py: Python<'py>, which: usize) -> PyResult<Bound<'py, PyList>> {
        let mut inner = self.inner();
        let function = inner.function(which)?;
        let body = inner.channel.take_body(function);
        let body = body.ok_or_else(|| PyRuntimeError::new_err("the worker did not send the function"))?;
        segments_into(py, body, Some(inner.channel.store()))
    }

    /// Keeps the unpickled function of the order at hand: later orders come with it.
    fn keep(&self, which: usize, function: Py<PyAny>) -> PyResult<()> {
        let mut inner = self.inner();
        let key = inner.function(which)?;
        inner.loaded.insert(key, function);
        Ok(())
    }

    /// The rest of the items of the order at hand, each claimed as it is taken.
    fn claims(&self, rest: Bound<'_, PyIterator>) -> PyResult<Claims> {
        let entry = self.inner().channel.entry();
        let entry = entry.ok_or_else(|| PyRuntimeError::new_err("there is no order at hand"))?;
        Ok(Claims::new(Arc::clone(&self.page), entry, rest.unbind()))
    }

    /// Ends the order at hand. False in a process that must end: a broken one, or one that was forked by the task and is
    /// no executor.
    ///
    /// Endings: 0 returned, 1 raised and worth a retry, 2 raised and not, 3 skipped, 4 cancelled.
    fn finish(&self, py: Python<'_>, ending: u8, segments: &Bound<'_, PyAny>) -> PyResult<bool> {
        let now = Instant::now();
        let Some(left) = self.left(now) else { return Ok(false) };
        let broken = self.broken.load(Relaxed);
        let left = if broken { Left::HalfModule } else { left };
        let value = || value_from(segments, Some(&self.store));
        let ending = match ending {
            0 => Ending::Returned(value()?),
            1 => Ending::Raised { error: value()?, retry: Retry::Allowed },
            2 => Ending::Raised { error: value()?, retry: Retry::Denied },
            3 => Ending::Skipped,
            4 => Ending::Cancelled,
            _ => return Err(PyValueError::new_err("an ending is a number from 0 to 4")),
        };
        self.end(py, now, ending, left);
        if broken {
            py.detach(|| self.inner().channel.flush());
            return Ok(false);
        }
        Ok(true)
    }

    /// Whom an interrupt was meant for: 0 came from somewhere else, 1 is to stop what runs, 2 came too late.
    fn interrupted(&self) -> u8 {
        match self.page.take_interrupt() {
            Interrupt::Foreign => 0,
            Interrupt::Running => 1,
            Interrupt::Stale => 2,
        }
    }

    /// The name of the attempt at hand, for logs.
    fn task(&self) -> String {
        self.inner().attempt.to_string()
    }
}

impl ExecutorChannel {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next order at hand, and its function if it is loaded.
    fn next(&self, py: Python<'_>) -> Option<(ExecutorOrder, Option<Py<PyAny>>)> {
        let mut inner = self.inner();
        let order = inner.next.take().or_else(|| inner.channel.take())?;
        let function = inner.loaded(py, order.function);
        Some((order, function))
    }

    /// Ends the order at hand with a plain value. False if there is more to it.
    fn end_plain(&self, py: Python<'_>, stream: pickle::Stream<'_, '_>) -> bool {
        if self.changed.load(Relaxed) || self.broken.load(Relaxed) {
            return false;
        }
        let now = Instant::now();
        let Some(left) = self.left(now) else { return false };
        self.end(py, now, Ending::Returned(stream.into_value()), left);
        self.cancelled.store(false, Relaxed);
        true
    }

    /// What the order at hand leaves behind. Nothing to be said in a process that it forked: that is no executor.
    fn left(&self, now: Instant) -> Option<Left> {
        if self.inner().channel.ran(now) < FORK_TAKES {
            return Some(Left::Nothing);
        }
        (getpid() == self.pid).then(remains::look)
    }

    fn end(&self, py: Python<'_>, now: Instant, ending: Ending, left: Left) {
        let is_due = self.inner().channel.finish(now, ending, left);
        if is_due {
            py.detach(|| self.inner().channel.flush());
        }
    }
}

/// The arguments of a simple order.
enum Given<'a, 'py> {
    /// To be unpickled, which may run any code.
    Stream(&'a [u8]),
    /// Plain ones, with the inputs among them.
    Loaded(pickle::Arguments<'py>),
}

/// Function and arguments of an order that needs nothing else.
fn simple<'a, 'py>(
    py: Python<'py>,
    order: &'a ExecutorOrder,
    loaded: Option<&Py<PyAny>>,
) -> Option<(Bound<'py, PyAny>, Given<'a, 'py>)> {
    let Call::Single = order.call else { return None };
    let is_short = |stream: &&[u8]| stream.len() as u64 <= COPIED_BYTES || pickle::may_be_plain(stream);
    let stream = order.args.only_segment().filter(is_short)?;
    let function = loaded?.bind(py).cast::<PyTuple>().ok()?.get_item(0).ok()?;
    if order.inputs.is_empty() {
        return Some((function, Given::Stream(stream)));
    }
    let plain = |input: &Outcome| pickle::load(py, input.value()?.only_segment()?);
    let inputs = order.inputs.iter().map(plain).collect::<Option<Vec<_>>>()?;
    Some((function, Given::Loaded(pickle::load_call(py, stream, &inputs)?)))
}

impl Inner {
    /// `(call, function, args, inputs, detail)`; a function that is not loaded yet is None.
    fn tuple<'py>(&mut self, py: Python<'py>, order: ExecutorOrder) -> PyResult<Bound<'py, PyTuple>> {
        self.functions[0] = order.function;
        self.attempt = order.task;
        let function = self.loaded(py, order.function);
        let store = Some(self.channel.store());
        let args = args_into(py, order.args, store)?;
        let inputs = match order.inputs {
            none if none.is_empty() => None,
            inputs => {
                let inputs = inputs.into_iter().map(|input| outcome_into(py, input, store));
                Some(inputs.collect::<PyResult<Vec<_>>>()?)
            }
        };
        self.channel.store().drop_spares();
        let first = order.part.as_ref().map_or(order.call.span().first, |part| part.first);
        let deaths = order.part.map(|part| part.deaths).filter(|deaths| !deaths.is_empty());
        let crash = deaths.map(|deaths| outcome_into(py, Outcome::Failed(Box::new(Failure::Crashed(deaths))), None));
        let crash = crash.transpose()?;
        match order.call {
            Call::Single => (0, function, args, inputs, ()).into_pyobject(py),
            Call::Chunk { errors, retries, .. } => {
                (1, function, args, inputs, (mode(errors), retries, first, crash)).into_pyobject(py)
            }
            Call::ChunkFold { errors, retries, merge, .. } => {
                self.functions[1] = FunctionKey { function: merge, ..order.function };
                let merge = self.loaded(py, self.functions[1]);
                (2, function, args, inputs, (mode(errors), retries, first, crash, merge)).into_pyobject(py)
            }
            Call::Fold => (3, function, args, inputs, ()).into_pyobject(py),
            Call::Combine { grouping, errors } => {
                let chunks = grouping == Grouping::Chunks;
                (4, function, args, inputs, (mode(errors), chunks)).into_pyobject(py)
            }
        }
    }

    fn loaded(&self, py: Python<'_>, function: FunctionKey) -> Option<Py<PyAny>> {
        self.loaded.get(&function).map(|loaded| loaded.clone_ref(py))
    }

    fn function(&self, which: usize) -> PyResult<FunctionKey> {
        self.functions.get(which).copied().ok_or_else(|| PyValueError::new_err("an order has two functions"))
    }

    /// Takes out what is no longer needed.
    fn forget(&mut self) -> Vec<Py<PyAny>> {
        let Forgotten { sessions, functions } = self.channel.take_forgotten();
        let mut gone: Vec<_> = functions.iter().filter_map(|function| self.loaded.remove(function)).collect();
        if !sessions.is_empty() {
            let over = self.loaded.extract_if(|function, _| sessions.contains(&function.session));
            gone.extend(over.map(|(_, loaded)| loaded));
        }
        gone
    }
}

/// One short segment as `bytes`, anything else as a list.
fn args_into<'py>(py: Python<'py>, args: Value, store: Option<&Arc<Store>>) -> PyResult<Bound<'py, PyAny>> {
    match args.only_segment() {
        Some(segment) if args.len() <= COPIED_BYTES => Ok(PyBytes::new(py, segment).into_any()),
        _ => Ok(segments_into(py, args, store)?.into_any()),
    }
}

/// 0 raise, 1 return, 2 skip.
const fn mode(errors: Errors) -> u8 {
    match errors {
        Errors::Raise => 0,
        Errors::Return => 1,
        Errors::Skip => 2,
    }
}
