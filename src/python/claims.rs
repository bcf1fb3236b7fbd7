//! The items of a chunk as its executor takes them: one by one, each first claimed in the shared page.

use super::fork::generation;
use crate::store::shm::ExecutorPage;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// An iterator over what its executor may still begin; it ends early where the worker has cut the chunk, or its time is up.
///
/// In a process that the function forked there is nothing to begin and nothing to say: the items, and the page, are its
/// parent's.
#[pyclass(frozen, module = "plait._native")]
pub(super) struct Claims {
    page: Arc<ExecutorPage>,
    entry: u32,
    rest: Py<PyIterator>,
    generation: u32,
    taken: AtomicU32,
    /// When no other item is to begin, in milliseconds of [`now`].
    until: AtomicI64,
    is_late: AtomicBool,
}

impl Claims {
    /// Of an entry that is claimed; `rest` gives its items from the first one on.
    pub(super) fn new(page: Arc<ExecutorPage>, entry: u32, rest: Py<PyIterator>) -> Self {
        let (until, is_late) = (AtomicI64::new(i64::MAX), AtomicBool::new(false));
        Self { page, entry, rest, generation: generation(), taken: AtomicU32::new(0), until, is_late }
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
        if self.is_forked() || self.looks_late() {
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
        !self.is_forked() && !self.is_late.load(Relaxed) && self.page.has_items(self.entry)
    }

    /// Whether this process is one that was forked since.
    #[getter]
    fn is_forked(&self) -> bool {
        self.generation != generation()
    }

    /// Begins no other once so many seconds have passed, or up to two ticks of the kernel later; never earlier.
    fn end_after(&self, seconds: f64) {
        let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.until.store(until(now(), span, tick()), Relaxed);
    }

    /// Begins no other; what happens now is the fault of no item.
    fn settle(&self) {
        if !self.is_forked() {
            self.page.settle(self.entry);
        }
    }
}

/// When `span` has passed for sure: what the clock said may have been a tick ago, and both are cut to milliseconds.
fn until(now: i64, span: Duration, tick: i64) -> i64 {
    i64::try_from(span.as_millis()).map_or(i64::MAX, |span| now.saturating_add(span).saturating_add(tick + 1))
}

/// The longest time between two ticks, in milliseconds.
fn tick() -> i64 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    tick.tv_sec * 1_000 + tick.tv_nsec / 1_000_000 + 1
}

/// The time as of the last tick of the kernel, in milliseconds: to look at it costs a third of what the exact one costs.
fn now() -> i64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the clock says at a time, in microseconds: that of the last tick, which were at `phase` and every `tick` from then.
    fn seen(micros: i64, phase: i64, tick: i64) -> i64 {
        (micros - (micros - phase).rem_euclid(tick)) / 1_000
    }

    #[test]
    fn no_time_is_up_before_it_has_passed() {
        let span = Duration::from_millis(50);
        for (tick, phase) in
            [1_000, 4_000, 10_000].into_iter().flat_map(|tick| (0..tick).step_by(333).map(move |at| (tick, at)))
        {
            for start in (1_000_000..1_011_000).step_by(250) {
                let end = until(seen(start, phase, tick), span, tick / 1_000);
                let early = (start..start + 50_000).step_by(250).find(|at| seen(*at, phase, tick) >= end);
                assert_eq!(early, None, "a tick of {tick} µs at {phase}, from {start} on");
                assert!(seen(start + 50_000 + 2 * tick + 2_000, phase, tick) >= end, "and soon after it is");
            }
        }
    }

    #[test]
    fn the_clock_goes_and_its_ticks_are_short() {
        assert!(now() > 0 && (1..=100).contains(&tick()));
        assert_eq!(until(i64::MAX - 1, Duration::MAX, 4), i64::MAX, "for ever");
    }
}
