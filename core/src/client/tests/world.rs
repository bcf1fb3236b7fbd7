//! A coordinator that counts as it should, over connections that are cut at any time: each request arrives once and in
//! order, each notice is passed on once and in order, and what is acknowledged has been taken.

use crate::client::{Action, Config, Event, Resume, Session};
use crate::id::{ObjectId, RunId, Seq, SessionId};
use crate::limits;
use crate::outcome::{Admission, Notice, Outcome, Progress, Unfetched};
use crate::peer::{Fingerprint, Peer};
use crate::spec::Request;
use crate::time::Time;
use crate::value::Value;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

const SESSION: SessionId = SessionId(3);
const PEER: Peer =
    Peer { address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_000)), key: Fingerprint([0; 16]) };

struct World {
    session: Session,
    now: Time,
    /// What the program asked for, in order.
    asked: u64,
    /// Where the connection is: nowhere, being dialled, open.
    link: Link,
    /// Requests on the way.
    up: VecDeque<Request>,
    /// Requests the coordinator has taken.
    arrived: u64,
    /// Notices the coordinator made, and of those the number sent over this connection.
    noticed: u64,
    sent: u64,
    passed_on: u64,
    acknowledged: u64,
    given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Dialing,
    Open,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            session: Session::new(Config { resume: Resume::Kept, key: None, seed }),
            now: Time::ZERO,
            asked: 0,
            link: Link::Down,
            up: VecDeque::new(),
            arrived: 0,
            noticed: 0,
            sent: 0,
            passed_on: 0,
            acknowledged: 0,
            given_up: false,
        }
    }

    fn step(&mut self, event: Option<Event>) {
        let mut actions = Vec::new();
        self.session.step(self.now, event, &mut actions);
        self.session.check();
        assert!(self.session.deadline().is_none_or(|(at, _)| at > self.now), "what was due has fired");
        actions.into_iter().for_each(|action| self.carry_out(action));
    }

    fn carry_out(&mut self, action: Action) {
        assert!(!self.given_up, "nothing follows the end");
        match action {
            Action::Dial { taken } => {
                assert_eq!((self.link, taken), (Link::Down, self.passed_on), "a dial says what was taken");
                self.link = Link::Dialing;
                self.acknowledged = taken;
                self.sent = taken;
            }
            Action::Send { requests } => {
                assert_eq!(self.link, Link::Open, "only an open connection is sent over");
                self.up.extend(requests);
            }
            Action::AcknowledgeNotices { taken } => {
                assert_eq!((self.link, taken), (Link::Open, self.passed_on));
                assert!(taken > self.acknowledged, "nothing is acknowledged twice");
                self.acknowledged = taken;
            }
            Action::ShowProgress { progress, .. } => {
                let done = progress.items;
                assert_eq!(done, self.passed_on, "each notice is passed on once, in order");
                self.passed_on += 1;
            }
            Action::Admit { admission } => assert_eq!(admission, Admission::Open, "so little closes nothing"),
            Action::GiveUp { .. } => self.given_up = true,
            Action::Supply { .. }
            | Action::Divide { .. }
            | Action::Visit { .. }
            | Action::StopVisits { .. }
            | Action::Deliver { .. }
            | Action::MarkStarted { .. }
            | Action::NameWorker { .. }
            | Action::SayGoodbye => {
                panic!("nobody asked for {action:?}")
            }
        }
    }

    fn happen(&mut self, what: u8) {
        match what {
            0..=3 => {
                let pieces = self.asked;
                self.asked += 1;
                self.step(Some(Event::Asked(Request::SealRun { run: RunId(0), pieces })));
            }
            4 | 5 if self.link == Link::Dialing => {
                self.link = Link::Open;
                self.step(Some(Event::Welcomed { session: SESSION, taken: self.arrived }));
            }
            6 if self.link != Link::Down => {
                self.link = Link::Down;
                self.up.clear();
                self.step(Some(Event::LinkCut));
            }
            7..=9 => self.take_request(),
            10 if self.link == Link::Open => self.step(Some(Event::RequestsTaken { taken: self.arrived })),
            11 | 12 => self.noticed += 1,
            13 if self.link == Link::Open && self.sent < self.noticed => {
                let progress = Progress { items: self.sent, ..Progress::default() };
                let notice = Notice::Progressed { run: RunId(0), progress };
                self.sent += 1;
                self.step(Some(Event::Noticed(notice)));
            }
            14 => self.pass(Duration::from_millis(20)),
            15 => self.pass(Duration::from_millis(700)),
            _ => self.step(None),
        }
    }

    fn take_request(&mut self) {
        let Some(request) = self.up.pop_front() else { return };
        assert_eq!(request, Request::SealRun { run: RunId(0), pieces: self.arrived }, "each arrives once, in order");
        self.arrived += 1;
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.step(None);
    }

    /// The connection holds from now on: everything arrives, and is acknowledged.
    fn heal(&mut self) {
        for _ in 0..2 * (self.asked + self.noticed) + 100 {
            (4..15).for_each(|what| {
                if what != 6 && what != 11 && what != 12 {
                    self.happen(what);
                }
            });
        }
        self.pass(limits::ACKNOWLEDGE_AFTER);
        assert_eq!((self.arrived, self.passed_on, self.acknowledged), (self.asked, self.noticed, self.noticed));
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled(seed in any::<u64>(), happenings in prop::collection::vec(0..17_u8, 0..300)) {
        let mut world = World::new(seed);
        for what in happenings {
            if !world.given_up {
                world.happen(what);
            }
        }
        if !world.given_up {
            world.heal();
        }
    }

    #[test]
    fn anything_at_any_time_is_harmless(
        resumes in any::<bool>(),
        soup in prop::collection::vec((0..14_u8, 0..4_u64, 0..4_000_u64), 0..100),
    ) {
        let (resume, key) = if resumes { (Resume::Kept, Some(Fingerprint::default())) } else { (Resume::Never, None) };
        let mut session = Session::new(Config { resume, key, seed: 7 });
        let (mut now, mut actions) = (Time::ZERO, Vec::new());
        for (what, number, ms) in soup {
            now = now + Duration::from_millis(ms);
            let event = match what {
                0 | 1 => Event::Asked(Request::SealRun { run: RunId(0), pieces: number }),
                2 => Event::Welcomed { session: SessionId(number as u32 / 3), taken: number },
                3 => Event::LinkCut,
                4 if number == 0 => Event::Refused,
                4 if number == 1 => Event::CoordinatorEnded,
                5 if number == 0 => Event::CloseRequested,
                6 => Event::RequestsTaken { taken: number },
                7 => Event::Noticed(Notice::Admission(if number > 1 { Admission::Open } else { Admission::Closed })),
                8 => Event::Asked(Request::Fetch { seq: Seq(number) }),
                9 => Event::Asked(Request::Release(vec![Seq(number)])),
                10 => Event::Noticed(Notice::Found { seq: Seq(number), object: ObjectId::default(), at: PEER }),
                11 => Event::Noticed(Notice::Fetched { seq: Seq(number), outcome: Outcome::Skipped }),
                12 => {
                    let result = if ms % 2 == 0 { Ok(Value::empty()) } else { Err(Unfetched::Gone) };
                    Event::Visited { seq: Seq(number), object: ObjectId::default(), result }
                }
                _ => {
                    let progress = Progress { items: number, ..Progress::default() };
                    Event::Noticed(Notice::Progressed { run: RunId(0), progress })
                }
            };
            session.step(now, [event], &mut actions);
            session.check();
        }
        let ends = actions.iter().filter(|a| matches!(a, Action::GiveUp { .. } | Action::SayGoodbye)).count();
        prop_assert!(ends <= 1, "a session ends once");
        let count = |what: fn(&Action) -> bool| actions.iter().filter(|action| what(action)).count();
        let (visits, stops) =
            (count(|a| matches!(a, Action::Visit { .. })), count(|a| matches!(a, Action::StopVisits { .. })));
        prop_assert!(stops <= visits, "only what was begun is stopped");
    }
}
