//! The binding: the only folder that names `pyo3`.
//!
//! Each function converts, detaches from the interpreter, calls, and maps the error; what is longer belongs into a shell.
//! A Python thread that waits does so here, detached, in slices of [`SLICE`] so that signals are seen; no thread of ours
//! ever attaches to the interpreter.

mod buffer;
mod executor;
mod outcome;

use pyo3::prelude::*;
use std::time::Duration;

/// The longest wait between two looks at pending signals.
const SLICE: Duration = Duration::from_millis(50);

/// The compiled half of plait. Private: see `plait`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<buffer::Buffer>()?;
    module.add_class::<executor::ExecutorChannel>()?;
    Ok(())
}
