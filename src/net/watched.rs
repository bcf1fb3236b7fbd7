//! Descriptors whose events are awaited.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that this thread's reactor watches for one kind of event.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may change their descriptor; an `OwnedFd` never does"
)]
pub(crate) fn watched(descriptor: impl Into<Arc<OwnedFd>>, interest: Interest) -> io::Result<Watched> {
    AsyncFd::with_interest(descriptor.into(), interest)
}

/// See [`watched`].
pub(crate) type Watched = AsyncFd<Arc<OwnedFd>>;
