//! What an object keeps of each of its workers, a thousand perhaps: found by the worker's slot, without looking at others.

use alloc::vec::{self, Vec};

/// Something that there is once for a worker.
pub(super) trait OfWorker {
    fn worker(&self) -> u32;
}

/// Such things, in the order of their workers' slots.
#[derive(Debug)]
pub(super) struct ByWorker<T>(Vec<T>);

impl<T: OfWorker> ByWorker<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(one: Option<T>) -> Self {
        Self(one.into_iter().collect())
    }

    fn find(&self, worker: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&worker, T::worker)
    }

    pub(super) fn is_in_order(&self) -> bool {
        self.0.is_sorted_by_key(T::worker)
    }

    pub(super) fn contains(&self, worker: u32) -> bool {
        self.find(worker).is_ok()
    }

    pub(super) fn get(&self, worker: u32) -> Option<&T> {
        self.find(worker).ok().map(|at| &self.0[at])
    }

    pub(super) fn get_mut(&mut self, worker: u32) -> Option<&mut T> {
        self.find(worker).ok().map(|at| &mut self.0[at])
    }

    /// Puts it where there is none of its worker.
    pub(super) fn insert(&mut self, new: T) {
        let at = self.find(new.worker()).expect_err("there is one of a worker");
        self.0.insert(at, new);
    }

    pub(super) fn remove(&mut self, worker: u32) -> Option<T> {
        self.find(worker).ok().map(|at| self.0.remove(at))
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> vec::IntoIter<T> {
        core::mem::take(&mut self.0).into_iter()
    }
}
