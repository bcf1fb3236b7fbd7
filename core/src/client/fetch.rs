//! Values that the program waits for: they come through the coordinator, or from the worker that it names.

use super::Action;
use crate::id::{ObjectId, Seq};
use crate::outcome::{Outcome, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::spec::Request;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// What was asked for and has not come.
#[derive(Debug, Default)]
pub(super) struct Fetches(BTreeMap<Seq, Source>);

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The coordinator will say, or send it.
    Coordinator,
    /// The worker of this key is being visited for this object.
    Worker(Fingerprint, ObjectId),
}

impl Fetches {
    /// The program asks for something.
    pub(super) fn on_asked(&mut self, request: &Request, actions: &mut Vec<Action>) {
        match request {
            Request::Fetch { seq } => {
                self.0.entry(*seq).or_insert(Source::Coordinator);
            }
            Request::Release(tasks) if !self.0.is_empty() => self.stop(tasks, actions),
            _ => {}
        }
    }

    /// A worker has a value.
    pub(super) fn on_found(&mut self, seq: Seq, object: ObjectId, at: Peer, actions: &mut Vec<Action>) {
        if let Some(source) = self.0.get_mut(&seq) {
            *source = Source::Worker(at.key, object);
            actions.push(Action::Visit { seq, object, at });
        }
    }

    /// A value has come through the coordinator, or is lost.
    pub(super) fn on_fetched(&mut self, seq: Seq, outcome: Outcome, actions: &mut Vec<Action>) {
        if self.0.contains_key(&seq) {
            self.stop(&[seq], actions);
            actions.push(Action::Supply { seq, outcome });
        }
    }

    /// A visit has come to its end: what the coordinator is to be told. Nothing if it was given up meanwhile.
    pub(super) fn on_visited(
        &mut self,
        seq: Seq,
        object: ObjectId,
        result: Result<Value, Unfetched>,
        actions: &mut Vec<Action>,
    ) -> Vec<Request> {
        let current = self.0.get_mut(&seq).and_then(|source| match *source {
            Source::Worker(worker, visited) if visited == object => Some((worker, source)),
            Source::Worker(..) | Source::Coordinator => None,
        });
        let Some((worker, source)) = current else { return Vec::new() };
        match result {
            Ok(value) => {
                self.0.remove(&seq);
                actions.push(Action::Supply { seq, outcome: Outcome::Value(value) });
                vec![Request::Took(seq)]
            }
            Err(Unfetched::Gone) => {
                *source = Source::Coordinator;
                vec![Request::Relay { seq, object, reason: Unfetched::Gone }]
            }
            Err(Unfetched::Unreachable) => {
                *source = Source::Coordinator;
                let mut relayed = vec![Request::Relay { seq, object, reason: Unfetched::Unreachable }];
                relayed.extend(self.turn_back(worker, actions));
                relayed
            }
        }
    }

    /// A worker cannot be reached: of many visits to it only the first few find that out for themselves.
    fn turn_back(&mut self, worker: Fingerprint, actions: &mut Vec<Action>) -> Vec<Request> {
        let (mut tasks, mut relayed) = (Vec::new(), Vec::new());
        for (seq, source) in &mut self.0 {
            match *source {
                Source::Worker(other, object) if other == worker => {
                    *source = Source::Coordinator;
                    tasks.push(*seq);
                    relayed.push(Request::Relay { seq: *seq, object, reason: Unfetched::Unreachable });
                }
                Source::Worker(..) | Source::Coordinator => {}
            }
        }
        if !tasks.is_empty() {
            actions.push(Action::StopVisits { tasks });
        }
        relayed
    }

    /// Nothing comes any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn stop(&mut self, tasks: &[Seq], actions: &mut Vec<Action>) {
        let visited = |seq: &&Seq| matches!(self.0.remove(seq), Some(Source::Worker(..)));
        let tasks: Vec<Seq> = tasks.iter().filter(visited).copied().collect();
        if !tasks.is_empty() {
            actions.push(Action::StopVisits { tasks });
        }
    }
}
