//! Intake: what a client asks for that takes more than a step.
//!
//! Tasks may name millions of inputs in one request. They are tied to them in slices, and what the same client asks for
//! next waits until they are: it may be to let go of an input. What waits is not taken yet, as if it were still on its
//! way: it costs its client credit, and goes with the connection, for it is sent again over the next one.

use super::leftover::SHELVED;
use super::request::Misbehaved;
use super::session::Link;
use super::task::{Place, State};
use super::{EndReason, Scheduler};
use crate::id::Seq;
use crate::limits;
use crate::spec::{Cancel, Request, TaskSpec};
use crate::window;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// What may wait of one session, in bytes: twice what credit allows, so only a client that ignores credit gets there.
const OVERRUN_BYTES: u64 = 2 * limits::CONNECTION_CREDIT_BYTES;

/// What is left of a request, and what waits for its end.
#[derive(Debug)]
pub(super) struct Intake {
    tasks: vec::IntoIter<TaskSpec>,
    tying: Option<Tying>,
    waiting: Waiting,
}

/// Requests that wait for their turn.
#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// What they cost together.
    cost: u64,
}

impl Waiting {
    fn push(&mut self, request: Request) -> Result<(), Misbehaved> {
        if self.cost > OVERRUN_BYTES {
            return Err(Misbehaved);
        }
        self.cost += cost(&request);
        self.requests.push_back(request);
        Ok(())
    }

    fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.cost -= cost(&request);
        Some(request)
    }
}

/// What a request counts here. One may be larger than any window when it goes alone: none counts for more than a window.
fn cost(request: &Request) -> u64 {
    window::cost(request.len()).min(limits::CONNECTION_CREDIT_BYTES)
}

/// A task that is not tied to all its inputs. It waits for the end of this as for one more input.
#[derive(Debug)]
pub(super) struct Tying {
    task: u32,
    /// What had its slot may be over.
    ticket: u64,
    inputs: vec::IntoIter<Seq>,
}

impl Tying {
    pub(super) fn new(task: u32, ticket: u64, inputs: Box<[Seq]>) -> Self {
        Self { task, ticket, inputs: inputs.into_vec().into_iter() }
    }
}

impl Intake {
    fn new(tasks: Vec<TaskSpec>) -> Self {
        Self { tasks: tasks.into_iter(), tying: None, waiting: Waiting::default() }
    }

    /// What waits is as good as never sent.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting = Waiting::default();
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.requests.len()
    }

    /// Whether it is this task that is being tied.
    pub(super) fn ties(&self, task: u32, ticket: u64) -> bool {
        self.tying.as_ref().is_some_and(|tying| (tying.task, tying.ticket) == (task, ticket))
    }
}

impl Scheduler {
    /// Keeps a request for later if an earlier one of its session is not taken yet.
    pub(super) fn put_behind(&mut self, session: u32, request: Request) -> Option<Request> {
        let Some(intake) = &mut self.sessions[session].intake else { return Some(request) };
        if let Err(Misbehaved) = intake.waiting.push(request) {
            self.end_session(session, EndReason::Misbehaved);
        }
        None
    }

    /// Goes on with the requests that earlier steps have begun, each session in its turn.
    pub(super) fn resume_requests(&mut self) {
        for _ in 0..self.behind.len() {
            if self.slice.ties > 0
                && let Some(session) = self.behind.pop_front()
                && let Some(intake) = self.sessions[session].intake.take()
            {
                self.go_on_taking(session, *intake);
            }
        }
    }

    fn go_on_taking(&mut self, session: u32, mut intake: Intake) {
        let mut waiting = core::mem::take(&mut intake.waiting);
        self.take_tasks(session, intake);
        while self.slice.ties > 0
            && self.may_go_on(session)
            && let Some(request) = waiting.pop()
        {
            self.slice.ties = self.slice.ties.saturating_sub(request.items());
            self.take_request(session, request);
        }
        if !waiting.requests.is_empty() {
            if self.may_go_on(session) {
                self.leave_behind(session, Intake::new(Vec::new()));
            }
            let intake = self.sessions.get_mut(session).and_then(|owner| owner.intake.as_mut());
            intake.into_iter().for_each(|intake| intake.waiting = core::mem::take(&mut waiting));
        }
    }

    /// Whether a session is there and its next request can be taken.
    fn may_go_on(&self, session: u32) -> bool {
        self.sessions.get(session).is_some_and(|owner| owner.link != Link::Left && owner.intake.is_none())
    }

    /// A client is gone for good: nothing more is taken, and a task that is tied to some of its inputs is not to begin.
    pub(super) fn end_intake(&mut self, session: u32) {
        let Some(intake) = self.sessions[session].intake.take() else { return };
        self.behind.retain(|behind| *behind != session);
        let tied = intake.tying.as_ref().and_then(|Tying { task, ticket, .. }| {
            let task = self.tasks.get_mut(*task)?;
            (task.ticket == *ticket).then_some(&mut task.state)
        });
        if let Some(State::Waiting { missing }) = tied {
            *missing = *missing - 1 + SHELVED;
        }
    }

    /// Takes tasks that a client submits, as far as this step may.
    pub(super) fn submit(&mut self, session: u32, tasks: Vec<TaskSpec>) {
        match self.judge_overrun(session) {
            Ok(()) => self.take_tasks(session, Intake::new(tasks)),
            Err(Misbehaved) => self.end_session(session, EndReason::Misbehaved),
        }
    }

    fn take_tasks(&mut self, session: u32, mut intake: Intake) {
        match self.take_some(session, &mut intake) {
            Ok(true) => self.touch(session),
            Ok(false) => self.leave_behind(session, intake),
            Err(Misbehaved) => self.end_session(session, EndReason::Misbehaved),
        }
    }

    /// Has a session go on in the next step.
    fn leave_behind(&mut self, session: u32, intake: Intake) {
        self.touch(session);
        self.sessions[session].intake = Some(Box::new(intake));
        self.behind.push_back(session);
    }

    /// Whether all is taken.
    fn take_some(&mut self, session: u32, intake: &mut Intake) -> Result<bool, Misbehaved> {
        loop {
            if let Some(tying) = &mut intake.tying
                && !self.tie_some(tying)
            {
                return Ok(false);
            }
            let Some(task) = intake.tasks.next() else { return Ok(true) };
            intake.tying = self.submit_one(session, task)?;
        }
    }

    /// Ties a task to more of its inputs. Whether it is tied to all, or is over.
    fn tie_some(&mut self, tying: &mut Tying) -> bool {
        let Tying { task, ticket, inputs } = tying;
        if !self.tasks.get(*task).is_some_and(|t| t.ticket == *ticket && !t.is_done()) {
            return true;
        }
        let most = self.slice.ties.min(inputs.len());
        if most == 0 {
            return false;
        }
        self.slice.ties -= most;
        if let Err(outcome) = self.tie_inputs(*task, &inputs.as_slice()[..most]) {
            self.withdraw(*task, Cancel::Running);
            self.conclude(*task, outcome, Place::default());
            return true;
        }
        inputs.nth(most - 1);
        if inputs.len() > 0 {
            return false;
        }
        self.input_arrived(*task);
        true
    }
}
