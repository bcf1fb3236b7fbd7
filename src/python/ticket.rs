//! A task that Python may ask for: `Results` and runs hold it as a [`Ticket`], a future is one itself
//! ([`super::future`]).

use super::buffer::{COPIED_BYTES, segments_into};
use super::error::loss_text;
use super::fork::Native;
use super::outcome::outcome_into;
use super::pickle;
use super::wait::{Deadline, wait_until};
use crate::client::{Completion, Handle, State, Verdict};
use plait_core::id::Seq;
use plait_core::outcome::{Outcome, Story};
use plait_core::spec::{Cancel, Retention};
use plait_core::value::Value;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a thread may take to show an outcome that it has taken, in seconds: it only makes a tuple.
const HANDOVER_SECONDS: f64 = 1.0;

/// How a task went: attempts, the last worker's name, microseconds of the last attempt and in all.
pub(super) type Told = (u32, Option<String>, u64, u64);

/// A hold on one submitted task. When it is dropped, nobody can ask for the task any more.
#[derive(Debug)]
pub(super) struct Hold {
    handle: Native<Handle>,
    task: Seq,
    retention: Retention,
    /// Whether what it stands for is of no use to anybody else.
    is_run: bool,
    end: Mutex<End>,
}

/// What is known here of the task's end.
#[derive(Debug)]
enum End {
    /// Nothing yet, or a thread is just fetching it.
    Ahead,
    /// All of it, in Python's form: a tuple, or the stream alone of a value that is one short segment.
    Here(Py<PyAny>, Story),
    /// Python has the outcome; the story stays.
    Told(Story),
}

impl Hold {
    /// A hold on `task`.
    pub(super) fn new(handle: Handle, task: Seq, retention: Retention) -> Self {
        Self { handle: Native::new(handle), task, retention, is_run: false, end: Mutex::new(End::Ahead) }
    }

    /// The task's number in its session.
    pub(super) const fn seq(&self) -> Seq {
        self.task
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the end if it has come; nothing if it has not.
    fn fetch(&self, py: Python<'_>, handle: &Handle) -> PyResult<Option<Story>> {
        if let End::Here(_, story) | End::Told(story) = &*self.end() {
            return Ok(Some(*story));
        }
        let Some(completion) = handle.take(self.task, self.retention) else { return Ok(None) };
        self.file(py, handle, completion).map(Some)
    }

    /// Keeps an end in Python's form. The lock is not held while Python objects are made: that may run any code.
    fn file(&self, py: Python<'_>, handle: &Handle, Completion { outcome, story }: Completion) -> PyResult<Story> {
        let told = match outcome {
            Ok(Outcome::Value(value)) => match short_stream(&value) {
                Some(stream) => PyBytes::new(py, stream).into_any(),
                None => {
                    (intern!(py, "value"), segments_into(py, value, Some(handle.store()))?).into_bound_py_any(py)?
                }
            },
            Ok(outcome) => outcome_into(py, outcome, Some(handle.store()))?.into_any(),
            Err(loss) => ("lost", loss_text(loss)).into_bound_py_any(py)?,
        };
        *self.end() = End::Here(told.unbind(), story);
        Ok(story)
    }

    /// Takes and loads the value of a task that is over, if it is short and can be loaded. [`settle`](Self::settle)
    /// follows, once Python has it. What is in the way of another value is for Python to say.
    pub(super) fn take_value<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, Story)>> {
        let Some(handle) = self.handle.get().filter(|_| self.is_ahead()) else { return Ok(None) };
        let Some(completion) = handle.take(self.task, self.retention) else { return Ok(None) };
        if let Ok(Outcome::Value(value)) = &completion.outcome
            && let Some(value) = value.only_segment().and_then(|stream| pickle::load(py, stream))
        {
            return Ok(Some((value, completion.story)));
        }
        // Filed first: to load it may take long, and other threads must not wait for it.
        let story = self.file(py, handle, completion)?;
        let told = self.told(py)?;
        let Ok(stream) = told.cast::<PyBytes>() else { return Ok(None) };
        match pickle::unpickled(stream) {
            Ok(value) => Ok(Some((value, story))),
            Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Python has the outcome.
    pub(super) fn settle(&self, story: Story) {
        let dropped = std::mem::replace(&mut *self.end(), End::Told(story));
        drop(dropped); // after the lock
    }

    fn is_ahead(&self) -> bool {
        matches!(*self.end(), End::Ahead)
    }

    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // No object is made under the lock: that may run any code, which may ask for this very task.
        let reason = match &*self.end() {
            End::Here(outcome, _) => return Ok(outcome.bind(py).clone()),
            End::Told(_) => "its outcome was dropped",
            End::Ahead => "the client was closed before it was over",
        };
        ("unknown", reason).into_bound_py_any(py)
    }

    /// Waits for the outcome; None if `timeout` seconds pass first (no timeout: never). Asked again, tells the same.
    pub(super) fn outcome<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.take(py, timeout)? {
            Some(stream) if stream.is_instance_of::<PyBytes>() => {
                (intern!(py, "value"), PyList::new(py, [stream])?).into_bound_py_any(py).map(Some)
            }
            other => Ok(other),
        }
    }

    /// The same, but of a value that is one short segment that segment alone.
    pub(super) fn take<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let handle = self.handle.own(py)?;
        // What is over stays over, though its value may have to be fetched: that is waited for.
        let timeout = timeout.filter(|_| !handle.is_over(self.task));
        let (deadline, mut handover) = (Deadline::after(timeout), None);
        while self.fetch(py, handle)?.is_none() {
            let there = match handle.state(self.task) {
                State::Done => true,
                // While still ahead here: another thread is between taking it and showing it.
                State::Unknown => {
                    let end: &Deadline = handover.get_or_insert_with(|| Deadline::after(Some(HANDOVER_SECONDS)));
                    if end.is_over() {
                        break;
                    }
                    py.detach(std::thread::yield_now);
                    true
                }
                State::Pending | State::Running if timeout == Some(0.0) => false,
                State::Pending | State::Running => {
                    wait_until(py, handle, deadline, |slice| handle.wait(self.task, slice) || !self.is_ahead())?
                }
            };
            if !there {
                return Ok(None);
            }
        }
        self.told(py).map(Some)
    }

    /// Whether the task is over and has no value.
    pub(super) fn failed(&self, py: Python<'_>) -> PyResult<bool> {
        let handle = self.handle.own(py)?;
        if self.is_ahead() && !handle.is_over(self.task) {
            return Ok(false);
        }
        self.fetch(py, handle)?;
        let outcome = match &*self.end() {
            End::Here(outcome, _) => outcome.clone_ref(py),
            End::Ahead | End::Told(_) => return Ok(false),
        };
        match outcome.bind(py).cast::<PyTuple>() {
            Ok(outcome) => Ok(!outcome.get_item(0)?.eq(intern!(py, "value"))?),
            Err(_) => Ok(false),
        }
    }

    /// Drops the outcome here, once Python has it; the story stays.
    pub(super) fn forget_outcome(&self) {
        let mut end = self.end();
        if let End::Here(_, story) = &*end {
            // The tuple is dropped after the lock.
            let told = End::Told(*story);
            let dropped = std::mem::replace(&mut *end, told);
            drop(end);
            drop(dropped);
        }
    }

    /// Where the task is: "pending", "running" or "done".
    pub(super) fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        let handle = self.handle.own(py)?;
        if !self.is_ahead() {
            return Ok("done");
        }
        Ok(match handle.state(self.task) {
            State::Pending | State::Running if handle.is_over(self.task) => "done",
            State::Pending => "pending",
            State::Running => "running",
            State::Done | State::Unknown => "done",
        })
    }

    /// How it ended, "value", "cancelled" or "failed", without taking what it came to. None before that, and once Python has
    /// the outcome.
    pub(super) fn look(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        let handle = self.handle.own(py)?;
        let outcome = match &*self.end() {
            End::Here(outcome, _) => Some(outcome.clone_ref(py)),
            End::Told(_) => return Ok(None),
            End::Ahead => None,
        };
        let verdict = match outcome {
            Some(outcome) => Some(verdict_of(outcome.bind(py))?),
            None => handle.look(self.task).map(|(verdict, _)| verdict),
        };
        Ok(verdict.map(|verdict| match verdict {
            Verdict::Value => "value",
            Verdict::Cancelled => "cancelled",
            Verdict::Failed => "failed",
        }))
    }

    /// How it went, once it is over and what it came to is here: attempts, the last worker's name, microseconds of the last
    /// attempt and in all.
    pub(super) fn story(&self, py: Python<'_>) -> PyResult<Option<Told>> {
        let handle = self.handle.own(py)?;
        Ok(self.fetch(py, handle)?.map(|story| told_of(handle, story)))
    }

    /// The same, wherever that is: it stays there.
    pub(super) fn story_alone(&self, py: Python<'_>) -> PyResult<Option<Told>> {
        let handle = self.handle.own(py)?;
        let known = match &*self.end() {
            End::Here(_, story) | End::Told(story) => Some(*story),
            End::Ahead => None,
        };
        let story = known.or_else(|| handle.look(self.task).map(|(_, story)| story));
        Ok(story.map(|story| told_of(handle, story)))
    }

    /// Asks that the task not begin.
    pub(super) fn cancel_pending(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.own(py)?.cancel(&[self.task], Cancel::Pending);
        Ok(())
    }

    /// Asks that the task not begin, or be stopped.
    pub(super) fn cancel_running(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.own(py)?.cancel(&[self.task], Cancel::Running);
        Ok(())
    }

    /// Lets `Session.next_watched` tell when the task is over. False if its end is here already.
    pub(super) fn watch(&self, py: Python<'_>) -> PyResult<bool> {
        let handle = self.handle.own(py)?;
        handle.watch(self.task);
        // Whoever takes the outcome first makes it unknown to the handle, and then nothing would be told.
        Ok(self.is_ahead() && handle.state(self.task) != State::Unknown)
    }
}

/// A task of a map or a run.
#[pyclass(frozen, module = "plait._native")]
#[derive(Debug)]
pub(super) struct Ticket(Hold);

impl Ticket {
    /// A ticket for `task`.
    pub(super) fn new(handle: Handle, task: Seq, retention: Retention) -> Self {
        Self(Hold::new(handle, task, retention))
    }

    /// A ticket for the result of a run. The run is stopped if it is dropped before that: it may never be sealed.
    pub(super) fn of_run(handle: Handle, result: Seq) -> Self {
        let mut hold = Hold::new(handle, result, Retention::Delivery);
        hold.is_run = true;
        Self(hold)
    }

    /// The task's number in its session.
    pub(super) const fn seq(&self) -> Seq {
        self.0.seq()
    }
}

#[pymethods]
impl Ticket {
    /// The task's number in its session.
    #[getter(seq)]
    fn number(&self) -> u64 {
        self.0.seq().0
    }

    /// Waits for the outcome; None if `timeout` seconds pass first (no timeout: never). Asked again, tells the same.
    #[pyo3(signature = (timeout=None))]
    fn outcome<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.outcome(py, timeout)
    }

    /// Whether the task is over and has no value.
    fn failed(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.failed(py)
    }

    /// Where the task is: "pending", "running" or "done".
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.0.state(py)
    }

    /// How it went, once it is over: attempts, the last worker's name, microseconds of the last attempt and in all.
    fn story(&self, py: Python<'_>) -> PyResult<Option<Told>> {
        self.0.story(py)
    }

    /// Takes over what the end of a chunk has become since it was last asked for: where each begins among the chunk's items.
    fn parts(&self, py: Python<'_>) -> PyResult<Vec<(u32, Self)>> {
        let handle = self.0.handle.own(py)?;
        let ticket = |task| Self::new(handle.clone(), task, Retention::Delivery);
        Ok(handle.take_parts(self.0.task).into_iter().map(|(from, task)| (from, ticket(task))).collect())
    }
}

fn told_of(handle: &Handle, story: Story) -> Told {
    let worker = story.worker.and_then(|worker| handle.worker_name(worker)).map(|name| name.to_string());
    (story.attempts.0, worker, story.run_micros, story.total_micros)
}

/// How a task ended whose outcome has Python's form: see [`End::Here`].
fn verdict_of(outcome: &Bound<'_, PyAny>) -> PyResult<Verdict> {
    let Ok(outcome) = outcome.cast::<PyTuple>() else { return Ok(Verdict::Value) };
    Ok(match outcome.get_item(0)?.extract::<&str>()? {
        "value" => Verdict::Value,
        "cancelled" => Verdict::Cancelled,
        _ => Verdict::Failed,
    })
}

/// The one segment of a value, if it is short enough to be copied.
fn short_stream(value: &Value) -> Option<&[u8]> {
    value.only_segment().filter(|stream| stream.len() <= COPIED_BYTES)
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What is kept until delivery needs no release once it was delivered.
        let settled = self.retention == Retention::Delivery && !self.is_ahead();
        if let Some(handle) = self.handle.get().filter(|_| !settled) {
            if self.is_run {
                handle.cancel(&[self.task], Cancel::Running);
            }
            handle.release(self.task);
        }
    }
}
