//! The coordinator: accepts clients and workers, and carries out what [`plait_core::scheduler`] decides.
//!
//! [`run`] is the whole of it, whatever the links are: embedded they lie in memory, in a process of its own
//! ([`serve()`]) they come from a listener.
//!
//! What this must never do: take a decision about a task, wait for a peer to take what is sent to it, look into a value,
//! or let what one peer says reach another one's link.

mod driver;
mod links;
mod serve;
mod session;
mod translate;

use crate::clock::draw_seed;
use crate::config;
use crate::net::listener::Arrival;
use driver::Driver;
use plait_core::id::Epoch;
use plait_core::{limits, scheduler};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use plait_core::scheduler::World;
pub(crate) use serve::Port;
pub use serve::{JoinLines, Listen, ServeError, serve};

/// What a coordinator is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its bounds.
    pub scheduler: scheduler::Config,
    /// This life of it.
    pub epoch: Epoch,
    /// Where its chance comes from.
    pub seed: u64,
}

impl Config {
    /// What fits this machine, with an epoch and a seed of its own.
    #[must_use]
    pub fn new(world: World) -> Self {
        let held_bytes_limit = config::held_bytes_limit();
        let session_tasks = limits::SESSION_TASKS;
        let scheduler = scheduler::Config {
            held_bytes_limit,
            result_limit: held_bytes_limit,
            session_tasks,
            world,
            // In one process nothing is copied on the way.
            ride_along: match world {
                World::Closed => u64::MAX,
                World::Open => limits::INLINE_VALUE_BYTES as u64,
            },
            direct_bytes: limits::DIRECT_BYTES,
            slice: limits::STEP_SLICE,
        };
        Self { scheduler, epoch: Epoch(draw_seed()), seed: draw_seed() }
    }

    /// Most bytes of values in one request of a client: a link carries no more.
    #[must_use]
    pub fn value_limit(&self) -> u64 {
        self.scheduler.held_bytes_limit.min(limits::MESSAGE_BYTES)
    }
}

/// Serves whoever arrives, until `shutdown`; then says goodbye to all.
pub async fn run(config: Config, arrivals: mpsc::Receiver<Arrival>, shutdown: CancellationToken) {
    Driver::new(config).run(arrivals, shutdown).await;
}
