//! One executor's process: its exit, its signals, its end. No executor outlives the [`Process`] that stands for it.

use super::launch::Started;
use plait_core::outcome::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many processes below an executor are looked for when it is killed: children that left its group.
const DESCENDANTS: usize = 10_000;
/// How long a dropped process is waited for, so that no zombie stays behind in a host process.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at one that cannot be waited for.
const REAP_PAUSE: Duration = Duration::from_millis(1);

/// A child process, its group, and what makes its exit known without SIGCHLD.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    exit: Option<Exit>,
}

impl Process {
    /// Takes a started child over; on failure the child is ended.
    pub(crate) fn adopt(started: &Started) -> io::Result<Self> {
        let pid = Pid::from_child(&started.child);
        Self::with(pid, pidfd_open(pid, PidfdFlags::NONBLOCK))
    }

    fn with(pid: Pid, opened: Result<OwnedFd, Errno>) -> io::Result<Self> {
        match opened {
            Ok(pidfd) => Ok(Self { pid, pidfd: pidfd.into(), exit: None }),
            Err(error) => {
                end_blindly(pid);
                let error = io::Error::from(error);
                Err(io::Error::new(error.kind(), format!("the system refuses pidfd_open: {error}")))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Becomes readable when the process has ended.
    pub(crate) const fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Sends a signal to the process alone; one that has ended gets none.
    pub(crate) fn signal(&self, signal: Signal) {
        // A process that is gone is what the signal was for.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Kills the process, its group, and what it started elsewhere.
    pub(crate) fn kill(&self) {
        if self.exit.is_some() {
            return;
        }
        let below = descendants(self.pid);
        self.signal(Signal::KILL);
        kill_group(self.pid);
        for pid in below {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// How the process ended, once it has; then whatever is left of its group is killed too.
    pub(crate) fn take_exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self.exit_now();
        }
        self.exit
    }

    /// Looks before it reaps: as long as the zombie is there, its group's number cannot be anybody else's.
    fn exit_now(&self) -> Option<Exit> {
        let id = || WaitId::PidFd(self.pidfd.as_fd());
        match waitid(id(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
            Ok(None) => None,
            Ok(Some(_)) => {
                kill_group(self.pid);
                let reaped = waitid(id(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                Some(reaped.ok().flatten().map_or(Exit::Unknown, |status| {
                    let code = status.exit_status().map(Exit::Code);
                    code.or(status.terminating_signal().map(Exit::Signal)).unwrap_or(Exit::Unknown)
                }))
            }
            // Somebody else in this process waits for every child.
            Err(Errno::CHILD) => {
                kill_group(self.pid);
                Some(Exit::Unknown)
            }
            Err(_) => None,
        }
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn end(&mut self) {
        self.kill();
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(REAP_TIMEOUT).expect("a second is a time");
        if self.exit.is_none() && poll(&mut ended, Some(&timeout)).is_ok() {
            self.exit = self.exit_now();
        }
    }

    /// The most memory the process ever held, in bytes; 0 where that cannot be had (it is gone with the process).
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let Ok(status) = std::fs::read_to_string(path) else { return 0 };
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills and reaps the children of this process that are not its `own`: what dead executors orphaned.
pub(crate) fn end_orphans(own: &BTreeSet<u32>) {
    let is_own = |pid: &Pid| own.contains(&pid.as_raw_nonzero().get().unsigned_abs());
    for orphan in children(getpid()).into_iter().filter(|pid| !is_own(pid)) {
        let _ = kill_process(orphan, Signal::KILL);
        // One that takes a while to die is reaped the next time.
        let _ = waitid(WaitId::Pid(orphan), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

fn kill_group(leader: Pid) {
    // ESRCH: the group is empty, as it should be.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// Kills and reaps a child of which nothing tells when it has ended.
fn end_blindly(child: Pid) {
    kill_group(child);
    let (started, flags) = (Instant::now(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    while matches!(waitid(WaitId::Pid(child), flags), Ok(None)) && started.elapsed() < REAP_TIMEOUT {
        std::thread::sleep(REAP_PAUSE);
    }
}

/// Children, their children and so on, also those that left the group; an executor adopts its orphans.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop().filter(|_| found.len() < DESCENDANTS) {
        let children = children(pid);
        next.extend(&children);
        found.extend(children);
    }
    found
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(parse).collect::<Vec<_>>()).collect()
}

fn parse(text: &str) -> Option<Pid> {
    text.parse().ok().filter(|raw| *raw > 1).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::super::launch::tests::script;
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    fn run(text: &str) -> (Process, BufReader<UnixStream>) {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let started = script(text).start(far.into(), 1).expect("a shell");
        (Process::adopt(&started).expect("a pidfd"), BufReader::new(near))
    }

    fn line(from: &mut BufReader<UnixStream>) -> String {
        let mut line = String::new();
        from.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn exit(process: &mut Process) -> Exit {
        poll(&mut [PollFd::new(&process.pidfd, PollFlags::IN)], None).expect("it ends");
        process.take_exit().expect("it has ended")
    }

    fn is_running(pid: Pid) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
    }

    fn gone(pid: Pid) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_running(pid) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        !is_running(pid)
    }

    #[test]
    fn an_exit_code_and_a_signal_are_told_apart() {
        let (mut process, _channel) = run("exit 3");
        assert_eq!(exit(&mut process), Exit::Code(3));
        let (mut process, _channel) = run("kill -SEGV $$");
        assert_eq!(exit(&mut process), Exit::Signal(11));
    }

    #[test]
    fn a_child_that_somebody_else_reaped_ended_unknown() {
        let (mut process, _channel) = run("exit 3");
        rustix::process::waitpid(Some(process.pid), rustix::process::WaitOptions::empty()).expect("reaped here");
        assert_eq!(exit(&mut process), Exit::Unknown);
    }

    #[test]
    fn the_group_goes_with_its_leader() {
        let (mut process, mut channel) = run("exec 1>&0; sleep 1000 & echo $!; exit 0");
        let child = parse(&line(&mut channel)).expect("a process id");
        assert_eq!(exit(&mut process), Exit::Code(0));
        assert!(gone(child));
    }

    #[test]
    fn killing_reaches_children_that_left_the_group() {
        let (mut process, mut channel) = run("exec 1>&0; setsid sh -c 'echo $$; exec sleep 1000' & wait");
        let child = parse(&line(&mut channel)).expect("a process id");
        process.kill();
        assert_eq!(exit(&mut process), Exit::Signal(9));
        assert!(gone(child));
    }

    #[test]
    fn a_child_that_cannot_be_watched_is_ended_and_it_is_said_why() {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let started = script("exec 1>&0; echo up; exec sleep 1000").start(far.into(), 1).expect("a shell");
        assert_eq!(line(&mut BufReader::new(near)), "up");
        let pid = Pid::from_child(&started.child);
        let refused = Process::with(pid, Err(Errno::PERM)).expect_err("it was refused");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("pidfd_open"), "{refused}");
        assert!(!std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
    }

    #[test]
    fn a_dropped_process_is_killed_and_reaped() {
        let (process, mut channel) = run("exec 1>&0; echo up; exec sleep 1000");
        assert_eq!(line(&mut channel), "up");
        assert!(process.peak_memory() > 0);
        let pid = process.pid;
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
    }
}
