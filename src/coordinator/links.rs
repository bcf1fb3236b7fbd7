//! The coordinator's links, read by the driver itself: a link that has something puts its number on a list and wakes the
//! driver, which then reads just these. No task and no channel stands between.

use crate::net::link::{Closed, Receiver};
use plait_core::protocol::message::Message;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Names one connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinkId(u64);

/// Links that have something to say.
#[derive(Debug, Default)]
pub(super) struct Ready {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    links: Vec<LinkId>,
    driver: Option<Waker>,
    last: u64,
}

/// The end of a link that is read.
#[derive(Debug)]
pub(super) struct Inlet<M: Message> {
    receiver: Receiver<M>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Puts a link on the list.
#[derive(Debug)]
struct Bell {
    link: LinkId,
    listed: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    /// A link to be read from now on.
    pub(super) fn add<M: Message>(self: &Arc<Self>, receiver: Receiver<M>) -> (LinkId, Inlet<M>) {
        let link = {
            let mut state = self.lock();
            state.last += 1;
            LinkId(state.last)
        };
        let bell = Arc::new(Bell { link, listed: AtomicBool::new(false), ready: Arc::clone(self) });
        let inlet = Inlet { receiver, waker: Waker::from(Arc::clone(&bell)), bell };
        // Whatever it holds already rang nobody's bell.
        inlet.waker.wake_by_ref();
        (link, inlet)
    }

    /// Waits until a link is listed. Cancel-safe.
    pub(super) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.links.is_empty() {
                state.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Whether a link is listed now.
    pub(super) fn is_listed(&self) -> bool {
        !self.lock().links.is_empty()
    }

    /// Moves the list into `links`.
    pub(super) fn take(&self, links: &mut Vec<LinkId>) {
        links.append(&mut self.lock().links);
    }

    /// Lists links again that were taken and not read, before those that came meanwhile.
    pub(super) fn put_back(&self, links: impl Iterator<Item = LinkId>) {
        self.lock().links.splice(0..0, links);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Message> Inlet<M> {
    /// Called for each time it is listed, before it is read.
    pub(super) fn unlist(&self) {
        self.bell.listed.store(false, Ordering::Release);
    }

    /// Takes up to `max` messages; pending if there is nothing: it is listed again once there is.
    pub(super) fn read(&mut self, batch: &mut Vec<M>, max: usize) -> Poll<Result<(), Closed>> {
        let mut context = Context::from_waker(&self.waker);
        pin!(self.receiver.receive(batch, max)).poll(&mut context)
    }

    /// There is more than was read: it is listed again.
    pub(super) fn relist(&self) {
        self.waker.wake_by_ref();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let driver = {
            let mut state = self.ready.lock();
            state.links.push(self.link);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_read_before_what_came_meanwhile() {
        let ready = Ready::default();
        let mut links = Vec::new();
        ready.put_back([LinkId(1), LinkId(2), LinkId(3)].into_iter());
        ready.take(&mut links);
        ready.lock().links.push(LinkId(4));
        ready.put_back(links.drain(1..));
        ready.take(&mut links);
        assert_eq!(links, [LinkId(1), LinkId(2), LinkId(3), LinkId(4)]);
    }
}
