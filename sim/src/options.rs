//! What the command line asks for, and what a seed chooses: the shape of its world and which faults strike it.

use crate::clock::{MICRO, MILLI, SECOND};
use plait_core::rng::Rng;

/// What was asked on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One seed, told in full.
    Replay { seed: u64, canary: Canary },
    /// Many seeds, summed up.
    Swarm { start: u64, count: u64 },
}

/// A rule that is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canary {
    /// Every rule holds.
    None,
    /// A client is told one outcome twice.
    DuplicateOutcome,
    /// One report of a worker is lost without a trace.
    DroppedReport,
    /// One value is changed on its way.
    ChangedValue,
    /// One attempt is handed out twice.
    DoubledStart,
    /// A worker believes once that it has been given credit back.
    InventedCredit,
    /// What comes back from a disk is once not what was written.
    RottenDisk,
}

pub(crate) const CANARIES: [(&str, Canary); 6] = [
    ("duplicate-outcome", Canary::DuplicateOutcome),
    ("dropped-report", Canary::DroppedReport),
    ("changed-value", Canary::ChangedValue),
    ("doubled-start", Canary::DoubledStart),
    ("invented-credit", Canary::InventedCredit),
    ("rotten-disk", Canary::RottenDisk),
];

pub(crate) const USAGE: &str = "usage: plait-sim --seed N [--canary NAME] | --seeds COUNT [--start N]
canaries: duplicate-outcome, dropped-report, changed-value, doubled-start, invented-credit, rotten-disk";

/// Reads the command line.
pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut seed, mut count, mut start, mut canary) = (None, None, 0, Canary::None);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"));
        match word.as_str() {
            "--seed" => seed = Some(number()?),
            "--seeds" => count = Some(number()?),
            "--start" => start = number()?,
            "--canary" => {
                let known = CANARIES.iter().find(|(name, _)| *name == value);
                canary = known.ok_or_else(|| format!("no canary is called {value}"))?.1;
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    match (seed, count) {
        (Some(seed), None) => Ok(Asked::Replay { seed, canary }),
        (None, Some(count)) => Ok(Asked::Swarm { start, count }),
        _ => Err("one of --seed and --seeds".to_string()),
    }
}

/// How client, coordinator and worker stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All in one process, joined in memory; no other worker can come.
    Embedded,
    /// Apart, joined by a network.
    Cluster,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A worker's process is killed, or its machine loses power.
    WorkerCrash,
    /// A worker is stopped for a while.
    WorkerPause,
    /// A worker is asked to leave.
    WorkerDrain,
    /// A machine that was not there joins.
    WorkerJoin,
    /// The coordinator is stopped for a while.
    CoordinatorPause,
    /// A client is stopped for a while.
    ClientPause,
    /// A client's process is killed.
    ClientCrash,
    /// A path holds everything back for a moment.
    Stall,
    /// A path carries nothing in one direction.
    OneWayCut,
    /// A path carries nothing at all.
    Silence,
    /// A connection is reset.
    Reset,
    /// An executor is killed from outside.
    ExecutorKill,
    /// Events from the past, and of things that never were.
    Injection,
}

const FAULTS: [Fault; 13] = [
    Fault::WorkerCrash,
    Fault::WorkerPause,
    Fault::WorkerDrain,
    Fault::WorkerJoin,
    Fault::CoordinatorPause,
    Fault::ClientPause,
    Fault::ClientCrash,
    Fault::Stall,
    Fault::OneWayCut,
    Fault::Silence,
    Fault::Reset,
    Fault::ExecutorKill,
    Fault::Injection,
];

/// Faults that an embedded world can suffer.
const FAULTS_WITHIN: [Fault; 2] = [Fault::ExecutorKill, Fault::Injection];

/// A seed's choice.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    /// Faults that strike, each with its weight.
    pub(crate) faults: Vec<(Fault, u64)>,
    /// Mean time between two faults.
    pub(crate) fault_every: u64,
    /// How long faults strike; afterwards everything heals.
    pub(crate) fault_until: u64,
    pub(crate) drift_ppm: u64,
    pub(crate) latency: u64,
    pub(crate) jitter: u64,
    /// Most inputs that a driver takes at once.
    pub(crate) batch: u64,
    /// How many of 100 executors do not start well.
    pub(crate) spawn_trouble: u64,
    pub(crate) held_bytes_limit: u64,
    pub(crate) result_limit: u64,
    pub(crate) session_tasks: u64,
    /// How much of each kind one step of the coordinator does beside its events.
    pub(crate) slice: usize,
    /// How many of 100 messages pass through the codec.
    pub(crate) coded: u64,
    /// How many of 1000 scripts fail in some way.
    pub(crate) trouble: u64,
    /// How many of 1000 values weigh something.
    pub(crate) heavy: u64,
    /// Values of more bytes than this stay with their worker.
    pub(crate) store_above: u64,
    /// Of those, clients go themselves to workers for values of so many bytes.
    pub(crate) direct_bytes: u64,
    /// As long as they are not more than so many bytes: in memory, and on disk.
    pub(crate) memory_bytes: u64,
    pub(crate) spill_bytes: u64,
    /// What a disk takes, whatever its worker believes.
    pub(crate) disk_bytes: u64,
    /// How many of 100 objects cannot be written; half as many cannot be read.
    pub(crate) disk_trouble: u64,
    /// How many of 100 fetches, by workers or clients, take long; half as many fail.
    pub(crate) fetch_trouble: u64,
    pub(crate) operations: u64,
    /// After how many steps of a machine all its invariants are checked.
    pub(crate) check_every: u64,
    pub(crate) canary: Canary,
}

impl Plan {
    /// Whether memory may be short on workers, and disks no help.
    pub(crate) const fn may_lack_space(&self) -> bool {
        let disk = self.spill_bytes < PLENTY || self.disk_bytes < PLENTY || self.disk_trouble > 0;
        self.memory_bytes < PLENTY && self.store_above < u64::MAX && disk
    }

    /// The choice of `seed`.
    pub(crate) fn draw(seed: u64, rng: &mut Rng, canary: Canary) -> Self {
        let shape = if rng.chance(1, 6) { Shape::Embedded } else { Shape::Cluster };
        let embedded = shape == Shape::Embedded;
        let tight = rng.chance(1, 3);
        // What a disk does shows only where memory is short.
        let starved = rng.chance(1, 2) || canary == Canary::RottenDisk;
        Self {
            shape,
            workers: if embedded { 1 } else { 1 + rng.below(4) as usize },
            clients: if embedded { 1 } else { 1 + rng.below(3) as usize },
            faults: draw_faults(shape, rng),
            fault_every: log_uniform(rng, 20 * MILLI, 4 * SECOND),
            fault_until: log_uniform(rng, 2 * SECOND, 150 * SECOND),
            drift_ppm: if rng.chance(1, 2) { 0 } else { rng.below(100_000) },
            latency: log_uniform(rng, 30 * MICRO, 40 * MILLI),
            jitter: log_uniform(rng, 10 * MICRO, 30 * MILLI),
            batch: 1 + rng.below(64),
            spawn_trouble: if rng.chance(1, 3) { rng.below(30) } else { 0 },
            held_bytes_limit: if tight { log_uniform(rng, 4 << 10, 4 << 20) } else { 1 << 30 },
            result_limit: if rng.chance(1, 3) { log_uniform(rng, 1 << 10, 1 << 20) } else { 256 << 20 },
            session_tasks: if rng.chance(1, 4) { 5 + rng.below(60) } else { 5_000_000 },
            slice: log_uniform(rng, 1, 4_096) as usize,
            coded: if rng.chance(1, 3) { 100 } else { 0 },
            trouble: if rng.chance(1, 4) { 0 } else { rng.below(400) },
            heavy: if rng.chance(1, 2) { 0 } else { rng.below(300) },
            store_above: match rng.below(6) {
                _ if canary == Canary::RottenDisk => 0,
                0 | 1 => u64::MAX,
                2 => 0,
                _ => log_uniform(rng, 16, 128 << 10),
            },
            direct_bytes: match rng.below(4) {
                0 => u64::MAX,
                1 => log_uniform(rng, 16, 128 << 10),
                _ => 0,
            },
            memory_bytes: if starved { log_uniform(rng, 64, 64 << 10) } else { PLENTY },
            spill_bytes: if rng.chance(1, 3) { log_uniform(rng, 256, 1 << 20) } else { PLENTY },
            disk_bytes: if rng.chance(1, 4) { log_uniform(rng, 256, 1 << 20) } else { PLENTY },
            disk_trouble: if rng.chance(1, 2) { 0 } else { rng.below(40) },
            fetch_trouble: if rng.chance(1, 2) { 0 } else { rng.below(60) },
            operations: log_uniform(rng, 5, 160),
            check_every: if seed.is_multiple_of(8) { 1 } else { 4 },
            canary,
        }
    }
}

/// Bytes that no world needs.
const PLENTY: u64 = 1 << 40;

fn draw_faults(shape: Shape, rng: &mut Rng) -> Vec<(Fault, u64)> {
    if rng.chance(1, 10) {
        return Vec::new();
    }
    let possible: &[Fault] = if shape == Shape::Embedded { &FAULTS_WITHIN } else { &FAULTS };
    possible.iter().map(|fault| (*fault, rng.below(16))).filter(|(_, weight)| *weight >= 8).collect()
}

/// A number between `low` and `high` whose logarithm is uniform.
pub(crate) fn log_uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let octaves = (high / low.max(1)).max(1).ilog2() + 1;
    let base = low << rng.below(u64::from(octaves));
    (base + rng.below(base)).min(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_or_refused() {
        let read = |text: &str| read(text.split_whitespace().map(str::to_string));
        assert_eq!(read("--seed 42"), Ok(Asked::Replay { seed: 42, canary: Canary::None }));
        assert_eq!(read("--seeds 9 --start 3"), Ok(Asked::Swarm { start: 3, count: 9 }));
        assert!(read("--seed").is_err() && read("--seed x").is_err() && read("").is_err() && read("--x 1").is_err());
    }

    #[test]
    fn log_uniform_keeps_its_bounds() {
        let mut rng = Rng::new(1);
        assert!((0..1_000).all(|_| (100..=5_000).contains(&log_uniform(&mut rng, 100, 5_000))));
    }
}
