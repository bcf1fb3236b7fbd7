//! Segments between Rust and Python: bytes in are copied once, large bytes out are not copied at all.
//!
//! Where there is a [`Store`], what is large is copied straight into memory that can be passed to other processes, and what
//! came as such memory is seen by Python as it is.
//!
//! One of the two doors for `unsafe`: Python's buffer protocol hands out raw pointers.
#![allow(unsafe_code, reason = "the buffer protocol hands out raw pointers")]

use crate::store::blob::Store;
use crate::store::shm::Snapshot;
use bytes::{Bytes, BytesMut};
use plait_core::limits::PASSED_BYTES;
use plait_core::value::Value;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyTuple};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// Segments up to this size become `bytes`: a copy costs less than an object of our own.
pub(super) const COPIED_BYTES: usize = 16 << 10;
/// What `malloc` gives, and what `NumPy` wants for every type it vectorises.
const ALIGNMENT: usize = 16;

/// Bytes that Python sees without a copy, through the buffer protocol: writable, and nobody else's; or others' too, and then
/// only read.
///
/// What may be written to is never touched by Rust again.
#[pyclass(frozen, module = "plait._native")]
pub(crate) struct Buffer {
    start: *mut u8,
    length: usize,
    is_shared: bool,
    /// Owns what `start` points to, and is never read or moved out of.
    _owner: Owner,
}

/// Whose memory it is.
enum Owner {
    Heap { _bytes: BytesMut },
    Mapped { _memory: Snapshot },
    Shared { _bytes: Bytes },
}

// SAFETY: the memory is owned by `_owner` and freed only when the object is, from whatever thread. Either Rust never reads or
// writes it, so the only accesses are Python's own, under whatever discipline Python's threads keep; or it is shared, and
// nobody writes.
unsafe impl Send for Buffer {}
// SAFETY: as above; no method reads or writes the memory.
unsafe impl Sync for Buffer {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.length)
    }
}

impl Buffer {
    /// Takes `bytes` over; copies them only if somebody else holds them too and they are not of `store`, or if they lie
    /// askew.
    pub(crate) fn new(bytes: Bytes, store: Option<&Arc<Store>>) -> Self {
        let taken = if bytes.len() < PASSED_BYTES { Err(bytes) } else { take(bytes, store) };
        let bytes = match taken {
            Ok(mut memory) => {
                let (start, length) = (memory.bytes_mut().as_mut_ptr(), memory.len());
                return Self { start, length, is_shared: false, _owner: Owner::Mapped { _memory: memory } };
            }
            Err(bytes) => bytes,
        };
        let askew = !(bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT);
        let mut owner = if askew {
            BytesMut::from(&bytes[..])
        } else {
            bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
        };
        let (start, length) = (owner.as_mut_ptr(), owner.len());
        Self { start, length, is_shared: false, _owner: Owner::Heap { _bytes: owner } }
    }

    /// Lets `bytes` be read, whoever else holds them.
    fn shared(bytes: Bytes) -> Self {
        let (start, length) = (bytes.as_ptr().cast_mut(), bytes.len());
        Self { start, length, is_shared: true, _owner: Owner::Shared { _bytes: bytes } }
    }
}

fn take(bytes: Bytes, store: Option<&Arc<Store>>) -> Result<Snapshot, Bytes> {
    match store {
        Some(store) => store.take(bytes),
        None => Err(bytes),
    }
}

#[pymethods]
impl Buffer {
    fn __len__(&self) -> usize {
        self.length
    }

    /// Pickles as what a buffer that may be written to pickles as without out-of-band buffers: a bytearray.
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, _protocol: u8) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let buffer = py.import("pickle")?.getattr("PickleBuffer")?.call1((slf,))?;
        (py.get_type::<PyByteArray>(), (buffer,)).into_pyobject(py)
    }

    /// Python asks for a view.
    ///
    /// # Safety
    /// Called by the interpreter alone, with a `view` to fill.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let Self { start, length, is_shared, .. } = *slf.get();
        let length = ffi::Py_ssize_t::try_from(length).expect("an allocation is never larger than a signed size");
        let (start, readonly) = (start.cast::<c_void>(), c_int::from(is_shared));
        // SAFETY: `view` comes from the interpreter; `start..start + length` stays where it is as long as `slf` lives,
        // and the view holds a reference to `slf`. What is shared is not written to through a view that says so.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, readonly, flags) };
        if filled < 0 { Err(PyErr::fetch(slf.py())) } else { Ok(()) }
    }
}

/// Segments from Python as a value: `bytes`, or a list of objects with the buffer protocol. Copies, large ones into memory
/// of `store` if there is one.
pub(crate) fn value_from(segments: &Bound<'_, PyAny>, store: Option<&Arc<Store>>) -> PyResult<Value> {
    let only = match segments.cast::<PyList>() {
        Ok(list) if list.len() == 1 => list.get_item(0)?,
        _ => segments.clone(),
    };
    let limit = if store.is_some() { PASSED_BYTES } else { usize::MAX };
    if let Ok(stream) = only.cast::<PyBytes>()
        && stream.as_bytes().len() < limit
    {
        return Ok(Value::copied(stream.as_bytes()));
    }
    let views = match segments.cast::<PyBytes>() {
        Ok(stream) => vec![View::Bytes(stream.clone())],
        Err(_) => segments.try_iter()?.map(|segment| View::of(segment?)).collect::<PyResult<Vec<_>>>()?,
    };
    let large: Vec<&[u8]> = views.iter().map(View::bytes).filter(|bytes| bytes.len() >= limit).collect();
    let stored = match store {
        Some(store) if !large.is_empty() => segments.py().detach(|| store.write(&large)).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut stored = stored.into_iter();
    let segment = |bytes: &[u8]| {
        let stored = if bytes.len() >= limit { stored.next() } else { None };
        stored.unwrap_or_else(|| Bytes::copy_from_slice(bytes))
    };
    Ok(Value::from_segments(views.iter().map(View::bytes).map(segment).collect()))
}

/// Bytes that Python holds where they are.
enum View<'py> {
    Bytes(Bound<'py, PyBytes>),
    Buffer(PyBuffer<u8>),
}

impl<'py> View<'py> {
    fn of(segment: Bound<'py, PyAny>) -> PyResult<Self> {
        match segment.cast_into::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(other) => {
                let buffer = PyBuffer::get(&other.into_inner())?;
                let whole = buffer.is_c_contiguous();
                if whole {
                    Ok(Self::Buffer(buffer))
                } else {
                    Err(PyBufferError::new_err("a segment lies in one piece"))
                }
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Buffer(buffer) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the view keeps that many bytes where they are, in one piece, until it is dropped. Another thread of
            // Python's may be writing to them, as it may at any time: they are only copied, and no more is asked of the
            // copy than that it has some of both.
            Self::Buffer(buffer) => unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) },
        }
    }
}

/// A value as a list of segments for Python; what others hold too and is not of `store` is copied.
pub(crate) fn segments_into<'py>(
    py: Python<'py>,
    value: Value,
    store: Option<&Arc<Store>>,
) -> PyResult<Bound<'py, PyList>> {
    let segments = PyList::empty(py);
    for (index, segment) in value.into_segments().into_iter().enumerate() {
        // The pickle stream is only read, and most are short; the buffers behind it become arrays that may be written to.
        match index {
            0 if segment.len() <= COPIED_BYTES => segments.append(PyBytes::new(py, &segment))?,
            0 => segments.append(Buffer::shared(segment))?,
            _ => segments.append(Buffer::new(segment, store))?,
        }
    }
    Ok(segments)
}
