//! A whole role as the work of one Python thread: a thread of its own does it, the Python thread waits and sees signals.

use plait_core::limits;
use pyo3::prelude::*;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

/// What a signal handler may raise before waiting for an orderly end is given up: the first asks for the end, the second
/// for a quick one.
const PATIENCE: u32 = 2;

/// Waits for what another thread tells, in slices after which signals are handled.
#[derive(Debug)]
pub(super) struct Waiting<T, S> {
    news: Receiver<T>,
    on_signal: S,
    signals: u32,
}

impl<T: Send, S: Fn()> Waiting<T, S> {
    /// Waits for `news`; `on_signal` is called for whatever a signal handler raises.
    pub(super) const fn new(news: Receiver<T>, on_signal: S) -> Self {
        Self { news, on_signal, signals: 0 }
    }

    /// The next news; `None` if the other thread is gone without a word.
    ///
    /// # Errors
    /// What a signal handler raised, where signals came more often than anybody waits.
    pub(super) fn next(&mut self, py: Python<'_>) -> PyResult<Option<T>> {
        loop {
            let news = &mut self.news;
            match py.detach(move || news.recv_timeout(limits::SIGNAL_SLICE)) {
                Ok(said) => return Ok(Some(said)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.look(py)?,
            }
        }
    }

    fn look(&mut self, py: Python<'_>) -> PyResult<()> {
        let Err(raised) = py.check_signals() else { return Ok(()) };
        self.signals += 1;
        if self.signals > PATIENCE {
            return Err(raised);
        }
        (self.on_signal)();
        Ok(())
    }
}
