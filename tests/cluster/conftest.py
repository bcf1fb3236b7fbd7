"""A cluster for each test, and the check that nothing of it stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rig


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with rig.nothing_left():
        yield


@pytest.fixture
def cluster(tmp_path: Path, nothing_left: None) -> Iterator[rig.Cluster]:
    cluster = rig.Cluster(tmp_path / "home")
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def proxy(cluster: rig.Cluster) -> Iterator[rig.Proxy]:
    proxy = rig.Proxy(cluster.port)
    try:
        yield proxy
    finally:
        proxy.close()
