//! Objects on their way between this worker and others, without the coordinator.
//!
//! [`Hall`] is where others come and take: it outlives links. [`Transfers`] goes and fetches what the brain wants. Each object
//! takes a connection of its own: whatever cuts it short is a fetch that failed, and the coordinator's to repeat.

use crate::net::identity::Identity;
use crate::net::peers::{Guest, Guests, Porch, visit};
use crate::store::objects::Objects;
use plait_core::id::ObjectId;
use plait_core::limits;
use plait_core::outcome::Unfetched;
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::spec::{Fingerprint, Peer};
use plait_core::value::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Where other workers come to fetch.
#[derive(Debug)]
pub(super) struct Hall {
    identity: Identity,
    guests: Arc<Guests>,
    objects: Arc<Objects>,
    open: Mutex<Option<Open>>,
}

/// An open port. The task ends with this.
#[derive(Debug)]
struct Open {
    peer: Peer,
    _receiving: JoinSet<()>,
}

impl Hall {
    pub(super) fn new(objects: Arc<Objects>) -> Self {
        Self { identity: Identity::draw(), guests: Arc::default(), objects, open: Mutex::default() }
    }

    /// Lets guests come to this address of ours. How they find it; nothing if it cannot be opened.
    pub(super) fn open(&self, here: IpAddr) -> Option<Peer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Open { peer, .. }) = &*open
            && peer.address.ip() == here
        {
            return Some(*peer);
        }
        let porch = Porch::open(here, &self.identity, Arc::clone(&self.guests)).inspect_err(|error| {
            warn!(target: "plait::worker", %here, %error, "other workers cannot fetch from here");
        });
        let (porch, objects) = (porch.ok()?, Arc::clone(&self.objects));
        let (peer, mut receiving) = (porch.peer(), JoinSet::new());
        receiving.spawn(porch.receive(move |guest| serve(guest, Arc::clone(&objects))));
        *open = Some(Open { peer, _receiving: receiving });
        Some(peer)
    }
}

/// Gives a guest what it asks for.
async fn serve(mut guest: Guest, objects: Arc<Objects>) {
    let mut asked = Vec::new();
    while asked.is_empty() {
        match timeout(limits::HANDSHAKE_TIMEOUT, guest.receiver.receive(&mut asked, 1)).await {
            Ok(Ok(())) => {}
            // It went, or has nothing to ask.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    for ToHolder::Fetch(object) in asked {
        let value = objects.read(object);
        // A link that is lost by now says so to the one who waits.
        let _ = guest.sender.send(FromHolder::Sent { object, value });
    }
    guest.sender.finish();
    guest.sender.flushed().await;
}

/// What is being fetched from other workers.
#[derive(Debug)]
pub(super) struct Transfers {
    hall: Option<Arc<Hall>>,
    objects: Arc<Objects>,
    room: Arc<Semaphore>,
    under_way: BTreeMap<ObjectId, AbortHandle>,
    tasks: JoinSet<(ObjectId, Result<Value, Unfetched>)>,
}

impl Transfers {
    /// Without a hall nobody is known to others, and nothing can be fetched from them.
    pub(super) fn new(hall: Option<Arc<Hall>>, objects: Arc<Objects>) -> Self {
        let room = Arc::new(Semaphore::new(limits::PEER_FETCHES));
        Self { hall, objects, room, under_way: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Somebody with this key will come.
    pub(super) fn expect(&self, key: Fingerprint) {
        if let Some(hall) = &self.hall {
            hall.guests.introduce(key);
        }
    }

    /// The coordinator is gone, and who it introduced with it.
    pub(super) fn forget_guests(&self) {
        if let Some(hall) = &self.hall {
            hall.guests.forget();
        }
    }

    /// Begins to fetch; [`next`](Self::next) tells the end.
    pub(super) fn fetch(&mut self, object: ObjectId, at: Peer) {
        let (hall, objects, room) = (self.hall.clone(), Arc::clone(&self.objects), Arc::clone(&self.room));
        let task = self.tasks.spawn(async move {
            let Some(hall) = hall else { return (object, Err(Unfetched::Unreachable)) };
            let _room = room.acquire().await;
            let fetched = fetch(&hall.identity, object, at).await;
            (object, seal(fetched, objects).await)
        });
        self.under_way.insert(object, task);
    }

    /// These need not come any more.
    pub(super) fn cancel(&mut self, objects: &[ObjectId]) {
        for task in objects.iter().filter_map(|object| self.under_way.remove(object)) {
            task.abort();
        }
    }

    /// Waits for a fetch to end that was not cancelled; for ever if there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> (ObjectId, Result<Value, Unfetched>) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
            let (task, object, result) = match ended {
                Ok((task, (object, result))) => (task, object, result),
                Err(broken) => match self.object_of(broken.id()) {
                    Some(object) => (broken.id(), object, Err(Unfetched::Unreachable)),
                    // It was cancelled.
                    None => continue,
                },
            };
            // One that was cancelled when it had just ended is of no interest either.
            if self.is_under_way(object, task) {
                self.under_way.remove(&object);
                return (object, result);
            }
        }
    }

    fn is_under_way(&self, object: ObjectId, task: Id) -> bool {
        self.under_way.get(&object).is_some_and(|handle| handle.id() == task)
    }

    fn object_of(&self, task: Id) -> Option<ObjectId> {
        self.under_way.iter().find(|(_, handle)| handle.id() == task).map(|(object, _)| *object)
    }
}

async fn fetch(identity: &Identity, object: ObjectId, at: Peer) -> Result<Value, Unfetched> {
    let unreachable = |why: &dyn std::fmt::Display| {
        debug!(target: "plait::worker", %object, holder = %at.address, "a fetch failed: {why}");
        Unfetched::Unreachable
    };
    let mut link = visit(identity, at).await.map_err(|error| unreachable(&error))?;
    link.sender.send(ToHolder::Fetch(object)).map_err(|closed| unreachable(&closed))?;
    let mut answers = Vec::new();
    while answers.is_empty() {
        link.receiver.receive(&mut answers, 1).await.map_err(|closed| unreachable(&closed))?;
    }
    link.sender.finish();
    match answers.pop() {
        Some(FromHolder::Sent { object: sent, value: Some(value) }) if sent == object && value.stored().is_none() => {
            Ok(value)
        }
        // It may be on the holder's disk, from where the coordinator can have it.
        Some(FromHolder::Sent { object: sent, value: None }) if sent == object => {
            Err(unreachable(&"it is not at hand"))
        }
        Some(FromHolder::Sent { .. }) | None => Err(unreachable(&"it sent something else")),
    }
}

/// Puts what is large into memory that executors can be given; away from the thread that must not wait.
async fn seal(fetched: Result<Value, Unfetched>, objects: Arc<Objects>) -> Result<Value, Unfetched> {
    let value = fetched?;
    let sealed = tokio::task::spawn_blocking(move || objects.seal(value)).await;
    sealed.map_err(|_| Unfetched::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::peers::fingerprint;
    use crate::store::blob::Store;
    use bytes::Bytes;
    use plait_core::limits::PASSED_BYTES;

    /// A worker that has a large object, and one that may fetch from it.
    struct Pair {
        holder: Hall,
        at: Peer,
        fetcher: Transfers,
    }

    fn objects() -> Arc<Objects> {
        Arc::new(Objects::new(Store::new()))
    }

    fn value() -> Value {
        Value::from_segments(vec![Bytes::from_static(b"stream"), Bytes::from(vec![7; 3 * PASSED_BYTES])])
    }

    impl Pair {
        fn new() -> Self {
            let (holder, hall) = (Hall::new(objects()), Arc::new(Hall::new(objects())));
            holder.objects.store(ObjectId::default(), value());
            holder.guests.introduce(fingerprint(&hall.identity));
            let at = holder.open([127, 0, 0, 1].into()).expect("a free port");
            assert_eq!(holder.open([127, 0, 0, 1].into()), Some(at), "it stays where it is");
            Self { holder, at, fetcher: Transfers::new(Some(hall), objects()) }
        }

        async fn next(&mut self) -> Result<Value, Unfetched> {
            let next = timeout(std::time::Duration::from_secs(60), self.fetcher.next()).await;
            next.expect("it ends in time").1
        }
    }

    #[tokio::test]
    async fn an_object_comes_whole_and_sealed_if_it_is_at_hand() {
        let mut pair = Pair::new();
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        let fetched = pair.next().await;
        assert_eq!(fetched, Ok(value()));
        assert_eq!(pair.fetcher.objects.blobs().mapped_bytes(), 3 * PASSED_BYTES);
        pair.holder.objects.forget(&[ObjectId::default()]);
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
    }

    #[tokio::test]
    async fn a_transfer_that_is_cut_is_a_fetch_that_failed() {
        let mut pair = Pair::new();
        let guests = Arc::clone(&pair.holder.guests);
        let porch = Porch::open([127, 0, 0, 1].into(), &pair.holder.identity, guests).expect("a free port");
        let at = porch.peer();
        let cuts = tokio::spawn(porch.receive(|mut guest| async move {
            guest.receiver.receive(&mut Vec::new(), 1).await.expect("it asks");
            let value = Some(Bytes::from(vec![7; 64 << 20]).into());
            guest.sender.send(FromHolder::Sent { object: ObjectId::default(), value }).expect("linked");
            tokio::task::yield_now().await;
            guest.sender.abort();
        }));
        pair.fetcher.fetch(ObjectId::default(), at);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
        cuts.abort();
        let closed = Peer { address: ([127, 0, 0, 1], 1).into(), ..at };
        pair.fetcher.fetch(ObjectId::default(), closed);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
    }

    #[tokio::test]
    async fn of_what_need_not_come_nothing_is_told() {
        let mut pair = Pair::new();
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        pair.fetcher.cancel(&[ObjectId::default()]);
        pair.holder.objects.forget(&[ObjectId::default()]);
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable), "the first one was cancelled");
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_is_a_fetch_that_failed() {
        let mut pair = Pair::new();
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        // As if its thread had panicked: it ends without a result.
        pair.fetcher.under_way[&ObjectId::default()].abort();
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        assert_eq!(pair.next().await, Ok(value()), "it can be tried again");
    }

    #[tokio::test]
    async fn a_guest_in_another_process_meets_nobody() {
        let pair = Pair::new();
        let mut guest = Transfers::new(None, objects());
        guest.expect(Fingerprint::default());
        guest.fetch(ObjectId::default(), pair.at);
        assert_eq!(guest.next().await, (ObjectId::default(), Err(Unfetched::Unreachable)));
    }
}
