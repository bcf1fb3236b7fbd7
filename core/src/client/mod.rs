//! The client's brain: one session with a coordinator, over as many connections as it takes.
//!
//! It keeps what the user's program asked for until the coordinator has taken it, dials again after a cut and goes on
//! where the two sides left off, hands notices on exactly once, and says when the program must stop submitting. It never
//! looks at a result, never decides about a task, and never waits.
//!
//! The contract: the only way in is [`Session::step`]; `now` never goes back; the same seed and calls give the same
//! actions; unknown, late and repeated events are harmless; after [`Action::GiveUp`] or [`Action::SayGoodbye`] nothing
//! happens any more.
//!
//! - `submission`: requests on their way out, and admission.
//! - `notice`: what the coordinator tells, counted and acknowledged. Of a value that is with workers that is a reference.
//! - `fetch`: such values on their way to the program, from the coordinator or from a worker that it names.
//! - `link`: the connection: dialling, back-off, giving up.

mod action;
mod check;
mod event;
mod fetch;
mod link;
mod notice;
mod submission;
#[cfg(test)]
mod tests;

pub use action::{Action, Loss};
pub use event::Event;

use crate::peer::Fingerprint;
use crate::spec::Request;
use crate::time::Time;
use crate::window::Tally;
use alloc::vec::Vec;
use fetch::Fetches;
use link::Link;
use notice::Notices;
use submission::Submissions;

/// How a session is set up.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What a cut connection means.
    pub resume: Resume,
    /// By which workers know it, if it can go to them.
    pub key: Option<Fingerprint>,
    /// Where the back-off gets its chance from.
    pub seed: u64,
}

/// What a cut connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The end: the coordinator lives in this process.
    Never,
    /// Dial again, as long as the coordinator keeps the session.
    Kept,
}

/// What a [`Session`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The next dial.
    Dial,
    /// The end of its patience.
    GiveUp,
    /// Notices to acknowledge.
    Acknowledge,
}

/// One session. See the module for its contract.
///
/// ```
/// use plait_core::client::{Action, Config, Resume, Session};
/// use plait_core::time::Time;
///
/// let mut session = Session::new(Config { resume: Resume::Never, key: None, seed: 1 });
/// let mut actions = Vec::new();
/// session.step(Time::ZERO, [], &mut actions);
/// assert_eq!(actions, [Action::Dial { taken: 0 }]);
/// ```
#[derive(Debug)]
pub struct Session {
    link: Link,
    submissions: Submissions,
    notices: Notices,
    fetches: Fetches,
    end: End,
}

/// Whether the user's program wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// It has closed the client; what must be sent still goes.
    Wanted,
}

impl Session {
    /// A session that has not dialled yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut submissions = Submissions::default();
        config.key.into_iter().for_each(|key| submissions.push(Request::Introduce(key)));
        Self {
            link: Link::new(config),
            submissions,
            notices: Notices::default(),
            fetches: Fetches::default(),
            end: End::Open,
        }
    }

    /// Applies the events in order, fires due timers, then sends what may be sent.
    pub fn step(&mut self, now: Time, events: impl IntoIterator<Item = Event>, actions: &mut Vec<Action>) {
        let begin = actions.len();
        self.link.start(now, actions);
        for event in events {
            self.on_event(now, event, begin, actions);
        }
        self.link.fire(now, self.notices.taken(), actions);
        if self.link.is_open() {
            self.submissions.send(actions);
            self.notices.acknowledge(now, actions);
        }
        self.say_goodbye(actions);
        if self.link.is_over() {
            self.submissions.clear();
            self.fetches.clear();
        } else {
            self.submissions.admit(actions);
        }
    }

    /// When [`step`](Self::step) wants to be called even without events, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Time, Wake)> {
        if self.link.is_open() {
            return self.notices.due().map(|at| (at, Wake::Acknowledge));
        }
        self.link.deadline()
    }

    /// How it believes the session's two streams to stand, for whoever compares both ends.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.submissions.tally(self.notices.taken())
    }

    fn on_event(&mut self, now: Time, event: Event, begin: usize, actions: &mut Vec<Action>) {
        if self.link.is_over() {
            return;
        }
        match event {
            Event::Asked(request) => {
                self.fetches.on_asked(&request, actions);
                self.submissions.push(request);
            }
            Event::Visited { seq, object, result } => {
                let said = self.fetches.on_visited(seq, object, result, actions);
                said.into_iter().for_each(|request| self.submissions.push(request));
            }
            Event::Welcomed { session, taken } => {
                if self.link.on_welcomed(session, actions) {
                    self.notices.on_welcomed();
                    let known = self.submissions.resume(taken);
                    self.link.expect(known, actions);
                }
            }
            Event::LinkCut => self.link.on_cut(now, actions),
            Event::Refused => self.link.give_up(Loss::Refused, actions),
            Event::CoordinatorEnded => self.link.give_up(Loss::Ended, actions),
            Event::Noticed(notice) if self.link.is_open() => {
                self.notices.count(now, &notice);
                self.submissions.hear(&notice);
                notice::pass_on(notice, begin, &mut self.fetches, actions);
            }
            Event::RequestsTaken { taken } if self.link.is_open() => {
                let known = self.submissions.acknowledge(taken);
                self.link.expect(known, actions);
            }
            // Late words of a connection that is gone: what they were about will be said again.
            Event::Noticed(_) | Event::RequestsTaken { .. } => {}
            Event::CloseRequested => self.end = End::Wanted,
        }
    }

    /// Ends the session once all that must be sent is sent, or nothing can be.
    fn say_goodbye(&mut self, actions: &mut Vec<Action>) {
        let unsent = self.link.is_open() && !self.submissions.all_sent();
        if self.end == End::Wanted && !self.link.is_over() && !unsent {
            self.link.finish();
            actions.push(Action::SayGoodbye);
        }
    }
}
