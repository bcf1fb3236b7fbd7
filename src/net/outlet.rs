//! The writing side of a framed link.
//!
//! What is large and lies in memory that the peer can be handed goes beside the stream, if the peer is on this machine: each
//! descriptor leaves before the frame that announces it. Whatever keeps it from leaving, its bytes go instead. Of the frames
//! themselves go those beside the stream that are many, in memory that both ends have; the stream says where.

use super::framed::{Terms, cut, ticks};
use super::link::{Closed, LossReason};
use super::near::{Awaited, SideWay};
use super::pipe::Pipe;
use super::watched::watched;
use crate::store::lane::Loading;
use crate::store::passing::{Courier, Departures};
use bytes::Bytes;
use plait_core::limits;
use plait_core::protocol::frame::{Cargo, Encoder, Signal, beside};
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
    let (encoder, departures, loading) = (Encoder::new(), Departures::default(), Loading::default());
    let mut outlet = Outlet { writer, encoder, departures, loading, terms, way };
    let mut awaited = outlet.invite().await.map_err(|error| cut(&error))?;
    let (mut batch, mut beat) = (Vec::new(), ticks(terms.heartbeat));
    loop {
        let next = poll_fn(|cx| {
            if let Some(answer) = way.take_answer() {
                return Poll::Ready(Next::Answer(answer));
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
            Next::Beat => {
                outlet.encoder.heartbeat();
                way.lane_out().iter().for_each(|lane| outlet.loading.rest(lane));
            }
            Next::Answer(answer) => outlet.encoder.signal(answer),
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
    Answer(Signal),
}

/// The writing side of a link.
struct Outlet<'a, S> {
    writer: WriteHalf<S>,
    encoder: Encoder,
    /// The memory of large segments that the encoder passes.
    departures: Departures,
    /// What goes beside the stream.
    loading: Loading,
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
        self.drain().await?;
        Ok(None)
    }

    /// The peer has come, or never will.
    fn meet(&mut self, guest: io::Result<Arc<OwnedFd>>) {
        self.way.meet(guest).into_iter().for_each(|signal| self.encoder.signal(signal));
    }

    fn add<Out: Message>(&mut self, message: Out) -> Result<(), LossReason> {
        let (way, departures) = (self.way.outwards(), &mut self.departures);
        let mut pass = |segment: &Bytes| departures.add(way?.1.memory(segment)?);
        self.encoder.message_passing(message, &mut pass).map_err(LossReason::Unsendable)
    }

    async fn drain(&mut self) -> io::Result<()> {
        // What goes through the stream until it can be said again that something lies beside it: up to the end of a frame.
        let mut streamed = 0;
        while !self.encoder.chunks().is_empty() {
            match (self.encoder.cargo(), self.way.outwards()) {
                (Cargo::Descriptors(most), Some((courier, _))) => self.pass(most, courier).await?,
                (Cargo::Descriptors(most), None) => self.keep(most),
                (Cargo::Bytes(most), _) if streamed == 0 => streamed = self.lay(most).await?,
                (Cargo::Bytes(_), _) => {
                    let pieces = pieces(self.encoder.chunks().iter(), streamed);
                    let slices: Vec<IoSlice<'_>> = pieces.take(SLICES).map(IoSlice::new).collect();
                    let written = in_time(self.terms.deaf, self.writer.write_vectored(&slices)).await?;
                    if written == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    self.encoder.written(written);
                    streamed -= written;
                }
            }
        }
        in_time(self.terms.deaf, self.writer.flush()).await
    }

    /// Puts some of the `ahead` bytes that are next beside the stream, if there is a way and they are enough for it. Says how many
    /// are to go through the stream instead.
    async fn lay(&mut self, ahead: usize) -> io::Result<usize> {
        let Some(lane) = self.way.lane_out().filter(|_| ahead >= limits::LANE_LEAST) else { return Ok(ahead) };
        let bytes = self.encoder.whole(limits::LANE_AT_ONCE);
        if bytes > limits::LANE_PART {
            return Ok(bytes);
        }
        loop {
            match self.loading.fits(lane, bytes) {
                Ok(true) => break,
                // The peer makes room when it reads what was written so far.
                Ok(false) => in_time(self.terms.deaf, self.writer.flush()).await?,
                Err(_) => return Ok(ahead),
            }
            let Ok(news) = watched(Arc::clone(lane.news()), Interest::READABLE) else { return Ok(ahead) };
            drop(in_time(self.terms.deaf, news.readable()).await?);
        }
        self.loading.place(lane, pieces(self.encoder.chunks().iter(), bytes));
        self.encoder.written(bytes);
        in_time(self.terms.deaf, self.writer.write_all(&beside(bytes))).await?;
        Ok(0)
    }

    /// Hands the memory of some segments over.
    async fn pass(&mut self, most: usize, courier: &Courier) -> io::Result<()> {
        match self.departures.send(courier, most, SendFlags::DONTWAIT) {
            Ok(count) => self.encoder.departed(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // The peer makes room when it reads what was written so far.
                in_time(self.terms.deaf, self.writer.flush()).await?;
                match watched(Arc::clone(courier.shared_socket()), Interest::WRITABLE) {
                    Ok(socket) => drop(in_time(self.terms.deaf, socket.writable()).await?),
                    Err(_) => self.keep(most),
                }
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

/// The first `most` bytes of `chunks`.
fn pieces<'a>(chunks: impl Iterator<Item = &'a Bytes>, mut most: usize) -> impl Iterator<Item = &'a [u8]> {
    chunks.map_while(move |chunk| {
        let piece = &chunk[..chunk.len().min(most)];
        most -= piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        None => work.await,
    }
}
