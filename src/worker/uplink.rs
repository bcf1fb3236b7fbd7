//! The worker's end of its link, and where links come from.

use super::WorkerExit;
use crate::net::link::{Closed, Link};
use plait_core::limits::FAREWELL_TIMEOUT;
use plait_core::protocol::message::worker::{FromWorker, ToWorker};

/// Messages taken from the link in one turn.
const LINK_BATCH: usize = 64;

/// A link to a coordinator.
pub(super) type Coordinator = Link<FromWorker, ToWorker>;

/// Where a worker finds its coordinator.
#[derive(Debug)]
pub enum Upstream {
    /// In this process. When this link is gone, there is nothing left to do.
    Memory(Link<FromWorker, ToWorker>),
}

/// The link, while there is one.
#[derive(Debug)]
pub(super) struct Uplink {
    link: Option<Coordinator>,
}

/// What came of waiting for the coordinator.
pub(super) enum Heard {
    /// Messages.
    Messages,
    /// The link is gone; another one is on the way.
    Lost,
    /// The link is gone for good.
    Gone(WorkerExit),
}

impl Uplink {
    pub(super) fn new(upstream: Upstream) -> Self {
        match upstream {
            Upstream::Memory(link) => Self { link: Some(link) },
        }
    }

    /// Sends a message. A link that is closed says so itself when it is read.
    pub(super) fn send(&self, message: FromWorker) {
        if let Some(link) = &self.link {
            let _ = link.sender.send(message);
        }
    }

    /// Waits for messages, then takes what is there. Cancel-safe.
    pub(super) async fn hear(&mut self, messages: &mut Vec<ToWorker>) -> Heard {
        let Some(link) = &mut self.link else { return std::future::pending().await };
        match link.receiver.receive(messages, LINK_BATCH).await {
            Ok(()) => Heard::Messages,
            Err(Closed::Ended | Closed::Lost(_)) => {
                self.link = None;
                Heard::Gone(WorkerExit::Ended)
            }
        }
    }

    /// Gives the link up.
    pub(super) fn abandon(&mut self) {
        self.link = None;
    }

    /// Lets what was said last reach the coordinator.
    pub(super) async fn part(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        link.sender.finish();
        let mut ignored = Vec::new();
        let closed = async {
            while link.receiver.receive(&mut ignored, LINK_BATCH).await.is_ok() {
                ignored.clear();
            }
        };
        drop(tokio::time::timeout(FAREWELL_TIMEOUT, closed).await);
    }
}
