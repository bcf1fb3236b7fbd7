//! An executor as its worker sees it: a shared page, a socket, and what runs behind them.
//!
//! The page is seen by both sides at once; frames take their time. A finished result may wait in the executor for a
//! short while, and is lost if the executor dies before it was sent.

use crate::script::{self, Function};
use plait_core::id::{ExecutorId, FunctionKey, SessionId};
use plait_core::limits;
use plait_core::outcome::{Death, Outcome};
use plait_core::spec::{Part, Start};
use plait_core::worker::{Ended, Entry, Order};
use std::collections::{BTreeMap, VecDeque};

/// From the worker to an executor.
#[derive(Debug)]
pub(crate) enum WorkerFrame {
    Define { key: FunctionKey, function: Function },
    Forget(SessionId),
    ForgetFunctions(Vec<FunctionKey>),
    Orders(Vec<Order>),
    Inputs { entry: Entry, inputs: Vec<Outcome> },
}

/// From an executor (or the kernel, on its behalf) to the worker.
#[derive(Debug)]
pub(crate) enum ExecutorFrame {
    /// It could not be started.
    NotSpawned,
    Ready,
    Ended(Vec<Ended>),
    /// It is gone; this is what its page said last.
    Gone {
        running: Option<Entry>,
        item: Option<u32>,
        death: Box<Death>,
    },
}

/// A slot of the shared page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Offered,
    Claimed,
    Revoked,
    Done,
}

/// How far an executor has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Spawning,
    Up,
    Dead,
}

/// What an executor runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) entry: Entry,
    pub(crate) start: Start,
    /// With which of its items, if not with all.
    pub(crate) part: Option<Part>,
    /// What its items came to so far.
    pub(crate) texts: Vec<String>,
    /// What the values of its items weigh so far, together.
    pub(crate) weight: u64,
    /// The execution, once all inputs are there.
    pub(crate) execution: Option<u64>,
}

/// One executor process.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) pid: u32,
    pub(crate) cpus: u32,
    pub(crate) stage: Stage,
    pub(crate) running: Option<Running>,
    pub(crate) unsent: Vec<Ended>,
    /// Which batch of unsent results this is.
    pub(crate) batch: u64,
    /// When the last frame sent to it, and from it, arrives: both are ordered.
    pub(crate) frames_due: [u64; 2],
    functions: BTreeMap<FunctionKey, Function>,
    page: [Option<(Entry, Slot)>; limits::EXECUTOR_QUEUE],
    /// Beside each slot of the page the items that have not begun: the next, and the one after the last.
    spans: [(u32, u32); limits::EXECUTOR_QUEUE],
    queue: VecDeque<Order>,
}

impl Executor {
    pub(crate) fn new(id: ExecutorId, pid: u32, cpus: u32) -> Self {
        Self {
            id,
            pid,
            cpus,
            stage: Stage::Spawning,
            running: None,
            unsent: Vec::new(),
            batch: 0,
            frames_due: [0; 2],
            functions: BTreeMap::new(),
            page: [None; limits::EXECUTOR_QUEUE],
            spans: [(0, 0); limits::EXECUTOR_QUEUE],
            queue: VecDeque::new(),
        }
    }

    fn slot(&mut self, entry: Entry) -> &mut Option<(Entry, Slot)> {
        &mut self.page[entry.0 as usize % limits::EXECUTOR_QUEUE]
    }

    fn span(&mut self, entry: Entry) -> &mut (u32, u32) {
        &mut self.spans[entry.0 as usize % limits::EXECUTOR_QUEUE]
    }

    /// The worker takes half of the items of an entry that have not begun; returns the first of them.
    pub(crate) fn cut(&mut self, entry: Entry) -> Option<u32> {
        let state = *self.slot(entry);
        if state != Some((entry, Slot::Offered)) && state != Some((entry, Slot::Claimed)) {
            return None;
        }
        let (next, end) = self.span(entry);
        let at = *next + (*end - *next) / 2;
        (at < *end).then(|| {
            *end = at;
            at
        })
    }

    /// Begins the next item of what runs.
    pub(crate) fn claim_item(&mut self) -> Option<u32> {
        let entry = self.running.as_ref()?.entry;
        let (next, end) = self.span(entry);
        (next < end).then(|| {
            *next += 1;
            *next - 1
        })
    }

    /// The last item that has begun of an entry, by its page.
    fn item(&mut self, entry: Entry) -> Option<u32> {
        self.span(entry).0.checked_sub(1)
    }

    /// The worker offers an entry.
    pub(crate) fn offer(&mut self, order: &Order) {
        let entry = order.entry;
        let slot = self.slot(entry);
        let taken = slot.is_some_and(|(_, state)| matches!(state, Slot::Offered | Slot::Claimed));
        assert!(!taken, "{entry} is offered over a live slot {slot:?}");
        *slot = Some((entry, Slot::Offered));
        *self.span(entry) = order.items();
    }

    /// The worker takes an entry back: true if it had not begun and never will.
    pub(crate) fn revoke(&mut self, entry: Entry) -> bool {
        let slot = self.slot(entry);
        let won = *slot == Some((entry, Slot::Offered));
        if won {
            *slot = Some((entry, Slot::Revoked));
        }
        won
    }

    /// What the page says runs.
    pub(crate) fn seen(&self) -> Option<Entry> {
        self.running.as_ref().map(|running| running.entry)
    }

    /// Takes a frame from the worker.
    pub(crate) fn receive(&mut self, frame: WorkerFrame) {
        match frame {
            WorkerFrame::Define { key, function } => {
                self.functions.insert(key, function);
            }
            WorkerFrame::ForgetFunctions(functions) => {
                for key in functions {
                    let knew = self.functions.remove(&key).is_some();
                    assert!(knew, "{} is to forget {key}, which it does not know", self.id);
                }
            }
            WorkerFrame::Forget(session) => self.functions.retain(|key, _| key.session != session),
            WorkerFrame::Orders(orders) => self.queue.extend(orders),
            WorkerFrame::Inputs { entry, inputs } => {
                let queued = self.queue.iter_mut().find(|order| order.entry == entry).map(|order| &mut order.start);
                let running = self.running.as_mut().filter(|r| r.entry == entry).map(|running| &mut running.start);
                if let Some(start) = queued.or(running) {
                    start.inputs.extend(inputs);
                }
            }
        }
    }

    /// Claims the next entry that was not taken back; false if there is none, or one runs.
    pub(crate) fn claim(&mut self) -> bool {
        if self.stage != Stage::Up || self.running.is_some() {
            return false;
        }
        while let Some(order) = self.queue.pop_front() {
            let slot = self.slot(order.entry);
            if *slot == Some((order.entry, Slot::Offered)) {
                *slot = Some((order.entry, Slot::Claimed));
                let Order { entry, start, part } = order;
                self.running = Some(Running { entry, start, part, texts: Vec::new(), weight: 0, execution: None });
                return true;
            }
        }
        false
    }

    /// What runs, if all its inputs are there and it has not begun.
    pub(crate) fn beginnable(&self) -> Option<&Start> {
        let running = self.running.as_ref()?;
        let whole = running.start.inputs.len() as u64 >= running.start.inputs_total;
        (running.execution.is_none() && whole).then_some(&running.start)
    }

    /// The function that a start calls.
    pub(crate) fn function(&self, start: &Start) -> Function {
        let known = |key: FunctionKey| {
            let known = self.functions.get(&key).copied();
            known.unwrap_or_else(|| panic!("{} was given {} without its function {key}", self.id, start.attempt))
        };
        let called: Vec<Function> = script::called(start).map(known).collect();
        called[0]
    }

    /// Ends what runs: its slot is done.
    pub(crate) fn end(&mut self) -> Option<Running> {
        let running = self.running.take()?;
        *self.slot(running.entry) = Some((running.entry, Slot::Done));
        Some(running)
    }

    /// Entries received and not yet begun.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// It is dead: nothing in it matters any more. Returns what it ran, and which item of that.
    pub(crate) fn die(&mut self) -> (Option<Running>, Option<u32>) {
        self.stage = Stage::Dead;
        self.queue.clear();
        let item = self.seen().and_then(|entry| self.item(entry));
        (self.running.take(), item)
    }
}
