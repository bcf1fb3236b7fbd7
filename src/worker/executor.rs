//! One executor, seen from its worker: its process, its page, its socket.
//!
//! The driver writes to it and signals it directly; a task of its own ([`super::ear`]) listens. Nothing here waits in a
//! system call: what the socket does not take is kept and written when there is room.

use super::launch::Launch;
use super::process::Process;
use super::stderr::Stderr;
use crate::net::watched::{Watched, watched};
use crate::store::blob::Store;
use crate::store::passing::{self, Courier, Departures, Reserve, send_shared};
use crate::store::shm::WorkerPage;
use bytes::Bytes;
use plait_core::id::ExecutorId;
use plait_core::limits::LOOK_EVERY;
use plait_core::outcome::{Death, Exit};
use plait_core::protocol::error::EncodeError;
use plait_core::protocol::frame::{Cargo, Encoder};
use plait_core::protocol::message::executor::ToExecutor;
use plait_core::worker::{Entry, Signal};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::io::Interest;

/// An executor that was started and not given up yet.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) id: ExecutorId,
    host: Box<str>,
    page: WorkerPage,
    // Only for reading: a registration for writing would wake this thread whenever the executor reads.
    pub(super) socket: Watched,
    /// The same, for whoever waits until it takes more: watched only then.
    outlet: Arc<OwnedFd>,
    pub(super) courier: Courier,
    /// Readable when the process has ended.
    pub(super) exit: Watched,
    process: Mutex<Process>,
    out: Mutex<Out>,
    memory: Mutex<Memory>,
    pub(super) store: Arc<Store>,
    pub(super) stderr: Stderr,
}

/// What the executors of a worker have in common.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) host: Box<str>,
    pub(super) store: Arc<Store>,
    pub(super) reserve: Arc<Reserve>,
}

#[derive(Debug, Default)]
struct Out {
    encoder: Encoder,
    /// The memory of large segments that the encoder passes.
    departures: Departures,
    /// Somebody waits for room here and will write the rest.
    blocked: Option<Full>,
}

/// A socket that takes no more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Socket,
    Courier,
}

#[derive(Debug, Default)]
struct Memory {
    peak_bytes: u64,
    seen: Option<Instant>,
}

/// Whether somebody has to wait for room in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All is written, or somebody waits already.
    Settled,
    /// Call [`Executor::write_rest`].
    Blocked,
}

impl Executor {
    /// Starts the process and passes it its page.
    pub(super) fn start(launch: &Launch, id: ExecutorId, cpus: u32, means: &Means) -> io::Result<Self> {
        let Means { host, store, reserve } = means;
        let page = WorkerPage::create()?;
        let (near, far) = UnixStream::pair()?;
        let (courier, theirs) = Courier::pair(reserve)?;
        send_shared(&near, page.memory(), &theirs)?;
        near.set_nonblocking(true)?;
        let started = launch.start(far.into(), cpus)?;
        let process = Process::adopt(&started)?;
        Ok(Self {
            id,
            host: host.clone(),
            page,
            outlet: OwnedFd::from(near.try_clone()?).into(),
            socket: watched(OwnedFd::from(near), Interest::READABLE)?,
            courier,
            exit: watched(Arc::clone(process.pidfd()), Interest::READABLE)?,
            process: Mutex::new(process),
            out: Mutex::default(),
            memory: Mutex::default(),
            store: Arc::clone(store),
            stderr: Stderr::new(started.stderr)?,
        })
    }

    pub(super) const fn page(&self) -> &WorkerPage {
        &self.page
    }

    /// Sends a message, or keeps what does not fit.
    pub(super) fn send(&self, message: ToExecutor) -> Written {
        let mut out = lock(&self.out);
        if out.add(message, &self.store).is_err() {
            // What came over a link fits into frames again; if ever not, this executor cannot do its work.
            self.kill();
            return Written::Settled;
        }
        if out.blocked.is_some() {
            return Written::Settled;
        }
        self.write(&mut out);
        if out.blocked.is_some() { Written::Blocked } else { Written::Settled }
    }

    /// Writes what the sockets take. An executor that cannot be told all that it was to do is of no use any more.
    fn write(&self, out: &mut Out) {
        match out.write(self.socket.get_ref(), &self.courier) {
            Ok(blocked) => out.blocked = blocked,
            Err(_) => {
                out.blocked = None;
                self.kill();
            }
        }
    }

    /// Waits for room and writes what was kept, until nothing is left.
    pub(super) async fn write_rest(self: Arc<Self>) {
        while let Some(full) = self.blocked() {
            let socket = match full {
                Full::Socket => &self.outlet,
                Full::Courier => self.courier.shared_socket(),
            };
            let Ok(socket) = watched(Arc::clone(socket), Interest::WRITABLE) else { return self.kill() };
            while self.blocked() == Some(full) {
                let Ok(mut ready) = socket.writable().await else { return };
                self.write(&mut lock(&self.out));
                ready.clear_ready();
            }
        }
    }

    fn blocked(&self) -> Option<Full> {
        lock(&self.out).blocked
    }

    /// Stops what an executor runs. The milder signals are meant for one entry: if another one runs by now, they are not
    /// sent (and should it change in this instant, the executor compares again).
    pub(super) fn signal(&self, signal: Signal) {
        match signal {
            Signal::Interrupt(Entry(entry)) if self.page.running() == Some(entry) => {
                self.page.mark_interrupt(entry);
                self.process().signal(rustix::process::Signal::INT);
            }
            Signal::Terminate(Entry(entry)) if self.page.running() == Some(entry) => {
                self.process().signal(rustix::process::Signal::TERM);
            }
            Signal::Interrupt(_) | Signal::Terminate(_) => {}
            Signal::Kill => self.kill(),
        }
    }

    /// Ends the process and all that it started.
    pub(super) fn kill(&self) {
        self.process().kill();
    }

    /// The same, and waits until it is gone.
    pub(super) fn end(&self) {
        self.process().end();
    }

    /// What the page says, and now and then what memory it takes.
    pub(super) fn observe(&self) -> Option<Entry> {
        let mut memory = lock(&self.memory);
        if memory.seen.is_none_or(|seen| seen.elapsed() >= LOOK_EVERY) {
            memory.seen = Some(Instant::now());
            memory.peak_bytes = self.process().peak_memory().max(memory.peak_bytes);
        }
        self.page.running().map(Entry)
    }

    /// Looks up what memory it takes before it does anything: all that is known of one that dies at once, since the kernel
    /// forgets a process's memory when it ends.
    pub(super) fn look_at_memory(&self) {
        let peak = self.process().peak_memory();
        lock(&self.memory).peak_bytes = peak;
    }

    pub(super) fn pid(&self) -> u32 {
        self.process().pid()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        lock(&self.process)
    }

    /// The story of a process that has ended.
    pub(super) fn death(&self) -> Death {
        let mut process = self.process();
        let exit = process.take_exit().unwrap_or(Exit::Unknown);
        let log_tail = self.stderr.finish().into();
        let peak_memory = lock(&self.memory).peak_bytes;
        Death { host: self.host.clone(), pid: process.pid(), exit, peak_memory, log_tail }
    }
}

impl Out {
    fn add(&mut self, message: ToExecutor, store: &Arc<Store>) -> Result<(), EncodeError> {
        let Self { encoder, departures, .. } = self;
        let before = departures.count();
        let mut pass = |segment: &Bytes| departures.add(store.memory_of(segment)?);
        encoder.message_passing(message, &mut pass).inspect_err(|_| departures.truncate(before))
    }

    /// Writes what the sockets take. Says which is full if something is left. After an error nothing is.
    fn write(&mut self, socket: &OwnedFd, courier: &Courier) -> Result<Option<Full>, Errno> {
        let Self { encoder, departures, .. } = self;
        while !encoder.is_empty() {
            let cargo = encoder.cargo();
            let sent = match cargo {
                Cargo::Bytes(most) => passing::write(socket, encoder.chunks(), most, SendFlags::DONTWAIT)
                    .map(|written| encoder.written(written)),
                Cargo::Descriptors(most) => {
                    departures.send(courier, most, SendFlags::DONTWAIT).map(|count| encoder.departed(count))
                }
            };
            match (sent, cargo) {
                (Ok(()) | Err(Errno::INTR), _) => {}
                (Err(Errno::AGAIN), Cargo::Bytes(_)) => return Ok(Some(Full::Socket)),
                (Err(Errno::AGAIN), Cargo::Descriptors(_)) => return Ok(Some(Full::Courier)),
                // Too many are on the way already.
                (Err(Errno::TOOMANYREFS), Cargo::Descriptors(count)) => {
                    encoder.unpass(count);
                    departures.forget(count);
                }
                (Err(error), _) => {
                    encoder.discard();
                    departures.truncate(0);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
