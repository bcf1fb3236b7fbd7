//! The shells on loopback, and the rules of the house.

mod proxy;
mod remote;
mod rig;
mod shells;
mod tidy;
