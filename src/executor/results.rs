//! Endings on their way out: in batches, but never long behind a running task.
//!
//! A batch goes when nothing is left to do, when it is large or old, behind a task that took long (the next one will, too), or
//! when the flusher finds it: a thread that exists from the first time that a result stays behind a task, and needs no
//! interpreter lock.

use crate::store::blob::Store;
use crate::store::passing::{self, Courier, Departures};
use bytes::Bytes;
use plait_core::limits;
use plait_core::outcome::Ending;
use plait_core::protocol::frame::{Cargo, Encoder};
use plait_core::protocol::message::executor::{EntryEnded, FromExecutor};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A batch of this many bytes goes at once.
const BATCH_BYTES: u64 = 64 << 10;
/// The thread that runs tasks sends by itself what is this old when it comes by, so that the flusher seldom has to.
const SEND_AFTER: Duration = limits::FLUSH_AFTER.checked_div(2).expect("two is not zero");

/// What has ended and was not sent yet, and the socket's sending side.
#[derive(Debug)]
pub(super) struct Results {
    pending: Mutex<Pending>,
    stays_behind: Condvar,
    /// Held while sending, so that batches leave in order.
    out: Mutex<Out>,
}

#[derive(Debug, Default)]
struct Pending {
    ended: Vec<EntryEnded>,
    bytes: u64,
    oldest: Option<Instant>,
    flusher: Flusher,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flusher {
    /// Not started.
    #[default]
    Absent,
    /// It waits to be woken.
    Asleep,
    /// It looks after what is pending.
    Watching,
}

#[derive(Debug)]
struct Out {
    socket: Arc<OwnedFd>,
    courier: Arc<Courier>,
    encoder: Encoder,
    store: Arc<Store>,
    /// The memory of large segments that the encoder passes.
    departures: Departures,
    /// Something could not be sent: the worker would wait for it for ever.
    broken: bool,
}

impl Results {
    pub(super) fn new(socket: Arc<OwnedFd>, courier: Arc<Courier>, store: Arc<Store>) -> Arc<Self> {
        let (encoder, departures) = (Encoder::new(), Departures::default());
        let out = Mutex::new(Out { socket, courier, encoder, store, departures, broken: false });
        Arc::new(Self { pending: Mutex::default(), stays_behind: Condvar::new(), out })
    }

    /// Adds an ending. True if the batch should be sent now.
    pub(super) fn push(self: &Arc<Self>, ended: EntryEnded, now: Instant, more_to_do: bool) -> bool {
        let mut pending = self.pending();
        let took_long = u128::from(ended.run_micros) >= limits::FLUSH_AFTER.as_micros();
        pending.bytes += size(&ended.ending);
        pending.ended.push(ended);
        let oldest = *pending.oldest.get_or_insert(now);
        let is_due = took_long || now.duration_since(oldest) >= SEND_AFTER;
        if pending.bytes >= BATCH_BYTES || (more_to_do && is_due) {
            return true;
        }
        if more_to_do && pending.flusher != Flusher::Watching {
            self.watch(&mut pending);
        }
        false
    }

    /// Sends what is pending, in order.
    ///
    /// # Errors
    /// If that cannot be sent, or something before it could not.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut out = lock(&self.out);
        let ended = {
            let mut pending = self.pending();
            (pending.bytes, pending.oldest) = (0, None);
            std::mem::take(&mut pending.ended)
        };
        if ended.is_empty() && !out.broken { Ok(()) } else { out.send(FromExecutor::Ended(ended)) }
    }

    /// Sends a message by itself.
    pub(super) fn send(&self, message: FromExecutor) -> io::Result<()> {
        lock(&self.out).send(message)
    }

    /// Lets the flusher end.
    pub(super) fn close(&self) {
        self.pending().closed = true;
        self.stays_behind.notify_one();
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    fn watch(self: &Arc<Self>, pending: &mut Pending) {
        if pending.flusher == Flusher::Absent {
            let results = Arc::clone(self);
            let name = "plait-flusher".to_owned();
            // Without the thread, results wait for the task before them: late, but not lost.
            if thread::Builder::new().name(name).stack_size(128 << 10).spawn(move || run(&results)).is_err() {
                return;
            }
        } else {
            self.stays_behind.notify_one();
        }
        pending.flusher = Flusher::Watching;
    }
}

/// The flusher's life: as long as the channel's.
fn run(results: &Results) {
    let mut pending = results.pending();
    while !pending.closed {
        let Some(oldest) = pending.oldest else {
            pending.flusher = Flusher::Asleep;
            pending = results.stays_behind.wait(pending).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(pending);
        let age = oldest.elapsed();
        if age < limits::FLUSH_AFTER {
            thread::sleep(limits::FLUSH_AFTER.saturating_sub(age));
        } else if results.flush().is_err() {
            return; // The worker is gone; the thread that waits for orders finds out too.
        }
        pending = results.pending();
    }
}

impl Out {
    fn send(&mut self, message: FromExecutor) -> io::Result<()> {
        let sent = if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { self.try_send(message) };
        self.broken = sent.is_err();
        sent
    }

    fn try_send(&mut self, message: FromExecutor) -> io::Result<()> {
        let Self { socket, courier, encoder, store, departures, .. } = self;
        let before = departures.count();
        let mut pass = |segment: &Bytes| departures.add(store.memory_of(segment)?);
        let encoded = encoder.message_passing(message, &mut pass).inspect_err(|_| departures.truncate(before));
        encoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        while !encoder.is_empty() {
            let cargo = encoder.cargo();
            let sent = match cargo {
                Cargo::Bytes(most) => passing::write(&*socket, encoder.chunks(), most, SendFlags::empty())
                    .map(|written| encoder.written(written)),
                Cargo::Descriptors(most) => {
                    departures.send(courier, most, SendFlags::empty()).map(|count| encoder.departed(count))
                }
            };
            match (sent, cargo) {
                (Ok(()) | Err(Errno::INTR), _) => {}
                // Too many are on the way already.
                (Err(Errno::TOOMANYREFS), Cargo::Descriptors(count)) => {
                    encoder.unpass(count);
                    departures.forget(count);
                }
                (Err(error), _) => {
                    encoder.discard();
                    departures.truncate(0);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

fn size(ending: &Ending) -> u64 {
    let payload = match ending {
        Ending::Returned(value) | Ending::Raised { error: value, .. } => value.len(),
        Ending::Skipped | Ending::Crashed(_) | Ending::Cancelled | Ending::TooLarge { .. } | Ending::NoSpace(_) => 0,
    };
    payload + limits::MESSAGE_COST_BYTES
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
