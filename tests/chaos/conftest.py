"""An embedded client for each test, and the check that nothing of it stays behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import plait
import rig


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with rig.nothing_left():
        yield


@pytest.fixture
def client(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[plait.Client]:
    monkeypatch.delenv("PLAIT_ADDRESS", raising=False)
    with plait.Client(slots=2) as client:
        yield client
