"""What is measured: the rows of the table, in its order."""

from __future__ import annotations

from bench.cases import calls, data, graphs, life, maps, scale
from bench.cases.case import Case, Figure
from bench.systems import (
    BYTES_ALONE,
    CLUSTER,
    DASK,
    JOBLIB,
    PLAIT,
    POOL,
    PROCESS_POOL,
    PROTOTYPE,
    RAY,
    RELAY,
    THREE_SOCKETS,
    UNIX_SOCKET,
)

ALL = (PROCESS_POOL, POOL, JOBLIB, PROTOTYPE, DASK, RAY)

CASES = [
    Case("no-op tasks one by one", calls.throughput, (Figure("tasks/s", "more"),), (*ALL, CLUSTER, BYTES_ALONE)),
    Case("no-op there and back, median", calls.round_trip, (Figure("µs"),), (*ALL, UNIX_SOCKET, CLUSTER)),
    Case("no-op there and back over TCP, median", calls.round_trip, (Figure("µs"),), (THREE_SOCKETS,), ours=CLUSTER),
    Case("smallest task for 50 % on two executors", calls.smallest_task, (Figure("µs"),), (*ALL, CLUSTER)),
    Case("map of 1,000,000 trivial items", maps.trivial_items, (Figure("items/s", "more"),), (*ALL, CLUSTER)),
    Case("map of 1 µs and 1 s items, over the ideal", maps.mix, (Figure("×"),), (PROCESS_POOL, POOL, JOBLIB)),
    Case("tree of 8,192 adds", graphs.tree, (Figure("tasks/s", "more"),), (*ALL, CLUSTER)),
    Case("stencil 8 × 500", graphs.stencil, (Figure("tasks/s", "more"),), (*ALL, CLUSTER)),
    # The prototype's frames of 100 MB take it half a minute each.
    Case(
        "100 MB array to 20 tasks",
        data.array_to_many,
        (Figure("s"), Figure("MB", name="memory on top")),
        (PROCESS_POOL, POOL, JOBLIB, DASK, RAY, CLUSTER, BYTES_ALONE),
    ),
    Case(
        "20 × 50 MB back",
        data.blocks_back,
        (Figure("MB/s", "more"),),
        (PROCESS_POOL, POOL, JOBLIB, DASK, RAY, CLUSTER, BYTES_ALONE),
    ),
    Case(
        "20 × 50 MB back over TCP, bytes alone", data.blocks_back, (Figure("MB/s", "more"),), (RELAY,), ours=BYTES_ALONE
    ),
    Case("2,000 × 64 KiB in and out", data.payloads_both_ways, (Figure("MB/s", "more"),), (*ALL, CLUSTER, BYTES_ALONE)),
    Case(
        "200,000 tasks at once",
        scale.at_once,
        (Figure("s"), Figure("MB", name="client"), Figure("B", name="a task")),
        (PROCESS_POOL, POOL, JOBLIB, PROTOTYPE, CLUSTER),
    ),
    Case(
        "1,000,000 tasks at once",
        scale.at_once_alone,
        (Figure("s"), Figure("MB", name="client"), Figure("B", name="a task")),
        (),
    ),
    Case("import to first result", life.first_result, (Figure("ms"),), ALL),
    Case("slots back after a crash, median", life.slots_back, (Figure("ms"),), (PROCESS_POOL, JOBLIB, RAY)),
    # Those that wait for ever for what their lost process had need not be waited for as long as others.
    Case(
        "200 × 50 ms, one process killed",
        life.one_killed,
        (Figure("right", "more", "results"), Figure("s", name="lost")),
        ALL,
        limit=30.0,
    ),
]

__all__ = ["CASES", "PLAIT", "Case", "Figure"]
