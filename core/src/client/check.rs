//! Every invariant of a session.

use super::Session;

impl Session {
    /// Panics if an invariant is broken. Tests and the simulator call it after each step.
    pub fn check(&self) {
        self.submissions.check();
        self.notices.check();
        assert!(!self.link.is_open() || !self.submissions.can_send(), "what may go goes");
        if self.link.is_over() {
            assert!(self.submissions.all_sent() && self.fetches.is_empty(), "what is over keeps nothing");
            assert!(self.deadline().is_none(), "what is over waits for nothing");
        }
    }
}
