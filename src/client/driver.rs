//! The client's driver: the loop around [`Session`], and all that happens between it and the coordinator.
//!
//! Each turn takes what the user's threads have asked for and what the link has brought, lets the session decide, and
//! carries that out. Then it lies down: it looks again for a moment, dozes, and sleeps once nothing has happened for a while.

use super::Close;
use super::alert::{Alert, Hope};
use super::handle::{Handle, Shared};
use super::inbox::{End, Referred};
use super::outgoing::{Alertness, Batch, Question};
use super::translate::{Meaning, meaning};
use super::visitor::Visitor;
use crate::clock::Clock;
use crate::net::link::{Closed, Link};
use plait_core::client::{Action, Config, Event, Loss, Resume, Session};
use plait_core::id::{Epoch, Seq, SessionId};
use plait_core::limits;
use plait_core::outcome::Unfetched;
use plait_core::protocol::message::client::{FromClient, Status, ToClient};
use plait_core::spec::{Cancel, Request};
use plait_core::time::Time;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use tracing::trace;

/// Messages taken from the link in one turn.
const LINK_BATCH: usize = 64;

/// A link to a coordinator.
pub(crate) type Uplink = Link<FromClient, ToClient>;

/// How a client came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It said goodbye.
    Closed,
    /// It lost its coordinator for good.
    Lost(Loss),
}

/// Where links come from.
pub(crate) trait Upstream: Send + 'static {
    /// What a cut link means.
    const RESUME: Resume;

    /// Opens a link, to resume a session if one is named. `None`: it failed, and may be tried again.
    fn dial(&mut self, resume: Option<Resumption>) -> Pin<Box<dyn Future<Output = Dialled> + Send>>;

    /// Who goes to workers for values, if that makes sense from here.
    fn visitor(&self) -> Option<Visitor> {
        None
    }

    /// The coordinator has answered.
    fn on_welcome(&mut self) {}
}

/// The session that a link is to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    pub(crate) epoch: Epoch,
    pub(crate) session: SessionId,
    /// Notices taken so far.
    pub(crate) taken: u64,
}

/// What became of a dial.
#[derive(Debug)]
pub(crate) enum Dialled {
    /// A link to this life of a coordinator.
    Link(Epoch, Uplink),
    /// Nothing yet: try again.
    Failed,
    /// It will never work.
    Refused,
}

/// The driver of one client.
pub(crate) struct Driver<U> {
    shared: Arc<Shared>,
    session: Session,
    upstream: U,
    visitor: Option<Visitor>,
    clock: Clock,
    link: Option<Uplink>,
    dialling: Option<Pin<Box<dyn Future<Output = Dialled> + Send>>>,
    /// The life of the coordinator that the last link leads to.
    epoch: Option<Epoch>,
    /// Life and number of the session, once there is one.
    identity: Option<(Epoch, SessionId)>,
    questions: Vec<(u32, Arc<Question>)>,
    asked: u32,
    closing: Option<Close>,
    /// When a closing client goes, whether or not everything could be sent.
    leave_by: Option<Time>,
    alert: Alert,
    /// Until then it only dozes.
    doze: Option<Time>,
    ended: Option<Ended>,
    batch: Batch,
    incoming: Vec<ToClient>,
    events: Vec<Event>,
    actions: Vec<Action>,
}

impl<U: Upstream> Driver<U> {
    /// A driver for what `handle` asks.
    pub(crate) fn new(handle: &Handle, upstream: U, seed: u64) -> Self {
        let visitor = upstream.visitor();
        let key = visitor.as_ref().map(Visitor::key);
        Self {
            shared: Arc::clone(&handle.0),
            session: Session::new(Config { resume: U::RESUME, key, seed }),
            upstream,
            visitor,
            clock: Clock::start(),
            link: None,
            dialling: None,
            epoch: None,
            identity: None,
            questions: Vec::new(),
            asked: 0,
            closing: None,
            leave_by: None,
            alert: Alert::new(),
            doze: None,
            ended: None,
            batch: Batch::default(),
            incoming: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Runs until the client is closed or its coordinator lost for good.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            self.take_requests();
            self.step();
            if self.ended.is_none() && self.leave_by.is_some_and(|at| at <= self.clock.now()) {
                // The coordinator takes no more: what it has not taken it need not hear any longer.
                self.perform(Action::SayGoodbye);
            }
            if let Some(ended) = self.ended {
                self.part(ended).await;
                return ended;
            }
            if self.alert.is_up(self.clock.now(), self.shared.inbox.pending()) {
                self.look().await;
            } else if self.lie_down() {
                self.wait().await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes what the user's threads have asked for.
    fn take_requests(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.shared.outgoing.take(&mut batch);
        if !batch.is_empty() {
            self.doze = Some(self.clock.now() + limits::CLIENT_DOZE);
        }
        if !batch.requests.is_empty() {
            self.alert.stir(self.clock.now(), Hope::Answer);
            let stopped = self.shared.inbox.register(&batch.requests);
            self.events.extend(batch.requests.drain(..).map(Event::Asked));
            self.stop(&stopped);
        }
        if !batch.released.is_empty() {
            self.shared.inbox.forget(&batch.released);
            let cut = batch.released.chunks(limits::BATCH_ITEMS);
            self.events.extend(cut.map(|tasks| Event::Asked(Request::Release(tasks.to_vec()))));
            batch.released.clear();
        }
        for functions in batch.released_functions.chunks(limits::BATCH_ITEMS) {
            self.events.push(Event::Asked(Request::ReleaseFunctions(functions.to_vec())));
        }
        batch.released_functions.clear();
        batch.questions.drain(..).for_each(|question| self.ask(question));
        self.closing = self.closing.max(batch.close.take());
        self.batch = batch;
        self.close_if_due();
    }

    fn close_if_due(&mut self) {
        let due = match self.closing {
            Some(Close::Now) => true,
            Some(Close::WhenDone) => self.shared.inbox.pending() == 0,
            None => false,
        };
        if due {
            self.closing = None;
            self.leave_by.get_or_insert(self.clock.now() + limits::FAREWELL_TIMEOUT);
            self.events.push(Event::CloseRequested);
            self.shared.end(End::Closed);
        }
    }

    /// Steps until nothing follows from it: a value that is not here is asked for at once.
    fn step(&mut self) {
        loop {
            let mut actions = std::mem::take(&mut self.actions);
            let events = self.events.drain(..).inspect(|event| trace!(target: "plait::client", ?event));
            self.session.step(self.clock.now(), events, &mut actions);
            for action in actions.drain(..) {
                trace!(target: "plait::client", ?action);
                self.perform(action);
            }
            self.actions = actions;
            if self.events.is_empty() {
                return;
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { taken } => self.dial(taken),
            Action::Send { requests } => requests.into_iter().for_each(|r| self.send(FromClient::Request(r))),
            Action::AcknowledgeNotices { taken } => self.send(FromClient::Taken(taken)),
            Action::Deliver { deliveries } => {
                let Referred { absent, unwanted } =
                    self.shared.inbox.deliver(deliveries, |stored| self.shared.has(stored));
                self.events.extend(absent.into_iter().map(|seq| Event::Asked(Request::Fetch { seq })));
                let unwanted = unwanted.chunks(limits::BATCH_ITEMS).map(<[Seq]>::to_vec);
                self.events.extend(unwanted.map(|tasks| Event::Asked(Request::Release(tasks))));
                self.alert.stir(self.clock.now(), Hope::Request);
            }
            Action::Divide { seq, parts } => {
                let stopped = self.shared.inbox.divide(seq, parts);
                self.stop(&stopped);
            }
            Action::Visit { seq, object, at } => match &mut self.visitor {
                Some(visitor) => visitor.visit(seq, object, at),
                // Nobody said that it could.
                None => self.events.push(Event::Visited { seq, object, result: Err(Unfetched::Unreachable) }),
            },
            Action::StopVisits { tasks } => self.visitor.iter_mut().for_each(|visitor| visitor.stop(&tasks)),
            Action::Supply { seq, outcome } => self.shared.inbox.supply(seq, outcome),
            Action::MarkStarted { tasks } => self.shared.inbox.start(&tasks),
            Action::ShowProgress { run, progress } => self.shared.inbox.show_progress(run, progress),
            Action::NameWorker { worker, name } => self.shared.inbox.name_worker(worker, &name),
            Action::Admit { admission } => self.shared.outgoing.admit(admission),
            Action::GiveUp { loss } => self.ended = Some(Ended::Lost(loss)),
            Action::SayGoodbye => {
                self.send(FromClient::Goodbye);
                self.ended = Some(Ended::Closed);
            }
        }
    }

    /// Parts of chunks that were stopped are to stop too.
    fn stop(&mut self, parts: &[Seq]) {
        let cancel = |tasks: &[Seq]| Request::Cancel { tasks: tasks.to_vec(), cancel: Cancel::Running };
        self.events.extend(parts.chunks(limits::BATCH_ITEMS).map(cancel).map(Event::Asked));
    }

    fn dial(&mut self, taken: u64) {
        self.link = None;
        let resume = self.identity.map(|(epoch, session)| Resumption { epoch, session, taken });
        self.dialling = Some(self.upstream.dial(resume));
    }

    /// A link that is closed says so itself when it is read.
    fn send(&self, message: FromClient) {
        if let Some(link) = &self.link {
            let _ = link.sender.send(message);
        }
    }

    fn lie_down(&mut self) -> bool {
        let dozing = self.doze.is_some();
        self.shared.outgoing.lie_down(if dozing { Alertness::Dozing } else { Alertness::Asleep })
    }

    /// Looks whether something has come, and lets the others of this thread have a turn.
    async fn look(&mut self) {
        tokio::select! {
            biased;
            heard = receive(&mut self.link, &mut self.incoming) => self.on_heard(heard),
            visited = visited(&mut self.visitor) => self.events.push(visited),
            () = tokio::task::yield_now() => {}
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let due = self.session.deadline().map(|(at, _)| at);
        let deadline = due.into_iter().chain(self.doze).chain(self.leave_by).min();
        tokio::select! {
            biased;
            heard = receive(&mut self.link, &mut self.incoming) => self.on_heard(heard),
            visited = visited(&mut self.visitor) => self.events.push(visited),
            dialled = finish(&mut self.dialling) => self.on_dialled(dialled),
            () = self.shared.outgoing.woken() => {},
            () = self.clock.sleep_until(deadline) => self.doze = self.doze.filter(|end| *end > self.clock.now()),
        }
    }

    fn on_heard(&mut self, heard: Result<(), Closed>) {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.drain(..).for_each(|message| self.on_message(message));
        self.incoming = incoming;
        if let Err(closed) = heard {
            trace!(target: "plait::client", %closed, "link closed");
            self.link = None;
            self.events.push(Event::LinkCut);
        }
    }

    fn on_message(&mut self, message: ToClient) {
        match meaning(message) {
            Meaning::Welcome { session, taken, value_limit } => {
                self.shared.outgoing.limit_values(value_limit);
                self.on_welcome(session);
                self.events.push(Event::Welcomed { session, taken });
            }
            Meaning::Event(event) => self.events.push(event),
            Meaning::Answer(number, status) => self.answer(number, status),
            // It follows from our own goodbye; then nothing is waited for any more.
            Meaning::Parted => {}
        }
    }

    fn on_welcome(&mut self, session: SessionId) {
        self.identity = self.identity.or(self.epoch.map(|epoch| (epoch, session)));
        self.upstream.on_welcome();
        // Questions of the old link are asked again; those that nobody waits for any more are not.
        self.questions.retain(|(_, question)| Arc::strong_count(question) > 1);
        self.questions.iter().for_each(|(number, _)| self.send(FromClient::AskStatus(*number)));
    }

    fn on_dialled(&mut self, dialled: Dialled) {
        self.dialling = None;
        match dialled {
            Dialled::Link(epoch, link) => {
                self.epoch = Some(epoch);
                self.link = Some(link);
            }
            Dialled::Failed => self.events.push(Event::LinkCut),
            Dialled::Refused => self.events.push(Event::Refused),
        }
    }

    fn ask(&mut self, question: Arc<Question>) {
        self.asked = self.asked.wrapping_add(1);
        self.send(FromClient::AskStatus(self.asked));
        self.questions.push((self.asked, question));
    }

    fn answer(&mut self, number: u32, status: Box<Status>) {
        if let Some(index) = self.questions.iter().position(|(n, _)| *n == number) {
            let (_, question) = self.questions.swap_remove(index);
            *question.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            question.waiter.wake();
        }
    }

    /// Settles what is pending, then lets a goodbye reach the coordinator.
    async fn part(&mut self, ended: Ended) {
        let end = match ended {
            Ended::Closed => End::Closed,
            Ended::Lost(loss) => End::Lost(loss),
        };
        self.shared.end(end);
        if let (Ended::Closed, Some(mut link)) = (ended, self.link.take()) {
            link.sender.finish();
            let mut ignored = Vec::new();
            let closed = async {
                while link.receiver.receive(&mut ignored, LINK_BATCH).await.is_ok() {
                    ignored.clear();
                }
            };
            drop(tokio::time::timeout(limits::FAREWELL_TIMEOUT, closed).await);
        }
    }
}

impl<U> Drop for Driver<U> {
    /// However the driver ends, nobody waits for it any longer.
    fn drop(&mut self) {
        self.shared.end(End::Lost(Loss::Unreachable));
        self.questions.iter().for_each(|(_, question)| question.waiter.wake());
    }
}

/// Waits for messages; for ever while there is no link. Cancel-safe.
async fn receive(link: &mut Option<Uplink>, incoming: &mut Vec<ToClient>) -> Result<(), Closed> {
    match link {
        Some(link) => link.receiver.receive(incoming, LINK_BATCH).await,
        None => std::future::pending().await,
    }
}

/// Waits for a visit to a worker to end; for ever while there is none. Cancel-safe.
async fn visited(visitor: &mut Option<Visitor>) -> Event {
    match visitor {
        Some(visitor) => visitor.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for a dial; for ever while there is none. Cancel-safe.
async fn finish(dialling: &mut Option<Pin<Box<dyn Future<Output = Dialled> + Send>>>) -> Dialled {
    match dialling {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}
