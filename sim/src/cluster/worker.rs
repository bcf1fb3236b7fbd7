//! A worker's simulated shell: it dials, translates, and carries out what the brain wants done with executors.

use super::disk::{Disk, Job};
use super::visit::peer;
use super::{Input, Machine, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{Clock, MILLI, SECOND};
use crate::network::{ConnectionId, End, Packet};
use crate::options::{Canary, Plan, Shape};
use crate::probe::probe;
use crate::process::Executor;
use plait_core::id::{ExecutorId, ObjectId, SessionId};
use plait_core::outcome::Report;
use plait_core::peer::Fingerprint;
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::resource::{Amount, Resources};
use plait_core::rng::Rng;
use plait_core::spec::{Offer, PythonVersion};
use plait_core::time::Time;
use plait_core::value::Value;
use plait_core::worker::{self as brain, Action, Brain, Event};
use std::collections::{BTreeMap, BTreeSet};

/// A worker machine, over all its lives.
#[derive(Debug)]
pub(crate) struct WorkerHost {
    pub(crate) machine: Machine,
    pub(crate) brain: Brain,
    pub(crate) offer: Offer,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// Named resources and slots in use by what runs.
    pub(crate) in_use: Resources,
    /// Whether executors stand still with their worker.
    pub(crate) frozen_until: u64,
    pub(crate) next_pid: u32,
    /// Objects here, and the numbers of the fetches of those on their way.
    pub(crate) store: BTreeMap<ObjectId, Value>,
    pub(crate) fetching: BTreeMap<ObjectId, u64>,
    pub(crate) disk: Disk,
    /// Clients that may come, each for what its session made.
    pub(crate) guests: BTreeSet<(Fingerprint, SessionId)>,
    dials: u64,
    opened: bool,
}

impl WorkerHost {
    /// What it says when a connection is made, unless that dial is old news.
    pub(super) fn hello(&self, dial: u64) -> Option<Packet> {
        (dial == self.dials && self.connection.is_none()).then(|| Packet::WorkerHello(self.offer.clone()))
    }

    /// The connection over which a coordinator has made it welcome.
    pub(super) fn link(&self) -> Option<ConnectionId> {
        self.connection.filter(|_| self.opened)
    }

    /// An object, wherever it lies.
    pub(super) fn held(&self, object: ObjectId) -> Option<&Value> {
        self.store.get(&object).or_else(|| self.disk.get(object))
    }

    pub(crate) fn slots(&self) -> u32 {
        self.offer.capacity.cpus
    }
}

/// What the coordinator tells a worker to fetch.
const fn ordered(event: &Event) -> Option<ObjectId> {
    match event {
        Event::FetchOrdered { object, .. } => Some(*object),
        _ => None,
    }
}

/// What a machine may have.
fn draw_offer(n: usize, shape: Shape, rng: &mut Rng) -> Offer {
    let slots = 1 + rng.below(4) as u32;
    let amount = |rng: &mut Rng| Amount(rng.below(3) * Amount::SCALE / 2);
    let gpu = if rng.chance(1, 3) { amount(rng) } else { Amount(0) };
    Offer {
        name: format!("host{n}").into(),
        capacity: Resources::new(slots, [("gpu".into(), gpu)]),
        queue: 1 + rng.below(16) as u32,
        peer: rng.chance(7, 8).then(|| peer(n, 0)),
        python: PythonVersion { major: 3, minor: if shape == Shape::Embedded { 12 } else { 11 + rng.below(3) as u8 } },
    }
}

/// A machine on which everything fits that is not meant to be impossible.
fn universal_offer(n: usize, minor: u8) -> Offer {
    Offer {
        name: format!("host{n}").into(),
        capacity: Resources::new(4, [("gpu".into(), Amount(2 * Amount::SCALE))]),
        queue: 8,
        python: PythonVersion { major: 3, minor },
        peer: Some(peer(n, 0)),
    }
}

fn new_brain(offer: &Offer, plan: &Plan) -> Brain {
    Brain::new(brain::Config {
        slots: offer.capacity.cpus,
        capacity: offer.capacity.clone(),
        store_above: plan.store_above,
        memory_bytes: plan.memory_bytes,
        spill_bytes: Ok(plan.spill_bytes),
        spill_dir: "/spill".into(),
        supervision: brain::Supervision::default(),
    })
}

impl World {
    /// One more machine joins.
    pub(super) fn add_worker(&mut self) {
        let offer = draw_offer(self.workers.len(), self.plan.shape, &mut self.rng);
        self.add_worker_with(offer);
    }

    /// Machines that can run everything that can be run at all.
    pub(super) fn add_universal_workers(&mut self) {
        for minor in 11..=13 {
            let offer = universal_offer(self.workers.len(), minor);
            self.add_worker_with(offer);
        }
    }

    fn add_worker_with(&mut self, offer: Offer) {
        let n = self.workers.len();
        self.network.add_path(Node::Worker(n));
        let clock = Clock::draw(&mut self.rng, self.plan.drift_ppm);
        self.workers.push(WorkerHost {
            machine: Machine::new(clock, State::Down),
            brain: new_brain(&offer, &self.plan),
            in_use: offer.capacity.clone(),
            offer,
            connection: None,
            executors: BTreeMap::new(),
            frozen_until: 0,
            next_pid: 1,
            store: BTreeMap::new(),
            fetching: BTreeMap::new(),
            disk: Disk::default(),
            guests: BTreeSet::new(),
            dials: 0,
            opened: false,
        });
        self.start_worker(n);
    }

    /// A new process on worker machine `n`.
    pub(super) fn start_worker(&mut self, n: usize) {
        let host = &mut self.workers[n];
        host.machine.state = State::Up;
        host.brain = new_brain(&host.offer, &self.plan);
        host.in_use = host.offer.capacity.clone();
        host.connection = None;
        host.executors.clear();
        host.store.clear();
        host.fetching.clear();
        host.disk = Disk::default();
        host.guests.clear();
        // Each life has a key of its own.
        let life = host.machine.life;
        host.offer.peer.iter_mut().for_each(|at| *at = peer(n, life));
        host.frozen_until = 0;
        host.opened = false;
        self.note(Node::Worker(n), format_args!("starts"));
        self.wake(Node::Worker(n));
        self.dial_worker(n);
    }

    fn dial_worker(&mut self, n: usize) {
        self.workers[n].dials += 1;
        let dial = self.workers[n].dials;
        self.dial(Node::Worker(n), dial);
    }

    pub(super) fn on_redial(&mut self, n: usize, life: u32) {
        let host = &self.workers[n];
        if host.machine.life == life && host.machine.state != State::Down && host.connection.is_none() {
            self.dial_worker(n);
        }
    }

    fn redial_worker(&mut self, n: usize) {
        let life = self.workers[n].machine.life;
        let pause = self.rng.below(2 * SECOND) + MILLI;
        self.agenda.plan(self.now + pause, Happening::Redial { worker: n, life });
    }

    /// The process on machine `n` ends, and its executors with it.
    pub(super) fn end_worker(&mut self, n: usize) {
        let host = &mut self.workers[n];
        host.machine.end();
        host.executors.clear();
        host.store.clear();
        host.fetching.clear();
        host.disk = Disk::default();
        host.connection = None;
        self.note(Node::Worker(n), format_args!("is gone"));
    }

    pub(super) fn step_worker(&mut self, n: usize, inputs: Vec<Input>) -> Option<Time> {
        let (now, checked) = self.clock_in(Node::Worker(n));
        let life = self.workers[n].machine.life;
        let mut events = Vec::new();
        for input in inputs {
            self.translate_for_brain(n, input, &mut events);
        }
        if self.workers[n].machine.life != life {
            return None;
        }
        events.extend(self.invent_credit(n));
        for event in &events {
            self.note(Node::Worker(n), format_args!("< {event:?}"));
        }
        let ordered: Vec<ObjectId> = events.iter().filter_map(ordered).collect();
        let mut actions = Vec::new();
        self.workers[n].brain.step(now, events, &mut actions);
        if checked {
            self.workers[n].brain.check();
        }
        for action in actions {
            if self.workers[n].machine.life != life {
                return None;
            }
            self.note(Node::Worker(n), format_args!("> {action:?}"));
            self.perform_for_brain(n, action);
        }
        let host = &self.workers[n];
        if host.opened
            && ordered.iter().any(|object| !host.fetching.contains_key(object) && host.held(*object).is_none())
        {
            probe!("fetch waited for memory");
        }
        self.workers[n].brain.deadline().map(|(at, _)| at)
    }

    fn translate_for_brain(&mut self, n: usize, input: Input, events: &mut Vec<Event>) {
        match input {
            Input::Packet(connection, packet) if self.workers[n].connection == Some(connection) => match packet {
                Packet::ToWorker(message) => self.translate_to_worker(n, message, events),
                Packet::Heartbeat => {}
                other => unreachable!("nobody says {other:?} to a worker"),
            },
            Input::Packet(..) => {}
            Input::Lost(connection) => {
                if self.workers[n].connection == Some(connection) {
                    self.drop_link(n, events);
                }
            }
            Input::DialFailed => self.redial_worker(n),
            Input::Brain(event) => {
                self.note_lie_to_brain(n, &event);
                events.push(event);
            }
            Input::Scheduler(_) | Input::Session(_) => unreachable!("nothing of another's"),
        }
    }

    fn drop_link(&mut self, n: usize, events: &mut Vec<Event>) {
        self.workers[n].connection = None;
        self.workers[n].guests.clear();
        if std::mem::take(&mut self.workers[n].opened) {
            events.push(Event::LinkLost);
        }
        self.redial_worker(n);
    }

    fn translate_to_worker(&mut self, n: usize, message: ToWorker, events: &mut Vec<Event>) {
        events.push(match message {
            ToWorker::Welcome { result_limit, .. } => {
                self.workers[n].opened = true;
                Event::LinkOpened { result_limit }
            }
            ToWorker::Define { session, function } => Event::FunctionDefined { session, function },
            ToWorker::Start(starts) => {
                starts.iter().for_each(|start| self.ledger.executions.promise(start));
                Event::AttemptsAssigned { starts }
            }
            ToWorker::Inputs { attempt, inputs } => Event::InputsAppended { attempt, inputs },
            ToWorker::Cancel { attempts, cancel } => Event::AttemptsCancelled { attempts, cancel },
            ToWorker::Recall(attempts) => Event::AttemptsRecalled { attempts },
            ToWorker::Cut(attempt) => Event::TailWanted { attempt },
            ToWorker::ForgetFunctions(functions) => Event::FunctionsForgotten { functions },
            ToWorker::Forget(session) => Event::SessionForgotten { session },
            ToWorker::Taken(cost) => Event::ReportsTaken { cost },
            ToWorker::Fetch { object, from, at } => Event::FetchOrdered { object, from, at },
            // Whatever worker comes is let in here.
            ToWorker::Expect(_) => return,
            ToWorker::ExpectClient { key, session } => {
                self.workers[n].guests.insert((key, session));
                return;
            }
            ToWorker::Give { object, value } => Event::ObjectGiven { object, value },
            ToWorker::Show(object) => Event::ShowRequested { object },
            ToWorker::Drop(objects) => Event::ObjectsDropped { objects },
            ToWorker::Fenced => {
                self.hang_up(n);
                return self.drop_link(n, events);
            }
            ToWorker::Goodbye => {
                self.hang_up(n);
                return self.retire_worker(n);
            }
        });
    }

    fn hang_up(&mut self, n: usize) {
        if let Some(connection) = self.workers[n].connection {
            self.close(connection, End::Peer);
        }
    }

    /// The process ends for good reason; another one starts on this machine later.
    fn retire_worker(&mut self, n: usize) {
        self.end_worker(n);
        let life = self.workers[n].machine.life;
        let later = self.now + self.rng.below(10 * SECOND);
        self.agenda.plan(later, Happening::Restart { node: Node::Worker(n), life });
    }

    fn perform_for_brain(&mut self, n: usize, action: Action) {
        match action {
            Action::Spawn { executor, cpus } => self.spawn(n, executor, cpus),
            Action::Define { executor, session, function } => self.define(n, executor, session, &function),
            Action::ForgetFunctions { executor, functions } => self.forget_functions(n, executor, functions),
            Action::Forget { executor, session } => self.forget(n, executor, session),
            Action::Give { executor, orders } => self.give(n, executor, orders),
            Action::GiveInputs { executor, entry, inputs } => self.give_inputs(n, executor, entry, &inputs),
            Action::Revoke { executor, entries } => self.revoke(n, executor, entries),
            Action::Cut { executor, entry } => self.cut_chunk(n, executor, entry),
            Action::Observe { executors } => self.observe(n, executors),
            Action::Signal { executor, signal } => self.signal(n, executor, signal),
            Action::Fetch { object, from, .. } => self.fetch(n, object, from),
            Action::Store { object, value } => self.store(n, object, value),
            Action::Keep { object, value } => self.put(n, object, value),
            Action::Spill { object } => self.use_disk(n, object, Job::Write),
            Action::Evict { object } => self.evict(n, object),
            Action::Restore { object } => self.use_disk(n, object, Job::Read),
            Action::Read { object } => self.read(n, object),
            Action::Drop { objects } => self.drop_objects(n, &objects),
            Action::ReportHeld { objects } => self.tell_coordinator(n, FromWorker::Held(objects)),
            Action::ReportUnfetched { object, reason } => {
                self.tell_coordinator(n, FromWorker::Unfetched { object, reason });
            }
            Action::ReportLost { objects } => self.tell_coordinator(n, FromWorker::Lost(objects)),
            Action::Show { object, value } => self.tell_coordinator(n, FromWorker::Shown { object, value }),
            Action::Report { reports } => self.report(n, reports),
            Action::ReportStarted { attempts } => self.tell_coordinator(n, FromWorker::Started(attempts)),
            Action::Return { attempts } => self.tell_coordinator(n, FromWorker::Returned(attempts)),
            Action::ReportCut { attempt, at } => self.tell_coordinator(n, FromWorker::Cut { attempt, at }),
            Action::AcknowledgeStarts { cost } => self.tell_coordinator(n, FromWorker::Taken(cost)),
            Action::AnnounceDrain => self.tell_coordinator(n, FromWorker::Draining),
            Action::Leave => {
                probe!("drained worker left");
                self.tell_coordinator(n, FromWorker::Goodbye);
                self.hang_up(n);
                self.retire_worker(n);
            }
        }
    }

    fn report(&mut self, n: usize, reports: Vec<Report>) {
        let reports = self.spoil_reports(reports);
        self.tell_coordinator(n, FromWorker::Ended(reports));
    }

    /// A canary: credit that nobody gave back.
    fn invent_credit(&mut self, n: usize) -> Option<Event> {
        let spent = self.workers[n].link().map_or(0, |_| self.workers[n].brain.flow().spent);
        let strikes = self.plan.canary == Canary::InventedCredit && spent > 0 && self.ledger.strike_canary();
        strikes.then_some(Event::ReportsTaken { cost: spent })
    }

    /// The canaries that a worker carries.
    fn spoil_reports(&mut self, mut reports: Vec<Report>) -> Vec<Report> {
        match self.plan.canary {
            Canary::DroppedReport if self.ledger.strike_canary() => {
                reports.pop();
            }
            Canary::ChangedValue => self.ledger.change_value(&mut reports),
            _ => {}
        }
        reports
    }

    fn tell_coordinator(&mut self, n: usize, message: FromWorker) {
        if let Some(connection) = self.workers[n].connection {
            self.send(connection, End::Peer, Packet::FromWorker(message));
        }
    }
}
