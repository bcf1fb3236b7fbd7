"""Fault rows 1 and 2: a task that kills its executor costs itself and nobody else."""

from __future__ import annotations

import ctypes
import faulthandler
import operator
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
import rig

#: A busy executor is looked at ten times a second; a busy machine may miss some.
SEEN_WITHIN = 1.0


def dereference_null() -> None:
    print("the last words", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def segfault() -> None:
    faulthandler._sigsegv()  # type: ignore[attr-defined]


def overflow_the_stack() -> None:
    descend: Any = ctypes.CFUNCTYPE(None)(lambda: descend())
    sys.setrecursionlimit(10**9)
    descend()


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(7)


def exit_politely() -> None:
    sys.exit("enough")


def interrupt() -> None:
    raise KeyboardInterrupt


def crash_once(path: str) -> str:
    """Die on the first attempt only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "second attempt"
    kill_itself()
    return "never"


@pytest.mark.parametrize("crash", [dereference_null, segfault, overflow_the_stack])
def test_a_segfault_fails_its_own_future_alone(client: plait.Client, crash: Callable[[], None]) -> None:
    around = [client.submit(pow, n, 2) for n in range(200)]
    crashed = client.submit(crash)
    around += [client.submit(pow, n, 2) for n in range(200, 400)]
    error = crashed.exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    assert len(error.attempts) == 3
    assert {death["signal"] for death in error.attempts} <= {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS}
    assert len({death["pid"] for death in error.attempts}) == 3
    assert "SIG" in str(error)
    assert [future.result(rig.PATIENCE) for future in around] == [n * n for n in range(400)]
    assert client.submit(operator.add, 1, 2).result(rig.PATIENCE) == 3


def test_a_death_tells_its_last_words(client: plait.Client) -> None:
    error = client.options(crash_limit=1).submit(dereference_null).exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    [death] = error.attempts
    assert "the last words" in death["log_tail"]
    assert death["signal"] == signal.SIGSEGV
    assert death["peak_memory"] > 1 << 20


def swell(mark: str) -> None:
    """Take 64 MiB and live on with it."""
    held = bytearray(64 << 20)
    with open(mark, "w") as file:
        file.write(str(os.getpid()))
    while held:
        time.sleep(0.01)


def peak_memory(pid: int) -> int:
    """What the kernel knows, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_a_death_tells_what_memory_was_taken_late(client: plait.Client, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    future = client.options(crash_limit=1).submit(swell, str(mark))
    pid = int(rig.eventually(lambda: mark.read_text() if mark.exists() else "", "the task has its memory"))
    peak = peak_memory(pid)
    began = time.monotonic()
    rig.eventually(lambda: time.monotonic() > began + SEEN_WITHIN, "it was looked at")
    os.kill(pid, signal.SIGKILL)
    error = future.exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    assert error.attempts[0]["peak_memory"] >= peak


def test_a_death_at_once_tells_what_memory_its_executor_had(client: plait.Client) -> None:
    error = client.options(crash_limit=1).submit(leave).exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    assert error.attempts[0]["peak_memory"] > 1 << 20


def test_os_exit_is_a_crash_that_names_the_code(client: plait.Client) -> None:
    error = client.options(crash_limit=2).submit(leave).exception(rig.PATIENCE)
    assert isinstance(error, plait.TaskCrashed)
    assert [death["code"] for death in error.attempts] == [7, 7]


@pytest.mark.parametrize(("task", "kind"), [(exit_politely, SystemExit), (interrupt, KeyboardInterrupt)])
def test_leaving_by_exception_is_an_exception(
    client: plait.Client, task: Callable[[], None], kind: type[BaseException]
) -> None:
    assert isinstance(client.submit(task).exception(rig.PATIENCE), kind)
    assert client.submit(operator.add, 1, 2).result(rig.PATIENCE) == 3


def test_a_crash_is_tried_again(client: plait.Client, tmp_path: object) -> None:
    assert client.submit(crash_once, f"{tmp_path}/mark").result(rig.PATIENCE) == "second attempt"


def test_a_fold_is_exact_although_executors_die(client: plait.Client, tmp_path: object) -> None:
    """Every hundredth piece kills its executor the first time."""
    folder = str(tmp_path)

    def piece(n: int) -> str:
        if n % 100 == 50:
            crash_once(f"{folder}/{n}")
        return str(n)

    text = client.run(piece, range(2_000), reduce=operator.add)
    assert text == "".join(map(str, range(2_000)))


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_a_task_that_kills_itself_never_hangs_anybody(client: plait.Client, rounds: int) -> None:
    fragile = client.options(crash_limit=1)
    back = []
    for n in range(rounds):
        crashed = fragile.submit(kill_itself)
        beside = client.submit(operator.mul, n, 2)
        assert isinstance(crashed.exception(rig.PATIENCE), plait.TaskCrashed)
        began = time.monotonic()
        assert beside.result(rig.PATIENCE) == 2 * n
        assert client.submit(operator.neg, n).result(rig.PATIENCE) == -n
        back.append(time.monotonic() - began)
    print(f"after {rounds} crashes: a slot is back in {statistics.median(back) * 1e3:.1f} ms (median)")


@pytest.mark.chaos
def test_poison_among_good_tasks_costs_only_itself(client: plait.Client, rounds: int) -> None:
    poison = max(2, rounds // 100)
    good = [client.submit(operator.neg, n) for n in range(1_000 * poison // 2)]
    bad = [client.submit(kill_itself) for _ in range(poison)]
    good += [client.submit(operator.neg, n) for n in range(1_000 * poison // 2, 1_000 * poison)]
    assert all(isinstance(future.exception(rig.PATIENCE), plait.TaskCrashed) for future in bad)
    assert [future.result(rig.PATIENCE) for future in good] == [-n for n in range(1_000 * poison)]
