"""Fault rows 3, 17, 37 and 40: tasks that will not stop, will not pickle, leave things behind, or look for secrets."""

from __future__ import annotations

import ctypes
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
import rig


def loop(path: str) -> None:
    Path(path).touch()
    while True:
        pass


def loop_in_c(path: str) -> None:
    """Hold the GIL in C for an hour."""
    Path(path).touch()
    ctypes.PyDLL(None).sleep(3600)


def ignore_signals(path: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    Path(path).touch()
    while True:
        pass


@pytest.mark.parametrize("task", [loop, loop_in_c, ignore_signals])
def test_a_running_task_can_be_stopped(client: plait.Client, task: Callable[[str], None], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    future = client.submit(task, str(begun))
    rig.eventually(begun.exists, "the task runs")
    assert future.cancel(running=True)
    assert future.cancelled()
    holders = [client.submit(time.sleep, 0.05) for _ in range(4)]
    assert [holder.result(rig.PATIENCE) for holder in holders] == [None] * 4


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class CrashesWhenUnpickled:
    def __reduce__(self) -> Any:
        return os._exit, (3,)


class OddError(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"odd: {first} and {second}")


def make(kind: type[Any]) -> Any:
    return kind()


def raise_odd() -> None:
    raise OddError(1, 2)


def raise_held() -> None:
    error = ValueError("holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def test_what_cannot_be_pickled_fails_its_own_future(client: plait.Client) -> None:
    argument = client.submit(len, [1, {"cb": Unpicklable()}])
    error = argument.exception(rig.PATIENCE)
    assert isinstance(error, plait.SerializationError)
    assert "args[0][1]['cb']" in str(error)
    assert isinstance(client.submit(make, Unpicklable).exception(rig.PATIENCE), plait.SerializationError)
    assert client.submit(operator.add, 1, 2).result(rig.PATIENCE) == 3


def test_an_argument_that_kills_its_reader_is_a_crash(client: plait.Client) -> None:
    error = client.submit(type, CrashesWhenUnpickled()).exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    assert client.submit(operator.add, 1, 2).result(rig.PATIENCE) == 3


@pytest.mark.parametrize(("task", "text"), [(raise_odd, "odd: 1 and 2"), (raise_held, "holds a lock")])
def test_an_error_that_cannot_travel_arrives_as_text(client: plait.Client, task: Callable[[], None], text: str) -> None:
    error = client.submit(task).exception(rig.PATIENCE)
    assert isinstance(error, plait.RemoteError)
    assert text in str(error)


def litter(folder: str) -> int:
    """Leave a child, a daemon thread, another folder and another environment behind."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    os.chdir(folder)
    os.environ["LITTER"] = "1"
    return child.pid


def look() -> tuple[str, str | None, int]:
    return os.getcwd(), os.environ.get("LITTER"), os.getpid()


def test_what_a_task_leaves_behind_is_cleared(tmp_path: Path) -> None:
    with plait.Client(slots=1) as client:
        before = client.submit(look).result(rig.PATIENCE)
        child = client.submit(litter, str(tmp_path)).result(rig.PATIENCE)
        after = client.submit(look).result(rig.PATIENCE)
        assert after[:2] == before[:2] == (os.getcwd(), None)
        assert after[2] != before[2], "an executor whose task left a child is replaced"
        rig.eventually(lambda: not rig.alive(child), "the child is gone")


def test_a_tasks_surroundings_hold_no_join_line(tmp_path: Path) -> None:
    """A task's environment and every process's arguments; other users' processes are not plait's to hide."""
    home = {"PLAIT_HOME": str(tmp_path), "PLAIT_ADDRESS": ""}
    coordinator = rig.plait("coordinator", "--bind", "127.0.0.1:0", env=home)
    line = coordinator.says(r"plait worker (plait1w-\S+)")[1]
    client_line = coordinator.says(r'plait\.Client\("(plait1c-\S+)"\)')[1]
    worker = rig.plait("worker", line, "--slots", "1", env=home)
    second = rig.plait("worker", "--slots", "1", env=home | {"PLAIT_ADDRESS": line})
    try:
        with plait.Client(client_line) as client:
            rig.eventually(lambda: len(client.workers()) == 2, "two workers")
            for _ in range(10):
                environment = client.submit(lambda: repr(os.environ)).result(rig.PATIENCE)
                assert "plait1" not in environment
            key = line.split("-")[2]
            for pid in (worker.pid, second.pid, *rig.descendants(worker.pid)):
                assert key not in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        for program in (worker, second, coordinator):
            program.stop()
