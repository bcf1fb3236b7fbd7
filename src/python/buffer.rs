//! Segments between Rust and Python: bytes in are copied once, large bytes out are not copied at all.
//!
//! One of the two doors for `unsafe`: Python's buffer protocol hands out raw pointers.
#![allow(unsafe_code, reason = "the buffer protocol hands out raw pointers")]

use bytes::{Bytes, BytesMut};
use plait_core::value::Value;
use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use std::ffi::{c_int, c_void};

/// Segments up to this size become `bytes`: a copy costs less than an object of our own.
pub(super) const COPIED_BYTES: usize = 16 << 10;
/// What `malloc` gives, and what `NumPy` wants for every type it vectorises.
const ALIGNMENT: usize = 16;

/// Bytes that Python sees without a copy, through the buffer protocol; writable, and nobody else's.
///
/// The bytes are never touched by Rust again, so views may be written to as Python likes.
#[pyclass(frozen, module = "plait._native")]
pub(crate) struct Buffer {
    start: *mut u8,
    length: usize,
    /// Owns what `start` points to, and is never read or moved out of.
    _owner: BytesMut,
}

// SAFETY: the memory is owned by `_owner` and freed only when the object is, from whatever thread; Rust never reads or
// writes it, so the only accesses are Python's own, under whatever discipline Python's threads keep.
unsafe impl Send for Buffer {}
// SAFETY: as above; no method reads or writes the memory.
unsafe impl Sync for Buffer {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.length)
    }
}

impl Buffer {
    /// Takes `bytes` over; copies them only if somebody else holds them too, or if they lie askew.
    pub(crate) fn new(bytes: Bytes) -> Self {
        let askew = !(bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT);
        let mut owner = if askew {
            BytesMut::from(&bytes[..])
        } else {
            bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
        };
        Self { start: owner.as_mut_ptr(), length: owner.len(), _owner: owner }
    }
}

#[pymethods]
impl Buffer {
    fn __len__(&self) -> usize {
        self.length
    }

    /// Python asks for a view.
    ///
    /// # Safety
    /// Called by the interpreter alone, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (start, length) = (slf.get().start.cast::<c_void>(), slf.get().length);
        let length = ffi::Py_ssize_t::try_from(length).expect("an allocation is never larger than a signed size");
        // SAFETY: `view` comes from the interpreter; `start..start + length` stays where it is as long as `slf` lives,
        // and the view holds a reference to `slf`.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, 0, flags) };
        if filled < 0 { Err(PyErr::fetch(slf.py())) } else { Ok(()) }
    }
}

/// Segments from Python as a value: `bytes`, or a list of objects with the buffer protocol. Copies.
pub(crate) fn value_from(segments: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(stream) = segments.cast::<PyBytes>() {
        return Ok(Value::copied(stream.as_bytes()));
    }
    let segments = segments.try_iter()?.map(|segment| bytes_from(&segment?)).collect::<PyResult<Vec<_>>>()?;
    Ok(Value::from_segments(segments))
}

fn bytes_from(segment: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(stream) = segment.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(stream.as_bytes()));
    }
    Ok(PyBuffer::<u8>::get(segment)?.to_vec(segment.py())?.into())
}

/// A value as a list of segments for Python; what others hold too is copied.
pub(crate) fn segments_of<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyList>> {
    segments_into(py, value.clone())
}

/// A value that nobody else needs as a list of segments for Python.
pub(crate) fn segments_into<'py>(py: Python<'py>, value: Value) -> PyResult<Bound<'py, PyList>> {
    let segments = PyList::empty(py);
    for (index, segment) in value.into_segments().into_iter().enumerate() {
        // The pickle stream is only read, and most are short; the buffers behind it become arrays that may be written to.
        if index == 0 && segment.len() <= COPIED_BYTES {
            segments.append(PyBytes::new(py, &segment))?;
        } else {
            segments.append(Buffer::new(segment))?;
        }
    }
    Ok(segments)
}
