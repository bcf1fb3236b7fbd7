//! Credit: how much may be on the way to a receiver that has not taken it yet.
//!
//! A sender spends credit for each message and gets it back when the receiver's *step* has taken the message, so a
//! receiver that is slow or gone bounds what piles up before it. A message larger than the whole window may go when
//! next to nothing is on the way: no more than a receiver may keep owing (see [`Owed::settle`]), else it would wait for
//! a debt that is never settled.

use crate::limits;
use alloc::collections::VecDeque;

/// A receiver keeps owing less than one part in this many of the window.
const OWED_PARTS: u64 = limits::CONNECTION_CREDIT_BYTES / limits::CREDIT_RETURN_BYTES;

/// What one message costs: its payload and a fixed part.
#[must_use]
pub const fn cost(payload_bytes: u64) -> u64 {
    payload_bytes.saturating_add(limits::MESSAGE_COST_BYTES)
}

/// The sender's side.
#[derive(Clone, Debug)]
pub struct Credit {
    window: u64,
    used: u64,
    /// What was spent last.
    last: u64,
}

impl Default for Credit {
    fn default() -> Self {
        Self::new(limits::CONNECTION_CREDIT_BYTES)
    }
}

impl Credit {
    /// A window of `bytes`.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { window: bytes, used: 0, last: 0 }
    }

    /// Whether a message of `cost` may go now.
    #[must_use]
    pub const fn allows(&self, cost: u64) -> bool {
        self.used == 0 || self.used < self.window / OWED_PARTS || self.used.saturating_add(cost) <= self.window
    }

    /// Spends `cost`, which is allowed.
    pub const fn spend(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
        self.last = cost;
    }

    /// The receiver has taken messages worth `cost`; more than was spent is a peer's error and ignored.
    pub const fn give_back(&mut self, cost: u64) {
        self.used = self.used.saturating_sub(cost);
    }

    /// Bytes on the way.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Panics unless what is on the way was allowed.
    pub fn check(&self) {
        let before = self.used.saturating_sub(self.last);
        let alone = before == 0 || before < self.window / OWED_PARTS;
        assert!(self.used <= self.window || alone, "{} bytes on the way, {} of them last", self.used, self.last);
    }
}

/// The receiver's side: what it owes back.
#[derive(Clone, Debug, Default)]
pub struct Owed(u64);

impl Owed {
    /// A message of `cost` was taken.
    pub const fn take(&mut self, cost: u64) {
        self.0 = self.0.saturating_add(cost);
    }

    /// What to return now: all that is owed once it is worth a message, else nothing.
    pub const fn settle(&mut self) -> Option<u64> {
        if self.0 < limits::CREDIT_RETURN_BYTES {
            return None;
        }
        Some(core::mem::replace(&mut self.0, 0))
    }

    /// What is owed.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.0
    }

    /// Panics if something that is worth a message was not settled.
    pub fn check(&self) {
        assert!(self.0 < limits::CREDIT_RETURN_BYTES, "{} bytes are owed and not returned", self.0);
    }
}

/// What a machine believes of one connection without a counted stream, for whoever compares both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Cost of what it sent, as far as it knows not taken.
    pub spent: u64,
    /// Cost of what it took and has not returned.
    pub owed: u64,
}

/// What a machine believes of a session's two counted streams, for whoever compares both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Messages sent, each once.
    pub sent: u64,
    /// Of those, the ones that the other end is known to have taken.
    pub acknowledged: u64,
    /// Messages taken.
    pub taken: u64,
}

/// A counted, ordered stream of messages that survives its connection: what was not taken is kept and sent again.
#[derive(Clone, Debug)]
pub struct Outbox<M> {
    /// The number of the first message kept; all before it were taken.
    first: u64,
    kept: VecDeque<(u64, M)>,
    /// How many of the kept ones are on the way.
    sent: usize,
    /// What the others cost.
    waiting_cost: u64,
    credit: Credit,
}

impl<M: Clone> Outbox<M> {
    /// An empty stream with this much credit.
    #[must_use]
    pub const fn new(credit: Credit) -> Self {
        Self { first: 0, kept: VecDeque::new(), sent: 0, waiting_cost: 0, credit }
    }

    /// Adds a message of `payload_bytes` at the end.
    pub fn push(&mut self, message: M, payload_bytes: u64) {
        let cost = cost(payload_bytes);
        self.waiting_cost = self.waiting_cost.saturating_add(cost);
        self.kept.push_back((cost, message));
    }

    /// The next message to send, if credit allows.
    pub fn pop(&mut self) -> Option<M> {
        if !self.can_send() {
            return None;
        }
        let (cost, message) = self.kept.get(self.sent)?;
        self.credit.spend(*cost);
        self.waiting_cost = self.waiting_cost.saturating_sub(*cost);
        self.sent += 1;
        Some(message.clone())
    }

    /// Whether there is a next message and credit allows it.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.kept.get(self.sent).is_some_and(|(cost, _)| self.credit.allows(*cost))
    }

    /// The receiver has taken the first `taken` messages of the stream. False if it claims more than was sent.
    #[must_use]
    pub fn acknowledge(&mut self, taken: u64) -> bool {
        if taken.saturating_sub(self.first) > self.sent as u64 {
            return false;
        }
        while self.first < taken {
            let (cost, _) = self.kept.pop_front().expect("what was sent is kept");
            self.credit.give_back(cost);
            self.sent -= 1;
            self.first += 1;
        }
        true
    }

    /// A new connection, whose receiver has taken the first `taken` messages: the rest will be sent again.
    /// False if it claims more than was ever sent.
    #[must_use]
    pub fn rewind(&mut self, taken: u64) -> bool {
        let known = self.acknowledge(taken);
        for (cost, _) in self.kept.iter().take(self.sent) {
            self.credit.give_back(*cost);
            self.waiting_cost = self.waiting_cost.saturating_add(*cost);
        }
        self.sent = 0;
        known
    }

    /// Messages not yet sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.kept.len() - self.sent
    }

    /// Cost of the messages not yet sent.
    #[must_use]
    pub const fn waiting_cost(&self) -> u64 {
        self.waiting_cost
    }

    /// Messages kept, on the way or waiting.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Bytes on the way.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.credit.used()
    }

    /// How the stream stands at an end that has taken `taken` messages of the other one.
    #[must_use]
    pub const fn tally(&self, taken: u64) -> Tally {
        Tally { sent: self.first + self.sent as u64, acknowledged: self.first, taken }
    }

    /// Panics unless credit and costs are those of the messages kept.
    pub fn check(&self) {
        assert!(self.sent <= self.kept.len(), "what was sent and not taken is kept");
        let cost = |from, to| self.kept.range(from..to).map(|(cost, _)| cost).sum::<u64>();
        assert_eq!(self.credit.used(), cost(0, self.sent), "what is on the way has spent its credit");
        assert_eq!(self.waiting_cost, cost(self.sent, self.kept.len()), "what waits is counted");
        self.credit.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversized_message_goes_alone() {
        let mut credit = Credit::new(100);
        assert!(credit.allows(1_000));
        credit.spend(1_000);
        assert!(!credit.allows(1));
        credit.give_back(1_000);
        credit.spend(60);
        assert!(credit.allows(40) && !credit.allows(41));
    }

    #[test]
    fn an_oversized_message_does_not_wait_for_a_debt_too_small_to_settle() {
        let (mut credit, mut owed) = (Credit::default(), Owed::default());
        let small = limits::CREDIT_RETURN_BYTES - 1;
        credit.spend(small);
        owed.take(small);
        assert_eq!(owed.settle(), None);
        assert!(credit.allows(2 * limits::CONNECTION_CREDIT_BYTES));
    }

    #[test]
    fn credit_is_returned_in_bulk() {
        let mut owed = Owed::default();
        owed.take(cost(0));
        assert_eq!(owed.settle(), None);
        owed.take(limits::CREDIT_RETURN_BYTES);
        assert_eq!(owed.settle(), Some(limits::CREDIT_RETURN_BYTES + limits::MESSAGE_COST_BYTES));
        assert_eq!(owed.settle(), None);
    }

    #[test]
    fn a_cut_stream_is_sent_again_from_what_was_taken() {
        let mut outbox = Outbox::new(Credit::new(3 * cost(0)));
        (0..5).for_each(|n| outbox.push(n, 0));
        assert_eq!([outbox.pop(), outbox.pop(), outbox.pop(), outbox.pop()], [Some(0), Some(1), Some(2), None]);
        assert!(outbox.acknowledge(1) && outbox.acknowledge(0) && !outbox.acknowledge(4));
        assert_eq!((outbox.pop(), outbox.pop()), (Some(3), None));
        assert_eq!((outbox.waiting(), outbox.waiting_cost()), (1, cost(0)));
        assert!(outbox.rewind(2));
        assert_eq!((outbox.waiting(), outbox.waiting_cost()), (3, 3 * cost(0)));
        assert_eq!([outbox.pop(), outbox.pop(), outbox.pop(), outbox.pop()], [Some(2), Some(3), Some(4), None]);
    }

    fn half_sent() -> Outbox<u32> {
        let mut outbox = Outbox::new(Credit::new(3 * cost(0)));
        (0..5).for_each(|n| outbox.push(n, 0));
        while outbox.pop().is_some() {}
        outbox.check();
        outbox
    }

    #[test]
    #[should_panic(expected = "what is on the way has spent its credit")]
    fn credit_that_was_not_spent_is_noticed() {
        let mut outbox = half_sent();
        outbox.credit.give_back(1);
        outbox.check();
    }

    #[test]
    #[should_panic(expected = "what waits is counted")]
    fn a_wrong_sum_of_what_waits_is_noticed() {
        let mut outbox = half_sent();
        outbox.waiting_cost += 1;
        outbox.check();
    }

    #[test]
    #[should_panic(expected = "bytes on the way")]
    fn credit_spent_beyond_the_window_is_noticed() {
        let mut credit = Credit::new(100);
        [60, 41].into_iter().for_each(|cost| credit.spend(cost));
        credit.check();
    }

    #[test]
    fn an_oversized_message_is_no_overdraft() {
        let mut credit = Credit::new(100);
        [5, 1_000].into_iter().for_each(|cost| credit.spend(cost));
        credit.check();
        credit.give_back(1_000);
        credit.check();
    }
}
