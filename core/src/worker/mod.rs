//! The worker's brain (being built).

mod action;
mod event;

pub use action::{Action, Order, Signal};
pub use event::{Condition, Ended, Event};

use core::fmt;
use serde::{Deserialize, Serialize};

/// The number of an attempt in one executor's queue; counted from 0, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry(pub u32);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}
