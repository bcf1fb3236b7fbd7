//! Fetches: which of the objects that others have come now, and which wait for memory.
//!
//! They come in the order in which attempts need them, those first that executors wait for. What comes takes its room in
//! memory from the beginning. Beyond the bound one always comes, so that something goes on: once the disk has nothing to write,
//! and if it can take what comes. Where it cannot, nothing comes as long as anything else goes on, but for what executors wait for
//! and the attempt whose turn it is. An object that no attempt here names has no size yet and no hurry: it comes alone.

use super::attempt::{Place, Rank};
use super::object::{Objects, Stage};
use super::{Action, Brain};
use crate::id::{ObjectId, WorkerId};
use crate::peer::Peer;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Objects that are to be fetched, and who has them.
#[derive(Debug)]
pub(super) struct Orders(BTreeMap<ObjectId, (WorkerId, Peer)>);

impl Orders {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn insert(&mut self, object: ObjectId, from: WorkerId, at: Peer) {
        self.0.insert(object, (from, at));
    }

    pub(super) fn remove(&mut self, object: ObjectId) {
        self.0.remove(&object);
    }

    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.0.contains_key(&object)
    }
}

/// Who needs an object first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// An attempt that its executor has begun, or may begin.
    Given,
    /// One that is not whole.
    Waiting(Rank),
    /// None that has named it.
    Nobody,
}

impl Objects {
    /// Whether all that is to be fetched finds room.
    pub(super) fn have_room_for_orders(&self) -> bool {
        let bytes = self.orders.0.keys().fold(0_u64, |sum, object| sum.saturating_add(self.bytes(*object)));
        self.memory.fits(bytes)
    }
}

impl Brain {
    /// Begins to fetch what may come now. How many objects that are.
    pub(super) fn fetch_ordered(&mut self, actions: &mut Vec<Action>) -> usize {
        let before = actions.len();
        for (need, object) in self.ordered() {
            if !self.may_fetch(need, object) {
                break;
            }
            let (from, at) = self.objects.orders.0.remove(&object).expect("it is ordered");
            let known = self.objects.known.get_mut(&object).expect("what is ordered is known");
            known.stage = Stage::Coming;
            self.objects.memory.reserve(object, known.bytes);
            actions.push(Action::Fetch { object, from, at });
        }
        actions.len() - before
    }

    /// What is to be fetched, in the order in which it is needed.
    fn ordered(&self) -> Vec<(Need, ObjectId)> {
        let mut ordered: Vec<_> = self.objects.orders.0.keys().map(|object| (self.need(*object), *object)).collect();
        ordered.sort_unstable();
        ordered
    }

    fn need(&self, object: ObjectId) -> Need {
        let waiters = self.objects.known[&object].waiters.iter().map(|handle| self.attempts.get(*handle));
        let needs = waiters.map(|attempt| match attempt.place {
            Place::Given { .. } => Need::Given,
            Place::Queued(_) | Place::Awaiting { .. } | Place::Split => Need::Waiting(attempt.rank()),
        });
        needs.min().unwrap_or(Need::Nobody)
    }

    /// Whether the next that is to be fetched may come now.
    fn may_fetch(&self, need: Need, object: ObjectId) -> bool {
        let (memory, bytes) = (&self.objects.memory, self.objects.bytes(object));
        if memory.fits(bytes) && (need != Need::Nobody || !memory.is_receiving()) {
            return true;
        }
        let calm = !memory.is_receiving() && !memory.is_writing();
        let next = match need {
            Need::Given => true,
            Need::Waiting(rank) => memory.is_turn_of(rank),
            Need::Nobody => false,
        };
        calm && (next || memory.can_spill(bytes) || !self.goes_on())
    }

    /// Whether attempts run, or are about to.
    fn goes_on(&self) -> bool {
        self.attempts.iter().any(|(_, attempt)| match attempt.place {
            Place::Given { .. } | Place::Queued(_) => true,
            Place::Awaiting { .. } => self.objects.has_all(&attempt.start),
            // Its parts are attempts too.
            Place::Split => false,
        })
    }

    pub(super) fn check_fetches(&self) {
        let next = self.ordered().first().copied();
        assert!(next.is_none_or(|(need, object)| !self.may_fetch(need, object)), "what may be fetched is");
    }
}
