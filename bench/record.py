"""What a run leaves: where it ran, and every pair of figures."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What two neighbours in time gave: plait's figure, the peer's; None where one has none.
Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Place:
    """Where and with what a run was made."""

    machine: str
    cpython: str
    commit: str
    date: str
    pairs: int
    #: By name; empty for the standard library.
    versions: dict[str, str]


@dataclass(frozen=True)
class Spread:
    """The middle and the ends."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread | None:
    """Return the spread; None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


@dataclass
class Row:
    """One figure of one case beside one peer; without a peer, alone."""

    case: str
    figure: str
    unit: str
    better: str
    ours: str
    peer: str = ""
    pairs: list[Pair] = field(default_factory=list)
    #: Why the peer, or we, did not finish.
    failure: str = ""

    @property
    def name(self) -> str:
        """The case, and its figure if it has several."""
        return f"{self.case}: {self.figure}" if self.figure else self.case

    @property
    def our_spread(self) -> Spread | None:
        return spread([ours for ours, _ in self.pairs if ours is not None])

    @property
    def peer_spread(self) -> Spread | None:
        return spread([theirs for _, theirs in self.pairs if theirs is not None]) if self.peer else None

    @property
    def ratio(self) -> Spread | None:
        """How many times better we are; None where that cannot be said."""
        if not self.peer:
            return None
        both = [(ours, theirs) for ours, theirs in self.pairs if ours is not None and theirs is not None]
        fractions = [(a, b) if self.better == "more" else (b, a) for a, b in both]
        return spread([over / under for over, under in fractions if under > 0])


@dataclass
class Record:
    """A run."""

    place: Place
    rows: list[Row] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Record:
    """Read what `save` wrote."""
    data: dict[str, Any] = json.loads(path.read_text())
    rows = [Row(**row | {"pairs": [(ours, theirs) for ours, theirs in row["pairs"]]}) for row in data["rows"]]
    return Record(Place(**data["place"]), rows)
