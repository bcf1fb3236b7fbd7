//! The reading side of a framed link.

use super::framed::{Terms, cut, ticks};
use super::link::LossReason;
use super::near::SideWay;
use super::pipe::Pipe;
use crate::store::lane::{Drawing, Lane};
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
    let (stream, aside) = (Piece::new(limits::READ_BYTES), Piece::default());
    let (drawing, waits, spoke) = (Drawing::default(), false, Instant::now());
    let mut inlet = Inlet { reader, decoder, stream, aside, drawing, waits, terms, way, check, spoke };
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
        if inlet.decoder.taken() > before {
            inlet.spoke = Instant::now();
        }
        if !messages.is_empty() || told.elapsed() >= limits::HEARD_EVERY.min(terms.heartbeat) {
            told = Instant::now();
            pipe.fill(&mut messages);
        }
        fed.map_err(LossReason::Protocol)?;
        if !inlet.waits {
            starving = None;
            continue;
        }
        // Meanwhile nobody would see that the peer is gone.
        if starving.get_or_insert_with(Instant::now).elapsed() > terms.fence {
            return Err(LossReason::Starved);
        }
        let paused = Instant::now();
        tokio::time::sleep(limits::DESCRIPTOR_PAUSE).await;
        inlet.spoke += paused.elapsed();
    }
}

/// The reading side of a link.
struct Inlet<'a, In, S> {
    reader: ReadHalf<S>,
    decoder: Decoder<In>,
    /// Of the stream.
    stream: Piece,
    /// Of what lies beside it, which comes first.
    aside: Piece,
    drawing: Drawing,
    /// There is no descriptor for memory that was passed.
    waits: bool,
    terms: Terms,
    way: &'a SideWay,
    /// When to see whether the peer is silent.
    check: Interval,
    /// Since when the peer has said nothing but that it is alive.
    spoke: Instant,
}

impl<In: Message, S: AsyncRead> Inlet<'_, In, S> {
    /// Takes what comes next. Nothing if the peer has finished.
    async fn take(&mut self, messages: &mut Vec<In>) -> Result<Option<Result<(), FrameError>>, LossReason> {
        if !self.aside.is_empty() || self.drawing.left() > 0 {
            // A peer may have it go on without end.
            tokio::task::yield_now().await;
            return Ok(Some(if self.aside.is_empty() { self.draw(messages) } else { self.feed_aside(messages) }));
        }
        if self.stream.is_empty() && !self.waits {
            let mute = self.terms.mute.map(|mute| (self.spoke, mute));
            let land = self.way.ground().map(|ground| &**ground);
            let lane = self.way.lane_in().map(|lane| (lane, &mut self.drawing, &mut self.aside.bytes));
            let (since, check, fence) = (Instant::now(), &mut self.check, self.terms.fence);
            let mut waiting = Waiting { since, check, fence, mute, land, lane };
            let reader = &mut self.reader;
            if let Some(place) = self.decoder.landing() {
                let length = poll_fn(|cx| waiting.poll_read(cx, Pin::new(reader), place)).await?;
                return Ok(Some(if length == 0 { Err(FrameError::Truncated) } else { self.decoder.landed(length) }));
            }
            let length = poll_fn(|cx| waiting.poll_read(cx, Pin::new(reader), &mut self.stream.bytes)).await?;
            if length == 0 {
                return Ok(None);
            }
            self.stream.rest = 0..length;
        }
        let fed = self.stream.feed(&mut self.decoder, messages, self.way);
        Ok(Some(fed.and_then(|fed| self.follow(fed))))
    }

    /// Takes some of what lies beside the stream.
    fn draw(&mut self, messages: &mut Vec<In>) -> Result<(), FrameError> {
        let lane = self.way.lane_in().ok_or(FrameError::Nowhere)?;
        if let Some(place) = self.decoder.landing() {
            let length = self.drawing.draw(lane, place);
            return self.decoder.landed(length);
        }
        self.aside.bytes.resize(limits::LANE_AT_ONCE, 0);
        let length = self.drawing.draw(lane, &mut self.aside.bytes);
        self.aside.rest = 0..length;
        self.feed_aside(messages)
    }

    fn feed_aside(&mut self, messages: &mut Vec<In>) -> Result<(), FrameError> {
        match self.aside.feed(&mut self.decoder, messages, self.way)? {
            Fed::Beside(_) => Err(FrameError::Nowhere),
            fed => self.follow(fed),
        }
    }

    /// Does what a decoder asks for that was fed, wherever that lay.
    fn follow(&mut self, fed: Fed) -> Result<(), FrameError> {
        self.waits = fed == Fed::Waiting;
        match fed {
            Fed::All | Fed::Waiting => {}
            Fed::Signal => self.decoder.take_signal().into_iter().for_each(|signal| self.way.hear(signal)),
            Fed::Beside(bytes) if self.way.lane_in().is_some() => self.drawing.announce(bytes),
            Fed::Beside(_) => return Err(FrameError::Nowhere),
        }
        Ok(())
    }
}

/// Bytes that have come.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Those of them that were not taken: they wait for a descriptor, or for what lies beside the stream.
    rest: Range<usize>,
}

impl Piece {
    fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], rest: 0..0 }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn feed<In: Message>(
        &mut self,
        decoder: &mut Decoder<In>,
        messages: &mut Vec<In>,
        way: &SideWay,
    ) -> Result<Fed, FrameError> {
        let mut bytes = &self.bytes[self.rest.clone()];
        let receive = &mut |offset, length| way.receive(offset, length);
        let fed = decoder.feed_receiving(&mut bytes, messages, receive);
        self.rest.start = self.rest.end - bytes.len();
        fed
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
    /// The same, of what comes beside the stream; room for some of that among it.
    lane: Option<(&'a Lane, &'a mut Drawing, &'a mut Vec<u8>)>,
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
            if let Some((lane, drawing, room)) = &mut self.lane {
                drawing.rest(lane);
                **room = Vec::new();
            }
            let mute = self.mute.is_some_and(|(since, mute)| since.elapsed() > mute);
            if mute || self.since.elapsed() > self.fence {
                return Poll::Ready(Err(LossReason::Silent));
            }
        }
        Poll::Pending
    }
}
