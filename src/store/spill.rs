//! Objects on disk, where memory is short.
//!
//! They lie one behind the other in few files that have no name, so that nothing is left of them however this process ends,
//! and nobody else can open them. What is not needed any more is given back to the file system, as holes; where there can be
//! none, with all else that lies in its file.
//! Everything here waits for the disk: it is called on threads that may.
//!
//! What this must never do: give anybody bytes that are not those that were written. Their hash stays in memory.

use super::blob::{Store, zeroed};
use blake3::{Hash, Hasher};
use bytes::Bytes;
use plait_core::limits::{PASSED_BYTES, SPILL_FILE_BYTES, SPILL_FILE_BYTES_WITHOUT_HOLES};
use plait_core::value::Value;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fstatvfs, open};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So much is written or read between two looks at whether it is still wanted, in bytes.
const PIECE_BYTES: usize = 1 << 20;
/// How many names are tried where the file system has no files without one.
const NAMES: u32 = 16;

/// The disk is full, or not to be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct SpillError {
    /// The folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Why an object is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is whole, but there is no memory for it at the moment.
    #[error("there is no memory for {0} bytes")]
    NoMemory(usize),
    /// The disk does not give it back, or nobody wants it any more.
    #[error(transparent)]
    Lost(#[from] SpillError),
}

/// Where objects go.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    current: Mutex<Option<Arc<Slab>>>,
}

/// One file.
#[derive(Debug)]
struct Slab {
    file: File,
    folder: PathBuf,
    /// Where the next object begins.
    end: Mutex<u64>,
    /// Its file system does not take back parts of it.
    is_solid: AtomicBool,
}

/// An object on disk. Its place there is taken until it is [given back](Self::free), or all of them are gone.
#[derive(Debug)]
pub struct Spilled {
    slab: Arc<Slab>,
    offset: u64,
    lengths: Box<[usize]>,
    /// That of all its bytes.
    hash: Hash,
}

impl Folder {
    /// A folder that has to be there once something is written.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, current: Mutex::new(None) }
    }

    /// Bytes that are free on its file system.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let folder = open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstatvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Writes an object, unless `unwanted` is set meanwhile.
    ///
    /// # Errors
    /// If the folder is missing, full or not to be written to.
    pub fn write(&self, value: &Value, unwanted: &AtomicBool) -> Result<Spilled, SpillError> {
        self.try_write(value, unwanted).map_err(|source| SpillError { path: self.path.clone(), source })
    }

    fn try_write(&self, value: &Value, unwanted: &AtomicBool) -> io::Result<Spilled> {
        let slab = self.slab()?;
        let lengths = value.segments().map(<[u8]>::len).collect();
        let offset = slab.reserve(value.carried());
        let mut spilled = Spilled { slab, offset, lengths, hash: Hash::from_bytes([0; 32]) };
        match spilled.fill(value, unwanted) {
            Ok(hash) => {
                spilled.hash = hash;
                Ok(spilled)
            }
            Err(error) => {
                spilled.free();
                Err(error)
            }
        }
    }

    /// The file that has room.
    fn slab(&self) -> io::Result<Arc<Slab>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody comes to hold it but through here.
        if let Some(empty) = current.as_ref().filter(|slab| Arc::strong_count(slab) == 1) {
            empty.clear();
        }
        if let Some(slab) = current.as_ref().filter(|slab| slab.has_room()) {
            return Ok(Arc::clone(slab));
        }
        let (file, folder) = (nameless(&self.path)?, self.path.clone());
        let slab = Arc::new(Slab { file, folder, end: Mutex::new(0), is_solid: AtomicBool::new(false) });
        *current = Some(Arc::clone(&slab));
        Ok(slab)
    }
}

impl Slab {
    fn lost(&self, source: io::Error) -> SpillError {
        SpillError { path: self.folder.clone(), source }
    }

    fn has_room(&self) -> bool {
        let is_solid = self.is_solid.load(Ordering::Relaxed);
        *self.end() < if is_solid { SPILL_FILE_BYTES_WITHOUT_HOLES } else { SPILL_FILE_BYTES }
    }

    fn end(&self) -> MutexGuard<'_, u64> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew: nothing lies in it.
    fn clear(&self) {
        let mut end = self.end();
        if *end > 0 && self.file.set_len(0).is_ok() {
            *end = 0;
        }
    }

    fn reserve(&self, bytes: u64) -> u64 {
        let mut end = self.end();
        let offset = *end;
        // Holes are whole pages.
        *end = offset.saturating_add(bytes).next_multiple_of(rustix::param::page_size() as u64);
        offset
    }
}

impl Spilled {
    fn fill(&self, value: &Value, unwanted: &AtomicBool) -> io::Result<Hash> {
        let (mut at, mut hasher) = (self.offset, Hasher::new());
        for piece in value.segments().flat_map(|segment| segment.chunks(PIECE_BYTES)) {
            wanted(unwanted)?;
            self.slab.file.write_all_at(piece, at)?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
        Ok(hasher.finalize())
    }

    /// Reads it, what is large into memory of `blobs`, unless `unwanted` is set meanwhile.
    ///
    /// # Errors
    /// If the disk fails, or has other bytes than those that were written; or if there is no memory.
    pub fn read(&self, blobs: &Arc<Store>, unwanted: &AtomicBool) -> Result<Value, ReadError> {
        let (mut start, mut hasher) = (self.offset, Hasher::new());
        let segments = self.lengths.iter().map(|length| {
            let segment = self.read_segment((start, *length), &mut hasher, blobs, unwanted);
            start += *length as u64;
            segment
        });
        let segments = segments.collect::<Result<_, _>>()?;
        if hasher.finalize() == self.hash {
            Ok(Value::from_segments(segments))
        } else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "what is read is not what was written");
            Err(self.slab.lost(source).into())
        }
    }

    /// Reads what is large into memory that can be passed on, if there is such memory.
    fn read_segment(
        &self,
        (start, length): (u64, usize),
        hasher: &mut Hasher,
        blobs: &Arc<Store>,
        unwanted: &AtomicBool,
    ) -> Result<Bytes, ReadError> {
        let before = hasher.clone();
        let mut read = |offset: usize, piece: &mut [u8]| {
            let read = wanted(unwanted).and_then(|()| self.slab.file.read_exact_at(piece, start + offset as u64));
            read.map_err(|source| self.slab.lost(source))?;
            if offset == 0 {
                // Perhaps again.
                hasher.clone_from(&before);
            }
            hasher.update(piece);
            Ok::<_, SpillError>(())
        };
        if length >= PASSED_BYTES
            && let Some(segment) = blobs.fill_from(length, PIECE_BYTES, &mut read)?
        {
            return Ok(segment);
        }
        let mut bytes = zeroed(length).map_err(|_| ReadError::NoMemory(length))?;
        let mut pieces = bytes.chunks_mut(PIECE_BYTES).enumerate();
        pieces.try_for_each(|(n, piece)| read(n * PIECE_BYTES, piece))?;
        Ok(Bytes::from(bytes))
    }

    /// Gives its place back to the file system, which may take a while.
    pub fn free(self) {
        let bytes: u64 = self.lengths.iter().map(|length| *length as u64).sum();
        let pages = bytes.next_multiple_of(rustix::param::page_size() as u64);
        if pages == 0 {
            return; // Its place is the next one's.
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&self.slab.file, hole, self.offset, pages).is_err() {
            self.slab.is_solid.store(true, Ordering::Relaxed);
        }
    }
}

fn wanted(unwanted: &AtomicBool) -> io::Result<()> {
    if unwanted.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// A file that nobody else can open.
fn nameless(folder: &Path) -> io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match open(folder, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(File::from(file)),
        // Not every file system has these.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => unlinked(folder, flags, mode),
        Err(error) => Err(error.into()),
    }
}

/// The same with a name that is gone at once.
fn unlinked(folder: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let mut tries = 0;
    loop {
        let path = folder.join(format!(".plait-{}-{tries}", std::process::id()));
        match open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(File::from(file));
            }
            Err(Errno::EXIST) if tries < NAMES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
impl Folder {
    /// What its file takes, in the system's blocks.
    pub(crate) fn blocks(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().expect("something was written").file.metadata().expect("a file").blocks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    static WANTED: AtomicBool = AtomicBool::new(false);

    fn value(byte: u8) -> Value {
        let sizes = [10, PASSED_BYTES, 0, 3 * PIECE_BYTES + 1];
        Value::from_segments(sizes.iter().map(|size| Bytes::from(vec![byte; *size])).collect())
    }

    #[test]
    fn what_was_written_is_read_into_shared_memory_and_leaves_nothing() {
        let (folder, blobs) = (Folder::new(std::env::temp_dir()), Store::new());
        assert!(folder.free_bytes().expect("it is there") > 0);
        let spilled: Vec<Spilled> = (0..3).map(|n| folder.write(&value(n), &WANTED).expect("written")).collect();
        assert!((0..3).zip(&spilled).all(|(n, spilled)| spilled.read(&blobs, &WANTED).expect("read") == value(n)));
        let read = spilled[1].read(&blobs, &WANTED).expect("read");
        assert_eq!(blobs.mapped_bytes(), PASSED_BYTES + 3 * PIECE_BYTES + 1, "what is large can be passed on");
        assert!(blobs.memory_of(&read.shared()[1]).is_some() && blobs.descriptors() == 2);
        let full = folder.blocks();
        spilled.into_iter().for_each(Spilled::free);
        assert!(folder.blocks() < full / 10, "its place is given back");
        assert_eq!(read, value(1), "which nobody sees who has read it");
    }

    #[test]
    fn a_file_in_which_nothing_lies_begins_anew() {
        let folder = Folder::new(std::env::temp_dir());
        let write = || folder.write(&value(1), &WANTED).expect("written");
        let (first, second) = (write(), write());
        let size = || first.slab.file.metadata().expect("a file").len();
        let (both, offset) = (size(), second.offset);
        second.free();
        let third = write();
        assert!(third.offset > offset && size() > both, "what lies in it stays where it is");
        let file = first.slab.file.try_clone().expect("the same");
        drop((first, third));
        assert_eq!(write().offset, 0);
        assert!(file.metadata().expect("a file").len() < both, "without holes, too, its place is given back");
    }

    #[test]
    fn files_are_smaller_where_there_can_be_no_holes() {
        let folder = Folder::new(std::env::temp_dir());
        let spilled = folder.write(&value(1), &WANTED).expect("written");
        spilled.slab.reserve(SPILL_FILE_BYTES_WITHOUT_HOLES);
        let next = || folder.slab().expect("one with room");
        assert!(Arc::ptr_eq(&next(), &spilled.slab));
        spilled.slab.is_solid.store(true, Ordering::Relaxed);
        assert!(!Arc::ptr_eq(&next(), &spilled.slab));
    }

    #[test]
    fn a_file_without_a_name_is_made_where_there_are_none_such() {
        let folder = std::env::temp_dir();
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = unlinked(&folder, flags, mode).expect("a file");
        assert_eq!(file.metadata().expect("a file").nlink(), 0);
    }

    #[test]
    fn a_folder_that_is_of_no_use_is_named() {
        let missing = Folder::new("/no/such/folder".into());
        let error = missing.write(&value(1), &WANTED).expect_err("there is none").to_string();
        assert!(error.starts_with("/no/such/folder: No such file"), "{error}");
        assert!(missing.free_bytes().is_err());
    }

    #[test]
    fn a_byte_that_the_disk_has_changed_is_noticed() {
        let (folder, blobs) = (Folder::new(std::env::temp_dir()), Store::new());
        let spilled = folder.write(&value(1), &WANTED).expect("written");
        let last = spilled.lengths.iter().sum::<usize>() as u64 - 1;
        for at in [0, 100_000, last] {
            let flip = |byte| spilled.slab.file.write_all_at(&[byte], spilled.offset + at).expect("written");
            flip(0);
            let lost = spilled.read(&blobs, &WANTED).expect_err("other bytes").to_string();
            assert!(lost.ends_with("what is read is not what was written"), "{lost}");
            flip(1);
            assert_eq!(spilled.read(&blobs, &WANTED).expect("as it was"), value(1));
        }
    }

    #[test]
    fn a_lack_of_memory_is_not_taken_for_a_disk_that_fails() {
        let (folder, blobs) = (Folder::new(std::env::temp_dir()), Store::with_limit(0));
        let spilled = folder.write(&value(1), &WANTED).expect("written");
        let Spilled { slab, offset, .. } = &spilled;
        let read = |offset: u64, length: usize| {
            let hash = blake3::hash(&[1; PASSED_BYTES]);
            Spilled { slab: Arc::clone(slab), offset, lengths: [length].into(), hash }.read(&blobs, &WANTED)
        };
        assert_eq!(read(*offset, PASSED_BYTES).expect("bytes"), Value::from(Bytes::from(vec![1; PASSED_BYTES])));
        assert!(matches!(read(*offset, usize::MAX / 2), Err(ReadError::NoMemory(_))));
        let lost = read(1 << 40, PASSED_BYTES).expect_err("nothing lies there");
        assert!(
            matches!(lost, ReadError::Lost(_))
                && lost.to_string().starts_with(&*std::env::temp_dir().to_string_lossy()),
            "{lost}"
        );
    }

    #[test]
    fn memory_that_gives_out_in_the_middle_leaves_bytes() {
        let (test, name) = (std::env::current_exe().expect("this test"), "store::spill::tests::limited");
        // Who is not deaf to this signal is killed by it.
        let mut child = Command::new("sh");
        let child = child.args(["-c", r#"trap '' XFSZ; exec "$0" --exact "$1" --ignored"#]);
        let child = child.arg(test).arg(name).output().expect("the same tests again");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "it limits what its process may write: the one above runs it in a process of its own"]
    fn limited() {
        let (folder, blobs) = (Folder::new(std::env::temp_dir()), Store::new());
        let spilled = folder.write(&value(1), &WANTED).expect("written");
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: Some(2 << 20), maximum }).expect("less");
        let read = spilled.read(&blobs, &WANTED).expect("as bytes, from the beginning");
        assert_eq!(read, value(1));
        assert_eq!(blobs.mapped_bytes(), PASSED_BYTES, "what memory had room for");
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_written_to_its_end() {
        let folder = Folder::new(std::env::temp_dir());
        let unwanted = AtomicBool::new(true);
        assert!(folder.write(&value(1), &unwanted).is_err());
        let spilled = folder.write(&value(1), &WANTED).expect("written");
        assert!(spilled.read(&Store::new(), &unwanted).is_err());
    }
}
