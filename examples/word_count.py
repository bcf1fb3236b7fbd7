"""Word count: results are folded on the workers, pairwise and in order, while others still run.

The same file runs on this machine's cores or, with PLAIT_ADDRESS set, on a cluster.
"""

import collections
import sys
from collections.abc import Iterator
from pathlib import Path

import plait

ZEN = """Beautiful is better than ugly. Explicit is better than implicit. Simple is better than complex.
Complex is better than complicated. Flat is better than nested. Sparse is better than dense. Readability counts."""


def count(lines: list[str]) -> collections.Counter[str]:
    """Count the words of some lines."""
    return collections.Counter(word.strip(".,").lower() for line in lines for word in line.split())


def merge(left: collections.Counter[str], right: collections.Counter[str]) -> collections.Counter[str]:
    """Add two counts."""
    return left + right


def pieces(text: str, size: int = 100) -> Iterator[list[str]]:
    """Cut a text into pieces of some lines each."""
    lines = text.splitlines()
    for start in range(0, len(lines), size):
        yield lines[start : start + size]


text = Path(sys.argv[1]).read_text(encoding="utf-8") if len(sys.argv) > 1 else "\n".join([ZEN] * 2_000)
words = plait.run(count, pieces(text), reduce=merge)
for word, n in words.most_common(5):
    print(f"{n:>8,}  {word}")
