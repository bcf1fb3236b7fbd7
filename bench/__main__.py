"""`python -m bench`: takes every case in alternated pairs, prints the ratios with their spread, leaves a record."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import click

from bench import plot, readme, runner, systems, table
from bench.cases import CASES, Case
from bench.place import here
from bench.record import Record


def chosen(texts: str, name: str) -> bool:
    """Whether one of the texts is in a name; no text is in every name."""
    return any(text.strip().casefold() in name.casefold() for text in texts.split(","))


def peers_of(case: Case, wanted: str) -> list[str]:
    """Those beside whom a case is taken: wanted, and installed."""
    return [peer for peer in case.peers if chosen(wanted, peer) and systems.installed(peer)]


def take(cases: list[Case], wanted: str, pairs: int, size: str, folder: Path) -> Record:
    """Take the cases; what is there is saved after each, so that a run cut short is not lost."""
    names = list(dict.fromkeys(name for case in cases for name in (case.ours, *peers_of(case, wanted))))
    run = Record(here(pairs, names))
    say = partial(click.echo, err=True)
    for case in cases:
        peers = peers_of(case, wanted)
        if peers or not case.peers:
            run.rows += runner.Taking(case, peers, size, say).take(pairs)
            run.save(folder / readme.RECORD)
    if not run.rows:
        raise click.UsageError(
            f"no case has that in its name, with such peers: {', '.join(case.name for case in CASES)}"
        )
    return run


@click.command()
@click.option("--pairs", type=click.IntRange(min=1), help="How often each is measured; 5, or 1 with --quick.")
@click.option("--only", default="", help="Only cases whose name has one of these in it, by commas.")
@click.option("--peers", default="", help="Only peers whose name has one of these in it, by commas.")
@click.option("--quick", is_flag=True, help="Small counts, to see that everything runs: the figures mean nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="target/bench",
    show_default=True,
    help="Where the record and the plot go.",
)
def main(pairs: int | None, only: str, peers: str, quick: bool, out: Path) -> None:  # noqa: FBT001 - a flag of click's
    """Measure plait beside its peers, two processes each. Whoever is not installed is left out."""
    missing = [name for name in systems.SOURCES if not systems.installed(name)]
    if missing:
        click.echo(f"not installed: {', '.join(missing)}", err=True)
    # As Ctrl-C: what is measured just now is ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runner.adopt_orphans()
    out.mkdir(parents=True, exist_ok=True)
    cases = [case for case in CASES if chosen(only, case.name)]
    run = take(cases, peers, pairs or (1 if quick else 5), "quick" if quick else "full", out)
    click.echo(table.table(run))
    if not quick:
        click.echo(f"\n{table.ranking(run)}")
    if not plot.draw(run, out):
        click.echo("no plot: it wants matplotlib, and a ratio", err=True)


if __name__ == "__main__":
    main()
