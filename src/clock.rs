//! What drivers hand to core, which has neither: the time, and chance to start from.

use plait_core::time::Time;
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, Instant};

/// A monotonic clock with an origin of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time, as core takes it.
    pub(crate) fn now(self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Waits until `deadline`, for ever if there is none. May be a little late, never early.
    pub(crate) async fn sleep_until(self, deadline: Option<Time>) {
        match deadline {
            Some(time) => tokio::time::sleep_until((self.0 + Duration::from_nanos(time.0)).into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Chance: a seed, an epoch, or (128 bits) the secret of a session.
pub(crate) fn draw() -> u128 {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the kernel has random bytes");
    u128::from_le_bytes(bytes)
}

/// The lower half of [`draw`].
pub(crate) fn draw_seed() -> u64 {
    draw() as u64
}
