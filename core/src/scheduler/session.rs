//! Sessions: who is connected, what each has asked for, and what it still has to hear.

use super::delivery::Unawaited;
use super::function::Functions;
use super::index::SeqIndex;
use super::intake::Intake;
use super::slab::Bits;
use super::timer::Timer;
use super::{Action, EndReason, Exchange, Scheduler, admission};
use crate::id::{OptionsId, RunId, Seq, SessionId, WorkerId};
use crate::limits;
use crate::outcome::{Admission, Delivery, Notice};
use crate::peer::Fingerprint;
use crate::spec::{Options, PythonVersion};
use crate::time::Time;
use crate::window::{Credit, Outbox, Owed};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    token: u128,
    pub(super) exchange: Exchange,
    /// By which workers know its client, if that can go to them.
    pub(super) key: Option<Fingerprint>,
    /// Workers that its client could not reach lately, and when to try again.
    pub(super) unreachable: BTreeMap<WorkerId, Time>,
    pub(super) link: Link,
    /// Requests taken since it was opened.
    pub(super) taken: u64,
    /// Requests taken and not acknowledged yet, and what they cost.
    pub(super) unacknowledged: u64,
    pub(super) owed: Owed,
    pub(super) outbox: Outbox<Notice>,
    /// What it is told at the end of this step.
    pub(super) ended: Vec<Delivery>,
    /// What it is told later.
    pub(super) unawaited: Unawaited,
    pub(super) started: Vec<Seq>,
    /// Its chunks of which others got the end, and what has become of that.
    pub(super) divided: Vec<(Seq, Vec<(u32, Seq)>)>,
    /// Where values are that it asked for, or what they are.
    pub(super) answers: Vec<Notice>,
    /// Runs with progress that it has not been told.
    pub(super) progress: Vec<u32>,
    pub(super) functions: Functions,
    pub(super) options: Vec<Option<OptionsEntry>>,
    pub(super) runs: BTreeMap<RunId, u32>,
    /// One more than the largest number of a run so far.
    pub(super) next_run: u32,
    /// Runs that may still be given pieces.
    pub(super) unsealed: u64,
    pub(super) index: SeqIndex,
    /// One more than the largest number of a task so far.
    pub(super) next_seq: u64,
    pub(super) next_internal: u64,
    /// Tasks that are not over.
    pub(super) pending: u64,
    pub(super) crowd: admission::Crowd,
    pub(super) function_crowd: admission::Crowd,
    pub(super) admission: Admission,
    /// Workers whose name it has been told.
    pub(super) named: Bits,
    /// Workers that know functions of it.
    pub(super) known_at: Bits,
    pub(super) touched: bool,
    /// A request that is not taken to its end, and those behind it.
    pub(super) intake: Option<Box<Intake>>,
}

/// A session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Gone; the session is kept until then.
    Cut(Time),
    /// Gone for good: the session is being cleared away.
    Left,
}

/// A set of options and the ready queues of the tasks under it.
#[derive(Debug)]
pub(super) struct OptionsEntry {
    pub(super) options: Options,
    pub(super) queues: Vec<(Option<PythonVersion>, u32)>,
}

impl Session {
    fn new(id: SessionId, token: u128, exchange: Exchange) -> Self {
        Self {
            id,
            token,
            exchange,
            key: None,
            unreachable: BTreeMap::new(),
            link: Link::Up,
            taken: 0,
            unacknowledged: 0,
            owed: Owed::default(),
            outbox: Outbox::new(Credit::default()),
            ended: Vec::new(),
            unawaited: Unawaited::default(),
            started: Vec::new(),
            divided: Vec::new(),
            answers: Vec::new(),
            progress: Vec::new(),
            functions: Functions::default(),
            options: Vec::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            unsealed: 0,
            index: SeqIndex::new(),
            next_seq: 0,
            next_internal: 0,
            pending: 0,
            crowd: admission::Crowd::default(),
            function_crowd: admission::Crowd::default(),
            admission: Admission::Open,
            named: Bits::default(),
            known_at: Bits::default(),
            touched: false,
            intake: None,
        }
    }

    pub(super) fn options(&self, id: OptionsId) -> Option<&OptionsEntry> {
        self.options.get(id.index())?.as_ref()
    }

    /// Bytes that wait to be taken by the client, with what each message costs beyond its payload.
    pub(super) fn outbox_bytes(&self) -> u64 {
        self.outbox.used() + self.outbox.waiting_cost()
    }

    /// Whatever its client asked for over a connection that is gone, and was not taken, comes again over another.
    fn forget_waiting(&mut self) {
        self.intake.iter_mut().for_each(|intake| intake.forget_waiting());
    }

    /// There is nobody who could be told anything.
    pub(super) fn silence(&mut self) {
        (self.ended, self.started) = (Vec::new(), Vec::new());
        (self.answers, self.progress) = (Vec::new(), Vec::new());
        self.divided = Vec::new();
        self.unawaited = Unawaited::default();
    }
}

impl Scheduler {
    pub(super) fn on_session_opened(&mut self, id: SessionId, token: u128, exchange: Exchange) {
        match self.sessions.insert(id.0, Session::new(id, token, exchange)) {
            Some(slot) => {
                self.farewells.push(Action::Welcome { session: id, taken: 0 });
                self.touch(slot);
            }
            None => self.ignored += 1,
        }
    }

    pub(super) fn on_session_resumed(&mut self, id: SessionId, token: u128, taken: u64) {
        let known = self.find_session(id).filter(|slot| self.sessions[*slot].token == token);
        let Some(slot) = known else {
            self.farewells.push(Action::EndSession { session: id, reason: EndReason::Gone });
            return;
        };
        let session = &mut self.sessions[slot];
        session.forget_waiting();
        if !session.outbox.rewind(taken) {
            return self.end_session(slot, EndReason::Misbehaved);
        }
        if let Link::Cut(until) = core::mem::replace(&mut session.link, Link::Up) {
            self.timers.remove(&(until, Timer::DropSession(id)));
        }
        (session.unacknowledged, session.owed) = (0, Owed::default());
        self.farewells.push(Action::Welcome { session: id, taken: session.taken });
        self.touch(slot);
    }

    pub(super) fn on_session_cut(&mut self, id: SessionId) {
        let Some(slot) = self.sessions.find(id.0).filter(|slot| self.sessions[*slot].link == Link::Up) else {
            self.ignored += 1;
            return;
        };
        let until = self.now + limits::SESSION_KEPT;
        self.sessions[slot].link = Link::Cut(until);
        self.sessions[slot].forget_waiting();
        self.timers.insert((until, Timer::DropSession(id)));
    }

    pub(super) fn on_session_closed(&mut self, id: SessionId) {
        match self.find_session(id) {
            Some(slot) => self.end_session(slot, EndReason::Closed),
            None => self.ignored += 1,
        }
    }

    pub(super) fn on_notices_taken(&mut self, id: SessionId, taken: u64) {
        let Some(slot) = self.find_session(id) else {
            self.ignored += 1;
            return;
        };
        if self.sessions[slot].outbox.acknowledge(taken) {
            self.touch(slot);
        } else {
            self.end_session(slot, EndReason::Misbehaved);
        }
    }

    /// A session whose client is there or may come back.
    pub(super) fn find_session(&self, id: SessionId) -> Option<u32> {
        self.sessions.find(id.0).filter(|slot| self.sessions[*slot].link != Link::Left)
    }

    /// The client did not come back in time: nothing of its session remains.
    pub(super) fn drop_left_session(&mut self, id: SessionId) {
        if let Some(slot) = self.find_session(id) {
            self.remove_session(slot);
        }
    }

    /// Ends a session and says so.
    pub(super) fn end_session(&mut self, slot: u32, reason: EndReason) {
        self.farewells.push(Action::EndSession { session: self.sessions[slot].id, reason });
        self.remove_session(slot);
    }

    /// Cancels all work of a session and frees all that is its, as soon as may be.
    fn remove_session(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        if let Link::Cut(until) = core::mem::replace(&mut session.link, Link::Left) {
            self.timers.remove(&(until, Timer::DropSession(session.id)));
        }
        session.outbox = Outbox::new(Credit::default());
        session.silence();
        self.end_intake(slot);
        self.leave_session(slot);
    }

    /// Has a session looked at before this step ends.
    pub(super) fn touch(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        if !core::mem::replace(&mut session.touched, true) {
            self.touched.push(slot);
        }
    }
}
