//! Client and coordinator shells around a worker that answers at once, on one thread: what everything but executors and
//! Python costs. `cargo bench --bench shells`.
#![expect(
    clippy::unwrap_used,
    dead_code,
    reason = "a measurement that cannot go on panics; the rig is shared with tests"
)]

#[path = "../tests/rust/rig.rs"]
mod rig;

use plait::client::{Handle, NewTask, SubmitError};
use plait_core::id::Seq;
use plait_core::spec::Retention;
use rig::{PATIENCE, Rig, define, task};
use std::time::{Duration, Instant};

/// Tasks of the flood.
const TASKS: u32 = 500_000;
/// Round trips, one after the other.
const TRIPS: u32 = 20_000;

fn main() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    for _ in 0..3 {
        flood(&client);
    }
    trips(&client);
    rig.end();
}

/// Submits all, then takes all, as a program with many futures does.
fn flood(client: &Handle) {
    let new = NewTask { retention: Retention::Release, ..task("arguments of a no-op task") };
    let start = Instant::now();
    let mut blocked = Duration::ZERO;
    let tasks: Vec<Seq> = (0..TASKS).map(|_| submit(client, &new, &mut blocked)).collect();
    let submitted = start.elapsed() - blocked;
    for task in tasks {
        assert!(client.wait(task, PATIENCE));
        assert!(client.take(task, Retention::Delivery).is_some());
        client.release(task);
    }
    let all = start.elapsed();
    println!(
        "{TASKS} tasks: {:.0} ns to submit one, {:.2} µs for all of one ({:.0} a second)",
        submitted.as_nanos() as f64 / f64::from(TASKS),
        all.as_nanos() as f64 / f64::from(TASKS) / 1e3,
        f64::from(TASKS) / all.as_secs_f64(),
    );
}

fn submit(client: &Handle, new: &NewTask, blocked: &mut Duration) -> Seq {
    loop {
        match client.submit(new.clone()) {
            Ok(seq) => return seq,
            Err(SubmitError::Full) => {
                let start = Instant::now();
                assert!(client.wait_admission(PATIENCE));
                *blocked += start.elapsed();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// One task at a time: two threads must wake each other, everything else is work.
fn trips(client: &Handle) {
    let mut times: Vec<Duration> = (0..TRIPS)
        .map(|_| {
            let start = Instant::now();
            let task = client.submit(task("x")).unwrap();
            assert!(client.wait(task, PATIENCE));
            assert!(client.take(task, Retention::Delivery).is_some());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("round trip: {:?} at best, {:?} median, {:?} in 99 of 100", times[0], at(50), at(99));
}
