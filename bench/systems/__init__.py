"""Whom we measure, by the names that the table shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import cast

from bench.systems.bare import CHAINS, STREAMS
from bench.systems.base import System
from bench.tasks import nothing

#: Calls that a fresh system does before anything is measured.
WARM_UP = 200


@dataclass(frozen=True)
class Source:
    """Where a system is defined, and the distribution that must be installed for it; none for the standard library."""

    module: str
    cls: str
    distribution: str = ""


PLAIT = "plait"
CLUSTER = "plait over TCP"
BYTES_ALONE = "plait over TCP, bytes alone"
PROCESS_POOL = "ProcessPoolExecutor"
POOL = "multiprocessing.Pool"
JOBLIB = "joblib"
PROTOTYPE = "Twisted prototype"
DASK = "Dask"
RAY = "Ray"
UNIX_SOCKET, THREE_SOCKETS = CHAINS
(RELAY,) = STREAMS

SOURCES = {
    PLAIT: Source("ours", "OfPlait", "plait"),
    CLUSTER: Source("ours", "OfPlaitCluster", "plait"),
    BYTES_ALONE: Source("ours", "OfPlaitBytes", "plait"),
    PROCESS_POOL: Source("stdlib", "OfProcessPool"),
    POOL: Source("stdlib", "OfPool"),
    JOBLIB: Source("loky", "OfJoblib", "joblib"),
    PROTOTYPE: Source("prototype", "OfPrototype", "twisted"),
    DASK: Source("of_dask", "OfDask", "distributed"),
    RAY: Source("of_ray", "OfRay", "ray"),
}


def installed(name: str) -> bool:
    """Whether this system can be measured here."""
    return (
        name in CHAINS
        or name in STREAMS
        or not SOURCES[name].distribution
        or find_spec(SOURCES[name].distribution) is not None
    )


def version(name: str) -> str:
    """The version of what a system comes with; nothing for the standard library."""
    source = SOURCES.get(name)
    return metadata.version(source.distribution) if source and source.distribution else ""


def system_class(name: str) -> type[System]:
    """Import a system, and only that one."""
    source = SOURCES[name]
    return cast("type[System]", getattr(import_module(f"bench.systems.{source.module}"), source.cls))


@contextlib.contextmanager
def started(name: str) -> Iterator[System]:
    """Start a system and let its processes do something; end it."""
    with contextlib.closing(system_class(name)()) as system:
        system.gather([system.submit(nothing) for _ in range(WARM_UP)])
        yield system
