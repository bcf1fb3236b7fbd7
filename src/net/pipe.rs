//! One direction of a link within this process: an ordered queue of messages, bounded in bytes, that ends for a reason.

use super::link::{Closed, LossReason};
use plait_core::limits;
use plait_core::protocol::message::Message;
use plait_core::window;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// What may lie in a pipe, in bytes: twice what credit allows, so only a sender that ignores credit gets there.
const OVERRUN_BYTES: u64 = 2 * limits::CONNECTION_CREDIT_BYTES;
/// From here on a pipe that is filled from a socket is not filled any further, in bytes.
const ROOM_BYTES: u64 = limits::CONNECTION_CREDIT_BYTES;

pub(super) struct Pipe<M>(Mutex<State<M>>);

struct State<M> {
    messages: VecDeque<M>,
    bytes: u64,
    /// Something arrived that is no message.
    heard: bool,
    /// No message comes behind those that are here; they are still given.
    end: Option<Closed>,
    flushed: Flushed,
    taker: Option<Waker>,
    /// Whoever fills it from a socket and waits for room, or carries it to one and watches for its end.
    filler: Option<Waker>,
    closer: Option<Waker>,
}

/// When the sender may believe that nothing of its own is left on this side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Once everything was taken: the taker is the peer itself.
    WhenTaken,
    /// Once whoever carries it says so.
    WhenCarried,
    /// It is.
    Now,
}

/// Ends a pipe whose messages one does not know.
pub(super) trait End: Send + Sync {
    /// Ends it behind what is in it.
    fn end(&self, how: Closed);
    /// Ends it at once.
    fn cut(&self, how: Closed);
}

impl<M: Message> Pipe<M> {
    pub(super) const fn new(flushed: Flushed) -> Self {
        Self(Mutex::new(State {
            messages: VecDeque::new(),
            bytes: 0,
            heard: false,
            end: None,
            flushed,
            taker: None,
            filler: None,
            closer: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<M>> {
        // No code of others runs under the lock, so the state is whole even if a thread died with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message; an overrun ends the pipe.
    pub(super) fn push(&self, message: M) -> Result<(), Closed> {
        let cost = cost(&message);
        let mut state = self.state();
        if let Some(end) = state.end {
            return Err(end);
        }
        if state.bytes > OVERRUN_BYTES {
            return Err(Closed::Lost(LossReason::Overrun));
        }
        state.bytes += cost;
        state.messages.push_back(message);
        state.wake_taker();
        Ok(())
    }

    /// Adds what came from a socket, if only a sign of life.
    pub(super) fn fill(&self, messages: &mut Vec<M>) {
        let added: u64 = messages.iter().map(cost).sum();
        let mut state = self.state();
        if state.end.is_none() {
            state.heard = true;
            state.bytes += added;
            state.messages.extend(messages.drain(..));
            state.wake_taker();
        }
        drop(state);
        messages.clear();
    }

    /// Takes up to `max` messages. Ready without any if the peer was heard.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>, batch: &mut Vec<M>, max: usize) -> Poll<Result<(), Closed>> {
        let mut state = self.state();
        if !state.messages.is_empty() {
            let coop = ready!(tokio::task::coop::poll_proceed(cx));
            coop.made_progress();
            state.take(batch, max);
            return Poll::Ready(Ok(()));
        }
        if std::mem::take(&mut state.heard) {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end));
        }
        park(&mut state.taker, cx);
        Poll::Pending
    }

    /// Waits until more may be filled in.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.bytes < ROOM_BYTES || state.end.is_some() {
            return Poll::Ready(());
        }
        park(&mut state.filler, cx);
        Poll::Pending
    }

    /// Waits until the pipe ends, other than orderly.
    pub(super) fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx, |end| end != Closed::Ended)
    }

    /// Waits until the pipe ends in any way.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx, |_| true)
    }

    fn poll_end(&self, cx: &mut Context<'_>, matters: impl Fn(Closed) -> bool) -> Poll<()> {
        let mut state = self.state();
        if state.end.is_some_and(matters) {
            return Poll::Ready(());
        }
        park(&mut state.filler, cx);
        Poll::Pending
    }

    /// Waits until nothing of the sender's is left on this side.
    pub(super) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let done = match state.flushed {
            Flushed::WhenTaken => state.messages.is_empty(),
            Flushed::WhenCarried => false,
            Flushed::Now => true,
        };
        if done {
            return Poll::Ready(());
        }
        park(&mut state.closer, cx);
        Poll::Pending
    }

    /// Everything was carried away, or nothing ever will be.
    pub(super) fn set_flushed(&self) {
        let mut state = self.state();
        state.flushed = Flushed::Now;
        state.wake_closer();
    }
}

impl<M: Message> End for Pipe<M> {
    fn end(&self, how: Closed) {
        let mut state = self.state();
        state.end.get_or_insert(how);
        state.wake_all();
    }

    fn cut(&self, how: Closed) {
        let mut state = self.state();
        state.end.get_or_insert(how);
        state.bytes = 0;
        let dropped = std::mem::take(&mut state.messages);
        state.wake_all();
        drop(state);
        drop(dropped);
    }
}

impl<M: Message> State<M> {
    fn take(&mut self, batch: &mut Vec<M>, max: usize) {
        self.heard = false;
        if self.messages.len() <= max {
            batch.extend(self.messages.drain(..));
            self.bytes = 0;
        } else {
            let taken = self.messages.drain(..max);
            batch.extend(taken.inspect(|message| self.bytes -= cost(message)));
        }
        if self.messages.is_empty() {
            self.wake_closer();
        }
        if self.bytes < ROOM_BYTES
            && let Some(filler) = self.filler.take()
        {
            filler.wake();
        }
    }

    fn wake_taker(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    fn wake_closer(&mut self) {
        if let Some(closer) = self.closer.take() {
            closer.wake();
        }
    }

    fn wake_all(&mut self) {
        self.wake_taker();
        self.wake_closer();
        if let Some(filler) = self.filler.take() {
            filler.wake();
        }
    }
}

fn park(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// What a message counts against the bound. One may be larger than any window when it goes alone, and small ones that
/// need no credit may follow it: so none counts for more than a window.
fn cost<M: Message>(message: &M) -> u64 {
    window::cost(message.payload()).min(limits::CONNECTION_CREDIT_BYTES)
}
