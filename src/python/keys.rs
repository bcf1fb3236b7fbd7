//! The join files of this machine.

use super::error::key_error;
use crate::net::join::Role;
use crate::net::keys;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;

/// The line that a coordinator wrote into the key folder `home` for a `worker` or a `client`; None if none ever did.
#[pyfunction]
pub(super) fn read_join_file(py: Python<'_>, home: PathBuf, role: &str) -> PyResult<Option<String>> {
    let role = match role {
        "worker" => Role::Worker,
        "client" => Role::Client,
        _ => return Err(PyValueError::new_err("a role is worker or client")),
    };
    let line = py.detach(move || keys::read_join_file(&home, role)).map_err(|error| key_error(py, &error))?;
    Ok(line.map(|line| line.to_string()))
}
