//! Values that many tasks need, lost again and again while the news of one loss is still under way: all is well in the end.

use super::ROOMY;
use super::world::{RAISE, Rig, request, task, value_of};
use crate::id::{FunctionId, ObjectId, OptionsId, RunId, Seq, SessionId, WorkerId};
use crate::outcome::{Ending, Outcome};
use crate::rng::Rng;
use crate::scheduler::{Config, Event};
use crate::spec::{Call, Finish, Request, Retention, RunSpec, Start, TaskSpec};
use crate::value::Stored;
use std::collections::BTreeSet;
use std::format;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);
/// What a run comes to.
const RESULT: u64 = 0;
const PIECES: u64 = 20;
/// The first task that needs others.
const FIRST: u64 = 1 + PIECES;
const TASKS: u64 = 220;

/// A world and the objects that were made in it.
struct World {
    rig: Rig,
    rng: Rng,
    made: Vec<ObjectId>,
    workers: u32,
    tasks: u64,
}

impl World {
    /// Some workers, and a run with as many tasks that need what it comes to.
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut rig = Rig::new(Config { slice: 1 + rng.below(2) as usize, ..ROOMY });
        rig.open(SESSION);
        let finish = Finish::Reduce { function: FunctionId(0), initial: None };
        let (id, result, options) = (RunId(0), Seq(RESULT), OptionsId(0));
        let pieces = (1..FIRST).map(|seq| TaskSpec { run: Some(id), ..task(seq) });
        rig.step([
            request(SESSION, Request::OpenRun(RunSpec { id, result, finish, errors: RAISE, options })),
            request(SESSION, Request::Submit(pieces.collect())),
            request(SESSION, Request::SealRun { run: id, pieces: PIECES }),
        ]);
        let mut world = Self { rig, rng, made: Vec::new(), workers: 0, tasks: FIRST };
        (0..3).for_each(|_| world.join());
        (0..PIECES).for_each(|_| world.submit());
        world
    }

    fn join(&mut self) {
        let (slots, queue) = (1 + self.rng.below(3) as u32, self.rng.below(4) as u32);
        self.rig.join(WorkerId(self.workers), slots, queue);
        self.workers += 1;
    }

    /// A task that needs the run's result, or some of the first tasks, or both.
    fn submit(&mut self) {
        let seq = self.tasks;
        self.tasks += 1;
        let rng = &mut self.rng;
        let inputs: Vec<Seq> =
            [RESULT].into_iter().chain(FIRST..seq.min(FIRST + 3)).filter(|_| rng.chance(2, 3)).map(Seq).collect();
        // Some need each so often that a step cannot be about all of it.
        let times = if rng.chance(1, 10) { 2 + rng.below(8) as usize } else { 1 };
        let inputs: Vec<Seq> = inputs.iter().copied().cycle().take(inputs.len() * times).collect();
        let kept = seq < FIRST + 3 || rng.chance(1, 2);
        let retention = if kept { Retention::Release } else { Retention::Delivery };
        let task = TaskSpec { inputs: inputs.into(), retention, ..task(seq) };
        self.rig.step([request(SESSION, Request::Submit([task].into()))]);
    }

    /// What others need stays with the worker, and one in three of the others.
    fn end(&mut self, worker: WorkerId) {
        let running = self.rig.hands[&worker].running() as u64;
        if running == 0 {
            return;
        }
        let made = &mut self.made;
        self.rig.end(worker, self.rng.below(running) as usize, |start: &Start| {
            let seq = start.attempt.task.seq;
            if start.call == Call::Fold || seq.0 < FIRST + 3 || seq.0.is_multiple_of(3) {
                let object = ObjectId(start.attempt);
                made.push(object);
                Ending::Returned(Stored { object, lengths: [1 << 20].into() }.into())
            } else {
                Ending::Returned(value_of("done"))
            }
        });
    }

    fn strike(&mut self) {
        let workers: Vec<WorkerId> = self.rig.hands.keys().copied().collect();
        let worker = workers[self.rng.below(workers.len() as u64) as usize];
        match self.rng.below(40) {
            0 => {
                self.rig.lose(worker);
                self.join();
            }
            1 => {
                let objects: Vec<ObjectId> = self.made.iter().copied().filter(|_| self.rng.chance(2, 3)).collect();
                let lost = |worker: &WorkerId| Event::ObjectsLost { worker: *worker, objects: objects.clone() };
                self.rig.step(workers.iter().map(lost).collect::<Vec<_>>());
            }
            _ => self.end(worker),
        }
        self.rig.take_all();
        self.rig.step([]);
    }

    /// Works off what is there, without further harm.
    fn finish(&mut self) {
        let all = self.tasks - PIECES;
        for _ in 0..20_000 {
            if self.rig.outcomes.len() as u64 == all {
                return;
            }
            for worker in self.rig.hands.keys().copied().collect::<Vec<_>>() {
                self.end(worker);
            }
            self.rig.take_all();
            self.rig.step([]);
        }
        panic!("{} of {all} tasks are over", self.rig.outcomes.len());
    }
}

#[test]
fn losses_that_are_told_in_slices_leave_nobody_behind() {
    let (mut losing, mut telling) = (0, 0);
    let mut errands = BTreeSet::new();
    for seed in 0..40 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            if world.tasks < TASKS && world.rng.chance(1, 2) {
                world.submit();
            }
            world.strike();
            losing += u64::from(!world.rig.scheduler.losses.is_empty());
            telling += u64::from(!world.rig.scheduler.tellings.is_empty());
            errands.extend(world.rig.scheduler.walks.iter().map(|(_, walk)| format!("{:?}", walk.errand)));
        }
        world.finish();
        assert!(world.rig.outcomes.values().all(Outcome::is_value), "seed {seed}: every task has its value");
    }
    assert_eq!(
        errands.iter().collect::<Vec<_>>(),
        ["Keep", "Leave", "Need", "Rest", "Want"],
        "tasks are led in slices"
    );
    assert!(losing > 100 && telling > 100, "in {losing} and {telling} steps not all had heard");
}
