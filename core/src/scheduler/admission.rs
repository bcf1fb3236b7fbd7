//! Admission: what may live here, and who must wait until there is room again.

use super::Scheduler;
use super::request::Misbehaved;
use super::session::{Link, Session};
use crate::limits;
use crate::outcome::{Admission, Notice};

/// Tasks that a client which obeys may still have on the way when it is told to wait, at the most.
const OVERRUN_TASKS: u64 = 2_000_000;

/// Whether something has reached its bound, with hysteresis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Crowd {
    #[default]
    Roomy,
    Full,
}

impl Crowd {
    /// Full above the limit, roomy again below four fifths of it.
    fn judge(self, amount: u64, limit: u64) -> Self {
        match self {
            Self::Roomy if amount > limit => Self::Full,
            Self::Full if amount < limit - limit / 5 || amount == 0 => Self::Roomy,
            same => same,
        }
    }
}

impl Scheduler {
    /// Bytes of values that live here: pending arguments, functions, results held and notices not yet taken.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held + self.sessions.iter().map(|(_, session)| session.outbox_bytes()).sum::<u64>()
    }

    /// Results are kept up to a quarter beyond the bound at which nothing new is admitted: what was admitted ends well
    /// even if it grows.
    pub(super) const fn results_limit(&self) -> u64 {
        let limit = self.config.held_bytes_limit;
        limit.saturating_add(limit / 4)
    }

    /// Is there room for anybody? If that has changed, everybody hears of it.
    pub(super) fn judge_crowd(&mut self) {
        let crowded = self.crowded.judge(self.held_bytes(), self.config.held_bytes_limit);
        if crowded != self.crowded {
            self.crowded = crowded;
            for n in 0..self.sessions.len() {
                self.touch(self.sessions.slot_at(n));
            }
        }
    }

    /// May this session submit? One without pending tasks always may: else nothing would ever make room. Nor does what
    /// an open run comes to, which is pending until its client has sent all pieces (but where tasks are too many, it is
    /// one like any other).
    pub(super) fn judge_admission(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        session.crowd = session.crowd.judge(session.pending, self.config.session_tasks);
        session.function_crowd =
            session.function_crowd.judge(session.functions.len() as u64, limits::SESSION_FUNCTIONS);
        let admission = admission(self.crowded, session);
        if admission != session.admission {
            session.admission = admission;
            session.outbox.push(Notice::Admission(admission), 0);
        }
    }

    /// A client that does not wait when told so is sent away once it is far beyond what was on the way.
    pub(super) fn judge_overrun(&self, slot: u32) -> Result<(), Misbehaved> {
        self.judge_crowding(slot)?;
        let bytes = self.config.held_bytes_limit.saturating_mul(2).saturating_add(limits::CONNECTION_CREDIT_BYTES);
        let session = &self.sessions[slot];
        let overrun = session.admission == Admission::Closed && self.held > bytes;
        if overrun { Err(Misbehaved) } else { Ok(()) }
    }

    /// The same for its tasks alone, among which are those that wait for runs: a client opens runs without waiting.
    pub(super) fn judge_crowding(&self, slot: u32) -> Result<(), Misbehaved> {
        let tasks = self.config.session_tasks.saturating_add(OVERRUN_TASKS);
        let session = &self.sessions[slot];
        let overrun = session.admission == Admission::Closed && session.pending > tasks;
        if overrun { Err(Misbehaved) } else { Ok(()) }
    }

    /// Panics unless the bounds were judged by what is there, and clients told.
    pub(super) fn check_admission(&self) {
        // What clients have just been told came after this was judged: it can only be more by now.
        let held = self.held_bytes();
        let crowded = self.crowded == Crowd::Full;
        assert!(
            !crowded || self.crowded.judge(held, self.config.held_bytes_limit) == Crowd::Full,
            "{held} bytes crowd"
        );
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.link != Link::Left) {
            let judged = session.crowd.judge(session.pending, self.config.session_tasks);
            assert_eq!(session.crowd, judged, "{} pending tasks of {}", session.pending, session.id);
            let functions = session.functions.len() as u64;
            let judged = session.function_crowd.judge(functions, limits::SESSION_FUNCTIONS);
            assert_eq!(session.function_crowd, judged, "{functions} functions of {}", session.id);
            assert!(functions <= limits::SESSION_FUNCTIONS_MOST, "functions are bounded");
            assert_eq!(session.admission, admission(self.crowded, session), "{} is told", session.id);
        }
    }
}

fn admission(crowded: Crowd, session: &Session) -> Admission {
    let many = session.crowd == Crowd::Full && session.pending > 0;
    let full = [crowded, session.function_crowd].contains(&Crowd::Full) && session.pending > session.unsealed;
    if many || full { Admission::Closed } else { Admission::Open }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Event, Exchange, World};
    use super::*;
    use crate::id::SessionId;
    use crate::time::Time;
    use std::vec::Vec;

    fn with_a_session() -> Scheduler {
        let config = Config {
            held_bytes_limit: 1_000,
            result_limit: 100,
            session_tasks: 10,
            world: World::Open,
            ride_along: 100,
            direct_bytes: 1_000,
            slice: 4_096,
        };
        let mut scheduler = Scheduler::new(config, 0);
        let opened = Event::SessionOpened { session: SessionId(0), token: 1, exchange: Exchange::Memory };
        scheduler.step(Time::ZERO, [opened], &mut Vec::new());
        scheduler.check();
        scheduler
    }

    #[test]
    #[should_panic(expected = "bytes crowd")]
    fn a_crowd_where_there_is_none_is_noticed() {
        let mut scheduler = with_a_session();
        scheduler.crowded = Crowd::Full;
        scheduler.check();
    }

    #[test]
    #[should_panic(expected = "s0 is told")]
    fn an_admission_that_no_bound_asks_for_is_noticed() {
        let mut scheduler = with_a_session();
        let slot = scheduler.sessions.slot_at(0);
        scheduler.sessions[slot].admission = Admission::Closed;
        scheduler.check();
    }
}
