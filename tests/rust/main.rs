//! The shells on loopback, and the rules of the house.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, its helpers too")]

mod embedded;
mod net;
mod objects;
mod proxy;
mod remote;
mod rig;
mod shells;
mod tidy;
mod visits;
