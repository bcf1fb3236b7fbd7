//! The dice of a program: scripts, options, sizes.

use crate::options::{Plan, log_uniform};
use crate::script::{ALWAYS, BALLAST_MAX, Behaviour, Function, Script};
use plait_core::id::{OptionsId, Seq};
use plait_core::resource::{Amount, Resources};
use plait_core::rng::Rng;
use plait_core::spec::Options;

/// What a program's scripts are drawn from.
#[derive(Debug)]
pub(super) struct Draw {
    /// How many of 1000 scripts fail in some way.
    trouble: u64,
    /// How many of 1000 values weigh something.
    heavy: u64,
    ballast_max: u64,
    result_limit: u64,
    longest_micros: u64,
}

/// Items of a chunk are told apart by this much.
const ITEMS_PER_TASK: u32 = 100;
/// Items of most chunks, at the most, and of those that take long: few enough to list all that they may come to together.
const SHORT_CHUNK: u64 = 5;
const LONG_CHUNK: u64 = 8;
/// What each item of those takes at the least.
const LONG_ITEM_MICROS: u64 = 5_000;

impl Draw {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            trouble: plan.trouble,
            heavy: plan.heavy,
            ballast_max: (4 * plan.result_limit.min(plan.held_bytes_limit)).min(BALLAST_MAX),
            result_limit: plan.result_limit,
            longest_micros: if plan.operations.is_multiple_of(3) { 2_000_000 } else { 50_000 },
        }
    }

    fn tag(seq: Seq, item: u32) -> u32 {
        seq.0 as u32 * ITEMS_PER_TASK + item
    }

    fn micros(&self, rng: &mut Rng) -> u64 {
        log_uniform(rng, 5, self.longest_micros)
    }

    /// One call of its own.
    pub(super) fn script(&self, seq: Seq, rng: &mut Rng) -> Script {
        let behaviour = if rng.chance(self.trouble, 1000) { trouble(rng) } else { Behaviour::Return };
        self.with(seq, behaviour, rng)
    }

    /// A piece of a run: it never hangs.
    pub(super) fn piece(&self, seq: Seq, rng: &mut Rng) -> Script {
        let behaviour = if rng.chance(self.trouble / 10, 1000) { passing_trouble(rng) } else { Behaviour::Return };
        self.with(seq, behaviour, rng)
    }

    fn with(&self, seq: Seq, behaviour: Behaviour, rng: &mut Rng) -> Script {
        let ballast = if rng.chance(self.heavy, 1000) { log_uniform(rng, 16, self.ballast_max) } else { 0 };
        Script { tag: Self::tag(seq, 0), behaviour, micros: self.micros(rng), ballast }
    }

    /// The text of a value to be put.
    pub(super) fn put(&self, seq: Seq, rng: &mut Rng) -> String {
        let ballast = if rng.chance(self.heavy, 1000) { log_uniform(rng, 16, self.ballast_max) } else { 0 };
        format!("put{seq};{}", "x".repeat(ballast as usize))
    }

    /// The items of a chunk, which now and then takes far longer than any other. Where they weigh something, two of them are
    /// too large together.
    pub(super) fn items(&self, seq: Seq, rng: &mut Rng) -> Vec<Script> {
        let long = rng.chance(1, 6);
        let count = 1 + rng.below(if long { LONG_CHUNK } else { SHORT_CHUNK }) as u32;
        let ballast = if rng.chance(self.heavy, 1000) { self.result_limit / 3 * 2 } else { 0 };
        let item = |n: u32, rng: &mut Rng| {
            let behaviour = if rng.chance(self.trouble / 10, 1000) { passing_trouble(rng) } else { Behaviour::Return };
            let micros = if long {
                log_uniform(rng, LONG_ITEM_MICROS, self.longest_micros)
            } else {
                self.micros(rng) / u64::from(count)
            };
            Script { tag: Self::tag(seq, n), behaviour, micros, ballast }
        };
        (0..count).map(|n| item(n, rng)).collect()
    }

    /// The function that finishes a run.
    pub(super) fn join(&self, rng: &mut Rng) -> Function {
        let micros = log_uniform(rng, 5, 20_000);
        match rng.below(1000) {
            n if n < self.trouble / 4 => Function::Join { crashes: 1 + rng.below(2) as u32, micros },
            n if n < self.trouble / 3 => Function::Fail,
            _ => Function::Join { crashes: 0, micros },
        }
    }

    /// How many pieces a run will have.
    pub(super) fn pieces(&self, rng: &mut Rng) -> u64 {
        match rng.below(60) {
            0 => 0,
            1 => 1,
            2 => 260 + rng.below(400),
            _ => 1 + rng.below(40),
        }
    }
}

fn trouble(rng: &mut Rng) -> Behaviour {
    match rng.below(10) {
        0 => Behaviour::Hang,
        1 => Behaviour::Stubborn,
        2 => Behaviour::Soil,
        3 => Behaviour::Crash(ALWAYS),
        4 => Behaviour::Raise(ALWAYS),
        _ => passing_trouble(rng),
    }
}

fn passing_trouble(rng: &mut Rng) -> Behaviour {
    match rng.below(8) {
        0 => Behaviour::Refuse,
        1 => Behaviour::Crash(1),
        2 => Behaviour::Crash(2),
        3 => Behaviour::Soil,
        4 => Behaviour::Raise(ALWAYS),
        5 => Behaviour::Crash(ALWAYS),
        _ => Behaviour::Raise(1 + rng.below(3) as u32),
    }
}

pub(super) fn hangs(script: &Script) -> bool {
    matches!(script.behaviour, Behaviour::Hang | Behaviour::Stubborn)
}

/// The options that a program uses: easy ones, then some that not every worker can serve, then an impossible one.
pub(super) fn options(rng: &mut Rng) -> Vec<Options> {
    let mut all = vec![Options::default()];
    for _ in 0..3 {
        let cpus = if rng.chance(1, 4) { 2 } else { 1 };
        all.push(Options {
            request: Resources::cpus(cpus),
            retries: rng.below(4) as u32,
            crash_limit: 1 + rng.below(3) as u32,
            priority: rng.below(5) as i32 - 2,
            label: "".into(),
        });
    }
    for _ in 0..2 {
        let gpu = Amount(rng.below(4) * Amount::SCALE / 4);
        let request = Resources::new(1 + rng.below(3) as u32, [("gpu".into(), gpu)]);
        all.push(Options { request, retries: rng.below(3) as u32, ..Options::default() });
    }
    let request = Resources::new(1, [("tpu".into(), Amount(Amount::SCALE))]);
    all.push(Options { request, ..Options::default() });
    all
}

/// Any of them, the easy ones by far most often.
pub(super) fn options_id(rng: &mut Rng, count: usize) -> OptionsId {
    match rng.below(100) {
        0 => OptionsId(count as u32 - 1),
        1..10 => OptionsId(4 + rng.below(2) as u32),
        _ => OptionsId(rng.below(4) as u32),
    }
}

/// Seldom a hard one, and never the impossible one.
pub(super) fn easy_options_id(rng: &mut Rng, count: usize) -> OptionsId {
    if rng.chance(1, 500) { OptionsId(count as u32 - 2) } else { OptionsId(rng.below(4) as u32) }
}
