"""A class that comes back leaves the one that was sent as it is; one that is made again is like it."""

from __future__ import annotations

import enum
import gc
import importlib
import io
from typing import Any

import pytest

from plait import _by_value, _context
from plait import _serialize as serialize

ACCOUNT = """
RATE = 1
class Account:
    seen = 0
    def interest(self):
        return RATE
class Broke(Exception):
    seen = 0
"""
CACHED = """
import functools
calls = []
@functools.lru_cache(maxsize=99, typed=True)
def fibonacci(n):
    calls.append(n)
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
class Circle:
    def __init__(self, r):
        self.r = r
    @functools.cached_property
    def area(self):
        return 3 * self.r * self.r
    @functools.cache
    def double(self, n):
        return 2 * n
"""


def main_module(code: str) -> dict[str, Any]:
    """Run code as a main program would."""
    names: dict = {"__name__": "__main__"}
    exec(code, names)
    return names


def test_a_class_that_comes_back_leaves_what_was_sent_as_it_is():
    names = main_module(ACCOUNT)
    account = names["Account"]
    segments = serialize.dump_value(account())
    names["RATE"], account.seen, account.interest.unit = 2, 4, "euro"
    method = account.interest
    returned = serialize.load_value(segments)
    assert type(returned) is account
    assert (returned.interest(), account.seen, account.interest) == (2, 4, method)


def test_so_does_one_of_a_function_and_one_of_an_exception():
    class Local:
        seen = 0

    broke = main_module(ACCOUNT)["Broke"]
    segments, error = serialize.dump_value(Local()), serialize.dump_error(broke(3))
    Local.seen = broke.seen = 4
    assert type(serialize.load_value(segments)) is Local
    assert isinstance(serialize.load_error(error), broke)
    assert (Local.seen, broke.seen) == (4, 4)


def test_an_executor_takes_a_class_as_it_was_changed(monkeypatch):
    account = main_module(ACCOUNT)["Account"]
    segments = serialize.dump_value(account())
    account.seen = 4
    monkeypatch.setattr(_context, "_inside", True)
    assert type(serialize.load_value(segments)) is account
    assert account.seen == 0


def carried(build, *args) -> list:
    """Pickle what a function makes, and forget its class: here it is unpickled as in another process."""
    segments = serialize.dump_value(build(*args))
    gc.collect()
    assert not _by_value._sent
    return segments


@pytest.fixture(autouse=True)
def nothing_sent():
    """What earlier tests have sent is gone, or not looked at."""
    _by_value._sent.clear()


def test_a_class_of_another_process_is_made_whole():
    made = serialize.load_value(carried(lambda: main_module(ACCOUNT)["Account"]()))
    assert (made.seen, made.interest()) == (0, 1)


@pytest.mark.parametrize("slots", ["('a',)", "'a'", "{'a': 'what it is'}", "('a', '__weakref__')"])
def test_slots_are_made_again(slots):
    code = f"class Slot:\n    __slots__ = {slots}\n    def __init__(self):\n        self.a = 1\n"
    made = serialize.load_value(carried(lambda: main_module(code)["Slot"]()))
    assert made.a == 1 and not hasattr(made, "__dict__")
    again = serialize.load_value(serialize.dump_value(made))
    assert type(again) is type(made) and again.a == 1


def test_private_slots_and_those_of_a_base_are_made_again():
    code = """
class Base:
    __slots__ = ("__a",)
    def __init__(self):
        self.__a = 1
    def a(self):
        return self.__a
class Derived(Base):
    __slots__ = ("b",)
    def __init__(self):
        super().__init__()
        self.b = 2
"""
    made = serialize.load_value(carried(lambda: main_module(code)["Derived"]()))
    assert (made.a(), made.b) == (1, 2) and not hasattr(made, "__dict__")


def test_an_enum_is_made_whole_and_left_as_it_is():
    code = "import enum\nclass Colour(enum.Enum):\n    RED = 1\n    def shade(self):\n        return 0\n"
    made = serialize.load_value(carried(lambda: main_module(code)["Colour"].RED))
    colour: Any = type(made)
    assert issubclass(colour, enum.Enum) and (made.value, made.shade()) == (1, 0)
    segments = serialize.dump_value(made)
    colour.shade = lambda self: 7
    assert serialize.load_value(segments) is made
    assert made.shade() == 7


def test_what_cloudpickle_alone_has_pickled_can_be_read():
    import cloudpickle

    account = main_module(ACCOUNT)["Account"]
    assert type(serialize.load_value([cloudpickle.dumps(account(), 5)])) is account


@pytest.mark.parametrize("form", ["name", (dict, ()), (dict, (), None, None, None)])
def test_a_cloudpickle_of_another_form_is_left_to_itself(monkeypatch, form):
    monkeypatch.setattr(_by_value, "_reduce", lambda _self, _obj: form)
    assert _by_value._Pickler(io.BytesIO()).reducer_override(Exception) is form


def test_functions_that_remember_travel_with_what_they_wrap(monkeypatch):
    names = main_module(CACHED)
    segments = serialize.dump_value((names["fibonacci"], names["Circle"](2)))
    names["calls"].append("not in there")
    monkeypatch.setattr(_context, "_inside", True)
    fibonacci, circle = serialize.load_value(segments)
    assert (fibonacci(30), fibonacci.cache_parameters()) == (832040, {"maxsize": 99, "typed": True})
    assert len(fibonacci.__wrapped__.__globals__["calls"]) <= 32, "each was asked for once, or twice"
    assert (circle.area, circle.area, circle.double(3)) == (12, 12, 6)


def test_functions_that_can_be_imported_and_remember_go_by_name(monkeypatch, tmp_path):
    (tmp_path / "remembers.py").write_text("import functools\n@functools.cache\ndef seven():\n    return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    seven = importlib.import_module("remembers").seven
    assert serialize.load_value(serialize.dump_value([lambda: 0, seven]))[1] is seven


BOOM = """
def boom(n):
    def inner():
        raise KeyError(n)
    return inner()
"""


def test_code_keeps_the_name_of_its_file_for_tracebacks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(BOOM)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(BOOM, script, "exec"), names)
    segments, by_value = serialize.dump_function(names["boom"], Exception)
    assert by_value and segments == serialize.dump_function(names["boom"], Exception)[0]
    boom, _ = serialize.load_function(segments)
    with pytest.raises(KeyError) as caught:
        boom(1)
    shown = str(serialize.load_error(serialize.dump_error(caught.value)).__cause__)
    assert f'File "{script}", line 4, in inner\n    raise KeyError(n)' in shown
    assert "dynamic-code" not in shown


def test_equal_code_that_comes_from_no_file_is_equal_when_it_is_pickled():
    def made(number):
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(BOOM, f"<generated-{number}>", "exec"), names)
        return serialize.dump_function(names["boom"], Exception)

    assert made(1) == made(2)
