"""Ray, on this machine alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import ray

from bench.systems.base import SLOTS, System


class OfRay(System):
    """No dashboard and no logs in the driver."""

    slow = True
    takes_handles = True
    first_result = (
        "import ray\nray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='error')\n"
        "ray.get(ray.remote(lambda: 1).remote()); took()"
    )

    def __init__(self) -> None:
        ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="error")
        remote = functools.cache(ray.remote)
        self.submit = lambda fn, *args: remote(fn).remote(*args)
        self.wait = ray.get

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return cast("list[Any]", ray.get(list(handles)))

    def share(self, value: Any) -> Any:
        return ray.put(value)

    def submit_fragile(self, fn: Callable[..., Any], /) -> Any:
        return ray.remote(max_retries=0)(fn).remote()

    def close(self) -> None:
        ray.shutdown()
