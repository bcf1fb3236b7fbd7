"""`plait demo`: a census of the Python standard library, spread over all cores and combined again."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import time
from collections.abc import Iterable

import click
import tqdm

import plait
from plait import _config
from plait.cli import census, slots_here


@click.command("demo")
@click.option(
    "--input",
    "folder",
    metavar="DIR",
    help="Folder with Python source files; the standard library of this Python if not given.",
)
def command(folder: str | None) -> None:
    """Run the main job on this machine, then the same on one core, and compare.

    One sub-task for each group of neighbouring files tokenises and parses them; the counts are merged on the workers; a
    last sub-task makes the report from the merged count.
    """
    slots = slots_here()
    groups = _groups(folder or sysconfig.get_path("stdlib"))
    click.echo(f"{len(groups)} sub-tasks on {slots} slots")
    began = time.monotonic()
    with plait.Client(slots=slots) as client:  # embedded, whatever PLAIT_ADDRESS says
        merged = client.run(census.count, groups, reduce=census.merge)
        report = client.submit(census.report, merged).result()
    spread = time.monotonic() - began
    click.echo(f"\n{report}\n")
    click.echo(f"all cores, with plait      {spread:7.2f} s")
    began = time.monotonic()
    alone = functools.reduce(census.merge, map(census.count, _shown(groups)))
    alone_report = census.report(alone)
    single = time.monotonic() - began
    click.echo(f"one core, in plain Python  {single:7.2f} s   plait is {single / spread:.2f} times as fast")
    if (merged, report) != (alone, alone_report):
        click.echo("the two results DIFFER: this is a bug in plait", err=True)
        sys.exit(1)
    click.echo("checked: both results are equal, to the last identifier")


def _groups(folder: str) -> list[list[str]]:
    if not os.path.isdir(folder):
        raise click.UsageError(f"--input: there is no folder {folder}")
    paths = census.sources(folder)
    if not paths:
        raise click.UsageError(f"--input: there are no Python source files (*.py) in {folder}")
    click.echo(f"a census of {len(paths):,} Python source files in {folder}")
    return list(census.groups(paths))


def _shown(groups: list[list[str]]) -> Iterable[list[str]]:
    """The groups, under a bar where there is a terminal."""
    return tqdm.tqdm(groups, disable=not (sys.stderr.isatty() and _config.progress_allowed()))
