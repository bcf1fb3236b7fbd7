//! The worker's driver: the loop around [`Brain`], and the only place with a clock.
//!
//! Each turn takes what came from the coordinator, the executors and whoever runs this worker, lets the brain decide, and
//! carries that out. Some actions are questions about the shared pages; their answers are the next turn's events.

use super::control::Stage;
use super::stderr;
use super::supervisor::{Said, Supervisor};
use super::translate::{self, Meaning};
use super::uplink::{Heard, Uplink, Upstream};
use super::{Config, WorkerControl, WorkerExit};
use crate::clock::Clock;
use crate::config;
use crate::store::blob::Store;
use crate::store::objects::Objects;
use plait_core::id::{ExecutorId, FunctionKey, ObjectId};
use plait_core::limits::INLINE_VALUE_BYTES;
use plait_core::outcome::Unfetched;
use plait_core::protocol::message::executor::ToExecutor;
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::worker::{Action, Brain, Config as BrainConfig, Event, Supervision};
use std::sync::Arc;
use tracing::{trace, warn};

/// Messages of executors taken in one turn.
const EXECUTOR_BATCH: usize = 256;

/// One worker at work.
#[derive(Debug)]
pub(super) struct Driver {
    brain: Brain,
    supervisor: Supervisor,
    objects: Arc<Objects>,
    uplink: Uplink,
    control: WorkerControl,
    clock: Clock,
    events: Vec<Event>,
    actions: Vec<Action>,
    heard: Vec<ToWorker>,
    said: Vec<(ExecutorId, Said)>,
    exit: Option<WorkerExit>,
}

impl Driver {
    pub(super) fn new(config: Config, upstream: Upstream, control: WorkerControl) -> Self {
        let offer = config.offer();
        let brain = Brain::new(BrainConfig {
            slots: config.capacity.cpus,
            capacity: config.capacity,
            store_above: INLINE_VALUE_BYTES as u64,
            store_bytes: config::store_bytes_limit(),
            supervision: Supervision::default(),
        });
        let objects = config.objects.unwrap_or_else(|| Arc::new(Objects::new(Store::new())));
        let blobs = Arc::clone(objects.blobs());
        Self {
            brain,
            supervisor: Supervisor::new(config.launch, config.place, blobs, stderr::ours()),
            objects,
            uplink: Uplink::new(upstream, offer),
            control,
            clock: Clock::start(),
            events: Vec::new(),
            actions: Vec::new(),
            heard: Vec::new(),
            said: Vec::new(),
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
            () = self.clock.sleep_until(deadline) => {}
        }
    }

    fn on_stage(&mut self, stage: Stage) {
        match stage {
            Stage::Work => {}
            Stage::Drain => self.events.push(Event::DrainRequested),
            Stage::End => {
                self.uplink.send(FromWorker::Goodbye);
                self.exit = Some(WorkerExit::Ended);
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        for message in self.heard.drain(..) {
            match translate::meaning(message) {
                Meaning::Event(event) => self.events.push(event),
                Meaning::Fenced => {
                    self.events.push(Event::LinkLost);
                    self.uplink.abandon();
                }
                Meaning::Goodbye => self.exit = Some(WorkerExit::Ended),
            }
        }
        match heard {
            // The coordinator's first message opens it.
            Heard::Messages | Heard::Joined => {}
            Heard::Lost => self.events.push(Event::LinkLost),
            Heard::Gone(exit) => self.exit = Some(exit),
        }
    }

    fn on_said(&mut self) {
        let supervisor = &mut self.supervisor;
        let events = self.said.drain(..).map(|(id, said)| translate::event(id, said, || supervisor.bury(id)));
        self.events.extend(events);
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
            // Workers do not reach each other: the coordinator passes the object on.
            Action::Fetch { object, .. } => {
                self.events.push(Event::FetchFailed { object, reason: Unfetched::Unreachable });
            }
            Action::Store { object, value } => self.objects.store(object, value),
            Action::Keep { object, value } => {
                self.objects.keep(object, value);
                self.events.push(Event::ObjectArrived { object });
            }
            Action::Read { object } => {
                let value = self.objects.read(object);
                self.events.push(Event::ObjectRead { object, value });
            }
            Action::Drop { objects } => self.drop_objects(&objects),
            Action::ReportHeld { objects } => self.uplink.send(FromWorker::Held(objects)),
            Action::ReportUnfetched { object, reason } => {
                self.uplink.send(FromWorker::Unfetched { object, reason });
            }
            Action::ReportLost { objects } => self.uplink.send(FromWorker::Lost(objects)),
            Action::Show { object, value } => self.uplink.send(FromWorker::Shown { object, value }),
            Action::Report { reports } => self.uplink.send(FromWorker::Ended(reports)),
            Action::ReportStarted { attempts } => self.uplink.send(FromWorker::Started(attempts)),
            Action::Return { attempts } => self.uplink.send(FromWorker::Returned(attempts)),
            Action::AcknowledgeStarts { cost } => self.uplink.send(FromWorker::Taken(cost)),
            Action::AnnounceDrain => self.uplink.send(FromWorker::Draining),
            Action::Leave => {
                self.uplink.send(FromWorker::Goodbye);
                self.exit = Some(WorkerExit::Ended);
            }
        }
    }

    /// Takes objects out of the store; that they have come is no news any more.
    fn drop_objects(&mut self, objects: &[ObjectId]) {
        let gone = |event: &Event| matches!(event, Event::ObjectArrived { object } if objects.contains(object));
        self.events.retain(|event| !gone(event));
        self.objects.forget(objects);
    }

    fn spawn(&mut self, executor: ExecutorId, cpus: u32) {
        if let Err(error) = self.supervisor.spawn(executor, cpus) {
            warn!(target: "plait::worker", %executor, %error, "an executor could not be started");
            self.events.push(Event::SpawnFailed { executor });
        }
    }
}
