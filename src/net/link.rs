//! A link: an ordered stream of messages each way, bounded, that ends orderly or is lost for a reason.
//!
//! In memory ([`memory`]) the messages are handed over as they are; [`framed`](super::framed::framed) puts a socket
//! between. Sending never waits: what may be on the way is bounded
//! by credit that core counts, and a sender that ignores it loses the link.

use super::pipe::{End, Flushed, Pipe};
use plait_core::protocol::error::{EncodeError, FrameError};
use plait_core::protocol::message::Message;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Both halves of a link. To close it orderly, send a goodbye, [`finish`](Sender::finish), then drop it; dropped without
/// that, the peer sees a loss.
#[derive(Debug)]
pub struct Link<Out: Message, In: Message> {
    /// Towards the peer.
    pub sender: Sender<Out>,
    /// From the peer.
    pub receiver: Receiver<In>,
}

/// Why nothing more can be sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// Orderly: the peer finished, or this side closed.
    #[error("the connection was closed")]
    Ended,
    /// Without a goodbye.
    #[error("the connection was lost: {0}")]
    Lost(LossReason),
}

/// How a link was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LossReason {
    /// The peer's process or machine is gone, or something between us closed the connection.
    #[error("the peer is gone ({0})")]
    Cut(std::io::ErrorKind),
    /// Nothing was heard for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// Memory came, and this process had no descriptor left for it for too long.
    #[error("there was no file descriptor left for what came")]
    Starved,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(FrameError),
    /// More was sent than the peer takes.
    #[error("more was sent than the peer had room for")]
    Overrun,
    /// A message could not be sent at all.
    #[error("a message cannot be sent: {0}")]
    Unsendable(EncodeError),
}

/// The sending half.
pub struct Sender<Out: Message> {
    out: Arc<Pipe<Out>>,
    /// The receiving half of the same link, to close both.
    back: Arc<dyn End>,
}

/// The receiving half.
pub struct Receiver<In: Message> {
    pipe: Arc<Pipe<In>>,
}

impl<Out: Message> Sender<Out> {
    /// Sends a message. Never waits.
    ///
    /// # Errors
    /// If the link is closed. A sender that ran over its bound (credit, twice) has closed it itself.
    pub fn send(&self, message: Out) -> Result<(), Closed> {
        self.out.push(message).inspect_err(|closed| {
            if *closed == Closed::Lost(LossReason::Overrun) {
                self.back.cut(*closed);
                self.out.cut(Closed::Lost(LossReason::Overrun));
            }
        })
    }

    /// Closes this direction behind what was sent; used after a goodbye.
    pub fn finish(&self) {
        self.out.end(Closed::Ended);
    }

    /// Closes the link now; what is on the way is lost.
    pub fn abort(&self) {
        self.back.cut(Closed::Ended);
        self.out.cut(GONE);
    }

    /// Waits until what was sent before [`finish`](Self::finish) is out of this process, or lost: for whoever ends next.
    pub async fn flushed(&self) {
        std::future::poll_fn(|cx| self.out.poll_flushed(cx)).await;
    }

    pub(super) fn new(out: Arc<Pipe<Out>>, back: Arc<dyn End>) -> Self {
        Self { out, back }
    }
}

/// What a peer sees of a link that was dropped or aborted.
pub(super) const GONE: Closed = Closed::Lost(LossReason::Cut(std::io::ErrorKind::BrokenPipe));

impl<Out: Message> Drop for Sender<Out> {
    fn drop(&mut self) {
        // After `finish` this changes nothing.
        self.out.end(GONE);
    }
}

impl<In: Message> Receiver<In> {
    /// Waits for something, then takes what is there, up to `max`, to the end of `batch`. Nothing added means: the peer
    /// was heard. What came before the link closed is given before the error. Cancel-safe.
    ///
    /// # Errors
    /// If the link is closed and nothing is left.
    pub async fn receive(&mut self, batch: &mut Vec<In>, max: usize) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.pipe.poll_take(cx, batch, max)).await
    }

    pub(super) const fn new(pipe: Arc<Pipe<In>>) -> Self {
        Self { pipe }
    }
}

impl<In: Message> Drop for Receiver<In> {
    fn drop(&mut self) {
        self.pipe.cut(GONE);
    }
}

impl<M: Message> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<M: Message> fmt::Debug for Receiver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// A link within this process: messages are handed over as they are.
#[must_use]
pub fn memory<A: Message, B: Message>() -> (Link<A, B>, Link<B, A>) {
    let there = Arc::new(Pipe::<A>::new(Flushed::WhenTaken));
    let back = Arc::new(Pipe::<B>::new(Flushed::WhenTaken));
    let near = Link {
        sender: Sender::new(Arc::clone(&there), Arc::clone(&back) as _),
        receiver: Receiver::new(Arc::clone(&back)),
    };
    let far = Link { sender: Sender::new(back, Arc::clone(&there) as _), receiver: Receiver::new(there) };
    (near, far)
}
