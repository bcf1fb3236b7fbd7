//! Values on their way from workers to a client of a coordinator elsewhere.

use crate::net::framed::Land;
use crate::net::identity::Identity;
use crate::net::peers::fingerprint;
use crate::net::visit::{Patience, Visits, fetch};
use plait_core::client::Event;
use plait_core::id::{ObjectId, Seq};
use plait_core::limits;
use plait_core::peer::{Fingerprint, Peer};
use std::collections::BTreeMap;

/// How long it waits: not long to be connected, for there is another way.
const PATIENCE: Patience = Patience { connect: limits::DIRECT_CONNECT_TIMEOUT, answer: limits::PEER_PATIENCE };

/// Goes to workers, under a key pair of its own.
#[derive(Debug)]
pub(crate) struct Visitor {
    identity: Identity,
    land: Land,
    visits: Visits<Seq>,
    /// What each visit is for.
    objects: BTreeMap<Seq, ObjectId>,
}

impl Visitor {
    /// One that nobody knows yet. What it brings lands there.
    pub(super) fn new(land: Land) -> Self {
        let visits = Visits::new(limits::DIRECT_FETCHES);
        Self { identity: Identity::draw(), land, visits, objects: BTreeMap::new() }
    }

    /// By which workers know it.
    pub(super) fn key(&self) -> Fingerprint {
        fingerprint(&self.identity)
    }

    /// Goes to get the value of a task, in the place of an earlier visit for it; [`next`](Self::next) tells the end.
    pub(super) fn visit(&mut self, seq: Seq, object: ObjectId, at: Peer) {
        let (identity, land) = (self.identity.clone(), self.land.clone());
        self.objects.insert(seq, object);
        self.visits.begin(seq, async move { fetch(&identity, object, at, PATIENCE, land).await });
    }

    /// The values of these tasks need not be got.
    pub(super) fn stop(&mut self, tasks: &[Seq]) {
        self.visits.stop(tasks);
        for seq in tasks {
            self.objects.remove(seq);
        }
    }

    /// Waits for a visit to end; for ever while there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        let (seq, result) = self.visits.next().await;
        let object = self.objects.remove(&seq).expect("a visit has its object until it ends");
        Event::Visited { seq, object, result }
    }
}
