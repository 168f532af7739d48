"""Show what is installed, what works and what to do about the rest: `doctor.py`. Needs nothing but Python."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import legged_gym_ext
import rsl_rl_ult
from legged_gym_ext.doctor import diagnosis
from legged_gym_ext.doctor.diagnosis import INSTALL, NOTE, OK, PROBLEM, Finding, note, ok, problem
from legged_gym_ext.utils.cli import Parser, parse
from legged_gym_ext.utils.errors import UserError, run_main
from rsl_rl_ult.hosts.generation import Generation, rsl_rl_generation

OLDEST_RSL_RL, PAST_RSL_RL = (5, 5), (6, 0)
WANTED = "rsl-rl-lib 5.5 or newer, below 6"
"""What train.py runs with; the same as in setup.py."""

NAMES = {
    "v1": "v1 (1.0.2 and its forks)",
    "v2": "v2 (2.0 to 2.2)",
    "v2.3": "v2.3, which takes no algorithms from outside",
    "v3": "v3 (3.x)",
    "v4": "v4 (4.x)",
    "v5": "v5 (5.x)",
}
"""Generation of rsl_rl -> in words."""

REGISTERED = ("v1", "v3", "v4", "v5")
"""Generations whose runners take our classes."""


def main(argv: list[str] | None = None) -> int:
    """Print the report; 0 when training with the default engine is possible, else 1."""
    parser = Parser(
        description="Show what is installed, what works and what to do about the rest.",
        epilog="Exit code 0 when training with the default engine is possible, 1 when it is not.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    args = parse(parser, argv)
    if args.env_overrides or args.train_overrides:
        raise UserError("the doctor reads no configuration: --env... and --train... mean nothing here")
    report = examine()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    return 0 if report["can_train"] else 1


def examine() -> dict[str, Any]:
    """All findings by section, what training lacks, and the `rsl_rl` that was found, as plain data."""
    generation = rsl_rl_generation()
    checks = {
        "machine": lambda: [*diagnosis.python(), *diagnosis.machine(), project()],
        "learning": diagnosis.learning,
        "rsl_rl": lambda: rsl_rl_findings(generation),
        "engines": diagnosis.engines,
        "play and video": diagnosis.pictures,
        "optional": diagnosis.optional,
    }
    # At the same time, because most of them wait for processes that import something large.
    with ThreadPoolExecutor(len(checks)) as pool:
        findings = dict(zip(checks, pool.map(_guarded, checks, checks.values())))
    needs = list(dict.fromkeys(finding.needs for rows in findings.values() for finding in rows if finding.needs))
    return {
        "summary": f"training needs: {'; '.join(needs)}" if needs else "everything needed to train is here",
        "can_train": not needs,
        "training_needs": needs,
        "sections": {name: [asdict(finding) for finding in rows] for name, rows in findings.items()},
        "rsl_rl": generation._asdict(),
    }


def _guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a check; one that fails is a finding itself, so that the others are still shown."""
    try:
        return check()
    except Exception as error:
        text = f"this check failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [problem(name, text, "please report this line")]


def project() -> Finding:
    """Versions and commit of this repository."""
    root = legged_gym_ext.ROOT_DIR
    versions = f"rsl_rl_ult {rsl_rl_ult.__version__}, legged_gym_ext {legged_gym_ext.__version__}"
    return ok("project", f"{versions}, {diagnosis.commit(root)}, in {root}")


def rsl_rl_findings(generation: Generation) -> list[Finding]:
    """What is imported as `rsl_rl`, whether train.py can use it, and which copies it hides."""
    path, trouble = generation.path, generation.problem
    if path is None:
        advice = f"pip install -e {os.path.dirname(generation.shadowed[0])}" if generation.shadowed else INSTALL
        return [problem("rsl_rl", trouble or "not installed", advice, WANTED), *_others(generation)]
    if generation.generation == "none":
        rows = [problem("rsl_rl", trouble or f"{path} has no runners", _reveal(generation), WANTED)]
    else:
        rows = [_imported(generation)]
        owners = _owners(generation)
        if len(owners) > 1:
            advice = f"pip uninstall {' '.join(owners)}, then install the one to use"
            rows.append(problem("rsl_rl", str(trouble), advice))
        elif trouble:
            advice = INSTALL if rows[0].level == OK else "install what is named"
            rows.append(problem("rsl_rl", trouble, advice, "an rsl_rl that can be imported"))
    if generation.shadowed:
        text = f"not importable behind that one: {', '.join(generation.shadowed)}"
        # When train.py needs what is hidden, the first row has said how to get it.
        said = rows[0].advice == _reveal(generation)
        rows.append(note("hidden", text) if said else problem("hidden", text, _reveal(generation)))
    return [*rows, *_others(generation)]


def _imported(generation: Generation) -> Finding:
    """The row of a copy that has runners."""
    version, owners = generation.version, _owners(generation)
    known = f"{' and '.join(owners)} {version}" if version else "no known version, by its files"
    text = f"{known}, generation {NAMES[generation.generation]}, from {generation.path}"
    if generation.generation == "v5" and version is None:
        return note("rsl_rl", f"{text}; train.py needs {WANTED}")
    if generation.generation == "v5" and _trains(version):
        return ok("rsl_rl", text)
    if any(folder in generation.shadowed and _trains(found) for _, found, folder in generation.distributions):
        advice = _reveal(generation)
    elif "rsl-rl-lib" in owners:
        advice = 'pip install "rsl-rl-lib>=5.5,<6", in another environment if a program here needs the present one'
    else:
        advice = "install it for train.py in another environment: here it would take the place of this copy"
    plugin = "; rsl_rl_ult.register() works with it" if generation.generation in REGISTERED else ""
    return problem("rsl_rl", f"{text}{plugin}; train.py needs {WANTED}", advice, WANTED)


def _trains(version: str | None) -> bool:
    return OLDEST_RSL_RL <= tuple(int(part) for part in re.findall(r"\d+", version or "")[:2]) < PAST_RSL_RL


def _owners(generation: Generation) -> list[str]:
    """Distributions that the imported copy belongs to."""
    return [name for name, _, folder in generation.distributions if folder == generation.path]


def _reveal(generation: Generation) -> str:
    """How to import what the first copy hides."""
    path, owners = str(generation.path), _owners(generation)
    parent = os.path.dirname(path)
    if not os.path.isfile(os.path.join(path, "__init__.py")):
        return f"rename or delete {path}, or start from another folder"
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if parent in [os.path.realpath(entry) for entry in entries if entry]:
        return f"to import the hidden one: take {parent} out of PYTHONPATH"
    if "rsl-rl-lib" in owners:
        return (
            "to import the hidden one: pip uninstall rsl-rl-lib, and install what requires it with pip install "
            "--no-deps"
        )
    if owners:
        return f"to import the hidden one: pip uninstall {' '.join(owners)}"
    return f"to import the hidden one: take {parent} out of sys.path (a .pth file or the working folder puts it there)"


def _others(generation: Generation) -> list[Finding]:
    """What else pip counts as installed, also when its folder is gone."""
    rows = []
    for name, version, folder in generation.distributions:
        if folder == generation.path and version is not None:
            continue  # shown as the copy that is imported
        text = f"{name} {version or '(version unknown)'} at {folder or 'an unknown place'}"
        if folder is not None and not os.path.exists(folder):
            rows.append(problem("distribution", f"{text}, which is gone", f"pip uninstall {name}"))
        else:
            rows.append(Finding("distribution", OK if version and folder else NOTE, text))
    return rows


def _show(report: dict[str, Any]) -> None:
    for section, rows in report["sections"].items():
        print(section)
        for row in rows:
            print(f"  {row['level']:<{len(PROBLEM)}}  {row['name']:<12} {row['text']}")
            if row["advice"]:
                print(f"  {'':<{len(PROBLEM)}}  {'':<12} -> {row['advice']}")
    print(f"\n{report['summary']}")


if __name__ == "__main__":
    run_main(main)
