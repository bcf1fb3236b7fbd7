"""joblib, with loky's processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, cast

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from bench.systems.base import SLOTS, OfExecutor


class OfJoblib(OfExecutor):
    """Single calls go to loky's executor, since `Parallel` has none; everything else to `Parallel`."""

    first_result = (
        "from joblib import Parallel, delayed\nParallel(n_jobs=2)(delayed(abs)(-n) for n in range(2)); took()"
    )

    def executor(self) -> Executor:
        return cast("Executor", get_reusable_executor(max_workers=SLOTS))

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.parallel(delayed(fn)(item) for item in items)

    def broadcast(self, fn: Callable[[Any], Any], value: Any, times: int) -> list[Any]:
        """Let `Parallel` map a large array into each process, as it does by default."""
        return self.parallel(delayed(fn)(value) for _ in range(times))

    def parallel(self, calls: Iterable[Any]) -> list[Any]:
        """Run calls by `Parallel`; the executor makes way for its own, since a process has one."""
        self.pool.shutdown()
        return cast("list[Any]", Parallel(n_jobs=SLOTS)(calls))
