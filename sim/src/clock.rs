//! The clocks of the world: one true time, and what each machine takes for it.

use plait_core::rng::Rng;
use plait_core::time::Time;

/// One second of true time.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// One millisecond of true time.
pub(crate) const MILLI: u64 = 1_000_000;
/// One microsecond of true time.
pub(crate) const MICRO: u64 = 1_000;

const MILLION: i128 = 1_000_000;

/// A machine's own monotonic clock: it starts anywhere and runs a little fast or slow, but never back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    skew: u64,
    drift_ppm: i64,
}

impl Clock {
    /// A clock that starts up to a year ahead and drifts by up to `drift_ppm` millionths in either direction.
    pub(crate) fn draw(rng: &mut Rng, drift_ppm: u64) -> Self {
        let drift = rng.below(2 * drift_ppm + 1).cast_signed() - drift_ppm.cast_signed();
        Self { skew: rng.below(365 * 86_400 * SECOND), drift_ppm: drift }
    }

    /// What this clock shows at the true time `now`.
    pub(crate) fn shows(self, now: u64) -> Time {
        let run = i128::from(now) * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Time(self.skew + u64::try_from(run).expect("a simulation is shorter than centuries"))
    }

    /// The first true time at which it shows `shown` or later.
    pub(crate) fn reaches(self, shown: Time) -> u64 {
        let run = i128::from(shown.0.saturating_sub(self.skew)) * MILLION;
        let rate = MILLION + i128::from(self.drift_ppm);
        let guess = u64::try_from((run + rate - 1) / rate).unwrap_or(u64::MAX);
        (guess..).find(|true_time| self.shows(*true_time) >= shown).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_reaches() {
        let mut rng = Rng::new(7);
        for _ in 0..1_000 {
            let clock = Clock::draw(&mut rng, 100_000);
            let shown = clock.shows(rng.below(1_000 * SECOND));
            let at = clock.reaches(shown);
            assert!(clock.shows(at) >= shown && (at == 0 || clock.shows(at - 1) < shown), "{clock:?} {shown:?} {at}");
        }
    }
}
