//! Memory that two processes have in common: each copies to it and from it, and neither ever refers to what lies there.

use super::mapping::{Mapping, Sharing};
use rustix::mm::{Advice, madvise};
use std::io;
use std::os::fd::BorrowedFd;

/// Mapped memory of a file that cannot shrink.
#[derive(Debug)]
pub(in crate::store) struct Common(Mapping);

impl Common {
    /// Maps the first `bytes` of `memory`, which must have so many and be sealed against having less.
    pub(in crate::store) fn map(memory: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let map = Mapping::new(memory, 0, bytes, Sharing::Shared)?;
        map.keep_from_children()?;
        Ok(Self(map))
    }

    /// Copies `bytes` to `at`.
    pub(in crate::store) fn write(&self, at: usize, bytes: &[u8]) {
        let place = self.part(at, bytes.len());
        // SAFETY: all of it is mapped, may be written to, and cannot go away; for what was not touched yet the kernel finds memory
        // or ends the process. Nothing in this process refers to it, and what another one makes of it meanwhile are other bytes.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies what lies at `at`.
    pub(in crate::store) fn read(&self, at: usize, space: &mut [u8]) {
        let place = self.part(at, space.len());
        // SAFETY: as above; whatever is read meanwhile are bytes.
        unsafe { place.copy_to_nonoverlapping(space.as_mut_ptr(), space.len()) }
    }

    /// Gives the memory of a part back to the system, as far as it is whole pages: what lies there is zeros then. At worst it
    /// stays where it is.
    pub(in crate::store) fn give_back(&self, at: usize, bytes: usize) {
        let page = rustix::param::page_size();
        let (from, until) = (at.next_multiple_of(page), (at + bytes) / page * page);
        if from < until {
            let place = self.part(from, until - from);
            // SAFETY: all of it is mapped, and nothing in this process refers to it.
            let _ = unsafe { madvise(place.cast(), until - from, Advice::LinuxRemove) };
        }
    }

    fn part(&self, at: usize, bytes: usize) -> *mut u8 {
        assert!(at <= self.0.len() && bytes <= self.0.len() - at, "a part of the mapping");
        self.0.start().as_ptr().wrapping_add(at)
    }
}
