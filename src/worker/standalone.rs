//! What a worker that has a process of its own does to it. Never called where plait is a guest.

use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};
use std::io;

/// Adopts the orphans of tasks, and keeps other processes of the same user from reading the join line in its memory.
///
/// # Errors
/// If the kernel refuses either.
pub fn settle() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
