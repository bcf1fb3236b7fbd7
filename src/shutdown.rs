//! How things end: one token passed down, and the thread that ends with it.
//!
//! Whoever owns a [`Service`] owns one OS thread named `plait` with a current-thread runtime. Nothing else of the process
//! is touched. A service inherited by a forked child has no thread there: it is leaked, never joined and never dropped.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
pub use tokio_util::sync::CancellationToken;

/// A thread that runs until it is told to end, or ends by itself.
#[derive(Debug)]
pub(crate) struct Service {
    /// Empty only while it is dropped.
    inner: Option<Inner>,
    pid: u32,
}

#[derive(Debug)]
struct Inner {
    token: CancellationToken,
    thread: JoinHandle<()>,
    ended: mpsc::Receiver<()>,
}

impl Service {
    /// Runs `body` in a thread of its own; its token says when to end. What it spawned is dropped with its runtime.
    pub(crate) fn spawn<F>(body: impl FnOnce(CancellationToken) -> F + Send + 'static) -> std::io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let token = CancellationToken::new();
        let (ending, ended) = mpsc::sync_channel::<()>(1);
        let passed = token.clone();
        let thread = std::thread::Builder::new().name("plait".into()).spawn(move || {
            // Dropped in reverse, also by a panic: when `ending` goes, all else is gone.
            let (_ending, runtime) = (ending, runtime);
            runtime.block_on(body(passed));
        })?;
        Ok(Self { inner: Some(Inner { token, thread, ended }), pid: std::process::id() })
    }

    /// Whether this process is the one that started the thread.
    pub(crate) fn is_ours(&self) -> bool {
        std::process::id() == self.pid
    }

    /// Tells the thread to end and waits for it; false if it takes longer than `timeout`.
    pub(crate) fn shutdown(&mut self, timeout: Duration) -> bool {
        let Some(inner) = self.inner.as_ref().filter(|_| self.is_ours()) else { return true };
        inner.token.cancel();
        let ended = inner.ended.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Disconnected);
        if ended && let Some(inner) = self.inner.take() {
            // A panic has told its story on stderr already.
            drop(inner.thread.join());
        }
        ended
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.is_ours() {
            self.inner.iter().for_each(|inner| inner.token.cancel());
        } else {
            // Its locks may be held by a thread that does not exist here.
            std::mem::forget(self.inner.take());
        }
    }
}
