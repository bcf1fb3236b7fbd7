//! What the cluster goes through. Each case begins with a cluster of its own and says how its steps went.

use crate::clock::resident_bytes;
use crate::cluster::{BATCH, Cluster, FIRST_OPTIONS, Make, Results, SLOTS, USUAL, Work, asking};
use plait_core::id::{FunctionId, OptionsId, RunId, Seq, SessionId, WorkerId};
use plait_core::scheduler::Event;
use plait_core::spec::{Cancel, Errors, Finish, Grouping, Options, Request, Retention, RunSpec};
use std::time::Duration;

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) workers: u32,
    pub(crate) tasks: u64,
}

/// How the steps of one phase went.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// What its whole time is divided by: tasks, or steps if it is about none.
    pub(crate) items: u64,
    pub(crate) spans: Vec<Duration>,
}

/// Sessions of the large backlog.
const SESSIONS: u32 = 4;
/// The session that goes on beside.
const ASIDE: SessionId = SessionId(SESSIONS);
/// Tasks of a small submission beside something large.
const FEW: u64 = 100;
/// Steps of a phase in which nothing is to be done.
const QUIET_STEPS: usize = 1_000;

/// Phases one after the other.
struct Recorder {
    cluster: Cluster,
    phases: Vec<Phase>,
}

impl Recorder {
    fn new(cluster: Cluster) -> Self {
        let mut recorder = Self { cluster, phases: Vec::new() };
        recorder.cluster.spans.clear();
        recorder
    }

    fn phase(&mut self, name: &'static str, items: u64, act: impl FnOnce(&mut Cluster)) {
        act(&mut self.cluster);
        let spans = std::mem::take(&mut self.cluster.spans);
        self.phases.push(Phase { name, items, spans });
    }
}

/// A backlog of plain tasks: submitted, handed out, run, disturbed, cancelled, left behind. Also bytes per pending task.
pub(crate) fn backlog(size: Size) -> (Vec<Phase>, f64) {
    let each = size.tasks / u64::from(SESSIONS);
    let mut recorder = Recorder::new(Cluster::new(SESSIONS + 1));
    let before = resident_bytes();
    recorder.phase("submit", size.tasks, |cluster| {
        for n in 0..SESSIONS {
            cluster.submit(SessionId(n), each, |_, _| {});
        }
    });
    let bytes = resident_bytes().saturating_sub(before) as f64 / size.tasks as f64;
    recorder.phase("workers join", u64::from(size.workers), |cluster| {
        for _ in 0..size.workers {
            cluster.join();
            cluster.come_to_rest();
        }
    });
    recorder.phase("idle, all busy", QUIET_STEPS as u64, |cluster| {
        (0..QUIET_STEPS).for_each(|_| cluster.step(Work::Stands));
    });
    recorder.phase("run", size.tasks / 4, |cluster| {
        let until = cluster.done + size.tasks / 4;
        while cluster.done < until {
            cluster.step(Work::Goes);
        }
    });
    recorder.phase("a worker is lost", 1, |cluster| {
        cluster.lose(1);
        cluster.come_to_rest();
    });
    let rack = (size.workers / 10).max(1);
    recorder.phase("a tenth is lost", u64::from(rack), |cluster| {
        cluster.lose(rack as usize);
        cluster.come_to_rest();
        for _ in 0..=rack {
            cluster.join();
            cluster.come_to_rest();
        }
    });
    recorder.phase("all is cancelled", each, |cluster| {
        for first in (0..each).step_by(BATCH as usize) {
            let tasks = (first..each.min(first + BATCH)).map(Seq).collect();
            cluster.ask(SessionId(1), Request::Cancel { tasks, cancel: Cancel::Running });
            while cluster.said_much() {
                cluster.step(Work::Goes);
            }
        }
        cluster.hear_out(Work::Goes);
    });
    recorder.phase("a session closes", each, |cluster| close_beside(cluster, SessionId(2)));
    recorder.phase("the others close", 2 * each, |cluster| {
        [0, 3].into_iter().for_each(|n| cluster.close(SessionId(n)));
        cluster.hear_out(Work::Goes);
        cluster.come_to_rest();
        (0..QUIET_STEPS).for_each(|_| cluster.step(Work::Goes));
    });
    recorder.phase("idle, nothing to do", QUIET_STEPS as u64, |cluster| {
        (0..QUIET_STEPS).for_each(|_| cluster.step(Work::Goes));
    });
    (recorder.phases, bytes)
}

/// Closes a session while another one goes on.
fn close_beside(cluster: &mut Cluster, session: SessionId) {
    cluster.close(session);
    for _ in 0..QUIET_STEPS {
        cluster.submit(ASIDE, FEW, |_, _| {});
        cluster.step(Work::Goes);
    }
    cluster.come_to_rest();
}

/// Graphs: layers in which each task needs two of the layer before; one value that all need; one failure that fails all.
pub(crate) fn graphs(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    join_all(&mut recorder, size);
    let wide = size.tasks / 10;
    recorder.phase("graph in layers", size.tasks, |cluster| {
        for layer in 0..10 {
            cluster.submit(session, wide, |n, task| {
                if layer > 0 {
                    let before = task.seq.0 - n - wide;
                    task.inputs = [Seq(before + n), Seq(before + (n + 1) % wide)].into();
                }
            });
        }
        finish(cluster, size.tasks);
    });
    recorder.phase("one value for all", size.tasks, |cluster| {
        let root = cluster.submit(session, 1, |_, task| task.retention = Retention::Release);
        cluster.submit(session, size.tasks, |_, task| task.inputs = [Seq(root)].into());
        finish(cluster, size.tasks + 1);
    });
    recorder.phase("one failure for all", size.tasks, |cluster| {
        let root = cluster.submit(session, 1, |_, task| task.retention = Retention::Release);
        cluster.raises = Some((session, Seq(root)));
        cluster.submit(session, size.tasks, |_, task| task.inputs = [Seq(root)].into());
        finish(cluster, size.tasks + 1);
    });
    recorder.phases
}

/// Runs: one that ends well, in a fold and in a combine; one that is cancelled, one that fails; and very many small ones.
pub(crate) fn runs(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    join_all(&mut recorder, size);
    let function = FunctionId(0);
    let reduce = || Finish::Reduce { function, initial: None };
    recorder.phase("run, reduced", size.tasks, |cluster| {
        open(cluster, session, 0, size.tasks, reduce());
        finish(cluster, 1);
    });
    recorder.phase("run, combined", size.tasks, |cluster| {
        open(cluster, session, 1, size.tasks, Finish::Combine { function, grouping: Grouping::Items });
        finish(cluster, 1);
    });
    let mut result = 0;
    recorder.phase("its objects, combined", size.tasks, |cluster| {
        result = open(cluster, session, 2, size.tasks, Finish::Combine { function, grouping: Grouping::Items });
        finish_stored(cluster, 1);
        cluster.come_to_rest();
    });
    recorder.phase("that is released", size.tasks, |cluster| release(cluster, Seq(result)));
    recorder.phase("run, cancelled", size.tasks, |cluster| {
        let result = open(cluster, session, 3, size.tasks, reduce());
        (0..10).for_each(|_| cluster.step(Work::Goes));
        cluster.ask(session, Request::Cancel { tasks: vec![Seq(result)], cancel: Cancel::Running });
        finish(cluster, 1);
        cluster.come_to_rest();
    });
    recorder.phase("run, failed", size.tasks, |cluster| {
        cluster.raises = Some((session, Seq(cluster.number(session, 0) + 50)));
        open(cluster, session, 4, size.tasks, reduce());
        finish(cluster, 1);
        cluster.come_to_rest();
    });
    let mut next = 5;
    for (name, pieces) in [("runs of ten", 10), ("runs of one", 1)] {
        let many = size.tasks / 100;
        recorder.phase(name, many * pieces, |cluster| {
            for n in 0..many {
                open(cluster, session, next + n as u32, pieces, reduce());
            }
            finish(cluster, many);
        });
        next += many as u32;
    }
    recorder.phases
}

/// Tasks that do not queue: two slots each; and those that fit nowhere.
pub(crate) fn classes(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    join_all(&mut recorder, size);
    recorder.phase("two slots each", size.tasks, |cluster| {
        cluster.submit(session, size.tasks, |_, task| task.options = OptionsId(1));
        finish(cluster, size.tasks);
    });
    recorder.phase("fit nowhere", size.tasks, |cluster| {
        cluster.submit(session, size.tasks, |_, task| task.options = OptionsId(2));
        let until = cluster.done + size.tasks;
        cluster.wait(61);
        while cluster.done < until {
            cluster.step(Work::Stands);
        }
    });
    recorder.phases
}

/// Tasks no two of which are alike to placement: each has a priority of its own, or asks for an amount of its own.
pub(crate) fn unlike(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    let tasks = size.tasks / 10;
    let all = u32::try_from(tasks).expect("few enough");
    // Enough for some two hundred of them; but the largest fit nowhere.
    let memory = u64::from(all) * 100;
    recorder.cluster.make = Make { memory, ..USUAL };
    join_all(&mut recorder, size);
    let mut next = FIRST_OPTIONS;
    let mut submit = |cluster: &mut Cluster, count: u32, options: &dyn Fn(u32) -> Options| {
        let first = next;
        next += count;
        (0..count).for_each(|n| cluster.choose(session, OptionsId(first + n), options(n)));
        cluster.submit(session, count.into(), |n, task| task.options = OptionsId(first + n as u32));
    };
    let usual = Options::default;
    // Neither in the order in which they are submitted, nor in the other one.
    let mixed = |n: u32| (u64::from(n) * 7_919 % u64::from(all)) as u32;
    recorder.phase("priorities", tasks, |cluster| {
        submit(cluster, all, &|n| Options { priority: mixed(n) as i32, ..usual() });
        finish(cluster, tasks);
    });
    recorder.phase("amounts", tasks, |cluster| {
        submit(cluster, all, &|n| Options { request: asking(1, 1 + u64::from(mixed(n))), ..usual() });
        finish(cluster, tasks);
    });
    // Hardly two of these fit beside each other: with one worker they run one by one.
    let few = all / 10;
    recorder.phase("of slots and amounts", few.into(), |cluster| {
        let request = |n| asking(1 + n % SLOTS, 1 + u64::from(mixed(n)));
        submit(cluster, few, &|n| Options { request: request(n), priority: (n % 10) as i32, ..usual() });
        finish(cluster, few.into());
    });
    recorder.phase("each fits nowhere", tasks, |cluster| {
        submit(cluster, all, &|n| Options { request: asking(1, memory + 1 + u64::from(mixed(n))), ..usual() });
        let until = cluster.done + tasks;
        cluster.come_to_rest();
        cluster.wait(61);
        while cluster.done < until {
            cluster.step(Work::Stands);
        }
    });
    recorder.phases
}

/// Values that stay with workers: needed each by one, needed one by all; the loss of a worker that has some.
pub(crate) fn objects(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    join_all(&mut recorder, size);
    recorder.cluster.results = Results::Stored;
    recorder.phase("objects are made", size.tasks, |cluster| {
        cluster.submit(session, size.tasks, |_, task| task.retention = Retention::Release);
        finish(cluster, size.tasks);
    });
    recorder.phase("each is needed by one", size.tasks, |cluster| {
        cluster.results = Results::Sent;
        cluster.submit(session, size.tasks, |n, task| task.inputs = [Seq(n)].into());
        finish(cluster, size.tasks);
        cluster.results = Results::Stored;
    });
    recorder.phase("one is needed by all", size.tasks / 10, |cluster| {
        cluster.submit(session, size.tasks / 10, |_, task| task.inputs = [Seq(0)].into());
        finish(cluster, size.tasks / 10);
    });
    recorder.phase("a holder is lost", 1, |cluster| {
        cluster.lose(1);
        cluster.come_to_rest();
    });
    recorder.phase("all are released", size.tasks, |cluster| {
        for first in (0..size.tasks).step_by(BATCH as usize) {
            let tasks = (first..size.tasks.min(first + BATCH)).map(Seq).collect();
            cluster.ask(session, Request::Release(tasks));
            cluster.step(Work::Goes);
        }
        cluster.hear_out(Work::Goes);
        cluster.come_to_rest();
    });
    recorder.phases
}

/// A value that stays with its worker and for which all the others wait: as it comes to be, as a run's result, as it is
/// lost with its only holder.
pub(crate) fn losses(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    join_all(&mut recorder, size);
    recorder.phase("one object for all", size.tasks, |cluster| {
        let root = cluster.submit(session, 1, |_, task| task.retention = Retention::Release);
        cluster.submit(session, size.tasks, |_, task| task.inputs = [Seq(root)].into());
        finish_stored(cluster, 1);
        cluster.come_to_rest();
    });
    recorder.phase("it is lost", size.tasks, |cluster| {
        cluster.lose(1);
        cluster.come_to_rest();
    });
    recorder.phase("and made again", size.tasks, |cluster| {
        cluster.join();
        finish(cluster, size.tasks);
    });
    recorder.phase("a run's object for all", size.tasks, |cluster| {
        let reduce = Finish::Reduce { function: FunctionId(0), initial: None };
        let result = open(cluster, session, 0, FEW, reduce);
        cluster.submit(session, size.tasks, |_, task| task.inputs = [Seq(result)].into());
        finish_stored(cluster, 1);
        finish(cluster, size.tasks);
    });
    recorder.phases
}

/// Workers with objects that leave together: all but one, which inherits them, then that one too.
pub(crate) fn drains(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    recorder.cluster.make = Make { listens: true, ..USUAL };
    recorder.cluster.results = Results::Stored;
    join_all(&mut recorder, size);
    recorder.phase("objects are made", size.tasks, |cluster| {
        cluster.submit(session, size.tasks, |_, task| task.retention = Retention::Release);
        finish(cluster, size.tasks);
        cluster.come_to_rest();
    });
    recorder.phase("all but one drain", size.tasks, |cluster| drain(cluster, 1..size.workers));
    recorder.phase("the last one drains", size.tasks, |cluster| drain(cluster, 0..1));
    recorder.phases
}

fn drain(cluster: &mut Cluster, workers: std::ops::Range<u32>) {
    cluster.step_with(workers.map(|n| Event::WorkerDraining { worker: WorkerId(n) }).collect());
    cluster.come_to_rest();
}

/// A worker that knows very many functions: each was called there once.
pub(crate) fn functions(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    let many = u32::try_from(size.tasks / 5).expect("few enough");
    recorder.cluster.join();
    recorder.phase("each function is called", u64::from(many), |cluster| {
        for n in 1..=many {
            cluster.define(session, FunctionId(n));
            while cluster.said_much() {
                cluster.step(Work::Goes);
            }
        }
        cluster.submit(session, u64::from(many), |n, task| task.function = FunctionId(n as u32 + 1));
        finish(cluster, u64::from(many));
    });
    recorder.phase("who knows all is lost", 1, |cluster| {
        for _ in 1..size.workers {
            cluster.join();
        }
        cluster.spans.clear();
        cluster.lose(1);
        cluster.come_to_rest();
    });
    recorder.phases
}

/// What those need whose inputs are as many as there are tasks: bytes at first, objects with their workers then.
pub(crate) fn wide(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    recorder.cluster.make = Make { listens: true, ..USUAL };
    join_all(&mut recorder, size);
    make_inputs(&mut recorder.cluster, size);
    wide_task(&mut recorder, size, ["all bytes: submitted", "lost, begun again", "cancelled", "ended"]);
    recorder.phase("a thousand need some", size.tasks, |cluster| {
        let each = size.tasks / 1_000;
        cluster.submit(SessionId(0), 1_000, |n, task| {
            task.inputs = (n * each..(n + 1) * each).map(Seq).collect();
        });
        finish(cluster, 1_000);
        cluster.come_to_rest();
    });
    release_all(&mut recorder.cluster, size.tasks);
    recorder.phases
}

/// The same with objects, and a task that makes one of them.
pub(crate) fn wide_objects(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    recorder.cluster.make = Make { listens: true, ..USUAL };
    join_all(&mut recorder, size);
    recorder.cluster.results = Results::Stored;
    make_inputs(&mut recorder.cluster, size);
    wide_task(&mut recorder, size, ["all objects: submitted", "lost, begun again", "cancelled", "ended as an object"]);
    let last = recorder.cluster.number(session, 0) - 1;
    recorder.phase("what it had released", size.tasks, |cluster| {
        release_all(cluster, size.tasks);
    });
    recorder.phase("all lost, made again", size.tasks, |cluster| {
        cluster.lose(size.workers as usize);
        cluster.submit(session, 1, |_, task| task.inputs = [Seq(last)].into());
        for _ in 0..size.workers {
            cluster.join();
        }
        finish_sent(cluster, 1);
    });
    recorder.phase("it is released", size.tasks, |cluster| release(cluster, Seq(last)));
    recorder.phases
}

/// A row of objects, each made from the one before: when only the last is left, and when that goes.
pub(crate) fn row(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    let session = SessionId(0);
    recorder.cluster.make = Make { listens: true, ..USUAL };
    recorder.cluster.results = Results::Stored;
    recorder.cluster.join();
    let length = size.tasks / 10;
    recorder.phase("a row of objects", length, |cluster| {
        cluster.submit(session, length, |n, task| {
            task.retention = Retention::Release;
            task.inputs = n.checked_sub(1).map(Seq).into_iter().collect();
        });
        finish(cluster, length);
        release_all(cluster, length - 1);
    });
    recorder.phase("all lost, made again", length, |cluster| {
        cluster.lose(1);
        cluster.submit(session, 1, |_, task| task.inputs = [Seq(length - 1)].into());
        cluster.join();
        finish_sent(cluster, 1);
    });
    recorder.phase("the last is released", length, |cluster| release(cluster, Seq(length - 1)));
    recorder.phases
}

/// A worker of 1,024 slots with tasks so short that its queue is as long as it may be.
pub(crate) fn full(size: Size) -> Vec<Phase> {
    let mut recorder = Recorder::new(Cluster::new(1));
    recorder.cluster.make = Make { slots: 1_024, run_micros: 100, listens: true, ..USUAL };
    recorder.cluster.join();
    recorder.phase("a full worker", size.tasks, |cluster| {
        cluster.submit(SessionId(0), size.tasks, |_, _| {});
        (0..size.tasks / 4_096).for_each(|_| cluster.step(Work::Goes));
        cluster.submit(SessionId(0), size.tasks, |_, _| {});
        cluster.come_to_rest();
    });
    recorder.phase("it is lost", 1, |cluster| {
        cluster.lose(1);
        cluster.come_to_rest();
    });
    recorder.phases
}

fn make_inputs(cluster: &mut Cluster, size: Size) {
    cluster.submit(SessionId(0), size.tasks, |_, task| task.retention = Retention::Release);
    finish(cluster, size.tasks);
    cluster.come_to_rest();
    cluster.spans.clear();
}

/// A task that needs all: it comes and begins, is lost with its worker and begins elsewhere, is cancelled; another ends.
fn wide_task(recorder: &mut Recorder, size: Size, names: [&'static str; 4]) {
    let session = SessionId(0);
    let submit = |cluster: &mut Cluster| {
        let all: Box<[Seq]> = (0..size.tasks).map(Seq).collect();
        cluster.submit(session, 1, |_, task| {
            task.inputs = all.clone();
            task.retention = Retention::Release;
        })
    };
    recorder.phase(names[0], size.tasks, |cluster| {
        submit(cluster);
        cluster.come_to_rest();
    });
    recorder.phase(names[1], size.tasks, |cluster| {
        cluster.lose_busiest();
        cluster.join();
        cluster.come_to_rest();
    });
    recorder.phase(names[2], size.tasks, |cluster| {
        let task = Seq(cluster.number(session, 0) - 1);
        cluster.ask(session, Request::Cancel { tasks: vec![task], cancel: Cancel::Running });
        finish(cluster, 1);
        cluster.come_to_rest();
    });
    recorder.phase(names[3], size.tasks, |cluster| {
        submit(cluster);
        finish(cluster, 1);
        cluster.come_to_rest();
    });
}

fn release(cluster: &mut Cluster, task: Seq) {
    cluster.ask(SessionId(0), Request::Release(vec![task]));
    cluster.hear_out(Work::Goes);
    cluster.come_to_rest();
}

/// Has all objects made again that the next task needs, whose own value travels.
fn finish_sent(cluster: &mut Cluster, more: u64) {
    cluster.travels = Some(Seq(cluster.number(SessionId(0), 0) - 1));
    finish(cluster, more);
    cluster.come_to_rest();
}

fn release_all(cluster: &mut Cluster, count: u64) {
    for first in (0..count).step_by(BATCH as usize) {
        let tasks = (first..count.min(first + BATCH)).map(Seq).collect();
        cluster.ask(SessionId(0), Request::Release(tasks));
        cluster.step(Work::Goes);
    }
    cluster.hear_out(Work::Goes);
    cluster.come_to_rest();
}

fn join_all(recorder: &mut Recorder, size: Size) {
    let joined: Vec<WorkerId> = (0..size.workers).map(|_| recorder.cluster.join()).collect();
    assert_eq!(joined.len(), size.workers as usize, "all workers are there");
    recorder.cluster.spans.clear();
}

/// Opens a run, submits its pieces and seals it. Its result.
fn open(cluster: &mut Cluster, session: SessionId, id: u32, pieces: u64, finish: Finish) -> u64 {
    let result = cluster.number(session, 1);
    let id = RunId(id);
    let spec = RunSpec { id, result: Seq(result), finish, errors: Errors::Raise, options: OptionsId(0) };
    cluster.ask(session, Request::OpenRun(spec));
    cluster.submit(session, pieces, |_, task| task.run = Some(id));
    cluster.ask(session, Request::SealRun { run: id, pieces });
    result
}

/// The same while results stay with workers.
fn finish_stored(cluster: &mut Cluster, more: u64) {
    cluster.results = Results::Stored;
    finish(cluster, more);
    cluster.results = Results::Sent;
}

/// Lets workers work until clients have heard of `more` further ends.
fn finish(cluster: &mut Cluster, more: u64) {
    let until = cluster.done + more;
    while cluster.done < until {
        cluster.step(Work::Goes);
    }
}
