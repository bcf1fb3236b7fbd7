//! Memory shared between processes: the page of a worker and one executor, what the ends of a stream have in common, and
//! snapshots of sealed memory.
//!
//! This is one of the two rooms where `unsafe` may stand: a mapping is reached through a raw pointer.
#![expect(unsafe_code, reason = "a mapping shared with another process is reached through a raw pointer")]

mod common;
mod faults;
mod fill;
mod mapping;
mod memory;
mod page;
mod sheet;

pub(super) use common::Common;
pub(super) use faults::page_faults;
pub(super) use fill::{fill, write_all};
pub(super) use mapping::Mapping;
pub use memory::Snapshot;
pub(super) use memory::{Counted, is_sealed, seal};
pub use page::{ExecutorPage, Interrupt, WorkerPage};
pub(super) use sheet::Sheet;
