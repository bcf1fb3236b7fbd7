"""Ctrl-C says what it cancelled, forks are told apart, and dropped clients finish their work."""

from __future__ import annotations

import gc
import signal
import threading

import pytest

import plait
import rig
from embedded import tasks

EMBEDDED = {"PLAIT_ADDRESS": ""}
BUSY = """
import os, signal, sys, time, operator, itertools, plait
client = plait.Client(slots=2)
def work(n):
    if n == 5:
        print("running", flush=True)
    if n >= 5:
        time.sleep(60)
    return n
"""


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("client.submit(work, 5).result()", "plait: cancelled task 0, whose result was being waited for"),
        ("list(client.map(work, itertools.count()))", "plait: cancelled a map of work; "),
        ("client.run(work, range(50))", "plait: cancelled a map of work"),
        ("client.run(work, range(50), combine=len)", " of its 50 pieces so far were done"),
        ("client.run(work, range(50), reduce=operator.add)", "plait: cancelled a run; "),
    ],
)
def test_ctrl_c_cancels_and_says_what_it_was(code, note):
    code = f"{BUSY}\ntry:\n    {code}\nexcept KeyboardInterrupt as stop:\n    print(stop.__notes__[0], flush=True)\n"
    program = rig.python(f"{code}print('usable', client.submit(abs, -3).result())\n", env=EMBEDDED)
    try:
        program.says("running")
        program.send(signal.SIGINT)
        said = program.succeeds()
        assert note in said and "usable 3" in said
    finally:
        program.stop()


def test_a_normal_run_is_silent_on_stderr():
    code = """
import operator, plait
with plait.Client() as client:
    assert client.run(str, range(100), reduce=operator.add)
    assert list(client.map(abs, range(100)))
    assert client.submit(abs, -1).result() == 1
print(plait.run(abs, [-1]))
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert program.succeeds() == "[1]"
    finally:
        program.stop()


def test_inherited_futures_and_results_raise_in_a_forked_child():
    code = """
import concurrent.futures, os, time, warnings, plait
warnings.simplefilter("ignore")  # CPython 3.12 warns of every fork of a process with threads
client = plait.Client(slots=1)
untouched = client.map(abs, range(3))
done, pending = client.submit(abs, -1), client.submit(time.sleep, 0.2)
done.result()
results = client.map(abs, range(3))
pending.add_done_callback(lambda f: None)
pid = os.fork()
if pid == 0:
    calls = [pending.result, pending.done, pending.cancel, lambda: concurrent.futures.wait([pending]),
             lambda: next(results),
             lambda: pending.add_done_callback(print), lambda: client.map(abs, [1]),
             lambda: client.options(retries=1)]
    for inherited in calls:
        try:
            print("no error", inherited(), flush=True)
        except plait.PlaitError as error:
            assert "fork" in str(error)
    assert done.result() == 1, "what had come before the fork is there"
    assert plait.run(abs, [-2]) == [2], "a default client of its own"
    del client, done, pending, results
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0
assert list(results) == [0, 1, 2]
print(pending.result())
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert program.succeeds() == "None"
    finally:
        program.stop()


def test_a_dropped_client_finishes_its_work_and_ends(tmp_path):
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    client = plait.Client(slots=1)
    client.submit(tasks.touch_then_wait, str(mark), str(gate))
    client.submit(tasks.touch_then_wait, str(tmp_path / "second"), str(gate))
    del client
    gc.collect()
    rig.eventually(mark.exists, "the task runs")
    gate.touch()
    rig.eventually((tmp_path / "second").exists, "the next one, too")
    rig.eventually(lambda: "plait-closer" not in [t.name for t in threading.enumerate()], "the runtime has ended")


def test_a_future_keeps_a_dropped_client_alive(tmp_path):
    future = plait.Client(slots=1).submit(tasks.same, 4)
    gc.collect()
    assert future.result(60) == 4


def test_shutdown_without_waiting_returns_at_once(tmp_path):
    gate = tmp_path / "gate"
    client = plait.Client(slots=1)
    future = client.submit(tasks.until, str(gate), 3)
    client.shutdown(wait=False)
    assert not future.done()
    gate.touch()
    assert future.result(60) == 3


def test_leaving_a_with_block_by_an_error_waits_like_the_standard_library():
    futures = []

    def body():
        with plait.Client(slots=1) as client:
            futures.append(client.submit(tasks.pause, 0.05, 3))
            raise LookupError

    with pytest.raises(LookupError):
        body()
    assert futures[0].result(0) == 3


def test_the_end_of_a_with_block_ends_the_dispatcher():
    ran = []
    with plait.Client(slots=1) as client:
        client.submit(tasks.pause, 0.05, 3).add_done_callback(lambda f: ran.append(f.result()))
    assert ran == [3]
