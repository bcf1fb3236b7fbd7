//! The executor's shell: the blocking side of the channel between a worker and the interpreter that runs its tasks.
//!
//! [`Channel`] reads frames, queues orders, claims the next one in the shared page and gives it to Python; what Python
//! says about it goes into [`results`], which sends in batches. A small thread, which needs no interpreter lock, sends
//! what would otherwise wait behind a long task. [`setup`] makes the process what an executor must be; [`remains`] tells
//! what a task left behind.
//!
//! It must never decide anything (what is begun was claimed, what is claimed was offered), touch Python, or outlive
//! its worker.

pub mod channel;
pub mod remains;
mod results;
pub mod setup;
#[cfg(test)]
mod tests;

pub use channel::{Channel, Forgotten, Left, Next};
pub use plait_core::protocol::message::executor::ExecutorOrder;
