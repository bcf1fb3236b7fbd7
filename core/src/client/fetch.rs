//! Values that are with workers: asked for at once where the program wants nothing else.

use super::References;
use super::submission::Submissions;
use crate::id::Seq;
use crate::outcome::{Delivery, Notice};
use crate::spec::Request;
use alloc::collections::BTreeMap;
use alloc::vec;

/// Outcomes whose values are being fetched.
#[derive(Debug)]
pub(super) struct Fetches {
    references: References,
    waiting: BTreeMap<Seq, Delivery>,
}

impl Fetches {
    pub(super) const fn new(references: References) -> Self {
        Self { references, waiting: BTreeMap::new() }
    }

    /// Asks for the values of what the notice tells, and says what the program may hear of it by now.
    pub(super) fn follow(&mut self, notice: Notice, submissions: &mut Submissions) -> Option<Notice> {
        match notice {
            Notice::Ended(mut deliveries) if self.references == References::Followed => {
                for delivery in deliveries.extract_if(.., |delivery| delivery.outcome.stored().is_some()) {
                    submissions.push(Request::Fetch { seq: delivery.seq });
                    self.waiting.insert(delivery.seq, delivery);
                }
                (!deliveries.is_empty()).then_some(Notice::Ended(deliveries))
            }
            Notice::Fetched { seq, outcome } => match self.waiting.remove(&seq) {
                Some(delivery) => Some(Notice::Ended(vec![Delivery { outcome, ..delivery }])),
                None => Some(Notice::Fetched { seq, outcome }),
            },
            other => Some(other),
        }
    }
}
