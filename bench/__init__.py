"""plait beside its peers, on the same work in the same run. `python -m bench --help`.

Absolute figures drift with the machine's mood; the ratio of two neighbours in time does not. So every figure here is
taken in alternated pairs, each in a fresh process, and what is shown is the median of the ratios with their spread.

`systems/` has whom we measure, `cases/` what, `runner.py` how; `record.py` is what a run leaves, and `table.py`,
`aims.py`, `readme.py` and `plot.py` show it.
"""
