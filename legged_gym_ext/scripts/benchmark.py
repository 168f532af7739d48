"""The former name of sweep.py; runs it."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.scripts.sweep import main
from legged_gym_ext.utils.errors import run_main

if __name__ == "__main__":
    print("note: benchmark.py is called sweep.py now", file=sys.stderr)
    run_main(main)
