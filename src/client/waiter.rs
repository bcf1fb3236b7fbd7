//! A thread that waits for something of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// What a waiter wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// An outcome.
    Outcome,
    /// An outcome, progress of the run whose result it waits for, or that others got the end of a chunk.
    Progress,
}

/// One wait of one thread.
#[derive(Debug)]
pub(super) struct Waiter {
    thread: Thread,
    woken: AtomicBool,
    wish: Wish,
}

impl Waiter {
    /// A wait of the calling thread.
    pub(super) fn new(wish: Wish) -> Arc<Self> {
        Arc::new(Self { thread: std::thread::current(), woken: AtomicBool::new(false), wish })
    }

    /// What it wants to be woken for.
    pub(super) const fn wish(&self) -> Wish {
        self.wish
    }

    /// Ends the wait. Called without any lock held.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }

    /// Waits in the thread that made it; false once `timeout` has passed without [`wake`](Self::wake).
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let start = Instant::now();
        loop {
            if self.woken.load(Ordering::Acquire) {
                return true;
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
    }
}

/// Ends the waits of all `waiters`.
pub(super) fn wake_all(waiters: &mut Vec<Arc<Waiter>>) {
    waiters.drain(..).for_each(|waiter| waiter.wake());
}
