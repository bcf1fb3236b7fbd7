"""Dependent tasks: a future given as an argument is a dependency; its value goes straight to the task."""

import plait


def load(name: str) -> list[int]:
    """Make up some measurements."""
    return [len(name) * n % 17 for n in range(1_000)]


def clean(values: list[int]) -> list[int]:
    """Leave out what cannot be."""
    return [value for value in values if value > 0]


@plait.task(retries=2, label="compare")
def compare(series: dict[str, list[int]]) -> str:
    """Say which series is the largest; the futures in the dictionary have become their values."""
    return max(series, key=lambda name: sum(series[name]))


with plait.Client() as client:
    loaded = {name: client.submit(load, name) for name in ["north", "south", "east", "western"]}
    cleaned = {name: client.submit(clean, future) for name, future in loaded.items()}
    largest = client.submit(compare, cleaned)
    print(f"the largest series is {largest.result()}")
