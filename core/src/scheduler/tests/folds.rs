//! Runs against plain Python-like references, whatever the order in which their pieces end.

use super::ROOMY;
use super::world::{GROUPED, RAISE, Rig, call, request, task, text, value_of};
use crate::id::{FunctionId, OptionsId, RunId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Ending, Outcome, Retry};
use crate::rng::Rng;
use crate::spec::{Call, Errors, Finish, Request, RunSpec, Span, Start, TaskSpec};
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec::Vec;

const SESSION: SessionId = SessionId(0);

#[derive(Clone, Debug)]
struct Plan {
    items: u64,
    /// Items of a piece at the most; pieces are no chunks if none.
    chunk: u64,
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
    let sizes = (0..400_u64, prop_oneof![Just(0), 1..60_u64], 1..100_usize);
    (sizes, slots, any::<bool>(), errors, 0..8_u64, 0..200_u64, any::<u64>()).prop_map(
        |((items, chunk, batch), slots, initial, errors, raises, losses, seed)| {
            let raises = if errors == Errors::Raise { 0 } else { raises };
            Plan { items, chunk, batch, slots, initial, errors, raises, losses, seed }
        },
    )
}

fn raises(plan: &Plan, item: u64) -> bool {
    plan.raises > 0 && item % plan.raises == 1
}

/// The pieces of a run: single items, or chunks of them. Each item is a number from 1.
fn pieces(plan: &Plan, folds: bool, rng: &mut Rng) -> Vec<TaskSpec> {
    let mut pieces = Vec::new();
    let mut next = 1;
    while next <= plan.items {
        let items = if plan.chunk == 0 { 1 } else { 1 + rng.below(plan.chunk).min(plan.items - next) };
        let (errors, span, merge) = (plan.errors, Span::whole(items as u32), FunctionId(1));
        let call = match (plan.chunk, folds) {
            (0, _) => Call::Single,
            (_, true) => Call::ChunkFold { errors, retries: 0, span, merge },
            (_, false) => Call::Chunk { errors, retries: 0, span },
        };
        let args = value_of(&(next..next + items).map(|item| format!("{item} ")).collect::<String>());
        pieces.push(TaskSpec { run: Some(RunId(0)), call, args, ..task(1 + pieces.len() as u64) });
        next += items;
    }
    pieces
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
    let folds = matches!(finish, Finish::Reduce { .. });
    let spec = RunSpec { id: RunId(0), result: Seq(0), finish, errors: plan.errors, options: OptionsId(0) };
    rig.step([request(SESSION, Request::OpenRun(spec))]);
    let pieces = pieces(plan, folds, &mut rng);
    let total = pieces.len() as u64;
    let mut pieces = pieces.into_iter().peekable();
    let mut sealed = false;
    for _ in 0..200_000 {
        if let Some(outcome) = rig.outcomes.get(&TaskId::new(SESSION, Seq(0))) {
            return outcome.clone();
        }
        if pieces.peek().is_some() && rng.chance(1, 3) {
            let specs = pieces.by_ref().take(plan.batch).collect();
            rig.step([request(SESSION, Request::Submit(specs))]);
        } else if pieces.peek().is_none() && !sealed {
            sealed = true;
            rig.step([request(SESSION, Request::SealRun { run: RunId(0), pieces: total })]);
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
            rig.end(worker, n, |start| ending(plan, start, rng));
        }
    }
}

fn ending(plan: &Plan, start: &Start, rng: &mut Rng) -> Ending {
    if rng.chance(1, 40) && start.attempt.attempt.0 == 1 {
        return Ending::Crashed(Box::new(super::soup::death()));
    }
    match start.call {
        Call::Fold | Call::Combine { .. } => call(start),
        Call::Single if raises(plan, number(&text(&start.args))) => raised(),
        Call::Single => call(start),
        Call::Chunk { span, .. } | Call::ChunkFold { span, .. } => chunk_ending(plan, start, span, rng),
    }
}

/// What a chunk comes to: its items, without those that raise; or now and then nothing that says what its items come to.
fn chunk_ending(plan: &Plan, start: &Start, span: Span, rng: &mut Rng) -> Ending {
    if span.len() > 1 && rng.chance(1, 5) {
        return match rng.below(3) {
            0 if plan.errors == Errors::Skip => raised(),
            1 if plan.errors == Errors::Skip => Ending::Crashed(Box::new(super::soup::death())),
            _ => Ending::TooLarge { size: 2, limit: 1 },
        };
    }
    let (args, items) = (text(&start.args), span.first as usize..span.end as usize);
    let items: Vec<&str> = args.split_terminator(' ').collect::<Vec<_>>()[items].to_vec();
    if span.len() == 1 && raises(plan, number(items[0])) && rng.chance(1, 2) {
        return raised();
    }
    let kept: Vec<&str> = items.into_iter().filter(|item| !raises(plan, number(item))).collect();
    match start.call {
        Call::ChunkFold { .. } if kept.is_empty() => Ending::Skipped,
        _ => Ending::Returned(value_of(&kept.iter().map(|item| format!("{item} ")).collect::<String>())),
    }
}

fn raised() -> Ending {
    Ending::Raised { error: value_of("ValueError"), retry: Retry::Denied }
}

fn number(text: &str) -> u64 {
    text.trim().parse().expect("an item is a number")
}

fn kept(plan: &Plan) -> impl Iterator<Item = String> {
    (1..=plan.items).filter(|item| !raises(plan, *item)).map(|item| format!("{item} "))
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
        let expected = kept(&plan).collect::<String>();
        let outcome = play(&plan, Finish::Combine { function: FunctionId(1), grouping: GROUPED });
        prop_assert_eq!(outcome.value().map(|value| text(value).replace(['[', ',', ']'], "")), Some(expected));
    }
}

#[test]
fn a_run_over_nothing_is_its_initial_value() {
    let plan = Plan {
        items: 0,
        chunk: 0,
        batch: 1,
        slots: [1].into(),
        initial: true,
        errors: RAISE,
        raises: 0,
        losses: 0,
        seed: 0,
    };
    let outcome = play(&plan, Finish::Reduce { function: FunctionId(0), initial: Some(value_of("x")) });
    assert_eq!(outcome, Outcome::Value(value_of("x")));
}
