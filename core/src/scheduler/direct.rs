//! Clients that go to workers: what is large comes to a client of a coordinator elsewhere straight from a worker that has it.
//!
//! Such a client has introduced itself by its key. It is told where the value it asked for is, and that worker whom to
//! expect. Until it says that it took the value, it waits for it like one to whom the value comes through here: the object
//! stays, and is made again if it is lost. If it cannot get there, it says so and is relayed to. Within one machine, where the
//! relay copies nothing, nobody is sent anywhere.

use super::slab::NONE;
use super::worker::Health;
use super::{Action, Exchange, Scheduler};
use crate::id::{ObjectId, Seq, WorkerId};
use crate::limits;
use crate::outcome::{Notice, Unfetched};
use crate::peer::Fingerprint;
use alloc::vec::Vec;

/// That a client waits for a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetcher {
    /// The task whose value it asked for: that of the object, or an alias.
    pub(super) seq: Seq,
    pub(super) route: Route,
}

/// How a value comes to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// It is not known yet: nobody has it.
    Open,
    /// The client was told to get it from this worker, which has it.
    Direct(WorkerId),
    /// Through here, once it has been shown.
    Relayed,
}

impl Scheduler {
    /// A client has this key. It has one for its life.
    pub(super) fn introduce(&mut self, session: u32, key: Fingerprint) {
        match &mut self.sessions[session].key {
            Some(_) => self.ignored += 1,
            none => *none = Some(key),
        }
    }

    /// Decides how a value comes to those who wait for it, now that workers have it.
    pub(super) fn route_fetchers(&mut self, object: u32, actions: &mut Vec<Action>) {
        let Self { objects, workers, sessions, tasks, config, now, .. } = self;
        let o = &mut objects[object];
        let there = o.copies.iter().any(|copy| !workers[copy.worker].gone);
        if !there || o.fetchers.iter().all(|fetcher| fetcher.route != Route::Open) {
            return;
        }
        let (id, slot) = (o.id(), tasks[o.task].session);
        let session = &mut sessions[slot];
        let handed = session.exchange == Exchange::Memory
            && o.copies
                .iter()
                .any(|copy| workers[copy.worker].exchange == Exchange::Memory && !workers[copy.worker].gone);
        let key = session.key.filter(|_| o.stored().len() >= config.direct_bytes && !handed);
        let open = o.copies.iter().filter_map(|copy| {
            let worker = &workers[copy.worker];
            let shut = session.unreachable.get(&worker.id).is_some_and(|until| *until > *now);
            let live = worker.health == Health::Live && !shut;
            Some(((copy.serving, copy.turn(o.task)), worker.id, worker.offer.peer.filter(|_| live)?))
        });
        let best = open.min_by_key(|(order, ..)| *order);
        let direct = key.and_then(|key| best.map(|(_, worker, at)| (key, worker, at)));
        if let Some((key, worker, _)) = direct {
            actions.push(Action::ExpectClient { worker, object: id, key });
        }
        for fetcher in o.fetchers.iter_mut().filter(|fetcher| fetcher.route == Route::Open) {
            fetcher.route = direct.map_or(Route::Relayed, |(_, worker, _)| Route::Direct(worker));
            session.answers.extend(direct.map(|(.., at)| Notice::Found { seq: fetcher.seq, object: id, at }));
        }
        self.touch(slot);
    }

    /// A client has got a value by itself.
    pub(super) fn take_fetched(&mut self, session: u32, seq: Seq) {
        let Some((object, at)) = self.find_fetcher(session, seq) else {
            self.ignored += 1;
            return;
        };
        self.objects[object].fetchers.remove(at);
        self.settle_claim(object);
        self.sweep();
    }

    /// A client could not get a value from the worker that it was sent to.
    pub(super) fn relay_instead(&mut self, session: u32, seq: Seq, id: ObjectId, reason: Unfetched) {
        let found = self.find_fetcher(session, seq).filter(|(object, _)| self.objects[*object].id() == id);
        let fetcher = found.map(|(object, at)| (object, &mut self.objects[object].fetchers[at]));
        let Some((object, Fetcher { route: route @ Route::Direct(_), .. })) = fetcher else {
            self.ignored += 1;
            return;
        };
        if let (Route::Direct(worker), Unfetched::Unreachable) = (core::mem::replace(route, Route::Relayed), reason) {
            let until = self.now + limits::DIRECT_RETRY_AFTER;
            self.sessions[session].unreachable.insert(worker, until);
        }
        self.stir_object(object);
    }

    /// Nobody holds a future any more: its value need not come.
    pub(super) fn stop_fetching(&mut self, session: u32, seq: Seq) {
        if let Some((object, at)) = self.find_fetcher(session, seq) {
            self.objects[object].fetchers.remove(at);
            self.unwanted.push(self.objects[object].task);
        }
    }

    /// Who was sent to this worker for an object has to be sent elsewhere.
    pub(super) fn reroute(&mut self, object: u32, worker: WorkerId) {
        for fetcher in &mut self.objects[object].fetchers {
            if fetcher.route == Route::Direct(worker) {
                fetcher.route = Route::Open;
            }
        }
    }

    /// The object that a client waits for, and the place of that among those who do.
    fn find_fetcher(&mut self, session: u32, seq: Seq) -> Option<(u32, usize)> {
        let slot = self.sessions[session].index.find(seq)?;
        let object = self.tasks[self.source(slot)].object;
        if object == NONE {
            return None;
        }
        let at = self.objects[object].fetchers.iter().position(|fetcher| fetcher.seq == seq)?;
        Some((object, at))
    }
}
