//! A client of a coordinator on the network: a thread of its own, and a link that is dialled again when it is cut.

use super::driver::{Dialled, Driver, Resumption, Upstream};
use super::visitor::Visitor;
use super::{Close, Handle};
use crate::clock::{draw, draw_seed};
use crate::net::dial::{DialError, dial_client};
use crate::net::framed::Land;
use crate::net::join::JoinLine;
use crate::shutdown::{CancellationToken, Service};
use crate::store::depot::Depot;
use plait_core::client::Resume;
use plait_core::limits;
use plait_core::spec::PythonVersion;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tracing::debug;

/// What a client says about itself.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its name for people.
    pub name: Box<str>,
    /// The Python it runs.
    pub python: PythonVersion,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The coordinator cannot be reached, or must not be used.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was reached and never took this client in.
    #[error("the coordinator was reached but did not take this client in: is it shutting down? Try again")]
    SentAway,
    /// This process cannot start what it needs.
    #[error("cannot start the client's thread: {0}")]
    Start(#[from] std::io::Error),
}

/// A client and its thread.
#[derive(Debug)]
pub struct Remote {
    handle: Handle,
    service: Service,
}

/// A client that is not connected yet.
#[derive(Debug)]
pub struct Connecting {
    remote: Remote,
    answer: mpsc::Receiver<Result<(), ConnectError>>,
}

/// Connects to the coordinator that `line` names; tries for [`limits::CLIENT_CONNECT_TIMEOUT`].
///
/// # Errors
/// If it cannot be reached in that time, or at once if trying again is useless.
pub fn connect(line: JoinLine, config: ClientConfig) -> Result<Remote, ConnectError> {
    let mut connecting = Connecting::start(line, config)?;
    loop {
        match connecting.wait(limits::CLIENT_CONNECT_TIMEOUT) {
            Ok(done) => return done,
            Err(still) => connecting = *still,
        }
    }
}

impl Connecting {
    /// Begins to connect.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(line: JoinLine, config: ClientConfig) -> Result<Self, ConnectError> {
        let handle = Handle::new(None);
        let (ready, answer) = mpsc::sync_channel(1);
        let answering = Answering { last: Mutex::default(), ready };
        let land = Some(Depot::of_client(Arc::clone(handle.store())));
        let dialler = Dialler { line, config, token: draw(), land, answering: Arc::new(answering) };
        let answering = Arc::clone(&dialler.answering);
        let driver = Driver::new(&handle, dialler, draw_seed());
        let closing = handle.clone();
        let service = Service::spawn(move |shutdown| serve(driver, answering, closing, shutdown))?;
        Ok(Self { remote: Remote { handle, service }, answer })
    }

    /// Waits for the end of the effort, for a while; `Err` gives it back if there is none yet. Dropped, it is given up.
    pub fn wait(self, timeout: Duration) -> Result<Result<Remote, ConnectError>, Box<Self>> {
        match self.answer.recv_timeout(timeout) {
            Ok(answer) => Ok(answer.map(|()| self.remote)),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Box::new(self)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(Err(ConnectError::SentAway)),
        }
    }
}

impl Remote {
    /// The client.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Says goodbye, cancelling what is pending, and ends the thread; false if that takes longer than `timeout`.
    pub fn shutdown(&mut self, timeout: Duration) -> bool {
        self.service.shutdown(timeout)
    }
}

/// The life of the thread.
async fn serve(driver: Driver<Dialler>, answering: Arc<Answering>, handle: Handle, shutdown: CancellationToken) {
    let closing = async {
        shutdown.cancelled().await;
        handle.close(Close::Now);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = driver.run() => {
            debug!(target: "plait::client", ?ended, "the client ended");
            answering.give_up();
        },
        () = closing => {},
    }
}

/// Dials the coordinator.
struct Dialler {
    line: JoinLine,
    config: ClientConfig,
    token: u128,
    land: Land,
    answering: Arc<Answering>,
}

/// What the thread that wants to connect is told.
#[derive(Debug)]
struct Answering {
    /// How the last dial failed.
    last: Mutex<Option<DialError>>,
    ready: mpsc::SyncSender<Result<(), ConnectError>>,
}

impl Answering {
    /// Only the first answer is read.
    fn give_up(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.ready.try_send(Err(last.map_or(ConnectError::SentAway, ConnectError::Dial)));
    }
}

impl Upstream for Dialler {
    const RESUME: Resume = Resume::Kept;

    fn dial(&mut self, resume: Option<Resumption>) -> Pin<Box<dyn Future<Output = Dialled> + Send>> {
        let (line, config, token, land) = (self.line.clone(), self.config.clone(), self.token, self.land.clone());
        let answering = Arc::clone(&self.answering);
        let resume = resume.map(|Resumption { epoch, session, taken }| (epoch, session, taken));
        Box::pin(async move {
            match dial_client(&line, &config.name, config.python, token, resume, &land).await {
                Ok((epoch, link)) => Dialled::Link(epoch, link),
                Err(error) => {
                    debug!(target: "plait::client", %error, "a dial failed");
                    let dialled = if error.fatal() { Dialled::Refused } else { Dialled::Failed };
                    *answering.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    dialled
                }
            }
        })
    }

    fn visitor(&self) -> Option<Visitor> {
        Some(Visitor::new(self.land.clone()))
    }

    fn on_welcome(&mut self) {
        let _ = self.answering.ready.try_send(Ok(()));
    }
}
