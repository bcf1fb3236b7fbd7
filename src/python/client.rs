//! The client's door for Python: define, submit, open runs, wait.

use super::buffer::value_from;
use super::error::{result_too_large, submit_error};
use super::fork::Native;
use super::future::FutureBase;
use super::submitter::Submitter;
use super::ticket::Ticket;
use super::wait::{Deadline, tell_if_deserted, wait_aside, wait_until};
use crate::client::{Close, Handle, NewTask, SubmitError, WorkerState, WorkerStatus};
use plait_core::id::{FunctionId, OptionsId, RunId, Seq};
use plait_core::outcome::Progress;
use plait_core::resource::{Amount, Resources};
use plait_core::spec::{Call, Cancel, Errors, Finish, Grouping, Options, PythonVersion, Retention, Span};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::time::Duration;

/// A client's session, whoever is behind it: every thread may use it.
#[pyclass(frozen, module = "plait._native")]
#[derive(Debug)]
pub(super) struct Session(Native<Handle>);

/// A function that the session knows. When it is dropped, the function will not be named again.
#[pyclass(frozen, module = "plait._native")]
#[derive(Debug)]
pub(super) struct FunctionTicket {
    handle: Native<Handle>,
    function: FunctionId,
}

#[pymethods]
impl FunctionTicket {
    /// The function's number in its session.
    #[getter]
    const fn number(&self) -> u32 {
        self.function.0
    }
}

impl Drop for FunctionTicket {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.get() {
            handle.release_function(self.function);
        }
    }
}

/// A worker for people: name, slots, resources, running, queued, state, Python.
type WorkerRow = (String, u32, String, u32, u32, &'static str, String);

impl Session {
    /// The session behind `handle`.
    pub(super) fn new(handle: Handle) -> Self {
        Self(Native::new(handle))
    }

    /// Submits, and waits while the queue is full.
    fn admit(&self, py: Python<'_>, task: NewTask) -> PyResult<(Handle, Seq)> {
        let handle = self.0.own(py)?;
        let mut task = Some(task);
        loop {
            match handle.offer(&mut task) {
                Ok(task) => return Ok((handle.clone(), task)),
                Err(SubmitError::Full) => {
                    wait_until(py, handle, Deadline::after(None), |slice| handle.wait_admission(slice))?;
                }
                Err(error) => return Err(submit_error(py, error)),
            }
        }
    }
}

#[pymethods]
impl Session {
    /// Makes a pickled function known; one that travels by value needs this very Python version.
    fn define_function(
        &self,
        py: Python<'_>,
        body: &Bound<'_, PyAny>,
        python: Option<(u8, u8)>,
    ) -> PyResult<FunctionTicket> {
        let python = python.map(|(major, minor)| PythonVersion { major, minor });
        let handle = self.0.own(py)?;
        let function =
            handle.define_function(python, value_from(body, None)?).map_err(|error| submit_error(py, error))?;
        Ok(FunctionTicket { handle: Native::new(handle.clone()), function })
    }

    /// Makes options known; equal ones have the same id. Amounts of resources are in ten-thousandths.
    #[expect(clippy::too_many_arguments, reason = "one for each option; Python passes them one by one")]
    fn define_options(
        &self,
        py: Python<'_>,
        cpus: u32,
        resources: Vec<(String, u64)>,
        retries: u32,
        crash_limit: u32,
        priority: i32,
        label: String,
    ) -> PyResult<u32> {
        let named = resources.into_iter().map(|(name, amount)| (name.into_boxed_str(), Amount(amount)));
        let request = Resources::new(cpus, named);
        let options = Options { request, retries, crash_limit, priority, label: label.into_boxed_str() };
        let id = self.0.own(py)?.define_options(options).map_err(|error| submit_error(py, error))?;
        Ok(id.0)
    }

    /// What submits plain calls with these options: see `Submitter`.
    fn submitter(
        &self,
        options: u32,
        known: Py<PyDict>,
        future: &Bound<'_, PyAny>,
        owner: &Bound<'_, PyAny>,
    ) -> PyResult<Submitter> {
        Submitter::new(self.0.own(future.py())?.clone(), options, known, future, owner)
    }

    /// Puts a value where tasks can have it, until its future is dropped; returns once it is known whether it is kept.
    #[pyo3(signature = (future, segments, /))]
    fn put(&self, future: &Bound<'_, FutureBase>, segments: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        let handle = self.0.own(py)?;
        let mut value = Some(value_from(segments, Some(handle.store()))?);
        let task = loop {
            match handle.put(&mut value) {
                Ok(task) => break task,
                Err(SubmitError::Full) => {
                    wait_aside(py, handle, Deadline::after(None), |slice| handle.wait_admission(slice))?;
                }
                Err(SubmitError::TooLarge { size, limit }) => return Err(result_too_large(py, size, limit)),
                Err(error) => return Err(submit_error(py, error)),
            }
        };
        future.get().adopt(handle.clone(), task)?;
        wait_aside(py, handle, Deadline::after(None), |slice| handle.wait(task, slice)).map(drop)
    }

    /// Submits a call whose value is kept until its future is dropped; `inputs` are the futures among its arguments.
    #[pyo3(signature = (future, function, options, args, inputs=None))]
    fn submit(
        &self,
        future: &Bound<'_, FutureBase>,
        function: u32,
        options: u32,
        args: &Bound<'_, PyAny>,
        inputs: Option<Vec<Bound<'_, FutureBase>>>,
    ) -> PyResult<()> {
        let task = new_task(
            self.0.own(future.py())?,
            (function, options),
            Call::Single,
            args,
            inputs,
            Retention::Release,
            None,
        )?;
        let (handle, task) = self.admit(future.py(), task)?;
        future.get().adopt(handle, task)
    }

    /// Submits a call whose value is kept until it is delivered.
    #[pyo3(signature = (function, options, args, inputs=None))]
    fn submit_item(
        &self,
        py: Python<'_>,
        function: u32,
        options: u32,
        args: &Bound<'_, PyAny>,
        inputs: Option<Vec<Bound<'_, FutureBase>>>,
    ) -> PyResult<Ticket> {
        let task =
            new_task(self.0.own(py)?, (function, options), Call::Single, args, inputs, Retention::Delivery, None)?;
        let (handle, task) = self.admit(py, task)?;
        Ok(Ticket::new(handle, task, Retention::Delivery))
    }

    /// Submits a chunk of so many calls; with "return" as `errors` they are kept item by item.
    #[expect(clippy::too_many_arguments, reason = "Python passes them one by one")]
    fn submit_chunk(
        &self,
        py: Python<'_>,
        function: u32,
        options: u32,
        args: &Bound<'_, PyAny>,
        inputs: Option<Vec<Bound<'_, FutureBase>>>,
        errors: &str,
        retries: u32,
        items: u32,
    ) -> PyResult<Ticket> {
        let call = Call::Chunk { errors: errors_from(errors)?, retries, span: Span::whole(items) };
        let task = new_task(self.0.own(py)?, (function, options), call, args, inputs, Retention::Delivery, None)?;
        let (handle, task) = self.admit(py, task)?;
        Ok(Ticket::new(handle, task, Retention::Delivery))
    }

    /// Opens a run that is folded; `errors` is "raise" or "skip". Returns its id and the ticket of its result.
    fn open_reduce(
        &self,
        py: Python<'_>,
        function: u32,
        initial: Option<&Bound<'_, PyAny>>,
        errors: &str,
        options: u32,
    ) -> PyResult<(u32, Ticket)> {
        let initial = initial.map(|initial| value_from(initial, Some(self.0.own(py)?.store()))).transpose()?;
        self.open(py, Finish::Reduce { function: FunctionId(function), initial }, errors, options)
    }

    /// Opens a run that is combined. Returns its id and the ticket of its result.
    fn open_combine(&self, py: Python<'_>, function: u32, errors: &str, options: u32) -> PyResult<(u32, Ticket)> {
        let finish = Finish::Combine { function: FunctionId(function), grouping: Grouping::Chunks };
        self.open(py, finish, errors, options)
    }

    /// Submits the next piece of a run: so many calls. Their values are folded there, if there is something that merges.
    #[expect(clippy::too_many_arguments, reason = "Python passes them one by one")]
    fn submit_piece(
        &self,
        py: Python<'_>,
        run: u32,
        function: u32,
        options: u32,
        args: &Bound<'_, PyAny>,
        inputs: Option<Vec<Bound<'_, FutureBase>>>,
        errors: &str,
        retries: u32,
        items: u32,
        merge: Option<u32>,
    ) -> PyResult<()> {
        let (errors, span) = (errors_from(errors)?, Span::whole(items));
        let call = match merge {
            Some(merge) => Call::ChunkFold { errors, retries, span, merge: FunctionId(merge) },
            None => Call::Chunk { errors, retries, span },
        };
        let run = Some(RunId(run));
        let task = new_task(self.0.own(py)?, (function, options), call, args, inputs, Retention::Delivery, run)?;
        self.admit(py, task).map(drop)
    }

    /// Says how many pieces a run has.
    fn seal_run(&self, py: Python<'_>, run: u32, pieces: u64) -> PyResult<()> {
        self.0.own(py)?.seal_run(RunId(run), pieces);
        Ok(())
    }

    /// What is over of a run: items, pieces, the seconds they ran, bytes of their values.
    fn progress(&self, py: Python<'_>, run: u32) -> PyResult<(u64, u64, f64, u64)> {
        let Progress { items, pieces, run_micros, bytes } = self.0.own(py)?.progress(RunId(run));
        Ok((items, pieces, Duration::from_micros(run_micros).as_secs_f64(), bytes))
    }

    /// Waits until a run is over or more of its items are than `seen`; false if `timeout` seconds pass first.
    #[pyo3(signature = (ticket, seen, timeout=None))]
    fn wait_progress(
        &self,
        py: Python<'_>,
        ticket: &Bound<'_, Ticket>,
        seen: u64,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let (handle, result) = (self.0.own(py)?, ticket.get().seq());
        wait_until(py, handle, Deadline::after(timeout), |slice| handle.wait_progress(result, seen, slice))
    }

    /// Waits until one of the tasks is over or a run among them makes progress; false if `timeout` seconds pass first.
    #[pyo3(signature = (tickets, timeout=None))]
    #[expect(clippy::needless_pass_by_value, reason = "extracted from Python, where there is nothing to borrow")]
    fn wait_any(&self, py: Python<'_>, tickets: Vec<Bound<'_, Ticket>>, timeout: Option<f64>) -> PyResult<bool> {
        let handle = self.0.own(py)?;
        let tasks: Vec<Seq> = tickets.iter().map(|ticket| ticket.get().seq()).collect();
        wait_until(py, handle, Deadline::after(timeout), |slice| handle.wait_any(&tasks, slice))
    }

    /// Waits until every task is over; false if `timeout` seconds pass first.
    #[pyo3(signature = (timeout=None))]
    fn wait_idle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let handle = self.0.own(py)?;
        wait_until(py, handle, Deadline::after(timeout), |slice| handle.wait_idle(slice))
    }

    /// Numbers of watched tasks that are over; waits a moment for the first.
    fn next_watched(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let handle = self.0.own(py)?;
        let mut over = Vec::new();
        py.detach(|| handle.next_watched(plait_core::limits::SIGNAL_SLICE, &mut over));
        if over.is_empty() {
            tell_if_deserted(py, handle)?;
        } else {
            handle.end_lull();
        }
        Ok(over.into_iter().map(|task| task.0).collect())
    }

    /// Stops everything that these tickets stand for; a run's result stands for all of it.
    #[expect(clippy::needless_pass_by_value, reason = "extracted from Python, where there is nothing to borrow")]
    fn cancel_running(&self, py: Python<'_>, tickets: Vec<Bound<'_, Ticket>>) -> PyResult<()> {
        let tasks: Vec<Seq> = tickets.iter().map(|ticket| ticket.get().seq()).collect();
        self.0.own(py)?.cancel(&tasks, Cancel::Running);
        Ok(())
    }

    /// Cancels whatever has not begun.
    fn cancel_all_pending(&self, py: Python<'_>) -> PyResult<()> {
        self.0.own(py)?.cancel_all(Cancel::Pending);
        Ok(())
    }

    /// Every worker, for people; None if the coordinator does not answer within `timeout` seconds.
    fn workers(&self, py: Python<'_>, timeout: f64) -> PyResult<Option<Vec<WorkerRow>>> {
        let handle = self.0.own(py)?;
        let timeout = Duration::try_from_secs_f64(timeout).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let status = py.detach(|| handle.ask_status(timeout));
        Ok(status.map(|status| status.workers.into_iter().map(row).collect()))
    }

    /// Takes nothing new; what is pending goes on.
    fn close_when_done(&self) {
        if let Some(handle) = self.0.get() {
            handle.close(Close::WhenDone);
        }
    }

    /// Cancels everything and says goodbye.
    fn close_now(&self) {
        if let Some(handle) = self.0.get() {
            handle.close(Close::Now);
        }
    }
}

impl Session {
    fn open(&self, py: Python<'_>, finish: Finish, errors: &str, options: u32) -> PyResult<(u32, Ticket)> {
        let handle = self.0.own(py)?;
        let opened = handle.open_run(finish, errors_from(errors)?, OptionsId(options));
        let (run, result) = opened.map_err(|error| submit_error(py, error))?;
        Ok((run.0, Ticket::of_run(handle.clone(), result)))
    }
}

fn new_task(
    handle: &Handle,
    (function, options): (u32, u32),
    call: Call,
    args: &Bound<'_, PyAny>,
    inputs: Option<Vec<Bound<'_, FutureBase>>>,
    retention: Retention,
    run: Option<RunId>,
) -> PyResult<NewTask> {
    let inputs = inputs.unwrap_or_default();
    let inputs = inputs.iter().map(|future| future.get().seq()).collect::<PyResult<_>>()?;
    let (function, options) = (FunctionId(function), OptionsId(options));
    let args = value_from(args, Some(handle.store()))?;
    Ok(NewTask { function, options, call, args, inputs, run, retention })
}

fn errors_from(word: &str) -> PyResult<Errors> {
    match word {
        "raise" => Ok(Errors::Raise),
        "return" => Ok(Errors::Return),
        "skip" => Ok(Errors::Skip),
        other => Err(PyValueError::new_err(format!("errors must be 'raise', 'return' or 'skip', not {other:?}"))),
    }
}

fn row(worker: WorkerStatus) -> WorkerRow {
    let state = match worker.state {
        WorkerState::Live => "live",
        WorkerState::Suspected => "suspected",
        WorkerState::Draining => "draining",
    };
    let WorkerStatus { name, slots, resources, running, queued, python, .. } = worker;
    (name.into(), slots, resources.into(), running, queued, state, python.to_string())
}
