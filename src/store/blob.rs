//! Large segments as sealed memory that is shared instead of copied.
//!
//! A *blob* is a memfd that was filled once and sealed: nobody can write to it, shrink it or grow it any more. Whoever gets
//! its descriptor maps it privately and has the bytes without a copy; whoever writes to such a mapping writes to pages of
//! its own. To everybody else in this program a blob is a [`Bytes`] like any other. The [`Store`] recognises it by its
//! address, so that the two ends of an executor's socket can pass its memory on, and Python can have it as it is.
//!
//! What this must never do: trust memory that somebody else filled (its seals and its size are looked at first), or fail
//! where a copy would do. Without descriptors, mappings or memory for one more blob, bytes travel as bytes.

use super::landing::Pool;
use super::shm::{Counted, Snapshot, fill, is_sealed, seal, write_all};
use super::spare::{Origin, Spares};
use bytes::Bytes;
use plait_core::limits;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::process::{Pid, Resource, getpid, getrlimit};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The blobs of one process (of one client or worker in it), by where they are mapped.
#[derive(Debug)]
pub struct Store {
    mapped: Mutex<BTreeMap<usize, Weak<Blob>>>,
    /// What was written lately, and from where: given again, it need not be copied again.
    copies: Mutex<VecDeque<Copied>>,
    /// Descriptors that are held at the moment.
    descriptors: AtomicUsize,
    descriptors_limit: usize,
    /// Mappings that are there at the moment, those included that were taken.
    mappings: Arc<AtomicUsize>,
    mappings_limit: usize,
    /// The process whose threads share this.
    process: Pid,
    /// In executors alone: mappings for the next order.
    spares: Option<Arc<Spares>>,
}

/// A segment that was written here.
#[derive(Debug)]
struct Copied {
    /// The address that it was copied from.
    from: usize,
    blob: Weak<Blob>,
}

/// One segment, mapped.
#[derive(Debug)]
struct Blob {
    // Dropped first: an address that is free again must not be found.
    entry: Entry,
    memory: Snapshot,
    /// Where it came from, as long as it may be passed on.
    source: Option<Memory>,
    /// What it is a mapping of, if that is of interest.
    origin: Option<Origin>,
}

/// A blob's place in the table of its store.
#[derive(Debug)]
struct Entry {
    start: usize,
    store: Arc<Store>,
}

/// What owns the bytes of a segment: its clones and slices share one of these.
struct Shared(Arc<Blob>);

/// Where a segment lies: sealed memory, and the offset in it.
#[derive(Clone, Debug)]
pub struct Memory {
    file: Arc<File>,
    offset: u64,
}

/// Memory that is not sealed yet, and the place of its mapping among those of the store.
#[derive(Debug)]
pub(super) struct Open {
    file: Arc<File>,
    counted: Counted,
}

impl Open {
    pub(super) fn memory(&self) -> BorrowedFd<'_> {
        self.file.descriptor.as_fd()
    }

    /// Makes it so large; there are addresses for that, not memory.
    pub(super) fn stretch(&self, length: usize) -> io::Result<()> {
        Ok(ftruncate(self.memory(), length as u64)?)
    }

    /// What it begins with.
    pub(super) fn read(&self, length: usize) -> io::Result<Vec<u8>> {
        read(self.memory(), 0, length)
    }
}

/// A descriptor that counts.
#[derive(Debug)]
struct File {
    descriptor: OwnedFd,
    store: Arc<Store>,
}

/// What is kept of memory that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its mapping, and its descriptor if there is room for one more: it may be passed on.
    Descriptor,
    /// Its mapping alone.
    Mapping,
}

impl Store {
    /// A store that holds no more descriptors than this process can spare.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with((Self::spare_descriptors(), limits::MAPPINGS), None)
    }

    /// The same for an executor, to which the same memory comes again and again.
    #[must_use]
    pub fn for_executor() -> Arc<Self> {
        Self::with((Self::spare_descriptors(), limits::MAPPINGS), Some(Arc::default()))
    }

    fn spare_descriptors() -> usize {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let part = usize::try_from(allowed).unwrap_or(usize::MAX) / limits::DESCRIPTORS_PART;
        part.min(limits::DESCRIPTORS)
    }

    #[cfg(test)]
    pub(super) fn with_limit(descriptors_limit: usize) -> Arc<Self> {
        Self::with((descriptors_limit, limits::MAPPINGS), None)
    }

    fn with((descriptors_limit, mappings_limit): (usize, usize), spares: Option<Arc<Spares>>) -> Arc<Self> {
        Arc::new(Self {
            mapped: Mutex::default(),
            copies: Mutex::default(),
            descriptors: AtomicUsize::new(0),
            descriptors_limit,
            mappings: Arc::default(),
            mappings_limit,
            process: getpid(),
            spares,
        })
    }

    /// Whether mappings are kept for the next order.
    #[must_use]
    pub fn has_spares(&self) -> bool {
        self.spares.as_ref().is_some_and(|spares| spares.are_there())
    }

    /// Lets go of mappings that were kept: an order has all that it needs, or none comes.
    pub fn drop_spares(&self) {
        self.spares.iter().for_each(|spares| spares.drop_all());
    }

    /// Copies segments into one blob: the only copy that is made of them. One that lies where an earlier one lay, and is
    /// still the same, is not copied again.
    ///
    /// # Errors
    /// If there is no descriptor, no mapping or no memory for it: they are to travel as bytes.
    pub fn write(self: &Arc<Self>, segments: &[&[u8]]) -> io::Result<Vec<Bytes>> {
        let again: Vec<Option<Bytes>> = segments.iter().map(|segment| self.written_before(segment)).collect();
        let missing = segments.iter().zip(&again).filter(|(_, found)| found.is_none());
        let mut fresh = self.copy(&missing.map(|(segment, _)| *segment).collect::<Vec<_>>())?.into_iter();
        Ok(again.into_iter().filter_map(|found| found.or_else(|| fresh.next())).collect())
    }

    fn copy(self: &Arc<Self>, segments: &[&[u8]]) -> io::Result<Vec<Bytes>> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let counted = segments.iter().map(|_| self.count()).collect::<io::Result<Vec<_>>>()?;
        let (file, offsets) = self.fill(segments)?;
        let map = |((segment, offset), counted): ((&&[u8], u64), Counted)| {
            let memory = Snapshot::map(file.descriptor.as_fd(), offset, segment.len(), counted)?;
            let blob = self.enter(memory, Some(Memory { file: Arc::clone(&file), offset }), None);
            self.remember(segment.as_ptr() as usize, &blob);
            Ok(Bytes::from_owner(Shared(blob)))
        };
        segments.iter().zip(offsets).zip(counted).map(map).collect()
    }

    /// The blob that was copied from this very place and is still somebody's, if its bytes are still those that lie there:
    /// to compare takes a third of the time that a copy takes, and next to none where they differ.
    fn written_before(&self, segment: &[u8]) -> Option<Bytes> {
        let from = segment.as_ptr() as usize;
        let known = |copied: &Copied| (copied.from == from).then(|| copied.blob.upgrade()).flatten();
        let candidates: Vec<Arc<Blob>> = self.copies().iter().filter_map(known).collect();
        let same = candidates.into_iter().find(|blob| blob.memory.bytes() == segment)?;
        Some(Bytes::from_owner(Shared(same)))
    }

    fn remember(&self, from: usize, blob: &Arc<Blob>) {
        let mut copies = self.copies();
        copies.retain(|copied| copied.blob.strong_count() > 0);
        if copies.len() == limits::COPIES_REMEMBERED {
            copies.pop_front();
        }
        copies.push_back(Copied { from, blob: Arc::downgrade(blob) });
    }

    /// A segment of so many bytes that `read` fills in pieces of `piece` bytes, told where in it each begins. Nothing if there
    /// is no descriptor, no mapping or no memory for it, which may be found out in the middle.
    ///
    /// # Errors
    /// If `read` fails.
    pub fn fill_from<E>(
        self: &Arc<Self>,
        length: usize,
        piece: usize,
        mut read: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Bytes>, E> {
        let (Ok(open), Ok(mut buffer)) = (self.open(), zeroed(piece.min(length))) else { return Ok(None) };
        let mut offset = 0;
        while offset < length {
            let piece = &mut buffer[..piece.min(length - offset)];
            read(offset, piece)?;
            if write_all(open.memory(), piece, offset as u64).is_err() {
                return Ok(None);
            }
            offset += piece.len();
        }
        Ok(self.close(open, length).ok())
    }

    /// Memory that is to be filled.
    ///
    /// # Errors
    /// If there is no descriptor or no mapping for it.
    pub(super) fn open(self: &Arc<Self>) -> io::Result<Open> {
        Ok(Open { counted: self.count()?, file: self.blank()? })
    }

    /// A segment of memory that was filled with so many bytes. What cannot be mapped is read.
    ///
    /// # Errors
    /// If there is no memory for that either.
    pub(super) fn close(self: &Arc<Self>, Open { file, counted }: Open, length: usize) -> io::Result<Bytes> {
        let memory = file.descriptor.as_fd();
        let Ok(mapped) = seal(memory).and_then(|()| Snapshot::map(memory, 0, length, counted)) else {
            return read(memory, 0, length).map(Bytes::from);
        };
        Ok(Bytes::from_owner(Shared(self.enter(mapped, Some(Memory { file, offset: 0 }), None))))
    }

    /// The memory behind a segment, to be passed on; one that has none is copied into some. Nothing if it must go as bytes.
    pub fn memory_of(self: &Arc<Self>, segment: &Bytes) -> Option<Memory> {
        self.memory_behind(segment).or_else(|| {
            let (file, _) = self.fill(&[segment]).ok()?;
            Some(Memory { file, offset: 0 })
        })
    }

    /// The memory behind a segment, to be passed on. Nothing if it would have to be copied first.
    #[must_use]
    pub fn memory_behind(&self, segment: &Bytes) -> Option<Memory> {
        let blob = self.find(segment)?;
        let Memory { file, offset } = blob.source.clone()?;
        let inside = segment.as_ptr() as usize - blob.entry.start;
        let offset = offset + inside as u64;
        // What begins elsewhere cannot be mapped.
        offset.is_multiple_of(page_bytes()).then_some(Memory { file, offset })
    }

    /// Whether a segment lies in memory of this store that can be passed on.
    pub(super) fn has(&self, segment: &Bytes) -> bool {
        self.find(segment).is_some_and(|blob| blob.source.is_some())
    }

    /// Memory for a segment that is to come, in no file. Nothing if there is none for it.
    pub(super) fn blank_memory(&self, length: usize, pool: &Arc<Pool>) -> Option<Snapshot> {
        Snapshot::blank(length, pool, self.count().ok()?).ok()
    }

    /// A segment of such memory: it cannot be passed on, but be [taken](Self::take).
    pub(super) fn own(self: &Arc<Self>, memory: Snapshot) -> Bytes {
        Bytes::from_owner(Shared(self.enter(memory, None, None)))
    }

    /// Takes memory that somebody passed: a segment of so many bytes at `offset`.
    ///
    /// # Errors
    /// If it is not what this program passes: sealed, all of it there, and as large as was said.
    pub fn adopt(self: &Arc<Self>, memory: OwnedFd, offset: u64, length: u64, keep: Keep) -> io::Result<Bytes> {
        let end = offset.checked_add(length).filter(|_| length > 0 && offset.is_multiple_of(page_bytes()));
        let (Some(end), Ok(length)) = (end, usize::try_from(length)) else { return Err(untrusted()) };
        if !is_sealed(memory.as_fd(), end)? {
            return Err(untrusted());
        }
        let Ok(mapping) = self.map(memory.as_fd(), offset, length) else {
            return read(memory.as_fd(), offset, length).map(Bytes::from);
        };
        let origin = if self.spares.is_some() { Origin::of(memory.as_fd(), offset).ok() } else { None };
        let file = if keep == Keep::Descriptor { self.hold(memory).ok() } else { None };
        Ok(Bytes::from_owner(Shared(self.enter(mapping, file.map(|file| Memory { file, offset }), origin))))
    }

    /// The memory of a segment that is a blob, for somebody who may write to it. Gives it back if it is none, or if it
    /// takes a copy to have it alone.
    pub fn take(&self, segment: Bytes) -> Result<Snapshot, Bytes> {
        let Some(blob) = self.find(&segment).filter(|blob| blob.memory.len() == segment.len()) else {
            return Err(segment);
        };
        let Some(Memory { file, offset }) = blob.source.clone() else { return self.alone(blob, segment) };
        self.map(file.descriptor.as_fd(), offset, segment.len()).map_err(|_| segment)
    }

    /// The very mapping of `segment`, if nobody else holds it.
    fn alone(&self, blob: Arc<Blob>, segment: Bytes) -> Result<Snapshot, Bytes> {
        // All clones of a segment share one reference to its blob: it is gone with the last of them.
        drop(segment);
        let Blob { memory, origin, .. } = Arc::try_unwrap(blob).map_err(|blob| Bytes::from_owner(Shared(blob)))?;
        Ok(match (&self.spares, origin) {
            (Some(spares), Some(origin)) => spares.exchange(origin, memory),
            _ => memory,
        })
    }

    /// Bytes of blobs that are mapped here.
    #[cfg(test)]
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped().values().filter_map(Weak::upgrade).map(|blob| blob.memory.len()).sum()
    }

    /// Descriptors that are held.
    #[cfg(test)]
    pub(crate) fn descriptors(&self) -> usize {
        self.descriptors.load(Ordering::Relaxed)
    }

    /// Fills and seals a new blob; tells where in it each segment begins.
    fn fill(self: &Arc<Self>, segments: &[&[u8]]) -> io::Result<(Arc<File>, Vec<u64>)> {
        let file = self.blank()?;
        let (mut offsets, mut end) = (Vec::with_capacity(segments.len()), 0_u64);
        for segment in segments {
            let offset = end.next_multiple_of(page_bytes());
            offsets.push(offset);
            end = offset + segment.len() as u64;
        }
        ftruncate(&file.descriptor, end)?;
        for (segment, offset) in segments.iter().zip(&offsets) {
            fill(file.descriptor.as_fd(), *offset, segment)?;
        }
        seal(file.descriptor.as_fd())?;
        Ok((file, offsets))
    }

    /// Memory to be filled.
    fn blank(self: &Arc<Self>) -> io::Result<Arc<File>> {
        self.hold(memfd_create("plait-blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
    }

    fn map(&self, memory: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Snapshot> {
        Snapshot::map(memory, offset, length, self.count()?)
    }

    /// Counts a mapping that is to be made, if there may be one more.
    fn count(&self) -> io::Result<Counted> {
        Counted::new(&self.mappings, self.mappings_limit).ok_or_else(|| Errno::NOMEM.into())
    }

    /// Counts a descriptor. It is closed again if there are too many.
    fn hold(self: &Arc<Self>, descriptor: OwnedFd) -> io::Result<Arc<File>> {
        let before = self.descriptors.fetch_add(1, Ordering::Relaxed);
        // From here on it counts, and its end is counted too.
        let file = Arc::new(File { descriptor, store: Arc::clone(self) });
        if before < self.descriptors_limit { Ok(file) } else { Err(Errno::MFILE.into()) }
    }

    fn enter(self: &Arc<Self>, memory: Snapshot, source: Option<Memory>, origin: Option<Origin>) -> Arc<Blob> {
        let start = memory.start() as usize;
        let blob = Arc::new(Blob { entry: Entry { start, store: Arc::clone(self) }, memory, source, origin });
        self.mapped().insert(start, Arc::downgrade(&blob));
        blob
    }

    fn copies(&self) -> MutexGuard<'_, VecDeque<Copied>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blob that `segment` lies in.
    fn find(&self, segment: &Bytes) -> Option<Arc<Blob>> {
        let start = segment.as_ptr() as usize;
        let (_, blob) = self.mapped().range(..=start).next_back().map(|(at, blob)| (*at, blob.upgrade()))?;
        blob.filter(|blob| start + segment.len() <= blob.entry.start + blob.memory.len())
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeMap<usize, Weak<Blob>>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What to pass.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.descriptor.as_fd()
    }

    /// Where in it the segment begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.memory.bytes()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // In a forked child a thread that is not there may hold the lock, for ever. What is left in the child's copy of the
        // table is found by nobody: it leads to a blob that is gone.
        if getpid() == self.store.process {
            self.store.mapped().remove(&self.start);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.store.descriptors.fetch_sub(1, Ordering::Relaxed);
    }
}

fn untrusted() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// So many bytes, if there is memory for them.
pub(super) fn zeroed(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Reads what cannot be mapped.
fn read(file: BorrowedFd<'_>, mut offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = zeroed(length)?;
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let got = retry_on_intr(|| pread(file, &mut *rest, offset))?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (rest, offset) = (&mut rest[got..], offset + got as u64);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{SealFlags, fcntl_add_seals};
    use std::os::fd::OwnedFd;

    const LENGTH: usize = 300_000;

    fn pattern(seed: u8, length: usize) -> Vec<u8> {
        (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    fn dup(memory: &Memory) -> OwnedFd {
        memory.descriptor().try_clone_to_owned().expect("a descriptor")
    }

    fn adopt(into: &Arc<Store>, memory: &Memory, length: usize, keep: Keep) -> Bytes {
        into.adopt(dup(memory), memory.offset(), length as u64, keep).expect("it was written here")
    }

    #[test]
    fn segments_go_from_store_to_store_as_one_memory() {
        let (near, far) = (Store::with_limit(10), Store::with_limit(10));
        let sent = [pattern(1, LENGTH), pattern(2, 1), pattern(3, 4_096)];
        let segments = near.write(&[&sent[0], &sent[1], &sent[2]]).expect("written");
        assert_eq!(near.descriptors.load(Ordering::Relaxed), 1, "one descriptor for all of them");
        for (segment, sent) in segments.iter().zip(&sent) {
            let memory = near.memory_of(segment).expect("a blob");
            assert_eq!(adopt(&far, &memory, sent.len(), Keep::Descriptor), sent);
        }
        let inside = near.memory_of(&segments[0].slice(8_192..9_000)).expect("a part of a blob");
        assert_eq!((inside.offset(), segments[2].len()), (8_192, 4_096));
        assert_eq!(adopt(&far, &inside, 808, Keep::Mapping), &sent[0][8_192..9_000]);
        drop((segments, inside));
        assert_eq!((near.mapped_bytes(), far.mapped_bytes()), (0, 0));
        assert!(near.mapped().is_empty() && far.mapped().is_empty());
        assert_eq!([&near, &far].map(|store| store.descriptors.load(Ordering::Relaxed)), [0, 0]);
    }

    #[test]
    fn what_was_taken_is_nobody_elses() {
        let store = Store::with_limit(10);
        let sent = pattern(4, LENGTH);
        let segment = store.write(&[&sent]).expect("written").remove(0);
        for _ in 0..2 {
            let mut own = store.take(segment.clone()).expect("a mapping");
            own.bytes_mut().fill(9);
            assert_eq!(segment, sent, "the others do not see it");
        }
        let memory = store.memory_of(&segment).expect("a blob");
        let only = adopt(&store, &memory, LENGTH, Keep::Mapping);
        let clone = only.clone();
        let shared = store.take(only).expect_err("somebody else holds it and it cannot be mapped again");
        assert_eq!(shared, sent);
        drop(clone);
        assert_eq!(store.take(shared).expect("the last one").bytes(), sent);
        assert!(store.take(Bytes::from(sent)).is_err(), "no blob");
    }

    #[test]
    fn what_is_given_again_unchanged_is_not_copied_again() {
        let store = Store::with_limit(100);
        let mut source = pattern(7, LENGTH);
        let first = store.write(&[&source]).expect("written").remove(0);
        let second = store.write(&[&source, &source.clone()]).expect("written");
        assert_eq!(second[0].as_ptr(), first.as_ptr());
        assert!(second[1] == first && second[1].as_ptr() != first.as_ptr(), "it lies elsewhere");
        *source.last_mut().expect("a byte") ^= 1;
        let changed = store.write(&[&source]).expect("written").remove(0);
        assert!(changed == source && first != source, "each is as it was when it was written");
        drop((first, second, changed));
        assert_eq!((store.mapped_bytes(), store.descriptors()), (0, 0), "nothing is kept for its sake");
        let kept: Vec<_> = (0..30).map(|n| store.write(&[&pattern(n, 5_000)]).expect("written")).collect();
        assert_eq!(store.copies().len(), limits::COPIES_REMEMBERED);
        drop(kept);
    }

    #[test]
    fn what_a_forked_child_inherited_ends_there_without_the_lock() {
        let mut store = Store::with_limit(10);
        // Not the process whose threads share it.
        Arc::get_mut(&mut store).expect("alone").process = Pid::INIT;
        let segment = store.write(&[&pattern(8, LENGTH)]).expect("written").remove(0);
        let held = store.mapped();
        drop(segment);
        assert!(held.values().all(|blob| blob.upgrade().is_none()), "what the table says leads nowhere");
    }

    #[test]
    fn without_a_descriptor_bytes_stay_bytes() {
        let (rich, poor) = (Store::with_limit(10), Store::with_limit(1));
        let sent = pattern(5, LENGTH);
        let segment = rich.write(&[&sent]).expect("written").remove(0);
        let memory = rich.memory_of(&segment).expect("a blob");
        let first = adopt(&poor, &memory, LENGTH, Keep::Descriptor);
        let second = adopt(&poor, &memory, LENGTH, Keep::Descriptor);
        assert_eq!((&first, &second), (&segment, &segment));
        assert!(poor.memory_of(&first).is_some() && poor.memory_of(&second).is_none());
        assert!(poor.write(&[&sent]).is_err() && poor.memory_of(&Bytes::from(sent.clone())).is_none());
        drop(first);
        assert_eq!(poor.write(&[&sent]).expect("there is room again")[0], sent);
        assert!(poor.memory_of(&Bytes::from(sent)).is_some(), "what is no blob becomes one");
    }

    #[test]
    fn beyond_so_many_mappings_bytes_stay_bytes() {
        let (rich, poor) = (Store::with_limit(10), Store::with((10, 2), None));
        let sent = pattern(9, LENGTH);
        let segment = rich.write(&[&sent]).expect("written").remove(0);
        let memory = rich.memory_of(&segment).expect("a blob");
        let mapped = adopt(&poor, &memory, LENGTH, Keep::Descriptor);
        let taken = poor.take(mapped.clone()).expect("another mapping");
        let read = adopt(&poor, &memory, LENGTH, Keep::Descriptor);
        assert!(poor.has(&mapped) && !poor.has(&read) && read == sent);
        assert!(poor.take(mapped.clone()).is_err_and(|same| same == sent) && poor.write(&[&sent]).is_err());
        let unread = poor.fill_from(LENGTH, LENGTH, |_, _| Err(()));
        assert!(unread == Ok(None), "nothing is read in vain");
        assert_eq!(poor.descriptors(), 1, "what was made in vain is gone");
        drop(taken);
        let written = poor.write(&[&sent]).expect("there is room again");
        assert!(poor.write(&[&sent[1..], &sent[2..]]).is_err());
        drop((mapped, written));
        assert_eq!(poor.mappings.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_that_is_not_what_was_said_is_refused() {
        let store = Store::with_limit(10);
        let make = |bytes: &[u8], seals| {
            let file = memfd_create("plait-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
            write_all(file.as_fd(), bytes, 0).expect("written");
            fcntl_add_seals(&file, seals).expect("sealed");
            file
        };
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let refused = |file: OwnedFd, offset, length| store.adopt(file, offset, length, Keep::Descriptor).is_err();
        for missing in [SealFlags::WRITE, SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
            assert!(refused(make(&[1; 5_000], all - missing), 0, 5_000), "without {missing:?}");
        }
        let page = page_bytes();
        for (offset, length) in [(0, 5_001), (page, 5_000), (1, 10), (0, 0), (u64::MAX, 2), (page, u64::MAX)] {
            assert!(refused(make(&[1; 5_000], all), offset, length), "{length} bytes at {offset}");
        }
        assert!(!refused(make(&[1; 5_000], all), 0, 5_000));
        let sparse = memfd_create("plait-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
        ftruncate(&sparse, 1 << 30).expect("no memory behind it");
        fcntl_add_seals(&sparse, all).expect("sealed");
        assert!(refused(sparse, 0, 1 << 30), "its pages would be taken from whoever reads it");
        let (_, pipe) = io::pipe().expect("a pipe");
        assert!(refused(pipe.into(), 0, 10));
        assert!(store.mapped().is_empty() && store.descriptors.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn what_cannot_be_mapped_is_read() {
        let sent = pattern(6, LENGTH);
        let store = Store::with_limit(10);
        let segment = store.write(&[&sent]).expect("written").remove(0);
        let memory = store.memory_of(&segment).expect("a blob");
        assert_eq!(read(memory.descriptor(), 0, LENGTH).expect("read"), sent);
        assert!(read(memory.descriptor(), 1, LENGTH).is_err());
    }
}
