//! Every invariant of objects, worked out from scratch.

use super::Scheduler;
use super::direct::{Fetcher, Route};
use super::input::Edge;
use super::object::{Claim, Object, Origin, Show, Tie};
use super::run::Gather;
use super::slab::NONE;
use super::task::{Role, State};
use super::transfer::{Want, Way};
use super::worker::Worker;
use crate::id::Seq;
use crate::limits;
use crate::outcome::Outcome;
use crate::spec::Retention;
use crate::value::Value;
use alloc::collections::BTreeSet;

impl Scheduler {
    /// Who refers to an object is counted; what is wanted is there, on its way, or being made again; the rest is gone.
    pub(super) fn check_objects(&self) {
        let owners = self.tasks.iter().filter(|(_, task)| task.object != NONE);
        assert_eq!(owners.count(), self.objects.len(), "each object has its task");
        self.objects.iter().for_each(|(slot, object)| self.check_object(slot, object));
        let gone = self.gone.iter().map(|gone| (gone.worker, &self.workers[gone.worker]));
        for (slot, worker) in self.workers.iter().chain(gone) {
            let with = self.objects.iter().filter(|(_, object)| object.is_with(slot)).map(|(object, _)| object);
            assert!(with.eq(worker.objects.iter().copied()), "what is with {} is known", worker.id);
        }
        let kept = self.objects.iter().filter_map(|(_, object)| match object.origin {
            Origin::Kept(bytes) => Some(bytes),
            Origin::Forgotten => None,
        });
        let (tasks, bytes) = kept.fold((0, 0), |(tasks, bytes), more| (tasks + 1, bytes + more));
        assert_eq!((tasks, bytes), (self.origins.tasks, self.origins.bytes), "what is kept of origins");
        assert!(self.recipes.keys().all(|slot| self.tasks[*slot].object != NONE), "a recipe is for an object");
        let asked = self.objects.iter().filter(|(_, object)| matches!(object.show, Show::Asked(_)));
        assert_eq!(
            asked.map(|(_, object)| object.stored().len()).sum::<u64>(),
            self.showing,
            "bytes about to be shown"
        );
    }

    fn check_object(&self, slot: u32, object: &Object) {
        let task = &self.tasks[object.task];
        assert!(task.object == slot && object.id().0.task == task.id, "an object knows its task");
        self.check_references(object);
        self.check_locations(object);
        let retained = match task.role {
            Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } => {
                retention == Retention::Release
            }
            Role::Piece { .. } | Role::Fold { .. } | Role::Made | Role::Past => false,
        };
        let wanted = retained || object.claim == Claim::Open || object.aliases > 0 || object.is_awaited();
        assert!(wanted || task.dependents != NONE, "a record that nobody needs goes");
        assert!(wanted || object.here.is_some() || !object.is_there(), "what nobody wants is dropped");
        assert!(wanted || object.copies.is_empty() && object.wants.is_empty(), "by every worker");
        assert_eq!(object.here.is_some(), matches!(task.role, Role::Put(_)), "what was put is here");
        assert!(object.given() <= limits::OBJECT_SERVES as usize || object.here.is_none(), "few are given it at once");
        assert!(wanted || task.is_done(), "what nobody wants is not made again");
        let turn = self.lost.contains(&object.task) || self.walks.get(object.task).is_some();
        assert!(turn || !object.is_awaited() || !self.is_lost(object.task), "what is awaited and lost is made again");
    }

    /// Who waits for an object is told once, and has been sent where it is.
    fn check_fetchers(&self, object: &Object) {
        let fetchers: BTreeSet<Seq> = object.fetchers.iter().map(|fetcher| fetcher.seq).collect();
        assert_eq!(fetchers.len(), object.fetchers.len(), "who waits for a value is told once");
        let holders = || object.copies.iter().map(|copy| self.workers[copy.worker].id);
        for Fetcher { seq, route } in &object.fetchers {
            let there = !matches!(route, Route::Direct(worker) if holders().all(|holder| holder != *worker));
            assert!(there, "who waits for {seq} is sent to one that has it");
        }
        let key = self.sessions[self.tasks[object.task].session].key;
        let direct = object.fetchers.iter().any(|fetcher| matches!(fetcher.route, Route::Direct(_)));
        assert!(!direct || key.is_some(), "only who has a key is sent to workers");
    }

    /// References, counted from scratch.
    fn check_references(&self, object: &Object) {
        let task = &self.tasks[object.task];
        let (mut needs, mut aliases, mut edge) = (0, 0, task.dependents);
        while edge != NONE {
            needs += u32::from(self.edges[edge].tie == Tie::Need);
            aliases += u32::from(self.edges[edge].tie == Tie::Alias);
            edge = self.edges[edge].next;
        }
        let ours = |value: &&Value| value.stored().is_some_and(|stored| stored.object.0.task == task.id);
        let holds: usize = self
            .runs
            .iter()
            .filter(|(_, run)| run.session == task.session)
            .map(|(_, run)| match &run.gather {
                Gather::Fold(fold) => fold.values().filter(ours).count(),
                Gather::Combine(combine) => combine.outcomes().filter_map(Outcome::value).filter(ours).count(),
            })
            .sum();
        assert_eq!(
            (needs, aliases, holds),
            (object.needs, object.aliases, object.holds as usize),
            "who refers to {}",
            object.id()
        );
    }

    /// Where an object is, and who is on the way to it.
    fn check_locations(&self, object: &Object) {
        if object.is_losing() {
            let nowhere = object.copies.is_empty() && object.here.is_none();
            assert!(nowhere && !object.wants.iter().any(Want::is_coming), "what is being lost is nowhere");
            assert!(self.losses.lists(object.task), "and is lost in turn");
        }
        let stored = self.tasks[object.task].state.is_stored();
        let nowhere = object.copies.is_empty() && !object.wants.iter().any(Want::is_coming);
        assert!(stored || nowhere, "only what is made is somewhere");
        assert!(object.copies.is_in_order() && object.wants.is_in_order(), "by worker");
        let mut workers = BTreeSet::new();
        for copy in object.copies.iter() {
            assert!(workers.insert(copy.worker), "a worker holds an object once");
            let Worker { id, gone, .. } = self.workers[copy.worker];
            let fetching = object.wants.iter().filter(|want| want.way == Way::Fetching(id)).count();
            assert!(gone || copy.serving as usize == fetching, "who fetches is counted");
        }
        for want in object.wants.iter() {
            assert!(workers.insert(want.worker), "a worker wants what it lacks, once");
            assert!(want.has_reason(), "a want has its reason");
        }
        self.check_fetchers(object);
        for want in object.wants.iter() {
            let mut edge = self.tasks[object.task].dependents;
            let mut attempts = 0;
            while edge != NONE {
                let Edge { dependent, wanted, .. } = self.edges[edge];
                attempts += u32::from(wanted && self.site_of(dependent) == Some(want.worker));
                edge = self.edges[edge].next;
            }
            assert_eq!(attempts, want.attempts, "attempts that wait for {} at a worker", object.id());
        }
        if let State::Done(Outcome::Value(_)) = self.tasks[object.task].state
            && object.show == Show::Listed
        {
            assert!(self.to_show.contains(&self.tasks[object.task].object), "who waits to be shown is listed");
        }
    }
}
