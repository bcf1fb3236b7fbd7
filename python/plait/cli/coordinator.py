"""`plait coordinator`: the one port that workers and clients dial."""

from __future__ import annotations

import click

from plait import _config, _native
from plait.cli import run_until_told


@click.command("coordinator")
@click.option("--bind", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option("--advertise", metavar="HOST", help="The name or address under which others reach this machine.")
def command(bind: str, advertise: str | None) -> None:
    """Start a coordinator and print the join lines. Ctrl-C or SIGTERM ends it, and its workers with it."""
    run_until_told(lambda: _native.serve_coordinator(bind, advertise, _config.home(), _announce))


def _announce(worker: str, client: str) -> None:
    click.echo(f"ready. workers:   plait worker {worker}")
    click.echo(f'       clients:   plait.Client("{client}")   # or PLAIT_ADDRESS')
