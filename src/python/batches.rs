//! An iterator over values that come in batches: one at a time without running Python, the next batch from its subclass.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What [`Results`](../../../python/plait/_map.py) builds on: threads may share it, each value is given once.
#[pyclass(frozen, subclass, module = "plait._native")]
#[derive(Debug, Default)]
pub(super) struct Batches {
    ready: Mutex<Ready>,
}

#[derive(Debug, Default)]
struct Ready {
    values: Option<Py<PyList>>,
    next: usize,
    length: usize,
}

impl Batches {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next value. Its place in the list is emptied: what has been given is not kept.
    fn pop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let mut ready = self.ready();
        if ready.next == ready.length {
            return None;
        }
        let at = ready.next;
        let values = ready.values.as_ref()?.bind(py);
        let value = values.get_item(at);
        let emptied = value.is_ok() && values.set_item(at, py.None()).is_ok();
        ready.next = if emptied { at + 1 } else { ready.length };
        value.ok()
    }
}

#[pymethods]
impl Batches {
    /// Takes whatever its subclass is made from.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyAny>, _kwargs: Option<&Bound<'_, PyAny>>) -> Self {
        Self::default()
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// The next value; asks `_refill` for more when there is none. That raises what is to be raised at the end.
    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        loop {
            if let Some(value) = slf.get().pop(slf.py()) {
                return Ok(value);
            }
            slf.call_method0(intern!(slf.py(), "_refill"))?;
        }
    }

    /// How many values are there.
    fn _ready(&self) -> usize {
        let ready = self.ready();
        ready.length - ready.next
    }

    /// Takes a list over, to be given value by value, in place of what there was.
    fn _put(&self, values: Bound<'_, PyList>) {
        let length = values.len();
        let before = std::mem::replace(&mut *self.ready(), Ready { values: Some(values.unbind()), next: 0, length });
        // Dropped after the lock: that may run any code.
        drop(before);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.ready.try_lock() {
            Ok(ready) => visit.call(&ready.values),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let before = std::mem::take(&mut *self.ready());
        drop(before);
    }
}
