//! A future's native half: the task it stands for and what it came to.
//!
//! `_future.py` derives `Future` from it, so that a future is one object. What happens for every task (a value that is
//! there is asked for) happens here; everything else is Python's.

use super::ticket::{Hold, Told};
use crate::client::Handle;
use plait_core::id::Seq;
use plait_core::spec::Retention;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What `Future` adds methods to. When it is dropped, nobody can ask for its task any more.
#[pyclass(frozen, subclass, module = "plait._native")]
#[derive(Debug)]
pub(super) struct FutureBase {
    /// The client's core, which lives as long as its futures.
    owner: Py<PyAny>,
    /// Empty in a future that ended before its task was submitted.
    hold: OnceLock<Hold>,
    end: Mutex<End>,
}

/// What a future has come to, for good.
#[derive(Debug)]
enum End {
    Ahead,
    Value(Py<PyAny>),
    /// In the form of `_future.End`: an error and None.
    Other(Py<PyAny>),
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

    fn hold(&self) -> PyResult<&Hold> {
        self.hold.get().ok_or_else(|| PyRuntimeError::new_err("this future stands for no task"))
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if it is here.
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &*self.end() {
            End::Ahead => {}
            End::Value(value) => return Ok(Some(value.bind(py).clone())),
            End::Other(_) => return Ok(None),
        }
        let Some(hold) = self.hold.get() else { return Ok(None) };
        let Some((value, story)) = hold.take_value(py)? else { return Ok(None) };
        let kept = self.keep(py, &End::Value(value.unbind()));
        // Only then: whoever finds the outcome told looks here.
        hold.settle(story);
        Ok(match kept {
            End::Value(value) => Some(value.into_bound(py)),
            End::Ahead | End::Other(_) => None,
        })
    }

    /// Keeps `end` unless there is one already; returns the one that is kept. No object is made or dropped under the
    /// lock: that may run any code, which may ask for this very future.
    fn keep(&self, py: Python<'_>, end: &End) -> End {
        let mut kept = self.end();
        if matches!(*kept, End::Ahead) {
            *kept = end.clone_ref(py);
        }
        kept.clone_ref(py)
    }
}

impl End {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Ahead => Self::Ahead,
            Self::Value(value) => Self::Value(value.clone_ref(py)),
            Self::Other(end) => Self::Other(end.clone_ref(py)),
        }
    }

    /// In the form of `_future.End`.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match self {
            Self::Ahead => Ok(None),
            Self::Value(value) => (py.None(), value).into_pyobject(py).map(Some),
            Self::Other(end) => Ok(Some(end.bind(py).cast::<PyTuple>()?.clone())),
        }
    }
}

#[pymethods]
impl FutureBase {
    /// A future of the client with this core; one that has an `end` already stands for no task.
    #[new]
    #[pyo3(signature = (owner, end=None))]
    fn new(owner: Py<PyAny>, end: Option<Bound<'_, PyTuple>>) -> Self {
        let end = end.map_or(End::Ahead, |end| End::Other(end.into_any().unbind()));
        Self { owner, hold: OnceLock::new(), end: Mutex::new(end) }
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
        let ahead = matches!(*self.end(), End::Ahead);
        Ok(!ahead || self.hold()?.state(py)? == "done")
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
        let end = self.end().clone_ref(py);
        end.told(py)
    }

    /// Keeps an end unless there is one already, and returns the one that is kept.
    fn _keep<'py>(&self, py: Python<'py>, end: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let (error, value) = (end.get_item(0)?, end.get_item(1)?);
        let end =
            if error.is_none() { End::Value(value.unbind()) } else { End::Other(end.clone().into_any().unbind()) };
        let kept = self.keep(py, &end).told(py)?;
        kept.ok_or_else(|| PyTypeError::new_err("an end that is kept is there"))
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
        self.hold.get().map_or(Ok(None), |hold| hold.story(py))
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
        // Held for a few instructions by threads that hold the interpreter's lock too; if ever not, what is not visited
        // is taken for reachable.
        match self.end.try_lock().as_deref() {
            Ok(End::Value(object) | End::Other(object)) => visit.call(object),
            Ok(End::Ahead) | Err(_) => Ok(()),
        }
    }
}
