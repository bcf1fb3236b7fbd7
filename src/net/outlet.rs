//! The writing side of a framed link.
//!
//! What is large and lies in memory that the peer can be handed goes beside the stream, if the peer is on this machine: each
//! descriptor leaves before the frame that announces it. Whatever keeps it from leaving, its bytes go instead.

use super::framed::{Terms, cut, ticks};
use super::link::{Closed, LossReason};
use super::near::{Awaited, SideWay};
use super::pipe::Pipe;
use super::watched::watched;
use crate::store::passing::{Courier, Departures};
use bytes::Bytes;
use plait_core::limits;
use plait_core::protocol::frame::{Cargo, Encoder, Signal};
use plait_core::protocol::message::Message;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt, Interest, WriteHalf};
use tokio::time::timeout;

/// Chunks handed to one vectored write; the kernel takes no more than 1,024.
const SLICES: usize = 64;

/// Carries messages out until the link is finished.
pub(super) async fn write<Out: Message, S: AsyncWrite>(
    writer: WriteHalf<S>,
    pipe: &Pipe<Out>,
    terms: Terms,
    way: &SideWay,
) -> Result<(), LossReason> {
    let mut outlet = Outlet { writer, encoder: Encoder::new(), departures: Departures::default(), terms, way };
    let mut awaited = outlet.invite().await.map_err(|error| cut(&error))?;
    let (mut batch, mut beat) = (Vec::new(), ticks(terms.heartbeat));
    loop {
        let next = poll_fn(|cx| {
            if way.take_regrets() {
                return Poll::Ready(Next::Regrets);
            }
            if let Some(Poll::Ready(guest)) = awaited.as_mut().map(|awaited| way.poll_guest(awaited, cx)) {
                return Poll::Ready(Next::Met(guest));
            }
            match pipe.poll_take(cx, &mut batch, limits::WRITE_MESSAGES) {
                Poll::Ready(taken) => Poll::Ready(Next::Taken(taken)),
                Poll::Pending => beat.poll_tick(cx).map(|_| Next::Beat),
            }
        });
        match next.await {
            Next::Beat => outlet.encoder.heartbeat(),
            Next::Regrets => outlet.encoder.signal(Signal::Decline),
            Next::Met(guest) => {
                awaited = None;
                outlet.meet(guest);
            }
            Next::Taken(Ok(())) => batch.drain(..).try_for_each(|message| outlet.add(message))?,
            Next::Taken(Err(Closed::Ended)) => return outlet.writer.shutdown().await.map_err(|error| cut(&error)),
            Next::Taken(Err(Closed::Lost(reason))) => return Err(reason),
        }
        outlet.drain().await.map_err(|error| cut(&error))?;
    }
}

/// What the writing side of a link has to do.
enum Next {
    Beat,
    Taken(Result<(), Closed>),
    Met(io::Result<Arc<OwnedFd>>),
    Regrets,
}

/// The writing side of a link.
struct Outlet<'a, S> {
    writer: WriteHalf<S>,
    encoder: Encoder,
    /// The memory of large segments that the encoder passes.
    departures: Departures,
    terms: Terms,
    way: &'a SideWay,
}

impl<S: AsyncWrite> Outlet<'_, S> {
    /// Tells a peer on this machine where it is awaited. One that does not come soon is awaited further: that is given back.
    async fn invite(&mut self) -> io::Result<Option<Awaited>> {
        let Some(place) = self.way.place() else { return Ok(None) };
        self.encoder.signal(Signal::Meet(place.meeting));
        self.drain().await?;
        let mut awaited: Awaited = Box::pin(place.welcome());
        let guest = poll_fn(|cx| self.way.poll_guest(&mut awaited, cx));
        let Ok(guest) = timeout(limits::MEET_PATIENCE, guest).await else { return Ok(Some(awaited)) };
        self.meet(guest);
        Ok(None)
    }

    /// The peer has come, or never will.
    fn meet(&mut self, guest: io::Result<Arc<OwnedFd>>) {
        if self.way.meet(guest) {
            self.encoder.signal(Signal::Met);
        }
    }

    fn add<Out: Message>(&mut self, message: Out) -> Result<(), LossReason> {
        let (way, departures) = (self.way.outwards(), &mut self.departures);
        let mut pass = |segment: &Bytes| departures.add(way?.1.memory(segment)?);
        self.encoder.message_passing(message, &mut pass).map_err(LossReason::Unsendable)
    }

    async fn drain(&mut self) -> io::Result<()> {
        while !self.encoder.chunks().is_empty() {
            match (self.encoder.cargo(), self.way.outwards()) {
                (Cargo::Descriptors(most), Some((courier, _))) => self.pass(most, courier).await?,
                (Cargo::Descriptors(most), None) => self.keep(most),
                (Cargo::Bytes(most), _) => {
                    let slices = slices(self.encoder.chunks().iter(), most);
                    let written = in_time(self.terms.deaf, self.writer.write_vectored(&slices)).await?;
                    if written == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    self.encoder.written(written);
                }
            }
        }
        in_time(self.terms.deaf, self.writer.flush()).await
    }

    /// Hands the memory of some segments over.
    async fn pass(&mut self, most: usize, courier: &Courier) -> io::Result<()> {
        match self.departures.send(courier, most, SendFlags::DONTWAIT) {
            Ok(count) => self.encoder.departed(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // The peer makes room when it reads what was written so far.
                in_time(self.terms.deaf, self.writer.flush()).await?;
                let socket = watched(Arc::clone(courier.shared_socket()), Interest::WRITABLE)?;
                drop(in_time(self.terms.deaf, socket.writable()).await?);
            }
            // Too many are on the way already, or nobody takes any.
            Err(_) => self.keep(most),
        }
        Ok(())
    }

    /// Sends segments as bytes whose memory was to be handed over.
    fn keep(&mut self, count: usize) {
        self.encoder.unpass(count);
        self.departures.forget(count);
    }
}

/// What one vectored write may take of `chunks`: at most so many bytes.
fn slices<'a>(chunks: impl Iterator<Item = &'a Bytes>, mut most: usize) -> Vec<IoSlice<'a>> {
    let mut slices = Vec::with_capacity(SLICES);
    for chunk in chunks.take(SLICES) {
        let length = chunk.len().min(most);
        slices.push(IoSlice::new(&chunk[..length]));
        most -= length;
        if most == 0 {
            break;
        }
    }
    slices
}

async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        None => work.await,
    }
}
