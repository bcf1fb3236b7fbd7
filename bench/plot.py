"""A run as a picture: how many times better plait is, a row for each case, a mark for each peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.record import Record, Row

#: The name of the pictures, without the kind of file.
STEM = "ratios"
#: Inches: of the picture's width, of a row's height.
WIDTH, ROW_HEIGHT = 10.0, 0.42
#: One mark and one colour for each peer, in the order of the record.
MARKS = "osD^vPXdh*"


def draw(run: Record, folder: Path) -> bool:
    """Write the picture as PNG and SVG; False where there is no matplotlib, or nothing to show."""
    try:
        import matplotlib
    except ImportError:
        return False
    rows = [row for row in run.rows if row.ratio is not None]
    if not rows:
        return False
    matplotlib.use("agg")
    # The same run gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = STEM
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.name for row in rows))
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.6 + ROW_HEIGHT * len(names)), layout="constrained")
    for place, peer in enumerate(dict.fromkeys(row.peer for row in rows)):
        marks(axes, [row for row in rows if row.peer == peer], names, MARKS[place % len(MARKS)], f"C{place}")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=True, axis="x", which="both", alpha=0.2)
    axes.set_xlabel("times better than the peer (median, least to most); right of 1 plait is better")
    axes.xaxis.set_major_formatter("{x:g}×")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    axes.set_title(f"plait at {run.place.commit}, CPython {run.place.cpython}, {run.place.date}", fontsize=10)
    for kind in ("png", "svg"):
        figure.savefig(
            folder / f"{STEM}.{kind}", bbox_inches="tight", dpi=120, metadata={"Date": None} if kind == "svg" else {}
        )
    pyplot.close(figure)
    return True


def marks(axes: Any, rows: list[Row], names: list[str], mark: str, colour: str) -> None:
    """Draw one peer's ratios with their spread."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    medians = [ratio.median for ratio in ratios]
    below = [ratio.median - ratio.least for ratio in ratios]
    above = [ratio.most - ratio.median for ratio in ratios]
    places = [names.index(row.name) for row in rows]
    axes.errorbar(
        medians, places, xerr=[below, above], fmt=mark, color=colour, label=rows[0].peer, alpha=0.8, capsize=2
    )
