"""A run as text for the terminal."""

from __future__ import annotations

from bench.aims import shortfalls
from bench.record import Record, Row, Spread


def number(value: float) -> str:
    """Three digits are all that a busy machine gives."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(found: Spread | None) -> str:
    """The median and its ends."""
    return f"{number(found.median)} [{number(found.least)} .. {number(found.most)}]" if found else "-"


def heading(record: Record) -> str:
    """What a reader must know before the figures."""
    place = record.place
    versions = ", ".join(f"{name} {version}".strip() for name, version in place.versions.items())
    return (
        f"{place.machine}; CPython {place.cpython}; commit {place.commit}; {place.date}\n{versions}\n"
        f"medians of {place.pairs} alternated pairs and [least .. most]; above 1 plait is better; ✗ did not finish\n"
    )


def line(row: Row) -> str:
    """One row."""
    ours, theirs = row.our_spread, row.peer_spread
    figures = f"{number(ours.median) if ours else '-':>10} {number(theirs.median) if theirs else '':>10} {row.unit:<8}"
    verdict = f"✗ {row.failure}" if row.failure else ratio(row.ratio) if row.peer else ""
    return f"{row.name:<54} {row.peer:<28} {figures} {verdict}".rstrip()


def table(record: Record) -> str:
    """All rows."""
    head = f"{'':<54} {'beside':<28} {'plait':>10} {'peer':>10} {'':<8} ratio"
    return "\n".join([heading(record), head, *(line(row) for row in record.rows)])


def ranking(record: Record) -> str:
    """The aims, the furthest first."""
    lines = [f"{'aims, the furthest first':<54} {'beside':<28} {'reached':>10} {'aim':>10}   missed"]
    for missed, reached, aim in shortfalls(record):
        by = f"{missed:.2f} times" if missed > 1 else "no"
        lines.append(f"{aim.row:<54} {aim.peer:<28} {number(reached):>10} {aim.text:>10}   {by}")
    return "\n".join(lines)
