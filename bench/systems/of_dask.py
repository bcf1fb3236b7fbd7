"""Dask: distributed with a scheduler and two processes of one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller
from typing import Any, cast

os.environ.setdefault("DASK_DISTRIBUTED__LOGGING__DISTRIBUTED", "error")

from distributed import Client, LocalCluster

from bench.systems.base import SLOTS, System


class OfDask(System):
    """No dashboard, no pure calls: an equal call is a call."""

    slow = True
    takes_handles = True
    first_result = (
        "from distributed import Client, LocalCluster\n"
        "with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "    with Client(cluster) as client: client.submit(abs, -1).result(); took()"
    )
    wait = staticmethod(methodcaller("result"))

    def __init__(self) -> None:
        self.cluster = LocalCluster(n_workers=SLOTS, threads_per_worker=1, dashboard_address=None)
        self.client = Client(self.cluster)
        submit = self.client.submit
        self.submit = lambda fn, *args: submit(fn, *args, pure=False)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return cast("list[Any]", self.client.gather(handles))

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.gather(self.client.map(fn, list(items), pure=False))

    def share(self, value: Any) -> Any:
        return self.client.scatter(value)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()
