//! What a link takes large segments from, and where it leaves those that come.

use super::blob::{Keep, Memory, Store};
use super::landing::{ground, sealed_ground};
use super::passing::{Courier, Reserve};
use crate::config;
use bytes::Bytes;
use plait_core::landing::{Ground, Missing};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The store of a process as its links see it.
#[derive(Debug)]
pub struct Depot {
    store: Arc<Store>,
    ground: Arc<dyn Ground>,
    reserve: Arc<Reserve>,
    keep: Keep,
    shares: bool,
}

impl Depot {
    /// That of a client: what comes stays here.
    #[must_use]
    pub fn of_client(store: Arc<Store>) -> Arc<Self> {
        Self::new(ground(Arc::clone(&store)), store, Keep::Mapping)
    }

    /// That of a coordinator: what comes as memory is handed on as memory, and what comes as bytes as bytes.
    #[must_use]
    pub fn of_coordinator(store: Arc<Store>) -> Arc<Self> {
        Self::new(ground(Arc::clone(&store)), store, Keep::Descriptor)
    }

    /// That of a worker: whatever comes is handed on to executors as memory.
    #[must_use]
    pub fn of_worker(store: Arc<Store>) -> Arc<Self> {
        Self::new(sealed_ground(Arc::clone(&store)), store, Keep::Descriptor)
    }

    fn new(ground: Arc<dyn Ground>, store: Arc<Store>, keep: Keep) -> Arc<Self> {
        Arc::new(Self { store, ground, reserve: Reserve::new(), keep, shares: config::shares_memory() })
    }

    /// Where segments are put together that come as bytes.
    #[must_use]
    pub const fn ground(&self) -> &Arc<dyn Ground> {
        &self.ground
    }

    /// Whether memory may be handed over at all.
    #[must_use]
    pub const fn shares(&self) -> bool {
        self.shares
    }

    /// One who carries memory over this socket of messages, in which nothing lies.
    #[must_use]
    pub fn courier(&self, socket: Arc<OwnedFd>) -> Courier {
        Courier::over(socket, &self.reserve)
    }

    /// The memory behind a segment, if it has any that can be handed over.
    #[must_use]
    pub fn memory(&self, segment: &Bytes) -> Option<Memory> {
        self.store.memory_behind(segment)
    }

    /// Takes the memory that comes next.
    ///
    /// # Errors
    /// As [`Courier::receive`].
    pub fn receive(&self, courier: &Courier, offset: u64, length: u64) -> Result<Bytes, Missing> {
        courier.receive(&self.store, offset, length, self.keep)
    }
}
