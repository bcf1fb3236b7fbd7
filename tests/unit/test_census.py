"""The demo's job, as plain functions."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path

import pytest

from plait.cli import census

SOURCE = '''
def outer(a):
    """Do."""
    if a:
        for b in a:
            yield b and a
    def inner():
        return [c for c in a if c]
    return inner

async def other():
    pass
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "a.py").write_text(SOURCE)
    (tmp_path / "b.py").write_text("print 'two'\n")
    (tmp_path / "c.py").write_bytes(b"# coding: nonsense\n")
    (tmp_path / "deep" / "d.py").write_text("x = 1\n")
    (tmp_path / "site-packages" / "e.py").write_text("y = 1\n")
    (tmp_path / "deep" / "f.py").write_text("(")
    (tmp_path / "deep" / "g.py").write_bytes(b"x = '\x00'\n")
    return tmp_path


def test_sources_are_sorted_and_leave_packages_out(folder: Path) -> None:
    names = [os.path.relpath(path, folder) for path in census.sources(folder)]
    assert names == ["a.py", "b.py", "c.py", "deep/d.py", "deep/f.py", "deep/g.py"]


def test_a_file_is_counted(folder: Path) -> None:
    found = census.count([str(folder / "a.py")])
    assert (found.files, found.lines, found.functions, found.branches) == (1, 12, 3, 4)
    assert found.identifiers["a"] == 5
    assert "def" not in found.identifiers
    assert found.nodes["FunctionDef"] == 2
    assert [(-score, name) for score, _, _, name in found.hardest] == [(4, "outer"), (2, "inner"), (1, "other")]


def test_files_that_do_not_parse_are_listed(folder: Path) -> None:
    found = census.count(census.sources(folder))
    assert found.files == 2
    assert [Path(path).name for path, _ in found.unreadable] == ["b.py", "c.py", "f.py", "g.py"]
    assert "files that do not parse: 4" in census.report(found)


def test_any_shape_of_the_fold_gives_the_same() -> None:
    paths = census.sources(Path(census.__file__).parent.parent)
    parts = [census.count([path]) for path in paths]
    whole = census.count(paths)
    left = functools.reduce(census.merge, copy.deepcopy(parts))
    half = len(parts) // 2
    pairs = [functools.reduce(census.merge, copy.deepcopy(parts[:half])), functools.reduce(census.merge, parts[half:])]
    assert left == whole == census.merge(*pairs)
    assert census.report(left) == census.report(whole)


def test_groups_keep_the_order_and_lose_nothing() -> None:
    paths = census.sources(Path(census.__file__).parent.parent)
    groups = list(census.groups(paths))
    assert [path for group in groups for path in group] == paths
    assert all(groups)
    assert list(census.groups([])) == []
