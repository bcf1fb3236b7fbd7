//! What a task came to, in the form that Python takes apart (see `_errors.error_from`).

use super::buffer::segments_into;
use crate::store::blob::Store;
use plait_core::outcome::{Death, Exit, Failure, Outcome};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::sync::Arc;

/// An outcome as a tuple: a word, and what belongs to it. Large values that lie in `store` are not copied.
pub(crate) fn outcome_into<'py>(
    py: Python<'py>,
    outcome: Outcome,
    store: Option<&Arc<Store>>,
) -> PyResult<Bound<'py, PyTuple>> {
    match outcome {
        Outcome::Value(value) => ("value", segments_into(py, value, store)?).into_pyobject(py),
        Outcome::Raised(error) => ("raised", segments_into(py, error, store)?).into_pyobject(py),
        Outcome::Skipped => ("skipped",).into_pyobject(py),
        Outcome::Cancelled => ("cancelled",).into_pyobject(py),
        Outcome::Failed(failure) => failure_of(py, &failure),
    }
}

fn failure_of<'py>(py: Python<'py>, failure: &Failure) -> PyResult<Bound<'py, PyTuple>> {
    match failure {
        Failure::Crashed(deaths) => {
            let deaths = deaths.iter().map(|death| death_of(py, death)).collect::<PyResult<Vec<_>>>()?;
            ("crashed", PyList::new(py, deaths)?).into_pyobject(py)
        }
        Failure::Dependency { task, cause } => {
            ("dependency", task.seq.0, outcome_into(py, cause.clone(), None)?).into_pyobject(py)
        }
        Failure::Unschedulable { asked, best, missing } => {
            ("unschedulable", &**asked, &**best, &**missing).into_pyobject(py)
        }
        Failure::ResultTooLarge { size, limit } => ("too_large", size, limit).into_pyobject(py),
        Failure::Unknown(text) => ("unknown", &**text).into_pyobject(py),
        Failure::NoSpace(lack) => ("no_space", lack.size, &*lack.path, &*lack.reason).into_pyobject(py),
    }
}

fn death_of<'py>(py: Python<'py>, death: &Death) -> PyResult<Bound<'py, PyDict>> {
    let (signal, code) = match death.exit {
        Exit::Code(code) => (None, Some(code)),
        Exit::Signal(signal) => (Some(signal), None),
        Exit::Unknown => (None, None),
    };
    let fields = [
        ("host", (&*death.host).into_bound_py_any(py)?),
        ("pid", death.pid.into_bound_py_any(py)?),
        ("signal", signal.into_bound_py_any(py)?),
        ("code", code.into_bound_py_any(py)?),
        ("peak_memory", death.peak_memory.into_bound_py_any(py)?),
        ("log_tail", (&*death.log_tail).into_bound_py_any(py)?),
    ];
    let story = PyDict::new(py);
    fields.into_iter().try_for_each(|(name, value)| story.set_item(name, value))?;
    Ok(story)
}
