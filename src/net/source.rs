//! Where connections come from, and how many of them may wait to be believed.

use plait_core::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use tokio::time::Instant;

/// A network that counts as one source: a /24, or a /56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & 0xffff_ff00).into()),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72))),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}/24"),
            IpAddr::V6(v6) => write!(f, "{v6}/56"),
        }
    }
}

/// What is remembered of sources that failed.
#[derive(Debug, Default)]
pub(super) struct Sources {
    failed: BTreeMap<Source, Record>,
    /// Orders records by age; the one forgotten first is the one that failed longest ago.
    order: BTreeMap<u64, Source>,
    count: u64,
}

#[derive(Debug)]
struct Record {
    order: u64,
    failures: u32,
    tokens: u32,
    refilled: Instant,
    logged: Option<Instant>,
    unlogged: u64,
}

/// Whether a failure is to be logged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// Yes, and how many were passed over since the last time.
    Now { passed_over: u64 },
    /// The source had its line for this second.
    Later,
}

impl Sources {
    /// Whether a connection from here may go on; one that failed often is slowed down.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> bool {
        let Some(record) = self.failed.get_mut(&source) else { return true };
        if record.failures < limits::FAILURES_BEFORE_SLOWDOWN {
            return true;
        }
        let most = u128::from(limits::ACCEPTS_PER_SECOND);
        let earned = (now - record.refilled).as_millis() * most / 1_000;
        if earned > 0 {
            let tokens = (u128::from(record.tokens) + earned).min(most);
            record.tokens = u32::try_from(tokens).expect("no more than fit a second");
            record.refilled = now;
        }
        let admitted = record.tokens > 0;
        record.tokens = record.tokens.saturating_sub(1);
        admitted
    }

    /// A connection from here failed.
    pub(super) fn fail(&mut self, source: Source, now: Instant) -> Log {
        self.count += 1;
        let fresh = Record {
            order: self.count,
            failures: 0,
            tokens: limits::ACCEPTS_PER_SECOND,
            refilled: now,
            logged: None,
            unlogged: 0,
        };
        let record = self.failed.entry(source).or_insert(fresh);
        self.order.remove(&record.order);
        self.order.insert(self.count, source);
        record.order = self.count;
        record.failures = record.failures.saturating_add(1);
        let log = if record.logged.is_some_and(|at| now - at < limits::FAILURE_LOGGED_EVERY) {
            record.unlogged += 1;
            Log::Later
        } else {
            record.logged = Some(now);
            Log::Now { passed_over: std::mem::take(&mut record.unlogged) }
        };
        self.forget();
        log
    }

    /// A peer from here was believed: what failed before was an accident.
    pub(super) fn succeed(&mut self, source: Source) {
        if let Some(record) = self.failed.get_mut(&source) {
            record.failures = 0;
        }
    }

    fn forget(&mut self) {
        if self.failed.len() > limits::SOURCES_REMEMBERED
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.failed.remove(&oldest);
        }
    }
}

/// Connections that are not believed yet, in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    count: u64,
    all: BTreeMap<u64, (Source, T)>,
    by_source: BTreeMap<Source, BTreeSet<u64>>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { count: 0, all: BTreeMap::new(), by_source: BTreeMap::new() }
    }
}

impl<T> Waiting<T> {
    /// The number of the one that is added next.
    pub(super) const fn next_number(&self) -> u64 {
        self.count
    }

    /// Adds one; gives back the oldest of its source, or of all, if there are too many now.
    pub(super) fn add(&mut self, source: Source, handle: T) -> Option<T> {
        let number = self.next_number();
        self.count += 1;
        self.all.insert(number, (source, handle));
        let same = self.by_source.entry(source).or_default();
        same.insert(number);
        let too_many_here = same.len() > limits::UNAUTHENTICATED_PER_SOURCE;
        let victim = if too_many_here {
            same.first().copied()
        } else if self.all.len() > limits::UNAUTHENTICATED_TOTAL {
            self.all.first_key_value().map(|(oldest, _)| *oldest)
        } else {
            None
        };
        victim.and_then(|victim| self.remove(victim))
    }

    /// One is through, whichever way.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let (source, handle) = self.all.remove(&number)?;
        if let Some(same) = self.by_source.get_mut(&source) {
            same.remove(&number);
            if same.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn neighbours_are_one_source() {
        assert_eq!(source("10.1.2.3"), source("10.1.2.200"));
        assert_eq!(source("10.1.2.3"), source("::ffff:10.1.2.9"));
        assert_ne!(source("10.1.2.3"), source("10.1.3.3"));
        assert_eq!(source("2001:db8:1:2ff::1"), source("2001:db8:1:200::9"));
        assert_ne!(source("2001:db8:1:200::1"), source("2001:db8:1:300::1"));
        assert_eq!(source("2001:db8:1:2ff::1").to_string(), "2001:db8:1:200::/56");
    }

    #[test]
    fn the_oldest_of_a_crowded_source_goes_first() {
        let mut waiting = Waiting::default();
        let good = waiting.next_number();
        assert_eq!(waiting.add(source("10.0.0.1"), "good"), None);
        for _ in 0..limits::UNAUTHENTICATED_PER_SOURCE {
            assert_eq!(waiting.add(source("10.0.1.1"), "bad"), None);
        }
        assert_eq!(waiting.add(source("10.0.1.1"), "last"), Some("bad"));
        assert_eq!(waiting.remove(good), Some("good"), "another source is left alone");
    }

    #[test]
    fn the_oldest_of_all_goes_when_there_are_too_many() {
        let mut waiting = Waiting::default();
        for n in 0..limits::UNAUTHENTICATED_TOTAL {
            let from = Source::from(IpAddr::V4(((n as u32) << 8).into()));
            assert_eq!(waiting.add(from, n), None);
        }
        assert_eq!(waiting.add(source("250.0.0.1"), 9_999), Some(0));
        assert_eq!(waiting.all.len(), limits::UNAUTHENTICATED_TOTAL);
    }

    #[test]
    fn a_source_that_fails_often_is_slowed_down_and_recovers() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let (bad, good) = (source("10.0.0.1"), source("10.0.1.1"));
        assert_eq!(sources.fail(bad, now), Log::Now { passed_over: 0 });
        for _ in 1..limits::FAILURES_BEFORE_SLOWDOWN {
            assert_eq!(sources.fail(bad, now), Log::Later);
        }
        let admitted = (0..1_000).filter(|_| sources.admit(bad, now)).count();
        assert_eq!(admitted, limits::ACCEPTS_PER_SECOND as usize);
        let later = now + Duration::from_millis(100);
        let admitted = (0..1_000).filter(|_| sources.admit(bad, later)).count();
        assert_eq!(admitted, limits::ACCEPTS_PER_SECOND as usize / 10);
        assert!(sources.admit(good, now));
        let passed_over = u64::from(limits::FAILURES_BEFORE_SLOWDOWN) - 1;
        assert_eq!(sources.fail(bad, now + Duration::from_secs(1)), Log::Now { passed_over });
        sources.succeed(bad);
        assert!((0..1_000).all(|_| sources.admit(bad, later)));
    }

    #[test]
    fn as_many_sources_are_remembered_as_there_is_room_for() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        for n in 0..2 * limits::SOURCES_REMEMBERED as u32 {
            sources.fail(Source::from(IpAddr::V4((n << 8).into())), now);
        }
        assert_eq!(
            (sources.failed.len(), sources.order.len()),
            (limits::SOURCES_REMEMBERED, limits::SOURCES_REMEMBERED)
        );
    }
}
