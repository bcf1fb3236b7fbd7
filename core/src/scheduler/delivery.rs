//! What clients hear: outcomes, starts and progress, gathered over a step and sent as credit allows.

use super::session::{Link, Session};
use super::task::compact;
use super::{Action, Scheduler};
use crate::id::RunId;
use crate::limits;
use crate::outcome::{Delivery, Notice, Outcome, Story};
use alloc::vec::Vec;

/// Requests after which an acknowledgement is worth a message, whatever they cost.
const REQUESTS_PER_ACKNOWLEDGEMENT: u64 = 64;

/// Values of tasks that were released, so that nobody can ask for them: their client only counts that they are over, and to be
/// told of each as it ends would cost both processes as much as the task. They go along with the next end that somebody may
/// wait for, and go by themselves once they are many, or once all is over that the client asked for.
#[derive(Debug, Default)]
pub(super) struct Unawaited {
    ended: Vec<Delivery>,
    bytes: u64,
}

impl Unawaited {
    fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.bytes();
        self.ended.push(delivery);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    const fn are_many(&self) -> bool {
        self.bytes >= limits::UNAWAITED_BYTES
    }
}

impl Session {
    /// What it is told now of tasks that are over.
    fn take_ended(&mut self) -> Vec<Delivery> {
        let ended = core::mem::take(&mut self.ended);
        if self.unawaited.is_empty() || (ended.is_empty() && !self.unawaited_are_due()) {
            return ended;
        }
        let mut all = core::mem::take(&mut self.unawaited).ended;
        all.extend(ended);
        all
    }

    /// Whether ends that nobody waits for have waited for others long enough.
    pub(super) const fn unawaited_are_due(&self) -> bool {
        !self.unawaited.is_empty() && (self.pending == 0 || self.unawaited.are_many())
    }
}

impl Scheduler {
    /// Has a client told what a task came to, and who the worker was if it does not know.
    pub(super) fn deliver(&mut self, slot: u32, outcome: Outcome, story: Story) {
        let task = &self.tasks[slot];
        let session = &mut self.sessions[task.session];
        if session.link == Link::Left {
            return;
        }
        if let Some(id) = story.worker
            && let Some(worker) = self.workers.find(id.0)
            && session.named.insert(worker)
        {
            let name = self.workers[worker].offer.name.clone();
            session.outbox.push(Notice::WorkerNamed { worker: id, name }, 0);
        }
        let awaited = !task.released || !outcome.is_value() || outcome.stored().is_some();
        let seq = task.id.seq;
        if awaited {
            session.ended.push(Delivery { seq, outcome, story });
        } else {
            session.unawaited.push(Delivery { seq, outcome: compact(outcome), story });
        }
    }

    /// Tells every session that something happened to what it should know.
    pub(super) fn flush_sessions(&mut self, actions: &mut Vec<Action>) {
        self.judge_crowd();
        for slot in core::mem::take(&mut self.touched) {
            self.sessions[slot].touched = false;
            if self.sessions[slot].link == Link::Left {
                self.sessions[slot].silence();
                continue;
            }
            self.judge_admission(slot);
            self.gather_notices(slot);
            self.send_notices(slot, actions);
        }
    }

    fn gather_notices(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        for tasks in core::mem::take(&mut session.started).chunks(limits::BATCH_ITEMS) {
            let notice = Notice::Started(tasks.to_vec());
            let bytes = notice.len();
            session.outbox.push(notice, bytes);
        }
        for notice in core::mem::take(&mut session.answers) {
            let bytes = notice.len();
            session.outbox.push(notice, bytes);
        }
        for (seq, parts) in core::mem::take(&mut session.divided) {
            let notice = Notice::Divided { seq, parts };
            let bytes = notice.len();
            session.outbox.push(notice, bytes);
        }
        // Progress replaces itself: it waits while anything else does.
        if session.outbox.waiting() == 0 {
            for run in core::mem::take(&mut session.progress) {
                // The run may be over, and its place another session's by now.
                let ours = self.runs.get_mut(run).filter(|run| run.session == slot && !run.is_over());
                if let Some((run, progress)) = ours.and_then(super::run::Run::take_progress) {
                    let run: RunId = run;
                    session.outbox.push(Notice::Progressed { run, progress }, 0);
                }
            }
        }
        let mut ended = session.take_ended().into_iter().peekable();
        while ended.peek().is_some() {
            let (mut batch, mut weight) = (Vec::with_capacity(ended.len().min(limits::BATCH_ITEMS)), 0);
            while let Some(delivery) = ended.peek()
                && batch.len() < limits::BATCH_ITEMS
            {
                weight += delivery.bytes();
                if weight > limits::INLINE_FRAME_BYTES as u64 && !batch.is_empty() {
                    break;
                }
                batch.extend(ended.next());
            }
            let notice = Notice::Ended(batch);
            let bytes = notice.len();
            session.outbox.push(notice, bytes);
        }
    }

    fn send_notices(&mut self, slot: u32, actions: &mut Vec<Action>) {
        let session = &mut self.sessions[slot];
        if session.link != Link::Up {
            return;
        }
        let owed = session.owed.settle();
        if owed.is_some() || session.unacknowledged >= REQUESTS_PER_ACKNOWLEDGEMENT {
            if owed.is_none() {
                session.owed = crate::window::Owed::default();
            }
            session.unacknowledged = 0;
            actions.push(Action::AcknowledgeRequests { session: session.id, taken: session.taken });
        }
        let notices: Vec<Notice> = core::iter::from_fn(|| session.outbox.pop()).collect();
        if !notices.is_empty() {
            actions.push(Action::Notify { session: session.id, notices });
        }
    }
}
