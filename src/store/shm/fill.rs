//! How memory is filled that is to be sealed.
//!
//! What is large is put on *large pages* (docs/decisions/011): they cost a fault each instead of one for every few of 512 small ones, to
//! whoever maps the memory, and processors read them faster. The kernel makes one of whatever lies there already, so each
//! gets a first byte, is made large while that is all there is, and is then copied to in place. Where the kernel has none to give, or takes
//! long to find some, memory is filled as ever.

use super::mapping::{Mapping, Sharing};
use crate::clock::Clock;
use plait_core::time::Time;
use rustix::io::{pwrite, retry_on_intr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread::{Builder, available_parallelism, scope};
use std::time::Duration;

/// Bytes of a large page, on processors whose small ones have 4 KiB. On others the kernel says no.
pub(super) const LARGE_PAGE: usize = 2 << 20;
/// From so many bytes on large pages are worth the asking for them.
const LARGE_FROM: usize = 4 * LARGE_PAGE;
/// Bytes that are made large at once. Larger steps cost less; smaller ones stay in the processor's caches, and stop sooner
/// where it takes long.
const STEP: usize = 8 * LARGE_PAGE;
/// A step that takes longer is the last one: the kernel moves other memory about to find large pages. To fill as much of small
/// ones takes a quarter of it.
const SLOW: Duration = Duration::from_millis(20);
/// From so many bytes on two threads are twice as fast as one.
const SHARED_FROM: usize = 32 << 20;

/// Writes bytes into memory, which is that large and empty there.
pub(in crate::store) fn fill(memory: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let canvas = if bytes.len() < LARGE_FROM { None } else { Canvas::stretch(memory, offset, bytes).ok() };
    let Some(canvas) = canvas else { return write_all(memory, bytes, offset) };
    let half = canvas.border(bytes.len() / 2);
    if bytes.len() < SHARED_FROM || available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
        return canvas.paint(0..bytes.len());
    }
    scope(|scope| {
        let other = Builder::new().name("plait-fill".into()).spawn_scoped(scope, || canvas.paint(half..bytes.len()));
        canvas.paint(0..half)?;
        match other {
            Ok(other) => other.join().expect("it does not panic"),
            Err(_) => canvas.paint(half..bytes.len()),
        }
    })
}

/// Writes bytes to a file, all of them.
pub(in crate::store) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        (bytes, offset) = (&bytes[written..], offset + written as u64);
    }
    Ok(())
}

/// A part of memory that is being filled.
struct Canvas<'a> {
    memory: BorrowedFd<'a>,
    offset: u64,
    bytes: &'a [u8],
    map: Mapping,
}

impl<'a> Canvas<'a> {
    fn stretch(memory: BorrowedFd<'a>, offset: u64, bytes: &'a [u8]) -> io::Result<Self> {
        let map = Mapping::new(memory, offset, bytes.len(), Sharing::Shared)?;
        Ok(Self { memory, offset, bytes, map })
    }

    /// The last border of large pages that is not behind a place, or the beginning.
    fn border(&self, at: usize) -> usize {
        at.saturating_sub((self.offset as usize + at) % LARGE_PAGE)
    }

    /// The large pages that lie within a range.
    fn pages(&self, range: &Range<usize>) -> Range<usize> {
        let first = self.border(range.start + LARGE_PAGE - 1).max(range.start);
        first..self.border(range.end).max(first)
    }

    /// Copies a range, step by step.
    fn paint(&self, range: Range<usize>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let step = at..range.end.min(self.border(at) + STEP);
            if !self.paint_large(&step)? {
                return self.write(at..range.end);
            }
            at = step.end;
        }
        Ok(())
    }

    /// Copies a range, if its pages can be made large: otherwise no more than a byte of each has been written.
    fn paint_large(&self, range: &Range<usize>) -> io::Result<bool> {
        let pages = self.pages(range);
        for page in pages.clone().step_by(LARGE_PAGE) {
            self.write(page..page + 1)?;
        }
        let clock = Clock::start();
        let large = pages.is_empty() || self.enlarge(&pages);
        ...
    }
}
