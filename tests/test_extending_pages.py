"""The pages of docs/extending, followed to the letter: files are written, commands are run, outputs are found.

In a page, a block ```python title="NAME" is a file of the reader's folder, a block ```bash is run there line by line,
and every line of a block ```text behind it must stand in the output of these commands ("..." stands for anything).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs/extending").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def run(line: str, folder: Path) -> str:
    """Run a line of the shell in the reader's folder; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = re.sub(r"^python\b", f"'{sys.executable}'", line)
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def found(expected: str, output: str) -> bool:
    """Whether a line of a page stands in `output`, whatever its blanks are."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in expected.split("..."))
    return re.search(".*".join(parts), " ".join(output.split())) is not None


def test_there_is_a_page_for_everything_that_can_be_added():
    wanted = {"reward", "observation", "terrain", "robot", "method", "engine"}
    assert {path.stem for path in PAGES} - {"index"} == wanted


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_can_be_followed(page, tmp_path):
    for folder in ("legged_gym_ext", "tests"):  # readers stand in a clone
        os.symlink(ROOT / folder, tmp_path / folder)
    output, blocks = "", BLOCK.findall(page.read_text(encoding="utf-8"))
    assert any(kind == "bash" for kind, _, _ in blocks)
    for kind, title, body in blocks:
        if kind == "bash":
            output = "\n".join(run(line, tmp_path) for line in body.strip().splitlines())
        elif kind == "text":
            missing = [line for line in body.strip().splitlines() if not found(line, output)]
            assert missing == [], output
        else:
            assert title, "a block of code needs the name of its file"
            target = tmp_path / title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(body, encoding="utf-8")
