//! The worker's driver: the loop around [`Brain`], and the only place with a clock.
//!
//! Each turn takes what came from the coordinator, the executors and whoever runs this worker, lets the brain decide, and
//! carries that out. Some actions are questions about the shared pages; their answers are the next turn's events.

use super::control::Stage;
use super::disk::{Disk, Done, Viewer};
use super::hall::{Ask, Hall};
use super::supervisor::{Said, Supervisor};
use super::transfer::Transfers;
use super::translate::{self, Meaning};
use super::uplink::{Heard, Uplink, Upstream};
use super::{Config, WorkerControl, WorkerExit};
use crate::clock::Clock;
use crate::config;
use crate::store::blob::Store;
use crate::store::depot::Depot;
use crate::store::objects::Objects;
use crate::store::spill::{ReadError, SpillError};
use crate::telemetry::Scribe;
use plait_core::id::{ExecutorId, FunctionKey, ObjectId};
use plait_core::limits::{INLINE_VALUE_BYTES, PEER_DISK_READS};
use plait_core::outcome::Unfetched;
use plait_core::protocol::message::executor::ToExecutor;
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::value::Value;
use plait_core::worker::{Action, Brain, Config as BrainConfig, Event, Supervision};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, trace, warn};

/// Messages of executors taken in one turn.
const EXECUTOR_BATCH: usize = 256;

/// Where what a guest wants is told.
type Answer = oneshot::Sender<Option<Value>>;

/// One worker at work.
#[derive(Debug)]
pub(super) struct Driver {
    brain: Brain,
    supervisor: Supervisor,
    objects: Arc<Objects>,
    disk: Disk,
    transfers: Transfers,
    /// What guests want of what is not in memory.
    asks: mpsc::Receiver<Ask>,
    uplink: Uplink,
    control: WorkerControl,
    clock: Clock,
    events: Vec<Event>,
    actions: Vec<Action>,
    heard: Vec<ToWorker>,
    said: Vec<(ExecutorId, Said)>,
    draining: bool,
    exit: Option<WorkerExit>,
}

impl Driver {
    pub(super) fn new(config: Config, upstream: Upstream, control: WorkerControl) -> Self {
        let offer = config.offer();
        let objects = config.objects.unwrap_or_else(|| Arc::new(Objects::new(Store::new())));
        let blobs = Arc::clone(objects.blobs());
        let spill_dir = config.spill_dir.path().to_string_lossy().into();
        let disk = Disk::new(&config.spill_dir, Arc::clone(&blobs));
        let brain = Brain::new(BrainConfig {
            slots: config.capacity.cpus,
            capacity: config.capacity,
            store_above: INLINE_VALUE_BYTES as u64,
            memory_bytes: config::store_bytes_limit(),
            spill_bytes: disk.room().clone(),
            spill_dir,
            supervision: Supervision::default(),
        });
        // Only one with a coordinator elsewhere has others to meet.
        let (ask, asks) = mpsc::channel(PEER_DISK_READS);
        let land = Some(Depot::of_worker(Arc::clone(&blobs)));
        let hall = || Arc::new(Hall::new(Arc::clone(&objects), ask, land.clone()));
        let hall = matches!(upstream, Upstream::Dial(_)).then(hall);
        Self {
            brain,
            supervisor: Supervisor::new(config.launch, config.place, blobs, Scribe::of_stderr()),
            transfers: Transfers::new(hall.clone(), Arc::clone(&objects), land.clone()),
            objects,
            asks,
            disk,
            uplink: Uplink::new(upstream, offer, hall, land),
            control,
            clock: Clock::start(),
            events: Vec::new(),
            actions: Vec::new(),
            heard: Vec::new(),
            said: Vec::new(),
            draining: false,
            exit: None,
        }
    }

    pub(super) async fn run(mut self) -> WorkerExit {
        loop {
            self.turn();
            if let Some(exit) = self.exit.take() {
                self.uplink.part().await;
                return exit;
            }
            self.wait().await;
        }
    }

    /// Steps until no answer is outstanding.
    fn turn(&mut self) {
        loop {
            let mut actions = std::mem::take(&mut self.actions);
            let events = self.events.drain(..).inspect(|event| trace!(target: "plait::worker", ?event));
            self.brain.step(self.clock.now(), events, &mut actions);
            for action in actions.drain(..) {
                trace!(target: "plait::worker", ?action);
                self.perform(action);
            }
            self.actions = actions;
            if self.events.is_empty() {
                return;
            }
        }
    }

    /// Waits until there is something to do, and makes events of it.
    async fn wait(&mut self) {
        let deadline = self.brain.deadline().map(|(at, _)| at);
        tokio::select! {
            biased;
            stage = self.control.changed() => self.on_stage(stage),
            heard = self.uplink.hear(&mut self.heard) => self.on_heard(heard),
            () = self.supervisor.listen(&mut self.said, EXECUTOR_BATCH) => self.on_said(),
            done = self.disk.done() => self.on_done(done),
            (object, result) = self.transfers.next() => self.on_fetched(object, result),
            Some(ask) = self.asks.recv() => self.on_asked(ask),
            () = self.clock.sleep_until(deadline) => {}
        }
    }

    fn on_stage(&mut self, stage: Stage) {
        match stage {
            Stage::Work => {}
            Stage::Drain => {
                self.draining = true;
                self.events.push(Event::DrainRequested);
            }
            Stage::End => {
                self.uplink.send(FromWorker::Goodbye);
                self.exit = Some(WorkerExit::Ended);
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        let mut messages = std::mem::take(&mut self.heard);
        for message in messages.drain(..) {
            match translate::meaning(message) {
                Meaning::Event(event) => self.events.push(event),
                Meaning::Guest(key, pass) => self.transfers.expect(key, pass),
                Meaning::Fenced => {
                    warn!(target: "plait::worker", "was silent for too long and given up; joining the coordinator anew");
                    self.on_link_lost();
                    self.uplink.abandon();
                }
                Meaning::Goodbye => {
                    // Who drains is told the same once it may go.
                    if !self.draining {
                        info!(target: "plait::worker", "the coordinator has ended; leaving");
                    }
                    self.exit = Some(WorkerExit::Ended);
                }
            }
        }
        self.heard = messages;
        match heard {
            // The coordinator's first message opens it.
            Heard::Messages | Heard::Joined => {}
            Heard::Lost => self.on_link_lost(),
            Heard::Gone(exit) => self.exit = Some(exit),
        }
    }

    /// The next coordinator may give other objects the same names.
    fn on_link_lost(&mut self) {
        self.transfers.forget_guests();
        self.disk.forget_coordinator();
        self.events.push(Event::LinkLost);
    }

    fn on_said(&mut self) {
        let supervisor = &mut self.supervisor;
        let events = self.said.drain(..).map(|(id, said)| translate::event(id, said, || supervisor.bury(id)));
        self.events.extend(events);
    }

    fn on_done(&mut self, done: Done) {
        let event = match done {
            Done::Written(object, Ok(())) => Event::ObjectSpilled { object },
            Done::Written(object, Err(error)) => {
                warn!(target: "plait::worker", %object, %error, "there is no room on disk");
                Event::SpillFailed { object, reason: error.source.to_string().into() }
            }
            Done::Restored(object, Ok(value)) => {
                self.objects.store(object, value);
                Event::ObjectRestored { object }
            }
            Done::Restored(object, Err(ReadError::Lost(error))) => {
                self.give_up(object, &error);
                Event::ObjectsDamaged { objects: vec![object] }
            }
            Done::Restored(object, Err(error @ ReadError::NoMemory(_))) => {
                info!(target: "plait::worker", %object, %error, "an object stays on disk for now");
                Event::RestoreFailed { object }
            }
            Done::Shown(object, Viewer::Guest(answer), read) => return self.on_read_for(answer, object, read),
            Done::Shown(object, Viewer::Coordinator, Ok(value)) => Event::ObjectRead { object, value: Some(value) },
            Done::Shown(object, Viewer::Coordinator, Err(ReadError::Lost(error))) => {
                self.give_up(object, &error);
                Event::ObjectRead { object, value: None }
            }
            Done::Shown(object, Viewer::Coordinator, Err(error @ ReadError::NoMemory(_))) => {
                info!(target: "plait::worker", %object, %error, "an object is not shown for now");
                Event::ReadFailed { object }
            }
        };
        self.events.push(event);
    }

    /// A guest wants an object. By now it may be back in memory; if it is on disk, it is read for that guest alone.
    fn on_asked(&mut self, Ask { object, answer }: Ask) {
        let viewer = Viewer::Guest(answer);
        let here = self.objects.read(object);
        let absent = if here.is_some() { Err(viewer) } else { self.disk.show(object, viewer) };
        if let Err(Viewer::Guest(answer)) = absent {
            // A guest that is gone by now needs no answer.
            let _ = answer.send(here);
        }
    }

    fn on_read_for(&mut self, answer: Answer, object: ObjectId, read: Result<Value, ReadError>) {
        let value = match read {
            Ok(value) => Some(value),
            Err(error) => match (self.objects.read(object), error) {
                (Some(value), _) => Some(value),
                (None, ReadError::Lost(error)) => {
                    self.give_up(object, &error);
                    self.events.push(Event::ObjectsDamaged { objects: vec![object] });
                    None
                }
                // The guest sees that it is not to be had now.
                (None, ReadError::NoMemory(_)) => return,
            },
        };
        let _ = answer.send(value);
    }

    /// What cannot be read any more is nowhere any more: the brain takes it for lost.
    fn give_up(&mut self, object: ObjectId, error: &SpillError) {
        warn!(target: "plait::worker", %object, %error, "an object cannot be read from disk");
        self.disk.forget(&[object]);
        self.objects.forget(&[object]);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { executor, cpus } => self.spawn(executor, cpus),
            Action::Define { executor, session, function } => {
                let name = FunctionKey { session, function: function.id };
                self.supervisor.send(executor, ToExecutor::Define { function: name, body: function.body });
            }
            Action::Give { executor, orders } => {
                // Offered first: an executor passes over what it may not claim.
                orders.iter().for_each(|order| self.supervisor.offer(executor, order.entry, order.items()));
                self.supervisor.send(executor, translate::orders(orders, &self.objects));
            }
            Action::GiveInputs { executor, entry, inputs } => {
                self.supervisor.send(executor, translate::inputs(entry, inputs, &self.objects));
            }
            Action::ForgetFunctions { executor, functions } => {
                self.supervisor.send(executor, ToExecutor::ForgetFunctions(functions));
            }
            Action::Forget { executor, session } => self.supervisor.send(executor, ToExecutor::Forget(session)),
            Action::Revoke { executor, entries: asked } => {
                let revoked = self.supervisor.revoke(executor, &asked);
                self.events.push(Event::EntriesRevoked { executor, asked, revoked });
            }
            Action::Cut { executor, entry } => {
                let tail = self.supervisor.cut(executor, entry);
                self.events.push(Event::EntryCut { executor, entry, tail });
            }
            Action::Observe { executors } => {
                let seen = |executor| Event::ExecutorSeen { executor, running: self.supervisor.observe(executor) };
                self.events.extend(executors.into_iter().map(seen));
            }
            Action::Signal { executor, signal } => self.supervisor.signal(executor, signal),
            Action::Fetch { object, at, .. } => self.transfers.fetch(object, at),
            Action::Store { object, value } => self.objects.store(object, value),
            Action::Keep { object, value } => self.keep(object, value),
            Action::Spill { object } => self.spill(object),
            Action::Evict { object } => self.objects.forget(&[object]),
            Action::Restore { object } => self.disk.restore(object),
            Action::Read { object } => self.read(object),
            Action::Drop { objects } => self.drop_objects(&objects),
            Action::ReportHeld { objects } => self.uplink.send(FromWorker::Held(objects)),
            Action::ReportUnfetched { object, reason } => {
                self.uplink.send(FromWorker::Unfetched { object, reason });
            }
            Action::ReportLost { objects } => self.uplink.send(FromWorker::Lost(objects)),
            Action::Show { object, value } => self.uplink.send(FromWorker::Shown { object, value }),
            Action::Report { reports } => self.uplink.send(FromWorker::Ended(reports)),
            Action::ReportStarted { attempts } => self.uplink.send(FromWorker::Started(attempts)),
            Action::ReportCut { attempt, at } => self.uplink.send(FromWorker::Cut { attempt, at }),
            Action::Return { attempts } => self.uplink.send(FromWorker::Returned(attempts)),
            Action::AcknowledgeStarts { cost } => self.uplink.send(FromWorker::Taken(cost)),
            Action::AnnounceDrain => self.uplink.send(FromWorker::Draining),
            Action::Leave => {
                self.uplink.send(FromWorker::Goodbye);
                self.exit = Some(WorkerExit::Ended);
            }
        }
    }

    fn on_fetched(&mut self, object: ObjectId, result: Result<Value, Unfetched>) {
        self.events.push(match result {
            Ok(value) => {
                let bytes = value.carried();
                self.objects.store(object, value);
                Event::ObjectArrived { object, bytes }
            }
            Err(reason) => Event::FetchFailed { object, reason },
        });
    }

    /// Takes objects out of the store; that they have come is no news any more.
    fn drop_objects(&mut self, objects: &[ObjectId]) {
        let gone = |event: &Event| match event {
            Event::ObjectArrived { object, .. }
            | Event::ObjectSpilled { object }
            | Event::SpillFailed { object, .. }
            | Event::ObjectRestored { object }
            | Event::RestoreFailed { object } => objects.contains(object),
            _ => false,
        };
        self.events.retain(|event| !gone(event));
        self.transfers.cancel(objects);
        self.objects.forget(objects);
        self.disk.forget(objects);
    }

    fn keep(&mut self, object: ObjectId, value: Value) {
        let bytes = value.carried();
        self.objects.store(object, self.objects.seal(value));
        self.events.push(Event::ObjectArrived { object, bytes });
    }

    fn spill(&mut self, object: ObjectId) {
        let value = self.objects.read(object).expect("only what is in memory is written");
        self.disk.write(object, value);
    }

    fn read(&mut self, object: ObjectId) {
        let value = self.objects.read(object);
        if value.is_some() || self.disk.show(object, Viewer::Coordinator).is_err() {
            self.events.push(Event::ObjectRead { object, value });
        }
    }

    fn spawn(&mut self, executor: ExecutorId, cpus: u32) {
        if let Err(error) = self.supervisor.spawn(executor, cpus) {
            warn!(target: "plait::worker", %executor, %error, "an executor could not be started");
            self.events.push(Event::SpawnFailed { executor });
        }
    }
}
