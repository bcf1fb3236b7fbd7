//! Cutting the vectors of a message, so that a control message stays under its limit however long they are.

use super::client::WorkerStatus;
use super::executor::{EntryEnded, ExecutorOrder};
use crate::id::{AttemptId, FunctionId, FunctionKey, ObjectId, Seq};
use crate::outcome::{Delivery, Outcome, Report};
use crate::spec::{Start, TaskSpec};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One item of a vector; those that name many inputs can be cut themselves.
pub(super) trait Item: Sized {
    /// Cuts one item in two; gives it back if it cannot be cut.
    fn cut(self) -> Result<(Self, Self), Self> {
        Err(self)
    }

    /// Whether this is the second part of `first`.
    fn continues(&self, _first: &Self) -> bool {
        false
    }

    /// Takes the second part in.
    fn absorb(&mut self, _rest: Self) {}
}

/// Cuts a vector in the middle, or its only item.
pub(super) fn cut<T: Item>(mut items: Vec<T>) -> Result<(Vec<T>, Vec<T>), Vec<T>> {
    if items.len() > 1 {
        let rest = items.split_off(items.len() / 2);
        return Ok((items, rest));
    }
    match items.pop().map(T::cut) {
        Some(Ok((first, rest))) => Ok((alloc::vec![first], alloc::vec![rest])),
        Some(Err(item)) => Err(alloc::vec![item]),
        None => Err(items),
    }
}

/// Puts the second part of a cut vector behind the first.
pub(super) fn join<T: Item>(items: &mut Vec<T>, rest: Vec<T>) {
    let mut rest = rest.into_iter().peekable();
    if let (Some(last), Some(next)) = (items.last_mut(), rest.peek())
        && next.continues(last)
        && let Some(next) = rest.next()
    {
        last.absorb(next);
    }
    items.extend(rest);
}

impl Item for Seq {}
impl Item for FunctionId {}
impl Item for FunctionKey {}
impl Item for AttemptId {}
impl Item for ObjectId {}
impl Item for Outcome {}
impl Item for Report {}
impl Item for Delivery {}
impl Item for EntryEnded {}
impl Item for WorkerStatus {}

impl Item for TaskSpec {
    fn cut(mut self) -> Result<(Self, Self), Self> {
        if self.inputs.len() < 2 {
            return Err(self);
        }
        let mut inputs = core::mem::take(&mut self.inputs).into_vec();
        let rest = inputs.split_off(inputs.len() / 2);
        let second = Self { args: Value::empty(), inputs: rest.into_boxed_slice(), ..self };
        Ok((Self { inputs: inputs.into_boxed_slice(), ..self }, second))
    }

    fn continues(&self, first: &Self) -> bool {
        self.seq == first.seq
    }

    fn absorb(&mut self, rest: Self) {
        let mut inputs = core::mem::take(&mut self.inputs).into_vec();
        inputs.extend(Box::into_iter(rest.inputs));
        self.inputs = inputs.into_boxed_slice();
    }
}

impl Item for Start {
    fn cut(mut self) -> Result<(Self, Self), Self> {
        if self.inputs.len() < 2 {
            return Err(self);
        }
        let inputs = self.inputs.split_off(self.inputs.len() / 2);
        let request = self.request.clone();
        let second = Self { args: Value::empty(), inputs, request, promised: Vec::new(), ..self };
        Ok((self, second))
    }

    fn continues(&self, first: &Self) -> bool {
        self.attempt == first.attempt
    }

    fn absorb(&mut self, rest: Self) {
        self.inputs.extend(rest.inputs);
    }
}

impl Item for ExecutorOrder {
    fn cut(mut self) -> Result<(Self, Self), Self> {
        if self.inputs.len() < 2 {
            return Err(self);
        }
        let inputs = self.inputs.split_off(self.inputs.len() / 2);
        let second = Self { args: Value::empty(), inputs, part: None, ..self };
        Ok((self, second))
    }

    fn continues(&self, first: &Self) -> bool {
        self.entry == first.entry
    }

    fn absorb(&mut self, rest: Self) {
        self.inputs.extend(rest.inputs);
    }
}
