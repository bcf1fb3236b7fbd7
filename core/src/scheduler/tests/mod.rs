//! The scheduler in small worlds: scripted, random, and hostile.

mod folds;
mod homes;
mod intake;
mod late;
mod losses;
mod scenario;
mod soup;
mod world;

use super::{Config, World};
use crate::id::WorkerId;
use crate::peer::{Fingerprint, Peer};

/// Room for everything.
const ROOMY: Config = Config {
    held_bytes_limit: 1 << 30,
    result_limit: 1 << 28,
    session_tasks: 1 << 20,
    world: World::Open,
    ride_along: 1 << 28,
    direct_bytes: 1 << 20,
    slice: 4_096,
};

/// How others reach a worker.
fn peer(worker: WorkerId) -> Peer {
    Peer { address: ([127, 0, 0, 1], 9_000 + worker.0 as u16).into(), key: Fingerprint([worker.0 as u8; 16]) }
}
