//! What clients ask to have: a value that is with workers is shown to the coordinator and told inline, unless its client
//! can get it there (see `direct`).

use super::direct::{Fetcher, Route};
use super::object::{Claim, Object, Show};
use super::slab::NONE;
use super::task::State;
use super::worker::Health;
use super::{Action, Exchange, Scheduler};
use crate::id::{ObjectId, Seq, WorkerId};
use crate::outcome::{Failure, Notice, Outcome};
use crate::value::Value;
use crate::window;
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Scheduler {
    /// A client wants the value of a task that it was told is over.
    pub(super) fn fetch(&mut self, session: u32, seq: Seq) {
        let found = self.sessions[session].index.find(seq).map(|slot| self.source(slot));
        let over = found.filter(|slot| self.tasks[*slot].is_done() || self.tasks[*slot].object != NONE);
        let Some(slot) = over else {
            self.ignored += 1;
            let failure = Failure::Unknown("its value is not held here".into());
            return self.answer(session, seq, Outcome::Failed(Box::new(failure)));
        };
        let task = &self.tasks[slot];
        match &task.state {
            State::Done(outcome) if task.object == NONE => self.answer(session, seq, outcome.clone()),
            State::Done(_) | State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => {
                let object = task.object;
                let fetchers = &mut self.objects[object].fetchers;
                // However often it asks, it is told once.
                if fetchers.iter().all(|fetcher| fetcher.seq != seq) {
                    fetchers.push(Fetcher { seq, route: Route::Open });
                }
                self.answer_fetchers(object);
                self.remake(slot);
                self.stir_object(object);
            }
        }
        self.sweep();
    }

    /// Tells those who wait for a value, if it is here.
    pub(super) fn answer_fetchers(&mut self, object: u32) {
        let o = &self.objects[object];
        let outcome = match &self.tasks[o.task].state {
            State::Done(Outcome::Value(value)) if value.stored().is_some() => o.here.clone().map(Outcome::Value),
            State::Done(outcome) => Some(outcome.clone()),
            State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => None,
        };
        if let Some(outcome) = outcome {
            self.answer_those(object, &outcome, |_| true);
        }
    }

    /// Tells a value to those who wait for it on these routes.
    fn answer_those(&mut self, object: u32, outcome: &Outcome, whom: impl Fn(Route) -> bool) {
        let o = &mut self.objects[object];
        let (told, others) = core::mem::take(&mut o.fetchers).into_iter().partition(|fetcher| whom(fetcher.route));
        o.fetchers = others;
        let (session, told): (u32, Vec<Fetcher>) = (self.tasks[o.task].session, told);
        if !told.is_empty() {
            self.settle_claim(object);
        }
        for Fetcher { seq, .. } in told {
            self.answer(session, seq, outcome.clone());
        }
    }

    /// A client has a value, or is about to have it.
    pub(super) fn settle_claim(&mut self, object: u32) {
        let o = &mut self.objects[object];
        o.claim = Claim::Settled;
        self.unwanted.push(o.task);
    }

    fn answer(&mut self, session: u32, seq: Seq, outcome: Outcome) {
        self.sessions[session].answers.push(Notice::Fetched { seq, outcome });
        self.touch(session);
    }

    /// Has objects shown, as many as there is room for and this step may look at; without any on its way, one in any case.
    pub(super) fn show_objects(&mut self, actions: &mut Vec<Action>) {
        while self.slice.services > 0
            && let Some(object) = self.to_show.front().copied()
        {
            self.slice.services -= 1;
            let listed = self.objects.get(object).filter(|o| o.show == Show::Listed);
            let Some((o, worker)) = listed.and_then(|o| Some((o, self.best_holder(o)?))) else {
                self.to_show.pop_front();
                self.await_copy(object);
                continue;
            };
            let size = o.stored().len();
            let room = self.config.held_bytes_limit.saturating_sub(self.held_bytes());
            if self.showing > 0 && self.showing.saturating_add(size) > room {
                return;
            }
            self.to_show.pop_front();
            actions.push(Action::ShowObject { worker, object: o.id() });
            self.objects[object].show = Show::Asked(worker);
            self.showing = self.showing.saturating_add(size);
        }
    }

    /// Who is to show an object, of those that have it.
    fn best_holder(&self, object: &Object) -> Option<WorkerId> {
        let there = object.copies.iter().filter(|copy| !self.workers[copy.worker].gone);
        let best = there.min_by_key(|copy| {
            let worker = &self.workers[copy.worker];
            (worker.health != Health::Live, worker.exchange != Exchange::Memory, copy.serving, copy.turn(object.task))
        });
        best.map(|copy| self.workers[copy.worker].id)
    }

    /// An object that waits to be shown has lost its copies: it is listed again once one is somewhere.
    fn await_copy(&mut self, object: u32) {
        if let Some(o) = self.objects.get_mut(object).filter(|o| o.show == Show::Listed) {
            o.show = Show::Idle;
        }
    }

    /// A worker shows an object, or says that it does not have it.
    pub(super) fn on_object_shown(&mut self, id: WorkerId, object: ObjectId, value: Option<Value>) {
        let Some(worker) = self.heard(id) else { return };
        let carried = value.as_ref().map_or(0, Value::carried);
        self.workers[worker].owed.take(window::cost(carried));
        let asked = self.find_object(object).filter(|slot| self.objects[*slot].show == Show::Asked(id));
        let Some(slot) = asked else {
            self.ignored += 1;
            return;
        };
        self.unask(slot);
        match value.filter(|value| value.stored().is_none() && value.carried() == self.objects[slot].stored().len()) {
            Some(value) => {
                self.relay(slot, &value);
                // It comes straight to those who were sent for it.
                self.answer_those(slot, &Outcome::Value(value), |route| !matches!(route, Route::Direct(_)));
            }
            None => {
                self.lose_copy(slot, worker);
                self.judge_losses(&[slot]);
            }
        }
        self.stir_object(slot);
        self.sweep();
    }

    /// Nobody is waited for any more to show an object.
    pub(super) fn unask(&mut self, object: u32) {
        let o = &mut self.objects[object];
        if let Show::Asked(_) = core::mem::replace(&mut o.show, Show::Idle) {
            self.showing -= o.stored().len();
        }
    }

    /// The same, if it was this worker.
    pub(super) fn unshow(&mut self, object: u32, worker: WorkerId) {
        if self.objects[object].show == Show::Asked(worker) {
            self.unask(object);
        }
    }
}
