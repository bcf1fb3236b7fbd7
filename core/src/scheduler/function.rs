//! The functions of a session: which are known, who needs them, which workers have them, and when they go.
//!
//! A function is held while its client may still name it, and while a task that is not over calls it; a run needs none
//! of its own, for its result is such a task. Then it goes, and the workers that have it are told. Numbers ascend and
//! none is used twice, so what is late or repeated never meets another function.

use super::request::Misbehaved;
use super::session::Link;
use super::slab::Bits;
use super::{Action, Scheduler};
use crate::id::{FunctionId, FunctionKey};
use crate::limits;
use crate::spec::{Call, FunctionSpec, PythonVersion};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Numbers are dense; a client may run ahead of itself by this much, not more.
const ID_GAP: u32 = 1_024;

/// A function and the workers that have it.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) spec: FunctionSpec,
    pub(super) known_at: Bits,
    /// Tasks that call it and are not over, or may have to run again; one that calls it twice counts twice.
    uses: u64,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The client may name it.
    Named,
    /// It goes with its last use.
    Released,
}

/// The table of one session; no larger than what lives in it.
#[derive(Debug, Default)]
pub(super) struct Functions {
    known: BTreeMap<FunctionId, Function>,
    /// One more than the largest number so far.
    next: u32,
}

impl Functions {
    /// Adds a function. False if its number was used before.
    fn define(&mut self, spec: FunctionSpec) -> Result<bool, Misbehaved> {
        let id = spec.id;
        if id.0 < self.next {
            return Ok(false);
        }
        if id.0 - self.next >= ID_GAP || self.known.len() as u64 >= limits::SESSION_FUNCTIONS_MOST {
            return Err(Misbehaved);
        }
        // The last number of all is left unused: there is no next one.
        self.next = id.0.checked_add(1).ok_or(Misbehaved)?;
        self.known.insert(id, Function { spec, known_at: Bits::default(), uses: 0, standing: Standing::Named });
        Ok(true)
    }

    pub(super) fn get(&self, id: FunctionId) -> Option<&Function> {
        self.known.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: FunctionId) -> Option<&mut Function> {
        self.known.get_mut(&id)
    }

    /// The Python that a function needs, if the client may name it.
    fn python(&self, id: FunctionId) -> Result<Option<PythonVersion>, Misbehaved> {
        let named = self.get(id).filter(|function| function.standing == Standing::Named);
        named.map(|function| function.spec.python).ok_or(Misbehaved)
    }

    fn hold(&mut self, id: FunctionId) {
        self.known.get_mut(&id).expect("what is accepted calls what is known").uses += 1;
    }

    /// A task that called it is over. The function, if that was the last one.
    fn let_go(&mut self, id: FunctionId) -> Option<Function> {
        let function = self.known.get_mut(&id).expect("what is used is known");
        function.uses -= 1;
        if function.is_needed() { None } else { self.known.remove(&id) }
    }

    /// The client will not name it again. The function, if nothing uses it.
    fn release(&mut self, id: FunctionId) -> Release {
        match self.known.get_mut(&id) {
            Some(function) if function.standing == Standing::Named => {
                function.standing = Standing::Released;
                if function.is_needed() { Release::Later } else { Release::Now(self.known.remove(&id)) }
            }
            Some(_) | None => Release::Late,
        }
    }

    /// Takes one out; its session is over.
    pub(super) fn pop(&mut self) -> Option<Function> {
        self.known.pop_first().map(|(_, function)| function)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Function> {
        self.known.values()
    }

    /// Those from one on, in order.
    pub(super) fn from(&mut self, id: FunctionId) -> impl Iterator<Item = (FunctionId, &mut Function)> {
        self.known.range_mut(id..).map(|(id, function)| (*id, function))
    }

    /// Panics unless the uses counted from scratch are those that are kept.
    pub(super) fn check(&self, uses: impl Iterator<Item = FunctionId>) {
        let mut counted = BTreeMap::<FunctionId, u64>::new();
        uses.for_each(|id| *counted.entry(id).or_default() += 1);
        for (id, function) in &self.known {
            assert!(*id == function.spec.id && id.0 < self.next, "functions have numbers that were given out");
            assert_eq!(counted.remove(id).unwrap_or(0), function.uses, "uses of {id} are counted");
            assert!(function.is_needed(), "{id} is needed");
        }
        assert!(counted.is_empty(), "what is used is known: {counted:?}");
    }
}

/// What a release came to.
enum Release {
    Now(Option<Function>),
    /// Something still uses it.
    Later,
    /// It is not known, or released already.
    Late,
}

impl Function {
    fn is_needed(&self) -> bool {
        self.uses > 0 || self.standing == Standing::Named
    }
}

/// The functions that a task calls: its own and the one that merges its values.
pub(super) fn called(function: FunctionId, call: Call) -> impl Iterator<Item = FunctionId> {
    let merge = if let Call::ChunkFold { merge, .. } = call { Some(merge) } else { None };
    [Some(function), merge].into_iter().flatten()
}

impl Scheduler {
    pub(super) fn define_function(&mut self, slot: u32, spec: FunctionSpec) -> Result<(), Misbehaved> {
        if spec.body.stored().is_some() {
            return Err(Misbehaved);
        }
        let bytes = spec.body.carried();
        if self.sessions[slot].functions.define(spec)? {
            self.held += bytes;
        } else {
            self.ignored += 1;
        }
        Ok(())
    }

    /// The client will not name these again.
    pub(super) fn release_functions(&mut self, slot: u32, functions: &[FunctionId]) {
        for id in functions {
            match self.sessions[slot].functions.release(*id) {
                Release::Now(function) => function.into_iter().for_each(|gone| self.forget_function(slot, &gone)),
                Release::Later => {}
                Release::Late => self.ignored += 1,
            }
        }
    }

    /// The Python that a call needs, all its functions taken together.
    pub(super) fn call_python(
        &self,
        session: u32,
        function: FunctionId,
        call: Call,
    ) -> Result<Option<PythonVersion>, Misbehaved> {
        let functions = &self.sessions[session].functions;
        let python = functions.python(function)?;
        let Call::ChunkFold { merge, .. } = call else { return Ok(python) };
        let merge = functions.python(merge)?;
        if python.is_some() && merge.is_some() && python != merge {
            return Err(Misbehaved);
        }
        Ok(python.or(merge))
    }

    /// A new task calls these.
    pub(super) fn hold_functions(&mut self, session: u32, function: FunctionId, call: Call) {
        let functions = &mut self.sessions[session].functions;
        called(function, call).for_each(|id| functions.hold(id));
    }

    /// A task is over: what only it needed goes.
    pub(super) fn let_functions_go(&mut self, session: u32, function: FunctionId, call: Call) {
        for id in called(function, call) {
            if let Some(gone) = self.sessions[session].functions.let_go(id) {
                self.forget_function(session, &gone);
            }
        }
    }

    /// Nothing needs a function any more: those who have it hear of it at the end of this step.
    fn forget_function(&mut self, session: u32, gone: &Function) {
        self.held -= gone.spec.body.carried();
        if self.sessions[session].link == Link::Left {
            // Its workers forget all of the session at once.
            return;
        }
        let key = FunctionKey { session: self.sessions[session].id, function: gone.spec.id };
        for worker in gone.known_at.iter().filter(|worker| !self.workers[*worker].gone).collect::<Vec<_>>() {
            self.stir_worker(worker);
            self.workers[worker].forgets.push(key);
        }
    }

    /// Tells workers which functions may go.
    pub(super) fn flush_forgets(&mut self, actions: &mut Vec<Action>) {
        for slot in self.stirred_workers() {
            let worker = &mut self.workers[slot];
            for functions in worker.forgets.chunks(limits::BATCH_ITEMS) {
                actions.push(Action::ForgetFunctions { worker: worker.id, functions: functions.to_vec() });
            }
            worker.forgets.clear();
        }
    }
}
