"""`python -m bench.readme`: the README's comparison, written from a record or held against it.

A run's record is kept in `docs/bench/` with its plot. What stands between the markers is made from it alone, so that no
figure is copied by hand.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from bench import plot, record
from bench.record import Record, Row
from bench.table import number

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
#: Where the record and the plot that the README shows are kept.
KEPT = ROOT / "docs" / "bench"
RECORD = "record.json"
BEGIN, END = "<!-- bench: written by `make bench-readme` -->\n", "<!-- bench: end -->\n"


def section(run: Record) -> str:
    """The text between the markers."""
    place = run.place
    peers = list(dict.fromkeys(row.peer for row in run.rows if row.peer))
    names = " | ".join(f"{peer} {place.versions.get(peer, '')}".strip() for peer in peers)
    by_row: dict[tuple[str, str], dict[str, Row]] = {}
    for row in run.rows:
        by_row.setdefault((row.name, row.unit), {})[row.peer] = row
    lines = [
        f"{place.machine}; CPython {place.cpython}; commit {place.commit}; {place.date}. Two processes each,",
        f"on the same work. In each field how many times better plait is: the median of {place.pairs} alternated pairs",
        "in one run, with the least and the most; ✗ did not finish. What plait does alone is that machine's mood.",
        "",
        f"| | plait | {names} |",
        "|---|---|" + "---|" * len(peers),
    ]
    for (name, unit), rows in by_row.items():
        fields = " | ".join(field(rows[peer]) if peer in rows else "" for peer in peers)
        lines.append(f"| {name} | {own(list(rows.values()), unit)} | {fields} |")
    return "\n".join([*lines, "", f"![ratios as bars]({KEPT.relative_to(ROOT)}/{plot.STEM}.svg)", ""])


def own(rows: list[Row], unit: str) -> str:
    """Our figure, over all pairs."""
    found = record.spread([ours for row in rows for ours, _ in row.pairs if ours is not None])
    return f"{number(found.median)} {unit}" if found else "–"


def field(row: Row) -> str:
    """How a peer compares."""
    if row.failure:
        return "✗"
    found = row.ratio
    return f"**{number(found.median)}** ({number(found.least)}–{number(found.most)})" if found else "–"


def rendered(readme: str, run: Record) -> str:
    """The README with its section made anew.

    Raises:
        ValueError: If the markers are not there, once each.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README has no section between {BEGIN.strip()} and {END.strip()}")
    return before + begin + section(run) + end + after


@click.command()
@click.option(
    "--write", "source", type=click.Path(path_type=Path, file_okay=False), help="The folder that a run wrote."
)
def main(source: Path | None) -> None:
    """Write the README's comparison from a run's folder; without one, hold it against the kept record."""
    if source is not None:
        KEPT.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            shutil.copy(path, KEPT)
        README.write_text(rendered(README.read_text(), record.load(KEPT / RECORD)))
    elif README.read_text() != rendered(README.read_text(), record.load(KEPT / RECORD)):
        sys.exit("README.md: the comparison is not what docs/bench/record.json says: make bench-readme")


if __name__ == "__main__":
    main()
