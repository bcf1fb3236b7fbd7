//! What workers have and tasks ask for: slots, and named resources.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// An amount of a named resource in ten-thousandths, so that `0.5` is exact and sums never drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(pub u64);

impl Amount {
    /// Parts of one.
    pub const SCALE: u64 = 10_000;
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::SCALE, self.0 % Self::SCALE);
        if part == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{}", alloc::format!("{part:04}").trim_end_matches('0'))
        }
    }
}

/// Slots and named resources: a worker's capacity or a task's request. Names are sorted and unique, amounts are not
/// zero, also in what a peer sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Unsorted")]
pub struct Resources {
    /// Slots (a request takes that many, and one executor).
    pub cpus: u32,
    /// Amounts by name, sorted by name.
    named: Box<[(Box<str>, Amount)]>,
}

/// Resources as a peer may have sent them.
#[derive(Deserialize)]
struct Unsorted {
    cpus: u32,
    named: Vec<(Box<str>, Amount)>,
}

impl From<Unsorted> for Resources {
    fn from(unsorted: Unsorted) -> Self {
        Self::new(unsorted.cpus, unsorted.named)
    }
}

impl Resources {
    /// `cpus` slots and the `named` amounts; the last of equal names wins, zero amounts vanish.
    #[must_use]
    pub fn new(cpus: u32, named: impl IntoIterator<Item = (Box<str>, Amount)>) -> Self {
        let sorted: alloc::collections::BTreeMap<_, _> = named.into_iter().collect();
        let named: Vec<_> = sorted.into_iter().filter(|(_, amount)| amount.0 > 0).collect();
        Self { cpus, named: named.into_boxed_slice() }
    }

    /// `cpus` slots and nothing else.
    #[must_use]
    pub fn cpus(cpus: u32) -> Self {
        Self { cpus, named: Box::default() }
    }

    /// The named amounts, sorted by name.
    #[must_use]
    pub fn named(&self) -> &[(Box<str>, Amount)] {
        &self.named
    }

    /// How much there is of `name`.
    #[must_use]
    pub fn amount(&self, name: &str) -> Amount {
        self.named.binary_search_by(|(n, _)| (**n).cmp(name)).map_or(Amount(0), |i| self.named[i].1)
    }

    /// Whether all of `request` fits into this capacity.
    #[must_use]
    pub fn holds(&self, request: &Self) -> bool {
        request.cpus <= self.cpus && self.holds_named(request)
    }

    /// The same of the named amounts alone.
    #[must_use]
    pub fn holds_named(&self, request: &Self) -> bool {
        request.named.iter().all(|(name, amount)| self.amount(name) >= *amount)
    }

    /// Takes `request` out; the caller has seen that it [`holds`](Self::holds) it.
    pub fn take(&mut self, request: &Self) {
        assert!(self.holds(request), "only what fits is taken");
        self.cpus -= request.cpus;
        for (name, amount) in &request.named {
            self.entry(name).0 -= amount.0;
        }
    }

    /// Puts a taken `request` back.
    pub fn give_back(&mut self, request: &Self) {
        self.cpus += request.cpus;
        for (name, amount) in &request.named {
            self.entry(name).0 += amount.0;
        }
    }

    fn entry(&mut self, name: &str) -> &mut Amount {
        let found = self.named.binary_search_by(|(n, _)| (**n).cmp(name));
        &mut self.named[found.expect("a request that fits names only what is there")].1
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpus={}", self.cpus)?;
        self.named.iter().try_for_each(|(name, amount)| write!(f, " {name}={amount}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn taking_and_giving_back_is_exact() {
        let capacity = Resources::new(4, [("gpu".into(), Amount(15_000))]);
        let request = Resources::new(1, [("gpu".into(), Amount(5_000))]);
        let mut free = capacity.clone();
        (0..3).for_each(|_| free.take(&request));
        assert!(!free.holds(&request) && free.holds(&Resources::cpus(1)));
        (0..3).for_each(|_| free.give_back(&request));
        assert_eq!(free, capacity);
        assert_eq!(capacity.to_string(), "cpus=4 gpu=1.5");
        assert!(!Resources::cpus(9).holds(&Resources::new(1, [("tpu".into(), Amount(1))])));
    }
}
