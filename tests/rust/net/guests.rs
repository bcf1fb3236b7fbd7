//! Workers among themselves: who is let in, and who hears nothing.

use super::soon;
use crate::rig::PATIENCE;
use plait::net::identity::Identity;
use plait::net::link::Link;
use plait::net::peers::{Guest, Guests, Pass, Porch, fingerprint};
use plait::net::visit::{Patience, visit};
use plait_core::id::{Attempt, AttemptId, ObjectId, Seq, SessionId, TaskId};
use plait_core::limits::PEERS_REMEMBERED;
use plait_core::peer::{Fingerprint, Peer};
use plait_core::protocol::message::peer::{FromHolder, ToHolder};
use plait_core::value::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WAITS: Patience = Patience { connect: PATIENCE, answer: PATIENCE };

/// A worker that answers every guest, and how many guests there were.
struct Holder {
    peer: Peer,
    guests: Arc<Guests>,
    served: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Holder {
    fn open() -> Self {
        let (guests, served) = (Arc::<Guests>::default(), Arc::<AtomicU32>::default());
        let porch = Porch::open([127, 0, 0, 1].into(), &Identity::draw(), Arc::clone(&guests), PATIENCE, None)
            .expect("a free port");
        let (peer, count) = (porch.peer(), Arc::clone(&served));
        let task = tokio::spawn(porch.receive(move |Guest { link: mut guest, .. }| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let mut asked = Vec::new();
                while guest.receiver.receive(&mut asked, 1).await.is_ok() {
                    for ToHolder::Fetch(object) in asked.drain(..) {
                        let value = Some(Value::copied(b"held here"));
                        guest.sender.send(FromHolder::Sent { object, value }).expect("linked");
                    }
                }
            }
        }));
        Self { peer, guests, served, task }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer, or nothing once the link is closed.
async fn answer(link: &mut Link<ToHolder, FromHolder>) -> Option<FromHolder> {
    link.sender.send(ToHolder::Fetch(ObjectId::default())).ok()?;
    let mut answers = Vec::new();
    while answers.is_empty() {
        soon(link.receiver.receive(&mut answers, 1)).await.ok()?;
    }
    answers.pop()
}

#[tokio::test]
async fn who_is_introduced_is_let_in_before_or_after_it_has_come() {
    let (holder, early, late) = (Holder::open(), Identity::draw(), Identity::draw());
    holder.guests.introduce(fingerprint(&early), Pass::Worker);
    let mut link = soon(visit(&early, holder.peer, WAITS, None)).await.expect("it listens");
    assert!(answer(&mut link).await.is_some());
    let mut link = soon(visit(&late, holder.peer, WAITS, None)).await.expect("it proves to have a key");
    let (answered, ()) = tokio::join!(answer(&mut link), async {
        tokio::task::yield_now().await;
        assert_eq!(holder.served.load(Ordering::Relaxed), 1, "nobody knows it yet");
        holder.guests.introduce(fingerprint(&late), Pass::Worker);
    });
    assert!(answered.is_some());
}

#[tokio::test]
async fn who_is_not_introduced_is_sent_away_unheard() {
    let (holder, known, stranger) = (Holder::open(), Identity::draw(), Identity::draw());
    holder.guests.introduce(fingerprint(&known), Pass::Worker);
    let mut link = soon(visit(&stranger, holder.peer, WAITS, None)).await.expect("it proves to have a key");
    assert_eq!(answer(&mut link).await, None);
    // With its coordinator go those whom that has introduced.
    holder.guests.forget();
    let mut link = soon(visit(&known, holder.peer, WAITS, None)).await.expect("it proves to have a key");
    assert_eq!(answer(&mut link).await, None);
    assert_eq!(holder.served.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_speaks_no_tls_gets_no_further() {
    let holder = Holder::open();
    let mut socket = TcpStream::connect(holder.peer.address).await.expect("it listens");
    socket.write_all(&[0; 4_096]).await.expect("it reads");
    let mut answer = Vec::new();
    // An alert, or a reset.
    drop(soon(socket.read_to_end(&mut answer)).await);
    assert!(answer.len() < 64, "{answer:?}");
    assert_eq!(holder.served.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_holder_with_another_key_than_was_said_is_not_spoken_to() {
    let (holder, guest) = (Holder::open(), Identity::draw());
    holder.guests.introduce(fingerprint(&guest), Pass::Worker);
    let other = Peer { key: Fingerprint([1; 16]), ..holder.peer };
    assert!(soon(visit(&guest, other, WAITS, None)).await.is_err());
    assert_eq!(holder.served.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_is_let_in_as_a_worker_is() {
    let (holder, client) = (Holder::open(), Identity::draw());
    holder.guests.introduce(fingerprint(&client), Pass::Client(SessionId(3)));
    let mut link = soon(visit(&client, holder.peer, WAITS, None)).await.expect("it listens");
    assert!(answer(&mut link).await.is_some());
}

#[test]
fn a_client_may_have_what_its_session_made_and_the_oldest_is_forgotten_before_any_worker() {
    let guests = Guests::default();
    let of = |session| {
        let task = TaskId::new(SessionId(session), Seq(9));
        ObjectId(AttemptId { task, attempt: Attempt(1) })
    };
    let key = |n: usize| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        Fingerprint(key)
    };
    (0..9).for_each(|n| guests.introduce(key(n), Pass::Worker));
    for n in 9..PEERS_REMEMBERED + 2 {
        guests.introduce(key(n), Pass::Client(SessionId(n as u32)));
        guests.introduce(key(n), Pass::Client(SessionId(n as u32)));
    }
    assert!((0..9).all(|n| guests.may_have(key(n), of(1)) && guests.may_have(key(n), of(7))));
    assert!(!guests.may_have(key(9), of(9)) && !guests.may_have(key(10), of(10)), "the two oldest made room");
    for n in 11..PEERS_REMEMBERED + 2 {
        assert!(guests.may_have(key(n), of(n as u32)) && !guests.may_have(key(n), of(n as u32 + 1)));
    }
    (0..9).for_each(|n| guests.introduce(key(PEERS_REMEMBERED + 2 + n), Pass::Worker));
    assert!(!guests.may_have(key(19), of(19)) && guests.may_have(key(20), of(20)));
    guests.introduce(key(20), Pass::Worker);
    assert!(guests.may_have(key(20), of(1)) && guests.may_have(key(20), of(20)), "it is both");
}
