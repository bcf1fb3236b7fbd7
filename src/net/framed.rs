//! A link over a stream of bytes: frames, heartbeats, silence, and an end that both sides agree on.
//!
//! Within one machine large segments may go beside it, as memory, and parts of the stream through memory ([`super::near`]).
//!
//! One task carries both directions. It belongs to the link: when both halves are dropped it ends, after a finished
//! link's goodbye has gone out.

use super::inlet::read;
use super::link::{Closed, GONE, Link, LossReason, Receiver, Sender};
use super::near::{Part, SideWay};
use super::outlet::write;
use super::pipe::{End, Flushed, Pipe};
use crate::config;
use crate::store::depot::Depot;
use plait_core::limits;
use plait_core::protocol::message::Message;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_rustls::TlsStream;

/// Most bytes of values in one message here: it may carry several that are each within the bound on what is held.
static MESSAGE_BYTES: LazyLock<u64> =
    LazyLock::new(|| config::held_bytes_limit().saturating_mul(2).min(limits::MESSAGE_BYTES));

/// Where large segments come from and go to; without one they are put together on the heap.
pub type Land = Option<Arc<Depot>>;

/// How often a link speaks, how long it waits for the peer to, and how much it takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Silence of the peer that ends the link, or want of a descriptor for what has come.
    pub fence: Duration,
    /// How long a finished link that nobody listens to is still read.
    pub linger: Duration,
    /// Most bytes of values in one message.
    pub message_bytes: u64,
    /// A peer of which no part of a message comes for so long is lost, alive or not; nothing where it may be quiet.
    pub mute: Option<Duration>,
    /// A peer that takes no part of what it is sent for so long is lost, alive or not; nothing where others see to that.
    pub deaf: Option<Duration>,
}

impl Terms {
    /// Those of who takes what it is given.
    pub(super) fn upwards() -> Self {
        Self { message_bytes: limits::MESSAGE_BYTES, ..Self::default() }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            heartbeat: limits::HEARTBEAT_EVERY,
            fence: limits::FENCE_AFTER,
            linger: limits::LINGER,
            message_bytes: *MESSAGE_BYTES,
            mute: None,
            deaf: None,
        }
    }
}

/// A link to a peer that came in. Must be called within a runtime.
#[must_use]
pub fn framed<Out: Message, In: Message>(stream: TlsStream<TcpStream>, land: &Land) -> Link<Out, In> {
    let part = Part::of_host(stream.get_ref().0, land);
    framed_on(stream, Terms::default(), land.clone(), part)
}

/// A link to the coordinator. How large a value may be it has judged by its own memory, which may be larger than what is
/// here: to cut the link would only have it sent again.
#[must_use]
pub fn framed_up<Out: Message, In: Message>(stream: TlsStream<TcpStream>, land: &Land) -> Link<Out, In> {
    framed_on(stream, Terms::upwards(), land.clone(), Part::of_guest(land))
}

/// The same over any stream and on any terms, for tests of what a socket can do.
pub fn framed_over<Out: Message, In: Message, S>(stream: S, terms: Terms) -> Link<Out, In>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    framed_on(stream, terms, None, Part::Neither)
}

/// The same, where large segments land, and may go beside the stream.
pub fn framed_on<Out: Message, In: Message, S>(stream: S, terms: Terms, land: Land, part: Part) -> Link<Out, In>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let out = Arc::new(Pipe::new(Flushed::WhenCarried));
    let back = Arc::new(Pipe::new(Flushed::WhenTaken));
    tokio::spawn(carry(stream, Carried { out: Arc::clone(&out), back: Arc::clone(&back) }, terms, land, part));
    Link { sender: Sender::new(out, Arc::clone(&back) as _), receiver: Receiver::new(back) }
}

/// The task's side of both pipes. When the task ends, or dies with its runtime, nothing can wait for it any more.
struct Carried<Out: Message, In: Message> {
    out: Arc<Pipe<Out>>,
    back: Arc<Pipe<In>>,
}

impl<Out: Message, In: Message> Drop for Carried<Out, In> {
    fn drop(&mut self) {
        self.back.end(GONE);
        self.out.cut(GONE);
        self.out.set_flushed();
    }
}

impl<Out: Message, In: Message> Carried<Out, In> {
    /// Ends both directions; what has arrived is still given.
    fn lose(&self, reason: LossReason) {
        self.back.end(Closed::Lost(reason));
        self.out.cut(Closed::Lost(reason));
    }
}

async fn carry<Out: Message, In: Message, S>(stream: S, link: Carried<Out, In>, terms: Terms, land: Land, part: Part)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let way = SideWay::new(land, part);
    let mut read = pin!(read(reader, &link.back, terms, &way));
    let mut write = pin!(write(writer, &link.out, terms, &way));
    tokio::select! {
        biased;
        () = poll_fn(|cx| link.out.poll_lost(cx)) => {}
        // Nobody listens and nothing gets out either: a peer that speaks and does not read.
        () = unheard(&link.back, terms.fence) => {}
        read = &mut read => match read {
            Err(reason) => link.lose(reason),
            Ok(()) => {
                link.back.end(Closed::Ended);
                tokio::select! {
                    () = poll_fn(|cx| link.out.poll_lost(cx)) => {}
                    written = write => if let Err(reason) = written { link.lose(reason) },
                }
            }
        },
        written = &mut write => {
            if let Err(reason) = written {
                link.out.cut(Closed::Lost(reason));
            }
            link.out.set_flushed();
            // The peer may still have something to say: why it closes, or its own goodbye.
            tokio::select! {
                read = read => match read {
                    Ok(()) => link.back.end(Closed::Ended),
                    Err(reason) => link.lose(written.err().unwrap_or(reason)),
                },
                () = unheard(&link.back, terms.linger) => {}
            }
        }
    }
}

/// Waits until nobody listens any more, and a little longer.
async fn unheard<In: Message>(back: &Pipe<In>, linger: Duration) {
    poll_fn(|cx| back.poll_ended(cx)).await;
    tokio::time::sleep(linger).await;
}

pub(super) fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

pub(super) fn cut(error: &io::Error) -> LossReason {
    LossReason::Cut(error.kind())
}
