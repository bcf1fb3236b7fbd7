//! A socket to a host with several addresses, some of which may never answer: IPv6 where no route leads, say.

use plait_core::limits;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connects to whichever address of the host answers first. Each has a head start before the next (RFC 8305), so that one
/// that swallows everything does not take the time of all.
///
/// # Errors
/// If the host has no address, or none can be reached: that one refused, or else why the last one failed.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?.take(limits::HOST_ADDRESSES);
    first_of(addresses).await
}

async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut why = io::Error::new(io::ErrorKind::NotFound, "this host has no address");
    for address in addresses {
        attempts.spawn(TcpStream::connect(address));
        if let Ok(Some(socket)) = timeout(limits::ADDRESS_HEAD_START, next(&mut attempts, &mut why)).await {
            return Ok(socket);
        }
    }
    next(&mut attempts, &mut why).await.ok_or(why)
}

/// The first socket of these attempts; nothing if all have failed. Cancel-safe.
async fn next(attempts: &mut JoinSet<io::Result<TcpStream>>, why: &mut io::Error) -> Option<TcpStream> {
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok(Ok(socket)) => return Some(socket),
            // A machine that is there and refuses says more than a way that leads nowhere.
            Ok(Err(error)) if why.kind() != io::ErrorKind::ConnectionRefused => *why = error,
            Ok(Err(_)) => {}
            Err(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Blocking};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn first(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = async { timeout(limits::HANDSHAKE_TIMEOUT, first_of(addresses.iter().copied())).await };
        runtime.block_on(found).expect("in the time that there is for all").and_then(|socket| socket.peer_addr())
    }

    #[test]
    fn an_address_that_never_answers_does_not_take_the_time_of_the_next() {
        let full = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&full, &LOOPBACK).unwrap();
        listen(&full, 0).unwrap();
        let full = TcpListener::from(full);
        let silent = full.local_addr().unwrap();
        // It accepts nothing, and its backlog has room for this one: whoever comes later is not answered.
        let _only = Blocking::connect(silent).unwrap();
        let good = TcpListener::bind(LOOPBACK).unwrap();
        let answers = good.local_addr().unwrap();
        assert_eq!(first(&[silent, answers]).unwrap(), answers);
    }

    #[test]
    fn a_host_that_refuses_everywhere_is_known_to() {
        let closed = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
        assert_eq!(first(&[closed, closed]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // No such connection leads to many.
        let nowhere = SocketAddr::new(Ipv4Addr::new(224, 0, 0, 1).into(), 9);
        assert_ne!(first(&[nowhere]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for addresses in [[closed, nowhere], [nowhere, closed]] {
            assert_eq!(first(&addresses).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
        assert_eq!(first(&[]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
