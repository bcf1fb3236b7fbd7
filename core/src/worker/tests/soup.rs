//! Anything at any time: events that fit nothing, come too late, come twice, or lie. Nothing may panic and every
//! invariant must hold after each step.

use super::rig::{death, peer};
use crate::id::{Attempt, AttemptId, ExecutorId, FunctionId, FunctionKey, ObjectId, Seq, SessionId, TaskId, WorkerId};
use crate::outcome::{Ending, Outcome, Unfetched};
use crate::resource::{Amount, Resources};
use crate::spec::{Call, Cancel, Errors, FunctionSpec, Promised, Span, Start, Tail};
use crate::time::Time;
use crate::value::{Stored, Value};
use crate::worker::{Brain, Condition, Config, Ended, Entry, Event, Supervision};
use proptest::prelude::*;
use std::time::Duration;

/// Ids from a small range, so that they often meet.
fn attempt() -> impl Strategy<Value = AttemptId> {
    (0..2_u32, 0..12_u64, 1..3_u32).prop_map(|(session, seq, attempt)| AttemptId {
        task: TaskId::new(SessionId(session), Seq(seq)),
        attempt: Attempt(attempt),
    })
}

fn executor() -> impl Strategy<Value = ExecutorId> {
    prop_oneof![8 => 0..6_u32, 1 => 6..40_u32].prop_map(ExecutorId)
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![8 => 0..6_u32, 2 => 6..100_u32, 1 => any::<u32>()].prop_map(Entry)
}

fn spans() -> impl Strategy<Value = Span> {
    (0..3_u32, 0..9_u32, 0..3_u32).prop_map(|(before, items, after)| Span {
        first: before,
        end: before + items,
        total: before + items + after,
    })
}

fn start() -> impl Strategy<Value = Start> {
    let request = prop_oneof![4 => Just((1, 0)), 1 => (0..5_u32, 0..3_u64)];
    let call = prop_oneof![
        4 => Just(Call::Single),
        1 => spans().prop_map(|span| Call::Chunk { errors: Errors::Skip, retries: 0, span }),
        1 => spans()
            .prop_map(|span| Call::ChunkFold { errors: Errors::Skip, retries: 0, span, merge: FunctionId(1) }),
    ];
    let promised = prop::collection::vec((0..3_u32, attempt()), 0..3);
    (attempt(), 0..3_u32, call, request, 0..3_usize, 0..4_u64, 0..2_u32, 0..3_i32, any::<bool>(), promised).prop_map(
        |(attempt, function, call, request, inputs, total, deaths, priority, asked, promised)| Start {
            attempt,
            function: FunctionId(function),
            call,
            request: Resources::new(request.0, [("gpu".into(), Amount(request.1))]),
            args: Value::empty(),
            inputs: (0..inputs as u64).map(|n| input(attempt, n)).collect(),
            inputs_total: total,
            deaths,
            crash_limit: 2,
            priority,
            promised: promised.into_iter().map(|(input, by)| Promised { input, by }).collect(),
            tail: if asked { Tail::Asked } else { Tail::Kept },
        },
    )
}

/// Something that is here, or an object that is not.
fn input(attempt: AttemptId, n: u64) -> Outcome {
    if n == 0 {
        return Outcome::Skipped;
    }
    let task = TaskId::new(SessionId(0), Seq(attempt.task.seq.0 % 3 + n));
    Outcome::Value(Stored { object: ObjectId(AttemptId { task, attempt: Attempt(1) }), lengths: [5].into() }.into())
}

/// What is said of objects, true or not.
fn of_object() -> impl Strategy<Value = Event> {
    let object = || attempt().prop_map(ObjectId);
    prop_oneof![
        3 => (object(), 0..3_u32).prop_map(|(object, from)| Event::FetchOrdered { object, from: WorkerId(from), at: peer() }),
        1 => object().prop_map(|object| Event::ObjectGiven { object, value: Value::empty() }),
        1 => object().prop_map(|object| Event::ShowRequested { object }),
        1 => prop::collection::vec(object(), 0..4).prop_map(|objects| Event::ObjectsDropped { objects }),
        3 => (object(), 0..30_u64).prop_map(|(object, bytes)| Event::ObjectArrived { object, bytes }),
        2 => object().prop_map(|object| Event::ObjectSpilled { object }),
        1 => object().prop_map(|object| Event::SpillFailed { object, reason: "full".into() }),
        2 => object().prop_map(|object| Event::ObjectRestored { object }),
        2 => object().prop_map(|object| Event::RestoreFailed { object }),
        1 => object().prop_map(|object| Event::ReadFailed { object }),
        1 => object().prop_map(|object| Event::FetchFailed { object, reason: Unfetched::Gone }),
        1 => prop::collection::vec(object(), 0..4).prop_map(|objects| Event::ObjectsDamaged { objects }),
        1 => object().prop_map(|object| Event::ObjectRead { object, value: None }),
    ]
}

fn ended() -> impl Strategy<Value = Ended> {
    (entry(), any::<bool>(), 0..9_usize).prop_map(|(entry, soiled, bytes)| Ended {
        entry,
        ending: Ending::Returned(Value::copied(&[0; 9][..bytes])),
        run_micros: 1,
        condition: if soiled { Condition::Soiled } else { Condition::Clean },
    })
}

fn event() -> impl Strategy<Value = Event> {
    let cancel = prop_oneof![Just(Cancel::Pending), Just(Cancel::Running)];
    let some = |what| prop::collection::vec(what, 0..4);
    let define = (0..2_u32, 0..3_u32).prop_map(|(session, id)| Event::FunctionDefined {
        session: SessionId(session),
        function: FunctionSpec { id: FunctionId(id), hash: [0; 32], python: None, body: Value::empty() },
    });
    let inputs = (attempt(), 0..4_usize).prop_map(|(attempt, n)| Event::InputsAppended {
        attempt,
        inputs: (0..n as u64).map(|n| input(attempt, n)).collect(),
    });
    let revoked = (executor(), some(entry().boxed()), some(entry().boxed()))
        .prop_map(|(executor, asked, revoked)| Event::EntriesRevoked { executor, asked, revoked });
    let item = || prop::option::of(prop_oneof![8 => 0..9_u32, 1 => any::<u32>()]);
    let cut =
        (executor(), entry(), item()).prop_map(|(executor, entry, tail)| Event::EntryCut { executor, entry, tail });
    let died = (executor(), prop::option::of(entry()), item()).prop_map(|(executor, running, item)| {
        Event::ExecutorDied { executor, running, item, death: Box::new(death()) }
    });
    let coordinator = prop_oneof![
        8 => prop::collection::vec(start(), 0..6).prop_map(|starts| Event::AttemptsAssigned { starts }),
        3 => define,
        2 => inputs,
        2 => (prop::collection::vec(attempt(), 0..4), cancel)
            .prop_map(|(attempts, cancel)| Event::AttemptsCancelled { attempts, cancel }),
        2 => prop::collection::vec(attempt(), 0..4).prop_map(|attempts| Event::AttemptsRecalled { attempts }),
        3 => attempt().prop_map(|attempt| Event::TailWanted { attempt }),
        2 => (0..2_u32, 0..3_u32).prop_map(|(session, id)| Event::FunctionsForgotten {
            functions: vec![FunctionKey { session: SessionId(session), function: FunctionId(id) }],
        }),
        1 => (0..2_u32).prop_map(|session| Event::SessionForgotten { session: SessionId(session) }),
        1 => any::<u64>().prop_map(|cost| Event::ReportsTaken { cost }),
    ];
    let link = prop_oneof![4 => Just(Event::LinkOpened { result_limit: 9 }), 3 => Just(Event::LinkLost), 1 => Just(Event::DrainRequested)];
    prop_oneof![
        12 => coordinator,
        1 => link,
        4 => of_object(),
        4 => executor().prop_map(|executor| Event::ExecutorReady { executor }),
        1 => executor().prop_map(|executor| Event::SpawnFailed { executor }),
        6 => (executor(), prop::collection::vec(ended(), 0..4))
            .prop_map(|(executor, ended)| Event::EntriesEnded { executor, ended }),
        4 => revoked,
        4 => (executor(), prop::option::of(entry()))
            .prop_map(|(executor, running)| Event::ExecutorSeen { executor, running }),
        2 => died,
        4 => cut,
    ]
}

proptest! {
    #[test]
    fn any_soup_of_events_keeps_every_invariant(
        slots in 0..5_u32,
        steps in prop::collection::vec((prop::collection::vec(event(), 0..4), 0..3_000_u64), 1..80),
    ) {
        let capacity = Resources::new(slots, [("gpu".into(), Amount(2))]);
        let supervision = Supervision::default();
        let mut brain = Brain::new(Config { slots, capacity, store_above: 4, memory_bytes: 20, spill_bytes: Ok(40), spill_dir: "/spill".into(), supervision });
        let (mut now, mut actions) = (Time::ZERO, Vec::new());
        brain.step(now, [Event::LinkOpened { result_limit: 9 }], &mut actions);
        for (events, ms) in steps {
            now = now + Duration::from_millis(ms);
            brain.step(now, events, &mut actions);
            brain.check();
            prop_assert!(brain.deadline().is_none_or(|(at, _)| at > now), "what was due has fired");
        }
    }
}
