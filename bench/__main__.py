"""`python -m bench`: takes every measure in alternated pairs and prints the ratios with their spread."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess

import click

from bench.measures import MEASURES, Measure


def git(*arguments: str) -> str:
    """Ask git; nothing where there is none."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def row(measure: Measure, peer: str, pairs: int) -> str:
    """Take plait and one peer in turns; the ratio is above 1 where plait is better."""
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(measure.take("plait"))
        theirs.append(measure.take(peer))
    better = [a / b if measure.better == "more" else b / a for a, b in zip(ours, theirs, strict=True)]
    figures = f"{statistics.median(ours):>11,.5g}  {statistics.median(theirs):>11,.5g} {measure.unit:<8}"
    spread = f"{statistics.median(better):>7.2f}  [{min(better):.2f} .. {max(better):.2f}]"
    return f"{measure.name:<40} {peer:<21} {figures} {spread}"


@click.command()
@click.option("--pairs", default=5, show_default=True, help="How often each is measured.")
@click.option("--only", default="", help="Only measures whose name has this in it.")
def main(pairs: int, only: str) -> None:
    """Measure plait beside the standard library's pools, two processes each."""
    commit = git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    click.echo(f"{platform.node()}: {os.cpu_count()} cpus, CPython {platform.python_version()}, commit {commit}")
    click.echo(f"medians of {pairs} alternated pairs; the ratio is above 1 where plait is better\n")
    click.echo(f"{'':<62} {'plait':>11}  {'peer':>11} {'':<8} {'ratio':>7}")
    for measure in MEASURES:
        if only in measure.name:
            for peer in measure.peers:
                click.echo(row(measure, peer, pairs))


if __name__ == "__main__":
    main()
