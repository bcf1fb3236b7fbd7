//! Client and coordinator shells together, over links in memory.

use super::rig::*;
use plait::client::{Close, Handle, Loss, NewTask, State, SubmitError};
use plait::coordinator::World;
use plait::net::link;
use plait_core::id::{Epoch, FunctionId, OptionsId, Seq, SessionId};
use plait_core::outcome::{Ending, Failure, Outcome, Progress, Retry};
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::resource::Resources;
use plait_core::spec::{Cancel, Errors, Finish, Grouping, Options, Request, Retention};
use plait_core::value::Value;
use std::collections::HashSet;
use std::time::Duration;

/// Submits, waiting where the client says that it is full.
fn submit(client: &Handle, new: NewTask) -> Seq {
    match client.submit(new.clone()) {
        Ok(seq) => seq,
        Err(SubmitError::Full) => {
            assert!(client.wait_admission(PATIENCE), "it opens again");
            submit(client, new)
        }
        Err(error) => panic!("refused: {error}"),
    }
}

#[test]
fn every_task_gets_its_own_outcome_once() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let tasks: Vec<_> = (0..10_000).map(|n| submit(&client, task(n.to_string()))).collect();
    for (n, task) in tasks.iter().enumerate().rev() {
        assert_eq!(value(&client, *task), n.to_string());
        assert_eq!((client.state(*task), client.take(*task, Retention::Delivery)), (State::Unknown, None));
    }
    assert_eq!(await_empty(&client).tasks.done, 10_000);
    rig.end();
}

#[test]
fn values_reach_the_tasks_that_wait_for_them() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let kept = |text: &str, inputs: &[Seq]| {
        let new = NewTask { inputs: inputs.into(), retention: Retention::Release, ..task(text) };
        submit(&client, new)
    };
    let (a, b) = (kept("a", &[]), kept("b", &[]));
    let ab = kept("+", &[a, b]);
    let all = kept("=", &[ab, a, ab]);
    assert_eq!(value(&client, all), "=+aba+ab");
    [a, b, ab, all].iter().for_each(|task| client.release(*task));
    await_empty(&client);
    rig.end();
}

#[test]
fn what_was_put_is_told_with_its_bytes_and_reaches_the_tasks_that_name_it() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let put = |text: &'static str| {
        let mut offered = Some(Value::from(bytes::Bytes::from_static(text.as_bytes())));
        client.put(&mut offered).expect("it is admitted")
    };
    let (a, b, unasked) = (put("a"), put("b"), put("c"));
    let ab = submit(&client, NewTask { inputs: [a, b, a].into(), ..task("+") });
    assert_eq!([value(&client, ab), value(&client, b), value(&client, a)], ["+aba", "b", "a"]);
    [a, b, unasked].iter().for_each(|task| client.release(*task));
    await_empty(&client);
    rig.end();
    assert!(client.put(&mut Some(Value::empty())).is_err(), "nobody is there to keep it");
}

#[test]
fn a_fold_is_in_order() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let merge = client.define_function(None, Value::empty()).unwrap();
    let finish = Finish::Reduce { function: merge, initial: None };
    let (run, result) = client.open_run(finish, Errors::Raise, OptionsId(0)).expect("open");
    let pieces = 3_000;
    for n in 0..pieces {
        submit(&client, NewTask { run: Some(run), ..task(format!("{n} ")) });
    }
    client.seal_run(run, pieces);
    let expected: String = (0..pieces).map(|n| format!("{n} ")).collect();
    assert_eq!(value(&client, result), expected);
    assert_eq!(client.progress(run).items, pieces);
    client.release(result);
    await_empty(&client);
    assert_eq!(client.progress(run), Progress::default());
    rig.end();
}

#[test]
fn a_combine_gets_all_results_in_order_though_they_are_streamed() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let finish = Finish::Combine { function: FunctionId(0), grouping: Grouping::Items };
    let (run, result) = client.open_run(finish, Errors::Raise, OptionsId(0)).expect("open");
    let pieces = 2_000;
    for n in 0..pieces {
        submit(&client, NewTask { run: Some(run), ..task(format!("{n} ")) });
    }
    client.seal_run(run, pieces);
    assert_eq!(value(&client, result), (0..pieces).map(|n| format!("{n} ")).collect::<String>());
    client.release(result);
    await_empty(&client);
    rig.end();
}

#[test]
fn failures_arrive_as_they_were_reported() {
    let rig = Rig::new();
    drop(rig.worker(1, |_| Act::End(Ending::Raised { error: Value::empty(), retry: Retry::Denied })));
    let client = rig.client();
    define(&client);
    let failed = submit(&client, task("x"));
    let next = submit(&client, NewTask { inputs: [failed].into(), ..task("y") });
    assert_eq!(take(&client, failed).outcome, Ok(Outcome::Raised(Value::empty())));
    let outcome = take(&client, next).outcome.unwrap();
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(*failure, Failure::Dependency { cause: Outcome::Raised(_), .. }));
    await_empty(&client);
    rig.end();
}

#[test]
fn stories_name_workers_that_are_known() {
    let (rig, client) = Rig::pair(1);
    define(&client);
    let task = submit(&client, task("x"));
    let story = take(&client, task).story;
    assert_eq!(story.attempts.0, 1);
    assert_eq!(client.worker_name(story.worker.expect("it ran")).as_deref(), Some("host:1"));
    rig.end();
}

#[test]
fn waiting_threads_each_get_their_own() {
    let rig = Rig::new();
    let worker = rig.worker(4, hold);
    let client = rig.client();
    define(&client);
    let tasks: Vec<_> = (0..300).map(|n| submit(&client, task(format!("hold{n}")))).collect();
    std::thread::scope(|scope| {
        for (n, task) in tasks.iter().enumerate() {
            let client = &client;
            scope.spawn(move || assert_eq!(value(client, *task), format!("hold{n}")));
        }
        worker.await_starts(4);
        worker.finish();
    });
    await_empty(&client);
    rig.end();
}

#[test]
fn a_wait_ends_after_its_slice() {
    let rig = Rig::new();
    let worker = rig.worker(1, hold);
    let client = rig.client();
    define(&client);
    let held = submit(&client, task("hold"));
    worker.await_starts(1);
    assert!(!client.wait(held, Duration::from_millis(5)));
    assert!(!client.wait_any(&[held], Duration::from_millis(5)) && !client.wait_idle(Duration::ZERO));
    eventually(|| client.state(held) != State::Unknown);
    worker.finish();
    let other = submit(&client, task("other"));
    assert!(client.wait_any(&[held, other], PATIENCE));
    assert!(client.wait_idle(PATIENCE));
    assert_eq!([client.state(held), client.state(other)], [State::Done; 2]);
    rig.end();
}

#[test]
fn watched_tasks_are_told_to_the_dispatcher_once() {
    let (rig, client) = Rig::pair(2);
    define(&client);
    let tasks: Vec<_> = (0..1_000).map(|_| submit(&client, task("x"))).collect();
    let dispatcher = {
        let client = client.clone();
        std::thread::spawn(move || {
            let mut told = Vec::new();
            while told.len() < 1_000 {
                client.next_watched(PATIENCE, &mut told);
            }
            told
        })
    };
    tasks.iter().for_each(|task| client.watch(*task));
    let told = dispatcher.join().unwrap();
    assert_eq!(told.iter().collect::<HashSet<_>>(), tasks.iter().collect::<HashSet<_>>());
    let mut more = Vec::new();
    client.next_watched(Duration::ZERO, &mut more);
    assert!(more.is_empty());
    close(&client);
    client.next_watched(PATIENCE, &mut more);
    assert!(more.is_empty(), "after the end nothing is waited for");
    rig.end();
}

#[test]
fn a_pending_task_is_cancelled_and_a_released_one_still_runs() {
    let rig = Rig::new();
    let worker = rig.worker(1, hold);
    let client = rig.client();
    define(&client);
    let first = submit(&client, task("hold"));
    worker.await_starts(1);
    let released = submit(&client, task("released"));
    client.release(released);
    client.cancel(&[first], Cancel::Running);
    assert_eq!(take(&client, first).outcome, Ok(Outcome::Cancelled));
    assert!(client.wait_idle(PATIENCE), "also what nobody holds is waited for");
    assert_eq!(client.state(released), State::Unknown);
    worker.await_starts(2);
    rig.end();
}

#[test]
fn closing_now_cancels_what_is_pending() {
    let rig = Rig::new();
    let worker = rig.worker(1, hold);
    let client = rig.client();
    define(&client);
    let held = submit(&client, task("hold"));
    worker.await_starts(1);
    client.watch(held);
    client.close(Close::Now);
    assert_eq!(take(&client, held).outcome, Ok(Outcome::Cancelled));
    assert_eq!(client.submit(task("x")), Err(SubmitError::Closed));
    let mut told = Vec::new();
    client.next_watched(PATIENCE, &mut told);
    assert_eq!(told, [held]);
    assert_eq!(client.ask_status(PATIENCE), None);
    let other = rig.client();
    await_empty(&other);
    eventually(|| other.ask_status(PATIENCE).is_some_and(|status| status.sessions == 1));
    rig.end();
}

#[test]
fn closing_when_done_lets_pending_work_finish() {
    let rig = Rig::new();
    let worker = rig.worker(1, hold);
    let client = rig.client();
    define(&client);
    let held = submit(&client, task("hold"));
    let after = submit(&client, NewTask { inputs: [held].into(), ..task("after ") });
    client.close(Close::WhenDone);
    assert_eq!(client.submit(task("x")), Err(SubmitError::Closed));
    worker.await_starts(1);
    worker.finish();
    assert_eq!(value(&client, after), "after hold");
    let other = rig.client();
    eventually(|| other.ask_status(PATIENCE).is_some_and(|status| status.sessions == 1));
    rig.end();
}

#[test]
fn a_coordinator_that_ends_leaves_no_task_without_an_outcome() {
    let rig = Rig::new();
    let worker = rig.worker(1, hold);
    let client = rig.client();
    define(&client);
    let held = submit(&client, task("hold"));
    worker.await_starts(1);
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || take(&client, held))
    };
    rig.end();
    let outcome = waiting.join().unwrap().outcome;
    assert!(matches!(outcome, Err(Loss::Ended | Loss::Unreachable)), "{outcome:?}");
    eventually(|| client.submit(task("x")) == Err(SubmitError::Lost));
    assert_eq!(client.ask_status(PATIENCE), None);
}

#[test]
fn a_lost_worker_costs_no_outcome() {
    let rig = Rig::new();
    let doomed = rig.worker(2, |_| Act::Hold);
    let client = rig.client();
    define(&client);
    let tasks: Vec<_> = (0..200).map(|n| submit(&client, task(n.to_string()))).collect();
    doomed.await_starts(2);
    drop(rig.worker(2, answer));
    doomed.cut();
    for (n, task) in tasks.iter().enumerate() {
        assert_eq!(value(&client, *task), n.to_string());
    }
    await_empty(&client);
    rig.end();
}

#[test]
fn two_clients_do_not_meet() {
    let (rig, one) = Rig::pair(2);
    let other = rig.client();
    std::thread::scope(|scope| {
        for (name, client) in [("one", &one), ("other", &other)] {
            scope.spawn(move || {
                define(client);
                let tasks: Vec<_> = (0..3_000).map(|n| submit(client, task(format!("{name}{n}")))).collect();
                for (n, task) in tasks.iter().enumerate() {
                    assert_eq!(value(client, *task), format!("{name}{n}"));
                }
            });
        }
    });
    close(&one);
    eventually(|| other.ask_status(PATIENCE).is_some_and(|status| status.sessions == 1));
    await_empty(&other);
    rig.end();
}

#[test]
fn a_flood_is_held_back_and_nothing_is_lost() {
    let rig = Rig::with(|config| {
        config.scheduler.held_bytes_limit = 1 << 20;
        config.scheduler.session_tasks = 500;
    });
    let worker = rig.worker(1, |_| Act::Hold);
    let client = rig.client();
    define(&client);
    let payload = "x".repeat(10 << 10);
    let mut tasks = Vec::new();
    eventually(|| match client.submit(task(&payload)) {
        Ok(seq) => {
            tasks.push(seq);
            false
        }
        Err(error) => error == SubmitError::Full,
    });
    assert!(!client.wait_admission(Duration::ZERO));
    let blocked = {
        let client = client.clone();
        std::thread::spawn(move || (0..2_000).map(|n| submit(&client, task(n.to_string()))).collect::<Vec<_>>())
    };
    worker.finish();
    tasks.iter().for_each(|task| assert_eq!(value(&client, *task), payload));
    for (n, task) in blocked.join().unwrap().iter().enumerate() {
        assert_eq!(value(&client, *task), n.to_string());
    }
    await_empty(&client);
    rig.end();
}

#[test]
fn status_tells_who_is_there() {
    let (rig, client) = Rig::pair(3);
    let status = client.ask_status(PATIENCE).expect("an answer");
    assert_eq!((status.sessions, status.workers.len()), (1, 1));
    let worker = &status.workers[0];
    assert_eq!((&*worker.name, worker.slots, worker.running, worker.python), ("host:1", 3, 0, PYTHON));
    rig.end();
}

#[test]
fn what_no_worker_can_ever_run_is_told_where_none_can_come() {
    let rig = Rig::with(|config| config.scheduler.world = World::Closed);
    drop(rig.worker(1, answer));
    let client = rig.client();
    define(&client);
    let options = Options { request: Resources::cpus(2), ..Options::default() };
    let options = client.define_options(options).expect("few of them");
    let outcome = take(&client, submit(&client, NewTask { options, ..task("x") })).outcome.unwrap();
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(*failure, Failure::Unschedulable { .. }), "{failure:?}");
    rig.end();
}

#[test]
fn a_client_says_goodbye_also_where_not_all_it_asked_for_is_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (near, mut far) = link::memory::<FromClient, ToClient>();
    let (client, driver) = plait::client::over(Epoch(1), u64::MAX, near);
    let driver = runtime.spawn(driver);
    far.sender.send(ToClient::Welcome { session: SessionId(0), taken: 0, value_limit: u64::MAX }).unwrap();
    define(&client);
    let large = vec![0; 40 << 20];
    for _ in 0..2 {
        submit(&client, task(&large));
    }
    runtime.block_on(async {
        let submitted = |m: &FromClient| matches!(m, FromClient::Request(Request::Submit(_)));
        let mut heard = Vec::new();
        // It takes what comes, and never says so.
        while !heard.iter().any(submitted) {
            tokio::time::timeout(PATIENCE, far.receiver.receive(&mut heard, 8)).await.unwrap().unwrap();
        }
        client.close(Close::Now);
        while tokio::time::timeout(PATIENCE, far.receiver.receive(&mut heard, 8)).await.unwrap().is_ok() {}
        assert_eq!(heard.last(), Some(&FromClient::Goodbye));
        assert_eq!(heard.iter().filter(|m| submitted(m)).count(), 1, "the other had no room");
        drop(far);
        driver.await.unwrap();
    });
}

#[test]
fn a_value_that_the_coordinator_would_not_take_is_refused_and_the_client_goes_on() {
    let rig = Rig::with(|config| config.scheduler.held_bytes_limit = 1_000);
    drop(rig.worker(1, answer));
    let client = rig.client();
    let large = "x".repeat(1_001);
    let refused = SubmitError::TooLarge { size: 1_001, limit: 1_000 };
    assert_eq!(client.define_function(None, task(&large).args), Err(refused));
    define(&client);
    assert_eq!(client.submit(task(&large)), Err(refused));
    let task = submit(&client, task("small"));
    assert_eq!(value(&client, task), "small");
    await_empty(&client);
    rig.end();
}

#[test]
fn a_welcome_tells_how_much_one_request_may_carry() {
    let rig = Rig::with(|config| config.scheduler.held_bytes_limit = 1_000);
    let client = rig.client_that_assumes(u64::MAX);
    assert!(client.ask_status(PATIENCE).is_some(), "the answer follows the welcome");
    let refused = SubmitError::TooLarge { size: 1_001, limit: 1_000 };
    assert_eq!(client.submit(task("x".repeat(1_001))), Err(refused));
    rig.end();
}
