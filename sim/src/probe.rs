//! Rare branches that a swarm of seeds must reach: a simulation that never gets there proves nothing about them.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Every probe there is. A run of many seeds fails if one of them was never hit.
pub(crate) const PROBES: &[&str] = &[
    "admission closed and opened again",
    "attempt cancelled while it ran",
    "blamed executor death reported",
    "cancelled before it began",
    "chunk cut for an idle executor",
    "client could not fetch from a worker",
    "client gave up",
    "client resumed its session",
    "client sent to another worker",
    "combine over failed pieces",
    "coordinator paused",
    "crash limit reached",
    "cut came too late",
    "dependency failed",
    "disk full or failing",
    "disk lost an object",
    "disk lost what another worker came for",
    "drained worker left",
    "duplicate or late event injected",
    "end of a map's chunk shared",
    "end of a piece shared",
    "end of a stopped chunk stopped",
    "end of an end shared",
    "executor died between tasks",
    "executor killed",
    "executor never became ready",
    "executor spawn failed",
    "fetch failed",
    "fetch waited for memory",
    "finished result lost with its executor",
    "fold retried after a crash",
    "function forgotten",
    "input made after its task was given",
    "inputs streamed in parts",
    "item crashed in place",
    "item run again alone",
    "link reset with messages on the way",
    "no end of a piece left to share",
    "no memory for an object on disk",
    "no memory for an object to be shown",
    "no space for a result",
    "object back from disk",
    "object fetched from a worker that drains",
    "object made again",
    "object on disk alone",
    "object relayed",
    "object served from disk",
    "object spread from a copy",
    "one-way cut",
    "parts of a chunk folded",
    "piece taken apart",
    "put given to a worker",
    "recall answered with work returned",
    "recall came too late",
    "released while it was fetched",
    "report after fence ignored",
    "request waited for an earlier one",
    "result too large",
    "resume resent notices",
    "resume resent requests",
    "retry after an exception",
    "revoke lost the race",
    "revoke won the race",
    "run cancelled",
    "run failed by a piece",
    "session expired",
    "session found gone",
    "soiled executor",
    "stale result of an old attempt",
    "task given in advance",
    "task ran again after its worker was lost",
    "unschedulable",
    "value fetched from a worker",
    "value fetched on demand",
    "value wanted through the coordinator after all",
    "visit to a worker given up",
    "worker crashed",
    "worker fenced for silence",
    "worker paused past its fence",
];

thread_local! {
    static HITS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Marks a rare branch as reached.
macro_rules! probe {
    ($name:literal) => {
        $crate::probe::hit($name)
    };
}
pub(crate) use probe;

pub(crate) fn hit(name: &'static str) {
    assert!(PROBES.binary_search(&name).is_ok(), "the probe {name:?} is not listed");
    HITS.with_borrow_mut(|hits| *hits.entry(name).or_default() += 1);
}

/// How often each probe was hit so far.
pub(crate) fn counts() -> Vec<(&'static str, u64)> {
    HITS.with_borrow(|hits| PROBES.iter().map(|name| (*name, hits.get(name).copied().unwrap_or(0))).collect())
}
