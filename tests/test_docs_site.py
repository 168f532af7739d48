"""The docs as a site: comments become the meaning of options, links to files that the site lacks become text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "docs/site"))

import reference  # noqa: E402

CONFIGURATION = '''
class Cfg:
    """Text."""

    class env:
        robots = 4  # how many
        # Two lines
        # above it.
        length = 20.0
        bare = 1

        class inner:
            deep = "#5"  # a colour
'''


def test_comments_behind_a_field_or_above_it_tell_what_it_means(tmp_path: Path):
    path = tmp_path / "cfg.py"
    path.write_text(CONFIGURATION, encoding="utf-8")
    assert reference.comments(str(path)) == {
        ("Cfg", "env", "robots"): "how many",
        ("Cfg", "env", "length"): "Two lines above it.",
        ("Cfg", "env", "bare"): "",
        ("Cfg", "env", "inner", "deep"): "a colour",
    }


def test_the_page_of_options_has_defaults_and_inherited_meanings():
    page = reference.page()
    assert "| `--train.algorithm.student_share` | `0.25` | of the robots, that the student drives alone |" in page
    assert "| `--env.sim.dt` | `0.005` | [s] |" in page  # of a class that go2 inherits from
    assert "## Method of `go2_sitt`" in page


@pytest.mark.parametrize(
    ("text", "folder", "page", "expected"),
    [
        ("[a](docs/ult.md#results)", ".", "docs/index.md", "[a](ult.md#results)"),
        ("![p](docs/images/go2_walk.png)", ".", "docs/index.md", "![p](images/go2_walk.png)"),
        ("[code](../rsl_rl_ult/algorithms/ppo.py)", "docs", "docs/ult.md", "code"),
        ("[first](../../README.md)", "docs/extending", "docs/extending/robot.md", "[first](../index.md)"),
        ("[`x`](https://x.org/a)", "docs", "docs/ult.md", "[`x`](https://x.org/a)"),
        ("```\n[a](docs/ult.md)\n```", ".", "docs/index.md", "```\n[a](docs/ult.md)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_are_text(text: str, folder: str, page: str, expected: str):
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed", exc_type=ImportError)
    assert hooks.local(text, ROOT / folder, ROOT / page) == expected
