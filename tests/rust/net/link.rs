//! Links, in memory and over streams of bytes.

use super::{next, soon};
use bytes::Bytes;
use plait::net::framed::{Land, Terms, framed_on, framed_over};
use plait::net::link::{Closed, Link, LossReason, memory};
use plait::net::near::Part;
use plait::store::blob::Store;
use plait::store::depot::Depot;
use plait_core::id::{AttemptId, WorkerId};
use plait_core::limits;
use plait_core::outcome::{Ending, Report};
use plait_core::protocol::error::FrameError;
use plait_core::protocol::frame::Encoder;
use plait_core::protocol::message::client::{FromClient, Status, ToClient, WorkerState, WorkerStatus};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::spec::PythonVersion;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

type Near = Link<FromWorker, ToWorker>;
type Far = Link<ToWorker, FromWorker>;

const QUICK: Terms = Terms {
    heartbeat: Duration::from_millis(20),
    fence: Duration::from_secs(3),
    linger: Duration::from_millis(600),
    message_bytes: 1 << 30,
    mute: None,
    deaf: None,
};

/// What is cut short after a while is cut short after this.
const BRIEFLY: Duration = Duration::from_millis(800);

fn over(buffer: usize) -> (Near, Far) {
    let (a, b) = duplex(buffer);
    (framed_over(a, QUICK), framed_over(b, QUICK))
}

fn land(store: &Arc<Store>) -> Land {
    Some(Depot::of_client(Arc::clone(store)))
}

fn ended(bytes: usize) -> FromWorker {
    let ending = Ending::Returned(Bytes::from(vec![7; bytes]).into());
    FromWorker::Ended(vec![Report { attempt: AttemptId::default(), ending, run_micros: 1 }])
}

/// Whatever a link is made of, it does this.
async fn does_what_a_link_does((near, mut far): (Near, Far)) {
    let sent: Vec<_> = (0..200).map(FromWorker::Taken).collect();
    sent.iter().for_each(|message| near.sender.send(message.clone()).unwrap());
    let mut batch = Vec::new();
    while batch.len() < sent.len() {
        let before = batch.len();
        soon(far.receiver.receive(&mut batch, 7)).await.unwrap();
        assert!(batch.len() - before <= 7, "no more than asked for");
    }
    assert_eq!(batch, sent);
    far.sender.send(ToWorker::Fenced).unwrap();
    far.sender.finish();
    assert_eq!(far.sender.send(ToWorker::Fenced), Err(Closed::Ended), "nothing behind the end");
    let Near { sender, mut receiver } = near;
    assert_eq!(next(&mut receiver).await, Ok(ToWorker::Fenced));
    assert_eq!(next(&mut receiver).await, Err(Closed::Ended));
    sender.send(FromWorker::Goodbye).unwrap();
    sender.finish();
    assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Goodbye), "the other direction goes on");
    assert_eq!(next(&mut far.receiver).await, Err(Closed::Ended));
}

#[tokio::test]
async fn memory_links_do_what_links_do() {
    does_what_a_link_does(memory()).await;
}

#[tokio::test]
async fn framed_links_do_what_links_do() {
    does_what_a_link_does(over(64 << 10)).await;
}

#[tokio::test]
async fn framed_links_do_it_byte_by_byte() {
    does_what_a_link_does(over(1)).await;
}

/// Values that are put together where they stay, between messages that are not.
#[tokio::test]
async fn large_values_land_however_they_are_cut() {
    for (room, bytes) in [(70_001, 20 << 20), (64 << 10, 9 << 20), (1_000, 5 << 20)] {
        let store = Store::new();
        let (a, b) = duplex(room);
        let near: Near = framed_over(a, QUICK);
        let mut far: Far = framed_on(b, QUICK, land(&store), Part::Neither);
        let sent = [FromWorker::Draining, ended(bytes), ended(300_000), ended(10)];
        sent.iter().for_each(|message| near.sender.send(message.clone()).unwrap());
        for message in sent {
            assert_eq!(next(&mut far.receiver).await, Ok(message));
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_large_value_is_a_loss() {
    let (mut a, b) = duplex(64 << 10);
    let mut far: Far = framed_on(b, QUICK, land(&Store::new()), Part::Neither);
    let mut encoder = Encoder::new();
    encoder.message(ended(5 << 20)).unwrap();
    let stream: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    a.write_all(&stream[..1 << 20]).await.unwrap();
    drop(a);
    let lost = next(&mut far.receiver).await;
    assert_eq!(lost, Err(Closed::Lost(LossReason::Protocol(FrameError::Truncated))));
}

/// A peer that dies is a loss, with and without a stream between.
async fn tells_a_loss((near, mut far): (Near, Far)) {
    drop(near);
    let lost = next(&mut far.receiver).await.unwrap_err();
    assert!(matches!(lost, Closed::Lost(_) | Closed::Ended), "{lost:?}");
    soon(async {
        while far.sender.send(ToWorker::Fenced).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dropped_link_is_a_loss() {
    let (near, mut far) = memory::<FromWorker, ToWorker>();
    near.sender.send(FromWorker::Draining).unwrap();
    drop(near);
    assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Draining), "what was sent is still given");
    assert!(matches!(next(&mut far.receiver).await, Err(Closed::Lost(LossReason::Cut(_)))));
    assert!(matches!(far.sender.send(ToWorker::Fenced), Err(Closed::Lost(_))));
    tells_a_loss(memory()).await;
    tells_a_loss(over(100)).await;
}

#[tokio::test]
async fn an_aborted_link_ends_here_and_is_lost_there() {
    for (mut near, mut far) in [memory(), over(100)] {
        near.sender.abort();
        assert_eq!(next(&mut near.receiver).await, Err(Closed::Ended));
        assert!(near.sender.send(FromWorker::Draining).is_err());
        assert!(next(&mut far.receiver).await.is_err());
    }
}

#[tokio::test]
async fn a_goodbye_arrives_although_its_sender_leaves_at_once() {
    for round in 0..20 {
        let (near, mut far) = over(if round % 2 == 0 { 16 } else { 64 << 10 });
        near.sender.send(ended(100_000)).unwrap();
        near.sender.send(FromWorker::Goodbye).unwrap();
        near.sender.finish();
        drop(near);
        // The other side keeps talking meanwhile.
        far.sender.send(ToWorker::Taken(1)).unwrap();
        assert_eq!(next(&mut far.receiver).await, Ok(ended(100_000)));
        assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Goodbye));
        assert_eq!(next(&mut far.receiver).await, Err(Closed::Ended));
    }
}

#[tokio::test]
async fn flushed_waits_until_everything_is_out() {
    for (near, mut far) in [memory(), over(16)] {
        near.sender.send(ended(10_000)).unwrap();
        near.sender.finish();
        let taken = tokio::spawn(async move { (next(&mut far.receiver).await, far) });
        soon(near.sender.flushed()).await;
        assert_eq!(soon(taken).await.unwrap().0, Ok(ended(10_000)));
    }
    let (near, far) = over(16);
    near.sender.send(ended(10_000)).unwrap();
    near.sender.finish();
    drop(far);
    soon(near.sender.flushed()).await;
}

#[tokio::test]
async fn a_sender_that_ignores_credit_loses_the_link() {
    for (near, mut far) in [memory(), over(16)] {
        let mut near = near;
        let mut sent = 0;
        let refused = loop {
            match near.sender.send(ended(8 << 20)) {
                Ok(()) => sent += 8_u64 << 20,
                Err(closed) => break closed,
            }
        };
        assert_eq!(refused, Closed::Lost(LossReason::Overrun));
        assert!(sent <= 3 * limits::CONNECTION_CREDIT_BYTES, "{sent} bytes went in");
        assert_eq!(next(&mut near.receiver).await, Err(Closed::Lost(LossReason::Overrun)));
        assert!(next(&mut far.receiver).await.is_err());
    }
}

#[tokio::test]
async fn answers_that_nobody_takes_close_the_link_as_values_do() {
    let (near, mut far) = memory::<ToClient, FromClient>();
    let worker = WorkerStatus {
        id: WorkerId(0),
        name: "w".repeat(limits::NAME_BYTES).into(),
        slots: 1,
        resources: Box::default(),
        running: 0,
        queued: 0,
        state: WorkerState::Live,
        python: PythonVersion::default(),
    };
    let status = Box::new(Status { workers: vec![worker; 1_000], ..Status::default() });
    let answer = ToClient::Status { question: 0, status };
    let sent = (0..1_000).take_while(|_| near.sender.send(answer.clone()).is_ok()).count();
    assert!((100..1_000).contains(&sent), "{sent} answers went in");
    assert!(next(&mut far.receiver).await.is_err());
}

#[tokio::test]
async fn one_message_larger_than_any_window_may_go_with_small_ones_behind_it() {
    let (near, mut far) = memory::<FromWorker, ToWorker>();
    near.sender.send(ended(200 << 20)).unwrap();
    (0..1_000).for_each(|n| near.sender.send(FromWorker::Taken(n)).unwrap());
    assert!(matches!(next(&mut far.receiver).await, Ok(FromWorker::Ended(_))));
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    for (near, mut far) in [memory(), over(16)] {
        let mut batch = Vec::new();
        for n in 0..50 {
            // A receive that is dropped while it waits, before and after something was sent.
            let waiting = far.receiver.receive(&mut batch, 9);
            drop(tokio::time::timeout(Duration::ZERO, waiting).await);
            near.sender.send(FromWorker::Taken(n)).unwrap();
        }
        while batch.len() < 50 {
            soon(far.receiver.receive(&mut batch, 9)).await.unwrap();
        }
        assert_eq!(batch, (0..50).map(FromWorker::Taken).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn heartbeats_keep_a_quiet_link_alive_and_are_told() {
    let (_near, mut far) = over(100);
    let mut batch = Vec::new();
    let started = Instant::now();
    while started.elapsed() < QUICK.fence * 3 / 2 {
        soon(far.receiver.receive(&mut batch, 9)).await.unwrap();
        assert!(batch.is_empty());
    }
}

#[tokio::test]
async fn silence_is_a_loss() {
    let (a, silent) = duplex(1 << 20);
    let mut near: Near = framed_over(a, QUICK);
    assert_eq!(next(&mut near.receiver).await, Err(Closed::Lost(LossReason::Silent)));
    assert_eq!(near.sender.send(FromWorker::Draining), Err(Closed::Lost(LossReason::Silent)));
    drop(silent);
}

#[tokio::test]
async fn a_peer_that_speaks_slowly_is_not_silent() {
    let (a, mut slow) = duplex(1 << 20);
    let mut near: Near = framed_over(a, QUICK);
    let mut encoder = Encoder::new();
    encoder.message(ToWorker::Fenced).unwrap();
    let bytes: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    for byte in bytes {
        tokio::time::sleep(QUICK.fence / 8).await;
        slow.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(next(&mut near.receiver).await, Ok(ToWorker::Fenced));
}

/// Says that it is alive, for as long as anybody is there.
async fn beat(mut writer: impl AsyncWrite + Unpin) {
    let mut encoder = Encoder::new();
    encoder.heartbeat();
    let beat: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    while writer.write_all(&beat).await.is_ok() {
        tokio::time::sleep(QUICK.heartbeat).await;
    }
}

#[tokio::test]
async fn who_is_to_speak_and_only_is_alive_is_lost() {
    let (a, far) = duplex(1 << 20);
    let (_reader, mut writer) = tokio::io::split(far);
    let mut near: Near = framed_over(a, Terms { mute: Some(BRIEFLY), ..QUICK });
    let (mut encoder, message) = (Encoder::new(), ToWorker::Recall(vec![AttemptId::default(); 4]));
    encoder.message(message.clone()).unwrap();
    let bytes: Vec<u8> = encoder.chunks().iter().flatten().copied().collect();
    let (header, body) = bytes.split_at(12);
    writer.write_all(header).await.unwrap();
    // However slowly, it speaks.
    for byte in body {
        tokio::time::sleep(BRIEFLY / 8).await;
        writer.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(next(&mut near.receiver).await, Ok(message));
    tokio::spawn(beat(writer));
    assert_eq!(next(&mut near.receiver).await, Err(Closed::Lost(LossReason::Silent)));
}

#[tokio::test]
async fn who_takes_nothing_and_only_is_alive_is_lost() {
    let (a, far) = duplex(1 << 10);
    let (_reader, writer) = tokio::io::split(far);
    tokio::spawn(beat(writer));
    let near: Near = framed_over(a, Terms { deaf: Some(BRIEFLY), ..QUICK });
    near.sender.send(ended(1 << 20)).unwrap();
    near.sender.finish();
    soon(near.sender.flushed()).await;
}

async fn refused(mut bytes: Vec<u8>) -> Closed {
    let (a, mut raw): (DuplexStream, DuplexStream) = duplex(1 << 20);
    let mut near: Near = framed_over(a, QUICK);
    bytes.extend([0; 100]);
    raw.write_all(&bytes).await.unwrap();
    let closed = next(&mut near.receiver).await.unwrap_err();
    // The connection is closed from this side, heartbeats aside.
    let mut rest = Vec::new();
    soon(raw.read_to_end(&mut rest)).await.unwrap();
    closed
}

#[tokio::test]
async fn broken_frames_close_the_link() {
    let broken = |closed| matches!(closed, Closed::Lost(LossReason::Protocol(_)));
    assert!(broken(refused(b"GET / HTTP/1.1\r\n\r\n".to_vec()).await));
    assert!(broken(refused(vec![0xff; 4_000]).await));
    assert!(broken(refused([&[1, 0, 0, 0][..], &u32::MAX.to_le_bytes(), &[0; 4]].concat()).await));
    let (a, mut raw) = duplex(100);
    let mut near: Near = framed_over(a, QUICK);
    raw.write_all(&[1, 0, 0]).await.unwrap();
    drop(raw);
    let closed = next(&mut near.receiver).await;
    assert_eq!(closed, Err(Closed::Lost(LossReason::Protocol(FrameError::Truncated))));
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_told() {
    let (mut near, _far) = over(100);
    let text = "x".repeat(2 << 20).into();
    let death = plait_core::outcome::Death {
        host: text,
        pid: 1,
        exit: plait_core::outcome::Exit::Unknown,
        peak_memory: 0,
        log_tail: "".into(),
    };
    let report = Report { attempt: AttemptId::default(), ending: Ending::Crashed(death.into()), run_micros: 1 };
    near.sender.send(FromWorker::Ended(vec![report])).unwrap();
    let closed = soon(async {
        loop {
            match near.sender.send(FromWorker::Draining) {
                Ok(()) => tokio::task::yield_now().await,
                Err(closed) => break closed,
            }
        }
    });
    assert!(matches!(closed.await, Closed::Lost(LossReason::Unsendable(_))));
    assert!(next(&mut near.receiver).await.is_err());
}
