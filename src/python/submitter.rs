//! Submitting what is simple: a known function, called with arguments that are one stream. One native call a task.

use super::buffer::value_from;
use super::fork::Native;
use super::future::FutureBase;
use super::pickle::{Futures, Stream};
use crate::client::{Handle, NewTask};
use plait_core::id::{FunctionId, OptionsId, Seq};
use plait_core::spec::{Call, Retention};
use plait_core::value::Value;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Submits calls of one view of a client.
#[pyclass(frozen, module = "plait._native")]
#[derive(Debug)]
pub(super) struct Submitter {
    handle: Native<Handle>,
    options: OptionsId,
    /// `Functions.known`: see there for what an entry is made of.
    known: Py<PyDict>,
    /// `Future.__new__` and its arguments.
    make: (Py<PyAny>, Py<PyTuple>),
    /// `_serialize.dump_simply`.
    dump: Py<PyAny>,
}

#[pymethods]
impl Submitter {
    /// Submits a call and returns its future; None if there is anything about it that only Python can judge.
    fn submit<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = function.py();
        let Some(handle) = self.handle.get() else { return Ok(None) };
        // The entry is held until the task is queued: so long the session knows the function.
        let Some((function, _entry)) = self.find(function)? else { return Ok(None) };
        let Some((args, inputs)) = self.pickled(handle, args, kwargs)? else { return Ok(None) };
        let future = self.make.0.bind(py).call1(self.make.1.bind(py))?;
        let task = NewTask {
            function,
            options: self.options,
            call: Call::Single,
            args,
            inputs,
            run: None,
            retention: Retention::Release,
        };
        // Whatever is in the way (no room, the client was closed), Python waits for it or names it.
        let Ok(task) = handle.submit(task) else { return Ok(None) };
        future.cast::<FutureBase>()?.get().adopt(handle.clone(), task)?;
        Ok(Some(future))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.known)?;
        visit.call(&self.make.1)
    }
}

impl Submitter {
    /// A submitter that makes objects of the class `future`, whose `owner` is the client's core.
    pub(super) fn new(
        handle: Handle,
        options: u32,
        known: Py<PyDict>,
        future: &Bound<'_, PyAny>,
        owner: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let make = (future.getattr("__new__")?.unbind(), PyTuple::new(future.py(), [future, owner])?.unbind());
        let dump = future.py().import("plait._serialize")?.getattr("dump_simply")?.unbind();
        Ok(Self { handle: Native::new(handle), options: OptionsId(options), known, make, dump })
    }

    /// The arguments of a call and the futures among them, if there is nothing more to them than a stream.
    fn pickled(
        &self,
        handle: &Handle,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<Option<(Value, Box<[Seq]>)>> {
        let make = self.make.1.bind(args.py());
        let (class, owner) = (&*make.get_borrowed_item(0)?, &*make.get_borrowed_item(1)?);
        if let Some(stream) = Stream::of_call(args, kwargs, Futures { class, owner }) {
            let inputs = stream.inputs();
            return Ok(Some((stream.into_value(), inputs)));
        }
        let stream = self.dump.bind(args.py()).call1((args, kwargs))?;
        if stream.is_none() {
            return Ok(None);
        }
        Ok(Some((value_from(&stream, Some(handle.store()))?, Box::default())))
    }

    /// The number of a function that can be called as it is, and its entry: known, without pins, with nothing captured
    /// that has changed. What has an entry under its address is what the entry was made for.
    fn find<'py>(&self, function: &Bound<'py, PyAny>) -> PyResult<Option<(FunctionId, Bound<'py, PyTuple>)>> {
        let py = function.py();
        let Some(entry) = self.known.bind(py).get_item(function.as_ptr() as usize)? else { return Ok(None) };
        let entry = entry.cast_into::<PyTuple>()?;
        let captures = entry.get_borrowed_item(2)?;
        let is_plain = entry.get_borrowed_item(3)?.is_none();
        if !is_plain || !(captures.is_none() || captures.call_method0(intern!(py, "unchanged"))?.is_truthy()?) {
            return Ok(None);
        }
        let number = entry.get_borrowed_item(1)?.extract()?;
        Ok(Some((FunctionId(number), entry)))
    }
}
