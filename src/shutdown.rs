//! How things end: one token passed down, and the thread that ends with it.
//!
//! Whoever owns a [`Service`] owns one OS thread named `plait` with a current-thread runtime, and beside it those that wait
//! for disks and names in its place. Nothing else of the process is touched. A service inherited by a forked child has no thread there: it is leaked, never joined and never dropped.

use plait_core::limits;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
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

/// A runtime for one thread, and another that may wait. That one is there from the start and stays: later the system may have
/// none to give, and what needs one would have to fail.
pub(crate) fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    let runtime =
        builder.enable_io().enable_time().thread_name("plait-waiter").thread_keep_alive(Duration::MAX).build()?;
    // The runtime would panic where this fails.
    drop(thread::Builder::new().spawn(|| ())?.join());
    drop(runtime.block_on(runtime.spawn_blocking(|| ())));
    Ok(runtime)
}

impl Service {
    /// Runs `body` in a thread of its own; its token says when to end. What it spawned is dropped with its runtime.
    pub(crate) fn spawn<F>(body: impl FnOnce(CancellationToken) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let runtime = runtime()?;
        let token = CancellationToken::new();
        let (ending, ended) = mpsc::sync_channel::<()>(1);
        let passed = token.clone();
        let thread = thread::Builder::new().name("plait".into()).spawn(move || {
            // Dropped in reverse, also by a panic: when `ending` goes, all else is gone.
            let (_ending, runtime) = (ending, runtime);
            runtime.block_on(body(passed));
            // A disk may never answer.
            runtime.shutdown_timeout(limits::DISK_FAREWELL);
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::process::Command;

    #[test]
    fn what_may_wait_is_done_where_there_are_no_more_threads() {
        let (test, name) = (std::env::current_exe().expect("this test"), "shutdown::tests::limited");
        let child = Command::new(test).args(["--exact", name, "--ignored"]).output().expect("the same tests again");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "it limits what its process may map: the one above runs it in a process of its own"]
    fn limited() {
        let runtime = runtime().expect("a runtime");
        let maximum = getrlimit(Resource::As).maximum;
        setrlimit(Resource::As, Rlimit { current: Some(1 << 20), maximum }).expect("less than there is");
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "there is no room for a stack");
        let (go, gate) = mpsc::channel::<()>();
        runtime.block_on(async {
            let first = tokio::task::spawn_blocking(move || gate.recv().is_ok());
            let second = tokio::task::spawn_blocking(|| 2);
            go.send(()).expect("it waits");
            assert!(first.await.expect("done"));
            assert_eq!(second.await.expect("done after it"), 2);
        });
    }

    #[test]
    fn a_service_does_not_wait_for_ever_for_what_waits() {
        let (go, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel::<()>();
        let service = Service::spawn(|token| async move {
            let wait = move || begun.send(()).and_then(|()| gate.recv().map_err(|_| mpsc::SendError(())));
            drop(tokio::task::spawn_blocking(wait));
            token.cancelled().await;
        });
        let mut service = service.expect("started");
        begins.recv().expect("it waits");
        assert!(service.shutdown(Duration::from_secs(30)), "the disk does not answer");
        go.send(()).expect("it still waits");
    }
}
