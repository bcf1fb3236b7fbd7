"""A worker of the Twisted prototype, moved over. On one machine it finds the server's key by itself."""

import sys

from plait.compat import WorkerNode


class SquareWorker(WorkerNode):
    """Squares the numbers of a piece."""

    def perform_sub_task(self, piece: range) -> int:
        """Do the work for one piece."""
        return sum(n * n for n in piece)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
SquareWorker("127.0.0.1", port, slots=1).run()
