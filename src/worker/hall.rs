//! Where other workers, and clients, come to fetch objects. It outlives links.
//!
//! Each guest asks for one. What lies in memory it is given at once. What lies on disk the driver has read for it, a few at a
//! time, and the guest hears meanwhile that it will come.

use crate::net::framed::Land;
use crate::net::identity::Identity;
use crate::net::link::Link;
use crate::net::peers::{Guest, Guests, Porch};
use crate::store::objects::Objects;
use plait_core::id::ObjectId;
use plait_core::limits;
use plait_core::peer::Peer;
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::value::Value;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How often a guest hears that what it wants will come before it would have given up.
const EXCUSES_IN_PATIENCE: u32 = 8;

/// The way to a guest.
type Way = Link<FromHolder, ToHolder>;

/// The place itself.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) identity: Identity,
    pub(super) guests: Arc<Guests>,
    pub(super) host: Arc<Host>,
    land: Land,
    open: Mutex<Option<Open>>,
}

/// An open port. The task ends with this.
#[derive(Debug)]
struct Open {
    peer: Peer,
    _receiving: JoinSet<()>,
}

/// A guest wants an object that does not lie in memory.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) object: ObjectId,
    /// To be told all of it, or that it is not here. Dropped, it cannot be had at the moment.
    pub(super) answer: oneshot::Sender<Option<Value>>,
}

/// Who looks after guests.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) objects: Arc<Objects>,
    guests: Arc<Guests>,
    asks: mpsc::Sender<Ask>,
    /// For what is read from disk, until it has been sent.
    room: Semaphore,
    patience: Duration,
}

impl Hall {
    /// Closed as yet. What is not in memory is asked for in `asks`.
    pub(super) fn new(objects: Arc<Objects>, asks: mpsc::Sender<Ask>, land: Land) -> Self {
        let guests = Arc::<Guests>::default();
        let host = Arc::new(Host::new(objects, Arc::clone(&guests), asks, limits::PEER_PATIENCE));
        Self { identity: Identity::draw(), guests, host, land, open: Mutex::default() }
    }

    /// Lets guests come to this address of ours. How they find it; nothing if it cannot be opened.
    pub(super) fn open(&self, here: IpAddr) -> Option<Peer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Open { peer, .. }) = &*open
            && peer.address.ip() == here
        {
            return Some(*peer);
        }
        let (guests, land) = (Arc::clone(&self.guests), self.land.clone());
        let porch = Porch::open(here, &self.identity, guests, self.host.patience, land).inspect_err(|error| {
            warn!(target: "plait::worker", %here, %error, "other workers cannot fetch from here");
        });
        let (porch, host) = (porch.ok()?, Arc::clone(&self.host));
        let (peer, mut receiving) = (porch.peer(), JoinSet::new());
        receiving.spawn(porch.receive(move |guest| Arc::clone(&host).serve(guest)));
        *open = Some(Open { peer, _receiving: receiving });
        Some(peer)
    }
}

impl Host {
    /// One that waits so long for a guest to ask, and to take what it asked for.
    pub(super) fn new(objects: Arc<Objects>, guests: Arc<Guests>, asks: mpsc::Sender<Ask>, patience: Duration) -> Self {
        Self { objects, guests, asks, room: Semaphore::new(limits::PEER_DISK_READS), patience }
    }

    /// Gives a guest what it asks for, if it may have that.
    pub(super) async fn serve(self: Arc<Self>, Guest { key, link: mut guest }: Guest) {
        let Ok(Some(ToHolder::Fetch(object))) = timeout(self.patience, asked(&mut guest)).await else { return };
        if !self.guests.may_have(key, object) {
            return debug!(target: "plait::worker", %object, "a guest asked for what it may not have");
        }
        let (value, _room) = match self.objects.read(object) {
            Some(value) => (Some(value), None),
            None => match self.read(&guest, object).await {
                Some((value, room)) => (value, Some(room)),
                // It sees that this link is lost.
                None => return,
            },
        };
        // A link that is lost by now says so to the one who waits.
        let _ = guest.sender.send(FromHolder::Sent { object, value });
        guest.sender.finish();
        guest.sender.flushed().await;
    }

    /// Has an object read that is not in memory, and says meanwhile that it will come. Nothing if it cannot be had at the
    /// moment, or the guest is gone.
    async fn read(&self, guest: &Way, object: ObjectId) -> Option<(Option<Value>, SemaphorePermit<'_>)> {
        let mut read = pin!(async {
            let room = self.room.acquire().await.ok()?;
            let (answer, answered) = oneshot::channel();
            self.asks.send(Ask { object, answer }).await.ok()?;
            Some((answered.await.ok()?, room))
        });
        loop {
            match timeout(self.patience / EXCUSES_IN_PATIENCE, &mut read).await {
                Ok(read) => return read,
                Err(_) => guest.sender.send(FromHolder::Soon { object }).ok()?,
            }
        }
    }
}

/// What a guest asks for; nothing if it goes.
async fn asked(guest: &mut Way) -> Option<ToHolder> {
    let mut asked = Vec::new();
    while asked.is_empty() {
        guest.receiver.receive(&mut asked, 1).await.ok()?;
    }
    asked.pop()
}
