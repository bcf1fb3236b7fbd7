//! From a task's number in its session to its slot.

use super::slab::{NONE, Slab};
use crate::id::Seq;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::RangeInclusive;

const PAGE: u64 = 256;
const RECENT: u64 = 16;

/// A window over the numbers of one session: pages where tasks live, nothing where none do.
#[derive(Debug)]
pub(super) struct SeqIndex {
    pages: Slab<Box<Page>>,
    order: BTreeMap<u64, u32>,
    /// Pages used lately, by the last digits of their number: numbers come and go in order, so this hits.
    recent: [(u64, u32); RECENT as usize],
}

#[derive(Debug)]
struct Page {
    live: u32,
    slots: [u32; PAGE as usize],
}

impl SeqIndex {
    pub(super) const fn new() -> Self {
        Self { pages: Slab::new(), order: BTreeMap::new(), recent: [(u64::MAX, NONE); RECENT as usize] }
    }

    /// The slot of `seq`, if it lives.
    pub(super) fn find(&mut self, seq: Seq) -> Option<u32> {
        let page = self.page(seq.0 / PAGE)?;
        Some(self.pages[page].slots[(seq.0 % PAGE) as usize]).filter(|slot| *slot != NONE)
    }

    /// The same without remembering the page, for whoever only looks.
    pub(super) fn peek(&self, seq: Seq) -> Option<u32> {
        let page = self.order.get(&(seq.0 / PAGE))?;
        Some(self.pages[*page].slots[(seq.0 % PAGE) as usize]).filter(|slot| *slot != NONE)
    }

    pub(super) fn insert(&mut self, seq: Seq, slot: u32) {
        let number = seq.0 / PAGE;
        let page = match self.page(number) {
            Some(page) => page,
            None => {
                let page = self.pages.insert(Box::new(Page { live: 0, slots: [NONE; PAGE as usize] }));
                self.order.insert(number, page);
                page
            }
        };
        let page = &mut self.pages[page];
        let place = &mut page.slots[(seq.0 % PAGE) as usize];
        assert!(*place == NONE, "each number is used once");
        *place = slot;
        page.live += 1;
    }

    pub(super) fn remove(&mut self, seq: Seq) {
        let number = seq.0 / PAGE;
        let slot = self.page(number).expect("what is removed was inserted");
        let page = &mut self.pages[slot];
        page.slots[(seq.0 % PAGE) as usize] = NONE;
        page.live -= 1;
        if page.live == 0 {
            self.pages.remove(slot);
            self.pages.give_back(1);
            self.order.remove(&number);
            self.recent[(number % RECENT) as usize] = (u64::MAX, NONE);
        }
    }

    /// The slots of all tasks in `range`, in order.
    pub(super) fn range(&self, range: RangeInclusive<Seq>) -> impl Iterator<Item = u32> {
        let (first, last) = (range.start().0, range.end().0);
        let pages = self.order.range(first / PAGE..=last / PAGE);
        pages.flat_map(move |(number, page)| {
            let slots = (0_u64..).zip(&self.pages[*page].slots);
            let within = move |at: u64| (first..=last).contains(&(number * PAGE + at));
            slots.filter(move |(at, slot)| **slot != NONE && within(*at)).map(|(_, slot)| *slot)
        })
    }

    /// The slots of all tasks before `end`, from the last to the first.
    pub(super) fn before(&self, end: Seq) -> impl Iterator<Item = u32> {
        let pages = self.order.range(..=end.0 / PAGE).rev();
        pages.flat_map(move |(number, page)| {
            let slots = self.pages[*page].slots.iter().enumerate().rev();
            let before = move |at: usize| number * PAGE + (at as u64) < end.0;
            slots.filter(move |(at, slot)| **slot != NONE && before(*at)).map(|(_, slot)| *slot)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The slots of all tasks, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        self.range(Seq(0)..=Seq(u64::MAX))
    }

    fn page(&mut self, number: u64) -> Option<u32> {
        let recent = &mut self.recent[(number % RECENT) as usize];
        if recent.0 == number && recent.1 != NONE {
            return Some(recent.1);
        }
        let page = *self.order.get(&number)?;
        *recent = (number, page);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn far_numbers_cost_a_page_each_and_leave_nothing() {
        let mut index = SeqIndex::new();
        let seqs = [Seq(0), Seq(255), Seq(256), Seq(1 << 40), Seq(u64::MAX >> 1), Seq::internal(0), Seq(u64::MAX)];
        seqs.iter().zip(0..).for_each(|(seq, slot)| index.insert(*seq, slot));
        assert_eq!(index.all().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(index.range(Seq(255)..=Seq(1 << 40)).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(index.before(Seq(1 << 40)).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!((index.find(Seq(256)), index.find(Seq(257)), index.find(Seq(1 << 50))), (Some(2), None, None));
        seqs.iter().for_each(|seq| index.remove(*seq));
        assert_eq!((index.pages.len(), index.find(Seq(0)), index.all().next()), (0, None, None));
    }
}
