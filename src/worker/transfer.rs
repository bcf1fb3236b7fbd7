//! Objects on their way from other workers to this one, without the coordinator.
//!
//! [`Transfers`] goes and fetches what the brain wants, from the [`Hall`]s of others. Each object takes a connection of its own:
//! whatever cuts it short is a fetch that failed, and the coordinator's to repeat.

use super::hall::Hall;
use crate::net::framed::Land;
use crate::net::identity::Identity;
use crate::net::peers::visit;
use crate::store::objects::Objects;
use plait_core::id::ObjectId;
use plait_core::limits;
use plait_core::outcome::Unfetched;
use plait_core::peer::{Fingerprint, Peer};
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use tracing::debug;

/// What is being fetched from other workers.
#[derive(Debug)]
pub(super) struct Transfers {
    hall: Option<Arc<Hall>>,
    objects: Arc<Objects>,
    land: Land,
    room: Arc<Semaphore>,
    patience: Duration,
    under_way: BTreeMap<ObjectId, AbortHandle>,
    tasks: JoinSet<(ObjectId, Result<Value, Unfetched>)>,
}

impl Transfers {
    /// Without a hall nobody is known to others, and nothing can be fetched from them.
    pub(super) fn new(hall: Option<Arc<Hall>>, objects: Arc<Objects>, land: Land) -> Self {
        let (room, patience) = (Arc::new(Semaphore::new(limits::PEER_FETCHES)), limits::PEER_PATIENCE);
        Self { hall, objects, land, room, patience, under_way: BTreeMap::new(), tasks: JoinSet::new() }
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
        let (patience, land) = (self.patience, self.land.clone());
        let task = self.tasks.spawn(async move {
            let Some(hall) = hall else { return (object, Err(Unfetched::Unreachable)) };
            let _room = room.acquire().await;
            let fetched = fetch(&hall.identity, object, at, patience, land).await;
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

async fn fetch(
    identity: &Identity,
    object: ObjectId,
    at: Peer,
    patience: Duration,
    land: Land,
) -> Result<Value, Unfetched> {
    let unreachable = |why: &dyn std::fmt::Display| {
        debug!(target: "plait::worker", %object, holder = %at.address, "a fetch failed: {why}");
        Unfetched::Unreachable
    };
    let mut link = visit(identity, at, patience, land).await.map_err(|error| unreachable(&error))?;
    link.sender.send(ToHolder::Fetch(object)).map_err(|closed| unreachable(&closed))?;
    let (mut answers, mut excuses) = (Vec::new(), 0);
    loop {
        link.receiver.receive(&mut answers, 1).await.map_err(|closed| unreachable(&closed))?;
        match answers.pop() {
            // It is alive.
            None => {}
            Some(FromHolder::Soon { .. }) if excuses < limits::PEER_EXCUSES => excuses += 1,
            Some(FromHolder::Soon { .. }) => return Err(unreachable(&"it keeps one waiting")),
            Some(FromHolder::Sent { object: sent, value }) if sent == object => {
                link.sender.finish();
                return match value {
                    Some(value) if value.stored().is_none() => Ok(value),
                    Some(_) => Err(unreachable(&"it sent a reference")),
                    None => Err(Unfetched::Gone),
                };
            }
            Some(FromHolder::Sent { .. }) => return Err(unreachable(&"it sent something else")),
        }
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
    use super::super::disk::{Disk, Done, Viewer};
    use super::super::hall::{Ask, Host};
    use super::*;
    use crate::config::SpillDir;
    use crate::net::peers::{Porch, fingerprint};
    use crate::store::blob::Store;
    use bytes::Bytes;
    use plait_core::id::{Attempt, AttemptId};
    use plait_core::limits::PASSED_BYTES;
    use tokio::io::{AsyncReadExt, copy};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Notify, mpsc};
    use tokio::time::timeout;

    /// What must happen happens within this.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// What is cut short after a while is cut short after this.
    const BRIEFLY: Duration = Duration::from_millis(200);

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

    /// A hall, and what guests want there of what is not in memory.
    fn hall() -> (Hall, mpsc::Receiver<Ask>) {
        let (ask, asks) = mpsc::channel(1);
        (Hall::new(objects(), ask, None), asks)
    }

    impl Pair {
        fn new() -> Self {
            Self::with(hall().0)
        }

        fn with(holder: Hall) -> Self {
            let hall = Arc::new(hall().0);
            holder.host.objects.store(ObjectId::default(), value());
            holder.guests.introduce(fingerprint(&hall.identity));
            let at = holder.open([127, 0, 0, 1].into()).expect("a free port");
            assert_eq!(holder.open([127, 0, 0, 1].into()), Some(at), "it stays where it is");
            Self { holder, at, fetcher: Transfers::new(Some(hall), objects(), None) }
        }

        async fn next(&mut self) -> Result<Value, Unfetched> {
            let next = timeout(PATIENCE, self.fetcher.next()).await;
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
    }

    /// Does for guests what a driver does.
    async fn keep(mut disk: Disk, mut asks: mpsc::Receiver<Ask>) {
        loop {
            tokio::select! {
                Some(Ask { object, answer }) = asks.recv() => {
                    if let Err(Viewer::Guest(answer)) = disk.show(object, Viewer::Guest(answer)) {
                        answer.send(None).expect("it is waited for");
                    }
                }
                done = disk.done() => {
                    let Done::Shown(_, Viewer::Guest(answer), read) = done else { panic!("{done:?}") };
                    answer.send(Some(read.expect("it can be read"))).expect("it is waited for");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_in_memory_comes_from_disk_or_is_gone() {
        let (holder, asks) = hall();
        let folder = SpillDir::Folder(std::env::temp_dir());
        let mut disk = Disk::new(&folder, Arc::clone(holder.host.objects.blobs()));
        disk.write(ObjectId::default(), value());
        let written = timeout(PATIENCE, disk.done()).await.expect("it ends in time");
        assert!(matches!(written, Done::Written(_, Ok(()))), "{written:?}");
        let mut pair = Pair::with(holder);
        pair.holder.host.objects.forget(&[ObjectId::default()]);
        let keeping = tokio::spawn(keep(disk, asks));
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        assert_eq!(pair.next().await, Ok(value()));
        let other = ObjectId(AttemptId { attempt: Attempt(9), ..AttemptId::default() });
        pair.fetcher.fetch(other, pair.at);
        assert_eq!(pair.next().await, Err(Unfetched::Gone));
        // Nobody is there to read it.
        keeping.abort();
        assert!(keeping.await.is_err());
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
    }

    #[tokio::test]
    async fn who_waits_for_a_disk_hears_that_the_object_will_come() {
        let pair = Pair::new();
        let (holder, _, mut asks) = brief(&pair, None);
        let hall = pair.fetcher.hall.as_ref().expect("it has one");
        let mut link = visit(&hall.identity, holder, PATIENCE, None).await.expect("it listens");
        link.sender.send(ToHolder::Fetch(ObjectId::default())).expect("linked");
        let ask = timeout(PATIENCE, asks.recv()).await.expect("in time").expect("the holder has not got it");
        let mut said = Vec::new();
        while said.is_empty() {
            timeout(PATIENCE, link.receiver.receive(&mut said, 1)).await.expect("in time").expect("linked");
        }
        assert_eq!(said, [FromHolder::Soon { object: ask.object }]);
        ask.answer.send(Some(value())).expect("it is waited for");
        let sent = FromHolder::Sent { object: ask.object, value: Some(value()) };
        while said.last() != Some(&sent) {
            timeout(PATIENCE, link.receiver.receive(&mut said, 1)).await.expect("in time").expect("linked");
        }
    }

    #[tokio::test]
    async fn a_holder_is_believed_so_often_that_the_object_will_come() {
        let mut pair = Pair::new();
        for (excuses, fetched) in
            [(limits::PEER_EXCUSES, Ok(value())), (limits::PEER_EXCUSES + 1, Err(Unfetched::Unreachable))]
        {
            let guests = Arc::clone(&pair.holder.guests);
            let porch =
                Porch::open([127, 0, 0, 1].into(), &pair.holder.identity, guests, PATIENCE, None).expect("a port");
            let at = porch.peer();
            let receiving = tokio::spawn(porch.receive(move |guest| async move {
                let object = ObjectId::default();
                let soon = (0..excuses).map(|_| FromHolder::Soon { object });
                let sent = FromHolder::Sent { object, value: Some(value()) };
                // It may have gone by then.
                let _ = soon.chain([sent]).try_for_each(|message| guest.sender.send(message));
                guest.sender.finish();
                guest.sender.flushed().await;
            }));
            pair.fetcher.fetch(ObjectId::default(), at);
            assert_eq!(pair.next().await, fetched);
            receiving.abort();
        }
    }

    #[tokio::test]
    async fn a_transfer_that_is_cut_is_a_fetch_that_failed() {
        let mut pair = Pair::new();
        let guests = Arc::clone(&pair.holder.guests);
        let porch =
            Porch::open([127, 0, 0, 1].into(), &pair.holder.identity, guests, PATIENCE, None).expect("a free port");
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

    /// A way to a holder on which so many bytes come back and then no more, though nothing is closed and whatever the guest
    /// says gets through.
    async fn narrow(holder: Peer, bytes: u64) -> Peer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let (guest, _) = listener.accept().await.expect("it comes");
            let (mut from_guest, mut to_guest) = guest.into_split();
            let holder = TcpStream::connect(holder.address).await.expect("it listens");
            let (from_holder, mut to_holder) = holder.into_split();
            let mut some = from_holder.take(bytes);
            let back = async { copy(&mut some, &mut to_guest).await.map(|_| ()) };
            let _ = tokio::join!(back, copy(&mut from_guest, &mut to_holder));
        });
        Peer { address, ..holder }
    }

    #[tokio::test]
    async fn a_holder_that_stops_in_the_middle_is_given_up() {
        let mut pair = Pair::new();
        pair.fetcher.patience = BRIEFLY;
        pair.fetcher.fetch(ObjectId::default(), narrow(pair.at, PASSED_BYTES as u64).await);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
        assert_eq!(pair.fetcher.room.available_permits(), limits::PEER_FETCHES, "another one may be fetched");
    }

    /// A holder that tells when it is through with a guest, and what guests want of what is not in memory.
    fn brief(pair: &Pair, value: Option<Value>) -> (Peer, Arc<Notify>, mpsc::Receiver<Ask>) {
        let (objects, through) = (objects(), Arc::<Notify>::default());
        value.into_iter().for_each(|value| objects.store(ObjectId::default(), value));
        let (ask, asks) = mpsc::channel(1);
        let host = Arc::new(Host::new(objects, ask, BRIEFLY));
        let (guests, tell) = (Arc::clone(&pair.holder.guests), Arc::clone(&through));
        let porch =
            Porch::open([127, 0, 0, 1].into(), &pair.holder.identity, guests, BRIEFLY, None).expect("a free port");
        let peer = porch.peer();
        tokio::spawn(porch.receive(move |guest| {
            let (host, tell) = (Arc::clone(&host), Arc::clone(&tell));
            async move {
                host.serve(guest).await;
                tell.notify_one();
            }
        }));
        (peer, through, asks)
    }

    #[tokio::test]
    async fn a_guest_that_stops_reading_is_sent_away() {
        let mut pair = Pair::new();
        // More than sockets hold on the way.
        let (holder, through, _) = brief(&pair, Some(Bytes::from(vec![7; 64 << 20]).into()));
        pair.fetcher.patience = 2 * PATIENCE;
        pair.fetcher.fetch(ObjectId::default(), narrow(holder, PASSED_BYTES as u64).await);
        timeout(PATIENCE, through.notified()).await.expect("it is not waited for any longer");
    }

    #[tokio::test]
    async fn a_guest_that_asks_nothing_is_sent_away() {
        let pair = Pair::new();
        let (holder, through, _) = brief(&pair, Some(value()));
        let hall = pair.fetcher.hall.as_ref().expect("it has one");
        let mut link = visit(&hall.identity, holder, PATIENCE, None).await.expect("it listens");
        timeout(PATIENCE, through.notified()).await.expect("it is not waited for any longer");
        let mut said = Vec::new();
        while link.receiver.receive(&mut said, 1).await.is_ok() {}
        assert!(said.is_empty(), "it is told nothing");
    }

    #[tokio::test]
    async fn of_what_need_not_come_nothing_is_told() {
        let mut pair = Pair::new();
        pair.fetcher.fetch(ObjectId::default(), pair.at);
        pair.fetcher.cancel(&[ObjectId::default()]);
        pair.holder.host.objects.forget(&[ObjectId::default()]);
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
        let mut guest = Transfers::new(None, objects(), None);
        guest.expect(Fingerprint::default());
        guest.fetch(ObjectId::default(), pair.at);
        assert_eq!(guest.next().await, (ObjectId::default(), Err(Unfetched::Unreachable)));
    }
}
