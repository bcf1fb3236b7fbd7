//! A coordinator in a process of its own, and the question how one is doing.

use super::error::serve_error;
use super::runtime::connect;
use super::service::Waiting;
use crate::client::{Status, WorkerState, WorkerStatus};
use crate::config::Settings;
use crate::coordinator::{JoinLines, Listen, serve};
use crate::shutdown::CancellationToken;
use crate::telemetry;
use plait_core::limits;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Runs a coordinator until Ctrl-C or SIGTERM; `on_ready` gets the join lines of workers and of clients.
#[pyfunction]
pub(super) fn serve_coordinator(
    py: Python<'_>,
    bind: String,
    advertise: Option<String>,
    home: PathBuf,
    on_ready: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let log = telemetry::install(Settings::from_environment().log.as_deref());
    let ended = coordinate(py, Listen { bind, advertise, home }, on_ready);
    py.detach(|| drop(log));
    ended
}

fn coordinate(py: Python<'_>, listen: Listen, on_ready: &Bound<'_, PyAny>) -> PyResult<()> {
    let shutdown = CancellationToken::new();
    let (tell, news) = sync_channel(2);
    let token = shutdown.clone();
    std::thread::Builder::new().name("plait".into()).spawn(move || {
        let ended = serve(&listen, |lines| drop(tell.send(Ok(lines))), &token);
        drop(tell.send(Err(ended)));
    })?;
    let mut waiting = Waiting::new(news, || shutdown.cancel());
    loop {
        match waiting.next(py)? {
            Some(Ok(JoinLines { worker, client, displaced: _ })) => drop(on_ready.call1((worker, client))?),
            Some(Err(ended)) => return ended.map_err(|error| serve_error(py, &error)),
            None => return Err(PyRuntimeError::new_err("the coordinator's thread has died")),
        }
    }
}

/// Asks a coordinator who is there and what is pending; None if no answer comes within `timeout` seconds.
#[pyfunction]
pub(super) fn status<'py>(py: Python<'py>, line: &str, timeout: f64) -> PyResult<Option<Bound<'py, PyDict>>> {
    let timeout = Duration::try_from_secs_f64(timeout).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut remote = connect(py, line, "plait status".into())?;
    let answer = py.detach(move || {
        let answer = remote.handle().ask_status(timeout);
        remote.shutdown(limits::FAREWELL_TIMEOUT);
        answer
    });
    answer.map(|status| status_dict(py, &status)).transpose()
}

fn status_dict<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyDict>> {
    let Status { workers, tasks, sessions, held_bytes } = status;
    let counts = PyDict::new(py);
    counts.set_item("waiting", tasks.waiting)?;
    counts.set_item("ready", tasks.ready)?;
    counts.set_item("assigned", tasks.assigned)?;
    counts.set_item("done", tasks.done)?;
    counts.set_item("failed", tasks.failed)?;
    let rows = workers.iter().map(|worker| worker_dict(py, worker)).collect::<PyResult<Vec<_>>>()?;
    let dict = PyDict::new(py);
    dict.set_item("workers", PyList::new(py, rows)?)?;
    dict.set_item("tasks", counts)?;
    dict.set_item("sessions", sessions.saturating_sub(1))?; // but for the one that asks
    dict.set_item("held_bytes", held_bytes)?;
    Ok(dict)
}

fn worker_dict<'py>(py: Python<'py>, worker: &WorkerStatus) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", &*worker.name)?;
    dict.set_item("state", state_word(worker.state))?;
    dict.set_item("slots", worker.slots)?;
    dict.set_item("running", worker.running)?;
    dict.set_item("queued", worker.queued)?;
    dict.set_item("python", worker.python.to_string())?;
    dict.set_item("resources", &*worker.resources)?;
    Ok(dict)
}

/// How a worker is doing, in a word.
pub(super) const fn state_word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Live => "live",
        WorkerState::Suspected => "suspected",
        WorkerState::Draining => "draining",
    }
}
