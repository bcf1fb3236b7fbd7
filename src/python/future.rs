//! A future's native half: the task it stands for and what it came to.
//!
//! `_future.py` derives `Future` from it, so that a future is one object. What happens for every task (a value that is
//! there is asked for) happens here; everything else is Python's.

use super::ticket::{Hold, Told};
use crate::client::Handle;
use plait_core::id::Seq;
use plait_core::spec::Retention;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::OnceLock;

/// What `Future` adds methods to. When it is dropped, nobody can ask for its task any more.
#[pyclass(frozen, subclass, module = "plait._native")]
#[derive(Debug)]
pub(super) struct FutureBase {
    /// The client's core, which lives as long as its futures.
    owner: Py<PyAny>,
    /// Empty in a future that ended before its task was submitted.
    hold: OnceLock<Hold>,
    /// What it has come to, for good. No lock: the collector looks here, and so may any code that an object runs.
    end: OnceLock<End>,
}

/// What a future has come to.
#[derive(Debug)]
enum End {
    Value(Py<PyAny>),
    /// In the form of `_future.End`: an error and None.
    Other(Py<PyTuple>),
}

impl FutureBase {
    /// Makes it the future of `task`, which it was not before.
    pub(super) fn adopt(&self, handle: Handle, task: Seq) -> PyResult<()> {
        let adopted = self.hold.set(Hold::new(handle, task, Retention::Release));
        adopted.map_err(|_| PyRuntimeError::new_err("a future stands for one task"))
    }

    /// The number of its task, as an argument of another.
    pub(super) fn seq(&self) -> PyResult<Seq> {
        self.hold().map(Hold::seq)
    }

    /// The same, if nothing speaks against it: it is of the client with this core, and did not fail or end here.
    pub(super) fn as_input(&self, owner: &Bound<'_, PyAny>) -> Option<Seq> {
        let may_be = self.owner.is(owner) && !matches!(self.end.get(), Some(End::Other(_)));
        self.hold.get().filter(|_| may_be).map(Hold::seq)
    }

    fn hold(&self) -> PyResult<&Hold> {
        self.hold.get().ok_or_else(|| PyRuntimeError::new_err("this future stands for no task"))
    }

    /// The value, if it is here.
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(end) = self.end.get() {
            return Ok(end.value(py));
        }
        let Some(hold) = self.hold.get() else { return Ok(None) };
        let Some((value, story)) = hold.take_value(py)? else { return Ok(None) };
        let kept = self.keep(End::Value(value.unbind()));
        // Only then: whoever finds the outcome told looks here.
        hold.settle(story);
        Ok(kept.value(py))
    }

    /// Keeps `end` unless there is one already; returns the one that is kept.
    fn keep(&self, end: End) -> &End {
        drop(self.end.set(end));
        self.end.get().expect("it was just set, if not before")
    }
}

impl End {
    fn value<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Value(value) => Some(value.bind(py).clone()),
            Self::Other(_) => None,
        }
    }

    /// In the form of `_future.End`.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::Value(value) => (py.None(), value).into_pyobject(py),
            Self::Other(end) => Ok(end.bind(py).clone()),
        }
    }
}

#[pymethods]
impl FutureBase {
    /// A future of the client with this core; one that has an `end` already stands for no task.
    #[new]
    #[pyo3(signature = (owner, end=None))]
    fn new(owner: Py<PyAny>, end: Option<Py<PyTuple>>) -> Self {
        let end = end.map_or_else(OnceLock::new, |end| OnceLock::from(End::Other(end)));
        Self { owner, hold: OnceLock::new(), end }
    }

    /// Wait for the task and return its value.
    ///
    /// Ctrl-C while it waits cancels the task, running or not.
    ///
    /// Args:
    ///     timeout: How long to wait, in seconds; None for as long as it takes.
    ///
    /// Raises:
    ///     TimeoutError: When the time is up.
    ///     CancelledError: When it was cancelled.
    ///     Exception: Whatever the task raised; a `PlaitError` where plait could not get it done.
    #[pyo3(signature = (timeout=None))]
    fn result<'py>(slf: &Bound<'py, Self>, timeout: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().value(py)? {
            Some(value) => Ok(value),
            None => slf.call_method1(intern!(py, "_result_of_any"), (timeout,)),
        }
    }

    /// Whether the task is over or cancelled.
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.end.get().is_some() || self.hold()?.state(py)? == "done")
    }

    /// The client's core.
    #[getter]
    fn _owner<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.owner.bind(py).clone()
    }

    /// The task's number in its session; None if it was never submitted.
    #[getter]
    fn _seq(&self) -> Option<u64> {
        self.hold.get().map(|hold| hold.seq().0)
    }

    /// What it has come to: an exception (or None) and a value; None as long as nobody has loaded it.
    #[getter]
    fn _end<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.end.get().map(|end| end.told(py)).transpose()
    }

    /// Keeps an end unless there is one already, and returns the one that is kept.
    fn _keep<'py>(&self, py: Python<'py>, end: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let (error, value) = (end.get_item(0)?, end.get_item(1)?);
        let end = if error.is_none() { End::Value(value.unbind()) } else { End::Other(end.clone().unbind()) };
        self.keep(end).told(py)
    }

    /// How the task ended: "value", "cancelled" or "failed"; what it came to stays where it is. None if it is not over, and
    /// once the outcome was taken.
    fn _look(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.hold()?.look(py)
    }

    /// Where the task is: "pending", "running" or "done".
    fn _whereabouts(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.hold()?.state(py)
    }

    /// Waits for the outcome; None if `timeout` seconds pass first (no timeout: never).
    #[pyo3(signature = (timeout=None))]
    fn _take<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.hold()?.take(py, timeout)
    }

    /// Drops the raw outcome, once what it says is kept.
    fn _forget_outcome(&self) -> PyResult<()> {
        self.hold().map(Hold::forget_outcome)
    }

    /// How it went, once it is over: attempts, the last worker's name, microseconds of the last attempt and in all.
    fn _story(&self, py: Python<'_>) -> PyResult<Option<Told>> {
        self.hold.get().map_or(Ok(None), |hold| hold.story_alone(py))
    }

    /// Asks that the task not begin.
    fn _cancel_pending(&self, py: Python<'_>) -> PyResult<()> {
        self.hold()?.cancel_pending(py)
    }

    /// Asks that the task not begin, or be stopped.
    fn _cancel_running(&self, py: Python<'_>) -> PyResult<()> {
        self.hold()?.cancel_running(py)
    }

    /// Lets `Session.next_watched` tell when the task is over. False if its end is here already.
    fn _watch(&self, py: Python<'_>) -> PyResult<bool> {
        self.hold()?.watch(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        match self.end.get() {
            Some(End::Value(value)) => visit.call(value),
            Some(End::Other(end)) => visit.call(end),
            None => Ok(()),
        }
    }
}
