//! Snapshots of sealed memory: mapped privately, and never changed by anybody else.

use super::mapping::{Mapping, Sharing};
use crate::store::landing::Pool;
use crate::store::spare::{Label, Spares};
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The seals of memory that never changes again.
const FROZEN: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL).union(SealFlags::WRITE);
/// What `stat` counts memory in.
const BLOCK_BYTES: u64 = 512;

/// Makes memory that was filled unchangeable, for everybody.
pub(in crate::store) fn seal(memory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, FROZEN)?)
}

/// Whether memory is unchangeable, has at least `length` bytes, and all of them are there: what lies in holes would be
/// taken from whoever reads it.
pub(in crate::store) fn is_sealed(memory: BorrowedFd<'_>, length: u64) -> io::Result<bool> {
    // First: until it is sealed, a hole may be made where memory was seen.
    let is_frozen = fcntl_get_seals(memory)?.contains(FROZEN);
    let stat = fstat(memory)?;
    let (size, blocks) = (u64::try_from(stat.st_size).unwrap_or(0), u64::try_from(stat.st_blocks).unwrap_or(0));
    let whole = length <= size && size <= blocks.saturating_mul(BLOCK_BYTES);
    Ok(whole && is_frozen)
}

/// A part of sealed memory, mapped privately, so that writes to it stay here; or memory that never was anybody else's.
#[derive(Debug)]
pub struct Snapshot {
    /// Empty only while it is dropped.
    map: Option<Mapping>,
    /// Of a mapping that may be longer.
    length: usize,
    /// Where the mapping goes then.
    home: Home,
    _counted: Counted,
}

/// Where mappings go that nobody holds any more.
#[derive(Debug)]
enum Home {
    /// They are gone.
    Nowhere,
    /// To where the next order may find it.
    Spares(Arc<Spares>, Label),
    /// To where the next large segment may land in it, as long as any may.
    Pool(Weak<Pool>),
}

/// One of the mappings of a store, as long as it is there.
#[derive(Debug)]
pub(in crate::store) struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// One more, unless there are `limit` of them.
    pub(in crate::store) fn new(all: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let before = all.fetch_add(1, Ordering::Relaxed);
        let counted = Self(Arc::clone(all));
        (before < limit).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Snapshot {
    /// Maps `length` bytes at `offset`.
    pub(in crate::store) fn map(
        memory: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        counted: Counted,
    ) -> io::Result<Self> {
        let end = offset.checked_add(length as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if !is_sealed(memory, end)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let map = Some(Mapping::new(memory, offset, length, Sharing::Private)?);
        Ok(Self { map, length, home: Home::Nowhere, _counted: counted })
    }

    /// Memory of so many bytes, to be written to before it is read: anything may be in it. It comes from `pool` if there is some,
    /// and goes there.
    pub(in crate::store) fn blank(length: usize, pool: &Arc<Pool>, counted: Counted) -> io::Result<Self> {
        let map = Some(pool.take(length).map_or_else(|| Mapping::blank(length), Ok)?);
        Ok(Self { map, length, home: Home::Pool(Arc::downgrade(pool)), _counted: counted })
    }

    /// The same as [`map`](Self::map), with a mapping that has been `used` if there is one, and that goes to `spares`.
    pub(in crate::store) fn at_home(mut self, used: Option<Mapping>, spares: Arc<Spares>, label: Label) -> Self {
        if used.is_some() {
            self.map = used;
        }
        self.home = Home::Spares(spares, label);
        self
    }

    fn map_ref(&self) -> &Mapping {
        self.map.as_ref().expect("it is not being dropped")
    }

    /// Where it begins.
    #[must_use]
    pub fn start(&self) -> *const u8 {
        self.map_ref().start().as_ptr()
    }

    /// How long it is, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes; never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let map = self.map_ref();
        debug_assert!(self.length <= map.len(), "the mapping is not shorter");
        // SAFETY: the file is sealed against writing, so nobody can change what is seen here; it is sealed against
        // shrinking and has no holes, so no access faults. Where there is no file, the memory is all ours. The mapping
        // lives as long as `self`.
        unsafe { std::slice::from_raw_parts(map.start().as_ptr(), self.length) }
    }

    /// The same, to be written to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let map = self.map_ref();
        // SAFETY: as above. The mapping is private, so what is written goes nowhere else, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(map.start().as_ptr(), self.length) }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        match (self.map.take(), &self.home) {
            (Some(map), Home::Spares(spares, label)) => spares.keep(*label, map),
            (Some(map), Home::Pool(pool)) => {
                if let Some(pool) = pool.upgrade() {
                    pool.keep(map);
                }
            }
            (_, Home::Nowhere) | (None, _) => {}
        }
    }
}
