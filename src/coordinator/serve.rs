//! A coordinator that others can reach: its keys, its port, its join lines.

use super::{Config, World, run};
use crate::net::join::{Address, JoinError, Role};
use crate::net::keys::{KeyError, Keyring, Tenant};
use crate::net::listener::{Arrival, BindError, Listener};
use crate::store::blob::Store;
use crate::store::depot::Depot;
use plait_core::limits;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Where a coordinator listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address to bind, `host:port`.
    pub bind: String,
    /// The host that join lines name, where it is not the one that is bound.
    pub advertise: Option<String>,
    /// The folder of keys and join files.
    pub home: PathBuf,
}

/// What peers join with. Both are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinLines {
    /// For workers.
    pub worker: String,
    /// For clients.
    pub client: String,
    /// Whose lines stood in the join files, if that one is alive.
    pub displaced: Option<Tenant>,
}

impl std::fmt::Debug for JoinLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinLines(secret)")
    }
}

/// Why a coordinator cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Its port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The host that it should advertise.
    #[error(transparent)]
    Advertise(#[from] JoinError),
    /// This process cannot start what it needs.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// Nobody could join any more.
    #[error("the coordinator ended: it could let nobody in any more")]
    Deaf,
}

/// An open port with its join lines.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) lines: JoinLines,
    listener: Listener,
    /// Kept while it listens: others see that the folder is in use.
    keyring: Arc<Keyring>,
}

impl Port {
    /// Opens it, and writes the join files. What comes in lands in `store`.
    pub(crate) async fn open(listen: &Listen, config: &Config, store: &Arc<Store>) -> Result<Self, ServeError> {
        let keyring = Arc::new(Keyring::open(&listen.home)?);
        let land = Some(Depot::of_coordinator(Arc::clone(store)));
        let listener = Listener::bind(&listen.bind, Arc::clone(&keyring), config.epoch, land).await?;
        let address = advertised(listen.advertise.as_deref(), listener.address())?;
        let displaced = keyring.move_in()?;
        if let Some(tenant) = &displaced {
            warn!(target: "plait::coordinator", "{tenant}");
        }
        let lines = keyring.write_join_files(&[address])?.map(|line| (line.role, line.to_string()));
        let line = |role| lines.iter().find(|(r, _)| *r == role).map(|(_, line)| line.clone()).unwrap_or_default();
        info!(target: "plait::coordinator", address = %listener.address(), "listening");
        let lines = JoinLines { worker: line(Role::Worker), client: line(Role::Client), displaced };
        Ok(Self { lines, listener, keyring })
    }

    /// Lets peers in until `shutdown`.
    pub(crate) async fn serve(self, arrivals: mpsc::Sender<Arrival>, shutdown: CancellationToken) {
        self.listener.serve(arrivals, shutdown).await;
        self.keyring.move_out();
    }
}

/// Runs a coordinator on this thread until `shutdown`; `on_ready` is called once peers can join.
///
/// # Errors
/// If it cannot listen, or not any more.
pub fn serve(
    listen: &Listen,
    on_ready: impl FnOnce(JoinLines),
    shutdown: &CancellationToken,
) -> Result<(), ServeError> {
    crate::shutdown::runtime()?.block_on(async {
        let config = Config::new(World::Open);
        let port = Port::open(listen, &config, &Store::new()).await?;
        on_ready(port.lines.clone());
        let (arrivals, arriving) = mpsc::channel(limits::ARRIVALS);
        let ending = shutdown.child_token();
        let mut accepting = tokio::spawn(port.serve(arrivals, ending.clone()));
        let mut running = pin!(run(config, arriving, ending.clone()));
        tokio::select! {
            biased;
            () = &mut running => {
                // It ends with the same token.
                drop(accepting.await);
                Ok(())
            }
            // A panic in it has told its story on stderr. A port that answers nobody looks like one that does.
            _ = &mut accepting => {
                let early = !shutdown.is_cancelled();
                ending.cancel();
                running.await;
                if early { Err(ServeError::Deaf) } else { Ok(()) }
            }
        }
    })
}

/// The address that a join line names.
fn advertised(host: Option<&str>, bound: SocketAddr) -> Result<Address, JoinError> {
    let (ip, port) = (bound.ip(), bound.port());
    match host {
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}").parse(),
        Some(host) => format!("{host}:{port}").parse(),
        None if ip.is_unspecified() => Ok(Address { host: outward().to_string().into(), port }),
        None => Ok(Address { host: ip.to_string().into(), port }),
    }
}

/// The address of this machine that others are most likely to reach: the one that it would speak from.
fn outward() -> IpAddr {
    // An address for documentation: connecting a datagram socket chooses a route and sends nothing.
    let chosen = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    chosen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_has_ended_is_not_alive_in_what_was_forked_from_it() {
        let home = std::env::temp_dir().join(format!("plait-serve-{}", std::process::id()));
        let listen = Listen { bind: "127.0.0.1:0".into(), advertise: None, home: home.clone() };
        crate::shutdown::runtime().unwrap().block_on(async {
            let open = async || Port::open(&listen, &Config::new(World::Open), &Store::new()).await.unwrap();
            let (first, (arrivals, _arriving)) = (open().await, mpsc::channel(1));
            // As a child has it: it is never dropped.
            let inherited = Arc::clone(&first.keyring);
            assert!(open().await.lines.displaced.is_some(), "it is alive");
            let ended = CancellationToken::new();
            ended.cancel();
            first.serve(arrivals, ended).await;
            assert_eq!(open().await.lines.displaced, None);
            drop(inherited);
        });
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_join_line_names_what_others_can_reach() {
        let line = |host, bound: &str| advertised(host, bound.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(line(None, "127.0.0.1:8000").unwrap(), "127.0.0.1:8000");
        assert_eq!(line(Some("head.example"), "0.0.0.0:8000").unwrap(), "head.example:8000");
        assert_eq!(line(Some("fe80::1"), "[::]:8000").unwrap(), "[fe80::1]:8000");
        assert!(!line(None, "0.0.0.0:8000").unwrap().starts_with("0.0.0.0"));
        assert!(line(Some("two words"), "0.0.0.0:8000").is_err());
    }
}
