//! Runs against plain Python-like references, whatever the order in which their pieces end.

use super::ROOMY;
use super::world::{GROUPED, RAISE, Rig, call, request, task, text, value_of};
use crate::id::{FunctionId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Ending, Outcome, Retry};
use crate::rng::Rng;
use crate::spec::{Errors, Finish, Request, RunSpec};
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);

#[derive(Clone, Debug)]
struct Plan {
    pieces: u64,
    batch: usize,
    slots: Vec<u32>,
    initial: bool,
    errors: Errors,
    /// One piece in so many raises; 0 for none.
    raises: u64,
    /// One action in so many loses a worker and brings a new one.
    losses: u64,
    seed: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let slots = prop::collection::vec(1..5_u32, 1..4);
    let errors = prop_oneof![Just(Errors::Raise), Just(Errors::Skip)];
    (0..400_u64, 1..100_usize, slots, any::<bool>(), errors, 0..8_u64, 0..200_u64, any::<u64>()).prop_map(
        |(pieces, batch, slots, initial, errors, raises, losses, seed)| {
            let raises = if errors == Errors::Raise { 0 } else { raises };
            Plan { pieces, batch, slots, initial, errors, raises, losses, seed }
        },
    )
}

fn raises(plan: &Plan, piece: u64) -> bool {
    plan.raises > 0 && piece % plan.raises == 1
}

/// Runs a plan in a world whose workers end what they hold in random order; the run's outcome.
fn play(plan: &Plan, finish: Finish) -> Outcome {
    let mut rng = Rng::new(plan.seed);
    let mut rig = Rig::new(ROOMY);
    let mut workers = 0..;
    rig.open(SESSION);
    for slots in &plan.slots {
        rig.join(WorkerId(workers.next().expect("endless")), *slots, 8);
    }
    let spec = RunSpec { id: RunId(0), result: Seq(0), finish, errors: plan.errors, options: OptionsId(0) };
    rig.step([request(SESSION, Request::OpenRun(spec))]);
    let mut pieces = (1..=plan.pieces).peekable();
    let mut sealed = false;
    for _ in 0..200_000 {
        if let Some(outcome) = rig.outcomes.get(&TaskId::new(SESSION, Seq(0))) {
            return outcome.clone();
        }
        if pieces.peek().is_some() && rng.chance(1, 3) {
            let batch = pieces.by_ref().take(plan.batch);
            let specs = batch.map(|seq| crate::spec::TaskSpec { run: Some(RunId(0)), ..task(seq) }).collect();
            rig.step([request(SESSION, Request::Submit(specs))]);
        } else if pieces.peek().is_none() && !sealed {
            sealed = true;
            rig.step([request(SESSION, Request::SealRun { run: RunId(0), pieces: plan.pieces })]);
        }
        end_some(&mut rig, plan, &mut rng);
        if plan.losses > 0 && rng.chance(1, plan.losses + 20) {
            let lost = WorkerId(rng.below(workers.start.into()) as u32);
            rig.lose(lost);
            rig.join(WorkerId(workers.next().expect("endless")), 2, 8);
        }
        rig.take_all();
        rig.step([]);
    }
    panic!("the run never ended: {plan:?}");
}

fn end_some(rig: &mut Rig, plan: &Plan, rng: &mut Rng) {
    let ids: Vec<WorkerId> = rig.hands.keys().copied().collect();
    for worker in ids {
        let running = rig.hands[&worker].running() as u64;
        for _ in 0..rng.below(running + 1) {
            let n = rng.below(running) as usize;
            let crash = rng.chance(1, 40);
            rig.end(worker, n, |start| {
                let piece = start.attempt.task.seq;
                if crash && start.attempt.attempt.0 == 1 {
                    Ending::Crashed(Box::new(super::soup::death()))
                } else if !piece.is_internal() && piece.0 > 0 && raises(plan, piece.0 - 1) {
                    Ending::Raised { error: value_of("ValueError"), retry: Retry::Denied }
                } else {
                    call(start)
                }
            });
        }
    }
}

fn kept(plan: &Plan) -> impl Iterator<Item = String> {
    (1..=plan.pieces).filter(|seq| !raises(plan, seq - 1)).map(|seq| format!("{seq} "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fold_is_what_reduce_gives(plan in plans()) {
        let initial = plan.initial.then(|| value_of("first "));
        let expected: String = initial.iter().map(text).chain(kept(&plan)).collect();
        let outcome = play(&plan, Finish::Reduce { function: FunctionId(1), initial });
        if expected.is_empty() {
            prop_assert_eq!(outcome, Outcome::Skipped);
        } else {
            prop_assert_eq!(outcome.value().map(text), Some(expected));
        }
    }

    #[test]
    fn a_combine_sees_everything_in_order(plan in plans()) {
        let expected = format!("[{}]", kept(&plan).collect::<Vec<_>>().join(","));
        let outcome = play(&plan, Finish::Combine { function: FunctionId(1), grouping: GROUPED });
        prop_assert_eq!(outcome.value().map(text), Some(expected));
    }
}

#[test]
fn a_run_over_nothing_is_its_initial_value() {
    let plan =
        Plan { pieces: 0, batch: 1, slots: [1].into(), initial: true, errors: RAISE, raises: 0, losses: 0, seed: 0 };
    let outcome = play(&plan, Finish::Reduce { function: FunctionId(0), initial: Some(value_of("x")) });
    assert_eq!(outcome, Outcome::Value(value_of("x")));
}
