//! Errors of the shells as plait's exceptions: made here from the classes of `_errors.py`.

use crate::client::{ConnectError, Loss, SubmitError};
use crate::coordinator::ServeError;
use crate::embedded::StartError;
use crate::net::dial::DialError;
use crate::net::join::JoinError;
use crate::net::keys::KeyError;
use plait_core::limits;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

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
        SubmitError::TooLarge { size, limit } => too_large(py, size, limit),
        SubmitError::Full => PyRuntimeError::new_err("no more tasks are admitted for now"),
        SubmitError::Exhausted => {
            PyRuntimeError::new_err("this client has pickled four billion functions: make a new one")
        }
        SubmitError::TooManyOptions => {
            let most = limits::SESSION_OPTIONS;
            let message = format!("this client has used {most} different sets of options: give tasks the same labels");
            PyRuntimeError::new_err(message)
        }
    }
}

/// More than the coordinator takes; Python knows what it is and names it.
fn too_large(py: Python<'_>, size: u64, limit: u64) -> PyErr {
    let reason = format!("{size} bytes pickled in all; the coordinator takes {limit} at most");
    let make = || {
        let fields = PyDict::new(py);
        fields.set_item("reason", &reason)?;
        fields.set_item("size", size)?;
        let class = py.import("plait._errors")?.getattr("SerializationError")?;
        class.call((format!("too large to send: {reason}"),), Some(&fields))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// A value that may not be held.
pub(super) fn result_too_large(py: Python<'_>, size: u64, limit: u64) -> PyErr {
    let make = || {
        let errors = py.import("plait._errors")?;
        errors.getattr("error_from")?.call1((("too_large", size, limit), py.None()))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// How a coordinator was lost, in words.
pub(super) const fn loss_text(loss: Loss) -> &'static str {
    match loss {
        Loss::Unreachable => "the coordinator could not be reached again",
        Loss::Refused => "the coordinator was restarted or has dropped this session",
        Loss::Ended => "the coordinator was stopped",
    }
}

/// Why there is no connection.
pub(super) fn connect_error(py: Python<'_>, error: &ConnectError) -> PyErr {
    match error {
        ConnectError::Dial(error) => dial_error(py, error),
        ConnectError::SentAway | ConnectError::Start(_) => raise(py, "ConnectError", &error.to_string()),
    }
}

/// Why a coordinator cannot be reached, or must not be used.
pub(super) fn dial_error(py: Python<'_>, error: &DialError) -> PyErr {
    let class = match error {
        DialError::WrongKey { .. } | DialError::WrongPin { .. } | DialError::WrongRole { .. } => "AuthError",
        DialError::Version { .. } => "VersionMismatch",
        DialError::Unreachable { .. } | DialError::NotPlait { .. } | DialError::Timeout { .. } => "ConnectError",
    };
    raise(py, class, &error.to_string())
}

/// What is wrong with a join line.
pub(super) fn line_error(py: Python<'_>, error: &JoinError) -> PyErr {
    raise(py, "ConnectError", &error.to_string())
}

/// Why the key folder cannot be used.
pub(super) fn key_error(py: Python<'_>, error: &KeyError) -> PyErr {
    raise(py, "ConnectError", &error.to_string())
}

/// Why an embedded cluster could not be started.
pub(super) fn start_error(py: Python<'_>, error: &StartError) -> PyErr {
    match error {
        StartError::Listen(error) => serve_error(py, error),
        StartError::Thread(error) => PyOSError::new_err(error.to_string()),
    }
}

/// Why a coordinator cannot listen.
pub(super) fn serve_error(py: Python<'_>, error: &ServeError) -> PyErr {
    raise(py, "ConnectError", &error.to_string())
}
