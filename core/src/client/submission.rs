//! Requests on their way out, and whether more are welcome.

use super::Action;
use super::link::Claim;
use crate::limits;
use crate::outcome::{Admission, Notice};
use crate::spec::Request;
use crate::window::{Credit, Outbox, Tally};
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

    /// Whether there is a request that credit allows to go.
    pub(super) fn can_send(&self) -> bool {
        self.outbox.can_send()
    }

    pub(super) fn all_sent(&self) -> bool {
        self.outbox.waiting() == 0
    }

    pub(super) fn hear(&mut self, notice: &Notice) {
        if let Notice::Admission(admission) = notice {
            self.coordinator = *admission;
        }
    }

    /// Tells the program whether it may submit, if that has changed.
    pub(super) fn admit(&mut self, actions: &mut Vec<Action>) {
        self.room = judge(self.room, self.outbox.waiting_cost(), self.outbox.waiting());
        let admission = both(self.coordinator, self.room);
        if core::mem::replace(&mut self.told, admission) != admission {
            actions.push(Action::Admit { admission });
        }
    }

    /// Forgets everything: the session is over, and the program hears of its end alone.
    pub(super) fn clear(&mut self) {
        self.outbox = Outbox::new(Credit::default());
        self.room = Admission::Open;
        self.told = both(self.coordinator, self.room);
    }

    /// How the stream of requests stands, with the notices taken.
    pub(super) const fn tally(&self, taken: u64) -> Tally {
        self.outbox.tally(taken)
    }

    /// Panics if a sum is wrong, or if the program was told something else than the sums say.
    pub(super) fn check(&self) {
        self.outbox.check();
        let (cost, count) = (self.outbox.waiting_cost(), self.outbox.waiting());
        assert_eq!(judge(self.room, cost, count), self.room, "room for {count} requests of {cost} bytes is judged");
        assert_eq!(self.told, both(self.coordinator, self.room), "the program is told whether it may submit");
    }
}

/// Whether more is welcome behind so much: not above the bound, and again below half of it.
fn judge(room: Admission, cost: u64, count: usize) -> Admission {
    if cost > limits::CLIENT_UNSENT_BYTES || count > limits::CLIENT_UNSENT_REQUESTS {
        Admission::Closed
    } else if cost <= limits::CLIENT_UNSENT_BYTES / 2 && count <= limits::CLIENT_UNSENT_REQUESTS / 2 {
        Admission::Open
    } else {
        room
    }
}

fn both(coordinator: Admission, room: Admission) -> Admission {
    match (coordinator, room) {
        (Admission::Open, Admission::Open) => Admission::Open,
        (Admission::Closed, _) | (_, Admission::Closed) => Admission::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "is judged")]
    fn a_bound_that_was_passed_over_is_noticed() {
        let mut submissions = Submissions::default();
        for _ in 0..=limits::CLIENT_UNSENT_REQUESTS {
            submissions.push(Request::Release(Vec::new()));
        }
        submissions.check();
    }

    #[test]
    #[should_panic(expected = "the program is told")]
    fn a_program_that_was_not_told_is_noticed() {
        let mut submissions = Submissions::default();
        submissions.hear(&Notice::Admission(Admission::Closed));
        submissions.check();
    }
}
