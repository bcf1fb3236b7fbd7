//! A whole cluster in one thread: the machines of core, driven by simulated shells through virtual time.
//!
//! - `mod`: the world, its main loop, and how a driver is woken;
//! - `links`: dialling, sending, silence, closing;
//! - `store`, `disk`: what workers hold and fetch, in memory and on disk; `visit`: what clients fetch there;
//! - `coordinator`, `worker`, `executors`, `client`: the shells, each translating between messages and its machine;
//! - `faults`: what goes wrong, and how it heals; `inject`: events from the past;
//! - `flow`: credit, seen from both ends; `verdict`: the end.

mod client;
mod coordinator;
mod disk;
mod executors;
mod faults;
mod flow;
mod inject;
mod links;
mod store;
mod verdict;
mod visit;
mod worker;

pub(crate) use client::ClientHost;
pub(crate) use coordinator::Coordinator;
pub(crate) use disk::Job;
pub(crate) use visit::Visit;
pub(crate) use worker::WorkerHost;

use crate::agenda::{Agenda, Happening, Node};
use crate::checker::Ledger;
use crate::clock::{Clock, MICRO, MILLI, SECOND};
use crate::log::{Hashed, Log, Show};
use crate::network::{ConnectionId, Network, Packet};
use crate::options::{Canary, Plan, Shape};
use plait_core::id::WorkerId;
use plait_core::rng::Rng;
use plait_core::time::Time;
use plait_core::{client as session, scheduler, worker as brain};
use std::collections::{BTreeMap, VecDeque};

/// How long after the heal every task must be over.
const SETTLE_WITHIN: u64 = 400 * SECOND;
/// How long after that everything must be back to nothing.
const DRAIN_WITHIN: u64 = 200 * SECOND;
/// How often that is looked at.
const LOOK_EVERY: u64 = 500 * MILLI;
/// More happenings than any world needs.
const HAPPENINGS: u64 = 4_000_000;
/// A machine that asks for more steps than this at one instant makes no progress.
const STEPS_AT_ONCE: u32 = 200;

/// What waits in a driver's mailbox.
#[derive(Debug)]
pub(crate) enum Input {
    Packet(ConnectionId, Packet),
    /// The link is gone, with or without a close.
    Lost(ConnectionId),
    /// No connection could be made.
    DialFailed,
    Scheduler(scheduler::Event),
    Brain(brain::Event),
    Session(session::Event),
}

impl Input {
    /// A client that comes back over a new connection: what its old one still carries must not be taken for part of
    /// the new one, so a driver looks at nothing more before the scheduler has judged.
    fn ends_batch(&self) -> bool {
        matches!(self, Self::Packet(_, Packet::ClientHello { resume: Some(_), .. }))
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Paused,
    Down,
}

/// A process with a driver in it, on a machine of its own.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) life: u32,
    pub(crate) state: State,
    pub(crate) clock: Clock,
    pub(crate) mailbox: VecDeque<Input>,
    pub(crate) pauses: u64,
    awake: bool,
    armed: u64,
    steps: u64,
    stepped_at: u64,
    steps_at_once: u32,
}

impl Machine {
    pub(crate) fn new(clock: Clock, state: State) -> Self {
        Self {
            life: 0,
            state,
            clock,
            mailbox: VecDeque::new(),
            pauses: 0,
            awake: false,
            armed: 0,
            steps: 0,
            stepped_at: 0,
            steps_at_once: 0,
        }
    }

    /// The process ends; what comes next is another life.
    pub(crate) fn end(&mut self) {
        self.life += 1;
        self.state = State::Down;
        self.mailbox.clear();
        self.awake = false;
    }

    /// Counts a step taken at the true time `now`; whether this one is checked in full.
    fn count_step(&mut self, now: u64, check_every: u64) -> bool {
        self.steps_at_once = if self.stepped_at == now { self.steps_at_once + 1 } else { 0 };
        assert!(self.steps_at_once < STEPS_AT_ONCE, "a machine steps again and again and makes no progress");
        self.stepped_at = now;
        self.steps += 1;
        self.steps.is_multiple_of(check_every)
    }
}

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults strike.
    Troubled,
    /// Everything is healed; tasks come to their ends.
    Healed(u64),
    /// Every task is over; tables empty.
    Settled(u64),
    /// Clients say goodbye.
    Closing(u64),
    /// Nothing is left.
    Over,
}

/// The world of one seed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) agenda: Agenda,
    pub(crate) log: Log,
    pub(crate) network: Network,
    pub(crate) coordinator: Coordinator,
    pub(crate) workers: Vec<WorkerHost>,
    pub(crate) clients: Vec<ClientHost>,
    pub(crate) ledger: Ledger,
    pub(crate) phase: Phase,
    /// Who is or was which worker: the machine, and its life.
    pub(crate) stays: BTreeMap<WorkerId, (usize, u32)>,
    /// Fetches begun so far.
    fetches: u64,
    past: inject::Past,
    lies: flow::Lies,
    steps: u64,
    happened: u64,
}

impl World {
    pub(crate) fn new(seed: u64, canary: Canary, show: Show, hashed: Hashed) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(seed, &mut rng, canary);
        let mut log = Log::new(show, hashed);
        log.line(0, format_args!("seed {seed}"), format_args!("{plan:?}"));
        let coordinator = Coordinator::new(&plan, &mut rng);
        let mut world = Self {
            now: 0,
            agenda: Agenda::default(),
            log,
            network: Network::new(0, 0),
            coordinator,
            workers: Vec::new(),
            clients: Vec::new(),
            ledger: Ledger::new(&plan),
            phase: Phase::Troubled,
            stays: BTreeMap::new(),
            fetches: 0,
            past: inject::Past::default(),
            lies: flow::Lies::default(),
            steps: 0,
            happened: 0,
            plan,
            rng,
        };
        (0..world.plan.workers).for_each(|_| world.add_worker());
        (0..world.plan.clients).for_each(|_| world.add_client());
        world.plan_faults();
        world
    }

    /// Lives through it all. Every broken rule is a panic.
    pub(crate) fn run(&mut self) {
        while self.phase != Phase::Over {
            let (at, happening) = self.agenda.next().expect("a living world always has something ahead");
            self.now = at;
            self.happened += 1;
            assert!(self.happened < HAPPENINGS, "the world never comes to rest: now {happening:?}");
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { node, life } => self.on_wake(node, life),
            Happening::Timer { node, life, armed } => self.on_timer(node, life, armed),
            Happening::Arrive { connection, from } => self.on_arrive(connection, from),
            Happening::Beat { connection, end } => self.on_beat(connection, end),
            Happening::Listen { connection, end } => self.on_listen(connection, end),
            Happening::Stuck { connection, end } => self.on_stuck(connection, end),
            Happening::Dialled { node, life, dial } => self.on_dialled(node, life, dial),
            Happening::Redial { worker, life } => self.on_redial(worker, life),
            Happening::ToExecutor { worker, life, executor, frame } => {
                self.on_frame_to_executor(worker, life, executor, *frame);
            }
            Happening::FromExecutor { worker, life, executor, frame } => {
                self.on_frame_from_executor(worker, life, executor, *frame);
            }
            Happening::Executor { worker, life, executor, inner } => self.on_inner(worker, life, executor, inner),
            fetched @ Happening::Fetched { .. } => self.on_fetched(fetched),
            Happening::Visited(visit) => self.on_visited(visit),
            Happening::DiskDone { worker, life, object, job, number } => {
                self.on_disk_done((worker, life), object, job, number);
            }
            Happening::Program { client, life } => self.on_program(client, life),
            Happening::Fault => self.on_fault(),
            Happening::Resume { node, life, pause } => self.on_resume(node, life, pause),
            Happening::Restart { node, life } => self.on_restart(node, life),
            Happening::Unblock { node, from } => self.on_unblock(node, from),
            Happening::Heal => self.on_heal(),
            Happening::Look => self.on_look(),
        }
    }

    pub(crate) fn machine(&mut self, node: Node) -> &mut Machine {
        match node {
            Node::Coordinator => &mut self.coordinator.machine,
            Node::Worker(n) => &mut self.workers[n].machine,
            Node::Client(n) => &mut self.clients[n].machine,
        }
    }

    /// Puts something into a driver's mailbox and wakes it soon.
    pub(crate) fn post(&mut self, node: Node, input: Input) {
        let machine = self.machine(node);
        if machine.state == State::Down {
            return;
        }
        machine.mailbox.push_back(input);
        self.wake(node);
    }

    /// Wakes a driver soon, unless it is about to wake anyway.
    pub(crate) fn wake(&mut self, node: Node) {
        let machine = self.machine(node);
        if machine.awake || machine.state != State::Up {
            return;
        }
        machine.awake = true;
        let life = machine.life;
        let at = self.now + self.rng.below(100 * MICRO);
        self.agenda.plan(at, Happening::Wake { node, life });
    }

    fn on_wake(&mut self, node: Node, life: u32) {
        let most = 1 + self.rng.below(self.plan.batch) as usize;
        let machine = self.machine(node);
        if machine.life != life {
            return;
        }
        machine.awake = false;
        if machine.state != State::Up {
            return;
        }
        let taken = machine.mailbox.iter().take(most).position(Input::ends_batch).map_or(most, |n| n + 1);
        let taken = taken.min(machine.mailbox.len());
        let inputs: Vec<Input> = machine.mailbox.drain(..taken).collect();
        self.step(node, inputs);
        let machine = self.machine(node);
        if machine.life == life && !machine.mailbox.is_empty() {
            self.wake(node);
        }
    }

    fn on_timer(&mut self, node: Node, life: u32, armed: u64) {
        let machine = self.machine(node);
        if machine.life == life && machine.armed == armed && machine.state == State::Up {
            self.step(node, Vec::new());
        }
    }

    fn step(&mut self, node: Node, inputs: Vec<Input>) {
        self.steps += 1;
        let deadline = match node {
            Node::Coordinator => self.step_coordinator(inputs),
            Node::Worker(n) => self.step_worker(n, inputs),
            Node::Client(n) => self.step_client(n, inputs),
        };
        self.arm(node, deadline);
        if self.steps.is_multiple_of(self.plan.check_every) {
            self.check_flows(node);
        }
    }

    /// What a driver hands to its machine as the time, and whether this step is checked.
    fn clock_in(&mut self, node: Node) -> (Time, bool) {
        let (now, check_every) = (self.now, self.plan.check_every);
        let machine = self.machine(node);
        let checked = machine.count_step(now, check_every);
        (machine.clock.shows(now), checked)
    }

    fn arm(&mut self, node: Node, deadline: Option<Time>) {
        let now = self.now;
        let late = self.rng.below(MILLI);
        let machine = self.machine(node);
        machine.armed += 1;
        let (life, armed) = (machine.life, machine.armed);
        if machine.state == State::Up
            && let Some(deadline) = deadline
        {
            let at = machine.clock.reaches(deadline).max(now);
            let at = if at == u64::MAX { return } else { at + late };
            self.agenda.plan(at, Happening::Timer { node, life, armed });
        }
    }

    /// Whether this process of `node` still lives and runs.
    pub(crate) fn is_up(&mut self, node: Node) -> bool {
        self.machine(node).state == State::Up
    }

    pub(crate) fn medium(&self) -> crate::network::Medium {
        match self.plan.shape {
            Shape::Embedded => crate::network::Medium::Memory,
            Shape::Cluster => crate::network::Medium::Wire,
        }
    }

    fn on_look(&mut self) {
        match self.phase {
            Phase::Troubled | Phase::Over => return,
            Phase::Healed(since) => {
                if self.clients.iter().all(ClientHost::is_through) {
                    self.phase = Phase::Settled(self.now);
                } else {
                    self.ledger.demand_end(self.now, since + SETTLE_WITHIN, &self.clients);
                }
            }
            Phase::Settled(since) => match self.leftovers() {
                None => {
                    self.close_clients();
                    self.phase = Phase::Closing(self.now);
                }
                Some(left) => assert!(self.now < since + DRAIN_WITHIN, "something stays for ever: {left}"),
            },
            Phase::Closing(since) => match self.leftovers() {
                None => {
                    self.conclude();
                    self.phase = Phase::Over;
                }
                Some(left) => assert!(self.now < since + DRAIN_WITHIN, "something outlives its clients: {left}"),
            },
        }
        self.agenda.plan(self.now + LOOK_EVERY, Happening::Look);
    }

    /// A line of the log.
    pub(crate) fn note(&mut self, node: Node, what: std::fmt::Arguments<'_>) {
        match node {
            Node::Coordinator => self.log.line(self.now, format_args!("coordinator"), what),
            Node::Worker(n) => self.log.line(self.now, format_args!("worker {n}"), what),
            Node::Client(n) => self.log.line(self.now, format_args!("client {n}"), what),
        }
    }
}
