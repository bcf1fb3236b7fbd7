//! The connection: dialling, back-off with full jitter, giving up.

use super::{Action, Config, Loss, Resume, Wake};
use crate::id::SessionId;
use crate::limits;
use crate::rng::Rng;
use crate::time::Time;
use alloc::vec::Vec;
use core::time::Duration;

/// The connection of one session.
#[derive(Debug)]
pub(super) struct Link {
    resume: Resume,
    rng: Rng,
    session: Option<SessionId>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has been tried.
    Fresh,
    /// A dial is on its way.
    Dialing(Search),
    /// Between two dials.
    Waiting(Search, Time),
    Open,
    /// Given up, or said goodbye.
    Over,
}

/// An effort to reach the coordinator.
#[derive(Clone, Copy, Debug)]
struct Search {
    give_up_at: Time,
    /// The next pause is drawn between zero and this.
    pause: Duration,
}

impl Link {
    pub(super) const fn new(config: Config) -> Self {
        Self { resume: config.resume, rng: Rng::new(config.seed), session: None, state: State::Fresh }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Dials for the first time.
    pub(super) fn start(&mut self, now: Time, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Fresh) {
            self.state = State::Dialing(Search::new(now + limits::CLIENT_CONNECT_TIMEOUT));
            actions.push(Action::Dial { taken: 0 });
        }
    }

    /// A coordinator answered. True if that opens the connection; a second welcome is late and ignored, one to another
    /// session means that the old one is lost.
    pub(super) fn on_welcomed(&mut self, session: SessionId, actions: &mut Vec<Action>) -> bool {
        if !matches!(self.state, State::Dialing(_)) {
            return false;
        }
        if *self.session.get_or_insert(session) != session {
            self.give_up(Loss::Refused, actions);
            return false;
        }
        self.state = State::Open;
        true
    }

    pub(super) fn on_cut(&mut self, now: Time, actions: &mut Vec<Action>) {
        let search = match self.state {
            State::Open => Search::new(now + limits::SESSION_KEPT),
            State::Dialing(search) => search,
            State::Fresh | State::Waiting(..) | State::Over => return,
        };
        if self.resume == Resume::Never {
            return self.give_up(Loss::Unreachable, actions);
        }
        let nanos = u64::try_from(search.pause.as_nanos()).expect("pauses are seconds");
        let redial_at = now + Duration::from_nanos(self.rng.below(nanos + 1));
        let pause = (search.pause * 2).min(limits::BACKOFF_MAX);
        self.state = State::Waiting(Search { pause, ..search }, redial_at);
    }

    /// Dials or gives up if it is time to.
    pub(super) fn fire(&mut self, now: Time, taken: u64, actions: &mut Vec<Action>) {
        match self.state {
            State::Dialing(search) | State::Waiting(search, _) if search.give_up_at <= now => {
                self.give_up(Loss::Unreachable, actions);
            }
            State::Waiting(search, redial_at) if redial_at <= now => {
                self.state = State::Dialing(search);
                actions.push(Action::Dial { taken });
            }
            State::Fresh | State::Dialing(_) | State::Waiting(..) | State::Open | State::Over => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<(Time, Wake)> {
        match self.state {
            State::Fresh => Some((Time::ZERO, Wake::Dial)),
            State::Waiting(search, redial_at) if redial_at < search.give_up_at => Some((redial_at, Wake::Dial)),
            State::Dialing(search) | State::Waiting(search, _) => Some((search.give_up_at, Wake::GiveUp)),
            State::Open | State::Over => None,
        }
    }

    /// A coordinator that claims what cannot be is not the one that knows this session.
    pub(super) fn expect(&mut self, claim: Claim, actions: &mut Vec<Action>) {
        match claim {
            Claim::Possible => {}
            Claim::Impossible => self.give_up(Loss::Refused, actions),
        }
    }

    pub(super) fn give_up(&mut self, loss: Loss, actions: &mut Vec<Action>) {
        self.state = State::Over;
        actions.push(Action::GiveUp { loss });
    }

    /// The session ends in good order.
    pub(super) fn finish(&mut self) {
        self.state = State::Over;
    }
}

/// Whether what a coordinator says it has taken can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Possible,
    Impossible,
}

impl Search {
    const fn new(give_up_at: Time) -> Self {
        Self { give_up_at, pause: limits::BACKOFF_MIN }
    }
}
