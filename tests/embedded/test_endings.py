"""Ctrl-C says what it cancelled, forks are told apart, and dropped clients finish their work."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading

import pytest

import plait
import rig
from embedded import tasks
from rig import eventually

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
        ("client.run(work, range(50), combine=len)", " pieces so far were done"),
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


def test_executors_start_whatever_directory_the_program_is_in_and_wherever_its_modules_are(tmp_path):
    place = os.path.join(os.fsencode(tmp_path), b"n\xff")
    code = f"""
import os, sys, plait
place = {place!r}
os.mkdir(place)
with open(place + b"/odd_module.py", "w") as file:
    file.write("def answer(): return 42")
os.mkdir(place + b"/gone")
os.chdir(place + b"/gone")
os.rmdir(place + b"/gone")
sys.path += [os.fsdecode(place), None, b"/bytes"]
import odd_module
with plait.Client(slots=1) as client:
    print(client.submit(odd_module.answer).result())
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert program.succeeds() == "42"
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


def test_a_signal_handler_may_use_futures_in_the_midst_of_their_use():
    code = """
import itertools, signal, plait
with plait.Client(slots=1) as client:
    futures = [client.submit(abs, n) for n in range(20_000)]
    late = iter(futures[10_000:])
    struck = 0
    def strike(*_):
        global struck
        struck += 1
        next(late).cancel()
    signal.signal(signal.SIGPROF, strike)
    signal.setitimer(signal.ITIMER_PROF, 0.002, 0.002)
    for future in futures[:10_000]:
        future.cancel()
        future.add_done_callback(id)
    signal.setitimer(signal.ITIMER_PROF, 0)
    print("struck", struck > 0)
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert "struck True" in program.succeeds()
    finally:
        program.stop()


def test_callbacks_run_before_the_process_ends_whoever_ends_the_client():
    code = """
import time, plait
client = plait.Client(slots=1)
def call(future):
    time.sleep(0.3)
    print("called", future.result(), flush=True)
client.submit(abs, -7).add_done_callback(call)
client.shutdown(wait=False)
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert "called 7" in program.succeeds()
    finally:
        program.stop()


def test_a_second_shutdown_waits_and_cancels_like_a_first(tmp_path):
    client = plait.Client(slots=1)
    running = client.submit(tasks.touch_then_wait, str(tmp_path / "begun"), str(tmp_path / "gate"))
    eventually((tmp_path / "begun").exists, "it runs")
    waiting = client.submit(tasks.same, 1)
    client.shutdown(wait=False)
    client.shutdown(wait=False, cancel_futures=True)
    eventually(waiting.cancelled, "what had not begun is cancelled")
    (tmp_path / "gate").touch()
    client.shutdown()
    assert running.done()


def test_a_view_keeps_what_a_subclass_added():
    class Named(plait.Client):
        def __init__(self, owner):
            super().__init__(slots=1)
            self.owner = owner

    with Named("me") as client:
        view = client.options(retries=1)
        assert type(view) is Named and view.owner == "me"
        assert view.submit(abs, -1).result(60) == 1


def test_threads_that_begin_together_share_one_default_client():
    code = """
import threading, plait
from plait import _client
together, found = threading.Barrier(8), set()
def begin():
    together.wait()
    found.add(_client.default_client())
threads = [threading.Thread(target=begin) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("clients", len(found))
"""
    program = rig.python(code, env=EMBEDDED)
    try:
        assert "clients 1" in program.succeeds()
    finally:
        program.stop()


def test_a_cancelled_coroutine_does_not_wait_for_its_client(tmp_path):
    async def work():
        async with plait.Client(slots=1) as client:
            await client.submit(tasks.until, str(tmp_path / "never"))

    async def limited():
        running = asyncio.create_task(work())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(limited(), 60))


def test_a_dispatcher_that_could_not_start_is_started_again(tmp_path):
    with plait.Client(slots=1) as client:
        future = client.submit(tasks.until, str(tmp_path / "gate"))
        called = threading.Event()
        before = threading.stack_size()
        threading.stack_size(1 << 46)  # no thread can be had so
        try:
            with pytest.raises(RuntimeError, match="start new thread"):
                future.add_done_callback(print)
        finally:
            threading.stack_size(before)
        (tmp_path / "gate").touch()
        client.submit(abs, -1).add_done_callback(lambda _: called.set())
        assert called.wait(60)
