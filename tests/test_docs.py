"""README and docs: links lead somewhere, and lines are short enough to read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
LONGEST = 120  # columns of prose; tables, code and lines that are one link may be longer


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", head).lower()).replace(" ", "-") for head in heads}


def broken(page: Path) -> Iterator[str]:
    """Local links of a page whose file or heading does not exist."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            yield link


def prose(page: Path) -> Iterator[str]:
    """Lines of a page outside of code and tables."""
    code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        code ^= line.lstrip().startswith("```")
        if not code and not line.startswith(("|", "![")):
            yield line


def test_local_links_lead_to_a_file_and_a_heading():
    found = {page.relative_to(ROOT).as_posix(): list(broken(page)) for page in PAGES}
    assert {page: links for page, links in found.items() if links} == {}


def test_lines_are_short_enough_to_read():
    long = [f"{page.name}: {line}" for page in PAGES for line in prose(page) if len(line) > LONGEST]
    assert long == []


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900
