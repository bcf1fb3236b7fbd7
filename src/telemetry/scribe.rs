//! Writes to stderr in the place of those who must not wait: a pipe that nobody reads, a stopped terminal or a disk that
//! hangs keeps whoever writes there for as long as it likes, and may be full or gone.
//!
//! What is to be written is kept up to a bound, and a thread of the scribe's own writes it. That thread is there from the
//! first words on, and ends when nobody can bring any more. Errors are nobody's concern; but once something can be written
//! again, so is how many lines are missing.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec, write};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Most bytes that are kept; the thread may have as many in hand. A burst of logs passes, a stuck stderr costs little.
const KEPT_BYTES: usize = 1 << 20;
/// Those who can wait find room while fewer bytes are kept: a few pieces of what a pipe holds.
const ROOM_BYTES: usize = 16 << 10;
/// How long they wait for room, before what they have is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Where a duplicate may lie: behind the standard streams.
const FIRST_FD: i32 = 3;

/// Who writes to one descriptor; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Scribe(Arc<Door>);

/// What those have who bring something; the thread has the desk alone.
#[derive(Debug)]
struct Door(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    sink: OwnedFd,
    kept: Mutex<Kept>,
    /// Something is to be written, or the door is closed.
    work: Condvar,
    /// All that was brought is dealt with.
    idle: Condvar,
    room: Notify,
}

/// What was brought since the thread came last.
#[derive(Debug, Default)]
struct Kept {
    text: Vec<u8>,
    /// Lines behind that for which there was no room.
    lost: u64,
    thread: Thread,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// Not started: nothing was brought yet, or the system has none to give.
    #[default]
    Absent,
    Waiting,
    Writing,
}

impl Scribe {
    pub(crate) fn new(sink: OwnedFd) -> Self {
        let (work, idle, room) = (Condvar::new(), Condvar::new(), Notify::new());
        Self(Arc::new(Door(Arc::new(Desk { sink, kept: Mutex::default(), work, idle, room }))))
    }

    /// One for what is stderr now; none if this process has no stderr.
    pub(crate) fn of_stderr() -> Option<Self> {
        fcntl_dupfd_cloexec(rustix::stdio::stderr(), FIRST_FD).ok().map(Self::new)
    }

    /// Brings whole lines, which are lost if too much is kept already.
    pub(crate) fn note(&self, lines: &[u8]) {
        let desk = &self.0.0;
        let mut kept = desk.kept();
        // Behind a gap there is another one, until the thread has seen it: it tells of both in the right place.
        if kept.lost == 0 && kept.text.len() + lines.len() <= KEPT_BYTES {
            kept.text.extend_from_slice(lines);
        } else {
            kept.lost += count(lines);
        }
        desk.call(&mut kept);
    }

    /// Brings text of any length, as there is room for it. What finds none for a long time is lost.
    pub(crate) async fn pass(&self, mut text: &[u8]) {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.len().min(ROOM_BYTES));
            if timeout(PATIENCE, self.0.0.room()).await.is_err() {
                self.0.0.kept().lost += count(text);
                return;
            }
            self.note(piece);
            text = rest;
        }
    }

    /// Waits until all is written, for a moment.
    pub(crate) fn flush(&self) {
        let kept = self.0.0.kept();
        let ended = self.0.0.idle.wait_timeout_while(kept, FAREWELL, |kept| kept.is_at_work());
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }
}

impl io::Write for Scribe {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.note(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.kept().closed = true;
        self.0.work.notify_one();
    }
}

impl Kept {
    const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.lost == 0
    }

    const fn has_room(&self) -> bool {
        self.lost == 0 && self.text.len() < ROOM_BYTES
    }

    const fn is_at_work(&self) -> bool {
        match self.thread {
            Thread::Absent => false,
            Thread::Waiting => !self.is_empty(),
            Thread::Writing => true,
        }
    }
}

impl Desk {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the thread. If there is none and none can be had, the next one who brings something tries again.
    fn call(self: &Arc<Self>, kept: &mut Kept) {
        if kept.thread == Thread::Absent {
            let desk = Arc::clone(self);
            let started = std::thread::Builder::new().name("plait-stderr".into()).spawn(move || desk.write());
            kept.thread = started.map_or(Thread::Absent, |_| Thread::Waiting);
        }
        self.work.notify_one();
    }

    async fn room(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.kept().has_room() {
                return;
            }
            room.await;
        }
    }

    /// Writes what is brought, until the door is closed and nothing is left.
    fn write(&self) {
        let mut missing = 0;
        while let Some((text, lost)) = self.next() {
            missing = self.tell(missing);
            missing += self.put(&text).map_or_else(count, |()| 0) + lost;
            // At once: nobody knows when there is something to write again.
            missing = self.tell(missing);
        }
    }

    fn next(&self) -> Option<(Vec<u8>, u64)> {
        let mut kept = self.kept();
        kept.thread = Thread::Waiting;
        self.idle.notify_all();
        let waited = self.work.wait_while(kept, |kept| kept.is_empty() && !kept.closed);
        let mut kept = waited.unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return None;
        }
        kept.thread = Thread::Writing;
        self.room.notify_waiters();
        Some((std::mem::take(&mut kept.text), std::mem::take(&mut kept.lost)))
    }

    /// Says how many lines are missing; returns those of which it could not be said.
    fn tell(&self, missing: u64) -> u64 {
        let line = format!("plait: lines missing here that stderr did not take: {missing}\n");
        if missing == 0 || self.put(line.as_bytes()).is_ok() { 0 } else { missing }
    }

    /// Writes all of it, however long that takes; or returns what cannot be written.
    fn put<'a>(&self, mut bytes: &'a [u8]) -> Result<(), &'a [u8]> {
        while !bytes.is_empty() {
            match write(&self.sink, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // Somebody who has it too wanted it not to wait.
                Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&self.sink, PollFlags::OUT)], None)),
                Err(_) => return Err(bytes),
            }
        }
        Ok(())
    }
}

/// How many lines end, or are begun, here.
fn count(text: &[u8]) -> u64 {
    text.split_inclusive(|byte| *byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
    use std::io::{PipeReader, Read, pipe};
    use std::time::Instant;

    /// A scribe whose pipe is full.
    fn stuck() -> (Scribe, PipeReader) {
        let (reader, sink) = pipe().expect("a pipe");
        let size = rustix::pipe::fcntl_getpipe_size(&sink).expect("a pipe has a size");
        write(&sink, &vec![b'.'; size]).expect("full now");
        (Scribe::new(sink.into()), reader)
    }

    fn read_to_end(scribe: Scribe, mut reader: PipeReader) -> String {
        drop(scribe);
        let mut all = String::new();
        reader.read_to_string(&mut all).expect("text, and an end");
        all.trim_start_matches('.').to_owned()
    }

    #[test]
    fn what_was_brought_is_written_when_flushed() {
        let (mut reader, sink) = pipe().expect("a pipe");
        let scribe = Scribe::new(sink.into());
        scribe.note(b"one\n");
        scribe.note(b"two\n");
        scribe.flush();
        rustix::io::ioctl_fionbio(&reader, true).expect("it need not wait");
        let mut all = [0; 100];
        let length = reader.read(&mut all).expect("it is there");
        assert_eq!(&all[..length], b"one\ntwo\n");
        rustix::io::ioctl_fionbio(&reader, false).expect("it may wait");
        assert_eq!(read_to_end(scribe, reader), "", "and then it ends");
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_nobody_reads_and_what_is_lost_is_told() {
        let (scribe, reader) = stuck();
        scribe.note(b"first\n");
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        // As much as is kept, twice (the thread has the first of it in hand, if it was quick), and some more.
        let brought = 2 * KEPT_BYTES / line.len() + 7;
        (0..brought).for_each(|_| scribe.note(&line));
        let started = Instant::now();
        scribe.flush();
        assert!(started.elapsed() >= FAREWELL, "it cannot be written");
        let all = read_to_end(scribe, reader);
        let (told, written): (Vec<&str>, Vec<&str>) = all.lines().partition(|line| line.starts_with("plait: "));
        let number = |line: &&str| line.rsplit_once(' ').expect("a number").1.parse::<usize>().expect("a number");
        let lost: usize = told.iter().map(number).sum();
        assert_eq!((written[0], written.len() + lost), ("first", 1 + brought));
        assert!(written[1..].iter().all(|whole| whole.len() + 1 == line.len()));
        assert!(lost >= 7 && written.len() >= KEPT_BYTES / line.len(), "{lost}");
    }

    #[test]
    fn who_can_wait_waits_for_room_and_loses_nothing() {
        let (scribe, mut reader) = stuck();
        let text = "0123456789abcde\n".repeat(20_000);
        let all = std::thread::scope(|scope| {
            let passing = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
                runtime.block_on(scribe.pass(text.as_bytes()));
            });
            while !scribe.0.0.kept().is_at_work() {
                std::thread::yield_now();
            }
            assert!(scribe.0.0.kept().text.len() <= 2 * ROOM_BYTES);
            let mut all = vec![0; rustix::pipe::fcntl_getpipe_size(&reader).expect("a size") + text.len()];
            reader.read_exact(&mut all).expect("all of it");
            passing.join().expect("passed");
            all
        });
        assert!(all.ends_with(text.as_bytes()));
        assert_eq!(read_to_end(scribe, reader), "");
    }

    #[test]
    fn errors_are_nobodys_concern_and_the_gap_is_told() {
        let path = std::env::temp_dir().join(format!("plait-scribe-{}", std::process::id()));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe with a name");
        let read = || open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).expect("opened");
        let gone = read();
        let sink = open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).expect("somebody reads");
        drop(gone);
        let scribe = Scribe::new(sink);
        scribe.note(b"one\ntwo\n");
        scribe.flush();
        let reader = read();
        rustix::io::ioctl_fionbio(&reader, false).expect("it may wait");
        scribe.note(b"three\n");
        let all = read_to_end(scribe, reader.into());
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(all, "plait: lines missing here that stderr did not take: 2\nthree\n");
    }

    #[test]
    fn a_sink_that_does_not_wait_is_waited_for() {
        let (scribe, reader) = stuck();
        rustix::io::ioctl_fionbio(&scribe.0.0.sink, true).expect("it need not wait");
        scribe.note(b"late\n");
        assert_eq!(read_to_end(scribe, reader), "late\n");
    }
}
