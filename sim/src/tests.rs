//! The rig itself: a few dozen worlds, the same twice, and rules broken on purpose.

use crate::log::{Hashed, Show};
use crate::options::{CANARIES, Canary};
use crate::{keep_panics_quiet, simulate, try_seed};

#[test]
fn three_dozen_worlds_keep_every_rule() {
    keep_panics_quiet();
    for seed in 1_000_000..1_000_036 {
        let lived = try_seed(seed);
        assert!(lived.is_ok(), "seed {seed}: {}", lived.unwrap_err());
    }
}

#[test]
fn a_seed_does_the_same_twice_and_another_seed_something_else() {
    keep_panics_quiet();
    let hash = |seed| simulate(seed, Canary::None, Show::Nothing, Hashed::Wholly).map(|summary| summary.hash);
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

/// In how many of so many worlds a broken rule is noticed; looks no further than `enough`.
fn noticed(canary: Canary, worlds: u64, enough: usize) -> usize {
    let broken = |seed: &u64| simulate(*seed, canary, Show::Nothing, Hashed::Not).is_err();
    (2_000_000..2_000_000 + worlds).filter(broken).take(enough).count()
}

#[test]
fn every_canary_dies() {
    keep_panics_quiet();
    for (name, canary) in CANARIES {
        // Not every world gives an occasion; few have so little memory that anything is put on disk.
        let worlds = if name == "rotten-disk" { 256 } else { 8 };
        assert_eq!(noticed(canary, worlds, 4), 4, "{name} goes unnoticed");
    }
    assert_eq!(noticed(Canary::None, 8, 1), 0);
}
