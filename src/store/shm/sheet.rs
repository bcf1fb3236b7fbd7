//! Memory that is filled from its front by what comes bit by bit, and sealed then.
//!
//! As in [`fill`](super::fill), but nobody has all of it beforehand: what comes is written where it stays. Large pages are made
//! ahead, a step at a time, and written to in place; everything else is gathered for `write(2)`.

use super::fill::{LARGE_FROM, LARGE_PAGE, SLOW, STEP, write_all};
use super::mapping::{Mapping, Sharing};
use crate::clock::Clock;
use plait_core::time::Time;
use std::io;
use std::os::fd::BorrowedFd;

/// Bytes that are gathered for one `write(2)`.
const GATHERED: usize = 256 << 10;

/// How far memory is filled that nobody else has yet.
#[derive(Debug)]
pub(in crate::store) struct Sheet {
    length: usize,
    /// Bytes that are there for good.
    filled: usize,
    /// Where large pages are written to in place.
    map: Option<Mapping>,
    /// The kernel may have more of them.
    large: bool,
    /// Up to here they are there.
    ready: usize,
    gathered: Vec<u8>,
    /// Bytes of those that have come.
    waiting: usize,
}

impl Sheet {
    /// That of `memory`, which is so large and empty.
    pub(in crate::store) fn new(memory: BorrowedFd<'_>, length: usize) -> Self {
        let stretch = || {
            let map = Mapping::new(memory, 0, length, Sharing::Shared)?;
            map.keep_from_children()?;
            io::Result::Ok(map)
        };
        let map = if length < LARGE_FROM { None } else { stretch().ok() };
        Self { length, filled: 0, large: map.is_some(), map, ready: 0, gathered: Vec::new(), waiting: 0 }
    }

    /// Bytes that have come.
    pub(in crate::store) const fn come(&self) -> usize {
        self.filled + self.waiting
    }

    /// Sees to it that there is [`space`](Self::space) for more; something is missing.
    ///
    /// # Errors
    /// If there is no memory.
    pub(in crate::store) fn make_space(&mut self, memory: BorrowedFd<'_>) -> io::Result<()> {
        if self.filled < self.ready || self.waiting > 0 {
            return Ok(());
        }
        self.large = self.large && self.enlarge(memory)?;
        if self.filled >= self.ready {
            self.gathered.resize(GATHERED.min(self.length - self.filled), 0);
        }
        Ok(())
    }

    /// Makes large pages for what comes next. False if there will be no more.
    fn enlarge(&mut self, memory: BorrowedFd<'_>) -> io::Result<bool> {
        let (clock, end) = (Clock::start(), self.length.min(self.filled + STEP));
        let pages = self.filled..end - end % LARGE_PAGE;
        if pages.is_empty() {
            return Ok(true);
        }
        // Without memory for one more the kernel could only kill who writes to it in place.
        for page in pages.clone().step_by(LARGE_PAGE) {
            write_all(memory, &[0], page as u64)?;
        }
        if self.map.as_ref().is_none_or(|map| !map.collapse(pages.clone())) {
            return Ok(false);
        }
        self.ready = pages.end;
        Ok(clock.now() < Time::ZERO + SLOW)
    }

    /// Where the next bytes go.
    pub(in crate::store) fn space(&mut self) -> &mut [u8] {
        match &mut self.map {
            // SAFETY: the mapping is of this memory alone, which nobody else has yet, and the pages are there.
            Some(map) if self.filled < self.ready => unsafe { map.part_mut(self.filled..self.ready) },
            _ => &mut self.gathered[self.waiting..],
        }
    }

    /// So many bytes of that have come.
    ///
    /// # Errors
    /// If there is no memory.
    pub(in crate::store) fn advance(&mut self, memory: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
        if self.filled < self.ready {
            self.filled += bytes;
            return Ok(());
        }
        self.waiting += bytes;
        if self.waiting == self.gathered.len() {
            write_all(memory, &self.gathered, self.filled as u64)?;
            self.filled += self.waiting;
            self.waiting = 0;
        }
        Ok(())
    }

    /// What has come and is not in the memory.
    pub(in crate::store) fn waiting(&self) -> &[u8] {
        &self.gathered[..self.waiting]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;

    #[test]
    fn what_comes_bit_by_bit_is_there_in_the_end() {
        for length in [1, GATHERED, GATHERED + 1, LARGE_FROM, STEP + LARGE_PAGE + 12_345] {
            let memory = memfd_create("plait-test", MemfdFlags::CLOEXEC).expect("a memfd");
            ftruncate(&memory, length as u64).expect("grown");
            let (mut sheet, sent) = (Sheet::new(memory.as_fd(), length), |at: usize| (at % 251) as u8);
            while sheet.come() < length {
                sheet.make_space(memory.as_fd()).expect("there is memory");
                let (at, space) = (sheet.come(), sheet.space());
                let some = space.len().min(100_003);
                (at..at + some).zip(space).for_each(|(at, byte)| *byte = sent(at));
                sheet.advance(memory.as_fd(), some).expect("there is memory");
            }
            assert!(sheet.waiting().is_empty() && sheet.filled == length);
            let mut got = vec![0; length];
            rustix::io::pread(&memory, &mut got, 0).expect("read");
            assert!(got.iter().enumerate().all(|(at, byte)| *byte == sent(at)), "{length} bytes");
        }
    }
}
