"""What an executor does with a function that it cannot unpickle."""

from __future__ import annotations

import traceback

import pytest

from plait import _executor


def test_a_function_that_cannot_be_unpickled_raises_the_same_however_often_it_is_called():
    try:
        raise ImportError("not here")
    except ImportError as error:
        unloadable = _executor._Unloadable(error)
    depths = []
    for _ in range(3):
        with pytest.raises(ImportError, match="not here") as caught:
            unloadable()
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert depths == [depths[0]] * 3
