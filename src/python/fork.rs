//! What a forked child inherits is not its own: the threads behind it stayed with the parent.

use super::error::raise;
use pyo3::prelude::*;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};

/// See [`generation`].
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Python calls this in a forked child, before anything else runs there.
#[pyfunction]
pub(super) fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that loaded the module, as far as Python knows of them.
pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Something with threads behind it. In a forked child it cannot be reached, and it is leaked, never dropped: its locks
/// may be held by threads that do not exist there.
#[derive(Debug)]
pub(super) struct Native<T> {
    inner: Option<T>,
    generation: u32,
}

impl<T> Native<T> {
    /// Something of this process.
    pub(super) fn new(inner: T) -> Self {
        Self { inner: Some(inner), generation: generation() }
    }

    /// The thing itself, if it is this process's own and still there.
    pub(super) fn get(&self) -> Option<&T> {
        if self.generation == generation() { self.inner.as_ref() } else { None }
    }

    /// The same, or the error that says why not.
    pub(super) fn own(&self, py: Python<'_>) -> PyResult<&T> {
        self.get().ok_or_else(|| {
            raise(py, "PlaitError", "this plait client belongs to the parent process: make a new Client after a fork")
        })
    }
}

impl<T> Drop for Native<T> {
    fn drop(&mut self) {
        if self.get().is_none() {
            mem::forget(self.inner.take());
        }
    }
}
