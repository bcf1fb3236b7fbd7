//! The functions that the coordinator told, and which executor knows which.

use crate::id::{FunctionId, FunctionKey, SessionId};
use crate::spec::FunctionSpec;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A function's place in the table; used again once neither the coordinator nor an attempt refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FunctionSlot(u32);

impl FunctionSlot {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Function {
    session: SessionId,
    spec: FunctionSpec,
    /// Attempts held that need it.
    uses: usize,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Known,
    /// No task needs it, or its session is over: it goes with the last attempt.
    Forgotten,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Functions {
    slots: Vec<Option<Function>>,
    free: Vec<FunctionSlot>,
    by_key: BTreeMap<FunctionKey, FunctionSlot>,
    /// The last one asked for: mostly also the next.
    recent: Option<(FunctionKey, FunctionSlot)>,
}

impl Functions {
    /// Remembers a function; one that is known already stays what it was.
    pub(super) fn define(&mut self, session: SessionId, spec: FunctionSpec) {
        let key = FunctionKey { session, function: spec.id };
        if self.by_key.contains_key(&key) {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            FunctionSlot(u32::try_from(self.slots.len() - 1).expect("sessions are bounded far below"))
        });
        self.slots[slot.index()] = Some(Function { session, spec, uses: 0, standing: Standing::Known });
        self.by_key.insert(key, slot);
    }

    /// Finds a function for an attempt, which must let it go in the end.
    pub(super) fn hold(&mut self, session: SessionId, function: FunctionId) -> Option<FunctionSlot> {
        let key = FunctionKey { session, function };
        let slot = match self.recent {
            Some((recent, slot)) if recent == key => slot,
            _ => *self.by_key.get(&key)?,
        };
        self.recent = Some((key, slot));
        self.get_mut(slot).uses += 1;
        Some(slot)
    }

    /// One more attempt needs it.
    pub(super) fn share(&mut self, slot: FunctionSlot) {
        self.get_mut(slot).uses += 1;
    }

    /// An attempt needs it no more. Its name, if nothing does and its slot may be used again.
    pub(super) fn let_go(&mut self, slot: FunctionSlot) -> Option<FunctionKey> {
        let function = self.get_mut(slot);
        function.uses -= 1;
        (function.uses == 0 && function.standing == Standing::Forgotten).then(|| self.free(slot))
    }

    /// No task needs a function any more. Its slot, if no attempt does either and the slot may be used again.
    pub(super) fn forget(&mut self, key: FunctionKey) -> Option<FunctionSlot> {
        self.recent = None;
        let slot = self.by_key.remove(&key)?;
        let function = self.get_mut(slot);
        function.standing = Standing::Forgotten;
        if function.uses > 0 {
            return None;
        }
        self.free(slot);
        Some(slot)
    }

    /// A session is over. Returns the slots of its functions, known, used or neither by now.
    pub(super) fn forget_session(&mut self, session: SessionId) -> Vec<FunctionSlot> {
        self.recent = None;
        let slots = (0..).map(FunctionSlot).zip(&self.slots);
        let of_session = slots.filter(|(_, function)| function.as_ref().is_some_and(|f| f.session == session));
        let gone: Vec<_> = of_session.map(|(slot, _)| slot).collect();
        for slot in &gone {
            let function = self.get_mut(*slot);
            function.standing = Standing::Forgotten;
            let (key, uses) = (FunctionKey { session, function: function.spec.id }, function.uses);
            self.by_key.remove(&key);
            if uses == 0 {
                self.free(*slot);
            }
        }
        gone
    }

    /// Sessions with a function here, in order.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<_> = self.slots.iter().flatten().map(|function| function.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    pub(super) fn get(&self, slot: FunctionSlot) -> (SessionId, &FunctionSpec) {
        let function = self.slots[slot.index()].as_ref().expect("a slot lives as long as it is held");
        (function.session, &function.spec)
    }

    fn get_mut(&mut self, slot: FunctionSlot) -> &mut Function {
        self.slots[slot.index()].as_mut().expect("a slot lives as long as it is held")
    }

    fn free(&mut self, slot: FunctionSlot) -> FunctionKey {
        let function = self.slots[slot.index()].take().expect("a slot is freed once");
        self.free.push(slot);
        FunctionKey { session: function.session, function: function.spec.id }
    }

    /// Panics unless `uses` are the uses counted from scratch.
    pub(super) fn check(&self, uses: impl Iterator<Item = FunctionSlot>) {
        let mut counted = alloc::vec![0; self.slots.len()];
        uses.for_each(|slot| counted[slot.index()] += 1);
        for (function, counted) in self.slots.iter().zip(counted) {
            assert_eq!(function.as_ref().map_or(0, |f| f.uses), counted, "uses of a function are counted");
            assert!(
                function.as_ref().is_none_or(|f| f.standing == Standing::Known || f.uses > 0),
                "what is gone is free"
            );
        }
        assert_eq!(self.slots.iter().filter(|slot| slot.is_none()).count(), self.free.len());
        let named = |(key, slot): (&FunctionKey, &FunctionSlot)| {
            self.slots[slot.index()]
                .as_ref()
                .is_some_and(|f| f.session == key.session && f.spec.id == key.function && f.standing == Standing::Known)
        };
        assert!(self.by_key.iter().all(named), "a name stands for what is known");
    }
}

/// Which functions an executor has been told: one bit per slot.
#[derive(Debug, Default)]
pub(super) struct Mirror(Vec<u64>);

impl Mirror {
    pub(super) fn knows(&self, slot: FunctionSlot) -> bool {
        self.0.get(slot.index() / 64).is_some_and(|word| word >> (slot.index() % 64) & 1 == 1)
    }

    pub(super) fn learn(&mut self, slot: FunctionSlot) {
        if self.0.len() <= slot.index() / 64 {
            self.0.resize(slot.index() / 64 + 1, 0);
        }
        self.0[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    /// Whether it knew it.
    pub(super) fn unlearn(&mut self, slot: FunctionSlot) -> bool {
        let knew = self.knows(slot);
        if knew {
            self.0[slot.index() / 64] &= !(1 << (slot.index() % 64));
        }
        knew
    }

    pub(super) fn is_blank(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}
