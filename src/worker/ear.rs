//! Listening to one executor until its end, which is told after all that it said.

use super::executor::Executor;
use super::supervisor::Said;
use crate::store::blob::Keep;
use crate::store::passing::Arrivals;
use plait_core::id::ExecutorId;
use plait_core::limits::CHANNEL_READ_BYTES;
use plait_core::protocol::frame::Decoder;
use plait_core::protocol::message::Message;
use plait_core::protocol::message::executor::FromExecutor;
use rustix::io::Errno;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::Ready;
use tokio::sync::mpsc;

/// Hears what `executor` says and tells it, its end last.
pub(super) async fn attend(executor: Arc<Executor>, said: mpsc::Sender<(ExecutorId, Said)>) {
    let id = executor.id;
    let mut ear = Ear::new(executor);
    loop {
        let stir = poll_fn(|cx| ear.poll_stir(cx)).await;
        if stir == Stir::Ended {
            while ear.read() == Read::Some {}
        }
        for message in ear.heard.drain(..) {
            if matches!(message, FromExecutor::Ready) {
                ear.executor.look_at_memory();
            }
            if said.send((id, Said::from(message))).await.is_err() {
                return; // The driver is gone, and takes the executor along.
            }
        }
        if stir == Stir::Ended {
            break;
        }
    }
    let death = Box::new(ear.executor.death());
    // As above.
    let _ = said.send((id, Said::Died(death))).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stir {
    Spoke,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some,
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
    arrivals: Arrivals,
    decoder: Decoder<FromExecutor>,
    heard: Vec<FromExecutor>,
    open: bool,
}

impl Ear {
    fn new(executor: Arc<Executor>) -> Self {
        Self {
            executor,
            buffer: vec![0; CHANNEL_READ_BYTES],
            arrivals: Arrivals::default(),
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
        match self.arrivals.read(self.executor.socket.get_ref(), &mut self.buffer) {
            Ok(read) if read > 0 && self.take(read) => Read::Some,
            Err(Errno::INTR) => Read::Some,
            Err(Errno::AGAIN) => Read::Nothing,
            // It talks nonsense, or closed its channel (a task may close any descriptor): of no use any more.
            Ok(_) | Err(_) => {
                self.executor.kill();
                self.open = false;
                Read::Over
            }
        }
    }

    /// Makes messages of what was read. False if it is nonsense.
    fn take(&mut self, read: usize) -> bool {
        let Self { executor, arrivals, .. } = self;
        let mut receive =
            |offset, length| executor.store.adopt(arrivals.take()?, offset, length, Keep::Descriptor).ok();
        let fed = self.decoder.feed_receiving(&self.buffer[..read], &mut self.heard, &mut receive);
        let heard = self.heard.len();
        self.heard.retain(is_whole);
        fed.is_ok() && self.heard.len() == heard
    }
}
