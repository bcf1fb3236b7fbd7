//! plait's hands: everything that touches the outside (sockets, processes, files, the clock, Python).
//!
//! What is *decided* is decided in [`plait_core`]; the shells here carry facts to it and carry out what it says.

pub mod client;
pub mod config;
pub mod coordinator;
pub mod embedded;
pub mod executor;
pub mod net;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod worker;

mod clock;
mod python;
