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
        Self { window: bytes, used: 0 }
    }

    /// Whether a message of `cost` may go now.
    #[must_use]
    pub const fn allows(&self, cost: u64) -> bool {
        self.used == 0 || self.used < self.window / OWED_PARTS || self.used.saturating_add(cost) <= self.window
    }

    /// Spends `cost`, allowed or not: some messages must go (a goodbye, a cancel) and cost little.
    pub const fn spend(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
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
        let (cost, message) = self.kept.get(self.sent)?;
        if !self.credit.allows(*cost) {
            return None;
        }
        self.credit.spend(*cost);
        self.waiting_cost = self.waiting_cost.saturating_sub(*cost);
        self.sent += 1;
        Some(message.clone())
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
}
