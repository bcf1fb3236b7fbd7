//! Messages to events, orders to messages. Nothing is decided here.

use super::supervisor::{Blame, Said};
use crate::net::peers::Pass;
use crate::store::objects::Objects;
use plait_core::id::{ExecutorId, FunctionKey};
use plait_core::outcome::Outcome;
use plait_core::peer::Fingerprint;
use plait_core::protocol::message::executor::{EntryEnded, ExecutorOrder, ToExecutor};
use plait_core::protocol::message::worker::ToWorker;
use plait_core::worker::{Condition, Ended, Entry, Event, Order};

/// What a message of the coordinator means.
pub(super) enum Meaning {
    /// For the brain.
    Event(Event),
    /// The coordinator has given this worker up.
    Fenced,
    /// Somebody with this key comes to fetch, who may have so much.
    Guest(Fingerprint, Pass),
    /// There is nothing left to do here.
    Goodbye,
}

pub(super) fn meaning(message: ToWorker) -> Meaning {
    Meaning::Event(match message {
        ToWorker::Welcome { worker: _, result_limit } => Event::LinkOpened { result_limit },
        ToWorker::Define { session, function } => Event::FunctionDefined { session, function },
        ToWorker::Start(starts) => Event::AttemptsAssigned { starts },
        ToWorker::Inputs { attempt, inputs } => Event::InputsAppended { attempt, inputs },
        ToWorker::Cancel { attempts, cancel } => Event::AttemptsCancelled { attempts, cancel },
        ToWorker::Recall(attempts) => Event::AttemptsRecalled { attempts },
        ToWorker::Cut(attempt) => Event::TailWanted { attempt },
        ToWorker::ForgetFunctions(functions) => Event::FunctionsForgotten { functions },
        ToWorker::Forget(session) => Event::SessionForgotten { session },
        ToWorker::Taken(cost) => Event::ReportsTaken { cost },
        ToWorker::Fetch { object, from, at } => Event::FetchOrdered { object, from, at },
        ToWorker::Give { object, value } => Event::ObjectGiven { object, value },
        ToWorker::Show(object) => Event::ShowRequested { object },
        ToWorker::Drop(objects) => Event::ObjectsDropped { objects },
        ToWorker::Expect(key) => return Meaning::Guest(key, Pass::Worker),
        ToWorker::ExpectClient { key, session } => return Meaning::Guest(key, Pass::Client(session)),
        ToWorker::Fenced => return Meaning::Fenced,
        ToWorker::Goodbye => return Meaning::Goodbye,
    })
}

/// What an executor said; `blamed` is asked for what a dead one ran.
pub(super) fn event(executor: ExecutorId, said: Said, blamed: impl FnOnce() -> Blame) -> Event {
    match said {
        Said::Ready => Event::ExecutorReady { executor },
        Said::Ended(ended) => Event::EntriesEnded { executor, ended: ended.into_iter().map(self::ended).collect() },
        Said::Died(death) => {
            let Blame { running, item } = blamed();
            Event::ExecutorDied { executor, running, item, death }
        }
    }
}

fn ended(ended: EntryEnded) -> Ended {
    let condition = if ended.soiled { Condition::Soiled } else { Condition::Clean };
    Ended { entry: Entry(ended.entry), ending: ended.ending, run_micros: ended.run_micros, condition }
}

/// What an executor is told: all of its inputs, wherever they lie on this machine.
pub(super) fn orders(orders: Vec<Order>, objects: &Objects) -> ToExecutor {
    ToExecutor::Orders(orders.into_iter().map(|order| executor_order(order, objects)).collect())
}

/// The same of inputs that follow.
pub(super) fn inputs(entry: Entry, inputs: Vec<Outcome>, objects: &Objects) -> ToExecutor {
    ToExecutor::Inputs { entry: entry.0, inputs: resolve(inputs, objects) }
}

fn resolve(inputs: Vec<Outcome>, objects: &Objects) -> Vec<Outcome> {
    inputs.into_iter().map(|input| objects.resolve(input)).collect()
}

fn executor_order(order: Order, objects: &Objects) -> ExecutorOrder {
    let Order { entry, start, part } = order;
    let session = start.attempt.task.session;
    ExecutorOrder {
        entry: entry.0,
        function: FunctionKey { session, function: start.function },
        call: start.call,
        part,
        task: start.attempt,
        args: start.args,
        inputs: resolve(start.inputs, objects),
        inputs_total: start.inputs_total,
    }
}
