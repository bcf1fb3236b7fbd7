//! What clients ask for, checked word by word: nothing in a request is trusted.

use super::intake::Tying;
use super::object::Claim;
use super::run::items_of;
use super::session::{Link, OptionsEntry};
use super::slab::NONE;
use super::task::{Place, Role, State, Task};
use super::{EndReason, Scheduler};
use crate::id::{FunctionId, OptionsId, Seq, SessionId, TaskId};
use crate::limits;
use crate::outcome::Outcome;
use crate::resource::Resources;
use crate::spec::{Call, Cancel, Options, PythonVersion, Request, Retention, TaskSpec};
use crate::window;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Ids of options are dense; a client may run ahead of itself by this much, not more.
const ID_GAP: usize = 1_024;

/// The client broke the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Misbehaved;

impl Scheduler {
    pub(super) fn on_requested(&mut self, id: SessionId, request: Request) {
        let Some(slot) = self.sessions.find(id.0).filter(|slot| self.sessions[*slot].link == Link::Up) else {
            self.ignored += 1;
            return;
        };
        if let Some(request) = self.put_behind(slot, request) {
            self.take_request(slot, request);
        }
    }

    pub(super) fn take_request(&mut self, slot: u32, request: Request) {
        let session = &mut self.sessions[slot];
        session.taken += 1;
        session.unacknowledged += 1;
        session.owed.take(window::cost(request.len()));
        self.touch(slot);
        let done = match request {
            Request::DefineFunction(function) => self.define_function(slot, function),
            Request::DefineOptions { id, options } => self.define_options(slot, id, options),
            Request::Submit(tasks) => {
                self.submit(slot, tasks);
                Ok(())
            }
            Request::Put { seq, value } => self.put(slot, seq, value),
            Request::OpenRun(spec) => self.open_run(slot, spec),
            Request::SealRun { run, pieces } => self.seal_run(slot, run, pieces),
            Request::Cancel { tasks, cancel } => {
                tasks.into_iter().for_each(|seq| self.cancel(slot, seq, cancel));
                Ok(())
            }
            Request::Release(tasks) => {
                tasks.into_iter().for_each(|seq| self.release_value(slot, seq));
                Ok(())
            }
            Request::ReleaseFunctions(functions) => {
                self.release_functions(slot, &functions);
                Ok(())
            }
            Request::Fetch { seq } => {
                self.fetch(slot, seq);
                Ok(())
            }
            Request::Introduce(key) => {
                self.introduce(slot, key);
                Ok(())
            }
            Request::Took(seq) => {
                self.take_fetched(slot, seq);
                Ok(())
            }
            Request::Relay { seq, object, reason } => {
                self.relay_instead(slot, seq, object, reason);
                Ok(())
            }
        };
        if let Err(Misbehaved) = done {
            self.end_session(slot, EndReason::Misbehaved);
        }
    }

    fn define_options(&mut self, slot: u32, id: OptionsId, mut options: Options) -> Result<(), Misbehaved> {
        let request = &options.request;
        let names_fit = request.named().iter().all(|(name, _)| name.len() <= limits::NAME_BYTES);
        if request.cpus == 0 || request.named().len() > limits::NAMED_RESOURCES || !names_fit {
            return Err(Misbehaved);
        }
        if options.crash_limit == 0 || options.label.len() > limits::NAME_BYTES {
            return Err(Misbehaved);
        }
        // Sorted and without zeros, whatever the client sent.
        options.request = Resources::new(request.cpus, request.named().iter().cloned());
        let place = definition(&mut self.sessions[slot].options, id.index())?;
        if place.is_some() {
            self.ignored += 1;
            return Ok(());
        }
        *place = Some(OptionsEntry { options, queues: Vec::new() });
        Ok(())
    }

    /// Accepts one task. If it has inputs it waits to be tied to them, as for one more.
    pub(super) fn submit_one(&mut self, slot: u32, spec: TaskSpec) -> Result<Option<Tying>, Misbehaved> {
        if spec.seq.0 < self.sessions[slot].next_seq {
            self.ignored += 1;
            return Ok(None);
        }
        let TaskSpec { seq, function, options, call, args, inputs, run, retention } = spec;
        if args.stored().is_some() || !call.span().is_whole() {
            return Err(Misbehaved);
        }
        let python = self.call_python(slot, function, call)?;
        let early = inputs.iter().all(|input| *input < seq);
        if seq.is_internal() || !early || inputs.len() > limits::TASK_INPUTS {
            return Err(Misbehaved);
        }
        let queue = self.queue_of(slot, options, python)?;
        let role = match run {
            None => Some(Role::Plain(retention)),
            Some(run) => self.next_piece(slot, run, items_of(call))?,
        };
        self.sessions[slot].next_seq = seq.0 + 1;
        // If its run is over, a late piece is nobody's any more.
        let Some(role) = role else { return Ok(None) };
        let task = self.accept(slot, seq, Work { function, options, queue, call, args }, role);
        if inputs.is_empty() {
            self.counts.waiting -= 1;
            self.make_ready(task);
            return Ok(None);
        }
        self.tasks[task].state = State::Waiting { missing: 1 };
        Ok(Some(Tying::new(task, self.tasks[task].ticket, inputs)))
    }

    /// Makes a task out of what was asked for. Its state is still to be set.
    pub(super) fn accept(&mut self, session: u32, seq: Seq, work: Work, role: Role) -> u32 {
        let Work { function, options, queue, call, args } = work;
        self.held += call.span().share(args.carried());
        self.hold_functions(session, function, call);
        let ticket = self.ticket;
        self.ticket += 1;
        self.counts.waiting += 1;
        if let Role::Piece { run, .. } | Role::Fold { run, .. } = role {
            self.runs[run].live += 1;
        }
        let owner = &mut self.sessions[session];
        let slot = self.tasks.insert(Task {
            id: TaskId::new(owner.id, seq),
            ticket,
            accepted: self.now,
            session,
            function,
            options,
            queue,
            call,
            attempts: 0,
            raised: 0,
            inputs: Box::default(),
            dependents: NONE,
            dependents_total: 0,
            object: NONE,
            role,
            released: false,
            trouble: None,
            state: State::Waiting { missing: NONE },
            args,
        });
        owner.pending += 1;
        owner.index.insert(seq, slot);
        slot
    }

    /// Puts a task into its ready queue, unless a worker has it already. One that is on its way out of a worker waits for the end of that.
    pub(super) fn make_ready(&mut self, slot: u32) {
        if self.walks.delays(slot) {
            self.counts.waiting += 1;
            self.tasks[slot].state = State::Waiting { missing: 1 };
            return;
        }
        if self.take_up(slot) {
            return;
        }
        self.counts.ready += 1;
        let home = self.home_of(slot);
        self.ready.push(&mut self.tasks, slot, home);
    }

    fn cancel(&mut self, session: u32, seq: Seq, cancel: Cancel) {
        let Some(slot) = self.sessions[session].index.find(seq).filter(|slot| !self.tasks[*slot].is_done()) else {
            self.ignored += 1;
            return;
        };
        if let Role::Fold { .. } | Role::Made = self.tasks[slot].role {
            self.ignored += 1;
            return;
        }
        // Of what is made again its client has heard that it is over.
        if self.tasks[slot].object != NONE {
            return;
        }
        // What is known to run goes on unless it is to be stopped: its client hears of its end as ever.
        let runs = self.tasks[slot].lease().is_some_and(|lease| lease.started);
        let whole_run = matches!(self.tasks[slot].role, Role::Result { .. });
        if runs && cancel == Cancel::Pending && !whole_run {
            return;
        }
        if let Role::Result { run, .. } = self.tasks[slot].role {
            self.stop_run(run, cancel);
        }
        self.withdraw(slot, cancel);
        self.conclude(slot, Outcome::Cancelled, Place::default());
    }

    /// Nobody holds this future any more.
    fn release_value(&mut self, session: u32, seq: Seq) {
        let Some(slot) = self.sessions[session].index.find(seq) else {
            self.ignored += 1;
            return;
        };
        let task = &mut self.tasks[slot];
        match &mut task.role {
            Role::Plain(retention) | Role::Put(retention) | Role::Result { retention, .. } => {
                *retention = Retention::Delivery;
                task.released = true;
            }
            Role::Piece { .. } | Role::Fold { .. } | Role::Made | Role::Past => self.ignored += 1,
        }
        if self.tasks[slot].object != NONE {
            self.objects[self.tasks[slot].object].claim = Claim::Settled;
        }
        self.stop_fetching(session, seq);
        self.free_if_unwanted(slot);
    }

    /// The ready queue of tasks under these options that need this Python.
    pub(super) fn queue_of(
        &mut self,
        session: u32,
        options: OptionsId,
        python: Option<PythonVersion>,
    ) -> Result<u32, Misbehaved> {
        let entry = self.sessions[session].options.get_mut(options.index()).and_then(Option::as_mut);
        let entry = entry.ok_or(Misbehaved)?;
        if let Some((_, queue)) = entry.queues.iter().find(|(known, _)| *known == python) {
            return Ok(*queue);
        }
        let Options { request, priority, .. } = &entry.options;
        let class = super::ready::Class { priority: *priority, request: request.clone(), python };
        let queue = self.ready.intern(class);
        entry.queues.push((python, queue));
        Ok(queue)
    }
}

/// What a task does.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) function: FunctionId,
    pub(super) options: OptionsId,
    pub(super) queue: u32,
    pub(super) call: Call,
    pub(super) args: crate::value::Value,
}

fn definition<T>(table: &mut Vec<Option<T>>, at: usize) -> Result<&mut Option<T>, Misbehaved> {
    if at >= table.len() + ID_GAP || at >= limits::SESSION_OPTIONS {
        return Err(Misbehaved);
    }
    if at >= table.len() {
        table.resize_with(at + 1, || None);
    }
    Ok(&mut table[at])
}
