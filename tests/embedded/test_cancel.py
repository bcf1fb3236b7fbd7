"""Cancelling is answered at once, as the standard library does."""

from __future__ import annotations

import concurrent.futures

import pytest

import plait
from embedded import tasks
from rig import eventually


def test_cancel_before_start_returns_true(client, tmp_path):
    gate = tmp_path / "gate"
    busy = [client.submit(tasks.until, str(gate)) for _ in range(2)]
    eventually(lambda: all(f.running() for f in busy), "both run")
    later = client.submit(tasks.same, 1)
    assert later.cancel() and later.cancelled() and later.done()
    with pytest.raises(concurrent.futures.CancelledError):
        later.result()
    with pytest.raises(concurrent.futures.CancelledError):
        later.exception()
    assert later.cancel()
    gate.touch()
    assert [f.result(60) for f in busy] == [None, None]


def test_cancel_of_a_running_task_returns_false(client, tmp_path):
    gate = tmp_path / "gate"
    busy = client.submit(tasks.until, str(gate))
    eventually(busy.running, "it runs")
    assert not busy.cancel()
    gate.touch()
    assert busy.result(60) is None
    assert not busy.cancel()


def test_cancel_running_stops_the_task_and_the_slot_is_back(client, tmp_path):
    busy = [client.submit(tasks.until, str(tmp_path / "never")) for _ in range(2)]
    eventually(lambda: all(f.running() for f in busy), "both run")
    assert all(f.cancel(running=True) for f in busy)
    assert client.submit(tasks.same, 1).result(60) == 1
    assert all(f.cancelled() for f in busy)


def test_cancelled_futures_are_done_for_wait_and_callbacks(client, tmp_path):
    gate = tmp_path / "gate"
    told: list[plait.Future] = []
    busy = [client.submit(tasks.until, str(gate)) for _ in range(2)]
    eventually(lambda: all(f.running() for f in busy), "both run")
    later = client.submit(tasks.same, 1)
    later.add_done_callback(told.append)
    later.cancel()
    assert told == [later]
    assert concurrent.futures.wait([later], 60).done == {later}
    gate.touch()
    concurrent.futures.wait(busy, 60)


def test_a_cancelled_dependency_fails_what_needs_it(client, tmp_path):
    gate = tmp_path / "gate"
    busy = [client.submit(tasks.until, str(gate)) for _ in range(2)]
    eventually(lambda: all(f.running() for f in busy), "both run")
    first = client.submit(tasks.same, 1)
    before = client.submit(tasks.same, first)
    assert first.cancel()
    after = client.submit(tasks.same, first)
    for future in (before, after):
        with pytest.raises(plait.DependencyFailed, match="cancelled") as caught:
            future.result(60)
        assert isinstance(caught.value.__cause__, concurrent.futures.CancelledError)
    gate.touch()
    concurrent.futures.wait(busy, 60)


def test_cancel_futures_at_shutdown(tmp_path):
    gate = tmp_path / "gate"
    with plait.Client(slots=1) as client:
        busy = client.submit(tasks.until, str(gate), 5)
        eventually(busy.running, "it runs")
        later = [client.submit(tasks.same, n) for n in range(100)]
        client.shutdown(wait=False, cancel_futures=True)
        gate.touch()
        assert busy.result(60) == 5
        assert all(isinstance(_error(f), concurrent.futures.CancelledError) for f in later)


def _error(future):
    try:
        return future.exception(60)
    except concurrent.futures.CancelledError as error:
        return error


def test_a_cancel_while_a_function_is_unpickled_spares_its_later_calls(tmp_path):
    begun = tmp_path / "begun"
    with plait.Client(slots=1) as client:
        first = client.submit(tasks.Slow(str(begun)))
        eventually(begun.exists, "it is being unpickled")
        assert first.cancel(running=True)
        assert [client.submit(tasks.Slow(str(begun))).result(60) for _ in range(3)] == [1, 1, 1]


def test_an_import_that_was_interrupted_fails_no_later_task(client, tmp_path):
    package = tmp_path / "half_made"
    package.mkdir()
    (package / "part.py").write_text("__all__ = ['VALUE']\nVALUE = 7\n")
    # A second import would find `part` imported, and not know it here.
    wait = "import os, time\nopen(f'{__path__[0]}/begun', 'w').close()\n"
    wait += "while not os.path.exists(f'{__path__[0]}/gate'): time.sleep(0.01)\n"
    (package / "__init__.py").write_text(f"from .part import *\n{wait}NAMES = part.__all__\n")

    def use(folder):
        import importlib
        import sys

        sys.path.insert(0, folder)
        return importlib.import_module("half_made").VALUE

    first = client.submit(use, str(tmp_path))
    eventually((package / "begun").exists, "it imports")
    behind = [client.submit(use, str(tmp_path)) for _ in range(4)]
    assert first.cancel(running=True)
    (package / "gate").touch()
    assert [future.result(60) for future in behind] == [7, 7, 7, 7]
