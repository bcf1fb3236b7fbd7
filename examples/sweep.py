"""A parameter sweep: every combination is a sub-task, failures are data, the best is kept."""

import itertools
from typing import Any

import plait


def simulate(growth: float, start: float) -> float:
    """Iterate the logistic map; return how much its last values differ from each other."""
    if not 0 < start < 1:
        raise ValueError(f"start must lie between 0 and 1, not {start}")
    x, seen = start, []
    for step in range(2_000):
        x = growth * x * (1 - x)
        if step >= 1_900:
            seen.append(x)
    return max(seen) - min(seen)


grid = list(itertools.product([2.8, 3.2, 3.5, 3.9], [0.1, 0.5, 1.0]))

with plait.Client() as client:
    outcomes: list[Any] = list(client.options(errors="return").map(simulate, *zip(*grid, strict=True)))

for (growth, start), outcome in zip(grid, outcomes, strict=True):
    shown = f"{outcome.value:.4f}" if outcome.error is None else f"failed: {outcome.error}"
    print(f"growth {growth}  start {start}  spread {shown}")
