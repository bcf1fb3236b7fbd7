//! Peers that hold the right line.

use super::*;
use bytes::Bytes;
use plait::net::link::LossReason;
use plait_core::id::{AttemptId, SessionId, WorkerId};
use plait_core::outcome::{Ending, Report};
use plait_core::resource::Amount;
use std::time::Instant;

#[tokio::test]
async fn workers_and_clients_come_in_and_are_heard() {
    let mut port = Port::open().await;
    let (worker, mut of_worker) = port.worker().await;
    let (client, mut of_client) = port.client().await;
    worker.sender.send(FromWorker::Taken(3)).unwrap();
    client.sender.send(FromClient::AskStatus(4)).unwrap();
    assert_eq!(next(&mut of_worker.receiver).await, Ok(FromWorker::Taken(3)));
    assert_eq!(next(&mut of_client.receiver).await, Ok(FromClient::AskStatus(4)));
    let (mut worker, mut client) = (worker, client);
    of_worker.sender.send(ToWorker::Welcome { worker: WorkerId(1), result_limit: 9 }).unwrap();
    of_client.sender.send(ToClient::Welcome { session: SessionId(1), taken: 0, value_limit: 9 }).unwrap();
    assert_eq!(next(&mut worker.receiver).await, Ok(ToWorker::Welcome { worker: WorkerId(1), result_limit: 9 }));
    assert_eq!(
        next(&mut client.receiver).await,
        Ok(ToClient::Welcome { session: SessionId(1), taken: 0, value_limit: 9 })
    );
    worker.sender.send(FromWorker::Goodbye).unwrap();
    worker.sender.finish();
    drop(worker);
    assert_eq!(next(&mut of_worker.receiver).await, Ok(FromWorker::Goodbye));
    assert_eq!(next(&mut of_worker.receiver).await, Err(Closed::Ended));
    drop(client);
    assert!(matches!(next(&mut of_client.receiver).await, Err(Closed::Lost(LossReason::Cut(_)))));
}

#[tokio::test]
async fn a_client_comes_back_to_its_session() {
    let mut port = Port::open().await;
    let resumed = Some((Epoch(7), SessionId(3), 99));
    let line = port.line(Role::Client);
    drop(soon(dial_client(&line, "me", PYTHON, u128::MAX, resumed, &None)).await.unwrap());
    let Arrival::Client { token: u128::MAX, resume, .. } = port.next().await else { panic!("not this client") };
    assert_eq!(resume, resumed);
}

#[tokio::test]
async fn what_a_peer_calls_itself_and_its_resources_is_one_plain_line() {
    let mut port = Port::open().await;
    let named = [("gpu".into(), Amount(1)), ("tpu\u{1b}[2J\n\u{9b}".into(), Amount(2))];
    let said = Offer { name: "host\r1".into(), capacity: Resources::new(3, named), ..offer() };
    drop(soon(dial_worker(&port.line(Role::Worker), said, &|_| None, &None)).await.unwrap());
    let Arrival::Worker { offer: heard, .. } = port.next().await else { panic!("not this worker") };
    assert_eq!(&*heard.name, "host\u{fffd}1");
    assert_eq!(heard.capacity.to_string(), "cpus=3 gpu=0.0001 tpu\u{fffd}[2J\u{fffd}\u{fffd}=0.0002");
    drop(soon(dial_client(&port.line(Role::Client), "me\u{1b}c", PYTHON, 1, None, &None)).await.unwrap());
    let Arrival::Client { name, .. } = port.next().await else { panic!("not this client") };
    assert_eq!(&*name, "me\u{fffd}c");
}

#[tokio::test]
async fn each_address_of_a_line_is_tried() {
    let mut port = Port::open().await;
    let mut line = port.line(Role::Worker);
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    line.addresses.splice(0..0, [at(dead), "nowhere.invalid:1".parse().unwrap()]);
    drop(soon(dial_worker(&line, offer(), &|_| None, &None)).await.expect("the third one answers"));
    assert!(matches!(port.next().await, Arrival::Worker { .. }));
}

#[tokio::test]
async fn a_hundred_megabytes_pass_while_both_sides_stay_heard() {
    let mut port = Port::open().await;
    let (near, mut far) = port.worker().await;
    let value = Bytes::from((0..100_u32 << 20).map(|n| (n / 4_099) as u8).collect::<Vec<_>>());
    let ending = Ending::Returned(value.clone().into());
    let report = Report { attempt: AttemptId::default(), ending, run_micros: 1 };
    near.sender.send(FromWorker::Ended(vec![report])).unwrap();
    near.sender.send(FromWorker::Draining).unwrap();
    let (mut batch, started) = (Vec::new(), Instant::now());
    let mut longest = Duration::ZERO;
    while batch.is_empty() {
        let waited = Instant::now();
        soon(far.receiver.receive(&mut batch, 1)).await.unwrap();
        longest = longest.max(waited.elapsed());
    }
    assert!(longest < plait_core::limits::SUSPECT_AFTER, "silent for {longest:?} of {:?}", started.elapsed());
    let FromWorker::Ended(reports) = &batch[0] else { panic!("not the value") };
    let Ending::Returned(received) = &reports[0].ending else { panic!("not the value") };
    assert!(received.clone().into_segments() == [value], "the bytes are the same");
    assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Draining));
}

#[tokio::test]
async fn many_come_in_at_once() {
    let mut port = Port::open().await;
    let line = port.line(Role::Worker);
    let dials: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let line = line.clone();
                async move { dial_worker(&line, offer(), &|_| None, &None).await }
            })
        })
        .collect();
    for dial in dials {
        soon(dial).await.unwrap().expect("there is room for all");
        assert!(matches!(port.next().await, Arrival::Worker { .. }));
    }
}

#[tokio::test]
async fn a_closed_port_is_closed() {
    let port = Port::open().await;
    port.shutdown.cancel();
    soon(async { while tokio::net::TcpStream::connect(port.address).await.is_ok() {} }).await;
    let refused = port.dial_worker().await.unwrap_err();
    assert!(matches!(refused, DialError::Unreachable { .. }), "{refused}");
}
