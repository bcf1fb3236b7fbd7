//! Waiting on behalf of Python: detached, in slices, with an eye on signals.

use plait_core::limits;
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

/// Calls `wait` with one slice after the other until it returns true. False if the deadline passes first.
///
/// Between slices the interpreter handles signals, so Ctrl-C ends the wait with `KeyboardInterrupt`.
pub(super) fn wait_until(py: Python<'_>, deadline: Deadline, wait: impl Fn(Duration) -> bool + Sync) -> PyResult<bool> {
    loop {
        let slice = deadline.slice();
        if py.detach(|| wait(slice)) {
            return Ok(true);
        }
        py.check_signals()?;
        if deadline.is_over() {
            return Ok(false);
        }
    }
}
