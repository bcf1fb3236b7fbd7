//! Errors of the shells as plait's exceptions: made here from the classes of `_errors.py`.

use crate::client::{Loss, SubmitError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// An exception of `_errors.py`, by its name there.
pub(super) fn raise(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = py.import("plait._errors").and_then(|errors| errors.getattr(class)?.call1((message,)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// Why a task was not accepted.
pub(super) fn submit_error(py: Python<'_>, error: SubmitError) -> PyErr {
    match error {
        SubmitError::Closed => PyRuntimeError::new_err("cannot schedule new tasks after shutdown"),
        SubmitError::Lost => raise(py, "CoordinatorLost", "the coordinator is lost: nothing can be submitted any more"),
        SubmitError::Full => PyRuntimeError::new_err("no more tasks are admitted for now"),
    }
}

/// How a coordinator was lost, in words.
pub(super) const fn loss_text(loss: Loss) -> &'static str {
    match loss {
        Loss::Unreachable => "the coordinator could not be reached again",
        Loss::Refused => "the coordinator was restarted or has dropped this session",
    }
}
