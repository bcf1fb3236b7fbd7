//! What the coordinator tells: counted, passed on once, acknowledged.

use super::Action;
use super::fetch::Fetches;
use crate::limits;
use crate::outcome::Notice;
use crate::time::Time;
use crate::window::{self, Owed};
use alloc::vec::Vec;

/// The notices of a session, counted over all its connections.
#[derive(Debug, Default)]
pub(super) struct Notices {
    taken: u64,
    acknowledged: u64,
    owed: Owed,
    /// When what is taken must be acknowledged at the latest.
    due: Option<Time>,
}

impl Notices {
    /// How many have been taken since the session was opened.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) const fn due(&self) -> Option<Time> {
        self.due
    }

    pub(super) fn count(&mut self, now: Time, notice: &Notice) {
        self.taken += 1;
        self.owed.take(window::cost(notice.len()));
        self.due.get_or_insert(now + limits::ACKNOWLEDGE_AFTER);
    }

    /// A connection opened: its dial said how many have been taken.
    pub(super) fn on_welcomed(&mut self) {
        self.acknowledged = self.taken;
        self.owed = Owed::default();
        self.due = None;
    }

    /// Acknowledges what has been taken, once that is worth a message.
    pub(super) fn acknowledge(&mut self, now: Time, actions: &mut Vec<Action>) {
        let many = self.taken - self.acknowledged >= limits::NOTICES_UNACKNOWLEDGED;
        let late = self.due.is_some_and(|due| due <= now);
        if self.owed.settle().is_some() || many || late {
            self.on_welcomed();
            actions.push(Action::AcknowledgeNotices { taken: self.taken });
        }
    }

    pub(super) fn check(&self) {
        assert!(self.acknowledged <= self.taken, "only what was taken is acknowledged");
        if self.due.is_none() {
            assert_eq!(self.owed.amount(), 0, "what is acknowledged is not owed");
        }
        assert_eq!(self.due.is_some(), self.acknowledged < self.taken, "what is not acknowledged has its time");
    }
}

/// Turns a notice into what is to be done; neighbouring deliveries of one step become one.
pub(super) fn pass_on(notice: Notice, begin: usize, fetches: &mut Fetches, actions: &mut Vec<Action>) {
    match notice {
        Notice::Ended(mut more) => match actions[begin..].last_mut() {
            Some(Action::Deliver { deliveries }) => deliveries.append(&mut more),
            _ => actions.push(Action::Deliver { deliveries: more }),
        },
        Notice::Started(tasks) => actions.push(Action::MarkStarted { tasks }),
        Notice::Progressed { run, progress } => actions.push(Action::ShowProgress { run, progress }),
        Notice::WorkerNamed { worker, name } => actions.push(Action::NameWorker { worker, name }),
        Notice::Divided { seq, parts } => actions.push(Action::Divide { seq, parts }),
        Notice::Fetched { seq, outcome } => fetches.on_fetched(seq, outcome, actions),
        Notice::Found { seq, object, at } => fetches.on_found(seq, object, at, actions),
        // The program hears of it together with what the outbox has to say.
        Notice::Admission(_) => {}
    }
}
