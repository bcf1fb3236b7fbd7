//! Values that many tasks need, lost again and again while the news of one loss is still under way: all is well in the end.

use super::ROOMY;
use super::world::{Rig, request, task, value_of};
use crate::id::{Attempt, AttemptId, ObjectId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::Ending;
use crate::rng::Rng;
use crate::scheduler::{Config, Event};
use crate::spec::{Request, Retention, Start, TaskSpec};
use crate::value::Stored;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);
/// Tasks whose values stay with workers: others need them, and each some before it.
const SOURCES: u64 = 4;

/// Sources stay with their worker, and so does one in three of the others.
fn ending(start: &Start) -> Ending {
    let AttemptId { task, .. } = start.attempt;
    if task.seq.0 < SOURCES || task.seq.0.is_multiple_of(3) {
        Ending::Returned(Stored { object: ObjectId(start.attempt), lengths: [1 << 20].into() }.into())
    } else {
        Ending::Returned(value_of("done"))
    }
}

fn submit(rig: &mut Rig, rng: &mut Rng, seq: u64) {
    let inputs: Vec<Seq> = (0..SOURCES.min(seq)).filter(|_| rng.chance(1, 2)).map(Seq).collect();
    let retention = if rng.chance(1, 2) || seq < SOURCES { Retention::Release } else { Retention::Delivery };
    let task = TaskSpec { inputs: inputs.into(), retention, ..task(seq) };
    rig.step([request(SESSION, Request::Submit([task].into()))]);
}

/// Something that happens: a loss, now and then.
fn strike(rig: &mut Rig, rng: &mut Rng, next_worker: &mut u32) {
    let workers: Vec<WorkerId> = rig.hands.keys().copied().collect();
    let worker = workers[rng.below(workers.len() as u64) as usize];
    match rng.below(40) {
        0 => {
            rig.lose(worker);
            rig.join(WorkerId(*next_worker), 1 + rng.below(3) as u32, rng.below(4) as u32);
            *next_worker += 1;
        }
        1 | 2 => {
            let of = |seq| AttemptId { task: TaskId::new(SESSION, Seq(seq)), attempt: Attempt(1) };
            let named = |n: u64| ObjectId(AttemptId { attempt: Attempt(n as u32), ..of(n % SOURCES) });
            let objects: Vec<ObjectId> = (0..SOURCES * 6).map(named).collect();
            let lost = workers.iter().map(|worker| Event::ObjectsLost { worker: *worker, objects: objects.clone() });
            rig.step(lost.collect::<Vec<_>>());
        }
        _ => {
            let running = rig.hands[&worker].running() as u64;
            if running > 0 {
                rig.end(worker, rng.below(running) as usize, ending);
            }
            rig.take_all();
            rig.step([]);
        }
    }
}

/// Works off what is there, without further harm.
fn finish(rig: &mut Rig, tasks: u64) {
    for _ in 0..20_000 {
        if rig.outcomes.len() as u64 == tasks {
            return;
        }
        for worker in rig.hands.keys().copied().collect::<Vec<_>>() {
            rig.end(worker, 0, ending);
        }
        rig.take_all();
        rig.step([]);
    }
    panic!("{} of {tasks} tasks are over", rig.outcomes.len());
}

#[test]
fn losses_that_are_told_in_slices_leave_nobody_behind() {
    let mut under_way = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut rig = Rig::new(Config { slice: 1 + rng.below(2) as usize, ..ROOMY });
        rig.open(SESSION);
        let mut next_worker = 3;
        (0..next_worker).for_each(|n| rig.join(WorkerId(n), 1 + rng.below(3) as u32, rng.below(4) as u32));
        let mut tasks = 0;
        for _ in 0..600 {
            if tasks < 200 && rng.chance(1, 2) {
                submit(&mut rig, &mut rng, tasks);
                tasks += 1;
            }
            strike(&mut rig, &mut rng, &mut next_worker);
            under_way += u64::from(!rig.scheduler.losses.is_empty());
        }
        (tasks..220).for_each(|seq| submit(&mut rig, &mut rng, seq));
        finish(&mut rig, 220);
        assert!(rig.outcomes.values().all(crate::outcome::Outcome::is_value), "seed {seed}: every task has its value");
    }
    assert!(under_way > 200, "the news was under way after {under_way} steps only");
}
