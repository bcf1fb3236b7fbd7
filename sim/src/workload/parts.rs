//! Chunks of which others got the end: what a client makes of it that hears so.

use super::{Index, Kind, Program, TaskRecord};
use crate::probe::probe;
use plait_core::id::Seq;
use plait_core::spec::{Cancel, Request};

impl Program {
    /// What it knows of a task, its own or what the end of a chunk has become.
    pub(crate) fn record(&self, seq: Seq) -> Option<&TaskRecord> {
        if seq.is_internal() { self.parts.get(&seq) } else { self.tasks.get(seq.index()) }
    }

    pub(super) fn record_mut(&mut self, seq: Seq) -> &mut TaskRecord {
        let record = if seq.is_internal() { self.parts.get_mut(&seq) } else { self.tasks.get_mut(seq.index()) };
        record.unwrap_or_else(|| panic!("news of {seq}, never submitted"))
    }

    /// All tasks that it knows of.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Seq, &TaskRecord)> {
        let own = self.tasks.iter().zip(0..).map(|(record, n)| (Seq(n), record));
        own.chain(self.parts.iter().map(|(seq, record)| (*seq, record)))
    }

    /// Tasks are known to take long. It loses patience with a chunk, now and then, just when others may get the end of it.
    pub(crate) fn hear_started(&mut self, tasks: &[Seq]) -> Option<Request> {
        let mut dropped = Vec::new();
        for seq in tasks {
            let record = self.record(*seq).unwrap_or_else(|| panic!("{seq} has started, but was never submitted"));
            let is_chunk = matches!(record.kind, Kind::Chunk { .. }) && record.told.is_none();
            if is_chunk && self.rng.chance(1, 5) {
                dropped.push(*seq);
            }
        }
        (!dropped.is_empty()).then(|| self.cancel(dropped, Cancel::Running))
    }

    /// The end of a chunk has become tasks of their own. They are to be stopped if the chunk was.
    pub(crate) fn divide(&mut self, chunk: Seq, parts: &[(u32, Seq)]) -> Option<Request> {
        if chunk.is_internal() {
            probe!("end of an end shared");
        } else {
            probe!("end of a map's chunk shared");
        }
        let record = self.record_mut(chunk);
        assert!(record.run.is_none() && record.told.is_none(), "{chunk} is divided after its end: {record:?}");
        let Kind::Chunk { items, errors, retries } = &mut record.kind else { panic!("{chunk} is no chunk") };
        let (errors, retries) = (*errors, *retries);
        let ends: Vec<(Seq, Kind)> = parts
            .iter()
            .rev()
            .map(|(first, seq)| (*seq, Kind::Chunk { items: items.split_off(*first as usize), errors, retries }))
            .collect();
        let left = std::iter::once(&record.kind).chain(ends.iter().map(|(_, kind)| kind));
        assert!(left.into_iter().all(|kind| !kind.scripts().is_empty()), "{chunk} and its parts {parts:?} have items");
        let (stopped, record) = (record.cancel == Some(Cancel::Running), record.clone());
        for (seq, kind) in ends {
            let before = self.parts.insert(seq, TaskRecord { kind, cancel: None, ..record.clone() });
            assert!(before.is_none() && seq.is_internal(), "{seq} is new, and the coordinator's");
        }
        if stopped {
            probe!("end of a stopped chunk stopped");
        }
        stopped.then(|| self.cancel(parts.iter().map(|(_, seq)| *seq).collect(), Cancel::Running))
    }
}
