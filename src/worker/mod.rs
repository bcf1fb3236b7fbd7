//! The worker's shell.
mod ear;
mod executor;
mod launch;
mod process;
mod stderr;
mod supervisor;
#[cfg(test)]
mod tests;

pub use launch::Launch;
