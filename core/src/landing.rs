//! Where a large segment is put together that comes as bytes, and why one is missing that comes as memory.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;

/// What a landing on the heap has room for before anything has come, in bytes.
pub const FIRST_BYTES: usize = 4 << 10;

/// Gives memory for segments that are to come.
pub trait Ground: Debug + Send + Sync {
    /// Memory for a segment of so many bytes: addresses alone, until something comes. Nothing if it is to be put together
    /// on the heap.
    fn landing(&self, bytes: usize) -> Option<Box<dyn Landing>>;

    /// Some time has passed: memory that was kept for segments that did not come may go.
    fn rest(&self) {}
}

/// Memory for one segment, filled from its front.
pub trait Landing: Debug + Send {
    /// Where the next bytes go: some of those that are missing.
    fn space(&mut self) -> &mut [u8];
    /// So many bytes of that are there.
    fn advance(&mut self, bytes: usize);
    /// Bytes of memory that it has taken.
    fn held(&self) -> usize;
    /// The segment, once nothing is missing.
    fn finish(self: Box<Self>) -> Bytes;
}

/// Why a segment that was passed is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// This process has no descriptor left for it: it waits where it is.
    NoRoom,
    /// It is not there, or not what was announced.
    Broken,
}

/// Memory that grows by what has come.
#[derive(Debug)]
pub struct Heap {
    bytes: Vec<u8>,
    filled: usize,
    length: usize,
}

impl Heap {
    /// Nothing yet of a segment of so many bytes.
    #[must_use]
    pub const fn new(length: usize) -> Self {
        Self { bytes: Vec::new(), filled: 0, length }
    }
}

impl Landing for Heap {
    fn space(&mut self) -> &mut [u8] {
        if self.filled == self.bytes.len() {
            let room = self.length.min(FIRST_BYTES.max(2 * self.filled));
            self.bytes.reserve_exact(room - self.filled);
            self.bytes.resize(room, 0);
        }
        &mut self.bytes[self.filled..]
    }

    fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        debug_assert!(self.filled <= self.bytes.len(), "no more than there was space for");
    }

    fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn finish(self: Box<Self>) -> Bytes {
        self.bytes.into()
    }
}
