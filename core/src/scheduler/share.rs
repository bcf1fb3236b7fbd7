//! Chunks shared among workers: while slots are idle and no task of one slot is ready, the ends of chunks that have been running for a
//! while are asked for. What a worker gives, all of which has not begun, becomes chunks of their own, for any slot: pieces
//! of a piece's run, and of a chunk of a map tasks that its client is told of.
//!
//! The worker alone knows how far its executor has come, so it is its word that counts, asked for or not: a chunk ends where
//! it says, unless that was said before.

use super::request::Work;
use super::session::Link;
use super::task::{Lease, Role, Task};
use super::worker::Seat;
use super::{Action, Scheduler, World};
use crate::id::{AttemptId, Seq, WorkerId};
use crate::limits;
use crate::spec::{PythonVersion, Span, Tail};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Chunks that are looked at in vain, since no idle slot could run their ends.
const LOOKED_AT: usize = 64;

/// Chunks that are known to have been running for a while.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Those whose ends may be asked for, by ticket.
    long: BTreeSet<(u64, u32)>,
    /// How many have been asked for and not answered.
    asked: u64,
    /// How many chunks were made of ends since idle slots were last filled.
    given: u64,
}

/// What is known of the items of a chunk that have not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Unknown,
    /// There may be some, which may be asked for.
    Listed,
    /// They have been asked for.
    Asked,
    /// There are none.
    Begun,
}

impl Scheduler {
    /// An attempt has been running for a while.
    pub(super) fn list_rest(&mut self, slot: u32) {
        let task = &self.tasks[slot];
        let Some(lease) = task.lease() else { return };
        if lease.rest != Rest::Listed && tail_of(task, lease.seat, self.config.world) == Tail::Asked {
            self.set_rest(slot, Rest::Listed);
        }
    }

    /// An attempt leaves its worker, or is lost with it.
    pub(super) fn unlist_rest(&mut self, slot: u32, lease: &Lease) {
        if matches!(lease.rest, Rest::Listed | Rest::Asked) {
            self.set_rest(slot, Rest::Unknown);
        }
    }

    fn set_rest(&mut self, slot: u32, rest: Rest) {
        let Self { tasks, shares, .. } = self;
        let task = &mut tasks[slot];
        let ticket = task.ticket;
        let lease = task.lease_mut().expect("only what a worker has has a rest there");
        match core::mem::replace(&mut lease.rest, rest) {
            Rest::Listed => drop(shares.long.remove(&(ticket, slot))),
            Rest::Asked => shares.asked -= 1,
            Rest::Unknown | Rest::Begun => {}
        }
        match rest {
            Rest::Listed => drop(shares.long.insert((ticket, slot))),
            Rest::Asked => shares.asked += 1,
            Rest::Unknown | Rest::Begun => {}
        }
    }

    /// Asks for the ends of as many chunks as there are idle slots, oldest first.
    pub(super) fn share_chunks(&mut self, actions: &mut Vec<Action>) {
        self.shares.given = 0;
        if self.shares.long.is_empty() || self.force.idle == 0 || self.ready.small_len() > 0 {
            return;
        }
        let free = self.force.idle.saturating_sub(self.kept_slots());
        let most = free.saturating_sub(self.shares.asked).min(limits::BATCH_ITEMS as u64) as usize;
        let looked_at = self.shares.long.iter().take(most + LOOKED_AT);
        let listed: Vec<u32> = looked_at.map(|(_, slot)| *slot).collect();
        let mut spoken = Vec::new();
        let wanted = listed.into_iter().filter(|slot| self.would_be_run(*slot, &mut spoken)).take(most);
        for slot in wanted.collect::<Vec<u32>>() {
            self.set_rest(slot, Rest::Asked);
            let task = &self.tasks[slot];
            let worker = task.lease().expect("what is listed is with a worker").worker;
            actions.push(Action::CutChunk { worker: self.workers[worker].id, attempt: task.attempt() });
        }
    }

    /// Whether an idle slot would run the end of a chunk; what is found out once of each Python is kept in mind.
    fn would_be_run(&self, slot: u32, spoken: &mut Vec<(PythonVersion, bool)>) -> bool {
        let at = self.tasks[slot].lease().expect("what is listed is with a worker").worker;
        if !self.is_wanted(slot) || self.workers[at].gone {
            return false;
        }
        let Some(python) = self.ready.queue(self.tasks[slot].queue).class.python else { return true };
        if let Some((_, known)) = spoken.iter().find(|(other, _)| *other == python) {
            return *known;
        }
        let mut workers = self.workers.iter().map(|(_, worker)| worker);
        let known = workers.any(|w| w.force().idle > 0 && w.offer.python == python);
        spoken.push((python, known));
        known
    }

    pub(super) fn on_chunk_cut(&mut self, id: WorkerId, attempt: AttemptId, at: Option<u32>) {
        let Some(worker) = self.heard(id) else { return };
        let Some(slot) = self.current(worker, attempt).filter(|slot| self.tasks[*slot].is_divisible()) else {
            self.ignored += 1;
            return;
        };
        let span = self.tasks[slot].call.span();
        // What is left of a run that is over, or for a client that has gone, is nobody's.
        let at = at.filter(|_| self.is_wanted(slot));
        match at {
            Some(at) if span.first < at && at < span.end => self.divide(slot, at),
            None if self.tasks[slot].lease().is_some_and(|lease| lease.rest == Rest::Asked) => {
                self.set_rest(slot, Rest::Begun);
            }
            Some(_) | None => self.ignored += 1,
        }
    }

    fn is_wanted(&self, slot: u32) -> bool {
        let task = &self.tasks[slot];
        match task.role {
            Role::Piece { run, .. } => !self.runs[run].is_over(),
            _ => self.sessions[task.session].link != Link::Left,
        }
    }

    /// The items of a chunk from `at` on become chunks of their own, for as many slots as are idle and will not get others.
    fn divide(&mut self, slot: u32, at: u32) {
        self.set_rest(slot, Rest::Unknown);
        let span = self.tasks[slot].call.span();
        let idle = self.force.idle.saturating_sub(self.shares.given).div_ceil(self.shares.asked + 1);
        let count = idle.clamp(1, limits::CHUNK_PARTS.into());
        self.shares.given += count;
        self.narrow(slot, Span { end: at, ..span });
        let parts = self.add_parts(slot, span, Span { first: at, ..span }.parts(count as u32));
        let Task { id, session, role, .. } = self.tasks[slot];
        if let Role::Plain(_) = role {
            self.sessions[session].divided.push((id.seq, parts));
        }
        self.list_rest(slot);
    }

    /// A chunk is about these of its items from now on.
    pub(super) fn narrow(&mut self, slot: u32, span: Span) {
        let task = &mut self.tasks[slot];
        self.held -= task.held_args();
        task.call = task.call.over(span);
        self.held += task.held_args();
    }

    /// Makes items that were a chunk's, which once had those of `span`, chunks of their own: the coordinator's. Returns where
    /// each begins among the items that the chunk had, and its number.
    pub(super) fn add_parts(&mut self, slot: u32, span: Span, parts: impl Iterator<Item = Span>) -> Vec<(u32, Seq)> {
        let task = &self.tasks[slot];
        let role = task.role;
        let (session, function, options, queue) = (task.session, task.function, task.options, task.queue);
        let (call, args) = (task.call, task.args.clone());
        let mut added = Vec::new();
        for part in parts {
            let from = part.first - span.first;
            let owner = &mut self.sessions[session];
            let seq = Seq::internal(owner.next_internal);
            owner.next_internal += 1;
            let work = Work { function, options, queue, call: call.over(part), args: args.clone() };
            let role = match role {
                Role::Piece { run, at } => Role::Piece { run, at: at + u64::from(from) },
                other => other,
            };
            let task = self.accept(session, seq, work, role);
            self.counts.waiting -= 1;
            self.make_ready(task);
            added.push((from, seq));
        }
        // It has more tasks now, perhaps too many.
        self.touch(session);
        added
    }

    /// Panics unless what may be asked for is what workers have that may be divided.
    pub(super) fn check_shares(&self) {
        let rests = || self.tasks.iter().filter_map(|(slot, task)| Some((slot, task, task.lease()?)));
        for (slot, task, lease) in rests() {
            let listed = self.shares.long.contains(&(task.ticket, slot));
            assert_eq!(listed, lease.rest == Rest::Listed, "what may be asked for is listed");
            assert!(lease.rest == Rest::Unknown || task.is_divisible() || task.call.span().len() == 1, "it has a rest");
        }
        let count = |rest| rests().filter(|(_, _, lease)| lease.rest == rest).count() as u64;
        assert_eq!(count(Rest::Listed), self.shares.long.len() as u64, "only what workers have is listed");
        assert_eq!(count(Rest::Asked), self.shares.asked, "what was asked for is counted");
    }
}

/// Who is to see to the end of a chunk that starts.
pub(super) fn tail_of(task: &Task, seat: Seat, world: World) -> Tail {
    match (world, seat) {
        (World::Open, Seat::Small) if task.is_divisible() => Tail::Asked,
        // Where no other worker can come, the one there is knows best.
        (World::Open | World::Closed, Seat::Small | Seat::Own) => Tail::Kept,
    }
}
