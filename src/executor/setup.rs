//! What a process does to itself to be an executor. Done here, in the child, so that no code has to run between fork and
//! exec.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    Resource, Rlimit, Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_name;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The kernel shall rather take an executor than what supervises it.
const OOM_SCORE: i32 = 500;
/// What `top` shows; the kernel keeps fifteen bytes.
const NAME: &CStr = c"plait-executor";
/// The channel gets a number beyond those that programs expect to be theirs.
const CHANNEL_FD: i32 = 10;

/// Takes standard input as the channel and puts `/dev/null` in its place.
///
/// # Errors
/// If standard input is no socket: this process was not started by a worker.
pub fn take_channel() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    socket_peercred(stdin)?;
    let channel = fcntl_dupfd_cloexec(stdin, CHANNEL_FD)?;
    rustix::stdio::dup2_stdin(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)?;
    Ok(channel)
}

/// Binds this process to its worker: it dies with the thread that started it, adopts its own orphans, is the first that the
/// kernel takes when memory runs out, and writes no core.
///
/// # Errors
/// If the worker, the other end of `channel`, is not its parent (any more).
pub fn settle(channel: impl AsFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let worker = socket_peercred(channel)?.pid;
    if getppid() != Some(worker) {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the worker is gone"));
    }
    set_name(NAME)?;
    set_child_subreaper(Some(getpid()))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    raise_oom_score();
    Ok(())
}

fn raise_oom_score() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|score| score < OOM_SCORE) {
        // A kernel that does not let it be raised leaves it as it is; nothing depends on it.
        let _ = std::fs::write(FILE, OOM_SCORE.to_string());
    }
}
