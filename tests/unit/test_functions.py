"""A function object is pickled once, and again when something that it captures was rebound."""

from __future__ import annotations

import functools
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from plait import _config, _functions
from plait._errors import SerializationError
from plait._functions import Functions
from plait._serialize import load_function


class Ticket:
    """Stands in for the native ticket: tells when nobody holds it any more."""

    def __init__(self, number, released):
        self.number = number
        self._released = released

    def __del__(self):
        self._released.append(self.number)


class Recorder:
    """Stands in for the native session: numbers what is defined, and writes down what is released."""

    def __init__(self):
        self.bodies = []
        self.released = []

    def define_function(self, body, python):
        self.bodies.append((body, python))
        return Ticket(len(self.bodies) - 1, self.released)

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


def test_memory_for_living_functions_is_bounded(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_KEPT", 4)
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 1)
    living = [eval(f"lambda: {n}") for n in range(20)]
    for fn in living:
        functions.find(fn)
    assert len(functions.known) == 4
    assert session.released == list(range(16))


def test_a_function_is_not_kept_alive_and_is_released_once_it_is_gone(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 1)
    fn = eval("lambda: 1")
    witness = weakref.ref(fn)
    functions.find(fn)
    functions.find(len)
    assert session.released == []
    del fn
    assert witness() is None
    assert (list(functions.known), session.released) == ([id(len)], [0])


def test_an_entry_in_use_keeps_its_number_though_the_function_is_gone(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 1)
    entry = functions.find(eval("lambda: 1"))
    functions.find(len)
    assert (session.released, entry.name) == ([], "<lambda>")
    del entry
    assert session.released == [0]


def test_an_object_at_the_address_of_a_dead_function_is_not_taken_for_it(functions, session):
    for n in range(100):
        assert session.call(functions.find(eval(f"lambda: {n}")).number) == n
        assert functions.known == {}


def test_a_rebound_function_releases_what_it_was(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 1)
    captured = 1

    def fn():
        return captured

    functions.find(fn)
    captured = 2
    functions.find(fn)
    assert (len(functions.known), session.released) == (1, [0])


def test_a_function_that_captures_itself_goes_as_the_oldest(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_KEPT", 2)
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 1)

    def recursive():
        def fn(n):
            return fn(n - 1) if n else 0

        return fn

    for _ in range(10):
        functions.find(recursive())
    gc.collect()
    assert len(functions.known) <= 2


def test_a_lambda_made_anew_is_known_by_its_pickle_for_a_while(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 2)

    def ask(n):
        return functions.find(eval(f"lambda: {n}")).number

    assert [ask(0), ask(1), ask(0), ask(2), ask(0), ask(1)] == [0, 1, 0, 2, 0, 3]
    assert session.released == [1, 2]


def test_large_pickles_are_kept_for_less_long_but_the_newest_is(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT_BYTES", 10_000)
    methods = [bytes([n]) * 8_000 for n in range(3)]
    numbers = [functions.find(functools.partial(len, method)).number for method in methods[:2]]
    assert (numbers, session.released) == ([0, 1], [0])
    assert functions.find(functools.partial(len, methods[1])).number == 1


def test_threads_may_learn_while_functions_die(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_KEPT", 8)
    monkeypatch.setattr(_config, "FUNCTIONS_RECENT", 8)

    def learn(start):
        for n in range(start, start + 200):
            assert session.call(functions.find(eval(f"lambda: {n}")).number) == n

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(learn, 1_000 * n) for n in range(4)]:
            done.result()
    assert len(functions.known) <= 8


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


PROGRAM = """
import functools
limit = 1
def helper():
    return limit
class Base:
    def inherited(self):
        return helper()
class Model(Base):
    k = 1
    def method(self):
        return helper()
    @staticmethod
    def static():
        return helper()
    @property
    def property(self):
        return helper()
model = Model()
part = functools.partial(helper)
table = {"a": helper}
steps = [("a", helper)]
def method():
    return Model().method()
def inherited():
    return Model().inherited()
def of_object():
    return model.property
static = Model.static
def attribute():
    return Model.k
def partial():
    return part()
def default(h=helper):
    return h()
def named_default(*, h=helper):
    return h()
def marked():
    return marked.k
marked.k = 1
@functools.cache
def helper_once():
    return helper()
def cached():
    return helper_once()
def in_table():
    return table["a"]()
def in_list():
    return steps[-1][1]()
def wrap(f):
    @functools.wraps(f)
    def wrapped():
        return f()
    return wrapped
@wrap
def decorated():
    return helper()
"""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("method", "limit = 2"),
        ("method", "Model.method = lambda self: 2"),
        ("inherited", "limit = 2"),
        ("inherited", "Model.inherited = lambda self: 2"),
        ("inherited", "Base.inherited = lambda self: 2"),
        ("of_object", "limit = 2"),
        ("static", "limit = 2"),
        ("attribute", "Model.k = 2"),
        ("partial", "limit = 2"),
        ("default", "limit = 2"),
        ("named_default", "limit = 2"),
        ("marked", "marked.k = 2"),
        ("cached", "limit = 2; helper_once.cache_clear()"),
        ("in_table", "limit = 2"),
        ("in_table", "table['a'] = lambda: 2"),
        ("in_list", "limit = 2"),
        ("decorated", "limit = 2"),
    ],
)
def test_what_is_rebound_is_seen_through(functions, session, name, change):
    names: dict = {"__name__": "__main__"}
    exec(PROGRAM, names)
    before = functions.find(names[name])
    assert functions.find(names[name]) is before
    exec(change, names)
    after = functions.find(names[name])
    assert after.number != before.number and functions.find(names[name]) is after
    assert session.call(after.number) == 2


def test_a_list_of_functions_is_seen_to_change(functions):
    steps = [lambda: 1]

    def fn():
        return steps

    numbers = [functions.find(fn).number]
    steps.append(lambda: 2)
    numbers.append(functions.find(fn).number)
    steps[0] = lambda: 3
    numbers.append(functions.find(fn).number)
    assert numbers == [0, 1, 2]


def test_a_class_that_is_called_is_seen_to_change_and_goes_as_the_oldest(functions, session, monkeypatch):
    monkeypatch.setattr(_config, "FUNCTIONS_KEPT", 2)

    def find(n):
        class Model:
            k = n

        before = functions.find(Model).number
        assert functions.find(Model).number == before
        Model.k = -n
        assert functions.find(Model).number != before

    for n in range(1, 10):
        find(n)
    assert len(functions.known) <= 2


def test_data_are_taken_for_data(functions, monkeypatch):
    looked = []

    def look(value):
        looked.append(value)
        return False

    monkeypatch.setattr(_functions, "_is_by_value", look)
    rows = [[object()] * 100 for _ in range(500)]
    captures = functions.find(lambda: rows).captures
    assert captures is not None and (len(captures.cells), captures.wholes) == (1, ())
    assert 1_000 < len(looked) <= _functions.MAX_PARTS


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
