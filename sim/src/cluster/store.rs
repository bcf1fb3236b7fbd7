//! The simulated stores of workers: what they hold, and how it goes from one to the other.

use super::{Input, State, World};
use crate::agenda::{Happening, Node};
use crate::clock::{MILLI, SECOND};
use crate::network::End;
use crate::options::{Shape, log_uniform};
use crate::probe::probe;
use plait_core::id::{ObjectId, WorkerId};
use plait_core::outcome::{Outcome, Unfetched};
use plait_core::value::Value;
use plait_core::worker::Event;

/// How long a fetch from a machine that does not answer takes to fail.
const PATIENCE: u64 = 12 * SECOND;

impl World {
    /// What was made here stays here.
    pub(super) fn store(&mut self, n: usize, object: ObjectId, value: Value) {
        self.ledger.executions.check_maker(object, &value);
        self.workers[n].store.insert(object, value);
    }

    /// An input as an executor sees it: what is in the store is there for the reading.
    pub(super) fn resolve(&mut self, n: usize, input: &Outcome) -> Outcome {
        let Some(stored) = input.stored() else { return input.clone() };
        let value = self.workers[n].store.get(&stored.object);
        let value = value.unwrap_or_else(|| panic!("worker {n} was to use {}, which it lacks", stored.object));
        self.ledger.executions.check_maker(stored.object, value);
        Outcome::Value(value.clone())
    }

    pub(super) fn fetch(&mut self, n: usize, object: ObjectId, from: WorkerId) {
        let journey = if self.plan.shape == Shape::Embedded { MILLI } else { self.plan.latency + self.plan.jitter };
        let mut wait = 3 * journey + self.rng.below(5 * MILLI);
        if self.rng.chance(self.plan.fetch_trouble, 100) {
            wait += log_uniform(&mut self.rng, MILLI, 3 * SECOND);
        }
        self.fetches += 1;
        let fetch = self.fetches;
        self.workers[n].fetching.insert(object, fetch);
        let life = self.workers[n].machine.life;
        let until = self.now + PATIENCE;
        let happening = Happening::Fetched { worker: n, life, object, from, fetch, until };
        self.agenda.plan(self.now + wait, happening);
    }

    /// A fetch comes to its end, if the machine at the other end answers.
    pub(super) fn on_fetched(&mut self, happening: Happening) {
        let Happening::Fetched { worker: n, life, object, from, fetch, until } = happening else { return };
        let current = self.workers[n].machine.life == life && self.workers[n].fetching.get(&object) == Some(&fetch);
        if !current {
            return;
        }
        let holder = self.stays.get(&from).copied();
        let alive = holder.filter(|(m, life)| self.workers[*m].machine.life == *life);
        let cut =
            |world: &mut Self, m: usize| End::BOTH.iter().any(|end| world.network.is_blocked(Node::Worker(m), *end));
        let silent =
            alive.is_some_and(|(m, _)| self.workers[m].machine.state == State::Paused || cut(self, m) || cut(self, n));
        if silent && self.now < until {
            return self.agenda.plan(self.now + SECOND / 2, happening);
        }
        self.workers[n].fetching.remove(&object);
        let fails = self.rng.chance(self.plan.fetch_trouble, 200);
        let result = match alive {
            Some(_) if silent || fails => Err(Unfetched::Unreachable),
            Some((m, _)) => self.serve_guest(m, object),
            None => Err(Unfetched::Unreachable),
        };
        match result {
            Ok(value) => self.put(n, object, value),
            Err(reason) => {
                probe!("fetch failed");
                self.post(Node::Worker(n), Input::Brain(Event::FetchFailed { object, reason }));
            }
        }
    }

    /// Another worker or a client gets what it came for, unless it is not here, or the disk on which it lies alone has lost it.
    pub(super) fn serve_guest(&mut self, m: usize, object: ObjectId) -> Result<Value, Unfetched> {
        let host = &self.workers[m];
        if host.store.contains_key(&object) || host.disk.get(object).is_none() {
            return host.store.get(&object).cloned().ok_or(Unfetched::Gone);
        }
        if self.rng.chance(self.plan.disk_trouble, 50) {
            probe!("disk lost what another worker came for");
            self.workers[m].disk.drop(object);
            self.post(Node::Worker(m), Input::Brain(Event::ObjectsDamaged { objects: vec![object] }));
            return Err(Unfetched::Gone);
        }
        probe!("object served from disk");
        self.workers[m].disk.get(object).cloned().ok_or(Unfetched::Gone)
    }

    pub(super) fn put(&mut self, n: usize, object: ObjectId, value: Value) {
        let bytes = value.carried();
        self.workers[n].store.insert(object, value);
        self.post(Node::Worker(n), Input::Brain(Event::ObjectArrived { object, bytes }));
    }

    pub(super) fn read(&mut self, n: usize, object: ObjectId) {
        let host = &self.workers[n];
        let (value, on_disk_alone) = (host.held(object).cloned(), !host.store.contains_key(&object));
        let event = if value.is_some() && on_disk_alone && self.rng.chance(self.plan.disk_trouble, 200) {
            probe!("no memory for an object to be shown");
            Event::ReadFailed { object }
        } else {
            Event::ObjectRead { object, value }
        };
        self.post(Node::Worker(n), Input::Brain(event));
    }

    /// Takes objects out of a store; of those on their way nothing is heard any more.
    pub(super) fn drop_objects(&mut self, n: usize, objects: &[ObjectId]) {
        let host = &mut self.workers[n];
        for object in objects {
            host.store.remove(object);
            host.fetching.remove(object);
            host.disk.drop(*object);
        }
        let gone = |input: &Input| match input {
            Input::Brain(
                Event::ObjectArrived { object, .. }
                | Event::ObjectSpilled { object }
                | Event::SpillFailed { object, .. }
                | Event::ObjectRestored { object }
                | Event::RestoreFailed { object },
            ) => objects.contains(object),
            _ => false,
        };
        host.machine.mailbox.retain(|input| !gone(input));
    }
}
