"""What all tests share."""

from __future__ import annotations

import pytest

import interpreters


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=200, help="how often a repeated fault is tried (make chaos: 10,000)")


def pytest_report_header() -> str:
    """Say which interpreters the wheel will be tried on."""
    found = ", ".join(f"{version} ({path})" for version, path in interpreters.found().items())
    return f"CPython on this machine, 3.11 or later: {found}"


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a repeated fault is tried."""
    count: int = request.config.getoption("--rounds")
    return count
