//! The binding: the only folder that names `pyo3`.
//!
//! Each function converts, detaches from the interpreter, calls, and maps the error; what is longer belongs into a shell.
//! A Python thread that waits does so here, detached, in slices after which signals are seen ([`wait`]); no thread of ours
//! ever attaches to the interpreter. What a forked child inherits is out of its reach ([`fork`]).

mod batches;
mod buffer;
mod claims;
mod client;
mod coordinator;
mod error;
mod executor;
mod fork;
mod future;
mod keys;
mod outcome;
mod pickle;
mod runtime;
mod service;
mod submitter;
mod ticket;
mod wait;
mod worker;

use pyo3::prelude::*;

/// The compiled half of plait. Private: see `plait`.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<batches::Batches>()?;
    module.add_class::<buffer::Buffer>()?;
    module.add_class::<claims::Claims>()?;
    module.add_class::<client::FunctionTicket>()?;
    module.add_class::<client::Session>()?;
    module.add_class::<executor::ExecutorChannel>()?;
    module.add_class::<future::FutureBase>()?;
    module.add_class::<runtime::Runtime>()?;
    module.add_class::<submitter::Submitter>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_function(wrap_pyfunction!(coordinator::serve_coordinator, module)?)?;
    module.add_function(wrap_pyfunction!(coordinator::status, module)?)?;
    module.add_function(wrap_pyfunction!(keys::read_join_file, module)?)?;
    module.add_function(wrap_pyfunction!(worker::run_worker, module)?)?;
    module.add_function(wrap_pyfunction!(fork::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(pickle::names_main, module)?)?;
    Ok(())
}
