"""A job as one class, in the prototype's words."""

from collections.abc import Iterator

import plait


class Primes(plait.Job[int, range, list[int]]):
    """Find the primes below a number."""

    def split(self, data: int) -> Iterator[range]:
        """Cut the numbers into ranges, lazily."""
        for start in range(2, data, 10_000):
            yield range(start, min(start + 10_000, data))

    def perform_sub_task(self, piece: range) -> list[int]:
        """Try every number of one range, on a worker."""
        return [n for n in piece if all(n % d for d in range(2, int(n**0.5) + 1))]

    def combine_results(self, results: list[list[int]]) -> list[int]:
        """Put the ranges together: all results in order, once, on a worker."""
        return [prime for result in results for prime in result]


primes = Primes().run(100_000)
print(f"{len(primes):,} primes, the last is {primes[-1]:,}")
