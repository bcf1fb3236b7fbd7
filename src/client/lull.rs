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
    vain: Mutex<Vain>,
}

#[derive(Debug, Default)]
struct Vain {
    /// When a thread last said that nothing had come. A wait whose time is up ends without a word.
    last: Option<Instant>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Since(Instant),
    /// The coordinator was asked who is there.
    Asked {
        at: Instant,
        question: Arc<Question>,
    },
    Told,
}

impl Lull {
    /// What was waited for has come.
    pub(super) fn end(&self) {
        if self.begun.load(Ordering::Relaxed) && self.begun.swap(false, Ordering::Relaxed) {
            *self.vain.lock().unwrap_or_else(PoisonError::into_inner) = Vain::default();
        }
    }

    /// Nothing has come by `now`. True once in a lull, if it turns out that no worker is there; `ask` puts the question.
    pub(super) fn goes_on(&self, now: Instant, ask: impl FnOnce() -> Option<Arc<Question>>) -> bool {
        self.begun.store(true, Ordering::Relaxed);
        let mut guard = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        let vain = &mut *guard;
        let is_old = |then: Instant| now.saturating_duration_since(then) > limits::LULL_PAUSE;
        let is_another = vain.last.replace(now).is_some_and(is_old);
        let next = match &vain.state {
            State::None => State::Since(now),
            State::Since(_) if is_another => State::Since(now),
            State::Since(since) if now.saturating_duration_since(*since) >= limits::LULL => {
                ask().map_or(State::Since(now), |question| State::Asked { at: now, question })
            }
            // What it says, or will say, may be true no more.
            State::Asked { at, .. } if is_old(*at) => State::Since(now),
            State::Asked { question, .. } => match answer(question) {
                Some(status) if status.workers.is_empty() => State::Told,
                Some(_) => State::Since(now),
                None => return false,
            },
            State::Since(_) | State::Told => return false,
        };
        vain.state = next;
        matches!(vain.state, State::Told)
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

    /// Waits in vain from then on until it is no more too early to ask, and asks.
    fn wait(lull: &Lull, from: Instant, question: &Arc<Question>) -> Instant {
        let early = || unreachable!("it is too early to ask");
        let mut now = from;
        while now < from + limits::LULL {
            assert!(!lull.goes_on(now, early));
            now += limits::SIGNAL_SLICE;
        }
        let mut asked = false;
        assert!(!lull.goes_on(now, || {
            asked = true;
            Some(Arc::clone(question))
        }));
        assert!(asked, "it is time");
        now
    }

    fn again() -> Option<Arc<Question>> {
        unreachable!("it is asked already, or too early to ask again")
    }

    #[test]
    fn a_long_wait_without_workers_is_told_once() {
        let (lull, asked) = (Lull::default(), question());
        let late = wait(&lull, Instant::now(), &asked);
        assert!(!lull.goes_on(late, again), "no answer yet");
        tell(&asked, Vec::new());
        assert!(lull.goes_on(late, again));
        assert!(!lull.goes_on(late + limits::LULL * 9, again), "once, until something comes");
        lull.end();
        wait(&lull, late + limits::LULL * 9, &question());
    }

    #[test]
    fn a_long_wait_for_workers_that_are_there_is_none_of_our_business() {
        let (lull, asked) = (Lull::default(), question());
        let late = wait(&lull, Instant::now(), &asked);
        tell(&asked, vec![worker()]);
        assert!(!lull.goes_on(late, again));
        wait(&lull, late, &question());
    }

    #[test]
    fn a_wait_that_timed_out_is_no_part_of_the_next_one() {
        let (lull, now) = (Lull::default(), Instant::now());
        for n in 0..9 {
            assert!(!lull.goes_on(now + limits::LULL * n, again), "a short look now and then is no long wait");
        }
        wait(&lull, now + limits::LULL * 9, &question());
    }

    #[test]
    fn an_answer_to_an_old_question_counts_for_nothing() {
        let (lull, asked) = (Lull::default(), question());
        let late = wait(&lull, Instant::now(), &asked);
        tell(&asked, Vec::new());
        let later = late + limits::LULL * 99;
        assert!(!lull.goes_on(later, again), "somebody may have come");
        let asked = question();
        let (late, mut slices) = (wait(&lull, later, &asked), 0);
        while limits::SIGNAL_SLICE * slices <= limits::LULL_PAUSE {
            assert!(!lull.goes_on(late + limits::SIGNAL_SLICE * slices, again), "no answer yet");
            slices += 1;
        }
        tell(&asked, Vec::new());
        assert!(!lull.goes_on(late + limits::SIGNAL_SLICE * slices, again), "it took long");
    }
}
