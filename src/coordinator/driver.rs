//! The coordinator's driver: the loop around [`Scheduler`].
//!
//! Each turn reads the links that have something, up to a bound, lets the scheduler decide once, and carries that out in
//! order. Sending never waits.

use super::Config;
use super::links::LinkId;
use super::session::{Peers, Promotion};
use super::translate::{self, Word};
use crate::clock::Clock;
use crate::net::link::Link;
use crate::net::listener::{Arrival, Exchange, Watch};
use plait_core::id::{Epoch, SessionId};
use plait_core::limits;
use plait_core::outcome::Notice;
use plait_core::protocol::message::client::{Farewell, FromClient, ToClient};
use plait_core::protocol::message::worker::{FromWorker, ToWorker};
use plait_core::scheduler::{Action, EndReason, Event, Scheduler};
use plait_core::spec::Offer;
use std::pin::pin;
use std::task::Poll;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace, warn};

/// Messages read from a link at once.
const READ_MESSAGES: usize = 8;

/// The driver.
#[derive(Debug)]
pub(super) struct Driver {
    scheduler: Scheduler,
    clock: Clock,
    epoch: Epoch,
    result_limit: u64,
    value_limit: u64,
    peers: Peers,
    questions: Vec<(SessionId, u32)>,
    from_clients: Vec<FromClient>,
    from_workers: Vec<FromWorker>,
    listed: Vec<LinkId>,
    events: Vec<Event>,
    actions: Vec<Action>,
}

impl Driver {
    pub(super) fn new(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config.scheduler, config.seed),
            clock: Clock::start(),
            epoch: config.epoch,
            result_limit: config.scheduler.result_limit,
            value_limit: config.value_limit(),
            peers: Peers::default(),
            questions: Vec::new(),
            from_clients: Vec::new(),
            from_workers: Vec::new(),
            listed: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>, shutdown: CancellationToken) {
        let mut shutdown = pin!(shutdown.cancelled());
        loop {
            self.read_links();
            self.step();
            if self.peers.ready.is_listed() {
                // There is more to read already: the others on this thread go first.
                tokio::task::yield_now().await;
            }
            let deadline = self.scheduler.deadline().map(|(at, _)| at);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // One at a time, and judged before anything else is read: the scheduler's answer is then known to be
                // meant for it, and what an older link of a session still carries does not count for its new one.
                Some(arrival) = arrivals.recv() => {
                    self.on_arrival(arrival);
                    self.step();
                }
                () = self.peers.ready.wait() => {},
                // Carrying out the last step had consequences.
                () = std::future::ready(()), if !self.events.is_empty() => {},
                () = self.clock.sleep_until(deadline) => {},
            }
        }
        let parting = self.peers.dismiss_all().flushed();
        if tokio::time::timeout(limits::FAREWELL_TIMEOUT, parting).await.is_err() {
            warn!(target: "plait::coordinator", "not every peer took the goodbye in time");
        }
    }

    fn step(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.step(
            self.clock.now(),
            self.events.drain(..).inspect(|event| trace!(target: "plait::coordinator", ?event)),
            &mut actions,
        );
        for action in actions.drain(..) {
            trace!(target: "plait::coordinator", ?action);
            self.perform(action);
        }
        self.actions = actions;
        self.answer_questions();
    }

    fn answer_questions(&mut self) {
        for (session, question) in self.questions.drain(..) {
            let status = Box::new(translate::status(&self.scheduler.snapshot()));
            self.peers.to_client(session, ToClient::Status { question, status });
        }
    }
}

/// What comes in.
impl Driver {
    fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Worker { offer, watch, exchange, link } => self.on_worker(offer, watch, exchange, link),
            Arrival::Client { name, token, resume: None, exchange, link } => {
                let session = self.peers.add_client(link);
                info!(target: "plait::coordinator", %session, %name, "a client came");
                let exchange = translate::exchange(exchange);
                self.events.push(Event::SessionOpened { session, token, exchange });
            }
            Arrival::Client { token, resume: Some((epoch, session, taken)), link, .. } if epoch == self.epoch => {
                info!(target: "plait::coordinator", %session, "a client came back");
                self.peers.add_candidate(session, link);
                self.events.push(Event::SessionResumed { session, token, taken });
            }
            Arrival::Client { name, link, .. } => {
                info!(target: "plait::coordinator", %name, "a client of an earlier coordinator was sent away");
                let _ = link.sender.send(ToClient::Goodbye(Farewell::Gone));
                link.sender.finish();
            }
        }
    }

    fn on_worker(&mut self, offer: Offer, watch: Watch, exchange: Exchange, link: Link<ToWorker, FromWorker>) {
        let worker = self.peers.add_worker(watch, self.result_limit, link);
        info!(target: "plait::coordinator", %worker, name = %offer.name, capacity = %offer.capacity, "a worker came");
        let (watch, exchange) = (translate::watch(watch), translate::exchange(exchange));
        self.events.push(Event::WorkerJoined { worker, offer, watch, exchange });
    }

    /// Reads the links that have something, each a fair share, until there is enough for one step. The others are the first
    /// ones of the next.
    fn read_links(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        self.peers.ready.take(&mut listed);
        let share = limits::STEP_ITEMS / listed.len().max(1);
        let (mut read, mut weight) = (0, 0);
        for link in &listed {
            if weight >= limits::STEP_ITEMS {
                break;
            }
            read += 1;
            let before = self.events.len();
            self.read_client(*link, share);
            self.read_worker(*link, share);
            weight += self.events[before..].iter().map(translate::weight).sum::<usize>();
        }
        self.peers.ready.put_back(listed.drain(read..));
        listed.clear();
        self.listed = listed;
    }

    fn read_client(&mut self, id: LinkId, share: usize) {
        let Some(client) = self.peers.clients.get_mut(&id) else { return };
        let session = client.session;
        client.inlet.unlist();
        let mut weight = 0;
        let closed = loop {
            match client.inlet.read(&mut self.from_clients, READ_MESSAGES) {
                Poll::Pending => return,
                Poll::Ready(Err(closed)) => break closed,
                Poll::Ready(Ok(())) => {}
            }
            for message in self.from_clients.drain(..) {
                match translate::from_client(session, message) {
                    Word::Question(number) => self.questions.push((session, number)),
                    Word::Event(event) => {
                        weight += translate::weight(&event);
                        self.events.push(event);
                    }
                }
            }
            if weight > share {
                return client.inlet.relist();
            }
        };
        debug!(target: "plait::coordinator", %session, %closed, "a client's link is closed");
        if let Some(session) = self.peers.remove_client(id) {
            self.events.push(Event::SessionCut { session });
        }
    }

    fn read_worker(&mut self, id: LinkId, share: usize) {
        let Some(link) = self.peers.workers.get_mut(&id) else { return };
        let (worker, watch) = (link.worker, link.watch);
        link.inlet.unlist();
        let mut weight = 0;
        let closed = loop {
            match link.inlet.read(&mut self.from_workers, READ_MESSAGES) {
                Poll::Pending => return,
                Poll::Ready(Err(closed)) => break closed,
                Poll::Ready(Ok(())) => {}
            }
            if self.from_workers.is_empty() && watch == Watch::Heartbeat {
                self.events.push(Event::WorkerHeard { worker });
            }
            for message in self.from_workers.drain(..) {
                let event = translate::from_worker(worker, message);
                weight += translate::weight(&event);
                self.events.push(event);
            }
            if weight > share {
                return link.inlet.relist();
            }
        };
        info!(target: "plait::coordinator", %worker, %closed, "a worker left");
        if let Some(worker) = self.peers.remove_worker(id) {
            self.events.push(Event::WorkerLost { worker });
        }
    }
}

/// What goes out.
impl Driver {
    fn perform(&mut self, action: Action) {
        match action {
            Action::DefineFunction { worker, session, function } => {
                self.peers.to_worker(worker, ToWorker::Define { session, function });
            }
            Action::StartAttempts { worker, starts } => self.peers.to_worker(worker, ToWorker::Start(starts)),
            Action::AppendInputs { worker, attempt, inputs } => {
                self.peers.to_worker(worker, ToWorker::Inputs { attempt, inputs });
            }
            Action::FetchObject { worker, object, from, at, guest } => {
                self.peers.to_worker(from, ToWorker::Expect(guest));
                self.peers.to_worker(worker, ToWorker::Fetch { object, from, at });
            }
            Action::ExpectClient { worker, object, key } => {
                let session = object.0.task.session;
                self.peers.to_worker(worker, ToWorker::ExpectClient { key, session });
            }
            Action::GiveObject { worker, object, value } => {
                self.peers.to_worker(worker, ToWorker::Give { object, value });
            }
            Action::ShowObject { worker, object } => self.peers.to_worker(worker, ToWorker::Show(object)),
            Action::DropObjects { worker, objects } => self.peers.to_worker(worker, ToWorker::Drop(objects)),
            Action::CancelAttempts { worker, attempts, cancel } => {
                self.peers.to_worker(worker, ToWorker::Cancel { attempts, cancel });
            }
            Action::CutChunk { worker, attempt } => self.peers.to_worker(worker, ToWorker::Cut(attempt)),
            Action::RecallAttempts { worker, attempts } => {
                self.peers.to_worker(worker, ToWorker::Recall(attempts));
            }
            Action::ForgetFunctions { worker, functions } => {
                self.peers.to_worker(worker, ToWorker::ForgetFunctions(functions));
            }
            Action::ForgetSession { worker, session } => self.peers.to_worker(worker, ToWorker::Forget(session)),
            Action::AcknowledgeReports { worker, cost } => self.peers.to_worker(worker, ToWorker::Taken(cost)),
            Action::FenceWorker { worker } => {
                warn!(target: "plait::coordinator", %worker, "a worker was silent for too long and is given up");
                forget(self.peers.dismiss_worker(worker, ToWorker::Fenced));
            }
            Action::DismissWorker { worker } => forget(self.peers.dismiss_worker(worker, ToWorker::Goodbye)),
            Action::Welcome { session, taken } => {
                if self.peers.promote(session) == Promotion::Gone {
                    self.events.push(Event::SessionCut { session });
                }
                let value_limit = self.value_limit;
                self.peers.to_client(session, ToClient::Welcome { session, taken, value_limit });
            }
            Action::Notify { session, notices } => self.notify(session, notices),
            Action::AcknowledgeRequests { session, taken } => self.peers.to_client(session, ToClient::Taken(taken)),
            Action::EndSession { session, reason } => self.end_session(session, reason),
        }
    }

    fn notify(&self, session: SessionId, notices: Vec<Notice>) {
        notices.into_iter().for_each(|notice| self.peers.to_client(session, ToClient::Notice(notice)));
    }

    /// `Gone` is the answer to whoever wanted to resume; everything else is meant for all links of the session.
    fn end_session(&mut self, session: SessionId, reason: EndReason) {
        info!(target: "plait::coordinator", %session, ?reason, "a session ended");
        let farewell = translate::farewell(reason);
        forget(self.peers.dismiss_candidate(session, farewell));
        if reason != EndReason::Gone {
            forget(self.peers.dismiss_client(session, farewell));
        }
    }
}

/// A finished link needs nobody: what was sent still goes out.
fn forget<T>(_finished: Option<T>) {}
