//! Values that stay with workers, and clients that share a worker's store or do not.

use crate::rig::{Act, PATIENCE, Probe, Rig, await_empty, define, eventually, task, value};
use bytes::Bytes;
use plait::client::{Close, Handle, State};
use plait::store::objects::Objects;
use plait_core::id::{ObjectId, Seq};
use plait_core::spec::{Retention, Start};
use plait_core::value::Value;
use std::sync::Arc;

const LARGE: usize = 1 << 20;

fn made() -> Value {
    Value::from(Bytes::from(vec![b'x'; LARGE]))
}

/// A worker whose values stay with it, and lie in the store of the client too.
fn share(rig: &Rig, client: &Handle) -> Probe {
    let objects = Arc::clone(client.objects().expect("its coordinator is in this process"));
    rig.worker(1, move |start: &Start| {
        objects.store(ObjectId(start.attempt), made());
        Act::Keep(made())
    })
}

fn objects(client: &Handle) -> &Objects {
    client.objects().expect("its coordinator is in this process")
}

/// The name of what the worker made last.
fn last(probe: &Probe) -> ObjectId {
    ObjectId(*probe.started.lock().unwrap().last().expect("it was given something"))
}

fn kept(client: &Handle) -> Seq {
    let mut task = task("");
    task.retention = Retention::Release;
    let seq = client.submit(task).expect("admitted");
    assert!(client.wait(seq, PATIENCE));
    seq
}

#[test]
fn what_lies_in_the_clients_store_is_read_there_and_released_once_it_is_taken() {
    let rig = Rig::new();
    let client = rig.client();
    let probe = share(&rig, &client);
    define(&client);
    let seq = client.submit(task("")).expect("admitted");
    assert!(client.wait(seq, PATIENCE));
    probe.store.lock().unwrap().insert(last(&probe), Value::copied(b"nobody asks the worker"));
    assert_eq!(value(&client, seq).len(), LARGE);
    eventually(|| probe.store.lock().unwrap().is_empty());
    await_empty(&client);
    rig.end();
}

#[test]
fn what_lies_elsewhere_is_fetched_before_its_task_is_over() {
    let rig = Rig::new();
    let client = rig.client();
    let probe = rig.worker(1, |_: &Start| Act::Keep(made()));
    define(&client);
    let seq = client.submit(task("")).expect("admitted");
    assert_eq!(value(&client, seq).len(), LARGE);
    eventually(|| probe.store.lock().unwrap().is_empty());
    await_empty(&client);
    rig.end();
}

#[test]
fn what_nobody_can_ask_for_by_then_is_released_when_it_is_told() {
    let rig = Rig::new();
    let client = rig.client();
    let probe = rig.worker(1, |start: &Start| if start.args.is_empty() { Act::Keep(made()) } else { Act::Hold });
    define(&client);
    let held = client.submit(task("hold the slot")).expect("admitted");
    probe.await_starts(1);
    let seq = client.submit(task("")).expect("admitted");
    client.release(seq);
    client.release(held);
    probe.finish();
    eventually(|| probe.started.lock().unwrap().len() == 2 && probe.store.lock().unwrap().is_empty());
    await_empty(&client);
    rig.end();
}

#[test]
fn what_is_gone_from_the_store_is_fetched_when_it_is_asked_for() {
    let rig = Rig::new();
    let client = rig.client();
    let probe = share(&rig, &client);
    define(&client);
    let seq = kept(&client);
    objects(&client).forget(&[last(&probe)]);
    assert_eq!(client.take(seq, Retention::Release), None);
    assert_eq!(value(&client, seq).len(), LARGE);
    client.release(seq);
    await_empty(&client);
    rig.end();
}

#[test]
fn what_a_closed_client_was_told_it_keeps() {
    let rig = Rig::new();
    let client = rig.client();
    let probe = share(&rig, &client);
    define(&client);
    let (first, second) = (kept(&client), kept(&client));
    objects(&client).forget(&[last(&probe)]);
    client.close(Close::Now);
    eventually(|| client.submit(task("")).is_err());
    eventually(|| probe.store.lock().unwrap().is_empty());
    assert_eq!(value(&client, first).len(), LARGE);
    let lost = client.take(second, Retention::Release).expect("it is over");
    assert!(lost.outcome.is_err(), "nobody can be asked any more");
    assert_eq!(client.state(second), State::Unknown);
    rig.end();
}
