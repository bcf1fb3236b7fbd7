//! The scheduler in small worlds: scripted, random, and hostile.

mod folds;
mod scenario;
mod soup;
mod world;

use super::{Config, World};

/// Room for everything.
const ROOMY: Config = Config {
    held_bytes_limit: 1 << 30,
    result_limit: 1 << 28,
    session_tasks: 1 << 20,
    world: World::Open,
    slice: 4_096,
};
