//! plait's decisions, apart from its hands.
//!
//! Everything that *decides* lives here: which task runs where, what happens when a worker is lost, what a client may
//! still send. Everything that *touches* the outside (sockets, processes, files, the clock, Python) lives in the root
//! crate and only carries out what is decided here. So every decision can be replayed from a seed.
//!
//! What core must never do: read a clock, open a socket or a file, start a thread, draw a random number that does not
//! come from a given seed, iterate over an unordered map, log, or block. `no_std` makes the compiler the guard.
//!
//! The map:
//! - the vocabulary, each module importing only from those to its left: [`id`], [`time`], [`rng`], [`limits`],
//!   [`value`], [`landing`], [`peer`], [`resource`], [`outcome`], [`spec`], [`window`];
//! - three state machines of one shape (`step(now, events, actions)`): [`scheduler`] decides for the coordinator,
//!   [`worker`] for one machine, [`client`] for one session; they never import each other;
//! - [`protocol`]: what travels between them, as bytes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod id;
pub mod landing;
pub mod limits;
pub mod outcome;
pub mod peer;
pub mod resource;
pub mod rng;
pub mod spec;
pub mod time;
pub mod value;
pub mod window;

pub mod client;
pub mod protocol;
pub mod scheduler;
pub mod worker;
