//! Runs: many pieces and one way to finish them.
//!
//! A piece is about one item or, as a chunk, about several that follow one another; its place is that of its first item.
//! A run's result is a task that its client named. It waits for the run as for one more input. A combine becomes that
//! task's call; a fold's last value becomes its outcome. Pieces are freed as soon as their outcome has gone to the run.

use super::combine::Combine;
use super::fold::Fold;
use super::remake::Recipe;
use super::request::{Misbehaved, Work};
use super::slab::NONE;
use super::task::{Place, Role, State, compact};
use super::{Scheduler, Slice};
use crate::id::{FunctionId, OptionsId, RunId, Seq};
use crate::outcome::{Outcome, Progress};
use crate::spec::{Call, Cancel, Errors, Finish, Retention, RunSpec};
use crate::value::Value;

/// A run that is not over.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) session: u32,
    pub(super) id: RunId,
    /// The task whose outcome is the run's.
    pub(super) result: u32,
    result_seq: Seq,
    errors: Errors,
    pub(super) options: OptionsId,
    /// What merges or combines.
    pub(super) function: FunctionId,
    /// Pieces so far; all there are once it is sealed.
    pieces: u64,
    /// Their items so far.
    pub(super) items: u64,
    pub(super) sealed: bool,
    /// What is over of it.
    pub(super) progress: Progress,
    told: Progress,
    in_progress_list: bool,
    stirred: bool,
    /// Pieces and folds that are not over.
    pub(super) live: u64,
    pub(super) phase: Phase,
    /// The lowest failure that is known and not dealt with yet.
    failure: Option<(u64, Outcome)>,
    pub(super) gather: Gather,
}

/// Whether a run's result is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// It is. What is left of the run is being cleared away: tasks are told to stop like this, from this number on.
    Over(Cancel, Seq),
}

/// What the pieces' outcomes are gathered in.
#[derive(Debug)]
pub(super) enum Gather {
    Fold(Fold),
    Combine(Combine),
}

impl Run {
    /// Whether its end is known and not told yet.
    pub(super) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether every piece is over and no other will come.
    pub(super) const fn is_complete(&self) -> bool {
        self.sealed && self.progress.items == self.items
    }

    /// What a failing piece means.
    pub(super) const fn errors(&self) -> Errors {
        self.errors
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(super) const fn is_combine(&self) -> bool {
        matches!(self.gather, Gather::Combine(_))
    }

    /// How far it is, if its client does not know.
    pub(super) fn take_progress(&mut self) -> Option<(RunId, Progress)> {
        self.in_progress_list = false;
        (core::mem::replace(&mut self.told, self.progress) != self.progress).then_some((self.id, self.progress))
    }

    pub(super) fn fold_inputs(&self, start: u64) -> &[Value] {
        match &self.gather {
            Gather::Fold(fold) => fold.inputs(start),
            Gather::Combine(_) => &[],
        }
    }

    pub(super) fn combine_inputs(&self) -> &[Outcome] {
        match &self.gather {
            Gather::Combine(combine) => combine.inputs(),
            Gather::Fold(_) => &[],
        }
    }

    /// What its combine was given, which is over.
    pub(super) fn take_combine_inputs(&mut self) -> Option<Recipe> {
        match &mut self.gather {
            Gather::Combine(combine) => Some(combine.take_inputs()),
            Gather::Fold(_) => None,
        }
    }

    /// Bytes of values that it holds.
    pub(super) fn held(&self) -> u64 {
        self.gather.held()
    }
}

impl Gather {
    fn held(&self) -> u64 {
        match self {
            Self::Fold(fold) => fold.held(),
            Self::Combine(combine) => combine.held(),
        }
    }
}

impl Scheduler {
    pub(super) fn open_run(&mut self, session: u32, spec: RunSpec) -> Result<(), Misbehaved> {
        let RunSpec { id, result, finish, errors, options } = spec;
        let owner = &self.sessions[session];
        if id.0 < owner.next_run || result.0 < owner.next_seq {
            self.ignored += 1;
            return Ok(());
        }
        if result.is_internal() {
            return Err(Misbehaved);
        }
        let (function, call, gather) = match finish {
            Finish::Reduce { .. } if errors == Errors::Return => return Err(Misbehaved),
            Finish::Reduce { initial: Some(initial), .. } if initial.stored().is_some() => return Err(Misbehaved),
            Finish::Reduce { function, initial } => (function, Call::Fold, Gather::Fold(Fold::new(initial))),
            Finish::Combine { function, grouping } => {
                (function, Call::Combine { grouping, errors }, Gather::Combine(Combine::new()))
            }
        };
        self.judge_crowding(session)?;
        let next_run = id.0.checked_add(1).ok_or(Misbehaved)?;
        let python = self.call_python(session, function, call)?;
        let queue = self.queue_of(session, options, python)?;
        // Runs are opened whatever lives here: what they begin with is bounded as results are.
        let refusal = self.refuse_beside(gather.held());
        let run = self.runs.insert(Run {
            session,
            id,
            result: NONE,
            result_seq: result,
            errors,
            options,
            function,
            pieces: 0,
            items: 0,
            sealed: false,
            progress: Progress::default(),
            told: Progress::default(),
            in_progress_list: false,
            stirred: false,
            live: 0,
            phase: Phase::Open,
            failure: refusal.map(|refusal| (0, refusal)),
            gather,
        });
        self.held += self.runs[run].held();
        let owner = &mut self.sessions[session];
        owner.next_run = next_run;
        owner.next_seq = result.0 + 1;
        owner.runs.insert(id, run);
        owner.unsealed += 1;
        let role = Role::Result { run, retention: Retention::Release };
        let work = Work { function, options, queue, call, args: Value::empty() };
        let task = self.accept(session, result, work, role);
        self.tasks[task].state = State::Waiting { missing: 1 };
        self.runs[run].result = task;
        if self.runs[run].has_failed() {
            self.stir(run);
        }
        Ok(())
    }

    pub(super) fn seal_run(&mut self, session: u32, id: RunId, pieces: u64) -> Result<(), Misbehaved> {
        let owner = &self.sessions[session];
        let Some(run) = owner.runs.get(&id).copied() else {
            self.ignored += 1;
            return if id.0 < owner.next_run { Ok(()) } else { Err(Misbehaved) };
        };
        if self.runs[run].pieces != pieces {
            return Err(Misbehaved);
        }
        if self.runs[run].sealed {
            // Whatever it was to begin has begun.
            self.ignored += 1;
            return Ok(());
        }
        self.runs[run].sealed = true;
        self.sessions[session].unsealed -= 1;
        self.stir(run);
        Ok(())
    }

    /// The role of the next piece of a run, which has so many items; nothing if the run is over.
    pub(super) fn next_piece(&mut self, session: u32, id: RunId, items: u64) -> Result<Option<Role>, Misbehaved> {
        let owner = &self.sessions[session];
        let Some(run) = owner.runs.get(&id).copied() else {
            return if id.0 < owner.next_run { Ok(None) } else { Err(Misbehaved) };
        };
        let r = &mut self.runs[run];
        if r.sealed {
            return Err(Misbehaved);
        }
        r.pieces += 1;
        r.items += items;
        Ok(Some(Role::Piece { run, at: r.items - items }))
    }

    /// A piece is over: a task that is gone.
    pub(super) fn piece_ended(&mut self, run: u32, at: u64, piece: Ended, outcome: Outcome) {
        if self.is_leftover(run, &outcome) {
            return;
        }
        let Ended { call, args, run_micros } = piece;
        let items = items_of(call);
        let r = &self.runs[run];
        // While a run is open, pieces are admitted however much it keeps. What it keeps of those that fail is bounded as
        // results are.
        let keeps_given = !r.sealed && r.is_combine() && r.errors == Errors::Return && !outcome.is_value();
        let refusal = self.refuse_beside(if keeps_given { args.carried() } else { 0 });
        let r = &mut self.runs[run];
        r.progress.items += items;
        r.progress.pieces += 1;
        r.progress.run_micros = r.progress.run_micros.saturating_add(run_micros);
        r.progress.bytes = r.progress.bytes.saturating_add(outcome.value().map_or(0, Value::len));
        if let Some(refusal) = refusal {
            return r.fail(at, refusal);
        }
        let kept = match (&outcome, r.errors) {
            (Outcome::Value(_), _) | (_, Errors::Return) => Some(compact(outcome)),
            (Outcome::Skipped, _) | (_, Errors::Skip) => None,
            (Outcome::Raised(_) | Outcome::Cancelled | Outcome::Failed(_), Errors::Raise) => {
                return r.fail(at, outcome);
            }
        };
        match (&mut r.gather, kept) {
            (Gather::Fold(fold), Some(Outcome::Value(value))) => {
                self.held += value.carried();
                fold.put(at, items, Some(value));
            }
            (Gather::Fold(fold), _) => fold.put(at, items, None),
            (Gather::Combine(combine), Some(kept)) => self.held += combine.put(at, kept, call, args),
            (Gather::Combine(_), None) => {}
        }
    }

    pub(super) fn fold_ended(&mut self, run: u32, start: u64, outcome: Outcome) {
        if self.is_leftover(run, &outcome) {
            return;
        }
        let r = &mut self.runs[run];
        let Gather::Fold(fold) = &mut r.gather else { return };
        let value = match outcome {
            Outcome::Value(value) => Some(value),
            Outcome::Skipped => None,
            // Whatever failing pieces mean: a fold that fails would take good values with it, so it ends the run. It
            // counts where it begins. What it held stays until the run is closed, in this step.
            failure => return r.fail(start.saturating_sub(1), failure),
        };
        self.held += value.as_ref().map_or(0, Value::carried);
        let session = r.session;
        for input in fold.take_back(start, value) {
            self.held -= input.carried();
            self.unhold(session, &input);
        }
        self.sweep();
    }

    /// A piece or a fold is over. Whether that of a run that is over, and so nobody's.
    fn is_leftover(&mut self, run: u32, outcome: &Outcome) -> bool {
        let r = &mut self.runs[run];
        r.live -= 1;
        if !r.is_over() {
            self.stir(run);
            return false;
        }
        let session = r.session;
        outcome.value().into_iter().for_each(|value| self.unhold(session, value));
        true
    }

    /// Looks at runs to which something has happened, as many as this step may.
    pub(super) fn settle_runs(&mut self) {
        while self.slice.chores > 0
            && let Some(run) = self.stirred.pop_front()
        {
            let Some(r) = self.runs.get_mut(run) else { continue };
            r.stirred = false;
            if r.is_over() {
                continue;
            }
            if r.told != r.progress && !core::mem::replace(&mut r.in_progress_list, true) {
                self.sessions[r.session].progress.push(run);
                let session = r.session;
                self.touch(session);
            }
            let r = &mut self.runs[run];
            if let Some((_, outcome)) = r.failure.take() {
                self.finish_run(run, outcome);
                continue;
            }
            match r.gather {
                Gather::Fold(_) => self.drive_fold(run),
                Gather::Combine(_) => self.call_combine(run),
            }
        }
    }

    /// Gives the result of a run its outcome.
    pub(super) fn finish_run(&mut self, run: u32, outcome: Outcome) {
        self.slice.chores = self.slice.chores.saturating_sub(Slice::CHORES_PER_RUN);
        let result = self.runs[run].result;
        self.withdraw(result, Cancel::Running);
        self.conclude(result, outcome, Place::default());
    }

    /// A run's result is over: whatever is left of the run goes, as soon as may be.
    pub(super) fn close_run(&mut self, run: u32) {
        self.stop_run(run, Cancel::Running);
        let Run { session, id, sealed, .. } = self.runs[run];
        self.sessions[session].runs.remove(&id);
        self.sessions[session].unsealed -= u64::from(!sealed);
        self.over.push_back(run);
        self.clear_runs();
    }

    /// A run's result is as good as over: none of its pieces begins any more.
    pub(super) fn stop_run(&mut self, run: u32, cancel: Cancel) {
        let r = &mut self.runs[run];
        if r.phase == Phase::Open {
            r.phase = Phase::Over(cancel, r.result_seq);
        }
    }

    /// Has a run looked at soon.
    fn stir(&mut self, run: u32) {
        if !core::mem::replace(&mut self.runs[run].stirred, true) {
            self.stirred.push_back(run);
        }
    }
}

/// What is left of a piece that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) call: Call,
    pub(super) args: Value,
    pub(super) run_micros: u64,
}

/// How many items of its run a piece is about.
pub(super) fn items_of(call: Call) -> u64 {
    u64::from(call.span().len().max(1))
}

impl Run {
    /// Remembers the lowest failure.
    fn fail(&mut self, piece: u64, outcome: Outcome) {
        if self.failure.as_ref().is_none_or(|(known, _)| piece < *known) {
            self.failure = Some((piece, outcome));
        }
    }
}
