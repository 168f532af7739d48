"""Inputs made at random: the outcome is a correct run or one line, never a traceback, a crash, a hang or half a file.

`FUZZ_EXAMPLES=10000 python -m pytest tests/fuzz` makes that many inputs of each kind; without it a few dozen.
`FUZZ_COLLECT=FILE` writes faults to a file, one per place, and goes on; `FUZZ_COUNTS=FILE` writes what came out.
"""
