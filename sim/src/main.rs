//! plait's simulated world: a whole cluster in one thread, from one seed.
//!
//! The machines of `plait-core` run here as they run in the shells, between simulated networks, processes and clocks.
//! Each seed chooses a world and the faults that strike it; afterwards everything heals, and every task must have come
//! to exactly one outcome that the reference model allows, with nothing left behind.
//!
//! No wall clock, no thread, no chance but the seed's: a seed that fails, fails again.
//!
//! - `options`: the command line, and what a seed chooses;
//! - `cluster`: the world and its shells; `agenda`, `clock`, `network`, `process`: what they stand on;
//! - `workload`, `script`: users' programs and their code; `model`: what may come of them;
//! - `checker`: what must hold at every step; `probe`: rare branches that must be reached; `log`: what was done.

mod agenda;
mod checker;
mod clock;
mod cluster;
mod codec;
mod log;
mod model;
mod network;
mod options;
mod probe;
mod process;
mod script;
#[cfg(test)]
mod tests;
mod workload;

use cluster::World;
use log::{Hashed, Show};
use options::{Asked, Canary};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// One seed in this many is run twice, and must do the same both times.
const TWICE_EVERY: u64 = 20;

/// What a world that went well was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) hash: u64,
    pub(crate) lines: u64,
    pub(crate) steps: u64,
    pub(crate) tasks: u64,
    pub(crate) executions: u64,
    pub(crate) messages: u64,
    pub(crate) faults: u64,
    pub(crate) virtual_seconds: u64,
}

thread_local! {
    /// Where the last panic was: the hook knows, the one who catches it does not.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let asked = match options::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("{wrong}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    keep_panics_quiet();
    match asked {
        Asked::Replay { seed, canary } => replay(seed, canary),
        Asked::Swarm { start, count } => swarm(start, count),
    }
}

fn replay(seed: u64, canary: Canary) -> ExitCode {
    match simulate(seed, canary, Show::Everything, Hashed::Wholly) {
        Ok(summary) => {
            println!("seed {seed} is well: {summary:?}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("seed {seed} fails: {broken}");
            ExitCode::FAILURE
        }
    }
}

fn swarm(start: u64, count: u64) -> ExitCode {
    let mut total = Summary::default();
    let mut failed = 0;
    for seed in start..start.saturating_add(count) {
        match try_seed(seed) {
            Ok(summary) => {
                total.steps += summary.steps;
                total.tasks += summary.tasks;
                total.executions += summary.executions;
                total.messages += summary.messages;
                total.faults += summary.faults;
                total.virtual_seconds += summary.virtual_seconds;
            }
            Err(broken) => {
                failed += 1;
                println!("seed {seed} fails: {broken}\n  replay it with: make sim SEED={seed}");
            }
        }
    }
    let missed = show_probes();
    println!(
        "{count} seeds, {failed} failed: {} steps, {} tasks, {} executions, {} messages, {} faults in {} virtual minutes",
        total.steps,
        total.tasks,
        total.executions,
        total.messages,
        total.faults,
        total.virtual_seconds / 60
    );
    // Few seeds cannot be expected to reach everything.
    let lacking = count >= 1_000 && missed > 0;
    if failed > 0 || lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints how often each probe was hit; how many never were.
fn show_probes() -> usize {
    let counts = probe::counts();
    for (name, hits) in &counts {
        println!("{hits:>9} {name}{}", if *hits == 0 { "   <- never" } else { "" });
    }
    counts.iter().filter(|(_, hits)| *hits == 0).count()
}

/// Runs a seed as a swarm does: some of them twice.
pub(crate) fn try_seed(seed: u64) -> Result<Summary, String> {
    if !seed.is_multiple_of(TWICE_EVERY) {
        return simulate(seed, Canary::None, Show::Nothing, Hashed::Not);
    }
    let first = simulate(seed, Canary::None, Show::Nothing, Hashed::Wholly)?;
    let second = simulate(seed, Canary::None, Show::Nothing, Hashed::Wholly)?;
    if first == second { Ok(first) } else { Err(format!("two runs differ: {first:?} and {second:?}")) }
}

/// Lives through the world of a seed; says what rule was broken, if one was.
pub(crate) fn simulate(seed: u64, canary: Canary, show: Show, hashed: Hashed) -> Result<Summary, String> {
    let lived = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, canary, show, hashed);
        world.run();
        world.summary()
    }));
    lived.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        let text: String = text.chars().take(2_000).collect();
        format!("{text} (at {})", PANICKED_AT.take())
    })
}

/// A panic is how a broken rule is told; it is caught, and shown once.
pub(crate) fn keep_panics_quiet() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANICKED_AT.set(place);
    }));
}
