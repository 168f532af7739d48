"""Hooks of mkdocs: the README as first page, the page of options, and links to files that the site does not have."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import reference  # noqa: E402

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def local(text: str, folder: Path, page: Path) -> str:
    """Links of a page in `folder`, as the site needs them at `page`.

    Links within docs/ are kept (from the README they are shortened), those to other files of the repository become
    plain text: the site does not have them.
    """

    def rewrite(match: re.Match[str]) -> str:
        image, words, link = match.groups()
        target, _, anchor = link.partition("#")
        if "://" in link or not target:
            return match.group()
        path = (folder / target).resolve()
        docs = ROOT / "docs"
        if path == ROOT / "README.md":
            path = docs / "index.md"
        if docs not in path.parents or not (path.is_file() or path.name == "index.md"):
            return words
        up = "../" * len(page.relative_to(docs).parent.parts)
        return f"{image}[{words}]({up}{path.relative_to(docs).as_posix()}{'#' + anchor if anchor else ''})"

    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(rewrite, part) for part in parts)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made: the README and the options."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=local(readme, ROOT, ROOT / "docs/index.md")))
    files.append(File.generated(config, "options.md", content=reference.page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend the links of the other pages."""
    if page.file.generated_by:
        return markdown
    path = ROOT / "docs" / page.file.src_uri
    return local(markdown, path.parent, path)
