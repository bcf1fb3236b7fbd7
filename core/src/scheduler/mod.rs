//! The coordinator's brain: sessions, tasks, runs and workers in, decisions out.
//!
//! [`Scheduler`] is a state machine without a clock: whoever drives it hands in [`Event`]s and the time, and carries out
//! the [`Action`]s, in order. Its contract:
//!
//! 1. The only way in is [`Scheduler::step`].
//! 2. `now` never goes back.
//! 3. Same seed and same calls, same actions.
//! 4. How events are batched may change placement, never outcomes. (Which failing piece ends a run is the lowest that is
//!    known when a step ends; a task that is cancelled while what it needs is failing may come to either.)
//! 5. `step` never blocks and never fails.
//! 6. Unknown, late and duplicate events are harmless and counted.
//! 7. Every attempt ends in exactly one outcome.
//! 8. Actions name only attempts that exist.
//! 9. No worker is given more than it offers.
//! 10. Once `deadline` has passed, a `step` without events makes progress.
//! 11. A lost worker's attempts are requeued or failed in the same step, as many as its slice allows. (Its objects are lost
//!     one after the other; a task of very many inputs first lets go of those that were to come there.)
//! 12. Memory is proportional to live tasks and objects, and to what the next steps clear away.
//! 13. No step takes long: beside its events it does so much of each kind ([`Config::slice`], counted and never timed), leaves
//!     the rest in order, and asks for the next step at once ([`Wake::Unfinished`]).
//!
//! What it must never do: trust a peer (nothing a client or a worker says may reach a panic), look into a value, or
//! keep anything per task that is not given back when the task is over.
//!
//! Two answers that its driver must know: [`Action::EndSession`] with [`EndReason::Gone`] is meant for the connection
//! whose `SessionResumed` was refused, never for the one that the session may have; and a worker that is fenced or
//! dismissed is forgotten in that step, so what still arrives from it is ignored.
//!
//! The rooms, by what they decide:
//! - who is there: `session` with `request`, `intake`, `function` and `admission`, `worker` with `report`, `liveness`, `gone`;
//! - tasks: `task`, `input` (dependencies) with `telling`, `walk` and `parting` (of many inputs), `retry`, `put`, `delivery`
//!   (outcomes to clients);
//! - values with workers: `object` (who refers to them), `transfer`, `fetch` (by clients) with `direct`, `losing`, `remake`
//!   (lineage);
//! - runs: `run`, `fold`, `combine`, `apart` (chunks that fail as such); what runs and sessions leave behind: `leftover`;
//! - who runs what: `ready`, `placement` with `pass` and `reserve`, `advance` (before inputs are there), `home` (where they are),
//!   `balance`, `share` (the ends of long chunks), `stream` (inputs that follow), `unschedulable`;
//! - `timer`, `snapshot`, `check`, and the tables underneath: `slab`, `index`.

mod action;
mod admission;
mod advance;
mod apart;
mod balance;
mod by_worker;
mod check;
mod check_objects;
mod combine;
mod delivery;
mod direct;
mod event;
mod fetch;
mod fold;
mod function;
mod gone;
mod handover;
mod home;
mod index;
mod input;
mod intake;
mod leftover;
mod liveness;
mod losing;
mod object;
mod parting;
mod pass;
mod placement;
mod put;
mod ready;
mod remake;
mod report;
mod request;
mod reserve;
mod retry;
mod run;
mod session;
mod share;
mod slab;
mod snapshot;
mod stream;
mod task;
mod telling;
mod timer;
mod transfer;
mod unschedulable;
mod walk;
mod worker;

#[cfg(test)]
mod tests;

pub use action::{Action, EndReason};
pub use event::{Event, Exchange, Watch};
pub use snapshot::{Snapshot, TaskTotals, WorkerView};
pub use worker::Health;

use self::advance::Advances;
use self::gone::Gone;
use self::input::Edge;
use self::leftover::Remains;
use self::losing::Losses;
use self::object::Object;
use self::ready::Ready;
use self::remake::{Origins, Recipe};
use self::run::Run;
use self::session::Session;
use self::share::Shares;
use self::slab::{Slab, Table};
use self::task::Task;
use self::telling::Tellings;
use self::timer::Timer;
use self::walk::Walks;
use self::worker::{Force, Worker};
use crate::id::{SessionId, WorkerId};
use crate::outcome::Outcome;
use crate::spec::PythonVersion;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Chunks of tables that one step gives back: each is some two hundred kilobytes of pages that the kernel takes.
const CHUNKS_PER_STEP: usize = 64;
/// A request for memory that is large to every allocator, in bytes.
const LARGE: usize = 4 << 10;

/// What a scheduler must be told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of values that may live here; beyond it nothing is admitted, and beyond a quarter more no result is kept.
    pub held_bytes_limit: u64,
    /// Largest result, in bytes.
    pub result_limit: u64,
    /// Pending tasks of one session; beyond it the session is not admitted.
    pub session_tasks: u64,
    /// Whether workers may still come.
    pub world: World,
    /// What a client puts of more bytes goes to each worker that needs it once; less rides along with each start.
    pub ride_along: u64,
    /// Values of so many bytes or more clients fetch from workers, if they can; smaller ones come through here.
    pub direct_bytes: u64,
    /// How much of each kind one step does beside its events, in tasks: the rest is left to the next ones.
    pub slice: usize,
}

/// Whether workers other than the embedded one can ever come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// They cannot: nothing listens.
    Closed,
    /// They can.
    Open,
}

/// Why `step` wants to be called without events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// To judge a worker's silence.
    WorkerSilent(WorkerId),
    /// To drop a session whose client has not come back.
    SessionLeft(SessionId),
    /// To fail tasks that no worker can ever run.
    Unschedulable,
    /// To go on with what would have made this step too long.
    Unfinished,
}

/// The state machine. See the module for its contract.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    now: Time,
    sessions: Table<Session>,
    workers: Table<Worker>,
    force: Force,
    /// How many workers have which Python.
    spoken: BTreeMap<PythonVersion, u32>,
    tasks: Slab<Task>,
    edges: Slab<Edge>,
    runs: Slab<Run>,
    objects: Slab<Object>,
    /// What folds and combines whose values are objects were given, by task.
    recipes: BTreeMap<u32, Recipe>,
    origins: Origins,
    /// Tasks that begin again in turn if their objects are still lost and awaited.
    lost: VecDeque<u32>,
    /// What calls were given that are over.
    dregs: VecDeque<Vec<Outcome>>,
    walks: Walks,
    ready: Ready,
    advances: Advances,
    timers: BTreeSet<(Time, Timer)>,
    unschedulable_at: Option<Time>,
    /// The ticket of the next task.
    ticket: u64,
    /// Changes whenever a worker comes, goes or drains.
    worker_set: u64,
    /// Bytes of values that live here, without what waits to be taken by clients.
    held: u64,
    /// The same, with hysteresis, as a word.
    crowded: admission::Crowd,
    counts: TaskTotals,
    ignored: u64,
    /// Tasks that must end because something they need did: by slot and ticket.
    fallout: VecDeque<(u32, u64, Outcome)>,
    tellings: Tellings,
    losses: Losses,
    /// Runs that are over and not cleared away.
    over: VecDeque<u32>,
    /// Sessions that are left and not cleared away.
    remains: VecDeque<Remains>,
    /// Runs to look at.
    stirred: VecDeque<u32>,
    /// Runs whose pieces are all over and whose outcomes are not in order yet.
    unordered: BTreeSet<u32>,
    /// Runs of which slots with nothing better to do may fold something.
    unfolded: BTreeSet<u32>,
    /// Sessions with requests that are not taken to their end.
    behind: VecDeque<u32>,
    /// Sessions to look at before this step ends.
    touched: Vec<u32>,
    /// Records that somebody has let go of.
    unwanted: Vec<u32>,
    /// Objects to look at before this step ends, or in the next ones.
    stirred_objects: VecDeque<u32>,
    /// Objects to be shown here.
    to_show: VecDeque<u32>,
    /// Bytes of those that are about to be shown.
    showing: u64,
    /// Actions that say that something is over, in order.
    farewells: Vec<Action>,
    pass: pass::Pass,
    roomy: placement::Roomy,
    shares: Shares,
    /// Workers to look at before this step ends.
    stirred_workers: Vec<(WorkerId, u32)>,
    /// Workers whose attempts could have been sent more inputs.
    unfed: Vec<(WorkerId, u32)>,
    /// Workers that finish what they have.
    draining: Vec<u32>,
    /// Counts what was handed over, so that it goes to each worker in turn.
    next_heir: usize,
    /// Workers that are there no more and are not forgotten by all yet.
    gone: VecDeque<Gone>,
    /// What this step may still do beside its events.
    slice: Slice,
}

/// What a step does beside its events, so that none takes long: what is left, the next ones do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    /// Attempts to start.
    starts: usize,
    /// Tasks to fail, to clear away and to begin again, runs to end, folds to begin, objects of lost workers to look at.
    chores: usize,
    /// Tasks to tell that a value is there or to take from a lost worker, values to let go of or to put in order, inputs to
    /// send on.
    trifles: usize,
    /// Workers to look at for tasks with a seat of their own, and lines of such tasks.
    looks: usize,
    /// Workers to look at for whether anybody could ever run a task.
    verdicts: usize,
    /// Objects to look at that somebody may want.
    services: usize,
    /// Inputs for tasks to be led past.
    passes: usize,
    /// Inputs to tie tasks to that clients submit.
    ties: usize,
}

impl Slice {
    /// Trifles that take as long as a chore.
    const TRIFLES: usize = 4;
    /// Inputs that a task is led past as fast as it takes a chore.
    const PASSES: usize = 8;
    /// Inputs that a new task is tied to as fast: not more than tasks that end let go of in the same time, so that those
    /// which do not come to it never pile up.
    const TIES: usize = 2;
    /// Workers that are looked at as fast, for whether they have room and for whether they ever could.
    const LOOKS: usize = 8;
    /// A run that ends takes as long as so many chores.
    const CHORES_PER_RUN: usize = 4;
    /// The same of a fold that begins.
    const CHORES_PER_FOLD: usize = 4;

    const fn new(size: usize) -> Self {
        Self {
            starts: size,
            chores: size,
            trifles: size.saturating_mul(Self::TRIFLES),
            looks: size.saturating_mul(Self::LOOKS),
            verdicts: size.saturating_mul(Self::LOOKS),
            services: size,
            passes: size.saturating_mul(Self::PASSES),
            ties: size.saturating_mul(Self::TIES),
        }
    }
}

impl Scheduler {
    /// A scheduler with nobody there. Chance would come from the seed; so far no decision needs any.
    #[must_use]
    pub fn new(config: Config, _seed: u64) -> Self {
        Self {
            config,
            now: Time::ZERO,
            sessions: Table::new(),
            workers: Table::new(),
            force: Force::default(),
            spoken: BTreeMap::new(),
            tasks: Slab::new(),
            edges: Slab::new(),
            runs: Slab::new(),
            objects: Slab::new(),
            recipes: BTreeMap::new(),
            origins: Origins::default(),
            lost: VecDeque::new(),
            dregs: VecDeque::new(),
            walks: Walks::default(),
            ready: Ready::new(),
            advances: Advances::default(),
            timers: BTreeSet::new(),
            unschedulable_at: None,
            ticket: 0,
            worker_set: 0,
            held: 0,
            crowded: admission::Crowd::default(),
            counts: TaskTotals::default(),
            ignored: 0,
            fallout: VecDeque::new(),
            tellings: Tellings::default(),
            losses: Losses::default(),
            over: VecDeque::new(),
            remains: VecDeque::new(),
            stirred: VecDeque::new(),
            unordered: BTreeSet::new(),
            unfolded: BTreeSet::new(),
            behind: VecDeque::new(),
            touched: Vec::new(),
            unwanted: Vec::new(),
            stirred_objects: VecDeque::new(),
            to_show: VecDeque::new(),
            showing: 0,
            farewells: Vec::new(),
            pass: pass::Pass::default(),
            roomy: placement::Roomy::new(),
            shares: Shares::default(),
            stirred_workers: Vec::new(),
            unfed: Vec::new(),
            draining: Vec::new(),
            next_heir: 0,
            gone: VecDeque::new(),
            slice: Slice::new(config.slice),
        }
    }

    /// Applies the events in order, fires due timers, then does one placement pass. Actions are added at the end.
    pub fn step(&mut self, now: Time, events: impl IntoIterator<Item = Event>, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        self.slice = Slice::new(self.config.slice);
        self.resume_streams();
        // Whatever comes: half of what may be done in this step is kept for what was begun before.
        self.walk_on(self.slice.passes / 2);
        self.resume_requests();
        self.resume_reports();
        for event in events {
            self.apply(event);
        }
        self.fire_timers();
        self.fail_unschedulable();
        self.hand_over();
        self.dismiss(actions);
        self.settle();
        self.flush_cancels(actions);
        self.flush_forgets(actions);
        actions.append(&mut self.farewells);
        self.place(actions);
        self.fold_early(actions);
        self.give_in_advance(actions);
        // First what starts: what is asked back may be among it, and its worker must have it by then.
        self.flush_starts(actions);
        self.balance(actions);
        self.share_chunks(actions);
        self.feed_streams(actions);
        self.serve_objects(actions);
        self.flush_drops(actions);
        self.acknowledge_reports(actions);
        self.wind_clocks();
        self.flush_sessions(actions);
        self.calm_workers();
        self.give_memory_back();
    }

    /// When `step` wants to be called even without events, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Time, Wake)> {
        self.next_deadline()
    }

    /// Tables that have become empty in parts give their memory back, so much of it in a step. Small pieces an allocator may
    /// keep aside until somebody asks for a large one, and then has to put together what has come of them meanwhile: glibc takes
    /// a tenth of a second for a million. Steps that leave something to the next one ask for one.
    fn give_memory_back(&mut self) {
        let mut most = CHUNKS_PER_STEP;
        most -= self.tasks.give_back(most);
        most -= self.objects.give_back(most);
        most -= self.edges.give_back(most);
        self.runs.give_back(most);
        if self.is_unfinished() {
            drop(core::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::SessionOpened { session, token, exchange } => self.on_session_opened(session, token, exchange),
            Event::SessionResumed { session, token, taken } => self.on_session_resumed(session, token, taken),
            Event::SessionCut { session } => self.on_session_cut(session),
            Event::SessionClosed { session } => self.on_session_closed(session),
            Event::Requested { session, request } => self.on_requested(session, request),
            Event::NoticesTaken { session, taken } => self.on_notices_taken(session, taken),
            Event::WorkerJoined { worker, offer, watch, exchange } => {
                self.on_worker_joined(worker, offer, watch, exchange);
            }
            Event::WorkerHeard { worker } => drop(self.heard(worker)),
            Event::WorkerDraining { worker } => self.on_worker_draining(worker),
            Event::WorkerLost { worker } => self.on_worker_lost(worker),
            Event::AttemptsStarted { worker, attempts } => self.on_attempts_started(worker, &attempts),
            Event::AttemptsEnded { worker, reports } => self.on_attempts_ended(worker, reports),
            Event::AttemptsReturned { worker, attempts } => self.on_attempts_returned(worker, &attempts),
            Event::ChunkCut { worker, attempt, at } => self.on_chunk_cut(worker, attempt, at),
            Event::ObjectsHeld { worker, objects } => self.on_objects_held(worker, &objects),
            Event::ObjectUnfetched { worker, object, reason } => self.on_object_unfetched(worker, object, reason),
            Event::ObjectsLost { worker, objects } => self.on_objects_lost(worker, &objects),
            Event::ObjectShown { worker, object, value } => self.on_object_shown(worker, object, value),
            Event::StartsTaken { worker, cost } => self.on_starts_taken(worker, cost),
        }
    }
}

/// Cuts a text to so many bytes, at a character's border.
fn cut_text(text: &mut Box<str>, bytes: usize) {
    if text.len() > bytes {
        let border = (0..=bytes).rev().find(|at| text.is_char_boundary(*at));
        *text = text[..border.unwrap_or(0)].into();
    }
}
