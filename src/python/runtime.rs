//! What serves a session: threads of this process, embedded or connected to a coordinator elsewhere.

use super::client::Session;
use super::error::{connect_error, line_error, start_error};
use super::fork::Native;
use crate::client::{ClientConfig, ConnectError, Connecting, Handle, Remote};
use crate::config::Settings;
use crate::coordinator::Listen;
use crate::embedded::{self, Embedded};
use crate::net::join::JoinLine;
use crate::worker::Launch;
use plait_core::limits;
use plait_core::resource::Resources;
use plait_core::spec::PythonVersion;
use pyo3::exceptions::{PyException, PyUserWarning};
use pyo3::prelude::*;
use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How executors are started: the interpreter, its flags, its `sys.path`.
pub(super) type LaunchParts = (PathBuf, Vec<OsString>, Vec<OsString>);

/// Whose line a warning names: who calls `Client`, which calls `_embed`, which calls this.
const CLIENT_CALLER: i32 = 3;

/// A running client.
#[pyclass(frozen, module = "plait._native")]
#[derive(Debug)]
pub(super) struct Runtime(Native<Running>);

#[derive(Debug)]
struct Running {
    handle: Handle,
    worker_line: Option<String>,
    service: Mutex<Service>,
}

#[derive(Debug)]
enum Service {
    Embedded(Embedded),
    Remote(Remote),
}

impl Runtime {
    fn new(handle: Handle, worker_line: Option<String>, service: Service) -> Self {
        Self(Native::new(Running { handle, worker_line, service: Mutex::new(service) }))
    }
}

#[pymethods]
impl Runtime {
    /// Starts a coordinator and a worker in this process.
    #[staticmethod]
    fn embedded(
        py: Python<'_>,
        slots: u32,
        listen: Option<String>,
        home: PathBuf,
        launch: LaunchParts,
        name: String,
    ) -> PyResult<Self> {
        let listen = listen.map(|bind| Listen { bind, advertise: None, home });
        let (name, python) = (name.into_boxed_str(), python_version(py));
        let capacity = Resources::cpus(slots);
        let (launch, spill_dir) = (launch_from(launch), Settings::from_environment().spill_dir);
        let config = embedded::Config { capacity, listen, launch, name, python, spill_dir };
        let started = py.detach(|| embedded::start(config)).map_err(|error| start_error(py, &error))?;
        if let Some(tenant) = started.join_lines().and_then(|lines| lines.displaced.as_ref()) {
            let text = CString::new(tenant.to_string()).unwrap_or_default();
            match PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, CLIENT_CALLER) {
                // Where warnings are errors: the join files lead here by now, and would lead to nobody if this ended.
                Err(error) if error.is_instance_of::<PyException>(py) => error.write_unraisable(py, None),
                warned => warned?,
            }
        }
        let worker_line = started.join_lines().map(|lines| lines.worker.clone());
        Ok(Self::new(started.handle().clone(), worker_line, Service::Embedded(started)))
    }

    /// Connects to the coordinator that a join line names.
    #[staticmethod]
    fn connect(py: Python<'_>, line: &str, name: String) -> PyResult<Self> {
        let remote = connect(py, line, name)?;
        Ok(Self::new(remote.handle().clone(), None, Service::Remote(remote)))
    }

    /// The session.
    fn session(&self, py: Python<'_>) -> PyResult<Session> {
        Ok(Session::new(self.0.own(py)?.handle.clone()))
    }

    /// What `plait worker` takes to join; None if nothing listens.
    fn worker_line(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.0.own(py)?.worker_line.clone())
    }

    /// Ends it all; false if that takes longer than `timeout` seconds.
    fn shutdown(&self, py: Python<'_>, timeout: f64) -> bool {
        let Some(running) = self.0.get() else { return true };
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::ZERO);
        py.detach(|| match &mut *running.service.lock().unwrap_or_else(PoisonError::into_inner) {
            Service::Embedded(embedded) => embedded.shutdown(timeout),
            Service::Remote(remote) => remote.shutdown(timeout),
        })
    }
}

/// Connects, with an eye on signals.
pub(super) fn connect(py: Python<'_>, line: &str, name: String) -> PyResult<Remote> {
    let line: JoinLine = line.parse().map_err(|error| line_error(py, &error))?;
    let config = ClientConfig { name: name.into_boxed_str(), python: python_version(py) };
    let mut connecting = Connecting::start(line, config).map_err(|error| connect_error(py, &error))?;
    loop {
        match py.detach(move || connecting.wait(limits::SIGNAL_SLICE)) {
            Ok(done) => return done.map_err(|error: ConnectError| connect_error(py, &error)),
            Err(still) => connecting = *still,
        }
        py.check_signals()?;
    }
}

/// How executors are started.
pub(super) fn launch_from((program, flags, path): LaunchParts) -> Launch {
    Launch::python(program, flags, &path)
}

/// The Python that runs this.
pub(super) fn python_version(py: Python<'_>) -> PythonVersion {
    let version = py.version_info();
    PythonVersion { major: version.major, minor: version.minor }
}
