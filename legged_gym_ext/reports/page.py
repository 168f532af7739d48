"""One HTML page with everything in it: pictures as data URIs, styles inline, no script, nothing loaded."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

from legged_gym_ext.reports.records import Run
from legged_gym_ext.reports.scores import score, shown

STYLE = """
:root { color-scheme: light }
body { margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 1080px; background: #fff; color: #222;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 .25rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #ddd }
p, figcaption, li { max-width: 46rem }
figure { margin: 0 }
figcaption { font-size: .9rem; color: #444; margin-top: .4rem }
.wide { overflow-x: auto }
.wide:focus-visible { outline: 2px solid #0072B2 }
img { display: block; width: 100%; min-width: 720px; height: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .3rem .5rem .3rem 0; text-align: right; border-bottom: 1px solid #e4e4e4 }
th { font-weight: 600; white-space: normal; border-bottom-color: #999; vertical-align: bottom }
th:first-child, td:first-child, .runs :nth-child(2) { text-align: left }
pre { font-size: .8rem; line-height: 1.35 }
code { font-size: .9em }
nav ul { columns: 2; padding-left: 1.2rem; font-size: .9rem }
a { color: #00558a }
@media (max-width: 600px) { nav ul { columns: 1 } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
METRICS = (
    ("return", "return", ".1f"),
    ("linear_tracking", "linear tracking", ".3f"),
    ("yaw_tracking", "yaw tracking", ".3f"),
    ("fall_rate", "falls", ".1%"),
    ("ladder_score", "ladder score", ".2f"),
)
"""Metrics of the tables, their headings and how they are printed."""

MAZE_METRICS = (
    ("return", "return", ".1f"),
    ("success", "target reached", ".1%"),
    ("lava", "ends in lava", ".1%"),
)
"""Those of the colour maze."""


@dataclass
class Shown:
    """A saved picture and its words, see `reports.style.Picture`."""

    path: Path
    title: str
    alt: str
    caption: str
    text: str = ""


def make_page(groups: dict[str, list[Run]], pictures: list[Shown], notes: list[str], title: str = "Report") -> str:
    """The page: table of runs, table of methods, notes, pictures."""
    runs = [run for members in groups.values() for run in members]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(runs)} run{'s' * (len(runs) > 1)} of {escape(', '.join(groups))}.</p>",
    ]
    parts.append(_contents(pictures))
    parts += ['<h2 id="runs">Runs</h2>', runs_table(groups)]
    methods = methods_rows(groups)
    if methods:
        parts += ['<h2 id="methods">Methods</h2>', _table(*methods), f"<p>{escape(METHODS_CAPTION)}</p>"]
    if notes:
        parts.append('<h2 id="notes">Notes</h2><ul>' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    parts += [_figure(picture) for picture in pictures]
    return PAGE.format(title=escape(title), style=STYLE, body="\n".join(parts))


METHODS_CAPTION = (
    "Of what would be deployed (the student, where there is one): interquartile mean over seeds and, with two seeds "
    "or more, its 95 % "
    "bootstrap interval."
)


def _contents(pictures: list[Shown]) -> str:
    items = "".join(f'<li><a href="#{picture.path.stem}">{escape(picture.title)}</a></li>' for picture in pictures)
    return f"<nav><ul>{items}</ul></nav>" if items else ""


def _metrics(groups: dict[str, list[Run]]) -> tuple:
    """Rows of `METRICS`; of `MAZE_METRICS` where there are mazes only, of both where there are both."""
    mazes = {"terrain" not in run.env_cfg and "maze" in run.env_cfg for runs in groups.values() for run in runs}
    return MAZE_METRICS if mazes == {True} else METRICS if mazes == {False} else (*METRICS, *MAZE_METRICS[1:])


def runs_table(groups: dict[str, list[Run]]) -> str:
    """A row per run: what it is, how long it took, and how it did."""
    heads = [
        "task",
        "run",
        "seed",
        "ground",
        "iterations",
        "steps",
        "wall time",
        "commit",
        "policy",
        *(name for _, name, _ in _metrics(groups)),
    ]
    rows = []
    for label, runs in groups.items():
        for run in runs:
            policy = "student" if "student" in run.policies else "policy" if run.policies else "not evaluated"
            metrics = run.deployed or {}
            measured = [
                format(metrics[metric], form) if metric in metrics else "-" for metric, _, form in _metrics(groups)
            ]
            more = f" (+ {len(run.folders) - 1} before)" if len(run.folders) > 1 else ""
            ground = "-" if "maze" in run.env_cfg else "flat" if run.flat else "rough"
            commit = (run.commit or "unknown")[:8]
            done = [str(run.iterations), f"{run.steps / 1e6:.2f} M"]
            if run.cloned:
                done = [f"{run.iterations} passes", "none"]
            spent = [*done, clock(float(run.seconds[-1]))]
            rows.append([label, run.path.name + more, str(run.seed), ground, *spent, commit, policy, *measured])
    return _table(heads, rows, "runs")


def methods_rows(groups: dict[str, list[Run]]) -> tuple[list[str], list[list[str]]] | None:
    """Headings and a row per method with interquartile means and intervals; None without evaluations."""
    if not any(run.deployed for runs in groups.values() for run in runs):
        return None
    rows = []
    for label, runs in groups.items():
        measured = [run for run in runs if run.deployed]
        row = [label, str(len(measured))]
        row += [shown(score(runs, metric), form) for metric, _, form in _metrics(groups)]
        both = [
            run
            for run in measured
            if "return" in run.policies.get("student", {}) and run.policies.get("teacher", {}).get("return", 0.0) > 0.0
        ]
        shares = [run.policies["student"]["return"] / run.policies["teacher"]["return"] for run in both]
        row.append(" / ".join(f"{share:.1%}" for share in shares) or "-")
        row.append(clock(sum(float(run.seconds[-1]) for run in runs) / len(runs)))
        rows.append(row)
    return [
        "task",
        "seeds",
        *(name for _, name, _ in _metrics(groups)),
        "student / teacher return",
        "wall time, mean",
    ], rows


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table(heads: list[str], rows: list[list[str]], kind: str = "methods") -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(picture: Shown) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    text = f'<div class="wide" tabindex="0"><pre>{escape(picture.text)}</pre></div>' if picture.text else ""
    return (
        f'<h2 id="{picture.path.stem}">{escape(picture.title)}</h2>\n<figure><div class="wide" tabindex="0">'
        f'<img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}"></div>\n'
        f"<figcaption>{escape(picture.caption)} <code>{picture.path.name}</code></figcaption>{text}</figure>"
    )


def clock(seconds: float) -> str:
    """`1 h 05 min`, `12 min` or `40 s`."""
    minutes = round(seconds / 60.0)
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
