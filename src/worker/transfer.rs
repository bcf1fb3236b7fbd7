//! Objects on their way from other workers to this one, without the coordinator.
//!
//! [`Transfers`] goes and fetches what the brain wants, from the [`Hall`]s of others.

use super::hall::Hall;
use crate::net::framed::Land;
use crate::net::peers::Pass;
use crate::net::visit::{Patience, Visits, fetch};
use crate::store::objects::Objects;
use plait_core::id::ObjectId;
use plait_core::limits;
use plait_core::outcome::Unfetched;
use plait_core::peer::{Fingerprint, Peer};
use plait_core::value::Value;
use std::sync::Arc;

/// What is being fetched from other workers.
#[derive(Debug)]
pub(super) struct Transfers {
    hall: Option<Arc<Hall>>,
    objects: Arc<Objects>,
    land: Land,
    patience: Patience,
    visits: Visits<ObjectId>,
}

impl Transfers {
    /// Without a hall nobody is known to others, and nothing can be fetched from them.
    pub(super) fn new(hall: Option<Arc<Hall>>, objects: Arc<Objects>, land: Land) -> Self {
        let patience = Patience { connect: limits::HANDSHAKE_TIMEOUT, answer: limits::PEER_PATIENCE };
        Self { hall, objects, land, patience, visits: Visits::new(limits::PEER_FETCHES) }
    }

    /// Somebody with this key will come, who may have so much.
    pub(super) fn expect(&self, key: Fingerprint, pass: Pass) {
        if let Some(hall) = &self.hall {
            hall.guests.introduce(key, pass);
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
        let (hall, objects) = (self.hall.clone(), Arc::clone(&self.objects));
        let (patience, land) = (self.patience, self.land.clone());
        self.visits.begin(object, async move {
            let hall = hall.ok_or(Unfetched::Unreachable)?;
            let fetched = fetch(&hall.identity, object, at, patience, land).await;
            seal(fetched, objects).await
        });
    }

    /// These need not come any more.
    pub(super) fn cancel(&mut self, objects: &[ObjectId]) {
        self.visits.stop(objects);
    }

    /// Waits for a fetch to end that was not cancelled; for ever if there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> (ObjectId, Result<Value, Unfetched>) {
        self.visits.next().await
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
    use crate::net::peers::{Guest, Porch, fingerprint};
    use crate::net::visit::visit;
    use crate::store::blob::Store;
    use bytes::Bytes;
    use plait_core::id::{Attempt, AttemptId, Seq, SessionId, TaskId};
    use plait_core::limits::PASSED_BYTES;
    use plait_core::protocol::message::peer::{FromHolder, ToHolder};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, copy};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Notify, mpsc};
    use tokio::time::timeout;

    /// What must happen happens within this.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// What is cut short after a while is cut short after this.
    const BRIEFLY: Duration = Duration::from_millis(200);

    const WAITS: Patience = Patience { connect: PATIENCE, answer: PATIENCE };
    const WAITS_BRIEFLY: Patience = Patience { connect: PATIENCE, answer: BRIEFLY };

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
            holder.guests.introduce(fingerprint(&hall.identity), Pass::Worker);
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
        let mut link = visit(&hall.identity, holder, WAITS, None).await.expect("it listens");
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
            let receiving = tokio::spawn(porch.receive(move |Guest { link: guest, .. }| async move {
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
        let cuts = tokio::spawn(porch.receive(|Guest { link: mut guest, .. }| async move {
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
        pair.fetcher.patience = WAITS_BRIEFLY;
        pair.fetcher.fetch(ObjectId::default(), narrow(pair.at, PASSED_BYTES as u64).await);
        assert_eq!(pair.next().await, Err(Unfetched::Unreachable));
    }

    /// A holder that tells when it is through with a guest, and what guests want of what is not in memory.
    fn brief(pair: &Pair, value: Option<Value>) -> (Peer, Arc<Notify>, mpsc::Receiver<Ask>) {
        let (objects, through) = (objects(), Arc::<Notify>::default());
        value.into_iter().for_each(|value| objects.store(ObjectId::default(), value));
        let (ask, asks) = mpsc::channel(1);
        let host = Arc::new(Host::new(objects, Arc::clone(&pair.holder.guests), ask, BRIEFLY));
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
        pair.fetcher.patience = Patience { answer: 2 * PATIENCE, ..WAITS };
        pair.fetcher.fetch(ObjectId::default(), narrow(holder, PASSED_BYTES as u64).await);
        timeout(PATIENCE, through.notified()).await.expect("it is not waited for any longer");
    }

    #[tokio::test]
    async fn a_guest_that_asks_nothing_is_sent_away() {
        let pair = Pair::new();
        let (holder, through, _) = brief(&pair, Some(value()));
        let hall = pair.fetcher.hall.as_ref().expect("it has one");
        let mut link = visit(&hall.identity, holder, WAITS, None).await.expect("it listens");
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
    async fn a_client_gets_what_its_session_made_and_nothing_else() {
        let mut pair = Pair::new();
        let of = |session, seq| {
            let task = TaskId::new(SessionId(session), Seq(seq));
            ObjectId(AttemptId { task, attempt: Attempt(1) })
        };
        [of(1, 0), of(1, 7), of(2, 0)].iter().for_each(|object| pair.holder.host.objects.store(*object, value()));
        let client = Arc::new(hall().0);
        let key = fingerprint(&client.identity);
        pair.holder.guests.introduce(key, Pass::Client(SessionId(1)));
        pair.fetcher.hall = Some(client);
        for (object, fetched) in [
            (of(1, 0), Ok(value())),
            (of(1, 7), Ok(value())),
            (of(2, 0), Err(Unfetched::Unreachable)),
            (ObjectId::default(), Err(Unfetched::Unreachable)),
            // Nor is it told that something is not there.
            (of(2, 9), Err(Unfetched::Unreachable)),
        ] {
            pair.fetcher.fetch(object, pair.at);
            assert_eq!(pair.next().await, fetched, "{object}");
        }
        // Who has two sessions has two passes, and a worker may have all.
        for (pass, object) in [(Pass::Client(SessionId(2)), of(2, 0)), (Pass::Worker, ObjectId::default())] {
            pair.holder.guests.introduce(key, pass);
            pair.fetcher.fetch(object, pair.at);
            assert_eq!(pair.next().await, Ok(value()), "{object}");
        }
    }

    #[tokio::test]
    async fn a_guest_in_another_process_meets_nobody() {
        let pair = Pair::new();
        let mut guest = Transfers::new(None, objects(), None);
        guest.expect(Fingerprint::default(), Pass::Worker);
        guest.fetch(ObjectId::default(), pair.at);
        assert_eq!(guest.next().await, (ObjectId::default(), Err(Unfetched::Unreachable)));
    }
}
