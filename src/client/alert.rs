//! Staying awake for what is near.
//!
//! A thread that sleeps takes some 35 µs to be woken: several times what a small task takes. So a driver that has just passed
//! something on looks again and again for a moment before it lies down, if there is a cpu that nobody else needs
//! meanwhile, and as long as that has lately been worth it.

use plait_core::time::Time;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

/// How long it looks: two wake-ups of others and a little work.
const MOMENT: Duration = Duration::from_micros(100);
/// So many moments in vain, one after the other, and it lies down at once …
const VAIN: u32 = 4;
/// … but for one time in so many, to see whether that has changed.
const TRIAL: u32 = 32;

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hope {
    /// An answer, after requests.
    Answer,
    /// Requests, after an answer.
    Request,
}

/// Whether a driver should lie down.
#[derive(Debug)]
pub(super) struct Alert {
    /// Cpus that this process may use.
    cpus: u64,
    moment: Option<(Hope, Time)>,
    luck: [Luck; 2],
}

/// How it went with one hope.
#[derive(Clone, Copy, Debug, Default)]
struct Luck {
    /// Moments in vain since the last that was not.
    vain: u32,
    /// Moments that it did not take since then.
    passed_over: u32,
}

impl Alert {
    /// With the cpus of this process.
    pub(super) fn new() -> Self {
        Self::with(available_parallelism().map_or(1, NonZero::get) as u64)
    }

    const fn with(cpus: u64) -> Self {
        Self { cpus, moment: None, luck: [Luck { vain: 0, passed_over: 0 }; 2] }
    }

    /// Something came, and `hope` is what should follow soon.
    pub(super) fn stir(&mut self, now: Time, hope: Hope) {
        if let Some((hope, _)) = self.moment.take() {
            self.luck[hope as usize] = Luck::default();
        }
        if self.luck[hope as usize].is_in() {
            self.moment = Some((hope, now + MOMENT));
        }
    }

    /// Whether to look again at once. `pending` tasks may each keep a cpu busy, besides this thread, and whoever was
    /// answered needs another.
    pub(super) fn is_up(&mut self, now: Time, pending: u64) -> bool {
        let Some((hope, end)) = self.moment else { return false };
        let others = pending + u64::from(hope == Hope::Request);
        if now < end && others < self.cpus {
            return true;
        }
        self.moment = None;
        if now >= end {
            self.luck[hope as usize].vain += 1;
        }
        false
    }
}

impl Luck {
    fn is_in(&mut self) -> bool {
        if self.vain < VAIN {
            return true;
        }
        self.passed_over += 1;
        self.passed_over.is_multiple_of(TRIAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(micros: u64) -> Time {
        Time(0) + Duration::from_micros(micros)
    }

    /// A moment in which nothing comes.
    fn in_vain(alert: &mut Alert, hope: Hope) -> bool {
        alert.stir(after(0), hope);
        let up = alert.is_up(after(1), 0);
        assert!(!alert.is_up(after(1_000), 0));
        up
    }

    #[test]
    fn it_looks_for_a_moment_after_something_came() {
        let mut alert = Alert::with(2);
        assert!(!alert.is_up(after(0), 0));
        alert.stir(after(0), Hope::Answer);
        assert!(alert.is_up(after(99), 1));
        assert!(!alert.is_up(after(100), 1));
        assert!(!alert.is_up(after(100), 1), "the moment is over");
    }

    #[test]
    fn tasks_that_may_keep_every_cpu_busy_have_them() {
        let mut alert = Alert::with(2);
        alert.stir(after(0), Hope::Answer);
        assert!(!alert.is_up(after(1), 2));
        let mut alone = Alert::with(1);
        alone.stir(after(0), Hope::Request);
        assert!(!alone.is_up(after(1), 0), "whoever was answered needs the only one");
    }

    #[test]
    fn what_was_in_vain_is_tried_seldom_until_it_is_not() {
        let mut alert = Alert::with(2);
        let taken = (0..VAIN + 2 * TRIAL).filter(|_| in_vain(&mut alert, Hope::Answer)).count();
        assert_eq!(taken as u32, VAIN + 2);
        assert!(in_vain(&mut alert, Hope::Request), "the other hope has its own luck");
        let mut tries = 0;
        while !{
            alert.stir(after(0), Hope::Answer);
            alert.is_up(after(1), 1)
        } {
            tries += 1;
        }
        assert!(tries < TRIAL);
        alert.stir(after(50), Hope::Request);
        assert!(!alert.is_up(after(500), 0));
        assert!(in_vain(&mut alert, Hope::Answer), "it was worth it");
    }
}
