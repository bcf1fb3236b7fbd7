//! How a worker is told to end: first politely, then at once.

use tokio::sync::watch;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It works.
    Work,
    /// It finishes what runs.
    Drain,
    /// It ends.
    End,
}

/// Tells a worker to end. Dropped, it tells it nothing.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Stage>);

/// What a worker hears of a [`Stop`].
#[derive(Clone, Debug)]
pub struct WorkerControl(watch::Receiver<Stage>);

/// A pair of them.
#[must_use]
pub fn control() -> (Stop, WorkerControl) {
    let (stop, control) = watch::channel(Stage::Work);
    (Stop(stop), WorkerControl(control))
}

impl Stop {
    /// Take nothing new, return what has not begun, finish what runs, then leave.
    pub fn drain(&self) {
        self.raise(Stage::Drain);
    }

    /// Leave now.
    pub fn end(&self) {
        self.raise(Stage::End);
    }

    /// The next of the two: for a signal that may come twice.
    pub fn escalate(&self) {
        self.0.send_modify(|stage| *stage = if *stage == Stage::Work { Stage::Drain } else { Stage::End });
    }

    fn raise(&self, to: Stage) {
        self.0.send_modify(|stage| *stage = (*stage).max(to));
    }
}

impl WorkerControl {
    /// Waits for a change. Cancel-safe; for ever if nobody can tell it anything any more.
    pub(super) async fn changed(&mut self) -> Stage {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}
