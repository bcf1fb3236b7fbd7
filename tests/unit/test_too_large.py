"""What the coordinator would not take is an error of its own call, with the culprit's name, and stops nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from plait import Client
from plait._errors import SerializationError
from plait._functions import Functions
from plait._options import Options

LIMIT = 10_000
LARGE = "x" * LIMIT


class Ticket:
    """A task whose value does not matter here."""

    seq = 0

    def __init__(self, state="done"):
        self._state = state

    def state(self):
        return self._state

    def outcome(self, timeout=None):
        return ("skipped",)


class Submitter:
    """Finds nothing plain."""

    def submit(self, fn, args, kwargs):
        return None


class Session:
    """Stands in for the native session of a coordinator with little memory: counts what it takes."""

    def __init__(self):
        self.taken = 0

    def take(self, value):
        segments = [value] if isinstance(value, bytes) else value
        size = sum(memoryview(segment).nbytes for segment in segments)
        if size > LIMIT:
            raise SerializationError("too large", reason=f"{size} bytes; {LIMIT} at most", size=size)
        self.taken += 1

    def submitter(self, options, known, future, owner):
        return Submitter()

    def submit(self, future, function, options, args, inputs=None):
        self.take(args)

    def submit_item(self, function, options, args, inputs=None):
        self.take(args)
        return Ticket()

    def submit_chunk(self, function, options, args, inputs, errors, retries, items):
        return self.submit_item(function, options, args)

    def submit_piece(self, run, function, options, args, inputs, errors, retries, items, merge):
        self.take(args)

    def progress(self, run):
        return (0, 0, 0.0, 0)

    def open_reduce(self, function, initial, errors, options):
        self.take(initial or [])
        return 0, Ticket("pending")

    def define_function(self, body, python):
        self.take(body)
        return SimpleNamespace(number=0)

    def define_options(self, *options):
        return 0

    def cancel_running(self, tickets):
        pass

    def seal_run(self, run, pieces):
        self.pieces = pieces


class Core:
    """Stands in for what the views of a client share."""

    def __init__(self):
        self.session = Session()
        self.closed = False
        self.pid = 0

    def functions(self, options):
        return Functions(cast("Any", self.session), options.retry_on)

    def define_options(self, options):
        return 0

    def slots(self):
        return 1


@pytest.fixture
def client():
    client = Client.__new__(Client)
    client._core = cast("Any", Core())
    client._set_options(Options())
    return client


def refused(error, path):
    assert isinstance(error, SerializationError)
    assert error.path == path and error.size is not None and error.size > LIMIT
    assert path in str(error) and str(error.size) in str(error) and str(LIMIT) in str(error)
    return True


@pytest.mark.parametrize("large", [LARGE, np.zeros(LIMIT)], ids=["in the stream", "out of band"])
def test_a_large_argument_is_the_error_of_its_future(client, large):
    assert refused(client.submit(max, 1, large).exception(), "args[1]")
    assert refused(client.submit(max, 1, key=large).exception(), "kwargs['key']")
    assert client.submit(max, 1, 2)._end is None


def test_a_large_function_is_the_error_of_its_future(client):
    def fn(*, data=LARGE):
        return data

    assert refused(client.submit(fn).exception(), fn.__qualname__)
    with pytest.raises(SerializationError) as caught:
        client.map(fn, [1])
    assert refused(caught.value, fn.__qualname__)


@pytest.mark.parametrize("chunksize", [None, 3])
def test_a_large_item_of_a_map_is_alone(client, chunksize):
    outcomes = client.options(errors="return").map(len, ["a", LARGE, "b"], chunksize=chunksize)
    errors = [sent.error for sent in outcomes._sent]
    assert [error is None for error in errors] == [True, False, True]
    assert refused(errors[1], "args[0]")


def test_a_large_piece_of_a_run_is_raised_or_skipped(client):
    with pytest.raises(SerializationError) as caught:
        client.run(len, ["a", LARGE, "b"], reduce=max)
    assert refused(caught.value, "args[0]")
    assert client.options(errors="skip").run(len, ["a", LARGE, "b"], reduce=max, initial=0) == 0
    assert client._core.session.pieces == 2


def test_a_large_initial_value_is_raised(client):
    with pytest.raises(SerializationError) as caught:
        client.run(len, ["a"], reduce=max, initial=LARGE)
    assert refused(caught.value, "initial")
