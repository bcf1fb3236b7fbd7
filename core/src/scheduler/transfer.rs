//! Transfers: how objects come to the workers that need them.
//!
//! A worker that lacks an input waits for it with the attempt in its hands, and is told from whom to fetch. Each holder
//! serves few at once, so what many want spreads as a tree. Where peers cannot reach each other, the coordinator has the
//! value shown to it and passes it on.

use super::by_worker::OfWorker;
use super::direct::Route;
use super::input::Edge;
use super::object::{Copy, Show};
use super::slab::NONE;
use super::walk::Site;
use super::worker::{Health, Worker};
use super::{Action, Scheduler};
use crate::id::{ObjectId, WorkerId};
use crate::limits;
use crate::outcome::Unfetched;
use crate::peer::{Fingerprint, Peer};
use crate::time::Time;
use crate::value::Value;
use crate::window;
use alloc::vec::Vec;

/// To send a worker for an object takes as long as to pass so many inputs.
const PASSES_PER_WANT: usize = 15;

/// A worker that lacks an object.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) worker: u32,
    /// How often attempts in its hands need it.
    pub(super) attempts: u32,
    pub(super) way: Way,
    /// Who has it drains, and this worker is to have it then (see `handover`).
    pub(super) handed: bool,
}

/// How a worker comes to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not yet.
    Waiting,
    /// It was told to fetch it from this worker.
    Fetching(WorkerId),
    /// The same, and that one has lost it since.
    Astray,
    /// Nobody who has it can be reached from there: it goes through here, once it has been shown.
    Relayed,
    /// It is on its way from here.
    Given,
}

impl OfWorker for Want {
    fn worker(&self) -> u32 {
        self.worker
    }
}

impl Want {
    pub(super) const fn is_coming(&self) -> bool {
        matches!(self.way, Way::Fetching(_) | Way::Astray | Way::Given)
    }

    /// Whether there is a reason for it to go on.
    pub(super) const fn has_reason(&self) -> bool {
        self.attempts > 0 || self.handed || self.is_coming()
    }
}

/// A value on its way from here to a worker, once credit allows.
#[derive(Debug)]
pub(super) struct Gift {
    object: ObjectId,
    pub(super) value: Value,
}

/// How one worker may fetch from another: where that is, and as whom it comes.
fn road(fetcher: &Worker, holder: &Worker, now: Time) -> Option<(Peer, Fingerprint)> {
    let (at, guest) = (holder.offer.peer.filter(|_| !holder.gone)?, fetcher.offer.peer?.key);
    let shut = fetcher.unreachable.get(&holder.id).is_some_and(|until| *until > now);
    (!shut).then_some((at, guest))
}

impl Scheduler {
    /// An attempt is at a worker: if that lacks an input, it is to come there.
    pub(super) fn want_input(&mut self, edge: u32, site: Option<Site>) {
        let input = self.edges[edge].input;
        let object = self.tasks[input].object;
        let Some(worker) = self.worker_at(site).filter(|worker| !self.workers[*worker].gone) else { return };
        if object == NONE || !self.tasks[input].state.is_stored() {
            return;
        }
        self.edges[edge].wanted = true;
        let o = &mut self.objects[object];
        if o.copies.contains(worker) {
            return;
        }
        match o.wants.get_mut(worker) {
            Some(want) => want.attempts += 1,
            None => {
                self.slice.passes = self.slice.passes.saturating_sub(PASSES_PER_WANT);
                o.wants.insert(Want { worker, attempts: 1, way: Way::Waiting, handed: false });
                self.locate(object, worker);
                self.stir_object(object);
            }
        }
    }

    /// An attempt has left its worker.
    pub(super) fn unwant_input(&mut self, edge: u32, site: Option<Site>) {
        if !core::mem::take(&mut self.edges[edge].wanted) {
            return;
        }
        let Some(worker) = self.worker_at(site) else { return };
        let object = self.tasks[self.edges[edge].input].object;
        let wants = &mut self.objects[object].wants;
        if let Some(want) = wants.get_mut(worker) {
            want.attempts -= 1;
            if !want.has_reason() {
                wants.remove(worker);
                self.locate(object, worker);
            }
        }
    }

    /// The worker at a site, unless its place is another's by now.
    fn worker_at(&self, site: Option<Site>) -> Option<u32> {
        let Site { worker, id } = site?;
        self.workers.get(worker).is_some_and(|w| w.id == id).then_some(worker)
    }

    /// The worker that is to have inputs for an attempt of a task, if that is still known.
    pub(super) fn site_of(&self, slot: u32) -> Option<u32> {
        let lease = self.tasks[slot].lease().map(|lease| lease.worker);
        let walk = || self.walks.get(slot).and_then(|walk| walk.site);
        let parting = || self.walks.partings.get(&slot).and_then(|parting| parting.site);
        lease.or_else(|| self.worker_at(walk().or_else(parting)))
    }

    /// A worker has objects that it was to get.
    pub(super) fn on_objects_held(&mut self, id: WorkerId, objects: &[ObjectId]) {
        let Some(worker) = self.heard(id) else { return };
        for object in objects {
            let Some(slot) = self.end_want(worker, *object) else {
                self.ignored += 1;
                continue;
            };
            self.objects[slot].copies.insert(Copy { worker, serving: 0 });
            self.stir_object(slot);
        }
    }

    /// A worker could not get an object.
    pub(super) fn on_object_unfetched(&mut self, id: WorkerId, object: ObjectId, reason: Unfetched) {
        let Some(worker) = self.heard(id) else { return };
        let Some(slot) = self.find_object(object) else {
            self.ignored += 1;
            return;
        };
        let Some(want) = self.objects[slot].wants.get_mut(worker).filter(|want| want.is_coming()) else {
            self.ignored += 1;
            return;
        };
        let from = match core::mem::replace(&mut want.way, Way::Waiting) {
            Way::Fetching(from) => Some(from),
            Way::Waiting | Way::Astray | Way::Relayed | Way::Given => None,
        };
        // Somebody else may inherit it.
        want.handed = false;
        if want.attempts == 0 {
            self.objects[slot].wants.remove(worker);
            self.locate(slot, worker);
        }
        if let Some(holder) = from.and_then(|from| self.workers.find(from.0)) {
            self.end_service(slot, holder);
            match reason {
                Unfetched::Gone => self.lose_copy(slot, holder),
                Unfetched::Unreachable => {
                    let (holder, until) = (self.workers[holder].id, self.now + limits::PEER_RETRY_AFTER);
                    self.workers[worker].unreachable.insert(holder, until);
                }
            }
        }
        self.judge_losses(&[slot]);
        self.stir_object(slot);
    }

    /// A worker lost copies, its disk perhaps.
    pub(super) fn on_objects_lost(&mut self, id: WorkerId, objects: &[ObjectId]) {
        let Some(worker) = self.heard(id) else { return };
        for object in objects {
            let Some(slot) = self.find_object(*object) else {
                self.ignored += 1;
                continue;
            };
            self.lose_copy(slot, worker);
            self.judge_losses(&[slot]);
            self.stir_object(slot);
        }
    }

    /// A worker that had an object lacks it: its attempts that need it wait for it.
    pub(super) fn lose_copy(&mut self, object: u32, worker: u32) {
        if self.objects[object].copies.remove(worker).is_none() {
            self.ignored += 1;
            return;
        }
        let id = self.workers[worker].id;
        // It may have it again before they say what they came to.
        let sent = self.objects[object].wants.iter_mut().filter(|want| want.way == Way::Fetching(id));
        sent.for_each(|want| want.way = Way::Astray);
        self.unshow(object, id);
        self.reroute(object, id);
        let attempts = self.attempts_with(self.objects[object].task, worker);
        if attempts > 0 {
            self.objects[object].wants.insert(Want { worker, attempts, way: Way::Waiting, handed: false });
        }
        self.locate(object, worker);
    }

    /// How often attempts in a worker's hands need a value. A million may need it, and the worker may hold as many inputs:
    /// both are looked through side by side until one is at its end.
    fn attempts_with(&self, input: u32, worker: u32) -> u32 {
        let edges = |first: u32| core::iter::successors(self.edges.get(first), |edge| self.edges.get(edge.next));
        let is_wanted = |edge: &Edge| edge.wanted && self.site_of(edge.dependent) == Some(worker);
        let attempts = core::iter::successors(self.tasks.get(self.workers[worker].first), |task| {
            self.tasks.get(task.lease().expect("what a worker lists is assigned").next)
        });
        let needs = |edge: &u32| u32::from(self.edges[*edge].wanted && self.edges[*edge].input == input);
        let held = attempts.map(|task| &task.inputs[..]).chain(self.walks.left_at(&self.tasks, self.site(worker)));
        // Those without inputs take their time as well.
        let mut held = held.flat_map(|edges| core::iter::once(0).chain(edges.iter().map(needs))).fuse();
        let (mut of_input, mut of_worker) = (0, 0);
        for edge in edges(self.tasks[input].dependents) {
            of_input += u32::from(is_wanted(edge));
            match held.next() {
                Some(more) => of_worker += more,
                None => return of_worker,
            }
        }
        of_input
    }

    /// An object has come to a worker or gone from it: it is known there accordingly.
    pub(super) fn locate(&mut self, object: u32, worker: u32) {
        if self.objects[object].is_with(worker) {
            self.workers[worker].objects.insert(object);
        } else {
            self.workers[worker].objects.remove(&object);
        }
    }

    /// A worker is gone, and these objects with it.
    pub(super) fn forget_holder(&mut self, worker: u32, objects: Vec<u32>) {
        let id = self.workers[worker].id;
        for object in &objects {
            if let Some(Way::Fetching(from)) = self.way_of(*object, worker)
                && let Some(holder) = self.workers.find(from.0)
            {
                self.end_service(*object, holder);
            }
            let o = &mut self.objects[*object];
            o.copies.remove(worker);
            o.wants.remove(worker);
            self.unshow(*object, id);
            self.reroute(*object, id);
        }
        self.judge_losses(&objects);
        objects.into_iter().for_each(|object| self.stir_object(object));
    }

    fn way_of(&self, object: u32, worker: u32) -> Option<Way> {
        self.objects[object].wants.get(worker).map(|want| want.way)
    }

    /// What a worker waited for has come. The object's slot.
    fn end_want(&mut self, worker: u32, id: ObjectId) -> Option<u32> {
        let slot = self.find_object(id)?;
        let wants = &mut self.objects[slot].wants;
        let way = wants.get(worker).filter(|want| want.is_coming())?.way;
        wants.remove(worker);
        if let Way::Fetching(from) = way
            && let Some(holder) = self.workers.find(from.0)
        {
            self.end_service(slot, holder);
        }
        Some(slot)
    }

    fn end_service(&mut self, object: u32, holder: u32) {
        if let Some(copy) = self.objects[object].copies.get_mut(holder) {
            copy.serving -= 1;
        }
    }

    /// Sends workers to those who have what they want, and has shown what must go through here: as many objects as this
    /// step may look at.
    pub(super) fn serve_objects(&mut self, actions: &mut Vec<Action>) {
        while self.slice.services > 0
            && let Some(object) = self.stirred_objects.pop_front()
        {
            self.slice.services -= 1;
            let Some(o) = self.objects.get_mut(object) else { continue };
            o.stirred = false;
            if self.tasks[self.objects[object].task].state.is_stored() {
                self.serve(object, actions);
            }
        }
        self.show_objects(actions);
        self.give_objects(actions);
    }

    fn serve(&mut self, object: u32, actions: &mut Vec<Action>) {
        self.route_fetchers(object, actions);
        let Self { objects, workers, now, .. } = self;
        let o = &mut objects[object];
        let (id, task) = (o.id(), o.task);
        let there = o.copies.iter().any(|copy| !workers[copy.worker].gone);
        let (mut given, mut gifts) = (o.given(), Vec::new());
        for want in o.wants.iter_mut().filter(|want| want.way == Way::Waiting && !workers[want.worker].gone) {
            let fetcher = &workers[want.worker];
            let reached = |copy: &&mut Copy| road(fetcher, &workers[copy.worker], *now).is_some();
            if there && o.here.is_none() && !o.copies.iter_mut().any(|copy| reached(&copy)) {
                want.way = Way::Relayed;
                continue;
            }
            let free = o.copies.iter_mut().filter(|copy| copy.serving < limits::OBJECT_SERVES).filter(reached);
            let best =
                free.min_by_key(|copy| (workers[copy.worker].health != Health::Live, copy.serving, copy.turn(task)));
            let Some(copy) = best else {
                if let Some(value) = o.here.as_ref().filter(|_| given < limits::OBJECT_SERVES as usize) {
                    given += 1;
                    want.way = Way::Given;
                    gifts.push((want.worker, value.clone()));
                }
                continue;
            };
            let holder = &workers[copy.worker];
            let Some((at, guest)) = road(fetcher, holder, *now) else { continue };
            copy.serving += 1;
            want.way = Way::Fetching(holder.id);
            actions.push(Action::FetchObject { worker: fetcher.id, object: id, from: holder.id, at, guest });
        }
        let relayed = |want: &Want| want.way == Way::Relayed && !workers[want.worker].gone;
        let through_here =
            o.fetchers.iter().any(|fetcher| fetcher.route == Route::Relayed) || o.wants.iter().any(relayed);
        if through_here && o.show == Show::Idle && there {
            o.show = Show::Listed;
            self.to_show.push_back(object);
        }
        gifts.into_iter().for_each(|(worker, value)| self.send_gift(worker, Gift { object: id, value }));
    }

    fn send_gift(&mut self, worker: u32, gift: Gift) {
        self.held += gift.value.carried();
        self.stir_worker(worker);
        self.workers[worker].gifts.push_back(gift);
    }

    /// Passes a value that was shown on to those who cannot get it otherwise.
    pub(super) fn relay(&mut self, object: u32, value: &Value) {
        let Self { objects, workers, .. } = self;
        let o = &mut objects[object];
        let id = o.id();
        let mut given = Vec::new();
        for want in o.wants.iter_mut().filter(|want| want.way == Way::Relayed && !workers[want.worker].gone) {
            want.way = Way::Given;
            given.push(want.worker);
        }
        for worker in given {
            self.send_gift(worker, Gift { object: id, value: value.clone() });
        }
    }

    /// Sends values on to workers, as far as their credit goes.
    fn give_objects(&mut self, actions: &mut Vec<Action>) {
        for slot in self.stirred_workers() {
            while let Some(gift) = self.workers[slot].gifts.pop_front() {
                let object = self.find_object(gift.object);
                let wanted = object.is_some_and(|object| self.way_of(object, slot) == Some(Way::Given));
                let worker = &mut self.workers[slot];
                let cost = window::cost(gift.value.carried());
                if wanted && !worker.credit.allows(cost) {
                    worker.gifts.push_front(gift);
                    break;
                }
                self.held -= gift.value.carried();
                if wanted {
                    worker.credit.spend(cost);
                    let Gift { object, value } = gift;
                    actions.push(Action::GiveObject { worker: worker.id, object, value });
                }
            }
        }
    }
}
