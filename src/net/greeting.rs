//! What both ends do before the first message: socket options, and the hellos.

use plait_core::limits;
use plait_core::protocol::error::{DecodeError, FrameError};
use plait_core::protocol::frame;
use serde::de::DeserializeOwned;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a hello could not be read.
#[derive(Debug, Error)]
pub(super) enum HelloError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Decode(#[from] DecodeError),
}

/// Small messages leave at once, and a peer that no longer acknowledges is noticed.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    let patience = u32::try_from(limits::TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    socket.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(socket, patience)?;
    Ok(())
}

pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), hello: &[u8]) -> io::Result<()> {
    stream.write_all(hello).await?;
    stream.flush().await
}

/// Reads a hello's frame. Its length is looked at before anything is allocated.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HelloError> {
    let mut header = [0; frame::HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; frame::hello_length(header)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, HelloError> {
    Ok(frame::read_hello(body)?)
}

/// What rustls found, if it was rustls that ended a handshake or a read.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
