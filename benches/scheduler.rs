//! One million tasks through the scheduler alone: lifecycles per second, and bytes per pending task.
//!
//! `cargo bench --bench scheduler`; how long its steps take, `make bench-scale` shows. The clock is read here; the scheduler
//! only sees made-up time.

use bytes::Bytes;
use plait_core::id::{FunctionId, OptionsId, Seq, SessionId, WorkerId};
use plait_core::limits;
use plait_core::outcome::{Ending, Notice, Report};
use plait_core::resource::Resources;
use plait_core::scheduler::{Action, Config, Event, Exchange, Scheduler, Watch, World};
use plait_core::spec::{Call, FunctionSpec, Offer, Options, PythonVersion, Request, Retention, TaskSpec};
use plait_core::time::Time;
use plait_core::value::Value;
use plait_core::window;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const TASKS: u64 = 1_000_000;
const BATCH: u64 = 1_000;
const WORKERS: u32 = 2;
const SLOTS: u32 = 8;
const QUEUE_PER_SLOT: u32 = 256;
const ARGS_BYTES: usize = 32;
const SESSION: SessionId = SessionId(0);

/// Both ends of the scheduler: clients and workers that answer at once.
struct Bench {
    scheduler: Scheduler,
    now: Time,
    actions: Vec<Action>,
    events: VecDeque<Event>,
    notices: u64,
    done: u64,
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            held_bytes_limit: 8 << 30,
            result_limit: 1 << 30,
            session_tasks: 5_000_000,
            world: World::Open,
            ride_along: limits::INLINE_VALUE_BYTES as u64,
            direct_bytes: limits::DIRECT_BYTES,
            slice: limits::STEP_SLICE,
        };
        let mut world = Self {
            scheduler: Scheduler::new(config, 1),
            now: Time::ZERO,
            actions: Vec::new(),
            events: VecDeque::new(),
            notices: 0,
            done: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let session = SESSION;
        let body = Value::from(Bytes::from_static(b"body"));
        let function = FunctionSpec { id: FunctionId(0), hash: [0; 32], python: None, body };
        let options = Request::DefineOptions { id: OptionsId(0), options: Options::default() };
        let requests =
            [Request::DefineFunction(function), options].map(|request| Event::Requested { session, request });
        self.events.push_back(Event::SessionOpened { session, token: 0, exchange: Exchange::Bytes });
        self.events.extend(requests);
        self.step();
    }

    fn join_workers(&mut self) {
        for id in 0..WORKERS {
            let offer = Offer {
                name: "bench".into(),
                capacity: Resources::cpus(SLOTS),
                queue: QUEUE_PER_SLOT * SLOTS,
                python: PythonVersion { major: 3, minor: 12 },
                peer: None,
            };
            self.events.push_back(Event::WorkerJoined {
                worker: WorkerId(id),
                offer,
                watch: Watch::None,
                exchange: Exchange::Bytes,
            });
        }
    }

    fn submit(&mut self, first: u64, count: u64) {
        // As it arrives: the arguments of a batch are slices of one buffer.
        let mut buffer = Bytes::from(vec![7; ARGS_BYTES * count as usize]);
        let task = |seq| TaskSpec {
            seq: Seq(seq),
            function: FunctionId(0),
            options: OptionsId(0),
            call: Call::Single,
            args: Value::from(buffer.split_to(ARGS_BYTES)),
            inputs: [].into(),
            run: None,
            retention: Retention::Delivery,
        };
        let request = Request::Submit((first..first + count).map(task).collect());
        self.events.push_back(Event::Requested { session: SESSION, request });
    }

    /// One step, and the answers to what it wants done.
    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(50);
        self.scheduler.step(self.now, self.events.drain(..), &mut self.actions);
        let result = Value::from(Bytes::from_static(b"result"));
        for action in self.actions.drain(..) {
            match action {
                Action::StartAttempts { worker, starts } => {
                    let cost = starts.iter().map(|start| window::cost(start.len())).sum();
                    let report = |start: plait_core::spec::Start| Report {
                        attempt: start.attempt,
                        ending: Ending::Returned(result.clone()),
                        run_micros: 10,
                    };
                    let reports = starts.into_iter().map(report).collect();
                    self.events.push_back(Event::StartsTaken { worker, cost });
                    self.events.push_back(Event::AttemptsEnded { worker, reports });
                }
                Action::Notify { session, notices } => {
                    self.notices += notices.len() as u64;
                    self.events.push_back(Event::NoticesTaken { session, taken: self.notices });
                    for notice in notices {
                        if let Notice::Ended(deliveries) = notice {
                            self.done += deliveries.len() as u64;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Lifecycles per second with tasks coming as fast as they go.
fn lifecycles() -> f64 {
    let mut world = Bench::new();
    world.join_workers();
    let begin = Instant::now();
    let mut submitted = 0;
    while world.done < TASKS {
        if submitted < TASKS {
            world.submit(submitted, BATCH);
            submitted += BATCH;
        }
        world.step();
    }
    TASKS as f64 / begin.elapsed().as_secs_f64()
}

/// Bytes per task when a million is pending, their arguments included; and lifecycles per second when workers then come.
fn pending() -> (f64, f64) {
    let mut world = Bench::new();
    let before = resident_bytes();
    for first in (0..TASKS).step_by(BATCH as usize) {
        world.submit(first, BATCH);
        world.step();
    }
    let bytes = resident_bytes().saturating_sub(before) as f64 / TASKS as f64;
    world.join_workers();
    let begin = Instant::now();
    while world.done < TASKS {
        world.step();
    }
    (bytes, TASKS as f64 / begin.elapsed().as_secs_f64())
}

/// Memory of this process that is in use, as the kernel counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process its size");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident size is among it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number of kB");
    kib << 10
}

fn main() {
    let (bytes, drained) = pending();
    println!("pending: {bytes:.0} bytes per task ({ARGS_BYTES} of them arguments)");
    println!("backlog: {drained:.0} lifecycles/s without submission");
    let best = (0..3).map(|_| lifecycles()).fold(0.0, f64::max);
    println!("steady:  {best:.0} lifecycles/s, submission included (best of three)");
}
