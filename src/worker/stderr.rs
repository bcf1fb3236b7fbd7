//! What an executor writes to stderr: passed on to our own, its end kept for the story of a death.
//!
//! Our stderr may be a pipe that nobody reads, or a terminal that was stopped. A [`Scribe`] writes there, so the worker's
//! one thread never does; until it has room the executor's pipe fills up, as if it wrote there itself.

use crate::net::watched::{Watched, watched};
use crate::telemetry::Scribe;
use plait_core::limits::LOG_TAIL_BYTES;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{Interest, Ready};
use tokio::sync::Notify;

/// What is read at once.
const PIECE_BYTES: usize = 4096;
/// Most that is still taken from the pipe of an executor that has ended: more than a pipe holds.
const LAST_BYTES: usize = 1 << 20;

/// The reading end of an executor's stderr; shared by the task that passes it on and the one that tells its death.
#[derive(Clone, Debug)]
pub(crate) struct Stderr(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipe: Watched,
    kept: Mutex<Kept>,
    finished: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    tail: VecDeque<u8>,
    /// Read, and not passed on yet.
    pending: Vec<u8>,
    over: bool,
}

impl Stderr {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pipe = watched(pipe, Interest::READABLE)?;
        Ok(Self(Arc::new(Inner { pipe, kept: Mutex::default(), finished: Notify::new() })))
    }

    /// Passes everything on to `sink` until the executor's end of the pipe is closed or [`finish`](Self::finish) was called.
    pub(crate) async fn pass_on(self, sink: Option<Scribe>) {
        loop {
            tokio::select! {
                ready = self.0.pipe.readable() => {
                    let Ok(mut ready) = ready else { return };
                    if matches!(self.0.kept().read(self.0.pipe.get_ref()), Read::Nothing) {
                        ready.clear_ready_matching(Ready::READABLE);
                    }
                }
                () = self.0.finished.notified() => {}
            }
            let pending = self.0.kept().take_pending();
            if let Some(sink) = &sink {
                sink.pass(&pending).await;
            }
            if self.0.kept().is_through() {
                return;
            }
        }
    }

    /// Takes what is still in the pipe of an executor that has ended, and returns the end of all it wrote.
    pub(crate) fn finish(&self) -> String {
        let mut kept = self.0.kept();
        let bound = kept.pending.len() + LAST_BYTES;
        while kept.pending.len() < bound && matches!(kept.read(self.0.pipe.get_ref()), Read::Some) {}
        kept.over = true;
        self.0.finished.notify_one();
        text(kept.tail.make_contiguous())
    }
}

impl Inner {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Read {
    Some,
    /// Nothing yet.
    Nothing,
    End,
}

impl Kept {
    fn read(&mut self, pipe: &OwnedFd) -> Read {
        if self.over {
            return Read::End;
        }
        let mut piece = [0; PIECE_BYTES];
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => {
                self.over = true;
                Read::End
            }
            Ok(n) => {
                self.pending.extend_from_slice(&piece[..n]);
                self.tail.extend(&piece[..n]);
                let excess = self.tail.len().saturating_sub(LOG_TAIL_BYTES);
                self.tail.drain(..excess);
                Read::Some
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(_) => {
                self.over = true;
                Read::End
            }
        }
    }

    /// Whether nothing will come any more, and nothing is left to pass on.
    const fn is_through(&self) -> bool {
        self.over && self.pending.is_empty()
    }

    fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }
}

/// Text of at most [`LOG_TAIL_BYTES`], whatever the bytes are; a cut character at the start is left out.
fn text(tail: &[u8]) -> String {
    let start = tail.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
    let mut text = String::from_utf8_lossy(&tail[start..]).into_owned();
    let excess = text.len().saturating_sub(LOG_TAIL_BYTES);
    if let Some(cut) = (excess..text.len()).find(|at| text.is_char_boundary(*at)) {
        text.drain(..cut);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _, pipe};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn everything_is_passed_on_and_the_end_is_kept() {
        runtime().block_on(async {
            let (from, mut executor) = pipe().expect("a pipe");
            let (mut ours, sink) = pipe().expect("a pipe");
            let reader = std::thread::spawn(move || {
                let mut all = String::new();
                ours.read_to_string(&mut all).expect("text");
                all
            });
            let stderr = Stderr::new(from.into()).expect("a pipe to wait for");
            let passing = tokio::spawn(stderr.clone().pass_on(Some(Scribe::new(sink.into()))));
            let written = "0123456789abcde\n".repeat(20_000);
            let writer = {
                let written = written.clone();
                std::thread::spawn(move || executor.write_all(written.as_bytes()).expect("it is read"))
            };
            passing.await.expect("it ends with the pipe");
            writer.join().expect("written");
            let tail = stderr.finish();
            assert_eq!(tail.len(), LOG_TAIL_BYTES);
            assert!(written.ends_with(&tail));
            assert_eq!(reader.join().expect("read"), written);
        });
    }

    #[test]
    fn a_full_stderr_does_not_hold_up_the_story_of_a_death() {
        runtime().block_on(async {
            let (from, mut executor) = pipe().expect("a pipe");
            let (_unread, sink) = pipe().expect("a pipe");
            rustix::pipe::fcntl_setpipe_size(&sink, 4096).expect("a small pipe");
            rustix::io::write(&sink, &[b'x'; 4096]).expect("full now");
            let stderr = Stderr::new(from.into()).expect("a pipe to wait for");
            let passing = tokio::spawn(stderr.clone().pass_on(Some(Scribe::new(sink.into()))));
            executor.write_all(b"first\n").expect("room");
            tokio::task::yield_now().await;
            executor.write_all(b"last words\n").expect("room");
            assert_eq!(stderr.finish(), "first\nlast words\n");
            passing.abort();
        });
    }

    #[test]
    fn a_terminal_that_nobody_reads_does_not_keep_this_thread() {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let unread = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&unread).and_then(|()| unlockpt(&unread)).expect("its other end may be opened");
        let name = ptsname(&unread, Vec::new()).expect("it has a name").into_string().expect("text");
        let terminal = std::fs::OpenOptions::new().write(true).open(name).expect("its other end");
        runtime().block_on(async {
            let (from, mut executor) = pipe().expect("a pipe");
            rustix::io::ioctl_fionbio(&executor, true).expect("it need not wait");
            let stderr = Stderr::new(from.into()).expect("a pipe to wait for");
            let passing = tokio::spawn(stderr.clone().pass_on(Some(Scribe::new(OwnedFd::from(terminal)))));
            // Far more than a terminal takes, until the executor itself would have to wait.
            while executor.write(&[b'x'; PIECE_BYTES]).is_ok() {
                tokio::task::yield_now().await;
            }
            assert_eq!(stderr.finish(), "x".repeat(LOG_TAIL_BYTES));
            passing.abort();
        });
    }

    #[test]
    fn any_bytes_become_text_of_bounded_length() {
        assert_eq!(text("äb".as_bytes().split_at(1).1), "b");
        let wild = text(&[0xFF; LOG_TAIL_BYTES]);
        assert!(wild.len() <= LOG_TAIL_BYTES && wild.starts_with('\u{FFFD}'));
    }
}
