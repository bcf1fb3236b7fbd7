//! The coordinator's brain (being built).

mod action;
mod event;

pub use action::{Action, EndReason};
pub use event::{Event, Watch};
