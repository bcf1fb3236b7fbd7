//! Values: opaque bytes from one Python to another.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pickled object: the pickle-5 stream, then its out-of-band buffers. Never looked into outside Python.
///
/// Cloning shares the bytes. In an encoded message a value is only its lengths: the bytes travel behind the control
/// message and are put back by [`Value::attach`], so payload never passes through the codec.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    One(Bytes),
    Rare(Box<Rare>),
}

/// What is seldom seen, behind a box so that the common case stays small.
#[derive(Clone, PartialEq, Eq)]
enum Rare {
    Many(Vec<Bytes>),
    /// Decoded, its bytes not attached yet.
    Announced(Vec<u64>),
    /// The same with one segment: by far the most frequent, and without a vector.
    AnnouncedOne(u64),
}

impl Value {
    /// A value of no bytes at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Repr::One(Bytes::new()))
    }

    /// A value made of `segments`, in order.
    #[must_use]
    pub fn from_segments(mut segments: Vec<Bytes>) -> Self {
        match segments.len() {
            0 => Self::empty(),
            1 => Self(Repr::One(segments.swap_remove(0))),
            _ => Self(Repr::Rare(Box::new(Rare::Many(segments)))),
        }
    }

    /// Its segments, in order; none while they are only announced.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        match &self.0 {
            Repr::One(segment) => core::slice::from_ref(segment),
            Repr::Rare(rare) => match &**rare {
                Rare::Many(segments) => segments,
                Rare::Announced(_) | Rare::AnnouncedOne(_) => &[],
            },
        }
    }

    /// Total bytes, announced or present.
    #[must_use]
    pub fn len(&self) -> u64 {
        let announced = self.announced().iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        announced.saturating_add(self.segments().iter().map(|s| s.len() as u64).sum())
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lengths that a decoded value still waits for; empty once it is whole.
    #[must_use]
    pub fn announced(&self) -> &[u64] {
        match &self.0 {
            Repr::Rare(rare) => match &**rare {
                Rare::Announced(lengths) => lengths,
                Rare::AnnouncedOne(length) => core::slice::from_ref(length),
                Rare::Many(_) => &[],
            },
            Repr::One(_) => &[],
        }
    }

    /// Fills an announced value: asks `next` for each length in turn. `None` from it leaves the value as it was.
    pub fn attach(&mut self, mut next: impl FnMut(u64) -> Option<Bytes>) -> Option<()> {
        let Repr::Rare(rare) = &self.0 else { return Some(()) };
        *self = match &**rare {
            Rare::Many(_) => return Some(()),
            Rare::AnnouncedOne(length) => next(*length)?.into(),
            Rare::Announced(lengths) => {
                Self::from_segments(lengths.iter().map(|length| next(*length)).collect::<Option<Vec<_>>>()?)
            }
        };
        Some(())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::One(bytes))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.announced().is_empty() {
            serializer.collect_seq(self.segments().iter().map(|s| s.len() as u64))
        } else {
            serializer.collect_seq(self.announced())
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let announced = deserializer.deserialize_seq(Lengths)?;
        Ok(Self(Repr::Rare(Box::new(announced))))
    }
}

/// Reads the lengths of a value's segments.
struct Lengths;

impl<'de> Visitor<'de> for Lengths {
    type Value = Rare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lengths of a value's segments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Rare, A::Error> {
        let Some(first) = sequence.next_element()? else { return Ok(Rare::Announced(Vec::new())) };
        let Some(second) = sequence.next_element()? else { return Ok(Rare::AnnouncedOne(first)) };
        let mut lengths = alloc::vec![first, second];
        while let Some(length) = sequence.next_element()? {
            lengths.push(length);
        }
        Ok(Rare::Announced(lengths))
    }
}

const _: () = assert!(size_of::<Value>() <= 32, "a value is held per task and must stay small");

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn attach_fills_in_order_and_refuses_a_shortage() {
        let whole = Value::from_segments(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cde")]);
        let mut value = Value(Repr::Rare(Box::new(Rare::Announced(vec![2, 3]))));
        assert_eq!((value.len(), value.segments().len()), (5, 0));
        assert!(value.attach(|_| None).is_none());
        let mut rest = Bytes::from_static(b"abcde");
        value.attach(|n| Some(rest.split_to(n as usize))).expect("five bytes are there");
        assert_eq!(value, whole);
    }
}
