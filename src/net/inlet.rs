//! The reading side of a framed link.

use super::framed::{Terms, cut, ticks};
use super::link::LossReason;
use super::near::SideWay;
use super::pipe::Pipe;
use plait_core::landing::Ground;
use plait_core::limits;
use plait_core::protocol::error::FrameError;
use plait_core::protocol::frame::{Decoder, Fed};
use plait_core::protocol::message::Message;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf, ReadHalf};
use tokio::time::{Instant, Interval};

/// Carries bytes in until the peer finishes.
pub(super) async fn read<In: Message, S: AsyncRead>(
    reader: ReadHalf<S>,
    pipe: &Pipe<In>,
    terms: Terms,
    way: &SideWay,
) -> Result<(), LossReason> {
    let decoder = Decoder::with_limit(terms.message_bytes).on(way.ground().cloned());
    let check = ticks(terms.mute.unwrap_or(terms.fence).min(terms.fence) / 8);
    let buffer = vec![0; limits::READ_BYTES];
    let mut inlet = Inlet { reader, decoder, buffer, rest: None, terms, way, check, spoke: Instant::now() };
    let (mut messages, mut told, mut starving) = (Vec::new(), Instant::now(), None);
    loop {
        let full = Instant::now();
        poll_fn(|cx| pipe.poll_room(cx)).await;
        // Whatever lay in the socket while there was no room, or while this machine slept, counts as heard now.
        inlet.spoke += full.elapsed();
        let before = inlet.decoder.taken();
        let fed = match inlet.take(&mut messages).await? {
            Some(fed) => fed,
            None => return inlet.decoder.finish().map_err(LossReason::Protocol),
        };
        if let Some(signal) = inlet.decoder.take_signal() {
            way.hear(signal);
        }
        if inlet.decoder.taken() > before {
            inlet.spoke = Instant::now();
        }
        if !messages.is_empty() || told.elapsed() >= limits::HEARD_EVERY.min(terms.heartbeat) {
            told = Instant::now();
            pipe.fill(&mut messages);
        }
        match fed.map_err(LossReason::Protocol)? {
            Fed::All => starving = None,
            // Meanwhile nobody would see that the peer is gone.
            Fed::Waiting if starving.get_or_insert_with(Instant::now).elapsed() > terms.fence => {
                return Err(LossReason::Starved);
            }
            Fed::Waiting => {
                let paused = Instant::now();
                tokio::time::sleep(limits::DESCRIPTOR_PAUSE).await;
                inlet.spoke += paused.elapsed();
            }
        }
    }
}

/// The reading side of a link.
struct Inlet<'a, In, S> {
    reader: ReadHalf<S>,
    decoder: Decoder<In>,
    buffer: Vec<u8>,
    /// What of the buffer was read and not taken: it has to wait for a descriptor.
    rest: Option<Range<usize>>,
    terms: Terms,
    way: &'a SideWay,
    /// When to see whether the peer is silent.
    check: Interval,
    /// Since when the peer has said nothing but that it is alive.
    spoke: Instant,
}

impl<In: Message, S: AsyncRead> Inlet<'_, In, S> {
    /// Takes what comes next. Nothing if the peer has finished.
    async fn take(&mut self, messages: &mut Vec<In>) -> Result<Option<Result<Fed, FrameError>>, LossReason> {
        let mute = self.terms.mute.map(|mute| (self.spoke, mute));
        let land = self.way.ground().map(|ground| &**ground);
        let mut waiting =
            Waiting { since: Instant::now(), check: &mut self.check, fence: self.terms.fence, mute, land };
        let reader = &mut self.reader;
        if let Some(place) = self.decoder.landing() {
            let length = poll_fn(|cx| waiting.poll_read(cx, Pin::new(reader), place)).await?;
            let landed = if length == 0 { Err(FrameError::Truncated) } else { self.decoder.landed(length) };
            return Ok(Some(landed.map(|()| Fed::All)));
        }
        let read = match self.rest.take() {
            Some(rest) => rest,
            None => 0..poll_fn(|cx| waiting.poll_read(cx, Pin::new(reader), &mut self.buffer)).await?,
        };
        if read.end == 0 {
            return Ok(None);
        }
        let mut bytes = &self.buffer[read.clone()];
        let receive = &mut |offset, length| self.way.receive(offset, length);
        let fed = self.decoder.feed_receiving(&mut bytes, messages, receive);
        self.rest = (fed == Ok(Fed::Waiting)).then(|| read.end - bytes.len()..read.end);
        Ok(Some(fed))
    }
}

/// One wait for bytes, and for silence.
struct Waiting<'a> {
    since: Instant,
    check: &'a mut Interval,
    fence: Duration,
    /// Since when it has said nothing but that it is alive, and for how long it may.
    mute: Option<(Instant, Duration)>,
    /// What may rest meanwhile.
    land: Option<&'a dyn Ground>,
}

impl Waiting<'_> {
    fn poll_read<R: AsyncRead>(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut R>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, LossReason>> {
        let mut filled = ReadBuf::new(buffer);
        if let Poll::Ready(read) = reader.poll_read(cx, &mut filled) {
            return Poll::Ready(read.map(|()| filled.filled().len()).map_err(|error| cut(&error)));
        }
        while self.check.poll_tick(cx).is_ready() {
            self.land.iter().for_each(|land| land.rest());
            let mute = self.mute.is_some_and(|(since, mute)| since.elapsed() > mute);
            if mute || self.since.elapsed() > self.fence {
                return Poll::Ready(Err(LossReason::Silent));
            }
        }
        Poll::Pending
    }
}
