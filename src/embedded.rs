//! Coordinator, client and worker in the user's own process: three shells on one thread, linked in memory.
//!
//! Nothing of the process itself is changed. Executors are children of the thread and die with it, however it ends. With
//! [`Config::listen`] other machines join the same coordinator through its port.

use crate::client::{self, Close, Handle};
use crate::clock::draw;
use crate::config::SpillDir;
use crate::coordinator::{self, JoinLines, Listen, Port, ServeError, World};
use crate::net::link;
use crate::net::listener::{Arrival, Exchange, Watch};
use crate::shutdown::{CancellationToken, Service};
use crate::worker::{self, Launch, Place, Upstream};
use plait_core::limits;
use plait_core::resource::Resources;
use plait_core::spec::PythonVersion;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error};

/// What is to be embedded.
#[derive(Clone, Debug)]
pub struct Config {
    /// Slots (as `cpus`; none means no worker) and named resources of this process.
    pub capacity: Resources,
    /// Where others may join.
    pub listen: Option<Listen>,
    /// How executors are started.
    pub launch: Launch,
    /// The name of worker and client, for people.
    pub name: Box<str>,
    /// The Python of client and executors.
    pub python: PythonVersion,
    /// Where objects go that find no room in memory.
    pub spill_dir: SpillDir,
}

/// Why it cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port for others.
    #[error(transparent)]
    Listen(#[from] ServeError),
    /// The thread.
    #[error("cannot start plait's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running embedded cluster.
#[derive(Debug)]
pub struct Embedded {
    handle: Handle,
    lines: Option<JoinLines>,
    service: Service,
}

/// Starts it; executors start in the background.
///
/// # Errors
/// If the thread cannot be started or the port cannot be opened.
pub fn start(config: Config) -> Result<Embedded, StartError> {
    let world = if config.listen.is_some() { World::Open } else { World::Closed };
    let coordinator = coordinator::Config::new(world);
    let (near, far) = link::memory();
    let (handle, driver) = client::over(coordinator.epoch, coordinator.value_limit(), near);
    let (name, token, exchange) = (config.name.clone(), draw(), Exchange::Memory);
    let client = Arrival::Client { name, token, resume: None, exchange, link: far };
    let (started, starting) = std::sync::mpsc::sync_channel(1);
    let household = Household { config, coordinator, handle: handle.clone(), client, started };
    let service = Service::spawn(move |shutdown| household.live(driver, shutdown))?;
    let died = |_| StartError::Thread(std::io::ErrorKind::BrokenPipe.into());
    let lines = starting.recv().map_err(died)??;
    Ok(Embedded { handle, lines, service })
}

impl Embedded {
    /// The client.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What others join with, where a port is open.
    #[must_use]
    pub const fn join_lines(&self) -> Option<&JoinLines> {
        self.lines.as_ref()
    }

    /// Cancels what is pending, says goodbye to all, ends the executors and the thread; false if that takes longer than
    /// `timeout`.
    pub fn shutdown(&mut self, timeout: Duration) -> bool {
        self.service.shutdown(timeout)
    }
}

/// What the thread begins with.
struct Household {
    config: Config,
    coordinator: coordinator::Config,
    handle: Handle,
    client: Arrival,
    started: SyncSender<Result<Option<JoinLines>, ServeError>>,
}

impl Household {
    /// The life of the thread. Whatever is spawned here ends with the runtime, also by a panic.
    async fn live(self, driver: impl Future<Output = client::Ended> + Send + 'static, shutdown: CancellationToken) {
        let Self { config, coordinator, handle, client, started } = self;
        let port = match &config.listen {
            None => None,
            Some(listen) => match Port::open(listen, &coordinator, handle.store()).await {
                Ok(port) => Some(port),
                Err(error) => return drop(started.send(Err(error))),
            },
        };
        let lines = port.as_ref().map(|port| port.lines.clone());
        let (arrivals, arriving) = mpsc::channel(limits::ARRIVALS);
        let ending = CancellationToken::new();
        let mut crew = JoinSet::new();
        crew.spawn(coordinator::run(coordinator, arriving, ending.clone()));
        let parting = tokio::spawn(driver);
        send(&arrivals, client).await;
        if config.capacity.cpus > 0 {
            hire(&mut crew, config, &handle, &arrivals).await;
        }
        if let Some(port) = port {
            crew.spawn(port.serve(arrivals, ending.clone()));
        }
        let _ = started.send(Ok(lines));

        tokio::select! {
            () = shutdown.cancelled() => {
                handle.close(Close::Now);
                drop(parting.await);
            },
            // Without one of them nothing goes on: the client hears that its coordinator is lost.
            Some(left) = crew.join_next() => error!(target: "plait::embedded", ?left, "a part ended before its time"),
        }
        ending.cancel();
        while let Some(left) = crew.join_next().await {
            debug!(target: "plait::embedded", ?left, "a part ended");
        }
    }
}

/// Starts the worker.
async fn hire(crew: &mut JoinSet<()>, config: Config, client: &Handle, arrivals: &mpsc::Sender<Arrival>) {
    let (near, far) = link::memory();
    let Config { capacity, launch, name, python, spill_dir, .. } = config;
    let (place, objects) = (Place::Guest, client.objects().cloned());
    let config = worker::Config { name, capacity, python, launch, place, objects, spill_dir };
    let (watch, exchange) = (Watch::None, Exchange::Memory);
    send(arrivals, Arrival::Worker { offer: config.offer(), watch, exchange, link: far }).await;
    crew.spawn(async {
        // Nobody tells it to end but the coordinator's goodbye.
        let (_stop, control) = worker::control();
        let exit = worker::run(config, Upstream::Memory(near), control).await;
        debug!(target: "plait::embedded", ?exit, "the worker ended");
    });
}

async fn send(arrivals: &mpsc::Sender<Arrival>, arrival: Arrival) {
    // It has room, and a coordinator that is gone is seen by the client.
    let _ = arrivals.send(arrival).await;
}
