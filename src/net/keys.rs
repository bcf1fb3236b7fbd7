//! The key folder (`PLAIT_HOME`): a coordinator's own key, the secret of each role, and the join files.
//!
//! Everything is opened relative to the folder, never through a link, and used only if it belongs to this user and nobody
//! else may touch it. Keys are made once, under a lock, and used again at every start.

use super::base32;
use super::identity::{Identity, SEED_BYTES};
use super::join::{Address, JoinError, JoinLine, Key, Pin, Role};
use plait_core::limits;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fmt::{self, Display, Formatter};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use thiserror::Error;

const KEY_FILE: &str = "coordinator.keys";
const LOCK_FILE: &str = "lock";
const HEADLINE: &str = "plait keys 1";
const READ_WRITE_OWNER: Mode = Mode::RUSR.union(Mode::WUSR);
/// What nobody else may do with a file.
const FILE_FORBIDDEN: u32 = 0o077;
/// What nobody else may do with the folder.
const FOLDER_FORBIDDEN: u32 = 0o022;

/// All keys of one coordinator.
#[derive(Debug)]
pub struct Keyring {
    home: PathBuf,
    folder: OwnedFd,
    identity: Identity,
    worker: Key,
    client: Key,
}

/// Another coordinator that lives on the same key folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The folder.
    pub home: PathBuf,
    /// Where its join files lead.
    pub addresses: Vec<Address>,
}

impl Display for Tenant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (home, at) = (self.home.display(), self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        let at = if at.is_empty() { "it".to_owned() } else { at.join(" or ") };
        write!(
            f,
            "another coordinator is alive on {home}: worker.join and client.join there led to {at} and lead to this one \
             from now on. PLAIT_HOME gives each a folder of its own"
        )
    }
}

/// Why the key folder cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The system said no.
    #[error("cannot {verb} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A symbolic link, where somebody might have put another's file in the way.
    #[error("{} is a symbolic link; plait follows none here: put the real one in its place", .0.display())]
    Link(PathBuf),
    /// Neither file nor folder, as the case may be.
    #[error("{} is not what it should be ({expected})", .path.display())]
    WrongKind {
        /// What.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to user {user}: keys there cannot be trusted", .path.display())]
    Owner {
        /// What.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may read or change it.
    #[error("permissions {mode:04o} for {path} are too open: run `chmod {wanted} {path}`", path = .path.display(), wanted = .wanted)]
    TooOpen {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What to change them to, as `chmod` takes it.
        wanted: &'static str,
    },
    /// The file of keys is not one.
    #[error("{} is damaged; move it away to have new keys made (old join lines stop working then)", .0.display())]
    Damaged(PathBuf),
    /// Another process holds the lock.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A join file without a join line.
    #[error("{path}: {source}", path = .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its line.
        source: JoinError,
    },
}

impl Keyring {
    /// Opens the keys in `home`; makes folder and keys if they are not there.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be used or trusted.
    pub fn open(home: &Path) -> Result<Self, KeyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(home)
            .map_err(|source| io_error("create", home, source))?;
        let folder = open_folder(home)?;
        let (_lock, refused) = lock(&folder, home)?;
        if let Some(error) = refused {
            let (home, error) = (home.display(), io::Error::from(error));
            tracing::warn!(%home, %error, "files cannot be locked there: start one coordinator at a time");
        }
        let Secrets { seed, worker, client } = match read(&folder, home, KEY_FILE)? {
            Some(text) => Secrets::parse(&text).ok_or_else(|| KeyError::Damaged(home.join(KEY_FILE)))?,
            None => {
                let secrets = Secrets::draw()?;
                replace(&folder, home, KEY_FILE, &secrets.to_text())?;
                secrets
            }
        };
        Ok(Self { home: home.to_owned(), folder, identity: Identity::from_seed(&seed), worker, client })
    }

    /// The coordinator's own key pair.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The fingerprint that join lines carry.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.identity.pin()
    }

    /// The key pair that peers of this role prove themselves with.
    #[must_use]
    pub fn derive(&self, role: Role) -> Identity {
        Identity::derive(self.key(role), role, self.pin())
    }

    /// The line with which a peer of this role joins at these addresses.
    #[must_use]
    pub fn join_line(&self, role: Role, addresses: Vec<Address>) -> JoinLine {
        JoinLine { role, pin: self.pin(), key: self.key(role), addresses }
    }

    /// Marks the folder as a living coordinator's until [`move_out`](Self::move_out), or until this is dropped here and in every
    /// child that was forked meanwhile. If it is another one's already, tells where the join
    /// files lead, as far as that can be read. Where the file system has no locks, nothing is marked.
    ///
    /// # Errors
    /// If the folder cannot be locked for the time this takes.
    pub fn move_in(&self) -> Result<Option<Tenant>, KeyError> {
        let _lock = lock(&self.folder, &self.home)?;
        let alone = fs::flock(&self.folder, FlockOperation::NonBlockingLockExclusive);
        // Theirs is shared, so that all of them are seen.
        let _ = fs::flock(&self.folder, FlockOperation::NonBlockingLockShared);
        if alone != Err(Errno::WOULDBLOCK) {
            return Ok(None);
        }
        let line = read_join_file(&self.home, Role::Worker).ok().flatten();
        Ok(Some(Tenant { home: self.home.clone(), addresses: line.map_or_else(Vec::new, |line| line.addresses) }))
    }

    /// Takes the mark away, also from forked children: the lock is of what was opened, which they share. Never called there.
    pub fn move_out(&self) {
        let _ = fs::flock(&self.folder, FlockOperation::Unlock);
    }

    /// Writes `worker.join` and `client.join`, each replaced in one step, and returns the two lines.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_join_files(&self, addresses: &[Address]) -> Result<[JoinLine; 2], KeyError> {
        let _lock = lock(&self.folder, &self.home)?;
        let lines = [Role::Worker, Role::Client].map(|role| self.join_line(role, addresses.to_vec()));
        for line in &lines {
            replace(&self.folder, &self.home, &join_file(line.role), &format!("{line}\n"))?;
        }
        Ok(lines)
    }

    const fn key(&self, role: Role) -> Key {
        match role {
            Role::Worker => self.worker,
            Role::Client => self.client,
        }
    }
}

/// Reads the line that the coordinator of this key folder wrote for a role; nothing if none ever did.
///
/// # Errors
/// If folder or file cannot be trusted, or hold something else.
pub fn read_join_file(home: &Path, role: Role) -> Result<Option<JoinLine>, KeyError> {
    let folder = match open_folder(home) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        folder => folder?,
    };
    let name = join_file(role);
    let Some(text) = read(&folder, home, &name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|source| KeyError::Line { path: home.join(name), source })
}

fn join_file(role: Role) -> String {
    format!("{role}.join")
}

fn open_folder(home: &Path) -> Result<OwnedFd, KeyError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::open(home, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR if home.is_symlink() => KeyError::Link(home.to_owned()),
        Errno::NOTDIR => KeyError::WrongKind { path: home.to_owned(), expected: "a folder" },
        error => io_error("open", home, error.into()),
    })?;
    inspect(&folder, home, FOLDER_FORBIDDEN, "700")?;
    Ok(folder)
}

/// Looks at what was opened, not at its name: it must be ours, and nobody else's to touch.
fn inspect(file: impl AsFd, path: &Path, forbidden: u32, wanted: &'static str) -> Result<(), KeyError> {
    let found = fs::fstat(file).map_err(|error| io_error("look at", path, error.into()))?;
    let user = rustix::process::geteuid().as_raw();
    if found.st_uid != user {
        return Err(KeyError::Owner { path: path.to_owned(), owner: found.st_uid, user });
    }
    let mode = found.st_mode & 0o7777;
    if mode & forbidden != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// Opens a file of the folder and inspects it.
fn open_file(folder: &OwnedFd, home: &Path, name: &str, flags: OFlags) -> Result<Option<File>, KeyError> {
    let path = home.join(name);
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(folder, name, flags, READ_WRITE_OWNER) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(KeyError::Link(path)),
        Err(error) => return Err(io_error("open", &path, error.into())),
    };
    inspect(&file, &path, FILE_FORBIDDEN, "600")?;
    let plain = file.metadata().is_ok_and(|found| found.is_file());
    if plain { Ok(Some(file)) } else { Err(KeyError::WrongKind { path, expected: "a file" }) }
}

/// Reads a small text file of the folder.
fn read(folder: &OwnedFd, home: &Path, name: &str) -> Result<Option<String>, KeyError> {
    let Some(file) = open_file(folder, home, name, OFlags::RDONLY)? else { return Ok(None) };
    let mut text = String::new();
    let most = limits::HELLO_BYTES as u64;
    file.take(most).read_to_string(&mut text).map_err(|source| io_error("read", &home.join(name), source))?;
    Ok(Some(text))
}

/// Puts a text file into the folder, in one step. Called under the lock.
fn replace(folder: &OwnedFd, home: &Path, name: &str, text: &str) -> Result<(), KeyError> {
    let fresh = format!("{name}.new");
    let path = home.join(&fresh);
    match fs::unlinkat(folder, &*fresh, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(io_error("remove", &path, error.into())),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = open_file(folder, home, &fresh, flags)?.ok_or_else(|| KeyError::Link(path.clone()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| io_error("write", &path, source))?;
    fs::renameat(folder, &*fresh, folder, name).map_err(|error| io_error("replace", &home.join(name), error.into()))
}

/// Held until the file is dropped; a process that dies lets go of it. Where the file system has no locks, none is held, and
/// its answer is returned: only others that start at the same time are a danger, and no keys at all would be worse.
fn lock(folder: &OwnedFd, home: &Path) -> Result<(File, Option<Errno>), KeyError> {
    let path = home.join(LOCK_FILE);
    let file = open_file(folder, home, LOCK_FILE, OFlags::RDWR | OFlags::CREATE)?;
    let file = file.ok_or_else(|| KeyError::Link(path.clone()))?;
    let started = Instant::now();
    loop {
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((file, None)),
            Err(Errno::WOULDBLOCK) if started.elapsed() < limits::KEY_LOCK_TIMEOUT => {
                std::thread::sleep(limits::KEY_LOCK_PAUSE);
            }
            Err(Errno::WOULDBLOCK) => return Err(KeyError::Locked(path)),
            Err(Errno::INTR) => {}
            Err(error @ (Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP)) => return Ok((file, Some(error))),
            Err(error) => return Err(io_error("lock", &path, error.into())),
        }
    }
}

/// What the file of keys holds.
struct Secrets {
    seed: [u8; SEED_BYTES],
    worker: Key,
    client: Key,
}

impl Secrets {
    fn draw() -> Result<Self, KeyError> {
        Ok(Self { seed: random()?, worker: Key(random()?), client: Key(random()?) })
    }

    fn to_text(&self) -> String {
        let [seed, worker, client] = [&self.seed[..], &self.worker.0, &self.client.0].map(base32::encode);
        format!("{HEADLINE}\ncoordinator {seed}\nworker {worker}\nclient {client}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEADLINE)?.strip_prefix('\n')?.lines();
        let mut next = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let secrets = Self {
            seed: base32::decode(next("coordinator")?).ok()?,
            worker: Key(base32::decode(next("worker")?).ok()?),
            client: Key(base32::decode(next("client")?).ok()?),
        };
        lines.next().is_none().then_some(secrets)
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { verb, path: path.to_owned(), source }
}
