//! The client's brain (being built).

mod action;
mod event;

pub use action::{Action, Loss};
pub use event::Event;
