//! Values: opaque bytes from one Python to another, or where such bytes are.

use crate::id::ObjectId;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pickled object: the pickle-5 stream, then its out-of-band buffers. Never looked into but by Python and its binding.
///
/// It carries its bytes, or refers to an object in the stores of workers. Cloning shares the bytes; a few lie in the
/// value itself, and nothing is allocated for them. In an encoded message a value is only its lengths: the bytes travel
/// behind the control message and are put back by [`Value::attach`], so payload never passes through the codec.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Repr);

/// Bytes that a value holds in place.
const IN_PLACE: usize = 22;

/// Each content has one form: one segment of up to [`IN_PLACE`] bytes is always in place.
#[derive(Clone, PartialEq, Eq)]
enum Repr {
    One(Bytes),
    // One variant for all else, so that it fits beside a pointer of `Bytes` that is never null.
    Other(Other),
}

#[derive(Clone, PartialEq, Eq)]
enum Other {
    /// So many of these bytes; the rest is zero.
    InPlace(u8, [u8; IN_PLACE]),
    /// Decoded, its one segment not attached yet.
    AnnouncedOne(u64),
    Rare(Arc<Rare>),
}

/// What is seldom seen, behind a pointer so that the common case stays small. Shared by its clones: as many values may refer to
/// one object as there are tasks.
#[derive(Clone, PartialEq, Eq)]
enum Rare {
    Many(Vec<Bytes>),
    /// Decoded, its bytes not attached yet.
    Announced(Vec<u64>),
    Stored(Stored),
}

/// A reference to an object in the stores of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Which object.
    pub object: ObjectId,
    /// The lengths of its segments.
    pub lengths: Box<[u64]>,
}

impl Stored {
    /// Bytes of the object.
    #[must_use]
    pub fn len(&self) -> u64 {
        sum(&self.lengths)
    }

    /// Whether the object has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// A value of no bytes at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Repr::Other(Other::InPlace(0, [0; IN_PLACE])))
    }

    /// A value of one segment that is copied from `bytes`.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        let mut place = [0; IN_PLACE];
        let Some(part) = place.get_mut(..bytes.len()) else { return Self(Repr::One(Bytes::copy_from_slice(bytes))) };
        part.copy_from_slice(bytes);
        Self(Repr::Other(Other::InPlace(bytes.len() as u8, place)))
    }

    /// A value made of `segments`, in order.
    #[must_use]
    pub fn from_segments(mut segments: Vec<Bytes>) -> Self {
        match segments.len() {
            0 => Self::empty(),
            1 => segments.swap_remove(0).into(),
            _ => Rare::Many(segments).into(),
        }
    }

    /// The object to which it refers, if it does not carry its bytes itself.
    #[must_use]
    pub fn stored(&self) -> Option<&Stored> {
        match self.rare() {
            Some(Rare::Stored(stored)) => Some(stored),
            _ => None,
        }
    }

    /// Its segments, in order; none while they are only announced, or if they are elsewhere.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let (place, shared) = (self.in_place(), self.shared());
        let count = usize::from(place.is_some()) + shared.len();
        (0..count).map(move |n| place.unwrap_or_else(|| &shared[n]))
    }

    /// Its one segment, if there is exactly one.
    #[must_use]
    pub fn only_segment(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::One(segment) => Some(segment),
            Repr::Other(_) => self.in_place(),
        }
    }

    /// Its segments as they are shared: none of a value that is held in place.
    #[must_use]
    pub fn shared(&self) -> &[Bytes] {
        match (&self.0, self.rare()) {
            (Repr::One(segment), _) => core::slice::from_ref(segment),
            (_, Some(Rare::Many(segments))) => segments,
            (_, Some(Rare::Announced(_) | Rare::Stored(_)) | None) => &[],
        }
    }

    /// Its segments to keep, in order; none while they are only announced, or if they are elsewhere.
    #[must_use]
    pub fn into_segments(self) -> Vec<Bytes> {
        match self.0 {
            Repr::One(segment) => alloc::vec![segment],
            Repr::Other(Other::Rare(rare)) => match Arc::unwrap_or_clone(rare) {
                Rare::Many(segments) => segments,
                Rare::Announced(_) | Rare::Stored(_) => Vec::new(),
            },
            Repr::Other(_) => self.segments().map(Bytes::copy_from_slice).collect(),
        }
    }

    fn in_place(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Other(Other::InPlace(length, bytes)) => bytes.get(..usize::from(*length)),
            Repr::One(_) | Repr::Other(_) => None,
        }
    }

    /// Total bytes, wherever they are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::One(segment) => segment.len() as u64,
            Repr::Other(Other::InPlace(length, _)) => u64::from(*length),
            Repr::Other(Other::AnnouncedOne(length)) => *length,
            Repr::Other(Other::Rare(rare)) => rare.len(),
        }
    }

    /// Bytes that travel with it and live where it is held, announced or present; none for a reference.
    #[must_use]
    pub fn carried(&self) -> u64 {
        match self.rare() {
            Some(Rare::Stored(_)) => 0,
            Some(Rare::Many(_) | Rare::Announced(_)) | None => self.len(),
        }
    }

    /// A reference to these bytes for everybody else, once they are in a store under the name `object`.
    #[must_use]
    pub fn referred_to_as(&self, object: ObjectId) -> Self {
        let lengths = self.segments().map(|segment| segment.len() as u64).collect();
        Stored { object, lengths }.into()
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
            Repr::Other(Other::AnnouncedOne(length)) => core::slice::from_ref(length),
            _ => match self.rare() {
                Some(Rare::Announced(lengths)) => lengths,
                Some(Rare::Many(_) | Rare::Stored(_)) | None => &[],
            },
        }
    }

    /// Fills an announced value: asks `next` for each length in turn. `None` from it leaves the value as it was.
    pub fn attach(&mut self, mut next: impl FnMut(u64) -> Option<Bytes>) -> Option<()> {
        *self = match (&self.0, self.rare()) {
            (Repr::Other(Other::AnnouncedOne(length)), _) => next(*length)?.into(),
            (_, Some(Rare::Announced(lengths))) => {
                Self::from_segments(lengths.iter().map(|length| next(*length)).collect::<Option<Vec<_>>>()?)
            }
            (_, Some(Rare::Many(_) | Rare::Stored(_)) | None) => return Some(()),
        };
        Some(())
    }

    fn rare(&self) -> Option<&Rare> {
        match &self.0 {
            Repr::Other(Other::Rare(rare)) => Some(rare),
            Repr::One(_) | Repr::Other(_) => None,
        }
    }
}

impl Rare {
    fn len(&self) -> u64 {
        match self {
            Self::Many(segments) => segments.iter().map(|segment| segment.len() as u64).sum(),
            Self::Announced(lengths) => sum(lengths),
            Self::Stored(stored) => stored.len(),
        }
    }
}

fn sum(lengths: &[u64]) -> u64 {
    lengths.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

impl From<Stored> for Value {
    fn from(stored: Stored) -> Self {
        Rare::Stored(stored).into()
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        if bytes.len() <= IN_PLACE { Self::copied(&bytes) } else { Self(Repr::One(bytes)) }
    }
}

impl From<Rare> for Value {
    fn from(rare: Rare) -> Self {
        Self(Repr::Other(Other::Rare(Arc::new(rare))))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stored() {
            Some(stored) => write!(f, "Value({} bytes at {})", stored.len(), stored.object),
            None => write!(f, "Value({} bytes)", self.carried()),
        }
    }
}

/// A value in an encoded message, as it is written.
#[derive(Serialize)]
enum Written<'a> {
    Carried(Lengths<'a>),
    Stored(&'a Stored),
}

/// The same, as it is read.
#[derive(Deserialize)]
#[serde(rename = "Value")]
enum Read {
    Carried(Announced),
    Stored(Stored),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().map_or(Written::Carried(Lengths(self)), Written::Stored).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Read::deserialize(deserializer)? {
            Read::Carried(Announced(value)) => value,
            Read::Stored(stored) => stored.into(),
        })
    }
}

/// Writes the lengths of the segments that a value carries.
struct Lengths<'a>(&'a Value);

impl Serialize for Lengths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let announced = self.0.announced();
        if announced.is_empty() {
            serializer.collect_seq(self.0.segments().map(|s| s.len() as u64))
        } else {
            serializer.collect_seq(announced)
        }
    }
}

/// Reads them.
struct Announced(Value);

impl<'de> Deserialize<'de> for Announced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AnnouncedVisitor).map(Self)
    }
}

struct AnnouncedVisitor;

impl<'de> Visitor<'de> for AnnouncedVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lengths of a value's segments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let Some(first) = sequence.next_element()? else { return Ok(Rare::Announced(Vec::new()).into()) };
        let Some(second) = sequence.next_element()? else {
            return Ok(Value(Repr::Other(Other::AnnouncedOne(first))));
        };
        let mut lengths = alloc::vec![first, second];
        while let Some(length) = sequence.next_element()? {
            lengths.push(length);
        }
        Ok(Rare::Announced(lengths).into())
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
        let mut value = Value::from(Rare::Announced(vec![2, 3]));
        assert_eq!((value.len(), value.segments().len()), (5, 0));
        assert!(value.attach(|_| None).is_none());
        let mut rest = Bytes::from_static(b"abcde");
        value.attach(|n| Some(rest.split_to(n as usize))).expect("five bytes are there");
        assert_eq!(value, whole);
    }

    #[test]
    fn a_reference_stands_for_bytes_that_it_does_not_carry() {
        let stored = Stored { object: ObjectId::default(), lengths: [10, 1 << 40].into() };
        let mut value = Value::from(stored.clone());
        assert_eq!((value.len(), value.carried(), value.segments().len()), ((1 << 40) + 10, 0, 0));
        assert!(value.attach(|_| None).is_some() && value.stored() == Some(&stored));
        let bytes = Value::from(Bytes::from_static(b"ab"));
        assert!(bytes.stored().is_none() && (bytes.len(), bytes.carried()) == (2, 2));
    }

    #[test]
    fn a_few_bytes_lie_in_place_and_read_as_any_others() {
        for length in [0, 1, IN_PLACE, IN_PLACE + 1, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let value = Value::copied(&bytes);
            assert_eq!(value, Value::from(Bytes::from(bytes.clone())));
            assert_eq!(value, Value::from_segments(vec![Bytes::from(bytes.clone())]));
            assert_eq!(value.shared().is_empty(), length <= IN_PLACE);
            assert_eq!((value.only_segment(), value.len()), (Some(&bytes[..]), length as u64));
            assert_eq!((value.segments().len(), value.segments().next()), (1, Some(&bytes[..])));
            assert_eq!(value.into_segments(), [Bytes::from(bytes)]);
        }
        assert_ne!(Value::copied(b"a"), Value::copied(b"a\0"));
        let two = Value::from_segments(vec![Bytes::from_static(b"a"), Bytes::new()]);
        assert_eq!((two.segments().collect::<Vec<_>>(), two.only_segment()), (vec![&b"a"[..], b""], None));
    }
}
