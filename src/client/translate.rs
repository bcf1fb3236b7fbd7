//! Messages of the coordinator as the session's events.

use plait_core::client::Event;
use plait_core::id::SessionId;
use plait_core::protocol::message::client::{Farewell, Status, ToClient};

/// What a message means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The coordinator takes the session in.
    Welcome { session: SessionId, taken: u64, value_limit: u64 },
    /// Something for the session.
    Event(Event),
    /// The answer to a question.
    Answer(u32, Box<Status>),
    /// The coordinator confirms a goodbye.
    Parted,
}

/// What `message` means.
pub(super) fn meaning(message: ToClient) -> Meaning {
    match message {
        ToClient::Welcome { session, taken, value_limit } => Meaning::Welcome { session, taken, value_limit },
        ToClient::Notice(notice) => Meaning::Event(Event::Noticed(notice)),
        ToClient::Taken(taken) => Meaning::Event(Event::RequestsTaken { taken }),
        ToClient::Status { question, status } => Meaning::Answer(question, status),
        ToClient::Goodbye(Farewell::Closed) => Meaning::Parted,
        ToClient::Goodbye(Farewell::Gone | Farewell::Misbehaved) => Meaning::Event(Event::Refused),
        ToClient::Goodbye(Farewell::ShuttingDown) => Meaning::Event(Event::CoordinatorEnded),
    }
}
