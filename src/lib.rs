//! plait's hands: everything that touches the outside (sockets, processes, files, the clock, Python).
//!
//! What is *decided* is decided in [`plait_core`]; the shells here carry facts to it and carry out what it says.

pub mod net;
pub mod store;

pub mod client;
pub mod executor;
pub mod worker;

mod python;
