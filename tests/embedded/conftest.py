"""Embedded clients: one for many tests, and the leftovers check."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import plait
from rig import eventually


@pytest.fixture(scope="module")
def shared() -> Iterator[plait.Client]:
    """A client of two slots for all tests of a module that leave it usable."""
    with plait.Client(slots=2) as client:
        yield client


@pytest.fixture
def client(shared: plait.Client) -> Iterator[plait.Client]:
    """The module's client; afterwards nothing may be pending there."""
    yield shared
    assert shared._core.session.wait_idle(60), "the test left something pending"


def children(pid: int | None = None) -> set[int]:
    """The living child processes of a process."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == (pid or os.getpid()) and state != "Z":
                found.add(int(entry.name))
    return found


@pytest.fixture(scope="module", autouse=True)
def leftovers() -> Iterator[None]:
    """No process and no thread of plait is left after a module."""
    before = children()
    yield
    eventually(lambda: children() <= before, "executors are gone")
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("plait")], "plait's threads are gone")
