"""A function object is pickled once, and again when something that it captures was rebound."""

from __future__ import annotations

import functools

import pytest

from plait import _config
from plait._errors import SerializationError
from plait._functions import Functions
from plait._serialize import load_function


class Recorder:
    """Stands in for the native session: numbers what is defined."""

    def __init__(self):
        self.bodies = []

    def define_function(self, body, python):
        self.bodies.append((body, python))
        return len(self.bodies) - 1

    def call(self, number, *args):
        return load_function([self.bodies[number][0]])[0](*args)


@pytest.fixture
def session():
    return Recorder()


@pytest.fixture
def functions(session):
    return Functions(session, Exception)


def test_an_importable_function_is_defined_once_and_runs_anywhere(functions, session):
    assert functions.find(len).number == functions.find(len).number == 0
    assert session.bodies[0][1] is None


def test_a_function_by_value_needs_this_python(functions, session):
    functions.find(lambda: 1)
    assert session.bodies[0][1] is not None


def test_a_rebound_cell_is_seen(functions, session):
    captured = 1

    def fn():
        return captured

    before = functions.find(fn).number
    assert functions.find(fn).number == before
    captured = 2
    after = functions.find(fn).number
    assert (session.call(before), session.call(after)) == (1, 2)


def test_a_rebound_global_is_seen_even_behind_another_function(functions, session):
    names: dict = {"__name__": "__main__"}
    exec("limit = 1\ndef helper():\n    return limit\ndef fn():\n    return helper()\n", names)
    before = functions.find(names["fn"]).number
    assert functions.find(names["fn"]).number == before
    names["limit"] = 2
    after = functions.find(names["fn"]).number
    assert (session.call(before), session.call(after)) == (1, 2)


def test_equal_pickles_share_a_number(functions, session):
    class Thing:
        def method(self):
            return 1

    thing = Thing()
    assert functions.find(thing.method).number == functions.find(thing.method).number
    assert len(session.bodies) == 1


def test_a_changed_instance_is_pickled_again_for_its_bound_method(functions, session):
    class Thing:
        def __init__(self):
            self.x = 1

        def method(self):
            return self.x

    thing = Thing()
    before = functions.find(thing.method).number
    thing.x = 2
    after = functions.find(thing.method).number
    assert (session.call(before), session.call(after)) == (1, 2)


def test_partials_work(functions, session):
    assert session.call(functions.find(functools.partial(pow, 2)).number, 5) == 32


def test_memory_for_functions_is_bounded(functions, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_KEPT", 4)
    for n in range(20):
        functions.find(eval(f"lambda: {n}"))
    assert len(functions.known) <= 4


def test_what_is_not_callable_is_refused(functions):
    with pytest.raises(TypeError, match="callable"):
        functions.find(3)


def test_a_function_that_cannot_be_pickled_names_the_culprit(functions):
    import threading

    lock = threading.Lock()
    with pytest.raises(SerializationError, match=r"__closure__\[0\]"):
        functions.find(lambda: lock)


def test_a_partial_is_pickled_as_it_is_now(functions, session):
    captured = 1

    def fn():
        return captured

    partial = functools.partial(fn)
    before = functions.find(partial).number
    assert functions.find(partial).number == before
    captured = 2
    after = functions.find(partial).number
    assert (session.call(before), session.call(after)) == (1, 2)


def test_a_builtin_of_an_object_is_pickled_as_the_object_is_now(functions, session):
    ages = {"ann": 30}
    look_up = ages.get
    before = functions.find(look_up).number
    ages["ben"] = 20
    after = functions.find(look_up).number
    assert (session.call(before, "ben"), session.call(after, "ben")) == (None, 20)
    assert functions.find(len) is functions.find(len)


def test_a_helper_that_is_defined_later_is_seen(functions, session):
    names: dict = {"__name__": "__main__"}
    exec("def fn():\n    return helper()\n", names)
    before = functions.find(names["fn"]).number
    with pytest.raises(NameError, match="helper"):
        session.call(before)
    exec("def helper():\n    return 3\n", names)
    assert session.call(functions.find(names["fn"]).number) == 3


class Proxy:
    """Has every attribute, as a proxy of something far away may."""

    def __getattr__(self, name):
        if name.startswith("__plait"):
            return Proxy()
        raise AttributeError(name)

    def __call__(self, *_args):
        return 7

    def get(self, *_args):
        raise ConnectionError("nobody should call it")


def test_a_proxy_that_has_every_attribute_pins_no_options(functions, session):
    known = functions.find(Proxy())
    assert known.pins is None and session.call(known.number) == 7
