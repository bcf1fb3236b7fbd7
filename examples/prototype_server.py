"""A server of the Twisted prototype, moved over: the imports changed, the networking is gone.

Run it, then `python examples/prototype_worker.py` in other terminals, as many as you like.
"""

import sys
from collections.abc import Iterator

from plait.compat import DistributedServer


class SumServer(DistributedServer):
    """Sums squares: the pieces are handed out, the results collected here."""

    def split(self, data: int) -> Iterator[range]:
        """Cut the numbers into pieces."""
        for start in range(0, data, 1_000):
            yield range(start, min(start + 1_000, data))

    def handle_results(self, result: int) -> None:
        """Take one result as it arrives."""
        self.results.append(result)

    def combine_results(self) -> int:
        """Make the final result, when all have arrived."""
        return sum(self.results)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
print(SumServer(port=port).run(50_000))
