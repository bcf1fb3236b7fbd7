//! Every invariant, worked out from scratch: the tables against each other, the sums against their parts.

use super::fold::{Content, Fold};
use super::function::called;
use super::input::Edge;
use super::leftover::SHELVED;
use super::object::{Object, Tie};
use super::ready::{Class, Line, Rank};
use super::run::{Gather, Run, items_of};
use super::session::{Link, Session};
use super::slab::NONE;
use super::task::{Role, State, Task};
use super::timer::Timer;
use super::unschedulable::could_run;
use super::walk::Errand;
use super::worker::{Force, Health, Seat, Worker};
use super::{Scheduler, TaskTotals, Wake, Watch};
use crate::outcome::Outcome;
use crate::resource::Resources;
use crate::spec::Retention;
use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;

impl Scheduler {
    /// Panics if an invariant does not hold. Expensive: for tests and the simulator.
    pub fn check(&self) {
        self.check_between_steps();
        self.check_counts();
        self.check_held_bytes();
        self.check_admission();
        self.check_ready();
        let mut untold = self.untold();
        untold.append(&mut self.those_who_heard());
        self.tasks.iter().for_each(|(slot, task)| self.check_task(slot, task, &untold));
        self.check_edges();
        self.check_walks();
        self.check_advances();
        self.check_objects();
        self.check_force();
        self.check_shares();
        self.workers.iter().for_each(|(slot, worker)| self.check_worker(slot, worker));
        self.sessions.iter().for_each(|(slot, session)| self.check_session(slot, session));
        self.runs.iter().for_each(|(slot, run)| self.check_run(slot, run));
    }

    /// Nothing is left half done, and nothing that is due was left.
    fn check_between_steps(&self) {
        assert!(self.touched.is_empty(), "a step leaves no session to look at");
        assert!(self.unwanted.is_empty(), "a step leaves nothing that nobody wants");
        assert!(self.stirred_workers.is_empty(), "a step leaves no worker to look at");
        assert!(self.farewells.is_empty(), "a step hands out all its actions");
        assert!(self.unfolded.iter().all(|run| self.runs.get(*run).is_some()), "what may be folded is a run's");
        assert!(self.unordered.iter().all(|run| self.runs.get(*run).is_some()), "what is put in order is a run's");
        let due = self.deadline().filter(|(time, _)| *time <= self.now);
        let cut = self.slice.chores == 0 || self.slice.trifles == 0;
        assert!(self.stirred_objects.is_empty() || self.slice.services == 0, "what may be fetched is");
        assert!(self.walks.is_empty() || self.slice.passes == 0, "who is led past inputs is");
        assert!(self.behind.is_empty() || self.slice.ties == 0, "what can be taken is");
        assert!(self.lost.is_empty() || self.slice.chores == 0, "what is lost and awaited is made again");
        assert!(self.dregs.is_empty() || self.slice.trifles == 0, "what calls were given goes");
        let judged = cut || self.slice.verdicts == 0;
        assert!(due.is_none_or(|(_, wake)| judged || wake == Wake::Unfinished), "what is due was done");
        let told = self.tellings.is_empty() && self.losses.is_empty();
        let ended = self.fallout.is_empty() && told && self.over.is_empty();
        let settled = self.stirred.is_empty() && self.unordered.is_empty() && self.gone.is_empty();
        assert!(cut || (ended && settled), "nothing is left over without need");
    }

    fn check_counts(&self) {
        let mut counts = TaskTotals { done: self.counts.done, failed: self.counts.failed, ..TaskTotals::default() };
        for (_, task) in self.tasks.iter() {
            match task.state {
                State::Waiting { .. } => counts.waiting += 1,
                State::Ready(_) => counts.ready += 1,
                State::Assigned(_) => counts.assigned += 1,
                State::Done(_) => {}
            }
        }
        assert_eq!(counts, self.counts, "tasks by state");
        assert!(counts.failed <= counts.done, "what failed is over");
    }

    fn check_held_bytes(&self) {
        let of_task = |task: &Task| match &task.state {
            State::Done(outcome) => {
                assert!(task.args.is_empty() || task.object != NONE, "arguments go when a task is over");
                outcome.len() + task.held_args()
            }
            State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => task.held_args(),
        };
        let tasks: u64 = self.tasks.iter().map(|(_, task)| of_task(task)).sum();
        let runs: u64 = self.runs.iter().map(|(_, run)| run.held()).sum();
        let functions = self.sessions.iter().flat_map(|(_, session)| session.functions.iter());
        let functions: u64 = functions.map(|function| function.spec.body.carried()).sum();
        let recipes: u64 = self.recipes.values().flat_map(|recipe| &recipe.inputs).map(Outcome::len).sum();
        let gifts: u64 = self.workers.iter().flat_map(|(_, w)| &w.gifts).map(|gift| gift.value.carried()).sum();
        let puts: u64 = self.objects.iter().map(|(_, object)| object.held()).sum();
        assert_eq!(tasks + runs + functions + recipes + gifts + puts, self.held, "bytes held");
    }

    /// The ready queues hold exactly the ready tasks, each in the queue of its class.
    fn check_ready(&self) {
        let mut seen = BTreeSet::new();
        for (queue, q) in self.ready.all() {
            let slots = q.check(&self.tasks);
            assert_eq!(slots.len(), q.len(), "queues count their tasks");
            for slot in slots {
                assert_eq!(self.tasks[slot].queue, queue, "a task is in its own queue");
                assert!(seen.insert(slot), "a task is in its queue once");
            }
        }
        let ready = self.tasks.iter().filter(|(_, task)| matches!(task.state, State::Ready(_)));
        assert!(ready.map(|(slot, _)| slot).eq(seen), "ready tasks are those in the queues");
        self.ready.check(&self.tasks);
        if self.slice.starts > 0 && !self.pass.is_unfinished() {
            self.check_placed();
        }
        self.check_verdicts();
        let mut spoken = BTreeMap::new();
        self.workers.iter().for_each(|(_, w)| *spoken.entry(w.offer.python).or_insert(0) += 1);
        assert_eq!(spoken, self.spoken, "which Pythons there are");
    }

    /// No task waits for a seat of its own where there is room for it, nor without room kept for it where some may be.
    fn check_placed(&self) {
        let mut at = None;
        while let Some(rank) = self.ready.own_after(at).next() {
            at = Some(rank);
            let Rank { queue, line, .. } = rank;
            let (_, slot) = self.ready.head(&self.tasks, queue, line).expect("it is listed");
            let class = &self.ready.queue(queue).class;
            let keeps = self.ready.queue(queue).reserved(line).is_some() || line == Line::Troubled;
            for (worker, w) in self.workers.iter() {
                let may = self.may_die_at(slot, worker, &class.request, class.python);
                let affords = w.credit.allows(self.start_cost(slot, worker).1);
                assert!(!may || !affords || !self.takes_own(worker, queue), "{} takes what waits", w.id);
                assert!(keeps || !self.may_keep_at(worker, queue, slot), "{} may keep room for what waits", w.id);
            }
        }
    }

    /// Who is known to find a worker, or none, does.
    fn check_verdicts(&self) {
        for (queue, q) in self.ready.all().filter(|(_, q)| q.len() > 0) {
            let could = || self.workers.iter().any(|(_, w)| could_run(w, &q.class));
            let verdict = self.ready.verdict(queue, self.worker_set);
            assert!(verdict.is_none_or(|fits| fits == could()), "somebody could run what stands in a queue, or nobody");
        }
    }

    fn check_task(&self, slot: u32, task: &Task, untold: &BTreeSet<u32>) {
        if let Role::Past = task.role {
            let parts = self.walks.partings.get(&slot).is_some_and(|parting| parting.edges.len() > 0);
            let bare = task.is_done() && task.inputs.is_empty() && task.object == NONE && task.dependents == NONE;
            return assert!(parts && bare, "what is past has only to let go of what it needed");
        }
        let session = &self.sessions[task.session];
        assert!(task.id.session == session.id && session.index.peek(task.id.seq) == Some(slot), "one number, one task");
        assert!(task.ticket < self.ticket, "tickets ascend");
        if let Role::Put(retention) = task.role {
            let wanted = retention == Retention::Release || task.dependents != NONE;
            assert!(task.is_done() && wanted && task.inputs.is_empty(), "what was put is over, and wanted");
            return;
        }
        let options = &session.options(task.options).expect("a task's options are defined").options;
        assert!(task.raised <= options.retries, "exceptions are retried as often as allowed");
        assert!(
            task.trouble.as_ref().is_none_or(|t| task.is_done() || t.count < options.crash_limit),
            "deaths are bounded"
        );
        let Class { request, python, .. } = &self.ready.queue(task.queue).class;
        assert_eq!(*request, options.request, "a task's class is that of its options");
        match &task.state {
            State::Waiting { missing } => self.check_waiting(slot, *missing, untold),
            State::Ready(_) => {
                assert!(self.inputs_are_there(task), "a ready task has its inputs");
                assert!(task.inputs.iter().all(|edge| !untold.contains(edge)), "and knows it");
            }
            State::Assigned(lease) => {
                let worker = &self.workers[lease.worker];
                assert!(task.attempts > 0 && self.inputs_are_there(task), "what was started has its inputs");
                assert!(worker.speaks(*python) && worker.offer.capacity.holds(request), "its worker can run it");
                assert!(!worker.leaving.contains_key(&task.attempt()), "a cancelled attempt is never current");
                self.check_functions_known(session, task, lease.worker);
            }
            State::Done(_) => {
                let retained = match task.role {
                    Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } => {
                        retention == Retention::Release
                    }
                    Role::Made | Role::Past => false,
                    Role::Piece { .. } | Role::Fold { .. } => panic!("pieces and folds go when they are over"),
                };
                let alias = task.is_alias();
                let wanted = retained || task.dependents != NONE || task.object != NONE;
                assert!(
                    wanted && (task.inputs.len() == usize::from(alias) || task.object != NONE),
                    "what is kept is wanted"
                );
            }
        }
    }

    fn check_waiting(&self, slot: u32, missing: u32, untold: &BTreeSet<u32>) {
        let task = &self.tasks[slot];
        let is_missed = |edge: &&u32| {
            let Edge { input, tie, .. } = self.edges[**edge];
            tie == Tie::Need && (untold.contains(*edge) || !self.is_there(input))
        };
        if missing == NONE {
            let doomed = self.fallout.iter().any(|(doomed, ticket, _)| (*doomed, *ticket) == (slot, task.ticket));
            return assert!(doomed, "what misses it knows not what is about to fail");
        }
        let shelved = if missing >= SHELVED { SHELVED as usize } else { 0 };
        assert!(shelved == 0 || self.is_leftover_task(slot), "only what is nobody's is shelved");
        let tied = self.sessions[task.session].intake.as_ref().is_some_and(|intake| intake.ties(slot, task.ticket));
        let led = usize::from(self.walks.delays(slot) || tied);
        let expected = led
            + match task.role {
                Role::Result { run, .. } if task.object == NONE && shelved == 0 && !self.is_called(run) => {
                    1 + task.inputs.iter().filter(is_missed).count()
                }
                Role::Result { .. }
                | Role::Plain(_)
                | Role::Put(_)
                | Role::Piece { .. }
                | Role::Fold { .. }
                | Role::Made
                | Role::Past => shelved + task.inputs.iter().filter(is_missed).count(),
            };
        assert!(missing as usize == expected && missing > 0, "a waiting task counts what it misses");
    }

    /// Whether all is done for a run's combine to begin but for what its values are missing.
    fn is_called(&self, run: u32) -> bool {
        let turn = self.stirred.contains(&run) || self.unordered.contains(&run);
        self.runs[run].is_complete() && self.runs[run].is_combine() && !turn
    }

    pub(super) fn check_functions_known(&self, session: &Session, task: &Task, worker: u32) {
        for id in called(task.function, task.call) {
            let known = session.functions.get(id).is_some_and(|function| function.known_at.contains(worker));
            assert!(known && session.known_at.contains(worker), "a worker knows the functions of what it was given");
        }
    }

    fn inputs_are_there(&self, task: &Task) -> bool {
        if !task.inputs.iter().all(|edge| self.is_there(self.edges[*edge].input)) {
            return false;
        }
        match task.role {
            Role::Plain(_) | Role::Put(_) | Role::Piece { .. } | Role::Made | Role::Past => true,
            Role::Result { .. } if task.object != NONE => true,
            Role::Fold { run, start } => !self.runs[run].fold_inputs(start).is_empty(),
            Role::Result { run, .. } => {
                let run = &self.runs[run];
                run.is_complete()
            }
        }
    }

    /// Whoever waits is known to what it waits for, and the reverse.
    fn check_edges(&self) {
        let mut listed = 0;
        let mut named = BTreeSet::new();
        for (slot, task) in self.tasks.iter() {
            let parting = self.walks.partings.get(&slot).map_or(&[][..], |parting| parting.edges.as_slice());
            for edge in task.inputs.iter().chain(parting) {
                assert!(self.edges[*edge].dependent == slot && named.insert(*edge), "edges know who waits");
            }
        }
        for (slot, task) in self.tasks.iter() {
            let (mut edge, mut previous, mut here) = (task.dependents, NONE, 0);
            let last = self.edges.get(edge).map_or(NONE, |first| first.previous);
            while edge != NONE {
                let e = self.edges[edge];
                let before = if previous == NONE { last } else { previous };
                assert!(e.input == slot && e.previous == before, "edges are linked both ways");
                assert!(named.contains(&edge), "who is waited for knows it");
                assert!(!e.wanted || e.tie == Tie::Need, "only what is needed is to come");
                here += 1;
                (previous, edge) = (edge, e.next);
            }
            assert_eq!((previous, here), (last, task.dependents_total), "a list has its end and its length");
            listed += here as usize;
        }
        assert_eq!(listed, self.edges.len(), "every edge is listed");
    }

    /// Each edge says how its task hangs on it, as far as the task has been led past it.
    fn check_walks(&self) {
        for (slot, task) in self.tasks.iter() {
            let walk = self.walks.get(slot);
            let resting = matches!(walk, Some(walk) if matches!(walk.errand, Errand::Keep | Errand::Rest));
            let passed = walk.map_or(task.inputs.len(), |walk| walk.next);
            let (tie, edges) = match &task.state {
                State::Done(_) if task.object == NONE => (Tie::Alias, &task.inputs[..]),
                State::Done(_) => (Tie::Origin, &task.inputs[..passed]),
                State::Waiting { .. } if self.needs_again(slot) => (Tie::Need, &task.inputs[..passed]),
                State::Waiting { .. } | State::Ready(_) | State::Assigned(_) => (Tie::Need, &task.inputs[..]),
            };
            assert!(edges.iter().all(|edge| self.edges[*edge].tie == tie), "an edge says how a task hangs on it");
            let stands = match &task.state {
                State::Done(_) => resting,
                State::Waiting { .. } => self.walks.delays(slot),
                State::Ready(_) => false,
                State::Assigned(_) => walk.is_some_and(|walk| walk.errand == Errand::Want),
            };
            assert!(walk.is_none() || stands, "who is led past inputs has a reason");
        }
        let lives = |(slot, _): (u32, &_)| self.tasks.get(slot).is_some();
        assert!(self.walks.iter().all(lives), "only who lives is led");
    }

    fn needs_again(&self, slot: u32) -> bool {
        self.walks.get(slot).is_some_and(|walk| walk.errand == Errand::Need)
    }

    /// What is kept of all workers together is what they come to one by one.
    fn check_force(&self) {
        let mut force = Force::default();
        self.workers.iter().for_each(|(_, worker)| force.add(worker.force()));
        assert_eq!(force, self.force, "what all workers come to");
        let draining = self.workers.iter().filter(|(_, worker)| worker.health == Health::Draining);
        let listed: BTreeSet<u32> = self.draining.iter().copied().collect();
        assert!(draining.map(|(slot, _)| slot).collect::<BTreeSet<u32>>() == listed, "who drains is listed");
        self.check_roomy();
    }

    fn check_worker(&self, slot: u32, worker: &Worker) {
        let mut free = worker.offer.capacity.clone();
        let (mut small, mut held, mut recalled, mut previous, mut task) = (0, 0, 0, NONE, worker.first);
        let mut long = 0;
        let (mut priorities, mut holders) = (BTreeMap::new(), BTreeMap::new());
        let mut sit = |seat, request: &Resources, priority| match seat {
            Seat::Small => {
                small += 1;
                *priorities.entry(Reverse(priority)).or_insert(0) += 1;
            }
            Seat::Own => {
                free.take(request);
                if !request.named().is_empty() {
                    *holders.entry(request.cpus).or_insert(0) += 1;
                }
            }
        };
        while task != NONE {
            let lease = self.tasks[task].lease().expect("what a worker lists is assigned");
            assert!(lease.worker == slot && lease.previous == previous, "a worker's list is linked both ways");
            let class = &self.ready.queue(self.tasks[task].queue).class;
            sit(lease.seat, &class.request, class.priority);
            held += 1;
            recalled += u32::from(lease.recalled && !lease.started);
            long += u32::from(lease.started);
            (previous, task) = (task, lease.next);
        }
        worker.leaving.values().for_each(|leaving| sit(leaving.seat, &leaving.request, leaving.priority));
        assert_eq!((previous, held), (worker.last, worker.held), "a worker's list has its end and its length");
        assert_eq!(recalled, worker.recalled, "attempts asked back are counted");
        assert_eq!(long, worker.long, "attempts that have been running for a while are counted");
        let leases = self.tasks.iter().filter(|(_, t)| t.lease().is_some_and(|lease| lease.worker == slot)).count();
        assert_eq!(held as usize, leases, "each lease is in its worker's list");
        assert_eq!((&free, small), (&worker.free, worker.small), "seats at {}", worker.id);
        let counted = worker.priorities().iter().map(|(priority, count)| (Reverse(*priority), *count));
        assert!(counted.eq(priorities), "small attempts at {} by priority", worker.id);
        assert_eq!(&holders, worker.holders(), "who has named resources at {}", worker.id);
        assert!(worker.keeps_slots(), "what is kept of {} is free", worker.id);
        assert!(worker.queued() <= worker.offer.queue, "no more is queued than offered");
        assert!(worker.drops.is_empty(), "what may go is told");
        assert!(worker.starts.is_empty() && worker.forgets.is_empty(), "starts and forgets leave with their step");
        worker.credit.check();
        worker.owed.check();
        let mut timers = self.timers.iter().filter(|(_, timer)| *timer == Timer::JudgeWorker(worker.id));
        assert_eq!(timers.next().map(|(at, _)| *at), worker.judged, "when its silence is judged is known");
        let judged = worker.judged.is_some() == (worker.watch == Watch::Heartbeat);
        assert!(judged && timers.next().is_none(), "silence is judged where it can be, once");
    }

    fn check_session(&self, slot: u32, session: &Session) {
        let tasks: BTreeSet<u32> = session.index.all().collect();
        let is_past = |task: &Task| matches!(task.role, Role::Past);
        let ours = || self.tasks.iter().filter(|(_, task)| task.session == slot && !is_past(task));
        assert!(ours().map(|(task, _)| task).eq(tasks.iter().copied()), "a session indexes its tasks");
        let pending = ours().filter(|(_, task)| !task.is_done()).count();
        assert_eq!(pending as u64, session.pending, "pending tasks of {}", session.id);
        assert!(ours().all(|(_, t)| t.id.seq.is_internal() || t.id.seq.0 < session.next_seq), "numbers ascend");
        let may_run = |task: &Task| self.objects.get(task.object).map_or(!task.is_done(), Object::is_kept);
        let live = ours().filter(|(_, task)| may_run(task));
        session.functions.check(live.flat_map(|(_, task)| called(task.function, task.call)));
        for (id, run) in &session.runs {
            assert!(self.runs[*run].id == *id && self.runs[*run].session == slot, "a session knows its runs");
        }
        let unsealed = session.runs.values().filter(|run| !self.runs[**run].sealed).count();
        assert_eq!(unsealed as u64, session.unsealed, "runs of {} that may be given pieces", session.id);
        assert_eq!(session.intake.is_some(), self.behind.contains(&slot), "what is not taken to its end is");
        assert!(session.answers.is_empty(), "answers leave with their step");
        assert!(session.divided.is_empty(), "what has become of chunks is told in the step");
        assert!(session.ended.is_empty() && session.started.is_empty(), "news leave with their step");
        assert!(!session.unawaited_are_due(), "nor is what nobody waits for kept for ever");
        session.outbox.check();
        self.check_acquaintances(session);
        let timers = self.timers.iter().filter(|(_, timer)| *timer == Timer::DropSession(session.id)).count();
        match session.link {
            Link::Left => {
                assert_eq!((timers, session.outbox.kept()), (0, 0), "nobody is waited for who has left");
                assert!(self.remains.iter().any(|remains| remains.session == slot), "what is left is cleared away");
            }
            Link::Up => {
                assert_eq!(timers, 0, "a connected session has no deadline");
                assert!(!session.outbox.can_send(), "what may go goes");
                session.owed.check();
            }
            Link::Cut(until) => {
                assert!(timers == 1 && self.timers.contains(&(until, Timer::DropSession(session.id))), "a cut one has");
            }
        }
    }

    /// Who knows of a worker knows of one that has its place still.
    fn check_acquaintances(&self, session: &Session) {
        let known = |worker: u32| self.workers.get(worker).is_some();
        assert!(
            session.named.iter().chain(session.known_at.iter()).all(known),
            "what is known of workers is forgotten"
        );
        for function in session.functions.iter() {
            let known = |worker: u32| session.known_at.contains(worker);
            assert!(function.known_at.iter().all(known), "a session knows where its functions are known");
        }
    }

    fn check_run(&self, slot: u32, run: &Run) {
        let ours = |task: &Task| matches!(task.role, Role::Piece { run, .. } | Role::Fold { run, .. } if run == slot);
        let live = self.tasks.iter().filter(|(_, task)| ours(task) && !task.is_done()).count();
        assert_eq!(live as u64, run.live, "pieces and folds that are not over");
        assert_eq!(self.over.contains(&slot), run.is_over(), "a run that is over is cleared away");
        if run.is_over() || run.has_failed() {
            return;
        }
        assert_eq!(self.sessions[run.session].runs.get(&run.id), Some(&slot), "a run is known to its session");
        let is_result = |task: &Task| matches!(task.role, Role::Result { run, .. } if run == slot);
        assert!(self.tasks.get(run.result).is_some_and(|t| is_result(t) && !t.is_done()), "a run waits for its result");
        let mut folds = BTreeMap::new();
        let mut pieces = BTreeMap::new();
        for (task, t) in self.tasks.iter() {
            match t.role {
                Role::Piece { run, at } if run == slot => {
                    assert!(pieces.insert(at, items_of(t.call)).is_none(), "one task a piece");
                }
                Role::Fold { run, start } if run == slot => {
                    assert!(folds.insert(start, task).is_none(), "one task a fold");
                }
                _ => {}
            }
        }
        assert_eq!(pieces.values().sum::<u64>(), run.items - run.progress.items, "items that are not over");
        let mut ends = pieces.iter().map(|(at, items)| at + items);
        assert!(ends.clone().zip(pieces.keys().skip(1)).all(|(end, next)| end <= *next), "an item is in one piece");
        assert!(ends.next_back().is_none_or(|end| end <= run.items), "items are numbered from 0");
        match &run.gather {
            Gather::Fold(fold) => check_fold(fold, &pieces, &folds, run.items),
            Gather::Combine(combine) => {
                assert!(folds.is_empty(), "a combine folds nothing");
                combine.check();
            }
        }
    }
}

/// Ranges are disjoint and in order; with the pieces that are not over they cover every position once.
fn check_fold(fold: &Fold, pieces: &BTreeMap<u64, u64>, folds: &BTreeMap<u64, u32>, total: u64) {
    let (mut covered, mut end, mut before, mut folding) = (0, 0, None::<&Content>, 0);
    for (start, range) in fold.ranges() {
        assert!(*start >= end && range.end > *start && range.end <= total + 1, "ranges are disjoint and in order");
        let runs = matches!(range.content, Content::Folding(_));
        let parted = *start > end || before.is_none_or(|before| !before.joins(&range.content));
        assert!(parted, "nothing stands beside a value");
        assert_eq!(folds.contains_key(start), runs, "a fold that runs has its task");
        let last = pieces.range(..range.end - 1).next_back();
        assert!(last.is_none_or(|(at, items)| at + items < *start), "a range is over");
        folding += usize::from(runs);
        covered += range.end - start;
        (end, before) = (range.end, Some(&range.content));
    }
    assert_eq!((folding, folds.len()), (fold.folding(), folding), "folds that run");
    assert_eq!(covered + pieces.values().sum::<u64>(), total + 1, "every position is over or has its piece");
}
