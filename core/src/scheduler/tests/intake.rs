//! What waits behind a request that takes more than a step.

use super::ROOMY;
use super::world::{Rig, request, task};
use crate::id::{Seq, SessionId};
use crate::limits;
use crate::scheduler::{Action, Config, EndReason, Event};
use crate::spec::{Request, TaskSpec};
use crate::value::Value;
use bytes::Bytes;
use std::vec;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);
const INPUTS: u64 = 1_000;

/// So many values, each as large as all credit, behind a task that is tied to its inputs for many steps.
fn behind(values: u64) -> Rig {
    let mut rig = Rig::new(Config { slice: 1, ..ROOMY });
    rig.open(SESSION);
    (0..INPUTS).for_each(|seq| rig.step([request(SESSION, Request::Submit(vec![task(seq)]))]));
    let wide = TaskSpec { inputs: (0..INPUTS).map(Seq).collect(), ..task(INPUTS) };
    let value = Value::from(Bytes::from(vec![0; limits::CONNECTION_CREDIT_BYTES as usize]));
    let puts = (1..=values).map(|n| request(SESSION, Request::Put { seq: Seq(INPUTS + n), value: value.clone() }));
    let events: Vec<Event> = [request(SESSION, Request::Submit(vec![wide]))].into_iter().chain(puts).collect();
    rig.step(events);
    rig
}

fn is_sent_away(rig: &Rig) -> bool {
    rig.log.iter().any(|action| matches!(action, Action::EndSession { reason: EndReason::Misbehaved, .. }))
}

#[test]
fn what_credit_allows_waits_and_is_taken() {
    let mut rig = behind(2);
    assert_eq!(rig.scheduler.snapshot().waiting(SESSION), 2);
    while rig.scheduler.snapshot().waiting(SESSION) > 0 {
        rig.step([]);
    }
    assert!(!is_sent_away(&rig));
}

#[test]
fn a_client_that_ignores_credit_is_sent_away() {
    assert!(!is_sent_away(&behind(3)), "twice the credit and what comes on top");
    let mut rig = behind(4);
    assert!(is_sent_away(&rig));
    rig.step([]);
}
