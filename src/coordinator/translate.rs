//! Messages of clients and workers as the scheduler's events, and its snapshot as a status for people.

use crate::net::listener;
use plait_core::id::{SessionId, WorkerId};
use plait_core::limits;
use plait_core::protocol::message::client::{Farewell, FromClient, Status, TaskCounts, WorkerState, WorkerStatus};
use plait_core::protocol::message::worker::FromWorker;
use plait_core::scheduler::{EndReason, Event, Exchange, Health, Snapshot, TaskTotals, Watch, WorkerView};

/// What a client's message means.
#[derive(Debug)]
pub(super) enum Word {
    /// Something for the scheduler.
    Event(Event),
    /// The question of this number.
    Question(u32),
}

/// What a message of `session`'s client means.
pub(super) fn from_client(session: SessionId, message: FromClient) -> Word {
    Word::Event(match message {
        FromClient::Request(request) => Event::Requested { session, request },
        FromClient::Taken(taken) => Event::NoticesTaken { session, taken },
        FromClient::AskStatus(number) => return Word::Question(number),
        FromClient::Goodbye => Event::SessionClosed { session },
    })
}

/// What a message of `worker` means.
pub(super) fn from_worker(worker: WorkerId, message: FromWorker) -> Event {
    match message {
        FromWorker::Started(attempts) => Event::AttemptsStarted { worker, attempts },
        FromWorker::Ended(reports) => Event::AttemptsEnded { worker, reports },
        FromWorker::Returned(attempts) => Event::AttemptsReturned { worker, attempts },
        FromWorker::Cut { attempt, at } => Event::ChunkCut { worker, attempt, at },
        FromWorker::Taken(cost) => Event::StartsTaken { worker, cost },
        FromWorker::Draining => Event::WorkerDraining { worker },
        FromWorker::Goodbye => Event::WorkerLost { worker },
        FromWorker::Held(objects) => Event::ObjectsHeld { worker, objects },
        FromWorker::Unfetched { object, reason } => Event::ObjectUnfetched { worker, object, reason },
        FromWorker::Lost(objects) => Event::ObjectsLost { worker, objects },
        FromWorker::Shown { object, value } => Event::ObjectShown { worker, object, value },
    }
}

/// How a worker's silence is judged.
pub(super) const fn watch(watch: listener::Watch) -> Watch {
    match watch {
        listener::Watch::None => Watch::None,
        listener::Watch::Heartbeat => Watch::Heartbeat,
    }
}

/// How large values go between here and a peer.
pub(super) const fn exchange(exchange: listener::Exchange) -> Exchange {
    match exchange {
        listener::Exchange::Memory => Exchange::Memory,
        listener::Exchange::Bytes => Exchange::Bytes,
    }
}

/// How many things an event is about: what a step's length is measured by.
pub(super) fn weight(event: &Event) -> usize {
    match event {
        Event::Requested { request, .. } => request.items(),
        Event::AttemptsEnded { reports, .. } => reports.len(),
        // What it holds is placed anew in the same step.
        Event::WorkerLost { .. } => limits::STEP_ITEMS,
        Event::ObjectsHeld { objects, .. } | Event::ObjectsLost { objects, .. } => objects.len(),
        Event::AttemptsStarted { attempts, .. } | Event::AttemptsReturned { attempts, .. } => attempts.len(),
        Event::SessionOpened { .. }
        | Event::SessionResumed { .. }
        | Event::SessionCut { .. }
        | Event::SessionClosed { .. }
        | Event::NoticesTaken { .. }
        | Event::WorkerJoined { .. }
        | Event::WorkerHeard { .. }
        | Event::WorkerDraining { .. }
        | Event::ChunkCut { .. }
        | Event::ObjectUnfetched { .. }
        | Event::ObjectShown { .. }
        | Event::StartsTaken { .. } => 1,
    }
}

/// How a client is told why it is sent away.
pub(super) const fn farewell(reason: EndReason) -> Farewell {
    match reason {
        EndReason::Closed => Farewell::Closed,
        EndReason::Gone => Farewell::Gone,
        EndReason::Misbehaved => Farewell::Misbehaved,
    }
}

/// The state of everything, for people.
pub(super) fn status(snapshot: &Snapshot<'_>) -> Status {
    let TaskTotals { waiting, ready, assigned, done, failed } = snapshot.tasks();
    Status {
        workers: snapshot.workers().map(worker_status).collect(),
        tasks: TaskCounts { waiting, ready, assigned, done, failed },
        sessions: u32::try_from(snapshot.sessions()).unwrap_or(u32::MAX),
        held_bytes: snapshot.held_bytes(),
    }
}

fn worker_status(worker: WorkerView<'_>) -> WorkerStatus {
    let named = worker.capacity.named().iter().map(|(name, amount)| format!("{name}={amount}"));
    WorkerStatus {
        id: worker.id,
        name: worker.name.into(),
        slots: worker.capacity.cpus,
        resources: named.collect::<Vec<_>>().join(" ").into(),
        running: worker.running,
        queued: worker.queued,
        state: match worker.health {
            Health::Live => WorkerState::Live,
            Health::Suspected => WorkerState::Suspected,
            Health::Draining => WorkerState::Draining,
        },
        python: worker.python,
    }
}
