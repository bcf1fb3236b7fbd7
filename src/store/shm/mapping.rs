//! Where memory is mapped.
//!
//! A mapping that is large begins as far behind a border of large pages as its part of the file does: only there can
//! the processor see one large page instead of 512 small ones. The kernel chooses such places for files on disk, not for memory.

use super::fill::LARGE_PAGE;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

/// Mapped memory, ours until it is dropped.
#[derive(Debug)]
pub(in crate::store) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is the process's, not a thread's. What may be done with its bytes is for those to say who read and
// write them.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives away nothing but where it is.
unsafe impl Sync for Mapping {}

/// How memory is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// What is written stays here.
    Private,
    /// What is written everybody sees.
    Shared,
}

impl Mapping {
    /// Maps a part of a file; `offset` is at a page's border.
    pub(super) fn new(file: BorrowedFd<'_>, offset: u64, length: usize, sharing: Sharing) -> io::Result<Self> {
        let flags = match sharing {
            Sharing::Private => MapFlags::PRIVATE,
            Sharing::Shared => MapFlags::SHARED,
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        if length < LARGE_PAGE {
            // SAFETY: without a place in mind the kernel chooses one where nothing is.
            return Ok(Self::at(unsafe { mmap(null_mut(), length, access, flags, file, offset) }?, length));
        }
        let room = Self::reserve(length.checked_add(LARGE_PAGE).ok_or(Errno::NOMEM)?)?;
        let ahead = (offset as usize).wrapping_sub(room.address()) % LARGE_PAGE;
        let start = room.start.as_ptr().wrapping_add(ahead);
        // SAFETY: what is replaced lies within `room`, which is `LARGE_PAGE` longer and of which nobody knows.
        let mapped = unsafe { mmap(start.cast(), length, access, flags | MapFlags::FIXED, file, offset) };
        room.replaced_by(mapped, length)
    }

    /// Maps memory that is nobody's yet and all zeros: large pages where the kernel has some, each there once it is written to.
    pub(super) fn blank(length: usize) -> io::Result<Self> {
        let room = Self::reserve(length.checked_add(LARGE_PAGE).ok_or(Errno::NOMEM)?)?;
        let start = room.start.as_ptr().wrapping_add(room.address().wrapping_neg() % LARGE_PAGE);
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: what is replaced lies within `room`, which is `LARGE_PAGE` longer and of which nobody knows.
        let mapped = unsafe { mmap_anonymous(start.cast(), length, access, flags | MapFlags::FIXED) };
        let map = room.replaced_by(mapped, length)?;
        // What does not fill a large page stays on small ones.
        let whole = length - length % LARGE_PAGE;
        // SAFETY: the range is mapped. Whatever the kernel makes of the advice, its bytes stay what they are.
        let _ = unsafe { madvise(map.start.as_ptr().cast(), whole, Advice::LinuxHugepage) };
        Ok(map)
    }

    /// Addresses for so many bytes, with no memory behind them.
    fn reserve(length: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: without a place in mind the kernel chooses one where nothing is.
        Ok(Self::at(unsafe { mmap_anonymous(null_mut(), length, ProtFlags::empty(), flags) }?, length))
    }

    fn at(start: *mut c_void, length: usize) -> Self {
        Self { start: NonNull::new(start.cast()).expect("nothing is mapped at 0"), length }
    }

    /// What was mapped in here, and nothing else.
    fn replaced_by(self, mapped: rustix::io::Result<*mut c_void>, length: usize) -> io::Result<Self> {
        match mapped {
            Ok(start) => Ok(self.keep(Self::at(start, length))),
            Err(error) => {
                // Kernels before 6.12 may have left nothing there, and somebody else may have come since.
                std::mem::forget(self);
                Err(error.into())
            }
        }
    }

    /// Gives back all but `part`, which has replaced something in here.
    fn keep(self, part: Self) -> Self {
        let page = rustix::param::page_size();
        let (before, length) = (part.address() - self.address(), part.length.next_multiple_of(page));
        let after = self.start.as_ptr().wrapping_add(before + length);
        drop(Self::at(after.cast(), self.length - before - length));
        // What lies before it is left of `self`.
        let head = Self { start: self.start, length: before };
        std::mem::forget(self);
        drop(head);
        part
    }

    /// Keeps it out of processes that are forked meanwhile: memory that somebody maps for writing cannot be sealed.
    pub(super) fn keep_from_children(&self) -> io::Result<()> {
        // SAFETY: the range is mapped, and stays as it is in this process.
        Ok(unsafe { madvise(self.start.as_ptr().cast(), self.length, Advice::LinuxDontFork) }?)
    }

    /// Has the kernel put what lies in a range of large pages on such ones. False if it has none, or does not know of them.
    pub(super) fn collapse(&self, range: Range<usize>) -> bool {
        assert!(range.start <= range.end && range.end <= self.length, "a part of the mapping");
        let start = self.start.as_ptr().wrapping_add(range.start);
        // SAFETY: the range is mapped. Whatever the kernel does, its bytes stay what they are.
        unsafe { libc::madvise(start.cast(), range.len(), libc::MADV_COLLAPSE) == 0 }
    }

    /// Copies bytes to a place in it.
    ///
    /// # Safety
    /// Nobody reads or writes there meanwhile, and there is memory behind it.
    pub(super) unsafe fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.length && bytes.len() <= self.length - at, "a part of the mapping");
        // SAFETY: all of it is mapped and may be written to; the rest is the caller's word.
        unsafe { self.start.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }

    /// A part of it, to be written to.
    ///
    /// # Safety
    /// Nobody else reads or writes there meanwhile, and there is memory behind it.
    pub(super) unsafe fn part_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.length, "a part of the mapping");
        // SAFETY: all of it is mapped and may be written to; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Where it begins.
    pub(in crate::store) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The same, as a number.
    pub(in crate::store) fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// How long it is, in bytes.
    pub(in crate::store) const fn len(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: it is ours, and whoever borrowed its bytes borrowed it.
            let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
            debug_assert_eq!(unmapped, Ok(()));
        }
    }
}
