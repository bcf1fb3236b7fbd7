//! Requests on their way out, and whether more are welcome.

use super::Action;
use super::link::Claim;
use crate::limits;
use crate::outcome::{Admission, Notice};
use crate::spec::Request;
use crate::window::{Credit, Outbox};
use alloc::vec::Vec;

/// What the coordinator has not taken yet.
#[derive(Debug)]
pub(super) struct Submissions {
    outbox: Outbox<Request>,
    /// How many the coordinator said it has taken: it never takes that back.
    taken: u64,
    /// What the coordinator said last.
    coordinator: Admission,
    /// What the length of the outbox says.
    room: Admission,
    /// What the program was told last.
    told: Admission,
}

impl Default for Submissions {
    fn default() -> Self {
        Self {
            outbox: Outbox::new(Credit::default()),
            taken: 0,
            coordinator: Admission::Open,
            room: Admission::Open,
            told: Admission::Open,
        }
    }
}

impl Submissions {
    pub(super) fn push(&mut self, request: Request) {
        let bytes = request.len();
        self.outbox.push(request, bytes);
    }

    /// A connection opened whose coordinator has taken `taken` requests: the rest goes again.
    pub(super) fn resume(&mut self, taken: u64) -> Claim {
        self.claim(taken, Outbox::rewind)
    }

    /// The coordinator has taken `taken` requests. A smaller number than before is late news.
    pub(super) fn acknowledge(&mut self, taken: u64) -> Claim {
        self.claim(taken.max(self.taken), Outbox::acknowledge)
    }

    fn claim(&mut self, taken: u64, apply: impl FnOnce(&mut Outbox<Request>, u64) -> bool) -> Claim {
        if taken < self.taken || !apply(&mut self.outbox, taken) {
            return Claim::Impossible;
        }
        self.taken = taken;
        Claim::Possible
    }

    /// Sends what credit allows.
    pub(super) fn send(&mut self, actions: &mut Vec<Action>) {
        let requests: Vec<_> = core::iter::from_fn(|| self.outbox.pop()).collect();
        if !requests.is_empty() {
            actions.push(Action::Send { requests });
        }
    }

    pub(super) fn all_sent(&self) -> bool {
        self.outbox.waiting() == 0
    }

    pub(super) fn hear(&mut self, notice: &Notice) {
        if let Notice::Admission(admission) = notice {
            self.coordinator = *admission;
        }
    }

    /// Tells the program whether it may submit, if that has changed: closed above the bound, open again below half.
    pub(super) fn admit(&mut self, actions: &mut Vec<Action>) {
        let (cost, count) = (self.outbox.waiting_cost(), self.outbox.waiting());
        if cost > limits::CLIENT_UNSENT_BYTES || count > limits::CLIENT_UNSENT_REQUESTS {
            self.room = Admission::Closed;
        } else if cost <= limits::CLIENT_UNSENT_BYTES / 2 && count <= limits::CLIENT_UNSENT_REQUESTS / 2 {
            self.room = Admission::Open;
        }
        let admission = match (self.coordinator, self.room) {
            (Admission::Open, Admission::Open) => Admission::Open,
            (Admission::Closed, _) | (_, Admission::Closed) => Admission::Closed,
        };
        if core::mem::replace(&mut self.told, admission) != admission {
            actions.push(Action::Admit { admission });
        }
    }

    /// Forgets everything: the session is over.
    pub(super) fn clear(&mut self) {
        self.outbox = Outbox::new(Credit::default());
    }

    pub(super) fn check(&self) {
        let (waiting, kept) = (self.outbox.waiting(), self.outbox.kept());
        assert!(waiting <= kept, "what waits is kept");
        let window = limits::CONNECTION_CREDIT_BYTES;
        assert!(self.outbox.used() <= window || kept - waiting < window as usize, "credit bounds what is on the way");
        assert_eq!(self.outbox.used() == 0, kept == waiting, "what is on the way has spent credit");
        assert_eq!(self.outbox.waiting_cost() == 0, waiting == 0, "what waits costs something");
    }
}
