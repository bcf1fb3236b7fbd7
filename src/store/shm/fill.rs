//! How memory is filled that is to be sealed.
//!
//! What is large is put on *large pages* (docs/decisions/012): they cost a fault each instead of one for every few of 512 small ones, to
//! whoever maps the memory, and processors read them faster. The kernel makes one of whatever lies there already, so each
//! gets a first byte, is made large while that is all there is, and is then copied to in place. Where the kernel has none to give, or takes
//! long to find some, memory is filled as ever.

use super::mapping::{Mapping, Sharing};
use crate::clock::Clock;
use plait_core::time::Time;
use rustix::io::{pwrite, retry_on_intr};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::thread::{Builder, available_parallelism, scope};
use std::time::Duration;

/// Bytes of a large page, on processors whose small ones have 4 KiB. On others the kernel says no.
pub(super) const LARGE_PAGE: usize = 2 << 20;
/// From so many bytes on large pages are worth the asking for them.
pub(super) const LARGE_FROM: usize = 4 * LARGE_PAGE;
/// Bytes that are made large at once. Larger steps cost less; smaller ones stay in the processor's caches, and stop sooner
/// where it takes long.
pub(super) const STEP: usize = 8 * LARGE_PAGE;
/// A step that takes longer is the last one: the kernel moves other memory about to find large pages. To fill as much of small
/// ones takes a quarter of it.
pub(super) const SLOW: Duration = Duration::from_millis(20);
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
        map.keep_from_children()?;
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
        let (mut at, mut large) = (range.start, true);
        while at < range.end {
            let (clock, step) = (Clock::start(), at..range.end.min(self.border(at) + STEP));
            at = step.end;
            let pages = self.pages(&step);
            large = large && self.enlarge(&pages)?;
            if large {
                self.write(step.start..pages.start)?;
                self.copy(pages.clone());
                self.write(pages.end..step.end)?;
            } else {
                self.write(step)?;
            }
            large = large && clock.now() < Time::ZERO + SLOW;
        }
        Ok(())
    }

    /// Has these pages be large ones. False if the kernel has none.
    fn enlarge(&self, pages: &Range<usize>) -> io::Result<bool> {
        for page in pages.clone().step_by(LARGE_PAGE) {
            self.write(page..page + 1)?;
        }
        Ok(pages.is_empty() || self.map.collapse(pages.clone()))
    }

    /// Copies to pages that are there: without memory for one more the kernel could only kill who writes to it in place.
    fn copy(&self, pages: Range<usize>) {
        // SAFETY: the mapping is of this file alone, which nobody else has yet, and each range is one thread's.
        unsafe { self.map.copy_in(pages.start, &self.bytes[pages]) }
    }

    fn write(&self, range: Range<usize>) -> io::Result<()> {
        write_all(self.memory, &self.bytes[range.clone()], self.offset + range.start as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Counted, Snapshot, seal};
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;
    use std::sync::Arc;

    /// Fills memory in two parts, of which the second begins behind a border of large pages, and looks at it.
    fn check(first: usize, second: usize) {
        let page = rustix::param::page_size();
        let bytes: Vec<u8> = (0..first.max(second)).map(|n| (n % 251) as u8).collect();
        let (parts, behind) = ([&bytes[..first], &bytes[..second]], first.next_multiple_of(page) as u64);
        let file = memfd_create("plait-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
        ftruncate(&file, behind + second as u64).expect("grown");
        for (part, offset) in parts.iter().zip([0, behind]) {
            fill(file.as_fd(), offset, part).expect("filled");
        }
        seal(file.as_fd()).expect("nobody can write to it any more");
        let counted = || Counted::new(&Arc::default(), 1).expect("the first");
        for (part, offset) in parts.iter().zip([0, behind]) {
            let mut seen = Snapshot::map(file.as_fd(), offset, part.len(), counted()).expect("it has no holes");
            assert!(seen.bytes() == *part, "{} bytes at {offset}", part.len());
            seen.bytes_mut().fill(0);
            let again = Snapshot::map(file.as_fd(), offset, part.len(), counted()).expect("mapped");
            assert!(again.bytes() == *part, "what is written stays with the writer");
        }
    }

    #[test]
    fn what_is_filled_is_what_is_seen_wherever_it_begins() {
        check(1, 1);
        check(LARGE_FROM - 1, LARGE_FROM);
        check(LARGE_FROM + 1, STEP + LARGE_FROM + 12_345);
        check(SHARED_FROM + 4_097, SHARED_FROM);
    }

    #[test]
    fn memory_that_is_being_filled_is_not_handed_to_forked_children() {
        let bytes = vec![1; LARGE_FROM];
        let file = memfd_create("plait-test", MemfdFlags::CLOEXEC).expect("a memfd");
        let canvas = Canvas::stretch(file.as_fd(), 0, &bytes).expect("mapped");
        let all = std::fs::read_to_string("/proc/self/smaps").expect("it tells of every mapping");
        let start = format!("{:x}-", canvas.map.address());
        let own = all.lines().skip_while(|line| !line.starts_with(&start));
        let flags = own.clone().find_map(|line| line.strip_prefix("VmFlags:")).expect("it has flags");
        assert!(flags.split_whitespace().any(|flag| flag == "dc"), "do not copy on fork: {flags}");
    }

    #[test]
    fn a_part_knows_which_large_pages_are_its_own() {
        let bytes = vec![1; 5 * LARGE_PAGE];
        let file = memfd_create("plait-test", MemfdFlags::CLOEXEC).expect("a memfd");
        let at = |offset| Canvas::stretch(file.as_fd(), offset, &bytes).expect("mapped");
        assert_eq!(at(0).pages(&(0..LARGE_PAGE)), 0..LARGE_PAGE);
        assert_eq!(at(0).pages(&(1..LARGE_PAGE * 2 - 1)), LARGE_PAGE..LARGE_PAGE);
        let behind = at(4_096);
        assert_eq!(behind.pages(&(0..bytes.len())), LARGE_PAGE - 4_096..5 * LARGE_PAGE - 4_096);
        assert!(behind.pages(&(0..LARGE_PAGE - 4_096)).is_empty());
        assert_eq!([behind.map.address() % LARGE_PAGE, at(0).map.address() % LARGE_PAGE], [4_096, 0]);
    }
}
