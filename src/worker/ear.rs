//! Listening to one executor until its end, which is told after all that it said.

use super::executor::Executor;
use super::supervisor::Said;
use crate::store::blob::Keep;
use plait_core::id::ExecutorId;
use plait_core::limits::{CHANNEL_READ_BYTES, DESCRIPTOR_PAUSE};
use plait_core::protocol::frame::{Decoder, Fed};
use plait_core::protocol::message::Message;
use plait_core::protocol::message::executor::FromExecutor;
use rustix::io::{Errno, read};
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::Ready;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Hears what `executor` says and tells it, its end last.
pub(super) async fn attend(executor: Arc<Executor>, said: mpsc::Sender<(ExecutorId, Said)>) {
    let id = executor.id;
    let mut ear = Ear::new(executor);
    loop {
        let stir = poll_fn(|cx| ear.poll_stir(cx)).await;
        if stir == Stir::Ended {
            ear.read_rest().await;
        }
        for message in ear.heard.drain(..) {
            if matches!(message, FromExecutor::Ready) {
                ear.executor.look_at_memory();
            }
            if said.send((id, Said::from(message))).await.is_err() {
                return; // The driver is gone, and takes the executor along.
            }
        }
        match stir {
            Stir::Spoke => {}
            Stir::Waits => sleep(DESCRIPTOR_PAUSE).await,
            Stir::Ended => break,
        }
    }
    let death = Box::new(ear.executor.death());
    // As above.
    let _ = said.send((id, Said::Died(death))).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stir {
    Spoke,
    /// There is no descriptor for memory that has come.
    Waits,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some,
    /// What has come has to wait.
    Waits,
    /// Not now.
    Nothing,
    /// Never again.
    Over,
}

/// Whether what an executor says has its bytes with it: it knows of no store to refer to.
fn is_whole(message: &FromExecutor) -> bool {
    let mut whole = true;
    message.each_value(&mut |value| whole &= value.stored().is_none());
    whole
}

struct Ear {
    executor: Arc<Executor>,
    buffer: Vec<u8>,
    /// What was read and has to wait for a descriptor.
    rest: Option<Range<usize>>,
    decoder: Decoder<FromExecutor>,
    heard: Vec<FromExecutor>,
    open: bool,
}

impl Ear {
    fn new(executor: Arc<Executor>) -> Self {
        Self {
            executor,
            buffer: vec![0; CHANNEL_READ_BYTES],
            rest: None,
            decoder: Decoder::new(),
            heard: Vec::new(),
            open: true,
        }
    }

    /// Reads once, if there is something, or sees that the process has ended.
    fn poll_stir(&mut self, cx: &mut Context<'_>) -> Poll<Stir> {
        let executor = Arc::clone(&self.executor);
        while self.open {
            let Poll::Ready(Ok(mut ready)) = executor.socket.poll_read_ready(cx) else { break };
            match self.read() {
                Read::Some => return Poll::Ready(Stir::Spoke),
                Read::Waits => return Poll::Ready(Stir::Waits),
                Read::Nothing => ready.clear_ready_matching(Ready::READABLE),
                Read::Over => {}
            }
        }
        executor.exit.poll_read_ready(cx).map(|_| Stir::Ended)
    }

    fn read(&mut self) -> Read {
        if !self.open {
            return Read::Over;
        }
        let bytes = match self.rest.take() {
            Some(rest) => Ok(rest),
            None => match read(self.executor.socket.get_ref(), &mut self.buffer) {
                Ok(0) => Err(Errno::PIPE),
                read => read.map(|read| 0..read),
            },
        };
        match bytes.and_then(|bytes| self.take(bytes)) {
            Ok(read) => read,
            Err(Errno::INTR) => Read::Some,
            Err(Errno::AGAIN) => Read::Nothing,
            // It talks nonsense, or closed its channel (a task may close any descriptor): of no use any more.
            Err(_) => {
                self.executor.kill();
                self.open = false;
                Read::Over
            }
        }
    }

    /// Makes messages of what was read.
    fn take(&mut self, read: Range<usize>) -> Result<Read, Errno> {
        let Executor { courier, store, .. } = &*self.executor;
        let mut receive = |offset, length| courier.receive(store, offset, length, Keep::Descriptor);
        let mut bytes = &self.buffer[read.clone()];
        let fed = self.decoder.feed_receiving(&mut bytes, &mut self.heard, &mut receive);
        let heard = self.heard.len();
        self.heard.retain(is_whole);
        match fed {
            _ if self.heard.len() < heard => Err(Errno::BADMSG),
            Ok(Fed::All) => Ok(Read::Some),
            Ok(Fed::Waiting) => {
                self.rest = Some(read.end - bytes.len()..read.end);
                Ok(Read::Waits)
            }
            Ok(Fed::Beside(_) | Fed::Signal) | Err(_) => Err(Errno::BADMSG),
        }
    }

    /// Reads all that an executor said before its end.
    async fn read_rest(&mut self) {
        loop {
            match self.read() {
                Read::Some => {}
                Read::Waits => sleep(DESCRIPTOR_PAUSE).await,
                Read::Nothing | Read::Over => return,
            }
        }
    }
}
