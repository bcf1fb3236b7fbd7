//! The shells on loopback, and the rules of the house.

mod rig;
mod shells;
mod tidy;
