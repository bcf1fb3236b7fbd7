"""Crashes, pickles that fail: each costs its own future and nothing else."""

from __future__ import annotations

import threading

import pytest

import plait
from embedded import tasks


def test_a_null_pointer_fails_its_own_future_and_names_the_signal(client):
    crash = client.submit(tasks.null_pointer)
    others = [client.submit(tasks.same, n) for n in range(100)]
    with pytest.raises(plait.TaskCrashed, match="SIGSEGV") as caught:
        crash.result(60)
    assert len(caught.value.attempts) == 3
    assert {death["signal"] for death in caught.value.attempts} == {11}
    assert len({death["pid"] for death in caught.value.attempts}) == 3
    assert [f.result(60) for f in others] == list(range(100))


def test_an_exit_names_its_code(client):
    with pytest.raises(plait.TaskCrashed, match="code 7") as caught:
        client.options(crash_limit=1).submit(tasks.leave, 7).result(60)
    assert [death["code"] for death in caught.value.attempts] == [7]


def test_a_task_may_kill_itself(client):
    with pytest.raises(plait.TaskCrashed, match="SIGKILL"):
        client.options(crash_limit=2).submit(tasks.kill_self).result(60)
    assert client.submit(tasks.same, 1).result(60) == 1


def test_a_task_that_crashes_once_is_run_again(client, tmp_path):
    assert client.submit(tasks.count_calls_and_die, str(tmp_path / "calls"), 2).result(60) == 3


def test_stderr_of_a_crash_is_told(client):
    def last_words():
        import os
        import sys

        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    with pytest.raises(plait.TaskCrashed, match="last words"):
        client.options(crash_limit=1).submit(last_words).result(60)


def test_sys_exit_and_keyboard_interrupt_are_exceptions(client):
    with pytest.raises(SystemExit) as caught:
        client.submit(tasks.leave_politely, 3).result(60)
    assert caught.value.code == 3

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(interrupt).result(60)


def test_an_unpicklable_argument_is_the_error_of_its_future(client):
    lock = threading.Lock()
    future = client.submit(tasks.same, 1, {"cb": lambda: lock})
    good = client.submit(tasks.same, 1)
    with pytest.raises(plait.SerializationError) as caught:
        future.result(0)
    assert caught.value.path == "args[1]['cb'].__closure__[0]"
    assert good.result(60) == 1


def test_an_unpicklable_function_is_the_error_of_its_future(client):
    lock = threading.Lock()
    with pytest.raises(plait.SerializationError, match="lock"):
        client.submit(lambda: lock).result(0)


def test_an_unpicklable_result_is_the_error_of_its_future(client):
    with pytest.raises(plait.SerializationError, match="result"):
        client.submit(tasks.lock).result(60)


def test_tracebacks_show_no_frames_of_plait(client):
    calls = [client.submit(int, "x"), client.submit(sorted, 5, reverse=True)]
    errors = [call.exception(60) for call in calls]
    with pytest.raises(ValueError, match="invalid literal") as caught:
        list(client.map(int, ["1", "x"]))
    for error in (*errors, caught.value):
        assert isinstance(error, (ValueError, TypeError)) and "  File" not in str(error.__cause__)
    result, argument = (
        client.submit(tasks.lock).exception(60),
        client.submit(tasks.same, threading.Lock()).exception(60),
    )
    assert isinstance(result, plait.SerializationError) and isinstance(argument, plait.SerializationError)
    assert result.__cause__ is None and argument.__cause__ is None and argument.__traceback__ is None


def test_a_result_that_cannot_be_unpickled_here_says_so(client):
    with pytest.raises(plait.SerializationError, match="not here") as caught:
        client.submit(tasks.made_there).result(60)
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_exception_that_cannot_be_unpickled_is_a_remote_error(client):
    with pytest.raises(plait.RemoteError, match="what") as caught:
        client.submit(tasks.fail_unloadable).result(60)
    assert "Unloadable" in caught.value.type_name and "fail_unloadable" in caught.value.traceback


def test_poison_among_good_work(client):
    futures = [client.submit(tasks.leave if n % 50 == 0 else tasks.same, n or 1) for n in range(300)]
    crashed = 0
    for n, future in enumerate(futures):
        if n % 50 == 0:
            with pytest.raises(plait.TaskCrashed):
                future.result(60)
            crashed += 1
        else:
            assert future.result(60) == n
    assert crashed == 6
