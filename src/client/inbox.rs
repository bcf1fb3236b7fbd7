//! What has come back: outcomes by task, and the threads that wait for them.
//!
//! The driver files a batch under one lock (cut into pieces, so that nobody waits long for it) and wakes, after the lock,
//! exactly the threads that wait for one of its tasks.

use super::table::{Filed, FixedState, Table};
use super::waiter::{Waiter, Wish, wake_all};
use super::{Completion, Loss, State, Verdict};
use plait_core::id::{RunId, Seq, WorkerId};
use plait_core::outcome::{Delivery, Failure, Outcome, Progress, Story};
use plait_core::spec::{Cancel, Request};
use plait_core::value::{Stored, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Outcomes filed under one hold of the lock.
const FILED_AT_ONCE: usize = 128;

/// The inbox.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    table: Table,
    /// Tasks below this are in the table if anybody can ask for them.
    registered: u64,
    waiters: HashMap<u64, Vec<Arc<Waiter>>, FixedState>,
    /// Watched tasks that are over.
    told: Vec<Seq>,
    dispatchers: Vec<Arc<Waiter>>,
    /// Threads that wait until nothing is pending.
    idlers: Vec<Arc<Waiter>>,
    runs: HashMap<u64, Run, FixedState>,
    results: HashMap<u32, Seq, FixedState>,
    /// Values that were put and are not known to be kept: what is delivered of them is without its bytes.
    puts: HashMap<u64, Value, FixedState>,
    /// What the ends of chunks have become, where nobody has taken it over: where each begins, and its number.
    parts: HashMap<u64, Vec<(u32, Seq)>, FixedState>,
    /// What is known of tasks whose values are being fetched.
    absent: HashMap<u64, Completion, FixedState>,
    workers: HashMap<u32, Arc<str>, FixedState>,
    end: Option<End>,
}

/// A run whose result is held here.
#[derive(Debug)]
struct Run {
    id: RunId,
    progress: Progress,
}

/// Tasks that are over and whose values are with workers.
#[derive(Debug, Default)]
pub(super) struct Referred {
    /// Somebody may ask for these values, and they are not here: their tasks are not over before they are supplied.
    pub(super) absent: Vec<Seq>,
    /// Nobody can ask for these any more, which the coordinator may not know yet.
    pub(super) unwanted: Vec<Seq>,
}

/// How it all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client was closed: what was pending is cancelled.
    Closed,
    /// The coordinator was lost.
    Lost(Loss),
}

impl Inbox {
    /// Where a task is. `next` is the number of the next task to be submitted.
    pub(super) fn state(&self, task: Seq, next: Seq) -> State {
        self.lock().state(task, next)
    }

    /// How a task ended, if its outcome is still to be taken; its value stays where it is.
    pub(super) fn look(&self, task: Seq) -> Option<(Verdict, Story)> {
        let contents = self.lock();
        let completion = contents.table.look(task).or_else(|| contents.absent.get(&task.0))?;
        Some((completion.verdict(), completion.story))
    }

    /// Takes an outcome out.
    pub(super) fn take(&self, task: Seq) -> Option<Completion> {
        self.lock().table.take(task)
    }

    /// An outcome that was taken refers to a value that is here no more: the task is not over before that is supplied. Gives
    /// the outcome back once nothing can be supplied any more.
    pub(super) fn await_value(&self, task: Seq, completion: Completion) -> Option<Completion> {
        let mut contents = self.lock();
        if contents.end.is_some() {
            return Some(completion);
        }
        contents.table.register(task);
        contents.absent.insert(task.0, completion);
        None
    }

    /// Whether a task is over, wherever its value is.
    pub(super) fn is_over(&self, task: Seq) -> bool {
        let contents = self.lock();
        contents.table.state(task) == State::Done || contents.absent.contains_key(&task.0)
    }

    /// Nobody holds a task any more.
    pub(super) fn forget(&self, tasks: &[Seq]) {
        let (mut waking, mut contents) = (Vec::new(), self.lock());
        for task in tasks {
            contents.table.forget(*task);
            for part in contents.disown(*task) {
                contents.table.forget(part);
            }
            if let Some(completion) = contents.absent.remove(&task.0) {
                // It is over: only its value was waited for.
                contents.file(*task, completion, &mut waking);
            }
            if let Some(run) = contents.runs.remove(&task.0) {
                contents.results.remove(&run.id.0);
            }
        }
        drop(contents);
        wake_all(&mut waking);
    }

    /// Takes over what the end of a chunk has become: tasks that each have its items from there on, up to the next one.
    pub(super) fn take_parts(&self, chunk: Seq) -> Vec<(u32, Seq)> {
        let mut parts = self.lock().parts.remove(&chunk.0).unwrap_or_default();
        parts.sort_unstable();
        parts
    }

    /// Waits until one of `tasks` is not pending (or, if `wish` says so, its run has made progress, or it has parts that nobody has
    /// taken over).
    pub(super) fn wait(&self, tasks: &[Seq], wish: Wish, timeout: Duration) -> bool {
        let told = |contents: &Contents, task: &Seq| {
            contents.is_settled(*task) || (wish == Wish::Progress && contents.parts.contains_key(&task.0))
        };
        self.wait_unless(|contents| tasks.iter().any(|task| told(contents, task)), tasks, wish, timeout)
    }

    /// Waits until the result of a run is not pending, or more items of it are over than `seen`.
    pub(super) fn wait_progress(&self, result: Seq, seen: u64, timeout: Duration) -> bool {
        let is_further = |contents: &Contents| {
            let further = contents.runs.get(&result.0).is_some_and(|run| run.progress.items > seen);
            further || contents.is_settled(result)
        };
        self.wait_unless(is_further, &[result], Wish::Progress, timeout)
    }

    /// Waits for `tasks`, unless there is nothing to wait for.
    fn wait_unless(&self, over: impl FnOnce(&Contents) -> bool, tasks: &[Seq], wish: Wish, timeout: Duration) -> bool {
        let waiter = {
            let mut contents = self.lock();
            if over(&contents) {
                return true;
            }
            let waiter = Waiter::new(wish);
            for task in tasks {
                contents.waiters.entry(task.0).or_default().push(Arc::clone(&waiter));
            }
            waiter
        };
        let woken = waiter.wait(timeout);
        let mut contents = self.lock();
        tasks.iter().for_each(|task| contents.dismiss(*task, &waiter));
        woken
    }

    /// The dispatcher wants to be told of a task's end.
    pub(super) fn watch(&self, task: Seq) {
        let mut dispatchers = Vec::new();
        {
            let mut contents = self.lock();
            if task.0 >= contents.registered && contents.end.is_none() {
                contents.table.register(task);
            }
            if contents.table.watch(task) {
                contents.told.push(task);
                std::mem::swap(&mut contents.dispatchers, &mut dispatchers);
            }
        }
        wake_all(&mut dispatchers);
    }

    /// Moves the watched tasks that are over into `into`; waits for the first one unless all is at its end.
    pub(super) fn next_watched(&self, timeout: Duration, into: &mut Vec<Seq>) {
        let waiter = {
            let mut contents = self.lock();
            if !contents.told.is_empty() || contents.end.is_some() {
                into.append(&mut contents.told);
                return;
            }
            let waiter = Waiter::new(Wish::Outcome);
            contents.dispatchers.push(Arc::clone(&waiter));
            waiter
        };
        waiter.wait(timeout);
        let mut contents = self.lock();
        contents.dispatchers.retain(|other| !Arc::ptr_eq(other, &waiter));
        into.append(&mut contents.told);
    }

    /// Waits until every task below `next` is over, whether or not anybody holds it.
    pub(super) fn wait_idle(&self, next: Seq, timeout: Duration) -> bool {
        let waiter = {
            let mut contents = self.lock();
            if contents.is_idle(next) {
                return true;
            }
            let waiter = Waiter::new(Wish::Outcome);
            contents.idlers.push(Arc::clone(&waiter));
            waiter
        };
        waiter.wait(timeout);
        let mut contents = self.lock();
        contents.idlers.retain(|other| !Arc::ptr_eq(other, &waiter));
        contents.is_idle(next)
    }

    /// Every task below `next` that is not over.
    pub(super) fn open(&self, next: Seq) -> Vec<Seq> {
        let contents = self.lock();
        let mut tasks = contents.table.open();
        tasks.extend((contents.registered..next.0).map(Seq).filter(|task| !contents.table.is_known(*task)));
        tasks
    }

    /// How far a run is, as far as is known.
    pub(super) fn progress(&self, run: RunId) -> Progress {
        let contents = self.lock();
        let result = contents.results.get(&run.0);
        result.and_then(|result| contents.runs.get(&result.0)).map(|run| run.progress).unwrap_or_default()
    }

    /// A worker's name.
    pub(super) fn worker_name(&self, worker: WorkerId) -> Option<Arc<str>> {
        self.lock().workers.get(&worker.0).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's side.
impl Inbox {
    /// Makes room for what `requests` will come to. Returns the parts of chunks that are to be stopped, as these are.
    pub(super) fn register(&self, requests: &[Request]) -> Vec<Seq> {
        let (mut contents, mut stopped) = (self.lock(), Vec::new());
        requests.iter().for_each(|request| contents.register(request, &mut stopped));
        stopped
    }

    /// The end of a chunk has become these tasks. They share its fate: nobody hears of them if nobody holds it, and they are
    /// returned if it was stopped, and they are to be.
    pub(super) fn divide(&self, chunk: Seq, parts: Vec<(u32, Seq)>) -> Vec<Seq> {
        let (mut waking, mut stopped) = (Vec::new(), Vec::new());
        {
            let mut guard = self.lock();
            let contents = &mut *guard;
            if contents.end.is_some() || !contents.table.is_known(chunk) {
                return stopped;
            }
            parts.iter().for_each(|(_, part)| contents.table.register(*part));
            if contents.table.is_stopped(chunk) {
                stopped.extend(parts.iter().map(|(_, part)| *part));
                contents.stop(&stopped);
            } else if contents.table.is_live(chunk) {
                contents.parts.entry(chunk.0).or_default().extend(parts);
                waking.extend(contents.curious(chunk));
            } else {
                parts.iter().for_each(|(_, part)| contents.table.forget(*part));
            }
        }
        wake_all(&mut waking);
        stopped
    }

    /// Files outcomes and wakes those who wait for them. Says what is to become of values that are with workers.
    pub(super) fn deliver(&self, deliveries: Vec<Delivery>, here: impl Fn(&Stored) -> bool) -> Referred {
        let (mut waking, mut referred) = (Vec::new(), Referred::default());
        let mut deliveries = deliveries.into_iter();
        while deliveries.len() > 0 {
            {
                let mut contents = self.lock();
                for Delivery { seq, outcome, story } in deliveries.by_ref().take(FILED_AT_ONCE) {
                    let elsewhere = outcome.stored().map(|stored| !here(stored));
                    let completion = Completion { outcome: Ok(outcome), story };
                    match elsewhere {
                        Some(_) if !contents.table.is_live(seq) => referred.unwanted.push(seq),
                        Some(true) => {
                            contents.absent.insert(seq.0, completion);
                            referred.absent.push(seq);
                            continue;
                        }
                        Some(false) | None => {}
                    }
                    contents.file(seq, completion, &mut waking);
                }
            }
            wake_all(&mut waking);
        }
        referred
    }

    /// Files a value that was fetched, or why it is lost.
    pub(super) fn supply(&self, task: Seq, outcome: Outcome) {
        let mut waking = Vec::new();
        {
            let mut contents = self.lock();
            let Some(Completion { story, .. }) = contents.absent.remove(&task.0) else { return };
            contents.file(task, Completion { outcome: Ok(outcome), story }, &mut waking);
        }
        wake_all(&mut waking);
    }

    /// These tasks run.
    pub(super) fn start(&self, tasks: &[Seq]) {
        let mut contents = self.lock();
        tasks.iter().for_each(|task| contents.table.start(*task));
    }

    /// How far a run is.
    pub(super) fn show_progress(&self, run: RunId, progress: Progress) {
        let mut waking = Vec::new();
        {
            let mut guard = self.lock();
            let contents = &mut *guard;
            let Some(result) = contents.results.get(&run.0) else { return };
            if let Some(run) = contents.runs.get_mut(&result.0) {
                run.progress = progress;
            }
            waking.extend(contents.curious(*result));
        }
        wake_all(&mut waking);
    }

    /// A worker's name.
    pub(super) fn name_worker(&self, worker: WorkerId, name: &str) {
        self.lock().workers.insert(worker.0, name.into());
    }

    /// Tasks without an outcome.
    pub(super) fn pending(&self) -> u64 {
        self.lock().table.pending()
    }

    /// Settles everything that is pending, for good; only the first end counts. What refers to a value that can still be
    /// `read` gets it: it may be gone soon.
    pub(super) fn end(&self, end: End, read: impl Fn(&Stored) -> Option<Value>) {
        let mut waking = Vec::new();
        {
            let mut guard = self.lock();
            let contents = &mut *guard;
            if contents.end.is_some() {
                return;
            }
            contents.end = Some(end);
            let outcome = match end {
                End::Closed => Ok(Outcome::Cancelled),
                End::Lost(loss) => Err(loss),
            };
            let completion = Completion { outcome, story: Story::default() };
            contents.puts.clear();
            if end == End::Closed {
                contents.give_up_absent(&mut waking);
            }
            contents.absent.clear();
            for kept in contents.table.kept() {
                if let Some(value) = kept.stored().and_then(&read) {
                    kept.outcome = Ok(Outcome::Value(value));
                }
            }
            contents.table.complete_all(&completion, |task| contents.told.push(task));
            waking.extend(contents.waiters.drain().flat_map(|(_, waiters)| waiters));
            waking.append(&mut contents.dispatchers);
            waking.append(&mut contents.idlers);
        }
        wake_all(&mut waking);
    }
}

impl Contents {
    fn state(&self, task: Seq, next: Seq) -> State {
        let unregistered = task.0 >= self.registered && task < next && self.end.is_none();
        if unregistered { State::Pending } else { self.table.state(task) }
    }

    fn is_idle(&self, next: Seq) -> bool {
        self.end.is_some() || (self.table.pending() == 0 && self.registered >= next.0)
    }

    fn is_settled(&self, task: Seq) -> bool {
        match self.table.state(task) {
            State::Pending | State::Running => false,
            State::Done => true,
            // The coordinator's own are registered before anybody hears of them.
            State::Unknown => task.0 < self.registered || task.is_internal() || self.end.is_some(),
        }
    }

    fn register(&mut self, request: &Request, stopped: &mut Vec<Seq>) {
        match request {
            Request::Submit(tasks) => {
                for task in tasks {
                    if task.run.is_none() {
                        self.table.register(task.seq);
                    }
                    self.registered = task.seq.0 + 1;
                }
            }
            Request::Put { seq, value } => {
                self.table.register(*seq);
                self.puts.insert(seq.0, value.clone());
                self.registered = seq.0 + 1;
            }
            Request::OpenRun(run) => {
                self.table.register(run.result);
                self.runs.insert(run.result.0, Run { id: run.id, progress: Progress::default() });
                self.results.insert(run.id.0, run.result);
                self.registered = run.result.0 + 1;
            }
            Request::Cancel { tasks, cancel: Cancel::Running } => {
                for task in tasks {
                    self.table.stop(*task);
                    let parts = self.disown(*task);
                    self.stop(&parts);
                    stopped.extend(parts);
                }
            }
            Request::DefineFunction(_)
            | Request::DefineOptions { .. }
            | Request::SealRun { .. }
            | Request::Cancel { cancel: Cancel::Pending, .. }
            | Request::Release(_)
            | Request::ReleaseFunctions(_)
            | Request::Fetch { .. }
            | Request::Introduce(_)
            | Request::Took(_)
            | Request::Relay { .. } => {}
        }
    }

    fn file(&mut self, task: Seq, mut completion: Completion, waking: &mut Vec<Arc<Waiter>>) {
        if !self.puts.is_empty()
            && let Some(put) = self.puts.remove(&task.0)
            && let Ok(Outcome::Value(value)) = &mut completion.outcome
        {
            *value = put;
        }
        let filed = self.table.complete(task, completion);
        if self.table.pending() == 0 {
            waking.append(&mut self.idlers);
        }
        match filed {
            Filed::Unwanted => return,
            Filed::Kept => {}
            Filed::Watched => {
                self.told.push(task);
                waking.append(&mut self.dispatchers);
            }
        }
        if !self.waiters.is_empty() {
            waking.extend(self.waiters.remove(&task.0).into_iter().flatten());
        }
    }

    /// Nobody will fetch the values of these tasks, which are over: it is too late for them to be cancelled.
    fn give_up_absent(&mut self, waking: &mut Vec<Arc<Waiter>>) {
        let mut absent: Vec<_> = self.absent.drain().collect();
        absent.sort_unstable_by_key(|(task, _)| *task);
        for (task, Completion { story, .. }) in absent {
            let failure = Failure::Unknown("the client was closed before its value was fetched".into());
            let outcome = Ok(Outcome::Failed(Box::new(failure)));
            self.file(Seq(task), Completion { outcome, story }, waking);
        }
    }

    /// What the end of a chunk has become, and the ends of that, where nobody has taken it over.
    fn disown(&mut self, chunk: Seq) -> Vec<Seq> {
        let mut parts: Vec<Seq> = Vec::new();
        if self.parts.is_empty() {
            return parts;
        }
        let (mut next, mut looked_at) = (Some(chunk), 0);
        while let Some(chunk) = next {
            parts.extend(self.parts.remove(&chunk.0).into_iter().flatten().map(|(_, part)| part));
            next = parts.get(looked_at).copied();
            looked_at += 1;
        }
        parts
    }

    /// Nobody will ask for these parts, which are to be stopped.
    fn stop(&mut self, parts: &[Seq]) {
        for part in parts {
            self.table.stop(*part);
            self.table.forget(*part);
        }
    }

    /// Those who wait for more than a task's end.
    fn curious(&self, task: Seq) -> impl Iterator<Item = Arc<Waiter>> {
        let waiters = self.waiters.get(&task.0).into_iter().flatten();
        waiters.filter(|waiter| waiter.wish() == Wish::Progress).cloned()
    }

    fn dismiss(&mut self, task: Seq, waiter: &Arc<Waiter>) {
        if let Some(waiters) = self.waiters.get_mut(&task.0) {
            waiters.retain(|other| !Arc::ptr_eq(other, waiter));
            if waiters.is_empty() {
                self.waiters.remove(&task.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plait_core::id::{Attempt, AttemptId, FunctionId, ObjectId, OptionsId, SessionId, TaskId};
    use plait_core::spec::{Call, Errors, Retention, Span, TaskSpec};

    const CHUNK: Seq = Seq(0);
    const A: Seq = Seq::internal(0);
    const B: Seq = Seq::internal(1);
    const C: Seq = Seq::internal(2);

    /// With a chunk on its way.
    fn inbox() -> Inbox {
        let inbox = Inbox::default();
        let chunk = TaskSpec {
            seq: CHUNK,
            function: FunctionId(0),
            options: OptionsId(0),
            call: Call::Chunk { errors: Errors::Return, retries: 0, span: Span::whole(100) },
            args: Value::empty(),
            inputs: Box::default(),
            run: None,
            retention: Retention::Delivery,
        };
        assert!(inbox.register(&[Request::Submit(vec![chunk])]).is_empty());
        inbox
    }

    fn end(inbox: &Inbox, task: Seq) {
        let delivery = Delivery { seq: task, outcome: Outcome::Skipped, story: Story::default() };
        inbox.deliver(vec![delivery], |_| true);
    }

    fn stop(task: Seq) -> Request {
        Request::Cancel { tasks: vec![task], cancel: Cancel::Running }
    }

    fn states(inbox: &Inbox) -> [State; 3] {
        [A, B, C].map(|task| inbox.state(task, Seq(1)))
    }

    #[test]
    fn what_the_end_of_a_chunk_has_become_is_taken_over_in_the_order_of_its_items() {
        let inbox = inbox();
        assert!(inbox.divide(CHUNK, vec![(50, A), (75, B)]).is_empty());
        assert!(inbox.divide(CHUNK, vec![(20, C)]).is_empty());
        assert!(inbox.wait(&[CHUNK], Wish::Progress, Duration::ZERO), "there is something to take over");
        assert!(!inbox.wait(&[CHUNK], Wish::Outcome, Duration::ZERO), "but it is not over");
        assert_eq!(inbox.take_parts(CHUNK), [(20, C), (50, A), (75, B)]);
        assert_eq!(inbox.take_parts(CHUNK), []);
        assert!(!inbox.wait(&[CHUNK], Wish::Progress, Duration::ZERO));
        assert_eq!((inbox.pending(), states(&inbox)), (4, [State::Pending; 3]));
        end(&inbox, A);
        assert!(inbox.take(A).is_some());
        assert!(inbox.wait(&[A], Wish::Outcome, Duration::ZERO), "what was taken is not waited for");
    }

    #[test]
    fn parts_that_nobody_has_taken_over_are_stopped_with_their_chunk() {
        let inbox = inbox();
        inbox.divide(CHUNK, vec![(50, A)]);
        inbox.divide(A, vec![(10, B)]);
        assert_eq!(inbox.register(&[stop(CHUNK)]), [A, B]);
        assert_eq!(inbox.divide(CHUNK, vec![(20, C)]), [C], "news that was on the way");
        assert_eq!((inbox.pending(), states(&inbox)), (4, [State::Unknown; 3]));
        [CHUNK, A, B, C].iter().for_each(|task| end(&inbox, *task));
        assert_eq!((inbox.pending(), inbox.take_parts(CHUNK)), (0, vec![]));
    }

    #[test]
    fn parts_that_were_taken_over_stand_for_themselves() {
        let inbox = inbox();
        inbox.divide(CHUNK, vec![(50, A)]);
        inbox.take_parts(CHUNK);
        assert_eq!(inbox.register(&[stop(CHUNK)]), []);
        assert_eq!(inbox.divide(A, vec![(10, B)]), []);
        assert_eq!(inbox.register(&[Request::Cancel { tasks: vec![A], cancel: Cancel::Pending }]), []);
        assert_eq!(inbox.take_parts(A), [(10, B)], "what runs goes on unless it is stopped");
    }

    #[test]
    fn nobody_hears_of_the_parts_of_a_chunk_that_nobody_holds() {
        let inbox = inbox();
        inbox.divide(CHUNK, vec![(50, A)]);
        inbox.divide(A, vec![(10, B)]);
        inbox.forget(&[CHUNK]);
        assert_eq!(inbox.divide(CHUNK, vec![(20, C)]), []);
        assert_eq!((inbox.pending(), states(&inbox)), (4, [State::Unknown; 3]), "they run all the same");
        [CHUNK, A, B, C].iter().for_each(|task| end(&inbox, *task));
        assert_eq!(inbox.pending(), 0);
        assert_eq!(inbox.divide(CHUNK, vec![(5, A)]), []);
        assert_eq!(inbox.pending(), 0, "nothing is expected of what is not known");
    }

    #[test]
    fn who_looks_at_an_outcome_leaves_it_where_it_is() {
        let inbox = inbox();
        inbox.divide(CHUNK, vec![(20, A), (50, B), (75, C)]);
        assert_eq!(inbox.look(CHUNK), None);
        let object = ObjectId(AttemptId { task: TaskId::new(SessionId(0), CHUNK), attempt: Attempt(1) });
        let stored = || Outcome::Value(Stored { object, lengths: [9].into() }.into());
        let story = Story { run_micros: 7, ..Story::default() };
        let ends = [(CHUNK, stored()), (A, Outcome::Cancelled), (B, Outcome::Raised(Value::empty()))];
        let deliveries = ends.into_iter().map(|(seq, outcome)| Delivery { seq, outcome, story });
        inbox.deliver(deliveries.collect(), |_| true);
        for _ in 0..2 {
            let looked = [CHUNK, A, B].map(|task| inbox.look(task));
            assert_eq!(looked, [Verdict::Value, Verdict::Cancelled, Verdict::Failed].map(|how| Some((how, story))));
        }
        inbox.deliver(vec![Delivery { seq: C, outcome: stored(), story }], |_| false);
        assert_eq!(inbox.look(C), Some((Verdict::Value, story)), "wherever its value is");
        assert!(inbox.take(CHUNK).is_some());
        assert_eq!(inbox.look(CHUNK), None);
    }

    #[test]
    fn a_task_that_is_released_while_its_value_is_fetched_is_not_waited_for() {
        let inbox = inbox();
        let object = ObjectId(AttemptId { task: TaskId::new(SessionId(0), CHUNK), attempt: Attempt(1) });
        let outcome = Outcome::Value(Stored { object, lengths: [9].into() }.into());
        let delivery = Delivery { seq: CHUNK, outcome, story: Story::default() };
        assert_eq!(inbox.deliver(vec![delivery], |_| false).absent, [CHUNK]);
        assert!(!inbox.wait_idle(Seq(1), Duration::ZERO));
        inbox.forget(&[CHUNK]);
        assert!(inbox.wait_idle(Seq(1), Duration::ZERO));
        inbox.supply(CHUNK, Outcome::Value(Value::empty()));
        assert_eq!((inbox.pending(), inbox.state(CHUNK, Seq(1))), (0, State::Unknown));
    }

    #[test]
    fn a_task_that_is_over_is_not_cancelled_by_the_end_of_its_client() {
        let object = ObjectId(AttemptId { task: TaskId::new(SessionId(0), CHUNK), attempt: Attempt(1) });
        let story = Story { run_micros: 7, ..Story::default() };
        for (how, error) in [(End::Closed, None), (End::Lost(Loss::Ended), Some(Loss::Ended))] {
            let inbox = inbox();
            inbox.divide(CHUNK, vec![(50, A)]);
            let outcome = Outcome::Value(Stored { object, lengths: [9].into() }.into());
            assert_eq!(inbox.deliver(vec![Delivery { seq: CHUNK, outcome, story }], |_| false).absent, [CHUNK]);
            inbox.watch(CHUNK);
            inbox.end(how, |_| None);
            let mut told = Vec::new();
            inbox.next_watched(Duration::ZERO, &mut told);
            assert_eq!((told, inbox.pending()), (vec![CHUNK], 0));
            assert_eq!(inbox.look(CHUNK).map(|(verdict, _)| verdict), Some(Verdict::Failed), "its value is lost");
            let completion = inbox.take(CHUNK).unwrap();
            assert_eq!((completion.outcome.err(), completion.story == story), (error, error.is_none()));
            let open = inbox.look(A).map(|(verdict, _)| verdict);
            assert_eq!(open, Some(if error.is_none() { Verdict::Cancelled } else { Verdict::Failed }));
        }
    }
}
