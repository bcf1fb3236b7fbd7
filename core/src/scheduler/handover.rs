//! Handover: what a worker that drains has alone goes to others before it leaves, so that it need not be made again.
//!
//! Another worker is made to want each such object, though no attempt there needs it: how it comes there is for `transfer` to
//! say. What is not gone by the time that the worker goes is lost with it, and made again if somebody waits for it.

use super::Scheduler;
use super::transfer::{Want, Way};
use super::worker::Health;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How far a worker is with that.
#[derive(Debug, Default)]
pub(super) struct Handover {
    scan: Scan,
    /// Objects that are about to be somewhere else, in the order in which that was asked for.
    open: VecDeque<u32>,
    /// Whether the first of those were not looked at, since the step could do no more.
    cut: bool,
}

/// Who may get what others leave, once anybody has asked.
type Heirs = Option<Vec<u32>>;

/// How many of its objects were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scan {
    /// It does not drain.
    #[default]
    Never,
    /// All before this one.
    At { next: u32, idle: bool },
    /// All. More may have come since, unless nothing ran by then.
    Through { idle: bool },
}

impl Handover {
    /// The worker drains.
    pub(super) fn begin(&mut self) {
        if self.scan == Scan::Never {
            self.scan = Scan::At { next: 0, idle: false };
        }
    }

    /// Whether there is more to look at, now.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.cut || matches!(self.scan, Scan::At { .. })
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.scan == Scan::Through { idle: true } && self.open.is_empty()
    }
}

impl Scheduler {
    /// Whether more is to be looked at.
    pub(super) fn is_handing_over(&self) -> bool {
        self.draining.iter().any(|worker| self.workers[*worker].handover.is_unfinished())
    }

    /// Has others get what workers that drain have alone, as far as this step may look.
    pub(super) fn hand_over(&mut self) {
        let mut heirs = None;
        for n in 0..self.draining.len() {
            let worker = self.draining[n];
            self.scan_objects(worker, &mut heirs);
            while self.slice.services > 0
                && let Some(object) = self.workers[worker].handover.open.front().copied()
                && !(self.objects.get(object).is_some() && self.is_awaited_elsewhere(object, worker, &mut heirs))
            {
                self.slice.services -= 1;
                self.workers[worker].handover.open.pop_front();
            }
            let Self { slice, workers, .. } = self;
            let handover = &mut workers[worker].handover;
            handover.cut = slice.services == 0 && !handover.open.is_empty();
        }
    }

    fn scan_objects(&mut self, worker: u32, heirs: &mut Heirs) {
        let now_idle = self.workers[worker].is_idle();
        let (mut next, idle) = match self.workers[worker].handover.scan {
            Scan::At { next, idle } => (next, idle || (next == 0 && now_idle)),
            Scan::Through { idle: false } if now_idle => (0, true),
            Scan::Never | Scan::Through { .. } => return,
        };
        let scan = loop {
            let Some(object) = self.workers[worker].objects.range(next..).next().copied() else {
                break Scan::Through { idle };
            };
            if self.slice.services == 0 {
                break Scan::At { next, idle };
            }
            self.slice.services -= 1;
            next = object + 1;
            if self.is_awaited_elsewhere(object, worker, heirs) {
                self.workers[worker].handover.open.push_back(object);
            }
        };
        self.workers[worker].handover.scan = scan;
    }

    /// Whether an object that a worker has is with nobody who stays, and will come to one; if need be, that is asked for.
    fn is_awaited_elsewhere(&mut self, object: u32, worker: u32, heirs: &mut Heirs) -> bool {
        let o = &self.objects[object];
        let stays = |worker: u32| self.workers[worker].health != Health::Draining;
        let is_safe = o.here.is_some() || o.copies.iter().any(|copy| stays(copy.worker));
        if is_safe || !o.copies.contains(worker) {
            return false;
        }
        if o.wants.iter().any(|want| stays(want.worker)) {
            return true;
        }
        let Some(heir) = self.heir(heirs) else { return false };
        self.objects[object].wants.insert(Want { worker: heir, attempts: 0, way: Way::Waiting, handed: true });
        self.locate(object, heir);
        self.stir_object(object);
        true
    }

    /// Who gets the next object: each live worker in turn.
    fn heir(&mut self, heirs: &mut Heirs) -> Option<u32> {
        let live = || self.workers.iter().filter(|(_, w)| w.health == Health::Live).map(|(worker, _)| worker);
        let heirs = heirs.get_or_insert_with(|| live().collect());
        let heir = heirs.get(self.next_heir % heirs.len().max(1)).copied()?;
        self.next_heir = self.next_heir.wrapping_add(1);
        Some(heir)
    }

    /// An object is lost: nobody inherits it any more.
    pub(super) fn disinherit(&mut self, object: u32) {
        let wants = &mut self.objects[object].wants;
        wants.iter_mut().for_each(|want| want.handed = false);
        let idle: Vec<u32> = wants.iter().filter(|want| !want.has_reason()).map(|want| want.worker).collect();
        wants.retain(Want::has_reason);
        idle.into_iter().for_each(|worker| self.locate(object, worker));
    }
}
