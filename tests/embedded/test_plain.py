"""Small builtins take a way of their own, written and read without Python's pickler; nobody may notice."""

from __future__ import annotations

import gc
import http
import math
import os
import threading
import weakref
from typing import Any

import pytest

import plait
from embedded import tasks
from rig import eventually

DEEP: tuple[Any, ...] = ()
for _ in range(40):
    DEEP = (DEEP,)

PLAIN = [
    None,
    True,
    False,
    *(
        sign * (2**bits + step)
        for bits in (0, 7, 8, 15, 16, 31, 32, 62, 63, 64, 200)
        for step in (-1, 0)
        for sign in (1, -1)
    ),
    0.0,
    -0.0,
    1.5,
    math.inf,
    2.0**-1074,
    "",
    "plain",
    "ünïcödé \0 🎈",
    "\ud800 alone",
    "x" * 255,
    "x" * 256,
    "x" * 600,
    "__main__",
    ("plait._serialize", "_input", 0),
    b"",
    b"\0\xff",
    b"x" * 255,
    b"x" * 256,
    *(
        bytes([65 + n % 26]) * length
        for n, length in enumerate((511, 512, 513, 100_000, 261_119, 261_120, 261_121, 300_000))
    ),
    "ü" * 65_536,
    "\ud800" + "x" * 600,
    (1, b"x" * 100_000, "two", None),
    (b"x" * 600, "y" * 600),
    ("x" * 500, b"x" * 600, "y" * 500),
    (),
    (1,),
    (1, "two"),
    (1, "two", 3.0),
    (1, "two", 3.0, None),
    tuple(range(100)),
    tuple(range(1_000)),
    ((), ((), (1, (2, (3, (b"4",)))))),
    DEEP,
    # These are not plain, and neither is what holds them.
    [1, 2],
    {"a": 1},
    {1, 2},
    1j,
    http.HTTPStatus.OK,
    (1, [2]),
]


BIG = b"same" * 10_000


def is_one(pair: tuple[bytes, bytes]) -> bool:
    """Tell whether both are the same object."""
    return pair[0] is pair[1]


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of the same types."""
    if isinstance(one, tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and (one == other or one is other) and repr(one) == repr(other)


def told(value: Any) -> str:
    """Return a short name of a parameter."""
    return f"{type(value).__name__} {value!r:.20}"


@pytest.mark.parametrize("value", PLAIN, ids=told)
def test_a_value_comes_back_as_it_was(client, value):
    assert is_same(client.submit(tasks.same, value).result(60), value)
    assert is_same(client.submit(tasks.same, x=value).result(60), value)
    assert client.submit(repr, value).result(60) == repr(value)


@pytest.mark.parametrize("value", PLAIN, ids=told)
def test_a_value_is_an_input_like_any_other(client, value):
    assert is_same(client.submit(tasks.same, client.submit(tasks.same, value)).result(60), value)


def test_not_a_number_comes_back(client):
    assert math.isnan(client.submit(tasks.same, math.nan).result(60))


def test_named_arguments_keep_their_order(client):
    named = {f"name {n}": n for n in range(50)}
    result = client.submit(dict, **named).result(60)
    assert list(result.items()) == list(named.items())


def test_what_cannot_be_pickled_is_the_error_of_its_own_future(client):
    futures = [client.submit(tasks.same, value) for value in (1, threading.Lock(), 2)]
    assert (futures[0].result(60), futures[2].result(60)) == (1, 2)
    assert isinstance(futures[1].exception(60), plait.SerializationError)


def test_a_result_that_cannot_be_pickled_is_an_error_and_the_executor_lives(client):
    before = client.submit(os.getpid).result(60)
    failed = client.submit(threading.Lock).exception(60)
    assert isinstance(failed, plait.SerializationError) and "lock" in str(failed)
    assert before in {client.submit(os.getpid).result(60) for _ in range(20)}


def test_arguments_that_cannot_be_unpickled_are_an_error_of_the_task(client):
    failed = client.submit(tasks.same, tasks.Bomb()).exception(60)
    assert isinstance(failed, ZeroDivisionError)
    assert client.submit(tasks.same, [1]).result(60) == [1]


def test_a_result_that_cannot_be_unpickled_is_an_error_of_its_future(client):
    failed = client.submit(tasks.Bomb).exception(60)
    assert isinstance(failed, plait.SerializationError) and isinstance(failed.__cause__, ZeroDivisionError)


def test_plain_and_other_results_take_turns(client):
    values = [value for _ in range(20) for value in (1, [2], "three", {"four": 4}, None)]
    assert [future.result(60) for future in [client.submit(tasks.same, value) for value in values]] == values


def test_a_result_is_the_same_object_each_time(client):
    for value in (10**6, "text", [1]):
        future = client.submit(tasks.same, value)
        assert future.result(60) is future.result() and future.exception() is None


def test_a_future_within_its_own_value_is_collected(client):
    future = client.submit(list)
    future.result(60).append(future)
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None


def test_a_client_that_its_own_function_captures_is_collected():
    def in_a_cycle() -> weakref.ref[plait.Client]:
        client = plait.Client(slots=1)
        futures: list[plait.Future[int]] = []

        def work(unused: Any = None) -> int:
            return 1 if futures is None else 0

        def submit() -> None:
            futures.append(client.submit(pow, 2, 3))

        submit()
        assert futures[0].result(60) == 8
        client.holds = [submit, work, futures]  # type: ignore[attr-defined]
        return weakref.ref(client)

    gone = in_a_cycle()
    eventually(lambda: gc.collect() * 0 or gone() is None, "the client is gone")


def test_a_long_string_that_stands_twice_travels_once(client):
    assert client.submit(is_one, (BIG, BIG)).result(60)
    assert client.submit(is_one, ((BIG, BIG), None)[0]).result(60)
    pair = client.submit(tasks.same, (BIG, BIG)).result(60)
    assert pair == (BIG, BIG)
    assert is_one(pair)


def gathered(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return what a task was given."""
    return (args, kwargs)


def test_futures_among_plain_arguments_are_inputs_wherever_they_stand(client):
    one, two = client.submit(tasks.same, BIG), client.submit(tasks.same, 2)
    args, kwargs = client.submit(gathered, two, (1, (one, "x")), one, named=two, other=(two, None)).result(60)
    assert (args, kwargs) == ((2, (1, (BIG, "x")), BIG), {"named": 2, "other": (2, None)})
    assert is_one((args[1][1][0], args[2]))
    many = [client.submit(tasks.same, n) for n in range(300)]
    assert client.submit(gathered, *many).result(60) == (tuple(range(300)), {})


def test_an_input_that_is_not_plain_arrives_as_it_is(client):
    listed, plain = client.submit(list, (1, 2)), client.submit(tasks.same, 3)
    assert client.submit(gathered, listed, plain).result(60) == (([1, 2], 3), {})
    assert client.submit(gathered, [plain], plain).result(60) == (([3], 3), {})
    failed = client.submit(divmod, 1, 0)
    with pytest.raises(plait.DependencyFailed):
        client.submit(gathered, plain, failed).result(60)
    assert isinstance(failed.exception(60), ZeroDivisionError)
    with pytest.raises(plait.DependencyFailed):
        client.submit(gathered, plain, failed).result(60)
    with plait.Client(slots=1) as other, pytest.raises(ValueError, match="another Client"):
        other.submit(gathered, plain)
