"""What can be seen of plait, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import plait


def run(code: str) -> str:
    """Run code in a fresh interpreter; what it printed."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()


def test_what_is_exported_is_what_is_visible():
    assert sorted(dir(plait)) == sorted(plait.__all__)
    for name in plait.__all__:
        assert getattr(plait, name) is not None
    public = {name for name in vars(plait) if not name.startswith("_")} - {"annotations", "TYPE_CHECKING"}
    submodules = {"cli", "compat"}
    assert public - submodules <= set(plait.__all__)


def test_what_is_not_exported_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        plait.nonsense  # noqa: B018


def test_every_error_of_the_tree_is_exported():
    from plait import _errors

    tree = {
        name
        for name, value in vars(_errors).items()
        if isinstance(value, type) and issubclass(value, plait.PlaitError) and not name.startswith("_")
    }
    assert tree | {"CoordinatorLost"} <= set(plait.__all__)
    assert all(getattr(plait, name).__module__ == "plait" for name in tree | {"CoordinatorLost"}), "as tracebacks say"


def test_import_starts_no_thread_and_loads_next_to_nothing():
    code = """
import sys
before = set(sys.modules)
import threading
import plait
assert threading.active_count() == 1
print(sorted(name for name in set(sys.modules) - before if name.startswith("plait")))
"""
    assert run(code) == "['plait']"


def test_a_client_needs_no_heavy_modules():
    heavy = ["asyncio", "multiprocessing", "tqdm", "click", "numpy", "subprocess", "dataclasses", "cloudpickle"]
    assert run(f"import sys, plait; plait.Client; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_an_executor_imports_little():
    code = """
import sys
before = set(sys.modules)
import plait._executor
print(" ".join(sorted(set(sys.modules) - before)))
"""
    allowed = {
        "plait",
        "plait._context",
        "plait._errors",
        "plait._executor",
        "plait._native",
        "plait._paths",
        "plait._serialize",
        "plait._types",
        "__future__",
        # What `_pickle` itself needs.
        "_compat_pickle",
        "_pickle",
        "_struct",
        "copyreg",
        "functools",
        "_functools",
        "collections",
        "_collections",
        "itertools",
        "keyword",
        "operator",
        "_operator",
        "reprlib",
        "types",
        # `threading.local`, without the rest of `threading`.
        "_thread",
    }
    assert set(run(code).split()) - allowed == set()
