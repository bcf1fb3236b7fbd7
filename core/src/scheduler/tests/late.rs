//! What comes while something else is being dealt with in slices, and finds it half done.

use super::ROOMY;
use super::world::{GROUPED, RAISE, Rig, function, request, task, value_of};
use crate::id::{FunctionId, ObjectId, OptionsId, RunId, Seq, SessionId, WorkerId};
use crate::outcome::Ending;
use crate::scheduler::{Config, Event};
use crate::spec::{Finish, Request, Retention, RunSpec, TaskSpec};
use crate::value::Stored;
use std::vec::Vec;

#[test]
fn a_session_that_is_buried_while_a_worker_is_forgotten_leaves_the_next_one_whole() {
    let (s0, s1, w0, w1) = (SessionId(0), SessionId(1), WorkerId(0), WorkerId(1));
    let mut rig = Rig::new(Config { slice: 1, ..ROOMY });
    for session in [s0, s1] {
        rig.open(session);
        rig.step((2..10).map(|id| request(session, Request::DefineFunction(function(id, None)))).collect::<Vec<_>>());
    }
    rig.join(w0, 20, 0);
    for session in [s0, s1] {
        let calls = (0..10).map(|n| TaskSpec { function: FunctionId(n), ..task(u64::from(n)) });
        rig.step([request(session, Request::Submit(calls.collect()))]);
    }
    for _ in 0..30 {
        rig.take_all();
        rig.step([]);
    }
    for _ in 0..20 {
        rig.end(w0, 0, |_| Ending::Returned(value_of("x")));
    }
    for _ in 0..5 {
        rig.take_all();
        rig.step([]);
    }
    // Others keep the first worker busy, so that what many wait for is with the second one.
    rig.step([request(s1, Request::Submit((10..30).map(task).collect()))]);
    for _ in 0..30 {
        rig.take_all();
        rig.step([]);
    }
    rig.join(w1, 1, 0);
    let needed = TaskSpec { retention: Retention::Release, ..task(30) };
    rig.step([request(s1, Request::Submit([needed].into()))]);
    rig.step([]);
    assert_eq!(rig.hands[&w1].running(), 1);
    let many = (31..231).map(|seq| TaskSpec { inputs: [Seq(30)].into(), ..task(seq) });
    rig.step([request(s1, Request::Submit(many.collect()))]);
    rig.take_all();
    rig.step([]);
    // Four functions of the first session forget it in this step.
    rig.lose(w0);
    rig.end(w1, 0, |_| Ending::Returned(value_of("x")));
    rig.step([Event::SessionClosed { session: s0 }]);
    for _ in 0..120 {
        rig.take_all();
        rig.step([]);
    }
    rig.join(WorkerId(2), 20, 0);
    for _ in 0..120 {
        rig.take_all();
        rig.step([]);
    }
}

#[test]
fn a_run_that_is_sealed_twice_does_not_begin_without_its_values() {
    let (s0, w0) = (SessionId(0), WorkerId(0));
    let mut rig = Rig::new(ROOMY);
    rig.open(s0);
    rig.join(w0, 3, 0);
    let finish = Finish::Combine { function: FunctionId(0), grouping: GROUPED };
    let (id, result, options) = (RunId(0), Seq(0), OptionsId(0));
    let seal = || request(s0, Request::SealRun { run: id, pieces: 2 });
    rig.step([
        request(s0, Request::OpenRun(RunSpec { id, result, finish, errors: RAISE, options })),
        request(s0, Request::Submit((1..3).map(|seq| TaskSpec { run: Some(id), ..task(seq) }).collect())),
        seal(),
    ]);
    rig.take_all();
    let mut made = Vec::new();
    for _ in 0..2 {
        rig.end(w0, 0, |start| {
            let object = ObjectId(start.attempt);
            made.push(object);
            Ending::Returned(Stored { object, lengths: [1 << 20].into() }.into())
        });
    }
    rig.step([]);
    rig.step([]);
    rig.step([Event::ObjectsLost { worker: w0, objects: [made[0]].into() }]);
    rig.step([seal()]);
    rig.step([]);
}
