"""README and docs: links lead somewhere, and lines are short enough to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CARDS = sorted((ROOT / "legged_gym_ext" / "resources" / "policies").glob("*/card.json"))
LONGEST = 120  # columns of prose; tables, code and lines that are one link may be longer


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", head).lower()).replace(" ", "-") for head in heads}


def linked(page: Path) -> set[Path]:
    """Files of this repository that a page links to."""
    links = (link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link)
    return {(page.parent / link).resolve() for link in links if link}


def row(page: str, first: str) -> list[str]:
    """Cells of the only row of a page whose first cell begins with `first`."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    (found,) = [line for line in lines if line.startswith(f"| {first}")]
    return [cell.strip() for cell in found.split("|")[1:-1]]


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


def test_every_page_can_be_reached_from_the_first_one():
    seen, ahead = set(), {ROOT / "README.md"}
    while ahead:
        seen |= ahead
        ahead = {page for here in ahead for page in linked(here) if page.suffix == ".md" and page.is_file()} - seen
    assert [page.name for page in PAGES if page not in seen] == []


def test_every_file_of_figures_is_linked_from_a_page():
    used = set().union(*(linked(page) for page in PAGES))
    assert [file.name for file in (ROOT / "benchmarks" / "results").glob("*.json") if file not in used] == []


def test_tables_of_shipped_policies_say_what_their_cards_say():
    for card in (json.loads(path.read_text(encoding="utf-8")) for path in CARDS):
        task, found, plain = card["task"], card["evaluation"]["policies"][card["policy"]], card["sim2sim"]
        _, steps, ladder, tracking = row("usage.md", f"`{task}` |")
        assert steps.startswith(f"{card['steps'] / 1e6:.1f} M, {card['seed']}"), task
        assert ladder.startswith(f"{card['ladder']['score']:.2f}" if card["ladder"] else "flat ground"), task
        falls = 100 * found["fall_rate"]
        falls = f"{falls:.1f}" if falls < 1 else f"{falls:.0f}"
        assert tracking.startswith(f"{found['linear_tracking']:.3f} / {found['yaw_tracking']:.3f}, {falls} %"), task
        numbers = [f"{plain[name]:.3f}" for name in ("linear_tracking", "yaw_tracking")]
        fallen = f"{plain['fall_rate'] * 8:.0f} of 8"
        assert row("sim2sim.md", f"`pretrained:{task}`")[1:] == [*numbers, fallen, f"{plain['energy']:.0f} W"], task
