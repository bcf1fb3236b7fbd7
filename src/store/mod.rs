//! Memory shared between a worker and its executors, or between processes of one machine, and the passing of descriptors
//! between them.
//!
//! [`shm`] has the page that each executor shares with its worker, and mappings; [`blob`] keeps large segments in memory
//! that is passed instead of copied, and `spare` what an executor keeps mapped from one order to the next; [`passing`] sends
//! descriptors over a Unix socket; [`lane`] is memory in which bytes go round from one process to another; [`landing`] has
//! memory for what comes over a network, and [`depot`] what a link needs of this; [`objects`] has the values that stay
//! with a worker, [`spill`] those of them for which there is no memory.
//! Nothing here has a name in a file system: what is shared is a sealed memfd, what is spilled a file without a name. Nobody
//! else can open them, and they are gone with their last holder.

pub mod blob;
pub mod depot;
pub mod landing;
pub mod lane;
pub mod objects;
pub mod passing;
pub mod shm;
mod spare;
pub mod spill;
