"""Runs a job on every core of a laptop, or unchanged on many machines.

    import plait

    plait.run(sub_task, pieces, reduce=merge)      # fold the results on the workers, in order
    plait.run(sub_task, pieces, combine=total)     # give all of them to one last sub-task
    plait.map(sub_task, pieces)                    # results in order, as they come

`Client` is a `concurrent.futures.Executor` over all cores of this machine, or over the cluster that `PLAIT_ADDRESS`
names. Importing this starts no thread and loads next to nothing: names are fetched on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from plait._client import Client, map, run  # noqa: A004 - the public names
    from plait._errors import (
        AuthError,
        ConnectError,
        CoordinatorLost,
        DependencyFailed,
        NoSpace,
        PlaitError,
        RemoteError,
        ResultTooLarge,
        SerializationError,
        TaskCrashed,
        Unschedulable,
        VersionMismatch,
    )
    from plait._future import Future
    from plait._job import Job
    from plait._map import Results
    from plait._native import __version__
    from plait._options import task
    from plait._types import Outcome, TaskInfo, WorkerInfo

__all__ = [
    "run",
    "map",
    "task",
    "Client",
    "Job",
    "Future",
    "Results",
    "Outcome",
    "TaskInfo",
    "WorkerInfo",
    "PlaitError",
    "ConnectError",
    "AuthError",
    "VersionMismatch",
    "Unschedulable",
    "TaskCrashed",
    "DependencyFailed",
    "SerializationError",
    "ResultTooLarge",
    "NoSpace",
    "RemoteError",
    "CoordinatorLost",
    "__version__",
]

_HOMES = {
    "run": "_client",
    "map": "_client",
    "Client": "_client",
    "task": "_options",
    "Job": "_job",
    "Future": "_future",
    "Results": "_map",
    "Outcome": "_types",
    "TaskInfo": "_types",
    "WorkerInfo": "_types",
    "__version__": "_native",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home; errors live in `_errors`."""
    if name not in __all__:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"plait.{_HOMES.get(name, '_errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
