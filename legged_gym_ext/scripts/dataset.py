"""Look at a data set, or turn it into other formats and back: `dataset.py --dataset=data/expert --to=minari ...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.utils.cli import Parser, parse
from legged_gym_ext.utils.errors import UserError, install_command, pluralize, run_main

EXPORTS, IMPORTS = ("minari", "d4rl", "lerobot"), ("minari", "d4rl")
DESCRIPTION = """Print what a data set of collect.py holds, export it, or import one.

  dataset.py --dataset=data/expert                                              what it holds
  dataset.py --dataset=data/expert --to=minari --id=go2/expert-v0               for Minari, d3rlpy, TorchRL
  dataset.py --dataset=data/expert --to=d4rl --file=expert.hdf5                 keys of D4RL; also .npz
  dataset.py --dataset=data/expert --to=lerobot --folder=expert_lerobot         layout v3.0 of LeRobot
  dataset.py --from=minari --id=mujoco/hopper/medium-v0 --dataset=data/hopper   import"""


def main(argv: list[str] | None = None) -> int:
    """Show, export or import, and return the exit code."""
    args = parse(_parser(), argv)
    _check(args)
    try:
        if args.source is not None:
            _import(args)
        elif args.to is not None:
            _export(args)
        else:
            _show(args.dataset)
    except UserError:
        raise
    except ImportError as error:
        package = str(error.name or error).partition(".")[0]
        raise UserError(f"this needs the package '{package}': {install_command('data')}") from error
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise UserError(f"cannot write: {' '.join(str(error.strerror or error).split())}{where}") from error
    except Exception as error:  # a card of another form fails wherever it is used
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UserError(
            f"{args.dataset}: its card cannot be used ({reason}); record or import the data again"
        ) from error
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("--dataset", metavar="FOLDER", help="data set of collect.py; the new one with --from")
    add("--to", choices=EXPORTS, help="export")
    add("--from", dest="source", choices=IMPORTS, help="import")
    add("--id", metavar="NAME", help="minari: (namespace/)name-v<number>")
    add("--root", metavar="FOLDER", help="minari: folder of its data sets; default: Minari's own, ~/.minari/datasets")
    add("--file", metavar="FILE", help="d4rl: file that ends in .npz or .hdf5")
    add("--folder", metavar="FOLDER", help="lerobot: new folder to write")
    add("--privileged", action="store_true", help="export the privileged observations, too")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Raise a `UserError` for flags that do not belong together."""
    overrides = [f"--env.{name}" for name in args.env_overrides] + [f"--train.{name}" for name in args.train_overrides]
    if overrides:
        raise UserError(f"{overrides[0]}: a data set has no configuration to override; see --help")
    if not args.dataset:
        raise UserError("--dataset is missing: expected the folder of a data set")
    if args.to is not None and args.source is not None:
        raise UserError("--to and --from: one at a time")
    wanted = args.to or args.source
    for flag, belongs in (("id", "minari"), ("root", "minari"), ("file", "d4rl"), ("folder", "lerobot")):
        given = getattr(args, flag) not in (None, "")
        if given and wanted != belongs:
            other = f" or --from={belongs}" if belongs in IMPORTS else ""
            raise UserError(f"--{flag} belongs to the format {belongs}: add --to={belongs}{other}")
        if not given and wanted == belongs and flag != "root":
            example = {"id": "go2/expert-v0", "file": "expert.hdf5", "folder": "expert_lerobot"}[flag]
            raise UserError(f"--{flag} is missing: expected, for example, --{flag}={example}")
    if args.privileged and args.to is None:
        raise UserError(f"--privileged says what is exported: add --to={' or --to='.join(EXPORTS)}")


def _export(args: argparse.Namespace) -> None:
    from rsl_rl_ult.interchange import d4rl_format, lerobot_format, minari_format
    from rsl_rl_ult.storage.dataset import Dataset

    dataset = Dataset(args.dataset)
    if args.to == "minari":
        path = minari_format.export_minari(dataset, args.id, args.root, args.privileged)
        root = f"{minari_format.ROOT}={args.root} " if args.root else ""
        hint = f"\nread it: {root}python -c 'import minari; print(minari.load_dataset(\"{args.id}\"))'"
    elif args.to == "lerobot":
        path, hint = lerobot_format.export_lerobot(dataset, args.folder, args.privileged), ""
    else:
        path, hint = d4rl_format.export_d4rl(dataset, args.file, args.privileged), ""
    print(f"{args.dataset}: {pluralize(dataset.transitions(), 'transition')} written to {path}{hint}")


def _import(args: argparse.Namespace) -> None:
    from rsl_rl_ult.interchange import d4rl_format, minari_format

    if args.source == "minari":
        found = minari_format.import_minari(args.id, args.dataset, args.root)
    else:
        found = d4rl_format.import_d4rl(args.file, args.dataset)
    counts = ", ".join(pluralize(number, name[:-1]) for name, number in found.items())
    print(f"{args.id or args.file}: {counts} written to {args.dataset}")


def _show(folder: str) -> None:
    """Card and contents in a few lines; one shard is in memory at a time."""
    import numpy as np

    from rsl_rl_ult.storage.dataset import Dataset

    dataset = Dataset(folder)
    card, whole = dataset.card, 0
    numbers, acted = set(), np.zeros(len(card["drivers"]), dtype=int)
    sums = {"terminations": 0.0, "truncations": 0.0, "rewards": 0.0}
    for path in dataset.shards:
        rows = dataset.read(path)
        if rows is not None:
            whole += 1
            numbers.update(np.unique(rows["episode"]).tolist())
            acted += _count(rows["driver"][rows["transition"]], len(acted), "driver")
            sums = {name: total + float(rows[name][rows["transition"]].sum()) for name, total in sums.items()}
    if not acted.any():
        raise UserError(f"{folder}: no shard with transitions can be read; record or export the data again")
    steps, episodes, teacher = max(1, acted.sum()), max(1, len(numbers)), card.get("teacher")
    when = card.get("created", "at an unknown time")
    print(f"{folder}: schema {card['schema']}, task {card['task']}, recorded {when}")
    if teacher:
        print(f"teacher {teacher['run']}/{teacher['checkpoint']}, sha256 {teacher['sha256'][:12]}")
    print(
        f"{pluralize(int(acted.sum()), 'transition')}, {pluralize(len(numbers), 'episode')} "
        f"({sums['terminations']:.0f} ended by falls or faults, {sums['truncations']:.0f} by time or at the edge of a "
        f"tile), {whole} of {pluralize(len(dataset.shards), 'shard')} whole"
    )
    print(f"reward per step {sums['rewards'] / steps:.4f}, per episode {sums['rewards'] / episodes:.2f}")
    print("acted by " + ", ".join(f"{n} {count / steps:.0%}" for n, count in zip(card["drivers"], acted) if count))
    if "kinds" in card and "kind" in card["columns"]["privileged"]:
        _show_ground(dataset, card)
    for stream, columns in card["columns"].items():
        parts = (f"{name} {column['dtype']}{column['shape'] or ''}" for name, column in columns.items())
        print(f"{stream}: {', '.join(parts) or 'nothing'}")


def _count(numbers: Any, names: int, column: str) -> Any:
    """(names,) how often each number from 0 occurs."""
    import numpy as np

    if numbers.max(initial=0) >= names:
        raise UserError(
            f"column '{column}' has a number {numbers.max()}, the card names {names}: record the data again"
        )
    return np.bincount(numbers, minlength=names)


def _show_ground(dataset: Any, card: dict[str, Any]) -> None:
    """Transitions on each kind of ground."""
    import numpy as np

    counts = np.zeros(len(card["kinds"]), dtype=int)
    for segment in dataset.segments({"student": [], "privileged": ["kind"]}):
        counts += _count(segment["kind"][segment["transition"]], len(counts), "kind")
    total = max(1, counts.sum())
    print("ground: " + ", ".join(f"{name} {count / total:.0%}" for name, count in zip(card["kinds"], counts) if count))


if __name__ == "__main__":
    run_main(main)
