//! Whether a program waits because nobody is there to work: for people, who cannot tell that from much work.

use super::outgoing::Question;
use plait_core::limits;
use plait_core::protocol::message::client::Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How long a client's threads have waited in vain, and what is known of the reason.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// Whether there is anything to forget once something has come.
    begun: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Since(Instant),
    /// The coordinator was asked who is there.
    Asked(Arc<Question>),
    Told,
}

impl Lull {
    /// What was waited for has come.
    pub(super) fn end(&self) {
        if self.begun.load(Ordering::Relaxed) && self.begun.swap(false, Ordering::Relaxed) {
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::None;
        }
    }

    /// Nothing has come by `now`. True once in a lull, if it turns out that no worker is there; `ask` puts the question.
    pub(super) fn goes_on(&self, now: Instant, ask: impl FnOnce() -> Option<Arc<Question>>) -> bool {
        self.begun.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match &*state {
            State::None => State::Since(now),
            State::Since(since) if now.saturating_duration_since(*since) >= limits::LULL => {
                ask().map_or(State::Since(now), State::Asked)
            }
            State::Asked(question) => match answer(question) {
                Some(status) if status.workers.is_empty() => State::Told,
                Some(_) => State::Since(now),
                None => return false,
            },
            State::Since(_) | State::Told => return false,
        };
        *state = next;
        matches!(*state, State::Told)
    }
}

fn answer(question: &Question) -> Option<Box<Status>> {
    question.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::super::waiter::{Waiter, Wish};
    use super::*;
    use plait_core::id::WorkerId;
    use plait_core::protocol::message::client::{WorkerState, WorkerStatus};
    use plait_core::spec::PythonVersion;

    fn question() -> Arc<Question> {
        Arc::new(Question { waiter: Waiter::new(Wish::Outcome), answer: Mutex::default() })
    }

    fn tell(question: &Question, workers: Vec<WorkerStatus>) {
        *question.answer.lock().unwrap() = Some(Box::new(Status { workers, ..Status::default() }));
    }

    fn worker() -> WorkerStatus {
        WorkerStatus {
            id: WorkerId(1),
            name: "host:1".into(),
            slots: 1,
            resources: "".into(),
            running: 0,
            queued: 0,
            state: WorkerState::Live,
            python: PythonVersion { major: 3, minor: 11 },
        }
    }

    #[test]
    fn a_long_wait_without_workers_is_told_once() {
        let (lull, now, asked) = (Lull::default(), Instant::now(), question());
        let early = || unreachable!("it is too early to ask");
        assert!(!lull.goes_on(now, early) && !lull.goes_on(now + limits::LULL / 2, early));
        let late = now + limits::LULL;
        assert!(!lull.goes_on(late, || Some(Arc::clone(&asked))));
        let again = || unreachable!("it is asked already");
        assert!(!lull.goes_on(late, again), "no answer yet");
        tell(&asked, Vec::new());
        assert!(lull.goes_on(late, again));
        assert!(!lull.goes_on(late + limits::LULL * 9, again), "once");
        lull.end();
        assert!(!lull.goes_on(late + limits::LULL * 9, again), "the next one begins anew");
    }

    #[test]
    fn a_long_wait_for_workers_that_are_there_is_none_of_our_business() {
        let (lull, now, asked) = (Lull::default(), Instant::now(), question());
        lull.goes_on(now, || None);
        lull.goes_on(now + limits::LULL, || Some(Arc::clone(&asked)));
        tell(&asked, vec![worker()]);
        assert!(!lull.goes_on(now + limits::LULL, || None));
        assert!(!lull.goes_on(now + limits::LULL * 2, || None), "asked again: they may have left");
    }
}
