//! Tasks whose inputs are with workers: they go there, yet nobody idles and nobody waits for ever.

use super::ROOMY;
use super::world::{Rig, request, task};
use crate::id::{ObjectId, Seq, SessionId, WorkerId};
use crate::outcome::Ending;
use crate::rng::Rng;
use crate::spec::{Request, Retention, Start, TaskSpec};
use crate::value::Stored;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);
const WORKERS: u32 = 4;
const SLOTS: u32 = 4;

fn stored(start: &Start) -> Ending {
    Ending::Returned(Stored { object: ObjectId(start.attempt), lengths: [1 << 20].into() }.into())
}

fn submit(rig: &mut Rig, tasks: impl Iterator<Item = TaskSpec>) {
    rig.step([request(SESSION, Request::Submit(tasks.collect()))]);
}

/// Tasks with these numbers whose values stay with their workers, made one after the other as they are ended.
fn sources(count: u64) -> impl Iterator<Item = TaskSpec> {
    (0..count).map(|n| TaskSpec { retention: Retention::Release, ..task(n) })
}

fn needs(seq: u64, input: u64) -> TaskSpec {
    TaskSpec { inputs: [Seq(input)].into(), ..task(seq) }
}

/// Ends what runs in random order until nothing is left. While anything is ready, every slot is in use.
fn work_off(rig: &mut Rig, rng: &mut Rng) {
    let workers: Vec<WorkerId> = rig.hands.keys().copied().collect();
    while rig.hands.values().any(|hand| !hand.held.is_empty()) || !rig.pending.is_empty() {
        let worker = workers[rng.below(workers.len() as u64) as usize];
        let running = rig.hands[&worker].running();
        if running > 0 {
            rig.end(worker, rng.below(running as u64) as usize, stored);
        }
        rig.take_all();
        rig.step([]);
        let full = rig.hands.values().all(|hand| hand.held.len() >= hand.offer.capacity.cpus as usize);
        assert!(full || rig.scheduler.snapshot().tasks().ready == 0, "no slot idles while anything is ready");
    }
}

/// A layer of tasks and a second one in which each needs one of the first. How many of the second had their input fetched.
fn fetched_by_a_layer(count: u64, queue: u32, seed: u64) -> usize {
    let (mut rig, mut rng) = (Rig::new(ROOMY), Rng::new(seed));
    rig.open(SESSION);
    (0..WORKERS).for_each(|n| rig.join(WorkerId(n), SLOTS, queue));
    submit(&mut rig, sources(count));
    work_off(&mut rig, &mut rng);
    submit(&mut rig, (0..count).map(|n| needs(count + n, n)));
    work_off(&mut rig, &mut rng);
    assert_eq!(rig.outcomes.len() as u64, 2 * count, "all are over");
    rig.fetched
}

#[test]
fn a_layer_runs_where_its_inputs_are() {
    // By chance three in four would be elsewhere. What is fetched is what evens the ends out.
    for (queue, seed) in [(0, 1), (0, 2), (64, 3), (64, 4)] {
        let fetched = fetched_by_a_layer(400, queue, seed);
        assert!(fetched < 40, "{fetched} of 400 fetched, with queues of {queue}");
    }
}

#[test]
fn who_is_passed_over_often_goes_elsewhere() {
    let mut rig = Rig::new(ROOMY);
    rig.open(SESSION);
    [0, 1].into_iter().for_each(|n| rig.join(WorkerId(n), 1, 0));
    submit(&mut rig, sources(2));
    [0, 1].into_iter().for_each(|n| rig.end(WorkerId(n), 0, stored));
    rig.step([]);
    // The first worker never ends what it runs; for the second there is always something that it has the input of.
    submit(&mut rig, [needs(2, 0), needs(3, 0)].into_iter().chain((4..100).map(|n| needs(n, 1))));
    let mut passed_over = 0;
    while rig.hands[&WorkerId(1)].held[0].start.attempt.task.seq != Seq(3) {
        passed_over += 1;
        rig.end(WorkerId(1), 0, stored);
        rig.take_all();
        rig.step([]);
    }
    assert_eq!(passed_over, 32, "sixteen for each slot");
}
