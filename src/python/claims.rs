//! The items of a chunk as its executor takes them: one by one, each first claimed in the shared page.

use crate::store::shm::ExecutorPage;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// An iterator over what its executor may still begin; it ends early where the worker has cut the chunk, or its time is up.
#[pyclass(frozen, module = "plait._native")]
pub(super) struct Claims {
    page: Arc<ExecutorPage>,
    entry: u32,
    rest: Py<PyIterator>,
    taken: AtomicU32,
    /// When no other item is to begin, in milliseconds of [`now`].
    until: AtomicI64,
    is_late: AtomicBool,
}

impl Claims {
    /// Of an entry that is claimed; `rest` gives its items from the first one on.
    pub(super) fn new(page: Arc<ExecutorPage>, entry: u32, rest: Py<PyIterator>) -> Self {
        let (until, is_late) = (AtomicI64::new(i64::MAX), AtomicBool::new(false));
        Self { page, entry, rest, taken: AtomicU32::new(0), until, is_late }
    }

    /// Whether the time is up. Once it is, it stays so.
    fn looks_late(&self) -> bool {
        let until = self.until.load(Relaxed);
        let late = until != i64::MAX && now() >= until;
        if late {
            self.is_late.store(true, Relaxed);
        }
        late
    }
}

#[pymethods]
impl Claims {
    const fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Option<PyResult<Bound<'py, PyAny>>> {
        if self.looks_late() {
            return None;
        }
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
        !self.is_late.load(Relaxed) && self.page.has_items(self.entry)
    }

    /// Begins no other once so many seconds have passed, give or take some milliseconds.
    fn end_after(&self, seconds: f64) {
        let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.until.store(now().saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)), Relaxed);
    }

    /// Begins no other; what happens now is the fault of no item.
    fn settle(&self) {
        self.page.settle(self.entry);
    }
}

/// The time as of the last tick of the kernel, in milliseconds: to look at it costs a third of what the exact one costs.
fn now() -> i64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}
