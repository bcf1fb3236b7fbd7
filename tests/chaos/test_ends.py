"""Fault rows 11 and 34, and every way in which a client can end: nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import plait
import rig

START = """
import os, pathlib, time, plait
client = plait.Client(slots=2)
futures = [client.submit(time.sleep, 60) for _ in range(4)]
while not any(future.running() for future in futures): time.sleep(0.01)
tasks = pathlib.Path("/proc/self/task")
executors = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
print("running", *executors, flush=True)
"""
WAYS = {
    "exception": ("raise RuntimeError('enough')", None, 1),
    "os._exit": ("os._exit(3)", None, 3),
    "sys.exit": ("client.shutdown(cancel_futures=True, wait=False); os._exit(0)", None, 0),
    "SIGKILL": ("time.sleep(60)", signal.SIGKILL, -signal.SIGKILL),
    "SIGTERM": ("time.sleep(60)", signal.SIGTERM, -signal.SIGTERM),
    "Ctrl-C in sleep": ("time.sleep(60)", signal.SIGINT, -signal.SIGINT),
    "Ctrl-C in result": ("futures[0].result()", signal.SIGINT, -signal.SIGINT),
    "Ctrl-C in with": ("with client: futures[0].result()", signal.SIGINT, -signal.SIGINT),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_however_a_client_ends(way: str) -> None:
    code, number, expected = WAYS[way]
    program = rig.python(START + code, env={"PLAIT_ADDRESS": ""})
    try:
        executors = [int(pid) for pid in program.says(r"running (\d+) (\d+)").groups()]
        if number is not None:
            program.send(number)
        if way == "exception":
            # Leaving normally waits for pending work, as the standard library does.
            rig.eventually(lambda: any("enough" in line for line in program.err), "the traceback")
            program.send(signal.SIGINT)
            program.ends()
        else:
            assert program.ends() == expected, program.story()
        rig.eventually(lambda: not any(map(rig.alive, executors)), "no executor is left")
    finally:
        program.stop()


def test_leaving_normally_waits_for_pending_work(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = rig.python(
        "import sys, time, pathlib, plait\n"
        "def work(path):\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path(path).touch()\n"
        "client = plait.Client(slots=1)\n"
        "client.submit(work, sys.argv[1])\n",
        str(mark),
        env={"PLAIT_ADDRESS": ""},
    )
    program.succeeds()
    assert mark.exists()


def test_an_inherited_client_raises_in_a_forked_child_and_a_new_one_works() -> None:
    program = rig.python(
        "import os, plait\n"
        "client = plait.Client(slots=1)\n"
        "future = client.submit(pow, 2, 5)\n"
        "assert future.result() == 32\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    calls = [lambda: client.submit(pow, 2, 2), lambda: client.workers(), lambda: client.shutdown()]\n"
        "    for inherited in calls:\n"
        "        try:\n"
        "            inherited()\n"
        "        except plait.PlaitError as error:\n"
        "            print('refused:', 'fork' in str(error), flush=True)\n"
        "    with plait.Client(slots=1) as own:\n"
        "        print('own:', own.submit(pow, 3, 3).result(), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "print('parent:', client.submit(pow, 2, 6).result(), flush=True)\n"
        "client.shutdown()\n",
        env={"PLAIT_ADDRESS": ""},
    )
    said = program.succeeds()
    assert "own: 27" in said
    assert "parent: 64" in said
    assert said.count("refused: True") >= 2


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_killed_clients_work_is_cancelled_after_a_minute(tmp_path: Path) -> None:
    cluster = rig.Cluster(tmp_path / "home")
    try:
        cluster.worker()
        doomed = cluster.python(
            "import time, plait\n"
            "client = plait.Client()\n"
            "futures = [client.submit(time.sleep, 3600) for _ in range(10)]\n"
            "while not futures[0].running(): time.sleep(0.01)\n"
            "print('running', flush=True)\n"
            "time.sleep(3600)\n"
        )
        doomed.says("running")
        doomed.send(signal.SIGKILL)
        began = time.monotonic()
        with plait.Client(cluster.client_line) as client:
            assert client.submit(os.getpid).result(120) > 0
        assert time.monotonic() - began > 30, "a session is kept for a while"
    finally:
        cluster.stop()
