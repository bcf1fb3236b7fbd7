//! Waiting on behalf of Python: detached, in slices, with an eye on signals.

use crate::client::Handle;
use plait_core::limits;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// When a wait ends without what it waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// `timeout` seconds from now; never if there is none. Nonsense (negative, not a number) is now.
    pub(super) fn after(timeout: Option<f64>) -> Self {
        let Some(seconds) = timeout else { return Self(None) };
        let span = Duration::try_from_secs_f64(seconds);
        let span = if seconds > 0.0 { span.unwrap_or(Duration::MAX) } else { Duration::ZERO };
        Self(Instant::now().checked_add(span))
    }

    /// Whether the time is up.
    pub(super) fn is_over(self) -> bool {
        self.slice().is_zero()
    }

    /// How long the next slice may be; zero once the time is up.
    fn slice(self) -> Duration {
        let left = self.0.map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(limits::SIGNAL_SLICE, |left| left.min(limits::SIGNAL_SLICE))
    }
}

/// What is said where nobody works.
const DESERTED: &str = "plait: waiting for workers: none is there\n";

/// Calls `wait` with one slice after the other until it returns true. False if the deadline passes first.
///
/// Between slices the interpreter handles signals, so Ctrl-C ends the wait with `KeyboardInterrupt`. Who waits for long while
/// no worker is there is told so, once until something has come.
pub(super) fn wait_until(
    py: Python<'_>,
    handle: &Handle,
    deadline: Deadline,
    wait: impl Fn(Duration) -> bool + Sync,
) -> PyResult<bool> {
    let come = wait_aside(py, handle, deadline, wait)?;
    if come {
        handle.end_lull();
    }
    Ok(come)
}

/// The same for what comes without workers too, so that it says nothing of them.
pub(super) fn wait_aside(
    py: Python<'_>,
    handle: &Handle,
    deadline: Deadline,
    wait: impl Fn(Duration) -> bool + Sync,
) -> PyResult<bool> {
    loop {
        let slice = deadline.slice();
        if py.detach(|| wait(slice)) {
            return Ok(true);
        }
        py.check_signals()?;
        tell_if_deserted(py, handle)?;
        if deadline.is_over() {
            return Ok(false);
        }
    }
}

/// Says on Python's stderr, if there is one that takes it, that no worker is there; after waiting in vain.
pub(super) fn tell_if_deserted(py: Python<'_>, handle: &Handle) -> PyResult<()> {
    if !handle.is_deserted(Instant::now()) {
        return Ok(());
    }
    let stderr = py.import(intern!(py, "sys")).and_then(|sys| sys.getattr(intern!(py, "stderr")));
    match stderr.and_then(|stderr| stderr.call_method1(intern!(py, "write"), (DESERTED,))) {
        // Ctrl-C is none of its errors.
        Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
        _ => Ok(()),
    }
}
