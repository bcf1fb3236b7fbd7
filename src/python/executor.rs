//! The executor's channel for `_executor.py`: orders as tuples, endings as a number and segments.

use super::buffer::{segments_of, value_from};
use super::outcome::outcome_of;
use crate::executor::{Channel, ExecutorOrder, Left, Next, remains, setup};
use crate::store::shm::{ExecutorPage, Interrupt};
use plait_core::id::{AttemptId, FunctionKey};
use plait_core::outcome::{Ending, Retry};

use plait_core::spec::{Call, Errors, Grouping};
use plait_core::value::Value;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use rustix::process::{Pid, getpid};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    pid: Pid,
}

struct Inner {
    channel: Channel,
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
        let page = channel.page();
        let inner = Inner {
            channel,
            loaded: HashMap::new(),
            functions: [FunctionKey::default(); 2],
            attempt: AttemptId::default(),
        };
        Ok(Self { inner: Mutex::new(inner), page, pid: getpid() })
    }

    /// The next order if one is at hand, else None.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut inner = self.inner();
        match inner.channel.take() {
            Some(order) => inner.tuple(py, &order).map(Some),
            None => Ok(None),
        }
    }

    /// The next order; waits for it. None when the worker is gone.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        loop {
            let next = py.detach(|| self.inner().channel.wait());
            let mut inner = self.inner();
            inner.forget();
            match next {
                Next::Order(order) => return inner.tuple(py, &order).map(Some),
                Next::End => return Ok(None),
                Next::Interrupted => drop(inner),
            }
            py.check_signals()?;
        }
    }

    /// The pickled function of the order at hand: which is 0 for its own, 1 for the one that merges.
    fn body<'py>(&self, py: Python<'py>, which: usize) -> PyResult<Bound<'py, PyList>> {
        let mut inner = self.inner();
        let function = inner.function(which)?;
        let body = inner.channel.take_body(function);
        segments_of(py, &body.ok_or_else(|| PyRuntimeError::new_err("the worker did not send the function"))?)
    }

    /// Keeps the unpickled function of the order at hand: later orders come with it.
    fn keep(&self, which: usize, function: Py<PyAny>) -> PyResult<()> {
        let mut inner = self.inner();
        let key = inner.function(which)?;
        inner.loaded.insert(key, function);
        Ok(())
    }

    /// Ends the order at hand. False in a process that was forked by the task: it is no executor and must end.
    ///
    /// Endings: 0 returned, 1 raised and worth a retry, 2 raised and not, 3 skipped, 4 cancelled.
    fn finish(&self, py: Python<'_>, ending: u8, segments: &Bound<'_, PyAny>) -> PyResult<bool> {
        let now = Instant::now();
        let could_fork = self.inner().channel.ran(now) >= FORK_TAKES;
        if could_fork && getpid() != self.pid {
            return Ok(false);
        }
        let ending = match ending {
            0 => Ending::Returned(value_from(segments)?),
            1 => Ending::Raised { error: value_from(segments)?, retry: Retry::Allowed },
            2 => Ending::Raised { error: value_from(segments)?, retry: Retry::Denied },
            3 => Ending::Skipped,
            4 => Ending::Cancelled,
            _ => return Err(PyValueError::new_err("an ending is a number from 0 to 4")),
        };
        let left = if could_fork { remains::look() } else { Left::Nothing };
        let is_due = self.inner().channel.finish(now, ending, left);
        if is_due {
            py.detach(|| self.inner().channel.flush());
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
}

impl Inner {
    /// `(call, function, args, inputs, detail)`; a function that is not loaded yet is None.
    fn tuple<'py>(&mut self, py: Python<'py>, order: &ExecutorOrder) -> PyResult<Bound<'py, PyTuple>> {
        self.functions[0] = order.function;
        self.attempt = order.task;
        let function = self.loaded(py, order.function);
        let args = args_of(py, &order.args)?;
        let inputs = match &order.inputs[..] {
            [] => None,
            inputs => Some(inputs.iter().map(|input| outcome_of(py, input)).collect::<PyResult<Vec<_>>>()?),
        };
        match order.call {
            Call::Single => (0, function, args, inputs, ()).into_pyobject(py),
            Call::Chunk { errors, retries } => (1, function, args, inputs, (mode(errors), retries)).into_pyobject(py),
            Call::ChunkFold { errors, retries, merge } => {
                self.functions[1] = FunctionKey { function: merge, ..order.function };
                let merge = self.loaded(py, self.functions[1]);
                (2, function, args, inputs, (mode(errors), retries, merge)).into_pyobject(py)
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

    fn forget(&mut self) {
        for session in self.channel.take_forgotten() {
            self.loaded.retain(|function, _| function.session != session);
        }
    }
}

/// One short segment as `bytes`, anything else as a list.
fn args_of<'py>(py: Python<'py>, args: &Value) -> PyResult<Bound<'py, PyAny>> {
    match args.only_segment() {
        Some(segment) if args.len() <= COPIED_BYTES => Ok(PyBytes::new(py, segment).into_any()),
        _ => Ok(segments_of(py, args)?.into_any()),
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
