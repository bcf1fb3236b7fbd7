//! Pickle for what is plain: small builtins are written and read here, without a call of Python's pickler.
//!
//! What is written is ordinary pickle, protocol 5, that `pickle.loads` reads; only frames and the memo are left out, which
//! short streams do not need, nor those that are one long string and little else. What is read is what is written here; anything else goes to Python's own unpickler. What is
//! not plain is nobody's fault: the answer is `None`, and the caller goes to `_serialize.py`, which knows everything.
//!
//! A future among arguments is plain too: it is written as what it pickles as, a call of `_serialize._input` with its number
//! among the inputs of the task, and read as that input.
//!
//! Only exact types are plain: a subclass may pickle as it likes.

use super::future::FutureBase;
use bytes::Bytes;
use memchr::memmem::Finder;
use plait_core::id::Seq;
use plait_core::limits::PASSED_BYTES;
use plait_core::value::Value;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};
use std::sync::LazyLock;

/// Longest stream written here, in bytes, but for one string: what is longer costs more than a call of Python's pickler.
const STREAM_BYTES: usize = 512;
/// Longest string, in bytes: with all that stands around it, it is still copied rather than passed as memory.
const STRING_BYTES: usize = PASSED_BYTES - 2 * STREAM_BYTES;
/// Deepest nesting written here, in tuples: what is deeper is rare, and a recursion needs a bound.
const DEPTH: usize = 16;

const PROTO: [u8; 2] = [0x80, 5];
/// What Python's pickler goes on with.
const FRAME: u8 = 0x95;
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const NONE: u8 = b'N';
const NEWTRUE: u8 = 0x88;
const NEWFALSE: u8 = 0x89;
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;
const BINFLOAT: u8 = b'G';
const SHORT_BINUNICODE: u8 = 0x8c;
const BINUNICODE: u8 = b'X';
const SHORT_BINBYTES: u8 = b'C';
const BINBYTES: u8 = b'B';
const EMPTY_TUPLE: u8 = b')';
const TUPLE1: u8 = 0x85;
const TUPLE2: u8 = 0x86;
const TUPLE3: u8 = 0x87;
const TUPLE: u8 = b't';
const EMPTY_DICT: u8 = b'}';
const SETITEMS: u8 = b'u';
const REDUCE: u8 = b'R';

/// What stands before the number of an input: see `placeholder` in `_serialize.py`.
const INPUT: &[u8] = b"\x8c\x10plait._serialize\x8c\x06_input\x93K";
/// What follows it: the call.
const CALLED: [u8; 2] = [TUPLE1, REDUCE];

/// `((), {})`: what most often has to be read fast.
const EMPTY_CALL: &[u8] = &[PROTO[0], PROTO[1], EMPTY_TUPLE, EMPTY_DICT, TUPLE2, STOP];

/// What pickle writes where it refers to something of the program that runs.
static MAIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("__main__"));

/// Whether a pickled stream may refer to the module `__main__`, which is another one elsewhere.
#[pyfunction]
#[pyo3(signature = (stream, /))]
pub(super) fn names_main(stream: &[u8]) -> bool {
    MAIN.find(stream).is_some()
}

/// Positional and named arguments.
pub(super) type Arguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// Whose futures may stand among arguments.
#[derive(Clone, Copy)]
pub(super) struct Futures<'a, 'py> {
    /// Their class.
    pub(super) class: &'a Bound<'py, PyAny>,
    /// Their client's core.
    pub(super) owner: &'a Bound<'py, PyAny>,
}

/// A short stream in the making, on the stack; with one long string, on the heap.
pub(super) struct Stream<'a, 'py> {
    futures: Option<Futures<'a, 'py>>,
    /// The futures that were found, by address, which holds as long as the arguments do.
    inputs: Vec<(usize, Seq)>,
    bytes: [u8; STREAM_BYTES],
    /// Bytes written, without those of a long string.
    length: usize,
    /// All of it, once there is a long string.
    long: Vec<u8>,
}

impl<'a, 'py> Stream<'a, 'py> {
    /// The arguments of a call, as `dumps((args, kwargs), 5)` would have them.
    pub(super) fn of_call(
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        futures: Futures<'a, 'py>,
    ) -> Option<Self> {
        let mut stream = Self::begin(Some(futures));
        stream.tuple(args, 0)?;
        stream.dict(kwargs)?;
        stream.put(&[TUPLE2, STOP])?;
        Some(stream)
    }

    /// One value, as `dumps(value, 5)` would have it.
    pub(super) fn of_value(value: &Bound<'py, PyAny>) -> Option<Self> {
        let mut stream = Self::begin(None);
        stream.value(value, 0)?;
        stream.put(&[STOP])?;
        Some(stream)
    }

    /// The inputs that were found, in the order of their numbers.
    pub(super) fn inputs(&self) -> Box<[Seq]> {
        self.inputs.iter().map(|(_, seq)| *seq).collect()
    }

    /// What was written.
    pub(super) fn into_value(self) -> Value {
        if self.long.is_empty() { Value::copied(&self.bytes[..self.length]) } else { Bytes::from(self.long).into() }
    }

    fn begin(futures: Option<Futures<'a, 'py>>) -> Self {
        let mut bytes = [0; STREAM_BYTES];
        bytes[..PROTO.len()].copy_from_slice(&PROTO);
        Self { futures, inputs: Vec::new(), bytes, length: PROTO.len(), long: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let room = self.bytes.get_mut(self.length..self.length + bytes.len())?;
        if self.long.is_empty() {
            room.copy_from_slice(bytes);
        } else {
            self.long.extend_from_slice(bytes);
        }
        self.length += bytes.len();
        Some(())
    }

    /// A long string; a second one goes to Python's pickler, which knows whether it is the same.
    fn put_long(&mut self, bytes: &[u8]) -> Option<()> {
        if !self.long.is_empty() || bytes.len() > STRING_BYTES {
            return None;
        }
        self.long.reserve_exact(STREAM_BYTES + bytes.len());
        self.long.extend_from_slice(&self.bytes[..self.length]);
        self.long.extend_from_slice(bytes);
        Some(())
    }

    fn value(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Option<()> {
        if value.is_none() {
            self.put(&[NONE])
        } else if let Ok(number) = value.cast_exact::<PyInt>() {
            self.int(number.extract().ok()?)
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            self.sized(text.to_str().ok()?.as_bytes(), SHORT_BINUNICODE, BINUNICODE)
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.put(&[BINFLOAT])?;
            self.put(&number.value().to_be_bytes())
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.put(&[if truth.is_true() { NEWTRUE } else { NEWFALSE }])
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.sized(bytes.as_bytes(), SHORT_BINBYTES, BINBYTES)
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple, depth)
        } else {
            let futures = self.futures.filter(|futures| value.get_type().is(futures.class))?;
            self.input(value.cast().ok()?, futures.owner)
        }
    }

    fn input(&mut self, future: &Bound<'_, FutureBase>, owner: &Bound<'_, PyAny>) -> Option<()> {
        let (address, seq) = (future.as_ptr() as usize, future.get().as_input(owner)?);
        let known = self.inputs.iter().position(|(other, _)| *other == address);
        let number = known.unwrap_or(self.inputs.len());
        if known.is_none() {
            self.inputs.push((address, seq));
        }
        self.put(INPUT)?;
        self.put(&[u8::try_from(number).ok()?])?;
        self.put(&CALLED)
    }

    fn int(&mut self, number: i64) -> Option<()> {
        let bytes = number.to_le_bytes();
        if let Ok(small) = u8::try_from(number) {
            self.put(&[BININT1, small])
        } else if u16::try_from(number).is_ok() {
            self.put(&[BININT2, bytes[0], bytes[1]])
        } else if i32::try_from(number).is_ok() {
            self.put(&[BININT])?;
            self.put(&bytes[..4])
        } else {
            self.put(&[LONG1, 8])?;
            self.put(&bytes)
        }
    }

    fn sized(&mut self, bytes: &[u8], short: u8, long: u8) -> Option<()> {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.put(&[short, length])?,
            Err(_) => {
                self.put(&[long])?;
                self.put(&u32::try_from(bytes.len()).ok()?.to_le_bytes())?;
            }
        }
        if bytes.len() < STREAM_BYTES { self.put(bytes) } else { self.put_long(bytes) }
    }

    fn tuple(&mut self, tuple: &Bound<'py, PyTuple>, depth: usize) -> Option<()> {
        if depth == DEPTH {
            return None;
        }
        let end = match tuple.len() {
            0 => return self.put(&[EMPTY_TUPLE]),
            1 => TUPLE1,
            2 => TUPLE2,
            3 => TUPLE3,
            _ => {
                self.put(&[MARK])?;
                TUPLE
            }
        };
        tuple.iter_borrowed().try_for_each(|item| self.value(&item, depth + 1))?;
        self.put(&[end])
    }

    /// Named arguments: their names are strings, whoever calls.
    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> Option<()> {
        self.put(&[EMPTY_DICT])?;
        if dict.is_empty() {
            return Some(());
        }
        self.put(&[MARK])?;
        for (name, value) in dict.iter() {
            self.value(name.cast_exact::<PyString>().ok()?, 0)?;
            self.value(&value, 0)?;
        }
        self.put(&[SETITEMS])
    }
}

/// What a call was made of, with its inputs, if its stream is plain.
pub(super) fn load_call<'py>(py: Python<'py>, stream: &[u8], inputs: &[Bound<'py, PyAny>]) -> Option<Arguments<'py>> {
    if stream == EMPTY_CALL {
        return Some((PyTuple::empty(py), None));
    }
    let call = load_with(py, stream, inputs)?.cast_into_exact::<PyTuple>().ok()?;
    let [args, kwargs] = [call.get_item(0).ok()?, call.get_item(1).ok()?];
    let kwargs = kwargs.cast_into_exact::<PyDict>().ok()?;
    (call.len() == 2).then_some(())?;
    Some((args.cast_into_exact().ok()?, Some(kwargs)))
}

/// What a call without inputs was made of, by Python's unpickler where the stream is not plain.
pub(super) fn load_any_call<'py>(py: Python<'py>, stream: &[u8]) -> PyResult<Arguments<'py>> {
    match load_call(py, stream, &[]) {
        Some(call) => Ok(call),
        None => Ok(unpickled(&PyBytes::new(py, stream))?.extract()?),
    }
}

/// Any value, by Python's own unpickler.
pub(super) fn unpickled<'py>(stream: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    LOADS.import(stream.py(), "_pickle", "loads")?.call1((stream,))
}

/// Whether it is worth a try to [`load`] a stream.
pub(super) fn may_be_plain(stream: &[u8]) -> bool {
    stream.len() < PASSED_BYTES && stream.get(PROTO.len()) != Some(&FRAME)
}

/// A value, if its stream is plain.
pub(super) fn load<'py>(py: Python<'py>, stream: &[u8]) -> Option<Bound<'py, PyAny>> {
    load_with(py, stream, &[])
}

fn load_with<'py>(py: Python<'py>, stream: &[u8], inputs: &[Bound<'py, PyAny>]) -> Option<Bound<'py, PyAny>> {
    if !may_be_plain(stream) {
        return None;
    }
    let mut reader = Reader { py, inputs, rest: stream.strip_prefix(&PROTO)?, items: Vec::new(), marks: Vec::new() };
    loop {
        match reader.byte()? {
            STOP => break,
            op => reader.apply(op)?,
        }
    }
    let value = reader.items.pop()?;
    (reader.rest.is_empty() && reader.items.is_empty() && reader.marks.is_empty()).then_some(value)
}

/// The machine that pickle describes, as far as plain values need it. Every length is held against what is there.
struct Reader<'a, 'py> {
    py: Python<'py>,
    inputs: &'a [Bound<'py, PyAny>],
    rest: &'a [u8],
    items: Vec<Bound<'py, PyAny>>,
    marks: Vec<usize>,
}

impl<'a, 'py> Reader<'a, 'py> {
    fn apply(&mut self, op: u8) -> Option<()> {
        let py = self.py;
        let item = match op {
            NONE => py.None().into_bound(py),
            NEWTRUE => PyBool::new(py, true).to_owned().into_any(),
            NEWFALSE => PyBool::new(py, false).to_owned().into_any(),
            BININT1 => int(py, i64::from(self.byte()?)),
            BININT2 => int(py, i64::from(u16::from_le_bytes(self.array()?))),
            BININT => int(py, i64::from(i32::from_le_bytes(self.array()?))),
            LONG1 if self.byte()? == 8 => int(py, i64::from_le_bytes(self.array()?)),
            BINFLOAT => PyFloat::new(py, f64::from_be_bytes(self.array()?)).into_any(),
            SHORT_BINUNICODE if self.rest.starts_with(&INPUT[1..]) => self.input()?,
            SHORT_BINUNICODE => self.short().and_then(|text| self.text(text))?,
            BINUNICODE => self.long().and_then(|text| self.text(text))?,
            SHORT_BINBYTES => PyBytes::new(py, self.short()?).into_any(),
            BINBYTES => PyBytes::new(py, self.long()?).into_any(),
            EMPTY_TUPLE => PyTuple::empty(py).into_any(),
            TUPLE1 | TUPLE2 | TUPLE3 => self.tuple(self.items.len().checked_sub(usize::from(op - TUPLE1) + 1)?)?,
            TUPLE => self.marks.pop().and_then(|mark| self.tuple(mark))?,
            EMPTY_DICT => PyDict::new(py).into_any(),
            MARK => {
                self.marks.push(self.items.len());
                return Some(());
            }
            SETITEMS => return self.marks.pop().and_then(|mark| self.set_items(mark)),
            _ => return None,
        };
        self.items.push(item);
        Some(())
    }

    /// An input of the task, by its number.
    fn input(&mut self) -> Option<Bound<'py, PyAny>> {
        self.rest = self.rest.strip_prefix(&INPUT[1..])?;
        let number = usize::from(self.byte()?);
        self.rest = self.rest.strip_prefix(&CALLED)?;
        self.inputs.get(number).cloned()
    }

    fn text(&self, text: &[u8]) -> Option<Bound<'py, PyAny>> {
        Some(PyString::new(self.py, str::from_utf8(text).ok()?).into_any())
    }

    /// Makes a tuple of what lies behind `mark`.
    fn tuple(&mut self, mark: usize) -> Option<Bound<'py, PyAny>> {
        if mark > self.items.len() {
            return None;
        }
        Some(PyTuple::new(self.py, self.items.drain(mark..)).ok()?.into_any())
    }

    /// Puts the pairs behind `mark` into the dict below it.
    fn set_items(&mut self, mark: usize) -> Option<()> {
        let (below, pairs) = self.items.split_at_checked(mark)?;
        let dict = below.last()?.cast_exact::<PyDict>().ok()?;
        for pair in pairs.chunks(2) {
            let [name, value] = pair else { return None };
            dict.set_item(name.cast_exact::<PyString>().ok()?, value).ok()?;
        }
        self.items.truncate(mark);
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    /// So many bytes as the next one says.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        self.rest.split_off(..length)
    }

    /// So many bytes as the next four say.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        self.rest.split_off(..length)
    }
}

fn int(py: Python<'_>, number: i64) -> Bound<'_, PyAny> {
    let Ok(number) = number.into_pyobject(py);
    number.into_any()
}
