//! The worker's shell: the hands of [`plait_core::worker`] on one machine.
//!
//! [`run`] is a worker's whole life: it keeps a link to a coordinator (given, or dialled again and again), supervises the
//! executors that the brain asks for, and ends when the coordinator says goodbye, cannot be reached, or when it is told
//! to. Everything happens on the thread that polls it, and no executor outlives it.
//!
//! - `driver`: the loop, the only place with a clock; `translate`: messages to events and back; `uplink`: the link;
//!   `transfer`: objects that go to other workers, or come from them; `disk`: those for which there is no memory.
//! - `supervisor`, `executor`, `ear`, `process`, `stderr`, `launch`: child processes and what connects them.
//! - [`standalone`]: what only a process of its own may do to itself.
//!
//! It must never decide which attempt runs where (that is the brain's), wait in a system call, or change its process when
//! it is embedded in another program.

mod control;
mod disk;
mod driver;
mod ear;
mod executor;
mod hall;
mod launch;
mod process;
pub mod standalone;
mod stderr;
mod supervisor;
#[cfg(test)]
mod tests;
mod transfer;
mod translate;
mod uplink;

pub use control::{Stop, WorkerControl, control};
pub use launch::Launch;
pub use uplink::Upstream;

use crate::config::SpillDir;
use crate::net::dial::DialError;
use crate::store::objects::Objects;
use driver::Driver;
use plait_core::limits::WORKER_QUEUE_PER_SLOT;
use plait_core::resource::Resources;
use plait_core::spec::{Offer, PythonVersion};
use std::sync::Arc;

/// What a worker is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name for people: host and process id.
    pub name: Box<str>,
    /// Slots (as `cpus`) and named resources.
    pub capacity: Resources,
    /// The Python of its executors.
    pub python: PythonVersion,
    /// How its executors are started.
    pub launch: Launch,
    /// Whose process it lives in.
    pub place: Place,
    /// Where its objects are to be, if a client in the same process looks there for the values of its tasks.
    pub objects: Option<Arc<Objects>>,
    /// Where objects go that find no room in memory.
    pub spill_dir: SpillDir,
}

/// Whose process a worker lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The user's: it minds its own children and nothing else.
    Guest,
    /// Its own, after [`standalone::settle`]: it also ends what its executors orphaned.
    Own,
}

impl Config {
    /// What it tells a coordinator.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let queue = self.capacity.cpus.saturating_mul(WORKER_QUEUE_PER_SLOT);
        Offer { name: self.name.clone(), capacity: self.capacity.clone(), queue, python: self.python, peer: None }
    }
}

/// How a worker came to its end.
#[derive(Debug)]
pub enum WorkerExit {
    /// The coordinator said goodbye, or it was told to end.
    Ended,
    /// No coordinator could be reached; why the last try failed.
    Unreachable(DialError),
    /// A coordinator was reached, and no try will ever succeed.
    Refused(DialError),
}

/// Works until the end.
pub async fn run(config: Config, upstream: Upstream, control: WorkerControl) -> WorkerExit {
    Driver::new(config, upstream, control).run().await
}
