"""A piece of a run with errors="return" tells its outcome as a record."""

from __future__ import annotations

import pickle

from plait._witness import Witness


def test_a_value_and_an_error_are_told():
    good, bad = Witness(lambda a, b: a // b, Exception, 0)(7, 2), Witness(lambda a, b: a // b, Exception, 0)(7, 0)
    assert (good.item, good.value, good.error, good.ok) == ((7, 2), 3, None, True)
    assert (bad.item, bad.value, bad.ok) == ((7, 0), None, False)
    assert isinstance(bad.error, ZeroDivisionError) and bad.seconds >= 0 and bad.worker


def test_only_what_may_be_retried_is():
    calls = []

    def fn(kind):
        calls.append(kind)
        raise kind

    assert isinstance(Witness(fn, KeyError, 2)(KeyError).error, KeyError)
    assert isinstance(Witness(fn, KeyError, 2)(OSError).error, OSError)
    assert calls == [KeyError, KeyError, KeyError, OSError]


def test_it_pickles():
    again = pickle.loads(pickle.dumps(Witness(len, OSError, 1)))
    assert (again.fn, again.retry_on, again.retries) == (len, OSError, 1)


def test_an_exit_is_told_too():
    def fn(code):
        raise SystemExit(code)

    assert isinstance(Witness(fn, Exception, 0)(3).error, SystemExit)


def test_what_an_async_function_returns_is_waited_for():
    async def fn(n):
        return n + 1

    assert Witness(fn, Exception, 0)(1).value == 2
