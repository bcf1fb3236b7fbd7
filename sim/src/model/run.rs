//! What a run may have come to: a plain reduce, or a plain list, over what its pieces may have come to.

use super::{Judge, Verdict, ensure};
use crate::probe::probe;
use crate::script::{self, Function};
use crate::workload::{Index, Kind, RunRecord, TaskRecord};
use plait_core::outcome::{Failure, Outcome};
use plait_core::spec::{Errors, Grouping};
use std::collections::BTreeSet;

impl Judge<'_> {
    pub(super) fn allows_result(&self, task: &TaskRecord, run: &RunRecord, outcome: &Outcome) -> Verdict {
        if !outcome.is_value() {
            probe!("run failed by a piece");
        }
        match outcome {
            Outcome::Value(value) if value.stored().is_some() => Ok(()),
            Outcome::Value(value) if run.fold => self.allows_reduced(run, &script::text(value)),
            Outcome::Value(value) => self.allows_list(run, &script::text(value)),
            Outcome::Raised(error) => self.allows_piece_error(run, &script::text(error)),
            Outcome::Skipped => self.allows_nothing(run),
            Outcome::Cancelled => Err("it was not cancelled".to_string()),
            Outcome::Failed(failure) => self.allows_run_failure(task, run, failure),
        }
    }

    /// Nothing is left to reduce.
    fn allows_nothing(&self, run: &RunRecord) -> Verdict {
        let may_lack = |seq: &plait_core::id::Seq| {
            let prospects = self.prospects(*seq, &self.program.tasks[seq.index()]);
            prospects.fails || prospects.texts.iter().any(String::is_empty)
        };
        let empty = run.fold && run.initial.is_none() && run.pieces.iter().all(may_lack);
        ensure(empty, "there was something to reduce")
    }

    /// The text is the pieces' texts in order, `initial` leftmost.
    fn allows_reduced(&self, run: &RunRecord, text: &str) -> Verdict {
        let mut parts: Vec<Vec<String>> = run.initial.iter().map(|initial| vec![initial.clone()]).collect();
        for seq in &run.pieces {
            let prospects = self.prospects(*seq, &self.program.tasks[seq.index()]);
            let mut texts = prospects.texts;
            if prospects.fails && run.errors == Errors::Skip {
                texts.push(String::new());
            }
            parts.push(texts);
        }
        ensure(!text.is_empty() && is_made_of(text, &parts), &format!("{text:?} is not made of {parts:?}"))
    }

    /// The text is the list of the pieces' items in order.
    fn allows_list(&self, run: &RunRecord, text: &str) -> Verdict {
        let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
            return Err("it is no list".to_string());
        };
        let parts: Vec<Vec<String>> = run.pieces.iter().map(|seq| self.list_parts(run, *seq)).collect();
        let ended = if inner.is_empty() { String::new() } else { format!("{inner},") };
        ensure(is_made_of(&ended, &parts), &format!("{text:?} is not the list of {parts:?}"))
    }

    fn list_parts(&self, run: &RunRecord, seq: plait_core::id::Seq) -> Vec<String> {
        let piece = &self.program.tasks[seq.index()];
        let prospects = self.prospects(seq, piece);
        let as_items = |text: &String| match run.grouping {
            Grouping::Items => format!("{text},"),
            Grouping::Chunks => text.split('\u{1f}').skip(1).map(|item| format!("{item},")).collect(),
        };
        let mut parts: Vec<String> = prospects.texts.iter().map(as_items).collect();
        if prospects.fails {
            match run.errors {
                Errors::Raise => {}
                Errors::Skip => parts.push(String::new()),
                Errors::Return => {
                    let given = script::given_text(piece.kind.scripts());
                    parts.push(format!("!failed{given},"));
                    if let Kind::Single(script) = &piece.kind {
                        parts.push(format!("!{}{given},", script::error_text(script.tag)));
                    }
                }
            }
        }
        parts
    }

    fn allows_piece_error(&self, run: &RunRecord, text: &str) -> Verdict {
        if text == "Ejoin;" {
            return ensure(run.join == Function::Fail, "its joining function does not raise");
        }
        let raises = |seq: &plait_core::id::Seq| self.allows_error(&self.program.tasks[seq.index()], text).is_ok();
        let known = run.errors == Errors::Raise && run.pieces.iter().any(raises);
        ensure(known, &format!("none of its pieces raises {text:?}"))
    }

    fn allows_run_failure(&self, task: &TaskRecord, run: &RunRecord, failure: &Failure) -> Verdict {
        match failure {
            Failure::Crashed(deaths) => {
                let known = self.ledger.executions.fell_together(self.session, deaths);
                ensure(known, "these executors did not die under one task of it")
            }
            Failure::Unschedulable { .. } => {
                let piece = |seq: &plait_core::id::Seq| self.is_constrained(&self.program.tasks[seq.index()]);
                ensure(self.is_constrained(task) || run.pieces.iter().any(piece), "every worker can run it")
            }
            Failure::ResultTooLarge { size, limit } => {
                let piece = |seq: &plait_core::id::Seq| self.prospects(*seq, &self.program.tasks[seq.index()]).fails;
                let fails = self.is_tight() || run.pieces.iter().any(piece);
                ensure(size > limit && fails, "nothing of it is too large")
            }
            Failure::NoSpace(lack) => self.allows_no_space(lack.size),
            Failure::Unknown(text) => self.allows_unknown(task, text),
            // A value that it was to join was lost, and could not be made again.
            Failure::Dependency { task: root, cause } => {
                let known = self.may_fail_later(*root, cause) || self.is_tight();
                ensure(known && !cause.is_value() && self.plan.store_above < u64::MAX, "it depends on nothing")
            }
        }
    }
}

/// Whether `text` is one of each of the `parts`, in order, one after the other.
fn is_made_of(text: &str, parts: &[Vec<String>]) -> bool {
    let mut reached: BTreeSet<usize> = BTreeSet::from([0]);
    for choices in parts {
        let step = |from: &usize| {
            let rest = &text[*from..];
            choices
                .iter()
                .filter(|part| rest.starts_with(part.as_str()))
                .map(|part| from + part.len())
                .collect::<Vec<_>>()
        };
        reached = reached.iter().flat_map(step).collect();
    }
    reached.contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_of_its_parts_in_order() {
        let parts = [vec!["a".to_string()], vec!["b".to_string(), String::new()], vec!["c".to_string()]];
        assert!(is_made_of("abc", &parts) && is_made_of("ac", &parts));
        assert!(!is_made_of("ab", &parts) && !is_made_of("acb", &parts) && !is_made_of("abcc", &parts));
    }
}
