//! An iterator over values that come in batches: one at a time without running Python, the next batch from its subclass.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What [`Results`](../../../python/plait/_map.py) builds on: threads may share it, each value is given once.
///
/// What is read and written between two of its lines is whole because whoever runs here holds the interpreter's lock and
/// runs no Python meanwhile; a lock of its own would take a third of the time that a value takes.
#[pyclass(frozen, subclass, module = "plait._native")]
#[derive(Debug)]
pub(super) struct Batches {
    /// The batch; nobody else has this list. What has been given is None in it.
    values: Py<PyList>,
    next: AtomicUsize,
    length: AtomicUsize,
}

impl Batches {
    /// The next value. Its place in the list is emptied: what has been given is not kept.
    fn pop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let at = self.next.load(Relaxed);
        if at == self.length.load(Relaxed) {
            return None;
        }
        self.next.store(at + 1, Relaxed);
        let values = self.values.bind(py);
        let value = values.get_item(at).ok()?;
        values.set_item(at, py.None()).ok()?;
        Some(value)
    }
}

#[pymethods]
impl Batches {
    /// Takes whatever its subclass is made from.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(py: Python<'_>, _args: &Bound<'_, PyAny>, _kwargs: Option<&Bound<'_, PyAny>>) -> Self {
        Self { values: PyList::empty(py).unbind(), next: AtomicUsize::new(0), length: AtomicUsize::new(0) }
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
        self.length.load(Relaxed) - self.next.load(Relaxed)
    }

    /// Takes the values of a list over, to be given one by one, in place of what there was.
    fn _put(&self, values: &Bound<'_, PyList>) -> PyResult<()> {
        let own = self.values.bind(values.py());
        // What was there goes, which may run any code: to that there is nothing here.
        self.next.store(0, Relaxed);
        self.length.store(0, Relaxed);
        own.set_slice(0, own.len(), values)?;
        self.length.store(own.len(), Relaxed);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.values)
    }
}
