"""`plait status`: who is there, and what they do."""

from __future__ import annotations

import json
from typing import Any

import click

from plait import _native
from plait.cli import fail, lines

#: How long the coordinator may take to answer, in seconds.
TIMEOUT_SECONDS = 10.0


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show the workers of the cluster that PLAIT_ADDRESS names, else the one whose client key is on this machine."""
    status = _native.status(lines.client_line(), TIMEOUT_SECONDS)
    if status is None:
        fail(f"the coordinator did not answer within {TIMEOUT_SECONDS:.0f} s: is it stopped or cut off?", 5)
    click.echo(json.dumps(status, indent=2) if as_json else table(status))


def table(status: dict[str, Any]) -> str:
    """Lay the answer out for people."""
    head = ("worker", "state", "slots", "running", "queued", "python", "resources")
    rows = [head] + [tuple(str(worker[name]) for name in ("name", *head[1:])) for worker in status["workers"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    tasks = status["tasks"]
    counts = ", ".join(f"{tasks[name]:,} {name}" for name in ("waiting", "ready", "assigned", "done", "failed"))
    text += ["", f"tasks: {counts}", f"sessions: {status['sessions']}, held: {status['held_bytes']:,} bytes"]
    return "\n".join(text)
