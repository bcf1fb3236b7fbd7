//! The messages, named by direction. One enum per pair of roles and direction.
//!
//! [`Message`] is what frames and links ask of them: their values, and how a long one is cut.

pub mod client;
pub mod executor;
mod part;
pub mod peer;
pub mod worker;

use crate::outcome::{Ending, Outcome};
use crate::value::Value;

/// A message whose values travel behind it.
///
/// In the encoded control message each [`Value`] is only its lengths. Whoever sends asks for the values in order and puts
/// their segments behind; whoever receives asks for the same values in the same order and attaches them.
pub trait Message: serde::Serialize + serde::de::DeserializeOwned + Send + 'static {
    /// Shows every value of the message, in a fixed order.
    fn each_value(&self, show: &mut dyn FnMut(&Value));

    /// The same, to fill them.
    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value));

    /// Cuts a message whose control part is too long for one frame into two that [`join`](Self::join) makes one again.
    ///
    /// # Errors
    /// Gives the message back if there is nothing left to cut: a single item is too long.
    fn cut(self) -> Result<(Self, Self), Self> {
        Err(self)
    }

    /// Puts the second part of a [`cut`](Self::cut) message back behind the first.
    ///
    /// # Errors
    /// Gives the part back if it does not continue this message.
    fn join(&mut self, rest: Self) -> Result<(), Self> {
        Err(rest)
    }

    /// Bytes in it that are neither of a value nor bounded by credit.
    fn texts(&self) -> u64 {
        0
    }

    /// Bytes of payload in it.
    fn payload(&self) -> u64 {
        let mut bytes = self.texts();
        self.each_value(&mut |value| bytes = bytes.saturating_add(value.carried()));
        bytes
    }
}

fn show_outcomes(outcomes: &[Outcome], show: &mut dyn FnMut(&Value)) {
    outcomes.iter().filter_map(Outcome::value).for_each(show);
}

fn fill_outcomes(outcomes: &mut [Outcome], fill: &mut dyn FnMut(&mut Value)) {
    outcomes.iter_mut().filter_map(Outcome::value_mut).for_each(fill);
}

const fn ending_value(ending: &Ending) -> Option<&Value> {
    match ending {
        Ending::Returned(value) | Ending::Raised { error: value, .. } => Some(value),
        Ending::Skipped | Ending::Crashed(_) | Ending::Cancelled | Ending::TooLarge { .. } | Ending::NoSpace(_) => None,
    }
}

const fn ending_value_mut(ending: &mut Ending) -> Option<&mut Value> {
    match ending {
        Ending::Returned(value) | Ending::Raised { error: value, .. } => Some(value),
        Ending::Skipped | Ending::Crashed(_) | Ending::Cancelled | Ending::TooLarge { .. } | Ending::NoSpace(_) => None,
    }
}
