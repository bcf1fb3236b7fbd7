//! What a task leaves behind in its process: children that still run.

use super::channel::Left;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// Looks for child processes that still run. One system call if there are no children at all.
///
/// An executor adopts its orphans ([`super::setup`]), so a daemon that a task started is found too. Children that have
/// ended and were not waited for do not count, and are left to whoever started them.
#[must_use]
pub fn look() -> Left {
    let any = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
    if matches!(any, Err(Errno::CHILD)) || !has_running_child() { Left::Nothing } else { Left::Children }
}

fn has_running_child() -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return true };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.into_iter().any(|list| list.split_whitespace().any(is_running))
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
