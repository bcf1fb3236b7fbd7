"""plait beside the pools of the standard library, measured in one run, in alternated pairs.

Absolute figures drift with the machine's mood; the ratio of two neighbours does not. `python -m bench --help`.
"""
