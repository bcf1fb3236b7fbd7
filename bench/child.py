"""One fresh process: measures one system in the named cases and leaves the figures in a file, as JSON.

python -m bench.child ANSWER SYSTEM full|quick CASE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.cases import CASES
from bench.cases.size import FULL, QUICK

SIZES = {"full": FULL, "quick": QUICK}


def main(answer: str, system: str, size: str, *cases: str) -> None:
    """Measure; the answer maps each case's name to its figures."""
    take = {case.name: case.take for case in CASES}
    figures = {name: take[name](system, SIZES[size]) for name in cases}
    Path(answer).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
