//! The scheduler as the cluster grows: how long its steps take, what a pending task takes of memory, what a task costs.
//!
//! `make bench-scale`, or with `ARGS=--quick` a tenth of the tasks, with `ARGS="wide 100"` one case and size. Nothing stands in for the scheduler; workers and
//! clients are made up, and say what real ones say, in steps as large as the coordinator's driver makes them. Times are
//! those of steps alone, each the shorter of the same step's in two runs: what somebody else on the machine adds is in one of them.

mod cases;
mod clock;
mod cluster;

use cases::{Phase, Size};
use std::process::Command;
use std::time::Duration;

/// The same calls give the same steps, so a step is measured in each of so many runs.
const RUNS: usize = 2;
/// What no step may take.
const LONG: Duration = Duration::from_millis(10);

const SIZES: [Size; 4] = [
    Size { workers: 1, tasks: 1_000_000 },
    Size { workers: 10, tasks: 1_000_000 },
    Size { workers: 100, tasks: 1_000_000 },
    Size { workers: 1_000, tasks: 10_000_000 },
];
/// The most tasks of a case that is not about the backlog.
const ELSEWHERE: u64 = 1_000_000;

type Case = fn(Size) -> Vec<Phase>;

/// The cases that are not about the backlog, by name.
const ELSE: [(&str, Case); 12] = [
    ("graphs", cases::graphs),
    ("runs", cases::runs),
    ("classes", cases::classes),
    ("unlike", cases::unlike),
    ("objects", cases::objects),
    ("losses", cases::losses),
    ("drains", cases::drains),
    ("functions", cases::functions),
    ("wide", cases::wide),
    ("wide-objects", cases::wide_objects),
    ("row", cases::row),
    ("full", cases::full),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let part = if words.iter().any(|word| word == "--quick") { 10 } else { 1 };
    let asked = words.iter().find_map(|word| word.parse().ok());
    match asked.and_then(|workers| SIZES.into_iter().find(|size| size.workers == workers)) {
        Some(Size { workers, tasks }) => measure(Size { workers, tasks: tasks / part }, &words),
        // Each in a process of its own: memory that one has let go of would hide what the next one takes.
        None => SIZES.iter().for_each(|size| measure_apart(size.workers, &words)),
    }
}

fn measure_apart(workers: u32, words: &[String]) {
    let itself = std::env::current_exe().expect("a program knows where it is");
    let ended = Command::new(itself).args(words).arg(workers.to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()), "the measurement with {workers} workers failed");
}

fn measure(size: Size, words: &[String]) {
    let workers = size.workers;
    println!("\n{workers} workers, {} slots, {} tasks", workers * cluster::SLOTS, size.tasks);
    println!("{:<22}{:>8}{:>11}{:>11}{:>11}{:>12}", "phase", "steps", "median", "99 in 100", "longest", "each");
    let mut over = 0;
    let named = |name| words.iter().any(|word| word == name);
    let all = named("backlog") || ELSE.iter().all(|(name, _)| !named(name));
    if all {
        let mut pending = Vec::new();
        let phases = fastest(|| {
            let (phases, bytes) = cases::backlog(size);
            pending.push(bytes);
            phases
        });
        // Memory that the first run has let go of hides what another one takes.
        let bytes = pending[0];
        phases.iter().for_each(|phase| over += show(phase));
        println!("{:<22}{bytes:>8.0} bytes, {} of them arguments", "a pending task takes", cluster::ARGS_BYTES);
    }
    let size = Size { tasks: size.tasks.min(ELSEWHERE), ..size };
    for (_, case) in ELSE.into_iter().filter(|(name, _)| all || named(name)) {
        fastest(|| case(size)).iter().for_each(|phase| over += show(phase));
    }
    println!("{:<22}{over:>8}", format!("longer than {LONG:?}"));
}

/// The phases of a case, each step at its fastest.
fn fastest(mut case: impl FnMut() -> Vec<Phase>) -> Vec<Phase> {
    let mut phases = case();
    for _ in 1..RUNS {
        for (phase, again) in phases.iter_mut().zip(case()) {
            assert_eq!(phase.spans.len(), again.spans.len(), "{}: the same calls give the same steps", phase.name);
            phase.spans.iter_mut().zip(again.spans).for_each(|(span, again)| *span = (*span).min(again));
        }
    }
    phases
}

/// A line of the table. How many of the steps took too long.
fn show(phase: &Phase) -> usize {
    let Phase { name, items, spans } = phase;
    let mut sorted = spans.clone();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).copied();
    let [median, most, last] = [50, 99, 100].map(|percent| show_span(at(percent).unwrap_or_default()));
    let each = spans.iter().sum::<Duration>().as_nanos() / u128::from((*items).max(1));
    println!("{name:<22}{:>8}{median:>11}{most:>11}{last:>11}{each:>9} ns", spans.len());
    spans.iter().filter(|span| **span > LONG).count()
}

fn show_span(span: Duration) -> String {
    let micros = span.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.1} µs") } else { format!("{:.2} ms", micros / 1e3) }
}
