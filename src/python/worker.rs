//! A worker in a process of its own.

use super::error::{dial_error, line_error};
use super::runtime::{LaunchParts, launch_from};
use super::service::Waiting;
use crate::config::Settings;
use crate::net::join::JoinLine;
use crate::shutdown::Service;
use crate::telemetry;
use crate::worker::{Config, Place, Upstream, WorkerExit, control, run, standalone};
use plait_core::resource::{Amount, Resources};
use plait_core::spec::PythonVersion;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::mpsc::sync_channel;

/// Works for the coordinator of `line` until it says goodbye. The first signal that raises drains, the second ends it now.
/// Amounts of resources are in ten-thousandths.
#[pyfunction]
pub(super) fn run_worker(
    py: Python<'_>,
    line: &str,
    slots: u32,
    resources: Vec<(String, u64)>,
    launch: LaunchParts,
    name: String,
) -> PyResult<()> {
    let line: JoinLine = line.parse().map_err(|error| line_error(py, &error))?;
    let version = py.version_info();
    let named = resources.into_iter().map(|(name, amount)| (name.into(), Amount(amount)));
    let settings = Settings::from_environment();
    let config = Config {
        name: name.into(),
        capacity: Resources::new(slots, named),
        python: PythonVersion { major: version.major, minor: version.minor },
        launch: launch_from(launch),
        place: Place::Own,
        objects: None,
        spill_dir: settings.spill_dir,
    };
    let log = telemetry::install(settings.log.as_deref());
    let ended = work(py, line, config);
    py.detach(|| drop(log));
    ended
}

fn work(py: Python<'_>, line: JoinLine, config: Config) -> PyResult<()> {
    standalone::settle()?;
    let (stop, control) = control();
    let (tell, news) = sync_channel(1);
    // The executors die with the thread that starts them, so it lives as long as the worker.
    let service = Service::spawn(move |_| async move {
        drop(tell.send(run(config, Upstream::Dial(line), control).await));
    })?;
    let exit = Waiting::new(news, || stop.escalate()).next(py);
    drop(service);
    match exit? {
        Some(WorkerExit::Ended) => Ok(()),
        Some(WorkerExit::Unreachable(error) | WorkerExit::Refused(error)) => Err(dial_error(py, &error)),
        None => Err(PyRuntimeError::new_err("the worker's thread has died")),
    }
}
