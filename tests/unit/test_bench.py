"""How the comparison counts, and how it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import readme, record, table
from bench.aims import shortfalls
from bench.cases.case import Case, Figure, Values
from bench.record import Place, Record, Row, Spread
from bench.runner import Taking, groups
from bench.systems import PLAIT, POOL, PROCESS_POOL

PLACE = Place("a machine", "3.11.7", "abcdef0", "2026-01-01", 3, {PLAIT: "0.1.0", POOL: "", PROCESS_POOL: ""})
TASKS = Row("no-op tasks one by one", "", "tasks/s", "more", PLAIT, POOL, [(60.0, 10.0), (20.0, 10.0), (50.0, 10.0)])
TRIPS = Row("no-op there and back, median", "", "µs", "less", PLAIT, PROCESS_POOL, [(50.0, 200.0)])
HUNG = Row("import to first result", "", "ms", "less", PLAIT, POOL, failure="not within 90 s")
RUN = Record(PLACE, [TASKS, TRIPS, HUNG])


def test_a_ratio_is_that_of_neighbours_and_above_one_where_we_are_better():
    assert TASKS.ratio == Spread(5.0, 2.0, 6.0)
    assert TRIPS.ratio == Spread(4.0, 4.0, 4.0)


def test_what_did_not_finish_has_no_ratio_and_a_cross():
    assert HUNG.ratio is None
    assert "✗ not within 90 s" in table.line(HUNG)


def test_our_figure_stands_where_the_peer_has_none():
    alone = Row("a case", "lost", "s", "less", PLAIT, POOL, [(0.2, None), (0.4, 0.8)])
    assert alone.our_spread is not None
    assert alone.our_spread.median == pytest.approx(0.3)
    assert alone.ratio == Spread(2.0, 2.0, 2.0)


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path):
    RUN.save(tmp_path / "record.json")
    assert record.load(tmp_path / "record.json") == RUN


def test_aims_are_ranked_by_how_far_they_are_missed():
    missed = [(round(missed, 2), aim.row, aim.peer) for missed, _, aim in shortfalls(RUN)]
    assert missed == [(1.0, TASKS.case, POOL), (0.5, TRIPS.case, PROCESS_POOL)]


def test_the_readme_gets_what_the_record_says_and_nothing_else_changes():
    old = f"before\n{readme.BEGIN}anything\n{readme.END}after\n"
    new = readme.rendered(old, RUN)
    assert new.startswith(f"before\n{readme.BEGIN}")
    assert new.endswith(f"{readme.END}after\n")
    assert "| no-op tasks one by one | 50 tasks/s | **5** (2–6) |  |" in new
    assert "| import to first result | – | ✗ |  |" in new
    assert readme.rendered(new, RUN) == new


def test_a_readme_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="no section"):
        readme.rendered("nothing here\n", RUN)


def test_peers_go_by_twos_with_plait_between_them():
    assert groups("ours", ["a", "b", "c"]) == [["a", "ours", "b"], ["c", "ours"]]


def test_who_is_first_is_last_in_the_next_pair(monkeypatch: pytest.MonkeyPatch):
    taken: list[str] = []

    def measure(_case: Case, system: str, _size: str) -> Values:
        taken.append(system)
        return (1.0,)

    monkeypatch.setattr("bench.runner.measure", measure)
    case = Case("a case", lambda _name, _size: (1.0,), (Figure("s"),), (POOL,))
    rows = Taking(case, [POOL], "small", lambda _line: None).take(3)
    assert taken == [POOL, PLAIT, PLAIT, POOL, POOL, PLAIT]
    assert [row.pairs for row in rows] == [[(1.0, 1.0)] * 3]


def test_the_readme_says_what_the_kept_record_says():
    text = readme.README.read_text()
    assert text == readme.rendered(text, record.load(readme.KEPT / readme.RECORD))
