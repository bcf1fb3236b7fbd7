"""Pi by Monte-Carlo: many independent sub-tasks, one combination at the end."""

import random

import plait

THROWS = 200_000


def throw(seed: int) -> int:
    """Throw darts at the unit square; count those inside the quarter circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(THROWS))


def estimate(hits: list[int]) -> float:
    """Turn all counts into pi: called once, on a worker, with all results in order."""
    return 4 * sum(hits) / (THROWS * len(hits))


pi = plait.run(throw, range(20), combine=estimate)
print(f"pi is about {pi:.4f}")
