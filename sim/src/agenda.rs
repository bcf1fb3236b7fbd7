//! What will happen, in the order of true time.

use crate::cluster::{Job, Visit};
use crate::network::{ConnectionId, End};
use crate::process::{ExecutorFrame, WorkerFrame};
use plait_core::id::{ExecutorId, ObjectId, WorkerId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A machine of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// The coordinator.
    Coordinator,
    /// The n-th worker machine.
    Worker(usize),
    /// The n-th client.
    Client(usize),
}

/// One thing that will happen. Those of a process name its life: they are void once it has crashed.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A driver finds something in its mailbox.
    Wake { node: Node, life: u32 },
    /// A driver's deadline has come.
    Timer { node: Node, life: u32, armed: u64 },
    /// The next packet sent by `from` arrives.
    Arrive { connection: ConnectionId, from: End },
    /// A quiet end says that it is alive.
    Beat { connection: ConnectionId, end: End },
    /// An end looks whether it has heard anything lately.
    Listen { connection: ConnectionId, end: End },
    /// Data sent by `end` has been stuck for too long.
    Stuck { connection: ConnectionId, end: End },
    /// A dialled connection is made, or fails.
    Dialled { node: Node, life: u32, dial: u64 },
    /// A worker dials again.
    Redial { worker: usize, life: u32 },
    /// A frame reaches an executor.
    ToExecutor { worker: usize, life: u32, executor: ExecutorId, frame: Box<WorkerFrame> },
    /// A frame of an executor reaches its worker.
    FromExecutor { worker: usize, life: u32, executor: ExecutorId, frame: Box<ExecutorFrame> },
    /// Something inside an executor comes about.
    Executor { worker: usize, life: u32, executor: ExecutorId, inner: Inner },
    /// A fetch of an object comes to its end.
    Fetched { worker: usize, life: u32, object: ObjectId, from: WorkerId, fetch: u64, until: u64 },
    /// A client's visit to a worker comes to its end.
    Visited(Visit),
    /// A worker's disk is through with something.
    DiskDone { worker: usize, life: u32, object: ObjectId, job: Job, number: u64 },
    /// The user's program goes on.
    Program { client: usize, life: u32 },
    /// A fault strikes.
    Fault,
    /// A paused machine goes on.
    Resume { node: Node, life: u32, pause: u64 },
    /// A crashed machine is up again.
    Restart { node: Node, life: u32 },
    /// A blocked path is free again.
    Unblock { node: Node, from: End },
    /// No fault strikes from here on.
    Heal,
    /// Time to see how far everything has come.
    Look,
}

/// What comes about inside an executor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inner {
    /// It is up.
    Up,
    /// The running execution is through with an item of its chunk.
    Step { execution: u64 },
    /// The running execution comes to its end.
    Finish { execution: u64 },
    /// Results that waited are sent.
    Flush { batch: u64 },
    /// It dies of itself.
    Die,
    /// The running execution takes it down.
    Fall { execution: u64 },
}

#[derive(Debug)]
struct Entry {
    at: u64,
    tie: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.tie).cmp(&(self.at, self.tie))
    }
}

/// The queue of what will happen; what is due at the same time happens in the order in which it was planned.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.heap.push(Entry { at, tie: self.planned, happening });
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|entry| (entry.at, entry.happening))
    }
}
