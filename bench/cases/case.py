"""What one case is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench import systems
from bench.cases.size import Size


@dataclass(frozen=True)
class Figure:
    """One number that a case gives."""

    unit: str
    better: Literal["more", "less"] = "less"
    #: Tells it from the case's other figures; empty where there is one.
    name: str = ""


#: A case's figures, in order; None where there is no such figure (no time is lost where the results are).
Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Case:
    """One piece of work that is measured on several systems."""

    name: str
    #: Starts a system by its name, warms it up, measures.
    take: Callable[[str, Size], Values]
    figures: tuple[Figure, ...]
    #: Who is measured beside it.
    peers: tuple[str, ...]
    #: Whose case it is.
    ours: str = systems.PLAIT
    #: When a system is given up, in seconds.
    limit: float = 90.0
