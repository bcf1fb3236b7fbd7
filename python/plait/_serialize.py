"""Objects to segments and back: the only place that pickles, used by the client and by the executor alike.

A pickled object is a list of segments: the pickle-5 stream, then its out-of-band buffers. Plain pickle is tried first
and done again with cloudpickle where the stream refers to `__main__` (pickle would succeed here, by reference, and fail
far away) or where it fails. cloudpickle is imported only when it is needed.

A Future among arguments becomes `_input(n)`, the n-th input of the task: futures find the collector of their thread
(see `Collecting`), so any nesting works and no container of the user's is walked.
"""

from __future__ import annotations

import sys
from _pickle import PickleBuffer, dumps, loads
from _thread import _local as local
from itertools import chain

from plait._errors import (
    DependencyFailed,
    PlaitError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    TaskCrashed,
    text_of,
    told,
)
from plait._native import names_main
from plait._paths import culprit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, TracebackType
    from typing import Any, Protocol, TypeAlias, TypeVar

    from plait._errors import Segments

    F = TypeVar("F", bound=Callable[..., Any])

    #: What `retry_on` takes: one exception class or several.
    RetryOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

    #: Futures among arguments with their numbers, by identity; that they are held keeps each `id` their own.
    Collected: TypeAlias = dict[int, tuple[int, Any]]

    #: What some of the items of a chunk came to: see `load_parts`.
    Part: TypeAlias = tuple[int, list[Any], dict[int, bytes], list[float] | None]

    class Inputs(Protocol):
        """The inputs of a task: `inputs[n]` loads the n-th value."""

        def __getitem__(self, index: int, /) -> Any: ...


#: What the items of a chunk are, and what is wanted of them: tuples of arguments, each one's time, a halt at the first
#: that fails, a halt when it takes longer than planned; items that are pickled apart, and that go along with what they
#: come to.
TUPLES, TIMED, FIRST, BRIEF, APART, TOLD = 1, 2, 4, 8, 16, 32
#: A chunk that plait sized is planned as 10 ms of work. After this long it is cut off and the rest given back: it had
#: longer items than could be foreseen, and others may be idle.
BRIEF_SECONDS = 0.05
#: Items of these types can be pickled and unpickled whatever happens: they need not be pickled apart.
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
#: More out-of-band buffers than this stay in the stream: each costs a segment of its own.
MAX_BUFFERS = 1_000
#: The longest text of an error with its traceback, in characters.
MAX_ERROR_TEXT = 64 << 10

#: What stands above the frames of a traceback.
_HEADING = "Traceback (most recent call last):"
#: What stands in the place of what was cut off at the start of a text that was too long.
_CUT = "[…]\n"
#: Modules that pickle, beside plait's own: what their code says of an error is in the message.
_PICKLERS = ("cloudpickle.cloudpickle", "pickle", "copyreg")
#: Code of plait's that calls functions of the user: see `calls_users`.
_callers: set[CodeType] = set()

_thread = local()


def dump_function(fn: Callable[..., Any], retry_on: RetryOn) -> tuple[list[bytes], bool]:
    """Pickle a function with what it may be retried on.

    Returns:
        The segments, and whether the function travels by value (then it needs the same Python minor version).

    Raises:
        SerializationError: If it cannot be pickled.
    """
    stream = None
    if "cloudpickle" not in sys.modules:
        stream = _plain_by_reference((fn, retry_on))
    if stream is None:
        try:
            stream = _cloud_dumps((fn, retry_on), None)
        except Exception as error:
            raise _failure(fn, getattr(fn, "__qualname__", "fn"), error) from _users_part(error)
    return [stream], b"cloudpickle" in stream


def load_function(segments: Segments) -> tuple[Callable[..., Any], RetryOn]:
    """Return the function and its `retry_on`; raises whatever unpickling raises."""
    loaded: tuple[Callable[..., Any], RetryOn] = load_value(segments)
    return loaded


def dump_simply(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """Pickle the arguments of one call by plain pickle, or return None where that is not all there is to it."""
    try:
        stream = dumps((args, kwargs), 5, buffer_callback=_out_of_band)
    except Exception:  # a big array, a future, or something that cloudpickle may know
        return None
    return None if names_main(stream) else stream


def dump_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Pickle the arguments of one call.

    Returns:
        The segments, and the futures among the arguments in the order of their placeholders.

    Raises:
        SerializationError: If something cannot be pickled; names its place.
    """
    buffers: list[Any] = []
    try:
        stream = dumps((args, kwargs), 5, buffer_callback=buffers.append)
        if len(buffers) <= MAX_BUFFERS and not names_main(stream):
            return [stream, *(_contiguous(buffer) for buffer in buffers)], []
    except Exception:
        pass  # a future among them, or something that cloudpickle may know
    return _dump_with_futures((args, kwargs), _name_argument)


def too_large(refused: SerializationError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SerializationError:
    """Return why a call was not sent, naming the largest of its arguments.

    Args:
        refused: What the session said: it knows sizes, not names.
        args: The arguments that were pickled.
        kwargs: And those with names.
    """
    named = [(name, _size(value)) for name, value in _name_argument((args, kwargs))]
    path, _ = max(named, key=lambda one: one[1], default=("arguments", 0))
    return refusal(refused, path)


def refusal(refused: SerializationError, path: str) -> SerializationError:
    """Return why something of this name was not sent."""
    reason = refused.reason
    return SerializationError(f"{path} is too large to send: {reason}", path=path, reason=reason, size=refused.size)


def load_call(segments: Segments, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return `(args, kwargs)`; placeholders become `inputs[n]`."""
    with Resolving(inputs):
        loaded: tuple[tuple[Any, ...], dict[str, Any]] = load_value(segments)
    return loaded


def dump_items(kind: int, items: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Pickle the items of a chunk with what they are and what is wanted of them; returns and raises as `dump_call`."""
    buffers: list[Any] = []
    head = bytes((kind,))
    try:
        stream = dumps(items, 5, buffer_callback=buffers.append)
        if not buffers and not names_main(stream):
            return [head, stream], []
    except Exception:
        pass  # as in `dump_call`
    segments, inputs = _dump_with_futures(items, _name_item)
    return [head, *segments], inputs


def is_plain(kind: int, items: Sequence[Any]) -> bool:
    """Whether these items of a chunk need not be pickled apart: none can spoil the others."""
    if type(items) is range:
        return True
    parts = chain.from_iterable(items) if kind & TUPLES else items
    return set(map(type, parts)) <= _PLAIN


def pack_item(kind: int, item: Any) -> tuple[Any, list[Any]]:
    """Pickle one item of a chunk apart from the others.

    Returns:
        The item as `dump_packed` takes it, and the futures in it.

    Raises:
        SerializationError: If it cannot be pickled; names its place.
    """
    args = item if kind & TUPLES else (item,)
    segments, inputs = _dump_with_futures(item, lambda _: _name_argument((args, {})))
    return _packed(segments), inputs


def pack_failed(error: BaseException, item: Any) -> tuple[Any, ...]:
    """Return what stands for an item that cannot be sent: its unpickling raises `error`."""
    return (None, dump_error(error)[0], *_dump_in_band(item))


def dump_packed(kind: int, packed: Sequence[Any]) -> list[Any]:
    """Pickle a chunk of items that were pickled apart."""
    buffers: list[Any] = []
    stream = dumps(packed, 5, buffer_callback=buffers.append)
    return [bytes((kind | APART,)), stream, *(_contiguous(buffer) for buffer in buffers)]


def load_packed(packed: Any) -> Any:
    """Unpickle an item that was pickled apart; raises whatever unpickling raises."""
    if type(packed) is bytes:
        return loads(packed)
    stream, *buffers = packed
    if stream is None:
        raise load_error([buffers[0]])
    return loads(stream, buffers=buffers)


def load_given(packed: Any) -> Any:
    """Return an item that was pickled apart and failed, None in place of futures; raises whatever unpickling raises."""
    with Resolving(_Absent()):
        if type(packed) is not bytes and packed[0] is None:
            return loads(packed[2])
        return load_packed(packed)


def repack(packed: Any) -> Any:
    """Return an item that was pickled apart, and has arrived, in a form that can be sent on."""
    if type(packed) is bytes or packed[0] is None:
        return packed
    return (packed[0], *map(PickleBuffer, packed[1:]))


def _packed(segments: list[Any]) -> Any:
    return segments[0] if len(segments) == 1 else (segments[0], *map(PickleBuffer, segments[1:]))


def kind_of(segments: Segments) -> int:
    """Return what the items of a chunk are, and what is wanted of them; unpickles none of them."""
    return memoryview(segments[0])[0]


def load_items(segments: Segments) -> Sequence[Any]:
    """Return the items that `dump_items` was given, or packed ones, with the values of futures: see `Resolving`."""
    items: Sequence[Any] = load_value(segments[1:])
    return items


def own_buffers(segments: Segments) -> Segments:
    """Return segments of a chunk whose items can be changed in place, and these segments stay as they are."""
    return [*segments[:2], *map(bytearray, segments[2:])]


class _Absent:
    """Stands for the inputs of a piece that has failed: there may be none."""

    def __getitem__(self, _index: int) -> None:
        return None


def dump_value(value: Any, name: str = "result") -> list[Any]:
    """Pickle a value.

    Args:
        value: Anything.
        name: What to call it in an error.

    Raises:
        SerializationError: If something in it cannot be pickled; names its place.
    """
    try:
        return _dump(value)
    except Exception as error:
        raise _failure(value, name, error) from _users_part(error)


def load_value(segments: Segments) -> Any:
    """Unpickle a value; raises whatever unpickling raises."""
    if len(segments) == 1:
        return loads(segments[0])
    return loads(segments[0], buffers=segments[1:])


def load_parts(segments: Segments) -> list[Part]:
    """Return what a chunk came to, part by part, in order.

    Each is the index of its first item and what it came to from there: values, pickled errors by their place among
    them, seconds. It has fewer values than items up to the next part if its executor gave some back. Where items are
    to be told, they follow, with their kind and the worker's name. Parts follow one another: each takes as many
    buffers as its stream asks for.
    """
    rest = iter(segments)
    return [loads(stream, buffers=rest) for stream in rest]


def dump_error(error: BaseException) -> list[bytes]:
    """Pickle an exception with its traceback as text, in one segment; never fails.

    Frames of plait itself at the start of the traceback are left out. What cannot be pickled, or not unpickled again,
    becomes a `RemoteError` on the other side, which says why.
    """
    body = _pickled_error(error)
    return [dumps((body, _type_name(error), text_of(error)[:MAX_ERROR_TEXT], _traceback_of(error)), 5)]


def _pickled_error(error: BaseException) -> bytes | str:
    """Pickle an exception, or say why it cannot be had again: then its text alone travels."""
    doing = "pickled"
    try:
        stream = b"".join(_dump_in_band(error))
        doing = "rebuilt"
        if isinstance(again := loads(stream), BaseException):
            return stream
        return f"would be a {type(again).__name__}"
    except BaseException as failure:
        return f"cannot be {doing}: {told(failure)}"[:MAX_ERROR_TEXT]


def load_error(segments: Segments, note: str = "") -> BaseException:
    """Return the exception, the remote traceback as its cause, with one note.

    Args:
        segments: What `dump_error` returned.
        note: Which task, attempt, host, how long; none if empty.
    """
    body, type_name, text, trace = loads(segments[0])
    error, reason = None, body
    if isinstance(body, bytes):
        try:
            error = loads(body)
            reason = f"would be a {type(error).__name__} here"
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            reason = f"cannot be rebuilt here: {told(failure)}"
    if not isinstance(error, BaseException):
        message = f"{type_name}: {text} (the exception itself {reason})"
        error = RemoteError(message, type_name=type_name, traceback=trace)
    # Set by hand: a class may forbid setting attributes of its exceptions.
    if not isinstance(error, (DependencyFailed, TaskCrashed)) and not _says_all(error, trace):
        BaseException.__setattr__(error, "__cause__", RemoteTraceback(trace))
    if note:
        _add_note(error, note)
    return error


def _says_all(error: BaseException, trace: str) -> bool:
    """Whether a remote traceback has nothing to add: an error of plait's own, of which no frame is the user's."""
    return isinstance(error, SerializationError) and _HEADING not in trace and not trace.startswith(_CUT)


def _add_note(error: BaseException, note: str) -> None:
    """Add a note to those that are text: what a class has under their name may be anything."""
    try:
        notes = getattr(error, "__notes__", None)
        kept = [one for one in notes if isinstance(one, str)] if isinstance(notes, list) else []
        BaseException.__setattr__(error, "__notes__", [*kept, note])
    except Exception:
        pass  # a property that will not have it: the error counts, not what is known of it


class Collecting:
    """A `with` block in which futures that this thread pickles become inputs of the task in the making."""

    __slots__ = ("_before", "inputs")

    def __enter__(self) -> Collected:
        self._before = getattr(_thread, "collector", None)
        self.inputs: Collected = {}
        _thread.collector = self.inputs
        return self.inputs

    def __exit__(self, *_: object) -> None:
        _thread.collector = self._before


def placeholder(future: Any) -> tuple[Any, ...]:
    """Return what a future pickles as: `Future.__reduce_ex__` calls this.

    Raises:
        TypeError: Where no task is in the making in this thread.
    """
    inputs: Collected | None = getattr(_thread, "collector", None)
    if inputs is None:
        raise TypeError("a plait Future cannot be pickled; give it to submit, map or run as an argument")
    index, _ = inputs.setdefault(id(future), (len(inputs), future))
    return (_input, (index,))


def _input(index: int) -> Any:
    """Return the n-th input of the task whose arguments this thread unpickles."""
    inputs: Inputs | None = getattr(_thread, "inputs", None)
    if inputs is None:
        raise PlaitError("a placeholder of a plait Future was unpickled outside its task")
    return inputs[index]


def _out_of_band(_buffer: object) -> None:
    """Stop the pickler at the first buffer."""
    raise BufferError


class Resolving:
    """A `with` block in which this thread's unpickling replaces the placeholders of futures by these inputs."""

    __slots__ = ("_before", "_inputs")

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __enter__(self) -> None:
        self._before = getattr(_thread, "inputs", None)
        _thread.inputs = self._inputs

    def __exit__(self, *_: object) -> None:
        _thread.inputs = self._before


def _dump_with_futures(payload: Any, name: Callable[[Any], Sequence[tuple[str, Any]]]) -> tuple[list[Any], list[Any]]:
    with Collecting() as inputs:
        try:
            segments = _dump(payload, inputs)
        except Exception as error:
            raise _failure_among(name(payload), error) from _users_part(error)
    return segments, [future for _, future in inputs.values()]


def _dump(value: Any, inputs: Collected | None = None) -> list[Any]:
    """Pickle with out-of-band buffers: plainly if that can be loaded elsewhere, else with cloudpickle.

    `inputs` are forgotten before the second try, which finds them again.
    """
    buffers: list[Any] = []
    try:
        stream = dumps(value, 5, buffer_callback=buffers.append)
        plain = not names_main(stream)
    except Exception:
        plain = False
    if not plain:
        buffers.clear()
        if inputs is not None:
            inputs.clear()
        stream = _cloud_dumps(value, buffers.append)
    if not buffers:
        return [stream]
    if len(buffers) > MAX_BUFFERS:
        if inputs is not None:
            inputs.clear()
        return _dump_in_band(value)
    return [stream, *(_contiguous(buffer) for buffer in buffers)]


def _dump_in_band(value: Any) -> list[bytes]:
    """Pickle into one segment, whatever buffers there are."""
    try:
        stream = dumps(value, 5)
        if not names_main(stream):
            return [stream]
    except Exception:
        pass  # cloudpickle may know how
    return [_cloud_dumps(value, None)]


def _contiguous(buffer: Any) -> memoryview:
    """Return the bytes of a pickle buffer: any contiguous one serves, in C or Fortran order."""
    raw: memoryview = buffer.raw()
    return raw


def _cloud_dumps(value: Any, buffer_callback: Callable[[Any], Any] | None) -> bytes:
    from plait import _by_value

    return _by_value.dumps(value, buffer_callback)


def _plain_by_reference(value: Any) -> bytes | None:
    """Pickle by reference, or return None where that would not load elsewhere."""
    try:
        stream = dumps(value, 5)
    except Exception:
        return None
    return None if names_main(stream) else stream


def _failure_among(named: Sequence[tuple[str, Any]], error: Exception) -> SerializationError:
    """Blame the first of several named values that cannot be pickled alone."""
    for name, value in named:
        try:
            with Collecting():
                _dump(value)
        except Exception as alone:
            return _failure(value, name, alone)
    return _failure(None, "arguments", error)


def _size(value: Any) -> int:
    """Bytes of a pickled argument; 0 if it does not pickle a second time."""
    try:
        with Collecting():
            return sum(memoryview(segment).nbytes for segment in _dump(value))
    except Exception:
        return 0


def _failure(value: Any, name: str, error: Exception) -> SerializationError:
    if isinstance(error, SerializationError):
        return error
    with Collecting():
        path, innermost = culprit(value, name, error, _dump)
    reason = told(innermost)
    return SerializationError(f"cannot pickle {path}: {reason}", path=path, reason=reason)


def _name_argument(payload: tuple[tuple[Any, ...], dict[str, Any]]) -> list[tuple[str, Any]]:
    args, kwargs = payload
    return [(f"args[{i}]", v) for i, v in enumerate(args)] + [(f"kwargs[{k!r}]", v) for k, v in kwargs.items()]


def _name_item(items: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(f"items[{i}]", item) for i, item in enumerate(items)]


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _traceback_of(error: BaseException) -> str:
    import traceback

    try:
        lines = traceback.format_exception(type(error), error, _frames_of(error))
    except Exception:  # an exception whose __str__ or __cause__ misbehaves
        lines = traceback.format_tb(_frames_of(error))
    text = "".join(lines)
    return text if len(text) <= MAX_ERROR_TEXT else _CUT + text[-MAX_ERROR_TEXT:]


def calls_users(fn: F) -> F:
    """Mark a function of plait's that calls the user's: an error that comes from there is none of plait's own."""
    _callers.add(fn.__code__)
    return fn


def _frames_of(error: BaseException) -> TracebackType | None:
    """Return the frames that its user should see; where only plait has been, at least where the error comes from.

    The user's function may have none, being built in: then nothing is shown.
    """
    trace = _users_frames(error.__traceback__)
    if trace is None and not isinstance(error, PlaitError):
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        if last is not None and last.tb_frame.f_code not in _callers:
            return last
    return trace


def _users_part(error: Exception) -> BaseException | None:
    """Return why something cannot be pickled, from where the user's own code fails; None if that has no part in it."""
    one: BaseException | None = error
    while one is not None:
        if (frames := _users_frames(one.__traceback__)) is not None:
            return one.with_traceback(frames)
        one = one.__cause__ if one is error else None  # cloudpickle says in its own words that a recursion was too deep
    return None


def _users_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames of plait and of picklers at the start."""
    own = __file__.rpartition("/")[0] + "/"
    picklers = {getattr(sys.modules.get(name), "__file__", None) for name in _PICKLERS}
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith(own) or file in picklers):
            return trace
        trace = trace.tb_next
    return None
