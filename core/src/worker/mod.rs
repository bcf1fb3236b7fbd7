//! The worker's brain: what one machine does with the attempts that the coordinator gave it.
//!
//! It keeps executors alive and fed, takes back what has not begun when that can go earlier elsewhere, stops what is no
//! longer wanted, blames deaths exactly, and reports every end once. It never decides whether a task runs again: that is
//! the coordinator's.
//!
//! The contract: the only way in is [`Brain::step`]; `now` never goes back; the same calls give the same actions;
//! unknown, late and repeated events are harmless; every attempt taken is answered once, by a report or by giving it
//! back, unless the link is lost; nothing of a lost link is spoken of on the next one; an executor gets nothing before
//! it is ready nor after it was killed; the slots of what runs never exceed those of the worker.
//!
//! Executors of one slot are kept, one per slot, for as long as the worker lives. One that serves more slots is started
//! for the first task that takes as many; it is kept for the next of its kind and killed, once idle, when a task of a
//! third kind needs its place.
//!
//! - `attempt`, `queue`, `function`, `input`: what the coordinator gave; `promise`: what of it needs what is yet to be made
//!   here; `object`: the values in this machine's store;
//!   `fetch`: which of those to come are fetched now; `memory`: which of those here lie on disk.
//! - `executor`, `hand`, `supervise`: the processes, what is in their hands, how they live and die.
//! - `part`: chunks that were cut, for an idle executor or around an item that kills; `tail`: what the coordinator gets of
//!   one.
//! - `place`, `cancel`, `drain`: who gets what, and how it is taken back.
//! - `report`: what the coordinator is told.

mod action;
mod attempt;
mod cancel;
mod check;
mod drain;
mod event;
mod executor;
mod fetch;
mod function;
mod hand;
mod input;
mod memory;
mod object;
mod part;
mod place;
mod promise;
mod queue;
mod report;
mod supervise;
mod tail;
#[cfg(test)]
mod tests;

pub use action::{Action, Order, Signal};
pub use event::{Condition, Ended, Event};

use crate::id::AttemptId;
use crate::limits;
use crate::resource::Resources;
use crate::time::Time;
use crate::window::Flow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use attempt::Attempts;
use core::fmt;
use core::time::Duration;
use drain::Stay;
use executor::Fleet;
use function::Functions;
use memory::Memory;
use object::Objects;
use part::Splits;
use queue::Queue;
use report::Reports;
use serde::{Deserialize, Serialize};
use supervise::Starts;

/// The number of an attempt in one executor's queue; counted from 0, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry(pub u32);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Slots, one executor each.
    pub slots: u32,
    /// What was offered to the coordinator: slots and named resources.
    pub capacity: Resources,
    /// Results of more bytes stay here; the coordinator gets a reference.
    pub store_above: u64,
    /// Bytes of objects that may lie in memory; what is beyond goes to disk.
    pub memory_bytes: u64,
    /// Bytes that may lie there, or why none may. A result for which there is no room fails its attempt.
    pub spill_bytes: Result<u64, Box<str>>,
    /// What that error names.
    pub spill_dir: Box<str>,
    /// How executors are watched over.
    pub supervision: Supervision,
}

/// The numbers of supervision, as in [`limits`] unless a test wants others.
#[derive(Clone, Copy, Debug)]
pub struct Supervision {
    /// [`limits::SPAWN_FAILURES`].
    pub spawn_failures: u32,
    /// [`limits::SPAWN_PAUSE`].
    pub spawn_pause: Duration,
    /// [`limits::SPAWN_TIMEOUT`].
    pub spawn_timeout: Duration,
    /// [`limits::STARTED_AFTER`].
    pub started_after: Duration,
    /// [`limits::LOOK_EVERY`].
    pub look_every: Duration,
    /// [`limits::DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
    /// [`limits::KILL_GRACE`].
    pub kill_grace: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            spawn_failures: limits::SPAWN_FAILURES,
            spawn_pause: limits::SPAWN_PAUSE,
            spawn_timeout: limits::SPAWN_TIMEOUT,
            started_after: limits::STARTED_AFTER,
            look_every: limits::LOOK_EVERY,
            drain_timeout: limits::DRAIN_TIMEOUT,
            kill_grace: limits::KILL_GRACE,
        }
    }
}

/// What a [`Brain`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Executors to start.
    Spawn,
    /// One that takes too long to become ready.
    SpawnTimeout,
    /// The next, harder signal to what is being stopped.
    Harden,
    /// A look at what is busy.
    Look,
    /// A chunk that may be cut for an idle executor.
    Cut,
    /// The end of a drain.
    Drain,
    /// The disk, which may take something again, or memory for what is on it.
    Disk,
}

/// One worker. See the module for its contract.
///
/// ```
/// use plait_core::limits::INLINE_VALUE_BYTES;
/// use plait_core::resource::Resources;
/// use plait_core::time::Time;
/// use plait_core::worker::{Action, Brain, Config, Supervision};
///
/// let mut brain = Brain::new(Config {
///     slots: 2,
///     capacity: Resources::cpus(2),
///     store_above: INLINE_VALUE_BYTES as u64,
///     memory_bytes: 1 << 30,
///     spill_bytes: Ok(1 << 30),
///     spill_dir: "/tmp".into(),
///     supervision: Supervision::default(),
/// });
/// let mut actions = Vec::new();
/// brain.step(Time::ZERO, [], &mut actions);
/// assert!(matches!(actions[..], [Action::Spawn { cpus: 1, .. }, Action::Spawn { cpus: 1, .. }]));
/// ```
#[derive(Debug)]
pub struct Brain {
    config: Config,
    attempts: Attempts,
    queue: Queue,
    functions: Functions,
    objects: Objects,
    fleet: Fleet,
    /// Named resources that are free; its slots mean nothing, the fleet counts those.
    free: Resources,
    reports: Reports,
    starts: Starts,
    stay: Stay,
    /// Whether there is a coordinator.
    linked: bool,
    /// How many attempts have come.
    arrivals: u64,
    /// When to look at what is busy.
    look_at: Option<Time>,
    /// When a chunk may be cut.
    cut_at: Option<Time>,
    /// Attempts of which one part has failed: the others are stopped.
    failed: Vec<AttemptId>,
    /// Attempts in parts.
    splits: Splits,
    /// Attempts that will not come to their inputs here.
    disinherited: Vec<AttemptId>,
    age: Age,
}

/// Whether a brain has been called yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Unborn,
    Born,
}

impl Brain {
    /// A worker without a coordinator; its executors start with the first step.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut brain = Self {
            attempts: Attempts::default(),
            queue: Queue::default(),
            functions: Functions::default(),
            objects: Objects::new(Memory::new(config.memory_bytes, config.spill_bytes.clone())),
            fleet: Fleet::new(config.slots as usize),
            free: Resources::default(),
            reports: Reports::default(),
            starts: Starts::default(),
            stay: Stay::Working,
            linked: false,
            arrivals: 0,
            look_at: None,
            cut_at: None,
            failed: Vec::new(),
            splits: Splits::default(),
            disinherited: Vec::new(),
            age: Age::Unborn,
            config,
        };
        brain.free = brain.capacity_by_name();
        brain
    }

    /// Applies the events in order, fires due timers, then hands out what can be handed out.
    pub fn step(&mut self, now: Time, events: impl IntoIterator<Item = Event>, actions: &mut Vec<Action>) {
        if self.stay == Stay::Left {
            return;
        }
        self.age = Age::Born;
        let begin = actions.len();
        for event in events {
            self.on_event(now, event, actions);
        }
        self.fleet.hush(begin, actions);
        self.fire(now, actions);
        self.objects.memory.fire(now);
        self.read_again(actions);
        self.stop_failed(now, actions);
        self.fleet.send_forgets(actions);
        self.fill_seats(now, actions);
        self.place(now, actions);
        self.return_stuck(actions);
        self.return_disinherited(actions);
        self.cut_chunks(now, actions);
        self.send_asks(actions);
        self.send_orders(actions);
        self.plan_look(now);
        self.objects.flush(actions);
        self.settle_memory(actions);
        self.reports.flush(actions);
        self.leave(actions);
    }

    /// When [`step`](Self::step) wants to be called even without events, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Time, Wake)> {
        match (self.age, self.stay) {
            (Age::Unborn, _) => Some((Time::ZERO, Wake::Spawn)),
            (Age::Born, Stay::Left) => None,
            (Age::Born, Stay::Working | Stay::Draining { .. } | Stay::Breaking) => self.next_due(),
        }
    }

    /// What it believes of its connection's credit, for whoever compares both ends.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.reports.flow()
    }

    fn on_event(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::LinkOpened { result_limit } => self.on_link_opened(result_limit, actions),
            Event::LinkLost => self.on_link_lost(actions),
            Event::ExecutorReady { executor } => self.on_ready(executor),
            Event::SpawnFailed { executor } => self.on_spawn_failed(now, executor),
            Event::EntriesEnded { executor, ended } => self.on_ended(now, executor, ended, actions),
            Event::EntriesRevoked { executor, asked, revoked } => {
                self.on_revoked(now, executor, &asked, &revoked, actions);
            }
            Event::ExecutorSeen { executor, running } => self.on_seen(now, executor, running),
            Event::EntryCut { executor, entry, tail } => self.on_cut(executor, entry, tail),
            Event::ExecutorDied { executor, running, item, death } => {
                self.on_died(now, executor, running, item, death);
            }
            Event::ObjectRead { object, value } => self.on_object_read(object, value),
            Event::DrainRequested => self.on_drain_requested(now, actions),
            // The words of a coordinator that is gone.
            _ if !self.linked => {}
            Event::FunctionDefined { session, function } => self.on_function(session, function),
            Event::AttemptsAssigned { starts } => self.on_assigned(starts),
            Event::InputsAppended { attempt, inputs } => self.on_inputs(attempt, inputs, actions),
            Event::AttemptsCancelled { attempts, cancel } => self.on_cancelled(now, &attempts, cancel, actions),
            Event::AttemptsRecalled { attempts } => self.on_recalled(&attempts),
            Event::TailWanted { attempt } => self.on_tail_wanted(attempt, actions),
            Event::FunctionsForgotten { functions } => self.on_functions_forgotten(&functions),
            Event::SessionForgotten { session } => self.on_session_forgotten(session, actions),
            Event::FetchOrdered { object, from, at } => self.on_fetch_ordered(object, from, at),
            Event::ObjectGiven { object, value } => self.on_object_given(object, value, actions),
            Event::ShowRequested { object } => self.on_show_requested(object, actions),
            Event::ObjectsDropped { objects } => self.objects.drop(&objects, actions),
            Event::ObjectArrived { object, bytes } => self.on_object_arrived(object, bytes, actions),
            Event::ObjectSpilled { object } => self.objects.memory.spilled(object),
            Event::SpillFailed { object, reason } => self.objects.memory.not_spilled(now, object, reason),
            Event::ObjectRestored { object } => self.on_object_restored(object, actions),
            Event::RestoreFailed { object } => self.on_restore_failed(now, object, actions),
            Event::ReadFailed { object } => self.on_read_failed(now, object, actions),
            Event::FetchFailed { object, reason } => self.on_fetch_failed(object, reason),
            Event::ObjectsDamaged { objects } => self.on_objects_damaged(&objects),
            Event::ReportsTaken { cost } => self.reports.give_back(cost),
        }
    }

    /// All named resources, and slots that never run out.
    fn capacity_by_name(&self) -> Resources {
        let mut capacity = self.config.capacity.clone();
        capacity.cpus = u32::MAX;
        capacity
    }
}
