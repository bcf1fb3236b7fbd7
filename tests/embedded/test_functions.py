"""Functions come and go: what a program makes anew for each task is held nowhere once it is over."""

from __future__ import annotations

import gc
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import plait
from plait import _config, _native
from rig import eventually

#: Bytes of a pickled lambda, at the most.
BODY = 2_000


def make(n: int) -> Any:
    """A function like no other."""
    return lambda: n


def count_functions() -> int:
    """Count what `make` made and this process still holds."""
    made = [f for f in gc.get_objects() if isinstance(f, FunctionType) and f.__qualname__ == "make.<locals>.<lambda>"]
    return len(made)


def test_many_lambdas_are_held_nowhere_once_they_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_HOME", str(tmp_path))
    with plait.Client(slots=2, listen="127.0.0.1:0") as client:

        def held() -> int:
            status = _native.status((tmp_path / "client.join").read_text().strip(), 60.0)
            assert status is not None
            return int(status["held_bytes"])

        futures: list[plait.Future[int]] = []
        for n in range(20_000):
            futures.append(client.submit(make(n)))
            if len(futures) == 1_000:
                assert sum(future.result() for future in futures) == sum(range(n - 999, n + 1))
                futures.clear()
        assert count_functions() == 0, "the client keeps no function alive"
        assert len(client._functions.known) == 0
        eventually(lambda: held() <= _config.FUNCTIONS_RECENT * BODY, "the coordinator holds what was made lately")
        counts = [client.submit(count_functions) for _ in range(20)]
        bound = _config.FUNCTIONS_RECENT + 1
        assert max(future.result() for future in counts) <= bound, "so do the executors"


def test_what_comes_back_leaves_the_classes_of_the_program_as_they_are(client: plait.Client) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(MAIN, names)
    account, slot, broke = names["Account"], names["Slot"], names["Broke"]
    results = [client.submit(names["load"]), client.submit(names["use"], client.submit(names["make"]))]
    made, failed = client.submit(names["make"]), client.submit(names["fail"])
    assert [future.exception(60) is None for future in results] == [True, True]
    account.seen = broke.seen = 4
    names["RATE"] = 2
    assert type(results[0].result(60)) is account and results[0].result(60).interest() == 2
    assert isinstance(failed.exception(60), broke)
    assert (account.seen, broke.seen) == (4, 4)
    assert type(made.result(60)) is slot and made.result(60).a == 1 and results[1].result(60) == 1


MAIN = """
RATE = 1
class Account:
    seen = 0
    def interest(self): return RATE
class Slot:
    __slots__ = ("a",)
    def __init__(self): self.a = 1
class Broke(Exception):
    seen = 0
def load(): return Account()
def make(): return Slot()
def use(slot): return slot.a
def fail(): raise Broke
"""
