//! The items of a chunk as its executor takes them: one by one, each first claimed in the shared page.

use crate::store::shm::ExecutorPage;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An iterator over what its executor may still begin; it ends early where the worker has cut the chunk.
#[pyclass(frozen, module = "plait._native")]
pub(super) struct Claims {
    page: Arc<ExecutorPage>,
    entry: u32,
    rest: Py<PyIterator>,
    taken: AtomicU32,
}

impl Claims {
    /// Of an entry that is claimed; `rest` gives its items from the first one on.
    pub(super) fn new(page: Arc<ExecutorPage>, entry: u32, rest: Py<PyIterator>) -> Self {
        Self { page, entry, rest, taken: AtomicU32::new(0) }
    }
}

#[pymethods]
impl Claims {
    const fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Option<PyResult<Bound<'py, PyAny>>> {
        self.page.claim_item(self.entry)?;
        self.taken.store(self.taken.load(Relaxed) + 1, Relaxed);
        self.rest.bind(py).clone().next()
    }

    /// How many items have begun.
    #[getter]
    fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Whether there is another one.
    #[getter]
    fn left(&self) -> bool {
        self.page.has_items(self.entry)
    }

    /// Begins no other; what happens now is the fault of no item.
    fn settle(&self) {
        self.page.settle(self.entry);
    }
}
