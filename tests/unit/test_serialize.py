"""Objects go to segments and come back, futures among them become inputs, and a failure names its place."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest

from plait import _executor
from plait import _serialize as serialize
from plait._errors import RemoteError, RemoteTraceback, SerializationError, error_from


class Placeholder:
    """Pickles as a future does."""

    def __reduce_ex__(self, protocol) -> tuple:
        return serialize.placeholder(self)


class Unloadable(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(one)


def test_arguments_come_back():
    segments, inputs = serialize.dump_call((1, "a"), {"k": [2.5]})
    assert inputs == []
    assert serialize.load_call(segments, ()) == ((1, "a"), {"k": [2.5]})


def test_large_buffers_travel_out_of_band():
    array = np.arange(100_000.0)
    segments, _ = serialize.dump_call((array,), {})
    assert len(segments) == 2 and len(segments[0]) < 1_000
    (loaded,), _ = serialize.load_call(segments, ())
    assert (loaded == array).all()


def test_fortran_arrays_keep_their_order():
    array = np.asfortranarray(np.arange(60_000.0).reshape(200, 300))
    loaded = serialize.load_value(serialize.dump_value(array))
    assert loaded.flags.f_contiguous and (loaded == array).all()


def test_many_small_buffers_stay_in_the_stream():
    arrays = [np.arange(3) for _ in range(serialize.MAX_BUFFERS + 1)]
    segments = serialize.dump_value(arrays)
    assert len(segments) == 1
    assert len(serialize.load_value(segments)) == len(arrays)


def test_futures_become_inputs_however_deep():
    first, second = Placeholder(), Placeholder()
    segments, inputs = serialize.dump_call(([{"a": (first,)}], second, first), {"k": second})
    assert inputs == [first, second]
    args, kwargs = serialize.load_call(segments, ["one", "two"])
    assert args == ([{"a": ("one",)}], "two", "one") and kwargs == {"k": "two"}


def test_futures_in_main_objects_are_found_once():
    local = type("Local", (), {"__module__": "__main__"})
    holder = local()
    holder.future = Placeholder()
    segments, inputs = serialize.dump_call((holder,), {})
    assert inputs == [holder.future]
    (loaded,), _ = serialize.load_call(segments, ["value"])
    assert loaded.future == "value"


def test_each_future_costs_the_same_however_many_there_are():
    def lines(count) -> int:
        taken = []

        def trace(frame, event, argument):
            taken.append(event)
            return trace if frame.f_code is serialize.placeholder.__code__ else None

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            _, inputs = serialize.dump_call(([Placeholder() for _ in range(count)],), {})
        finally:
            sys.settrace(before)
        assert len(inputs) == count
        return taken.count("line")

    assert 0 < lines(400) <= 4 * lines(100)


def test_placeholder_outside_a_call_is_an_error():
    with pytest.raises(TypeError, match="cannot be pickled"):
        Placeholder().__reduce_ex__(5)


def test_functions_travel_by_reference_or_by_value():
    by_reference, by_value = serialize.dump_function(len, Exception)
    assert not by_value
    assert serialize.load_function(by_reference) == (len, Exception)
    captured = 41
    segments, by_value = serialize.dump_function(lambda: captured + 1, (KeyError, OSError))
    assert by_value
    fn, retry_on = serialize.load_function(segments)
    assert fn() == 42 and retry_on == (KeyError, OSError)


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda lock: ((lock,), {}), "args[0]"),
        (lambda lock: ((1, {"cb": (lambda: lock)}), {}), "args[1]['cb'].__closure__[0]"),
        (lambda lock: ((), {"k": [0, (lock,)]}), "kwargs['k'][1][0]"),
    ],
)
def test_error_names_the_place_of_the_culprit(build, path):
    args, kwargs = build(threading.Lock())
    with pytest.raises(SerializationError) as caught:
        serialize.dump_call(args, kwargs)
    assert caught.value.path == path
    assert "lock" in caught.value.reason and path in str(caught.value)


def test_error_walks_attributes_of_objects():
    holder = type("Holder", (), {})()
    holder.inner = {"x": threading.Lock()}
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(holder)
    assert caught.value.path == "result.inner['x']"


def test_a_cycle_does_not_confuse_the_search():
    loop: list = [threading.Lock()]
    loop.insert(0, loop)
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(loop)
    assert caught.value.path == "result[1]"


def test_exception_comes_back_as_itself_with_one_note():
    def fails():
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        fails()
    error = serialize.load_error(serialize.dump_error(caught.value), "task 7, attempt 1")
    assert type(error) is KeyError and error.args == ("lost",)
    assert error.__notes__ == ["task 7, attempt 1"]
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fails" in str(error.__cause__)


def test_exception_that_cannot_be_unpickled_becomes_a_remote_error():
    error = serialize.load_error(serialize.dump_error(Unloadable("what", "why")))
    assert isinstance(error, RemoteError)
    assert error.type_name.endswith("Unloadable")
    assert str(error).startswith(f"{error.type_name}: what (the exception itself cannot be rebuilt: TypeError: ")


def test_exception_with_an_unpicklable_argument_becomes_a_remote_error():
    error = serialize.load_error(serialize.dump_error(ValueError(threading.Lock())))
    assert isinstance(error, RemoteError) and error.type_name == "ValueError"
    assert "(the exception itself cannot be pickled: TypeError: " in str(error)


def as_from_an_executor(error: BaseException) -> BaseException:
    """Send an exception that was raised in a test: in an executor plait's frame is outermost."""
    assert error.__traceback__ is not None
    return serialize.load_error(serialize.dump_error(error.with_traceback(error.__traceback__.tb_next)))


def test_users_frames_come_first():
    with pytest.raises(ZeroDivisionError) as caught:
        serialize.load_value([pickle.dumps(Divides())])
    text = str(as_from_an_executor(caught.value).__cause__)
    frames = [line for line in text.splitlines() if line.startswith("  File")]
    assert "in _divide" in frames[0] and len(frames) == 1


def test_where_plait_alone_has_been_its_frames_are_not_shown():
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(threading.Lock())
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert as_from_an_executor(caught.value).__cause__ is None


def test_why_something_cannot_be_pickled_begins_with_the_users_code():
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(Stateless())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    text = str(as_from_an_executor(caught.value).__cause__)
    frames = [line for line in text.splitlines() if line.startswith("  File")]
    assert len(frames) == 2 and "in __getstate__" in frames[0] and "in _divide" in frames[1]


def test_that_something_was_being_unpickled_is_shown():
    with pytest.raises(ZeroDivisionError) as caught:
        serialize.load_value([pickle.dumps(Halves())])
    text = str(as_from_an_executor(caught.value).__cause__)
    assert text.count("  File") == 1 and "in load_value" in text


def test_a_users_module_may_have_the_name_of_a_pickler(tmp_path):
    names: dict[str, Any] = {}
    exec(compile("def fail(): raise KeyError(1)", str(tmp_path / "pickle.py"), "exec"), names)
    with pytest.raises(KeyError) as caught:
        names["fail"]()
    assert "/pickle.py" in str(as_from_an_executor(caught.value).__cause__)


def test_where_plait_itself_fails_is_shown():
    with pytest.raises(IndexError) as caught:
        _executor.Inputs([])[0]
    text = str(as_from_an_executor(caught.value).__cause__)
    assert text.count("  File") == 1 and "in __getitem__" in text


def test_a_recursion_that_is_too_deep_begins_with_the_users_code():
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(Endless())
    assert isinstance(caught.value.__cause__, RecursionError)
    frames = [line for line in str(as_from_an_executor(caught.value).__cause__).splitlines() if "  File" in line]
    assert "in __getstate__" in frames[0]


def test_a_traceback_that_is_too_long_is_cut_and_not_dropped():
    with pytest.raises(SerializationError) as caught:
        serialize.dump_value(Stateless("x" * serialize.MAX_ERROR_TEXT))
    assert "xxx" in str(as_from_an_executor(caught.value).__cause__)


class Endless:
    """Never comes to an end of what it consists of."""

    def __getstate__(self) -> Any:
        return self.__getstate__()


class Stateless:
    """Raises while it is pickled."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def __getstate__(self) -> float:
        if self.text:
            raise ValueError(self.text)
        return _divide()


class Halves:
    """Raises while it is unpickled, in no code of its own."""

    def __reduce__(self) -> tuple:
        return (divmod, (1, 0))


class Divides:
    """Raises while it is unpickled."""

    def __reduce__(self) -> tuple:
        return (_divide, ())


def _divide() -> float:
    return 1 / 0


def test_recursion_is_an_error_of_the_value():
    deep: list = []
    for _ in range(sys.getrecursionlimit() * 10):
        deep = [deep]
    with pytest.raises(SerializationError):
        serialize.dump_value(deep)


class Sealed(Exception):
    """Its attributes cannot be set."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} is read-only")


def test_an_exception_that_forbids_attributes_has_its_cause_and_note_all_the_same():
    error = serialize.load_error(serialize.dump_error(Sealed(3)), "a note")
    assert isinstance(error, Sealed) and error.args == (3,)
    assert isinstance(error.__cause__, RemoteTraceback) and error.__notes__ == ["a note"]


class NotesOfNone(Exception):
    """Its notes are none."""

    __notes__: Any = None


class OddNotes(Exception):
    """Its notes are not all text."""

    __notes__: Any = ["a remark", 3]  # noqa: RUF012 (as a user may write it)


class NotesThatFail(Exception):
    """Its notes cannot be had, nor set."""

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise LookupError


@pytest.mark.parametrize(("kind", "before"), [(NotesOfNone, []), (OddNotes, ["a remark"])])
def test_notes_that_are_none_are_left_out(kind, before):
    error = serialize.load_error(serialize.dump_error(kind(3)), "a note")
    assert isinstance(error, kind) and error.__notes__ == [*before, "a note"]


def test_an_exception_that_takes_no_notes_comes_back_without():
    error = serialize.load_error(serialize.dump_error(NotesThatFail(3)), "a note")
    assert isinstance(error, NotesThatFail) and isinstance(error.__cause__, RemoteTraceback)


class EndsWhenLoaded(Exception):
    """Its copy ends the thread that makes it, where that is asked for."""

    asked = False

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if EndsWhenLoaded.asked:
            sys.exit(3)


def test_an_exception_that_exits_when_it_is_unpickled_becomes_a_remote_error(monkeypatch):
    segments = serialize.dump_error(EndsWhenLoaded("text"))
    monkeypatch.setattr(EndsWhenLoaded, "asked", True)
    error = serialize.load_error(segments)
    assert isinstance(error, RemoteError)
    assert "text (the exception itself cannot be rebuilt here: SystemExit: 3)" in str(error)


class Wordless(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Obliging:
    """Has every attribute, and none of them makes sense."""

    def __getattr__(self, name: str) -> Obliging:
        return Obliging()

    def __reduce_ex__(self, _protocol: object) -> tuple:
        raise Wordless


class Shy:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be seen")


@pytest.mark.parametrize(
    ("value", "path"),
    [(Obliging(), "args[0]"), ({"a": [Obliging()]}, "args[0]['a'][0]"), ({Shy(): threading.Lock()}, "args[0]")],
)
def test_the_search_for_the_culprit_ends_where_objects_misbehave(value, path):
    with pytest.raises(SerializationError) as caught:
        serialize.dump_call((value,), {})
    assert caught.value.path == path


def test_a_dependency_without_a_text_is_told_all_the_same():
    outcome = ("dependency", 7, ("raised", serialize.dump_error(Wordless())))
    error = error_from(outcome, serialize.load_error)
    assert "Wordless: <its text cannot be had: RuntimeError>" in str(error)
    assert isinstance(error.__cause__, Wordless)
