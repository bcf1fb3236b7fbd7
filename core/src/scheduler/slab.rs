//! Dense tables: where everything that lives in the scheduler has its place.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 1 << 10;
const WORDS: usize = CHUNK / u64::BITS as usize;

/// Items by slot. A slot is used again once its item is gone. The table grows by chunks, so no item ever moves. Those that
/// are empty, but for one, go when the table is told to give memory back: a thousand may lose their last items together.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    /// Of each chunk.
    marks: Vec<Marks>,
    /// The chunk with places that were never used.
    growing: usize,
    /// Chunks with vacant places; those that have none any more are struck off when met.
    vacant: Vec<u32>,
    /// Chunks that are empty, or were; those that are no more are struck off when met.
    empty: Vec<u32>,
    /// Chunks that were let go.
    gone: Vec<u32>,
    live: usize,
}

/// What is known of a chunk.
#[derive(Debug, Default)]
struct Marks {
    live: usize,
    /// Places that were used before, by bit.
    vacant: [u64; WORDS],
    /// In the list of those with vacant places.
    listed: bool,
    /// In the list of those that are empty.
    emptied: bool,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            marks: Vec::new(),
            growing: 0,
            vacant: Vec::new(),
            empty: Vec::new(),
            gone: Vec::new(),
            live: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.live
    }

    pub(super) fn insert(&mut self, item: T) -> u32 {
        self.live += 1;
        let slot = self.vacancy().unwrap_or_else(|| self.grow());
        let (chunk, place) = (slot / CHUNK, slot % CHUNK);
        self.marks[chunk].live += 1;
        match self.chunks[chunk].get_mut(place) {
            Some(vacant) => *vacant = Some(item),
            None => self.chunks[chunk].push(Some(item)),
        }
        u32::try_from(slot).ok().filter(|slot| *slot != NONE).expect("admission keeps tables below 2^32 items")
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        let (chunk, place) = (slot as usize / CHUNK, slot as usize % CHUNK);
        let item = self.chunks[chunk][place].take().expect("only what lives is removed");
        self.live -= 1;
        let marks = &mut self.marks[chunk];
        marks.live -= 1;
        marks.vacant[place / 64] |= 1 << (place % 64);
        if !core::mem::replace(&mut marks.listed, true) {
            self.vacant.push(chunk as u32);
        }
        if marks.live == 0 && chunk != self.growing && !core::mem::replace(&mut marks.emptied, true) {
            self.empty.push(chunk as u32);
        }
        item
    }

    /// Gives the memory of up to so many chunks back, and the rest of the table with the last of them. How many.
    pub(super) fn give_back(&mut self, most: usize) -> usize {
        let count = most.min(self.empty.len().saturating_sub(1));
        for _ in 0..count {
            let Some(chunk) = self.empty.pop().map(|chunk| chunk as usize) else { break };
            self.marks[chunk].emptied = false;
            if self.marks[chunk].live == 0 && chunk != self.growing {
                self.let_go(chunk);
            }
        }
        if self.live == 0 && self.empty.len() < 2 && self.chunks.len() > 1 {
            *self = Self::new();
        }
        count
    }

    /// Whether there is memory to be given back.
    pub(super) fn has_empty(&self) -> bool {
        self.empty.len() > 1
    }

    /// A place that was used before.
    fn vacancy(&mut self) -> Option<usize> {
        while let Some(chunk) = self.vacant.last().map(|chunk| *chunk as usize) {
            let marks = &mut self.marks[chunk];
            if let Some(word) = marks.vacant.iter().position(|word| *word != 0) {
                let bit = marks.vacant[word].trailing_zeros() as usize;
                marks.vacant[word] &= marks.vacant[word] - 1;
                return Some(chunk * CHUNK + word * 64 + bit);
            }
            marks.listed = false;
            self.vacant.pop();
        }
        None
    }

    /// A place that was never used.
    fn grow(&mut self) -> usize {
        if self.chunks.get(self.growing).is_none_or(|chunk| chunk.len() == CHUNK) {
            self.growing = self.gone.pop().map_or(self.chunks.len(), |chunk| chunk as usize);
            if self.growing == self.chunks.len() {
                self.chunks.push(Vec::new());
                self.marks.push(Marks::default());
            }
            if self.chunks.len() > 1 {
                // The first chunk grows as it must; a table that needs a second one gets its memory in one piece.
                self.chunks[self.growing].reserve_exact(CHUNK);
            }
        }
        self.growing * CHUNK + self.chunks[self.growing].len()
    }

    fn let_go(&mut self, chunk: usize) {
        self.chunks[chunk] = Vec::new();
        self.marks[chunk].vacant = [0; WORDS];
        self.gone.push(chunk as u32);
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    /// Every item with its slot, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let items = self.chunks.iter().enumerate().flat_map(|(n, chunk)| (n * CHUNK..).zip(chunk));
        items.filter_map(|(slot, item)| item.as_ref().map(|item| (slot as u32, item)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        self.get(slot).expect("a slot that is held names an item")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.get_mut(slot).expect("a slot that is held names an item")
    }
}

/// Items with ids that peers name: ascending, given by the coordinator, never used again.
#[derive(Debug)]
pub(super) struct Table<T> {
    items: Slab<T>,
    /// Ascending by id.
    slots: Vec<(u32, u32)>,
    next: u32,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self { items: Slab::new(), slots: Vec::new(), next: 0 }
    }

    /// Adds an item under `id`, unless that id was used before.
    pub(super) fn insert(&mut self, id: u32, item: T) -> Option<u32> {
        if id < self.next {
            return None;
        }
        self.next = id.checked_add(1)?;
        let slot = self.items.insert(item);
        self.slots.push((id, slot));
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        self.retire(slot);
        let item = self.items.remove(slot);
        self.items.give_back(1);
        item
    }

    /// Has an item found under its id no more. It keeps its slot until [`Table::bury`].
    pub(super) fn retire(&mut self, slot: u32) {
        self.slots.retain(|(_, s)| *s != slot);
    }

    /// Removes an item that was retired.
    pub(super) fn bury(&mut self, slot: u32) {
        self.items.remove(slot);
        self.items.give_back(1);
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.items.get(slot)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.items.get_mut(slot)
    }

    /// The slot of `id`.
    pub(super) fn find(&self, id: u32) -> Option<u32> {
        if let [(only, slot)] = self.slots[..] {
            return (only == id).then_some(slot);
        }
        self.slots.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| self.slots[at].1)
    }

    /// The first slot whose id is `id` or larger.
    pub(super) fn find_from(&self, id: u32) -> Option<u32> {
        let at = self.slots.partition_point(|(other, _)| *other < id);
        self.slots.get(at).map(|(_, slot)| *slot)
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// The n-th slot by id.
    pub(super) fn slot_at(&self, n: usize) -> u32 {
        self.slots[n].1
    }

    /// Every item with its slot, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().map(|(_, slot)| (*slot, &self.items[*slot]))
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.items[slot]
    }
}

impl<T> IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.items[slot]
    }
}

/// A small set of slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn contains(&self, bit: u32) -> bool {
        self.0.get(bit as usize / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Adds `bit`; false if it was there.
    pub(super) fn insert(&mut self, bit: u32) -> bool {
        let word = bit as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word];
        self.0[word] |= 1 << (bit % 64);
        before != self.0[word]
    }

    /// Everything in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0_u32..)
            .zip(&self.0)
            .flat_map(|(n, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 64 * n + bit))
    }

    /// Takes `bit` out; false if it was not there.
    pub(super) fn remove(&mut self, bit: u32) -> bool {
        let Some(word) = self.0.get_mut(bit as usize / 64) else { return false };
        let before = *word;
        *word &= !(1 << (bit % 64));
        before != *word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_memory_goes_with_the_last_item() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..3_000).map(|n| slab.insert(n)).collect();
        assert_eq!((slab.len(), slab[slots[2_999]]), (3_000, 2_999));
        assert_eq!(slab.remove(7), 7);
        assert_eq!((slab.insert(1), slab.get(9_999)), (7, None));
        for slot in slots {
            slab.remove(slot);
        }
        assert_eq!((slab.len(), slab.has_empty()), (0, true));
        slab.give_back(9);
        assert_eq!((slab.chunks.len(), slab.has_empty()), (0, false));
    }

    #[test]
    fn memory_goes_chunk_by_chunk_and_comes_back_where_it_was() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..5 * CHUNK as u32).map(|n| slab.insert(n)).collect();
        let held = |slab: &Slab<u32>| slab.chunks.iter().filter(|chunk| chunk.capacity() > 0).count();
        for slot in &slots[..4 * CHUNK] {
            slab.remove(*slot);
        }
        assert_eq!(held(&slab), 5);
        slab.give_back(2);
        assert_eq!((held(&slab), slab.has_empty()), (3, true));
        slab.give_back(2);
        assert_eq!((held(&slab), slab.len()), (2, CHUNK));
        assert!(
            slab.iter()
                .map(|(slot, item)| (slot, *item))
                .eq((4 * CHUNK as u32..).zip(slots[4 * CHUNK..].iter().copied()))
        );
        let mut again: Vec<u32> = (0..4 * CHUNK as u32).map(|n| slab.insert(n)).collect();
        again.sort_unstable();
        assert_eq!((again, held(&slab)), (slots[..4 * CHUNK].to_vec(), 5));
    }

    #[test]
    fn ids_are_never_used_twice() {
        let mut table = Table::new();
        assert_eq!((table.insert(3, 'a'), table.insert(3, 'b'), table.insert(1, 'c')), (Some(0), None, None));
        assert_eq!((table.insert(9, 'd'), table.find(9), table.find(4)), (Some(1), Some(1), None));
        assert_eq!((table.remove(0), table.find(3), table.insert(3, 'e')), ('a', None, None));
        table.retire(1);
        assert_eq!((table.find(9), table.len(), table.get(1)), (None, 0, Some(&'d')));
        assert_eq!(table.insert(10, 'f'), Some(0));
        table.bury(1);
        assert_eq!((table.get(1).copied(), table.insert(11, 'g')), (None, Some(1)));
    }
}
