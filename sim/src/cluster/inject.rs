//! Events from the past, and of things that never were: whatever a machine is told, it must not be confused.
//!
//! Only what a shell could say by mistake of time is said: what is counted in order within a living connection is
//! never repeated there.

use super::{Input, World};
use crate::agenda::Node;
use crate::probe::probe;
use plait_core::client::Event as SessionEvent;
use plait_core::id::{
    Attempt, AttemptId, ExecutorId, FunctionId, FunctionKey, ObjectId, Seq, SessionId, TaskId, WorkerId,
};
use plait_core::outcome::{Death, Ending, Exit, Notice, Report, Unfetched};
use plait_core::rng::Rng;
use plait_core::scheduler::{Event, Exchange, Watch};
use plait_core::spec::{Cancel, Offer};
use plait_core::value::Value;
use plait_core::worker::{Condition, Ended, Entry, Event as BrainEvent};
use std::collections::VecDeque;

/// How many past events are remembered.
const REMEMBERED: usize = 64;

/// Past events of the scheduler.
#[derive(Debug, Default)]
pub(super) struct Past {
    events: VecDeque<Event>,
}

impl Past {
    /// Remembers some of the events that may be heard again.
    pub(super) fn remember(&mut self, event: &Event, rng: &mut Rng) {
        let repeatable = match event {
            Event::AttemptsEnded { .. }
            | Event::AttemptsReturned { .. }
            | Event::AttemptsStarted { .. }
            | Event::ChunkCut { .. }
            | Event::WorkerDraining { .. }
            | Event::WorkerLost { .. }
            | Event::WorkerHeard { .. }
            | Event::WorkerJoined { .. }
            | Event::NoticesTaken { .. }
            | Event::SessionClosed { .. }
            | Event::SessionOpened { .. }
            | Event::SessionCut { .. }
            | Event::Requested { .. }
            | Event::ObjectsHeld { .. }
            | Event::ObjectUnfetched { .. }
            | Event::ObjectsLost { .. }
            | Event::ObjectShown { .. }
            | Event::StartsTaken { .. } => rng.chance(1, 4),
            Event::SessionResumed { .. } => false,
        };
        if repeatable {
            self.events.push_back(event.clone());
            if self.events.len() > REMEMBERED {
                self.events.pop_front();
            }
        }
    }

    fn draw(&self, rng: &mut Rng) -> Option<Event> {
        let n = rng.below(self.events.len() as u64) as usize;
        self.events.get(n).cloned()
    }
}

impl World {
    /// Tells some machine something late, repeated or unheard of.
    pub(super) fn inject(&mut self) {
        probe!("duplicate or late event injected");
        match self.rng.below(6) {
            0 => {
                if let Some(event) = self.past.draw(&mut self.rng)
                    && self.may_repeat(&event)
                {
                    self.post(Node::Coordinator, Input::Scheduler(event));
                }
            }
            1 => {
                let event = self.unheard_of();
                if let Event::SessionResumed { session, .. } = event {
                    self.coordinator.expect_phantom(session);
                }
                self.post(Node::Coordinator, Input::Scheduler(event));
            }
            2 | 3 => {
                if let Some(event) = self.beside_the_lease() {
                    self.post(Node::Coordinator, Input::Scheduler(event));
                }
            }
            4 if self.rng.chance(1, 2) => {
                let n = self.rng.below(self.clients.len() as u64) as usize;
                let program = &mut self.clients[n].program;
                let request = if self.rng.chance(1, 2) { program.repeat() } else { program.stale() };
                if let Some(request) = request {
                    self.post(Node::Client(n), Input::Session(SessionEvent::Asked(request)));
                }
            }
            4 => {
                let n = self.rng.below(self.clients.len() as u64) as usize;
                if let Some(event) = self.late_at_client(n) {
                    self.post(Node::Client(n), Input::Session(event));
                }
            }
            _ => {
                let n = self.rng.below(self.workers.len() as u64) as usize;
                let event = self.unheard_of_at_worker();
                self.post(Node::Worker(n), Input::Brain(event));
            }
        }
    }

    /// Whether a shell could say it again: what belongs to a living connection, and is counted there, it could not.
    fn may_repeat(&self, event: &Event) -> bool {
        let worker_gone = |worker: &WorkerId| self.ledger.is_worker_gone(*worker);
        let session_gone = |session: &SessionId| self.ledger.is_session_gone(*session);
        match event {
            Event::AttemptsEnded { .. }
            | Event::AttemptsReturned { .. }
            | Event::AttemptsStarted { .. }
            | Event::ChunkCut { .. }
            | Event::WorkerHeard { .. }
            | Event::WorkerJoined { .. }
            | Event::SessionOpened { .. }
            | Event::NoticesTaken { .. } => true,
            Event::WorkerDraining { worker }
            | Event::WorkerLost { worker }
            | Event::ObjectsHeld { worker, .. }
            | Event::ObjectUnfetched { worker, .. }
            | Event::ObjectsLost { worker, .. }
            | Event::ObjectShown { worker, .. }
            | Event::StartsTaken { worker, .. } => worker_gone(worker),
            Event::SessionClosed { session } | Event::SessionCut { session } | Event::Requested { session, .. } => {
                session_gone(session)
            }
            Event::SessionResumed { .. } => false,
        }
    }

    /// Something false about a task that runs: of another attempt, or from a worker that does not have it.
    fn beside_the_lease(&mut self) -> Option<Event> {
        let (current, worker) = self.ledger.draw_lease(&mut self.rng)?;
        let (workers, _) = self.coordinator.ids();
        let other = WorkerId(self.rng.below(u64::from(workers)) as u32);
        let before = AttemptId { attempt: Attempt(current.attempt.0 - 1), ..current };
        let after = AttemptId { attempt: Attempt(current.attempt.0 + 900), ..current };
        let (worker, attempt) = match self.rng.below(3) {
            0 if other != worker => (other, current),
            1 => (worker, after),
            _ => (worker, before),
        };
        let lie = Value::from(bytes::Bytes::from_static(b"a lie"));
        let ended = |ending| Event::AttemptsEnded { worker, reports: vec![Report { attempt, ending, run_micros: 0 }] };
        Some(match self.rng.below(5) {
            4 => Event::ChunkCut { worker, attempt, at: self.rng.chance(1, 2).then_some(1) },
            0 => ended(Ending::Cancelled),
            1 => Event::AttemptsReturned { worker, attempts: vec![attempt] },
            2 => Event::AttemptsStarted { worker, attempts: vec![attempt] },
            _ => ended(Ending::Returned(lie)),
        })
    }

    fn unheard_of(&mut self) -> Event {
        let (workers, sessions) = self.coordinator.ids();
        let worker = WorkerId(workers + 1_000 + self.rng.below(3) as u32);
        let session = SessionId(sessions + 1_000);
        let known_session = SessionId(self.rng.below(u64::from(sessions) + 1) as u32);
        let known_worker = WorkerId(self.rng.below(u64::from(workers) + 1) as u32);
        let seq = Seq(self.rng.below(50));
        let attempt = |session, n| AttemptId { task: TaskId::new(session, seq), attempt: Attempt(n) };
        let report = |attempt| Report { attempt, ending: Ending::Cancelled, run_micros: 0 };
        let object = ObjectId(attempt(known_session, 900));
        match self.rng.below(17) {
            16 => Event::ChunkCut { worker: known_worker, attempt: attempt(known_session, 900), at: Some(1) },
            12 => Event::ObjectsHeld { worker: known_worker, objects: vec![object] },
            13 => Event::ObjectUnfetched { worker: known_worker, object, reason: Unfetched::Gone },
            14 => Event::ObjectsLost { worker: known_worker, objects: vec![object] },
            15 => Event::ObjectShown { worker: known_worker, object, value: None },
            0 => Event::WorkerHeard { worker },
            1 => Event::WorkerLost { worker },
            2 => Event::WorkerDraining { worker },
            3 => Event::AttemptsEnded { worker, reports: vec![report(attempt(known_session, 1))] },
            4 => Event::AttemptsEnded { worker: known_worker, reports: vec![report(attempt(session, 1))] },
            5 => Event::AttemptsEnded { worker: known_worker, reports: vec![report(attempt(known_session, 900))] },
            6 => Event::AttemptsReturned { worker: known_worker, attempts: vec![attempt(known_session, 0)] },
            7 => Event::AttemptsStarted { worker: known_worker, attempts: vec![attempt(known_session, 900)] },
            8 => Event::SessionResumed { session: known_session, token: 1, taken: 0 },
            9 => Event::SessionResumed { session, token: 1, taken: 0 },
            10 => Event::NoticesTaken { session, taken: 7 },
            // The next id is no repetition: whoever has it is really there.
            _ if known_worker.0 == workers => Event::WorkerHeard { worker },
            _ => {
                let (watch, exchange) = (Watch::Heartbeat, Exchange::Bytes);
                Event::WorkerJoined { worker: known_worker, offer: nobody(), watch, exchange }
            }
        }
    }

    /// A late word to a client: an old acknowledgement, a second welcome, a notice while it is cut.
    fn late_at_client(&mut self, n: usize) -> Option<SessionEvent> {
        let client = &self.clients[n];
        let session = client.session_id?;
        match (client.connection, self.rng.below(2)) {
            (Some(_), 0) => Some(SessionEvent::RequestsTaken { taken: 0 }),
            (Some(_), _) if client.is_welcome() => Some(SessionEvent::Welcomed { session, taken: 0 }),
            (Some(_), _) => None,
            (None, _) if client.is_welcome() => None,
            (None, _) => Some(SessionEvent::Noticed(Notice::Started(vec![Seq(0)]))),
        }
    }

    fn unheard_of_at_worker(&mut self) -> BrainEvent {
        let executor = ExecutorId(50_000 + self.rng.below(3) as u32);
        let entry = Entry(self.rng.below(100) as u32);
        let task = TaskId::new(SessionId(9_999), Seq(self.rng.below(9)));
        let attempt = AttemptId { task, attempt: Attempt(1) };
        let death = Death { host: "x".into(), pid: 1, exit: Exit::Unknown, peak_memory: 0, log_tail: "".into() };
        let ended = Ended { entry, ending: Ending::Skipped, run_micros: 0, condition: Condition::Clean };
        let object = ObjectId(attempt);
        match self.rng.below(15) {
            10 => BrainEvent::ObjectArrived { object, bytes: 9 },
            11 => BrainEvent::FetchFailed { object, reason: Unfetched::Unreachable },
            12 => BrainEvent::ObjectsDropped { objects: vec![object] },
            13 => BrainEvent::ObjectsDamaged { objects: vec![object] },
            14 => BrainEvent::ExecutorDied { executor, running: Some(entry), item: Some(0), death: Box::new(death) },
            0 => BrainEvent::AttemptsCancelled { attempts: vec![attempt], cancel: Cancel::Running },
            1 if self.rng.chance(1, 2) => BrainEvent::TailWanted { attempt },
            1 => BrainEvent::AttemptsRecalled { attempts: vec![attempt] },
            2 => BrainEvent::InputsAppended { attempt, inputs: Vec::new() },
            3 if self.rng.chance(1, 2) => BrainEvent::FunctionsForgotten {
                functions: vec![FunctionKey { session: SessionId(9_999), function: FunctionId(0) }],
            },
            3 => BrainEvent::SessionForgotten { session: SessionId(9_999) },
            4 => BrainEvent::ExecutorReady { executor },
            5 => BrainEvent::SpawnFailed { executor },
            6 => BrainEvent::EntriesEnded { executor, ended: vec![ended] },
            7 => BrainEvent::EntriesRevoked { executor, asked: vec![entry], revoked: vec![entry] },
            8 => BrainEvent::ExecutorSeen { executor, running: Some(entry) },
            _ => BrainEvent::EntryCut { executor, entry, tail: Some(1) },
        }
    }
}

fn nobody() -> Offer {
    Offer { name: "nobody".into(), capacity: Default::default(), queue: 0, python: Default::default(), peer: None }
}
