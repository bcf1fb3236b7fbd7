//! The executors of a worker: who sits where, and in which state.

use super::function::{FunctionSlot, Mirror};
use super::hand::Hand;
use super::tail::Cutting;
use super::{Action, Entry, Order, Signal};
use crate::id::{ExecutorId, FunctionKey};
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One executor process.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) id: ExecutorId,
    /// The slots it serves: a task that takes another number goes elsewhere.
    pub(super) cpus: u32,
    pub(super) life: Life,
    pub(super) future: Future,
    pub(super) record: Record,
    pub(super) hand: Hand,
    pub(super) mirror: Mirror,
    /// Functions that it was told and need not keep, to be said in this step.
    forgets: Vec<FunctionKey>,
    pub(super) stop: Option<Stop>,
    pub(super) view: View,
    /// The entry that it is at, and since when.
    pub(super) front: Option<(Entry, Time)>,
    /// Of this entry the tail has been asked for.
    pub(super) cutting: Option<Cutting>,
    /// To be asked back at the end of this step.
    pub(super) asks: Vec<Entry>,
    /// To be given at the end of this step.
    pub(super) orders: Vec<Order>,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Spawned; killed if it is not ready by then.
    Starting {
        until: Time,
    },
    Ready,
    /// Killed; it takes these slots until it is gone.
    Dying {
        cpus: u32,
    },
}

/// Whether an executor may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Future {
    Kept,
    /// It is killed once nothing runs in it.
    Retired,
}

/// What an executor has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Fresh,
    /// It has been through with something.
    Useful,
}

/// A running entry that is being stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) entry: Entry,
    pub(super) sent: Sent,
    /// When the next, harder signal goes.
    pub(super) until: Time,
}

/// The last signal sent to stop an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Interrupt,
    Terminate,
}

/// What the shared page has shown of the running entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Unknown,
    /// It was running then.
    Since(Entry, Time),
    /// The coordinator has been told.
    Told(Entry),
}

impl Executor {
    /// Slots that it takes now.
    pub(super) fn load(&self) -> u32 {
        match self.life {
            Life::Dying { cpus } => cpus,
            Life::Starting { .. } if self.cpus > 1 => self.cpus,
            Life::Starting { .. } | Life::Ready if self.hand.is_empty() => 0,
            Life::Starting { .. } | Life::Ready => self.cpus,
        }
    }

    /// Whether one more may be queued in its hands.
    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Ready && self.future == Future::Kept && self.hand.is_open()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && self.hand.is_empty()
    }

    pub(super) fn kill(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.life, Life::Dying { .. }) {
            return;
        }
        self.life = Life::Dying { cpus: self.load() };
        self.stop = None;
        self.asks.clear();
        actions.push(Action::Signal { executor: self.id, signal: Signal::Kill });
    }
}

/// All executors. The first seats, one per slot, are for executors of one slot; behind them sit those that serve more.
#[derive(Debug)]
pub(super) struct Fleet {
    seats: Vec<Option<Executor>>,
    by_id: BTreeMap<ExecutorId, usize>,
    next: ExecutorId,
    slots: usize,
    /// Who has left in this step.
    gone: Vec<ExecutorId>,
}

impl Fleet {
    pub(super) fn new(slots: usize) -> Self {
        let seats = core::iter::repeat_with(|| None).take(slots).collect();
        Self { seats, by_id: BTreeMap::new(), next: ExecutorId(0), slots, gone: Vec::new() }
    }

    /// Starts an executor on a vacant seat that fits; there always is one for more than one slot.
    pub(super) fn spawn(&mut self, seat: usize, cpus: u32, until: Time, actions: &mut Vec<Action>) {
        let id = self.next;
        self.next.0 += 1;
        self.by_id.insert(id, seat);
        if seat == self.seats.len() {
            self.seats.push(None);
        }
        self.seats[seat] = Some(Executor {
            id,
            cpus,
            life: Life::Starting { until },
            future: Future::Kept,
            record: Record::Fresh,
            hand: Hand::default(),
            mirror: Mirror::default(),
            forgets: Vec::new(),
            stop: None,
            view: View::Unknown,
            front: None,
            cutting: None,
            asks: Vec::new(),
            orders: Vec::new(),
        });
        actions.push(Action::Spawn { executor: id, cpus });
    }

    /// The process on this seat is gone.
    pub(super) fn vacate(&mut self, seat: usize) -> Executor {
        let executor = self.seats[seat].take().expect("who leaves sat there");
        self.by_id.remove(&executor.id);
        self.gone.push(executor.id);
        while self.seats.len() > self.slots && matches!(self.seats.last(), Some(None)) {
            self.seats.pop();
        }
        executor
    }

    /// Drops what was to be said to executors of whose end the same step has heard.
    pub(super) fn hush(&mut self, begin: usize, actions: &mut Vec<Action>) {
        if self.gone.is_empty() {
            return;
        }
        let said = actions.split_off(begin);
        actions.extend(said.into_iter().filter(|action| match action {
            Action::GiveInputs { executor, .. }
            | Action::Forget { executor, .. }
            | Action::ForgetFunctions { executor, .. }
            | Action::Signal { executor, .. } => !self.gone.contains(executor),
            _ => true,
        }));
        self.gone.clear();
    }

    /// Nothing needs this function any more: executors that know it need not keep it, and its slot may be used again.
    pub(super) fn forget_function(&mut self, slot: FunctionSlot, key: FunctionKey) {
        for executor in self.seats.iter_mut().flatten() {
            if executor.mirror.unlearn(slot) && executor.life == Life::Ready {
                executor.forgets.push(key);
            }
        }
    }

    /// Says which functions need not be kept: before a whole session or link is forgotten, for on the next link another
    /// function may have the same name.
    pub(super) fn send_forgets(&mut self, actions: &mut Vec<Action>) {
        for executor in self.seats.iter_mut().flatten().filter(|executor| !executor.forgets.is_empty()) {
            let functions = core::mem::take(&mut executor.forgets);
            if executor.life == Life::Ready {
                let batches = functions.chunks(crate::limits::BATCH_ITEMS);
                actions.extend(
                    batches.map(|batch| Action::ForgetFunctions { executor: executor.id, functions: batch.to_vec() }),
                );
            }
        }
    }

    pub(super) fn find(&self, id: ExecutorId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn at(&mut self, seat: usize) -> &mut Executor {
        self.seats[seat].as_mut().expect("what is given sits in somebody's hands")
    }

    /// The executor on one of the first seats, if there is one.
    pub(super) fn get(&self, seat: usize) -> Option<&Executor> {
        self.seats.get(seat)?.as_ref()
    }

    /// Every seat, taken or not.
    pub(super) fn seats(&self) -> core::ops::Range<usize> {
        0..self.seats.len()
    }

    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    /// A seat for an executor of more than one slot.
    pub(super) fn wide_seat(&self) -> usize {
        (self.slots..self.seats.len()).find(|seat| self.seats[*seat].is_none()).unwrap_or(self.seats.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Executor)> {
        self.seats.iter().enumerate().filter_map(|(seat, executor)| Some((seat, executor.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Executor> {
        self.seats.iter_mut().flatten()
    }

    /// Slots that nothing takes.
    pub(super) fn free_cpus(&self) -> u32 {
        let load = self.iter().fold(0_u32, |sum, (_, executor)| sum.saturating_add(executor.load()));
        u32::try_from(self.slots).unwrap_or(u32::MAX).saturating_sub(load)
    }

    pub(super) fn check(&self) {
        let load: u64 = self.iter().map(|(_, executor)| u64::from(executor.load())).sum();
        assert!(load <= self.slots as u64, "running cpus never exceed the slots");
        assert_eq!(self.by_id.len(), self.iter().count(), "each executor is found by its id");
        for (seat, executor) in self.iter() {
            assert_eq!(self.find(executor.id), Some(seat));
            assert!(executor.id < self.next, "ids are not used again");
            assert_eq!(seat < self.slots, executor.cpus == 1, "seats are for one slot, or behind for more");
            let unsaid = executor.asks.len() + executor.orders.len() + executor.forgets.len();
            assert_eq!(unsaid, 0, "a step leaves nothing to send");
            assert!(executor.hand.is_empty() || !matches!(executor.life, Life::Starting { .. }), "ready before given");
            executor.hand.check();
        }
    }
}
