//! Any value of any type that serde can read, drawn from a seed: new variants are drawn without a line here.

use crate::rng::Rng;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess,
    Visitor,
};
use std::collections::BTreeSet;
use std::fmt;
use std::string::{String, ToString};
use std::{format, vec::Vec};

/// What a draw went through.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The variants in it, as `Enum::Variant`.
    pub(super) drawn: BTreeSet<String>,
    /// All variants of every enum that it met.
    pub(super) known: BTreeSet<String>,
}

/// Draws a value; a draw that leads nowhere is drawn again.
pub(super) fn draw<T: DeserializeOwned>(rng: &mut Rng) -> (T, Seen) {
    loop {
        let mut seen = Seen::default();
        if let Ok(value) = T::deserialize(&mut Source { rng, seen: &mut seen, depth: 0 }) {
            return (value, seen);
        }
    }
}

struct Source<'a> {
    rng: &'a mut Rng,
    seen: &'a mut Seen,
    depth: u32,
}

/// A draw that led nowhere.
#[derive(Debug)]
struct DeadEnd;

impl fmt::Display for DeadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a draw that led nowhere")
    }
}

impl std::error::Error for DeadEnd {}

impl de::Error for DeadEnd {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Source<'_> {
    /// Numbers of every length, small ones most often.
    fn number(&mut self) -> u64 {
        let bits = self.rng.below(9) * 8;
        if bits == 0 { self.rng.below(3) } else { self.rng.next_u64() >> (64 - bits) }
    }

    fn text(&mut self) -> String {
        (0..self.rng.below(6)).map(|_| ['a', '%', 'é', '\n', '🦀'][self.rng.below(5) as usize]).collect()
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
            visitor.$visit(self.number() as $type)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Source<'_> {
    type Error = DeadEnd;

    fn is_human_readable(&self) -> bool {
        false // as on the wire
    }

    numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_i32 visit_i32 i32;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DeadEnd> {
        panic!("a message has a type that is not drawn here")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
        visitor.visit_bool(self.rng.chance(1, 2))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
        visitor.visit_string(self.text())
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
        visitor.visit_string(self.text())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
        if self.rng.chance(1, 2) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DeadEnd> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeadEnd> {
        let left = if self.depth > 6 { 0 } else { self.rng.below(4) as usize };
        visitor.visit_seq(Items { source: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, DeadEnd> {
        visitor.visit_seq(Items { source: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeadEnd> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeadEnd> {
        // The twins that keep decoding from recurring are no part of the protocol.
        let part = !name.starts_with("Root");
        let named = |variant: &str| format!("{name}::{variant}");
        let choice = self.rng.below(variants.len() as u64) as usize;
        if part {
            self.seen.known.extend(variants.iter().map(|variant| named(variant)));
            self.seen.drawn.insert(named(variants[choice]));
        }
        visitor.visit_enum(Chosen { source: self, choice })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i64 i128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct map identifier ignored_any
    }
}

struct Items<'a, 'b> {
    source: &'a mut Source<'b>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = DeadEnd;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeadEnd> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let Source { rng, seen, depth } = &mut *self.source;
        seed.deserialize(&mut Source { rng, seen, depth: *depth + 1 }).map(Some)
    }
}

struct Chosen<'a, 'b> {
    source: &'a mut Source<'b>,
    choice: usize,
}

impl<'de> EnumAccess<'de> for Chosen<'_, '_> {
    type Error = DeadEnd;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DeadEnd> {
        let choice = u32::try_from(self.choice).map_err(|_| DeadEnd)?;
        Ok((seed.deserialize(IntoDeserializer::<DeadEnd>::into_deserializer(choice))?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_, '_> {
    type Error = DeadEnd;

    fn unit_variant(self) -> Result<(), DeadEnd> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DeadEnd> {
        seed.deserialize(self.source)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DeadEnd> {
        self.source.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, DeadEnd> {
        self.source.deserialize_tuple(fields.len(), visitor)
    }
}

/// All variants that are reachable from a type.
pub(super) fn variants<T: DeserializeOwned>() -> Vec<String> {
    let mut rng = Rng::new(1);
    let known: BTreeSet<String> = (0..4_000).flat_map(|_| draw::<T>(&mut rng).1.known).collect();
    known.iter().map(ToString::to_string).collect()
}
