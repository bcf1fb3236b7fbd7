//! Memory: which objects lie in it, which on disk, and what goes from one to the other.
//!
//! Objects may take so much memory. Beyond that, what has been of no use longest is written to disk and then forgotten
//! here. What attempts need that are with executors is *pinned*: it stays. So is what those need that come next, as many as
//! fit with their inputs, and one always, so that something goes on: that has its *turn*, and keeps it while it lacks something
//! again that it had; then, as far as there is room left, what those have that lack something that others have. An attempt whose
//! inputs are on disk waits until they are back. While much more is here than may be and the disk is at work, nothing new begins,
//! and executors give back what they have not begun. A disk that is full or fails is left alone for a while. What is to come back
//! and finds no memory, because others have taken what there should be, is tried again a little later; it is lost only if that
//! never ends.

use super::attempt::{Attempt, Place, Rank};
use super::object::Objects;
use super::{Action, Brain};
use crate::id::ObjectId;
use crate::limits;
use crate::outcome::{NoSpace, Outcome};
use crate::spec::Start;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

/// Where an object lies that this worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    /// On its way into memory, from elsewhere.
    Coming,
    Memory,
    /// In memory, and being written to disk.
    Leaving,
    Both,
    Disk,
    /// On disk, and being read.
    Returning,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    /// When it was last of use, as a number.
    used: u64,
    site: Site,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Ready,
    /// It did not take something, and is not asked again before that.
    Failed(Time),
}

/// What objects take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Bytes in all.
    total: u64,
    /// Bytes in memory, or on their way there.
    memory: u64,
    /// Bytes on disk, or on their way there.
    disk: u64,
    /// Objects that are on disk alone, that are being written, that are being read, that come from elsewhere.
    away: usize,
    leaving: usize,
    returning: usize,
    coming: usize,
}

impl Tally {
    const fn of(site: Site, bytes: u64) -> Self {
        let (memory, disk) = match site {
            Site::Coming | Site::Memory => (bytes, 0),
            Site::Disk => (0, bytes),
            Site::Leaving | Site::Both | Site::Returning => (bytes, bytes),
        };
        let [away, leaving, returning, coming] = match site {
            Site::Disk => [1, 0, 0, 0],
            Site::Leaving => [0, 1, 0, 0],
            Site::Returning => [0, 0, 1, 0],
            Site::Coming => [0, 0, 0, 1],
            Site::Memory | Site::Both => [0; 4],
        };
        Self { total: bytes, memory, disk, away, leaving, returning, coming }
    }

    const fn add(&mut self, more: Self) {
        self.total += more.total;
        self.memory += more.memory;
        self.disk += more.disk;
        self.away += more.away;
        self.leaving += more.leaving;
        self.returning += more.returning;
        self.coming += more.coming;
    }

    const fn take(&mut self, less: Self) {
        self.total -= less.total;
        self.memory -= less.memory;
        self.disk -= less.disk;
        self.away -= less.away;
        self.leaving -= less.leaving;
        self.returning -= less.returning;
        self.coming -= less.coming;
    }
}

/// What is here, and where.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    disk_limit: u64,
    held: BTreeMap<ObjectId, Held>,
    /// What lies in memory, by when it was last of use.
    recent: BTreeMap<u64, ObjectId>,
    uses: u64,
    tally: Tally,
    disk: Disk,
    /// Why the disk did not take something the last time, or never does.
    trouble: Option<Box<str>>,
    /// Memory that there should be was not there, and is not asked for again before that.
    scarce: Option<Time>,
    /// How often in a row it was not.
    refusals: u32,
    /// The attempt that is the next to have all it needs in memory.
    turn: Option<Rank>,
}

/// What stays in memory, or has to come back, in the order in which it is needed.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    order: Vec<ObjectId>,
    known: BTreeSet<ObjectId>,
    bytes: u64,
    /// What is to be fetched of it, in bytes.
    ordered: u64,
    /// The attempt whose turn it is, if executors have none that needs anything.
    turn: Option<Rank>,
}

impl Memory {
    /// Room for so many bytes, and for so many on disk, or why there is none.
    pub(super) fn new(limit: u64, disk: Result<u64, Box<str>>) -> Self {
        let (disk_limit, trouble) = disk.map_or_else(|reason| (0, Some(reason)), |bytes| (bytes, None));
        let tally = Tally { total: 0, memory: 0, disk: 0, away: 0, leaving: 0, returning: 0, coming: 0 };
        Self {
            limit,
            disk_limit,
            held: BTreeMap::new(),
            recent: BTreeMap::new(),
            uses: 0,
            tally,
            disk: Disk::Ready,
            trouble,
            scarce: None,
            refusals: 0,
            turn: None,
        }
    }

    /// What it lacks for one more object of so many bytes, here and on disk, in `folder`.
    pub(super) fn lack(&self, bytes: u64, folder: &str) -> Option<NoSpace> {
        let (taken, room) = match self.disk {
            Disk::Ready => (self.tally.total, self.limit.saturating_add(self.disk_limit)),
            Disk::Failed(_) => (self.tally.memory, self.limit),
        };
        if taken.saturating_add(bytes) <= room {
            return None;
        }
        let trouble = self.trouble.clone().filter(|_| self.disk != Disk::Ready || self.disk_limit == 0);
        let full = || format!("{} of {} bytes are taken there", self.tally.disk, self.disk_limit).into();
        Some(NoSpace { size: bytes, path: folder.into(), reason: trouble.unwrap_or_else(full) })
    }

    /// Whether so much waits for the disk that nothing new should begin.
    pub(super) const fn is_swamped(&self) -> bool {
        self.tally.leaving > 0 && self.tally.memory > self.limit.saturating_add(self.limit / 4)
    }

    /// Whether more is here than may be.
    pub(super) const fn is_short(&self) -> bool {
        self.tally.memory > self.limit
    }

    /// Whether there is anything to move.
    const fn is_stirred(&self) -> bool {
        self.is_short() || self.tally.away > 0
    }

    /// When the disk is tried again, or memory.
    pub(super) fn due(&self) -> Option<Time> {
        let disk = match self.disk {
            Disk::Failed(until) => Some(until),
            Disk::Ready => None,
        };
        disk.into_iter().chain(self.scarce).min()
    }

    pub(super) fn fire(&mut self, now: Time) {
        if matches!(self.disk, Disk::Failed(until) if until <= now) {
            self.disk = Disk::Ready;
        }
        self.scarce = self.scarce.filter(|until| now < *until);
    }

    /// Whether nothing is read from disk at the moment, because there is no memory for it.
    pub(super) const fn is_scarce(&self) -> bool {
        self.scarce.is_some()
    }

    /// There was no memory for what was to be read. True if that has been so for too long.
    pub(super) fn refused(&mut self, now: Time) -> bool {
        // What was begun before a pause says no more than that there is one.
        self.refusals += u32::from(self.scarce.is_none());
        self.scarce = Some(now + limits::MEMORY_PAUSE);
        let too_long = self.refusals > limits::MEMORY_REFUSALS;
        if too_long {
            self.refusals = 0;
        }
        too_long
    }

    /// There was memory for what was to be read.
    pub(super) const fn granted(&mut self) {
        self.refusals = 0;
    }

    /// An object was made here.
    pub(super) fn insert(&mut self, object: ObjectId, bytes: u64) {
        self.put(object, bytes, Site::Memory);
        self.touch(object);
    }

    /// An object is on its way here: its room is taken.
    pub(super) fn reserve(&mut self, object: ObjectId, bytes: u64) {
        self.put(object, bytes, Site::Coming);
    }

    /// It has come, and takes so much.
    pub(super) fn arrived(&mut self, object: ObjectId, bytes: u64) {
        self.remove(object);
        self.insert(object, bytes);
    }

    fn put(&mut self, object: ObjectId, bytes: u64, site: Site) {
        let before = self.held.insert(object, Held { bytes, used: 0, site });
        assert!(before.is_none(), "an object comes once");
        self.tally.add(Tally::of(site, bytes));
    }

    /// Whether so much more finds room.
    pub(super) const fn fits(&self, bytes: u64) -> bool {
        self.tally.memory.saturating_add(bytes) <= self.limit
    }

    /// Whether it is this attempt's turn.
    pub(super) fn is_turn_of(&self, rank: Rank) -> bool {
        self.turn == Some(rank)
    }

    /// Whether something comes from elsewhere.
    pub(super) const fn is_receiving(&self) -> bool {
        self.tally.coming > 0
    }

    /// Whether something is being written.
    pub(super) const fn is_writing(&self) -> bool {
        self.tally.leaving > 0
    }

    /// It is nowhere any more.
    pub(super) fn remove(&mut self, object: ObjectId) {
        let Some(Held { bytes, used, site }) = self.held.remove(&object) else { return };
        self.tally.take(Tally::of(site, bytes));
        self.recent.remove(&used);
    }

    /// It is of use now.
    pub(super) fn touch(&mut self, object: ObjectId) {
        let Some(held) = self.held.get_mut(&object) else { return };
        self.uses += 1;
        let before = core::mem::replace(&mut held.used, self.uses);
        if matches!(held.site, Site::Memory | Site::Leaving | Site::Both) {
            self.recent.remove(&before);
            self.recent.insert(self.uses, object);
        }
    }

    /// Nothing is held any more. What is known of disk and memory stays known.
    pub(super) fn clear(&mut self) {
        let (disk, trouble, scarce) = (self.disk, self.trouble.take(), self.scarce);
        *self = Self { disk, trouble, scarce, ..Self::new(self.limit, Ok(self.disk_limit)) };
    }

    /// Whether it is on disk alone, or being read.
    pub(super) fn is_away(&self, object: ObjectId) -> bool {
        self.held.get(&object).is_some_and(|held| matches!(held.site, Site::Disk | Site::Returning))
    }

    /// Whether it is on its way from elsewhere.
    pub(super) fn is_coming(&self, object: ObjectId) -> bool {
        self.held.get(&object).is_some_and(|held| held.site == Site::Coming)
    }

    /// Objects that are held, or coming.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn bytes(&self, object: ObjectId) -> u64 {
        self.held.get(&object).map_or(0, |held| held.bytes)
    }

    /// Moves an object, if it is at `from`. True if it was.
    fn shift(&mut self, object: ObjectId, from: Site, to: Site) -> bool {
        let Some(held) = self.held.get_mut(&object).filter(|held| held.site == from) else { return false };
        self.tally.take(Tally::of(from, held.bytes));
        self.tally.add(Tally::of(to, held.bytes));
        held.site = to;
        match to {
            Site::Coming | Site::Disk | Site::Returning => self.recent.remove(&held.used),
            Site::Memory | Site::Leaving | Site::Both => self.recent.insert(held.used, object),
        };
        true
    }

    /// It is on disk too.
    pub(super) fn spilled(&mut self, object: ObjectId) {
        self.shift(object, Site::Leaving, Site::Both);
    }

    /// It could not be written.
    pub(super) fn not_spilled(&mut self, now: Time, object: ObjectId, reason: Box<str>) {
        if self.shift(object, Site::Leaving, Site::Memory) {
            self.disk = Disk::Failed(now + limits::SPILL_PAUSE);
            self.trouble = Some(reason);
        }
    }

    /// It is back. True if it was on its way.
    pub(super) fn restored(&mut self, object: ObjectId) -> bool {
        let back = self.shift(object, Site::Returning, Site::Both);
        self.touch(object);
        self.granted();
        back
    }

    /// It is not, and still on disk. True if it was on its way.
    pub(super) fn not_restored(&mut self, object: ObjectId) -> bool {
        self.shift(object, Site::Returning, Site::Disk)
    }

    /// Moves what has to be moved. Returns what is in memory no more.
    fn settle(&mut self, pinned: &Pinned, actions: &mut Vec<Action>) -> BTreeSet<ObjectId> {
        let absent =
            |memory: &Self, object: &ObjectId| memory.held.get(object).is_some_and(|held| held.site == Site::Disk);
        let awaited = if self.is_scarce() { &[][..] } else { &pinned.order };
        let wanted: Vec<ObjectId> = awaited.iter().copied().filter(|object| absent(self, object)).collect();
        let next = wanted.first().map_or(0, |object| self.bytes(*object));
        let (evicted, at_work) = self.make_room(next.saturating_add(pinned.ordered), pinned, actions);
        for (n, object) in wanted.into_iter().enumerate() {
            let fits = self.fits(self.bytes(object));
            // The one that must come back comes, where nothing can make room for it.
            let must = n == 0 && !at_work && self.tally.returning == 0;
            if !fits && !must {
                break;
            }
            self.shift(object, Site::Disk, Site::Returning);
            actions.push(Action::Restore { object });
        }
        evicted
    }

    /// Sees to it that `next` bytes more find room. Returns what is in memory no more, and whether something is being
    /// written that will make room.
    fn make_room(&mut self, next: u64, pinned: &Pinned, actions: &mut Vec<Action>) -> (BTreeSet<ObjectId>, bool) {
        let (mut evicted, mut at_work) = (BTreeSet::new(), false);
        let mut excess = self.tally.memory.saturating_add(next).saturating_sub(self.limit);
        if excess == 0 {
            return (evicted, at_work);
        }
        let loose: Vec<ObjectId> = self.recent.values().copied().filter(|object| !pinned.has(*object)).collect();
        for object in loose {
            if excess == 0 {
                break;
            }
            let Held { bytes, site, .. } = self.held[&object];
            match site {
                Site::Both => {
                    self.shift(object, site, Site::Disk);
                    actions.push(Action::Evict { object });
                    evicted.insert(object);
                }
                Site::Leaving => at_work = true,
                Site::Memory if self.can_spill(bytes) => {
                    self.shift(object, site, Site::Leaving);
                    actions.push(Action::Spill { object });
                    at_work = true;
                }
                Site::Coming | Site::Memory | Site::Disk | Site::Returning => continue,
            }
            excess = excess.saturating_sub(bytes);
        }
        (evicted, at_work)
    }

    /// Whether the disk would take so much more.
    pub(super) fn can_spill(&self, bytes: u64) -> bool {
        self.disk == Disk::Ready && self.tally.disk.saturating_add(bytes) <= self.disk_limit
    }

    fn check(&self, pinned: &Pinned) {
        let mut tally = Tally::default();
        self.held.values().for_each(|held| tally.add(Tally::of(held.site, held.bytes)));
        assert_eq!(tally, self.tally, "what objects take is counted");
        assert!(tally.disk <= self.disk_limit, "the disk takes no more than it may");
        let here = |held: &Held| matches!(held.site, Site::Memory | Site::Leaving | Site::Both);
        assert_eq!(self.held.values().filter(|held| here(held)).count(), self.recent.len(), "what is here has a turn");
        for (used, object) in &self.recent {
            let held = &self.held[object];
            assert!(here(held) && held.used == *used, "what has a turn is here");
            let stays = tally.memory <= self.limit || tally.leaving > 0 || pinned.has(*object);
            assert!(stays || held.site == Site::Memory && !self.can_spill(held.bytes), "what is too much goes");
        }
    }
}

impl Pinned {
    fn has(&self, object: ObjectId) -> bool {
        self.known.contains(&object)
    }

    /// It is needed here now.
    fn add(&mut self, object: ObjectId, objects: &Objects) {
        if self.keep(object, objects) {
            self.order.push(object);
        }
    }

    /// It is to stay, but need not come back yet. True if it was not to before.
    fn keep(&mut self, object: ObjectId, objects: &Objects) -> bool {
        let new = self.known.insert(object);
        if new {
            let bytes = objects.bytes(object);
            self.bytes = self.bytes.saturating_add(bytes);
            let ordered = if objects.orders.has(object) { bytes } else { 0 };
            self.ordered = self.ordered.saturating_add(ordered);
        }
        new
    }

    /// What it takes to add all that an attempt needs.
    fn with(&self, start: &Start, of: &Objects) -> u64 {
        let more: BTreeSet<ObjectId> = objects(start).filter(|object| !self.has(*object)).collect();
        more.iter().fold(self.bytes, |sum, object| sum.saturating_add(of.bytes(*object)))
    }
}

fn objects(start: &Start) -> impl Iterator<Item = ObjectId> {
    start.inputs.iter().filter_map(Outcome::stored).map(|stored| stored.object)
}

impl Brain {
    /// Has objects written, forgotten, read and fetched, as memory and what waits for it ask.
    pub(super) fn settle_memory(&mut self, actions: &mut Vec<Action>) {
        loop {
            if self.objects.memory.is_stirred() || !self.objects.have_room_for_orders() {
                let mut pinned = self.pinned();
                if pinned.turn != self.objects.memory.turn {
                    // Who had the turn keeps nothing for it any more.
                    self.objects.memory.turn = pinned.turn;
                    pinned = self.pinned();
                }
                let evicted = self.objects.memory.settle(&pinned, actions);
                self.await_again(&evicted);
            }
            // What comes though there is no room for it has others make room.
            if self.fetch_ordered(actions) == 0 || !self.objects.memory.is_short() {
                return;
            }
        }
    }

    /// What attempts need that are with executors, and that those need whose turn comes next.
    fn pinned(&self) -> Pinned {
        let limit = self.objects.memory.limit;
        let (mut pinned, mut waiting) = (Pinned::default(), Vec::<(Rank, &Start)>::new());
        let mut lacking = Vec::<(Rank, &Start)>::new();
        for (_, attempt) in self.attempts.iter().filter(|(_, attempt)| objects(&attempt.start).next().is_some()) {
            match attempt.place {
                Place::Given { .. } | Place::Split => {
                    objects(&attempt.start).for_each(|object| pinned.add(object, &self.objects));
                }
                // What comes from elsewhere comes first.
                Place::Awaiting { .. } if !self.objects.has_all(&attempt.start) && !self.has_turn(attempt) => {
                    lacking.push((attempt.rank(), &attempt.start));
                }
                Place::Awaiting { .. } | Place::Queued(_) => waiting.push((attempt.rank(), &attempt.start)),
            }
        }
        waiting.sort_unstable_by_key(|(rank, _)| *rank);
        for (rank, start) in waiting {
            if pinned.known.is_empty() {
                pinned.turn = Some(rank);
            } else if pinned.with(start, &self.objects) > limit {
                break;
            }
            objects(start).for_each(|object| pinned.add(object, &self.objects));
        }
        lacking.sort_unstable_by_key(|(rank, _)| *rank);
        for (_, start) in lacking {
            if pinned.with(start, &self.objects) > limit {
                break;
            }
            for object in objects(start) {
                pinned.keep(object, &self.objects);
            }
        }
        pinned
    }

    /// Whether it is this attempt's turn. It is while one of its inputs, lost from here, comes once more: otherwise the rest went
    /// for the next, which would lose it all again in the same way.
    fn has_turn(&self, attempt: &Attempt) -> bool {
        self.objects.memory.is_turn_of(attempt.rank())
    }

    pub(super) fn check_memory(&self) {
        self.objects.memory.check(&self.pinned());
    }
}
