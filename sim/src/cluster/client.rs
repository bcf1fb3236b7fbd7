//! A client's simulated shell: it dials, translates, and stands between the session and the user's program.

use super::visit::client_key;
use super::{Input, Machine, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{Clock, MILLI, SECOND};
use crate::network::{ConnectionId, End, Packet};
use crate::options::{Canary, Shape};
use crate::probe::probe;
use crate::workload::{Program, Step};
use plait_core::client::{Action, Config, Event, Loss, Resume, Session};
use plait_core::id::{Epoch, Seq, SessionId};
use plait_core::limits;
use plait_core::outcome::Delivery;
use plait_core::protocol::message::client::{Farewell, FromClient, ToClient};
use plait_core::time::Time;
use std::collections::BTreeMap;

/// How a client's life with its coordinator ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Lives,
    /// Its process was killed.
    Killed,
    /// It said goodbye.
    Closed,
    /// It gave the coordinator up.
    GaveUp(Loss),
}

/// A client and the program in it.
#[derive(Debug)]
pub(crate) struct ClientHost {
    pub(crate) machine: Machine,
    pub(crate) session: Session,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) program: Program,
    pub(crate) ending: Ending,
    /// The numbers of its visits to workers, by the tasks whose values it is to get.
    pub(crate) visiting: BTreeMap<Seq, u64>,
    token: u128,
    epoch: Epoch,
    dials: u64,
    /// How many notices it had taken when it dialled.
    taken: u64,
    /// Since when it has not been welcome.
    cut_since: u64,
    requests_sent: u64,
}

impl ClientHost {
    /// What it says when a connection is made, unless that dial is old news.
    pub(super) fn hello(&self, dial: u64) -> Option<Packet> {
        let wanted = dial == self.dials && self.connection.is_none() && self.ending == Ending::Lives;
        let resume = self.session_id.map(|session| (self.epoch, session, self.taken));
        wanted.then_some(Packet::ClientHello { token: self.token, resume })
    }

    /// Whether the coordinator has answered over the present connection.
    pub(super) fn is_welcome(&self) -> bool {
        self.cut_since == u64::MAX
    }

    /// Whether nothing is expected of it or for it any more.
    pub(crate) fn is_through(&self) -> bool {
        self.ending != Ending::Lives || self.program.is_through()
    }
}

impl World {
    pub(super) fn add_client(&mut self) {
        let n = self.clients.len();
        self.network.add_path(Node::Client(n));
        let clock = Clock::draw(&mut self.rng, self.plan.drift_ppm);
        let embedded = self.plan.shape == Shape::Embedded;
        let resume = if embedded { Resume::Never } else { Resume::Kept };
        let key = (!embedded && self.rng.chance(7, 8)).then(|| client_key(n));
        let token = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        self.clients.push(ClientHost {
            machine: Machine::new(clock, State::Up),
            session: Session::new(Config { resume, key, seed: self.rng.next_u64() }),
            session_id: None,
            connection: None,
            program: Program::new(&self.plan, &mut self.rng),
            ending: Ending::Lives,
            visiting: BTreeMap::new(),
            token,
            epoch: self.coordinator.epoch,
            dials: 0,
            taken: 0,
            cut_since: self.now,
            requests_sent: 0,
        });
        self.wake(Node::Client(n));
        let begins = self.now + self.rng.below(200 * MILLI);
        self.agenda.plan(begins, Happening::Program { client: n, life: 0 });
    }

    pub(super) fn on_program(&mut self, n: usize, life: u32) {
        let client = &mut self.clients[n];
        if client.machine.life != life || client.ending != Ending::Lives {
            return;
        }
        let pause = client.program.pause();
        self.agenda.plan(self.now + pause, Happening::Program { client: n, life });
        if client.machine.state != State::Up {
            return;
        }
        match client.program.step(self.now) {
            Step::Ask(requests) => {
                for request in requests {
                    self.post(Node::Client(n), Input::Session(Event::Asked(request)));
                }
            }
            Step::Close => self.post(Node::Client(n), Input::Session(Event::CloseRequested)),
        }
    }

    pub(super) fn step_client(&mut self, n: usize, inputs: Vec<Input>) -> Option<Time> {
        let (now, checked) = self.clock_in(Node::Client(n));
        let mut events = Vec::new();
        for input in inputs {
            self.translate_for_session(n, input, &mut events);
        }
        for event in &events {
            self.note(Node::Client(n), format_args!("< {event:?}"));
        }
        let mut actions = Vec::new();
        self.clients[n].session.step(now, events, &mut actions);
        if checked {
            self.clients[n].session.check();
        }
        for action in actions {
            self.note(Node::Client(n), format_args!("> {action:?}"));
            self.perform_for_session(n, action);
        }
        self.clients[n].session.deadline().map(|(at, _)| at)
    }

    fn translate_for_session(&mut self, n: usize, input: Input, events: &mut Vec<Event>) {
        match input {
            Input::Packet(connection, packet) if self.clients[n].connection == Some(connection) => match packet {
                Packet::ToClient(message) => self.translate_to_client(n, message, events),
                Packet::Heartbeat => {}
                other => unreachable!("nobody says {other:?} to a client"),
            },
            Input::Packet(..) => {}
            Input::Lost(connection) => {
                let client = &mut self.clients[n];
                if client.connection == Some(connection) {
                    client.connection = None;
                    client.cut_since = client.cut_since.min(self.now);
                    events.push(Event::LinkCut);
                }
            }
            Input::DialFailed => events.push(Event::LinkCut),
            Input::Session(event) => events.push(event),
            Input::Scheduler(_) | Input::Brain(_) => unreachable!("nothing of another's"),
        }
    }

    fn translate_to_client(&mut self, n: usize, message: ToClient, events: &mut Vec<Event>) {
        let client = &mut self.clients[n];
        events.push(match message {
            ToClient::Welcome { session, taken, value_limit: _ } => {
                if taken < client.requests_sent {
                    probe!("resume resent requests");
                }
                client.session_id.get_or_insert(session);
                client.cut_since = u64::MAX;
                Event::Welcomed { session, taken }
            }
            ToClient::Notice(notice) => Event::Noticed(notice),
            ToClient::Taken(taken) => Event::RequestsTaken { taken },
            ToClient::Status { .. } => return,
            ToClient::Goodbye(Farewell::Closed) => return,
            ToClient::Goodbye(Farewell::Misbehaved) => panic!("client {n} was sent away as misbehaving"),
            ToClient::Goodbye(Farewell::Gone) => {
                probe!("session found gone");
                assert!(
                    self.ledger.may_be_gone(client.session_id, self.now),
                    "{:?} is gone too soon",
                    client.session_id
                );
                Event::Refused
            }
            ToClient::Goodbye(Farewell::ShuttingDown) => Event::CoordinatorEnded,
        });
    }

    fn perform_for_session(&mut self, n: usize, action: Action) {
        let client = &mut self.clients[n];
        match action {
            Action::Dial { taken } => {
                client.taken = taken;
                client.dials += 1;
                let dial = client.dials;
                if let Some(connection) = client.connection.take() {
                    self.close(connection, End::Peer);
                }
                self.dial(Node::Client(n), dial);
            }
            Action::Send { requests } => {
                client.requests_sent += requests.len() as u64;
                for request in requests {
                    self.tell_from_client(n, FromClient::Request(request));
                }
            }
            Action::AcknowledgeNotices { taken } => self.tell_from_client(n, FromClient::Taken(taken)),
            Action::Deliver { deliveries } => self.deliver(n, deliveries),
            Action::Visit { seq, object, at } => self.visit(n, seq, object, at),
            Action::StopVisits { tasks } => {
                probe!("visit to a worker given up");
                client.visiting.retain(|seq, _| !tasks.contains(seq));
            }
            Action::Supply { seq, outcome } => {
                self.ledger.on_supplied(n, seq, &outcome);
                self.clients[n].program.supply(seq, outcome);
            }
            Action::Divide { seq, parts } => {
                if let Some(request) = client.program.divide(seq, &parts) {
                    self.post(Node::Client(n), Input::Session(Event::Asked(request)));
                }
            }
            Action::MarkStarted { tasks } => {
                if let Some(request) = client.program.hear_started(&tasks) {
                    self.post(Node::Client(n), Input::Session(Event::Asked(request)));
                }
            }
            Action::ShowProgress { run, progress } => client.program.show_progress(run, progress),
            Action::NameWorker { .. } => {}
            Action::Admit { admission } => client.program.admit(admission),
            Action::GiveUp { loss } => self.give_up(n, loss),
            Action::SayGoodbye => {
                client.ending = Ending::Closed;
                self.tell_from_client(n, FromClient::Goodbye);
                self.leave(n);
            }
        }
    }

    fn deliver(&mut self, n: usize, mut deliveries: Vec<Delivery>) {
        if self.plan.canary == Canary::DuplicateOutcome && self.ledger.strike_canary() {
            deliveries.push(deliveries[0].clone());
        }
        for delivery in deliveries {
            self.ledger.on_delivered(n, &delivery);
            self.clients[n].program.deliver(delivery);
        }
    }

    fn give_up(&mut self, n: usize, loss: Loss) {
        probe!("client gave up");
        let client = &mut self.clients[n];
        client.ending = Ending::GaveUp(loss);
        let cut_for = self.now.saturating_sub(client.cut_since);
        let patience = if client.session_id.is_some() { limits::SESSION_KEPT } else { limits::CLIENT_CONNECT_TIMEOUT };
        let least = patience.as_nanos() as u64 / 10 * 8;
        let allowed = match loss {
            Loss::Unreachable => cut_for >= least,
            Loss::Refused => self.ledger.may_be_gone(client.session_id, self.now),
            // Coordinators of this world never stop in order.
            Loss::Ended => false,
        };
        assert!(allowed, "client {n} gave up as {loss:?} after only {} ms", cut_for / MILLI);
        self.leave(n);
    }

    fn leave(&mut self, n: usize) {
        if let Some(connection) = self.clients[n].connection.take() {
            self.close(connection, End::Peer);
        }
    }

    /// A client's process is killed, for good.
    pub(super) fn kill_client(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.ending = Ending::Killed;
        client.machine.end();
        let connection = client.connection.take();
        self.note(Node::Client(n), format_args!("is killed"));
        if let Some(connection) = connection {
            if self.rng.chance(1, 2) {
                self.close(connection, End::Peer);
            } else {
                self.network.release(connection, End::Peer);
            }
        }
    }

    fn tell_from_client(&mut self, n: usize, message: FromClient) {
        if let Some(connection) = self.clients[n].connection {
            self.send(connection, End::Peer, Packet::FromClient(message));
        }
    }

    /// Every client that is left says goodbye.
    pub(super) fn close_clients(&mut self) {
        for n in 0..self.clients.len() {
            if self.clients[n].ending == Ending::Lives {
                self.post(Node::Client(n), Input::Session(Event::CloseRequested));
            }
        }
    }

    /// How long a client is paused at the most: its session may be gone when it goes on.
    pub(super) fn longest_pause(&self) -> u64 {
        100 * SECOND
    }
}
