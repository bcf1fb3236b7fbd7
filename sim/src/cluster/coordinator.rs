//! The coordinator's simulated shell: it hands out ids, knows which connection is whose, and translates.

use super::{Input, Machine, State, World};
use crate::agenda::Node;
use crate::clock::Clock;
use crate::network::{ConnectionId, End, Medium, Packet};
use crate::options::{Plan, Shape};
use crate::probe::probe;
use plait_core::id::{Epoch, SessionId, WorkerId};
use plait_core::protocol::message::client::{Farewell, FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::rng::Rng;
use plait_core::scheduler::{self, Action, EndReason, Event, Exchange, Scheduler, Watch};
use plait_core::spec::Offer;
use plait_core::time::Time;
use std::collections::BTreeMap;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Worker(WorkerId),
    Client(SessionId),
}

/// The coordinator: its machine, its scheduler, and who is connected.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) machine: Machine,
    pub(crate) scheduler: Scheduler,
    pub(crate) epoch: Epoch,
    peers: BTreeMap<ConnectionId, Peer>,
    workers: BTreeMap<WorkerId, ConnectionId>,
    sessions: BTreeMap<SessionId, ConnectionId>,
    /// Connections that want to resume a session, until the scheduler has judged; none for an injected attempt.
    resuming: BTreeMap<SessionId, Vec<Option<ConnectionId>>>,
    next_worker: u32,
    next_session: u32,
}

impl Coordinator {
    pub(super) fn new(plan: &Plan, rng: &mut Rng) -> Self {
        let config = scheduler::Config {
            held_bytes_limit: plan.held_bytes_limit,
            ride_along: plan.store_above,
            direct_bytes: plan.direct_bytes,
            result_limit: plan.result_limit,
            session_tasks: plan.session_tasks,
            world: match plan.shape {
                Shape::Embedded => scheduler::World::Closed,
                Shape::Cluster => scheduler::World::Open,
            },
            slice: plan.slice,
        };
        Self {
            machine: Machine::new(Clock::draw(rng, plan.drift_ppm), State::Up),
            scheduler: Scheduler::new(config, rng.next_u64()),
            epoch: Epoch(rng.next_u64()),
            peers: BTreeMap::new(),
            workers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            resuming: BTreeMap::new(),
            next_worker: 0,
            next_session: 0,
        }
    }

    /// Ids that were handed out so far, exclusive.
    pub(super) fn ids(&self) -> (u32, u32) {
        (self.next_worker, self.next_session)
    }

    /// The worker at the other end of a connection.
    pub(super) fn worker_over(&self, connection: ConnectionId) -> Option<WorkerId> {
        match self.peers.get(&connection)? {
            Peer::Worker(worker) => Some(*worker),
            Peer::Client(_) => None,
        }
    }

    /// The session whose client is at the other end of a connection.
    pub(super) fn session_over(&self, connection: ConnectionId) -> Option<SessionId> {
        match self.peers.get(&connection)? {
            Peer::Worker(_) => None,
            Peer::Client(session) => Some(*session),
        }
    }

    /// Notes that an injected attempt to resume will be judged.
    pub(super) fn expect_phantom(&mut self, session: SessionId) {
        self.resuming.entry(session).or_default().push(None);
    }

    /// The oldest attempt to resume `session` that came over a connection.
    fn welcomed(&mut self, session: SessionId) -> Option<ConnectionId> {
        let waiting = self.resuming.get_mut(&session)?;
        let first = waiting.iter().position(Option::is_some)?;
        waiting.remove(first)
    }

    /// The attempt to resume `session` that was refused: an injected one if there is any.
    fn refused(&mut self, session: SessionId) -> Option<Option<ConnectionId>> {
        let waiting = self.resuming.get_mut(&session).filter(|waiting| !waiting.is_empty())?;
        let first = waiting.iter().position(Option::is_none).unwrap_or(0);
        Some(waiting.remove(first))
    }

    fn unbind(&mut self, connection: ConnectionId) -> Option<Peer> {
        let peer = self.peers.remove(&connection)?;
        match peer {
            Peer::Worker(worker) => {
                self.workers.remove(&worker);
            }
            Peer::Client(session) => {
                if self.sessions.get(&session) == Some(&connection) {
                    self.sessions.remove(&session);
                }
            }
        }
        Some(peer)
    }
}

impl World {
    pub(super) fn step_coordinator(&mut self, inputs: Vec<Input>) -> Option<Time> {
        let (now, checked) = self.clock_in(Node::Coordinator);
        let mut events = Vec::new();
        for input in inputs {
            self.translate_for_scheduler(input, &mut events);
        }
        for event in &events {
            self.note(Node::Coordinator, format_args!("< {event:?}"));
            self.ledger.on_event(self.now, event);
            self.past.remember(event, &mut self.rng);
        }
        let mut actions = Vec::new();
        self.coordinator.scheduler.step(now, events, &mut actions);
        self.ledger.double_start(&mut actions);
        if checked {
            self.coordinator.scheduler.check();
        }
        self.ledger.on_step(|session| self.coordinator.scheduler.snapshot().waiting(session));
        for action in actions {
            self.note(Node::Coordinator, format_args!("> {action:?}"));
            self.ledger.on_action(self.now, &action);
            self.perform_for_scheduler(action);
        }
        self.coordinator.scheduler.deadline().map(|(at, _)| at)
    }

    fn translate_for_scheduler(&mut self, input: Input, events: &mut Vec<Event>) {
        match input {
            Input::Packet(connection, Packet::WorkerHello(offer)) => self.admit_worker(connection, offer, events),
            Input::Packet(connection, Packet::ClientHello { token, resume }) => {
                self.admit_client(connection, token, resume, events);
            }
            Input::Packet(connection, packet) => match self.coordinator.peers.get(&connection) {
                Some(Peer::Worker(worker)) => worker_event(*worker, packet, events),
                Some(Peer::Client(session)) => client_event(*session, packet, events),
                None => {}
            },
            Input::Lost(connection) => match self.coordinator.unbind(connection) {
                Some(Peer::Worker(worker)) => events.push(Event::WorkerLost { worker }),
                Some(Peer::Client(session)) => events.push(Event::SessionCut { session }),
                None => {}
            },
            Input::Scheduler(event) => {
                self.note_lie_to_scheduler(&event);
                events.push(event);
            }
            Input::DialFailed | Input::Brain(_) | Input::Session(_) => unreachable!("nothing of a peer's"),
        }
    }

    fn admit_worker(&mut self, connection: ConnectionId, offer: Offer, events: &mut Vec<Event>) {
        let coordinator = &mut self.coordinator;
        let worker = WorkerId(coordinator.next_worker);
        coordinator.next_worker += 1;
        coordinator.workers.insert(worker, connection);
        coordinator.peers.insert(connection, Peer::Worker(worker));
        let made = self.network.connection(connection);
        if let Node::Worker(n) = made.peer {
            self.stays.insert(worker, (n, made.life));
        }
        self.send(
            connection,
            End::Coordinator,
            Packet::ToWorker(ToWorker::Welcome { worker, result_limit: self.plan.result_limit }),
        );
        let watch = match self.network.connection(connection).medium {
            Medium::Memory => Watch::None,
            Medium::Wire => Watch::Heartbeat,
        };
        let exchange = self.draw_exchange();
        events.push(Event::WorkerJoined { worker, offer, watch, exchange });
    }

    /// Whether a peer is on the coordinator's machine.
    fn draw_exchange(&mut self) -> Exchange {
        let near = self.plan.shape == Shape::Embedded || self.rng.chance(1, 4);
        if near { Exchange::Memory } else { Exchange::Bytes }
    }

    fn admit_client(
        &mut self,
        connection: ConnectionId,
        token: u128,
        resume: Option<(Epoch, SessionId, u64)>,
        events: &mut Vec<Event>,
    ) {
        let coordinator = &mut self.coordinator;
        match resume {
            Some((epoch, session, taken)) if epoch == coordinator.epoch => {
                coordinator.resuming.entry(session).or_default().push(Some(connection));
                events.push(Event::SessionResumed { session, token, taken });
            }
            Some(_) => self.dismiss_client(connection, EndReason::Gone),
            None => {
                let session = SessionId(coordinator.next_session);
                coordinator.next_session += 1;
                coordinator.sessions.insert(session, connection);
                coordinator.peers.insert(connection, Peer::Client(session));
                if let Node::Client(client) = self.network.connection(connection).peer {
                    self.ledger.on_session(session, client);
                }
                let exchange = self.draw_exchange();
                events.push(Event::SessionOpened { session, token, exchange });
            }
        }
    }

    fn dismiss_client(&mut self, connection: ConnectionId, reason: EndReason) {
        let farewell = match reason {
            EndReason::Closed => Farewell::Closed,
            EndReason::Gone => Farewell::Gone,
            EndReason::Misbehaved => Farewell::Misbehaved,
        };
        self.send(connection, End::Coordinator, Packet::ToClient(ToClient::Goodbye(farewell)));
        self.close(connection, End::Coordinator);
    }

    fn perform_for_scheduler(&mut self, action: Action) {
        match action {
            Action::DefineFunction { worker, session, function } => {
                self.tell_worker(worker, ToWorker::Define { session, function });
            }
            Action::StartAttempts { worker, starts } => self.tell_worker(worker, ToWorker::Start(starts)),
            Action::AppendInputs { worker, attempt, inputs } => {
                probe!("inputs streamed in parts");
                self.tell_worker(worker, ToWorker::Inputs { attempt, inputs });
            }
            Action::FetchObject { worker, object, from, at, guest } => {
                self.tell_worker(from, ToWorker::Expect(guest));
                self.tell_worker(worker, ToWorker::Fetch { object, from, at });
            }
            Action::ExpectClient { worker, object, key } => {
                let session = object.0.task.session;
                self.tell_worker(worker, ToWorker::ExpectClient { key, session });
            }
            Action::GiveObject { worker, object, value } => {
                probe!("object relayed");
                self.tell_worker(worker, ToWorker::Give { object, value });
            }
            Action::ShowObject { worker, object } => self.tell_worker(worker, ToWorker::Show(object)),
            Action::DropObjects { worker, objects } => self.tell_worker(worker, ToWorker::Drop(objects)),
            Action::CancelAttempts { worker, attempts, cancel } => {
                self.tell_worker(worker, ToWorker::Cancel { attempts, cancel });
            }
            Action::RecallAttempts { worker, attempts } => self.tell_worker(worker, ToWorker::Recall(attempts)),
            Action::CutChunk { worker, attempt } => self.tell_worker(worker, ToWorker::Cut(attempt)),
            Action::ForgetFunctions { worker, functions } => {
                self.tell_worker(worker, ToWorker::ForgetFunctions(functions));
            }
            Action::ForgetSession { worker, session } => self.tell_worker(worker, ToWorker::Forget(session)),
            Action::AcknowledgeReports { worker, cost } => self.tell_worker(worker, ToWorker::Taken(cost)),
            Action::FenceWorker { worker } => self.part_from_worker(worker, ToWorker::Fenced),
            Action::DismissWorker { worker } => self.part_from_worker(worker, ToWorker::Goodbye),
            Action::Welcome { session, taken } => self.welcome(session, taken),
            Action::Notify { session, notices } => {
                for notice in notices {
                    self.tell_client(session, ToClient::Notice(notice));
                }
            }
            Action::AcknowledgeRequests { session, taken } => self.tell_client(session, ToClient::Taken(taken)),
            Action::EndSession { session, reason } => self.end_session(session, reason),
        }
    }

    fn tell_worker(&mut self, worker: WorkerId, message: ToWorker) {
        if let Some(connection) = self.coordinator.workers.get(&worker) {
            self.send(*connection, End::Coordinator, Packet::ToWorker(message));
        }
    }

    fn part_from_worker(&mut self, worker: WorkerId, message: ToWorker) {
        let Some(connection) = self.coordinator.workers.get(&worker).copied() else { return };
        self.send(connection, End::Coordinator, Packet::ToWorker(message));
        self.close(connection, End::Coordinator);
        self.coordinator.unbind(connection);
    }

    fn tell_client(&mut self, session: SessionId, message: ToClient) {
        if let Some(connection) = self.coordinator.sessions.get(&session) {
            self.send(*connection, End::Coordinator, Packet::ToClient(message));
        }
    }

    fn welcome(&mut self, session: SessionId, taken: u64) {
        if let Some(connection) = self.coordinator.welcomed(session) {
            if let Some(old) = self.coordinator.sessions.insert(session, connection) {
                self.coordinator.peers.remove(&old);
                self.close(old, End::Coordinator);
            }
            self.coordinator.peers.insert(connection, Peer::Client(session));
            probe!("client resumed its session");
        }
        let value_limit = self.plan.held_bytes_limit;
        self.tell_client(session, ToClient::Welcome { session, taken, value_limit });
    }

    fn end_session(&mut self, session: SessionId, reason: EndReason) {
        let refused = if reason == EndReason::Gone { self.coordinator.refused(session) } else { None };
        let bound = self.coordinator.sessions.get(&session).copied();
        match (refused, reason) {
            (Some(Some(refused)), _) => self.dismiss_client(refused, reason),
            (Some(None), _) => {}
            (None, EndReason::Gone) => panic!("{session} is gone, but nobody wanted to resume it"),
            (None, EndReason::Closed | EndReason::Misbehaved) => {
                if let Some(connection) = bound {
                    self.dismiss_client(connection, reason);
                    self.coordinator.unbind(connection);
                }
            }
        }
    }
}

fn worker_event(worker: WorkerId, packet: Packet, events: &mut Vec<Event>) {
    events.push(Event::WorkerHeard { worker });
    match packet {
        Packet::FromWorker(message) => events.push(match message {
            FromWorker::Started(attempts) => Event::AttemptsStarted { worker, attempts },
            FromWorker::Ended(reports) => Event::AttemptsEnded { worker, reports },
            FromWorker::Returned(attempts) => Event::AttemptsReturned { worker, attempts },
            FromWorker::Cut { attempt, at } => Event::ChunkCut { worker, attempt, at },
            FromWorker::Taken(cost) => Event::StartsTaken { worker, cost },
            FromWorker::Draining => Event::WorkerDraining { worker },
            FromWorker::Goodbye => Event::WorkerLost { worker },
            FromWorker::Held(objects) => Event::ObjectsHeld { worker, objects },
            FromWorker::Unfetched { object, reason } => Event::ObjectUnfetched { worker, object, reason },
            FromWorker::Lost(objects) => Event::ObjectsLost { worker, objects },
            FromWorker::Shown { object, value } => Event::ObjectShown { worker, object, value },
        }),
        Packet::Heartbeat => {}
        other => unreachable!("a worker does not say {other:?}"),
    }
}

fn client_event(session: SessionId, packet: Packet, events: &mut Vec<Event>) {
    match packet {
        Packet::FromClient(FromClient::Request(request)) => events.push(Event::Requested { session, request }),
        Packet::FromClient(FromClient::Taken(taken)) => events.push(Event::NoticesTaken { session, taken }),
        Packet::FromClient(FromClient::Goodbye) => events.push(Event::SessionClosed { session }),
        Packet::FromClient(FromClient::AskStatus(_)) | Packet::Heartbeat => {}
        other => unreachable!("a client does not say {other:?}"),
    }
}
