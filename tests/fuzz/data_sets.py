"""Programs that read data sets: their card, and their shards."""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

from tests.fuzz import worker
from tests.fuzz.inputs import damaged, edited_json

DATA = Path("data")
whole: dict[str, bytes] = {}


def prepare() -> None:
    """A data set of robots, and files of other formats."""
    from legged_gym_ext.scripts import dataset, distill

    shutil.copytree(worker.MATERIAL[0] / "data", DATA)
    whole.update({path.name: path.read_bytes() for path in DATA.iterdir() if path.suffix in (".npz", ".json")})
    for name in ("other.npz", "other.hdf5"):
        dataset.main([f"--dataset={DATA}", "--to=d4rl", f"--file={name}", "--privileged"])
        whole[name] = Path(name).read_bytes()
    distill._train = _stop


def _stop(*_: Any, **__: Any) -> Any:
    raise worker.Resolved


def with_card(number: int, edit: tuple[str, Any]) -> None:
    """Edit the card and run a program."""
    (DATA / "meta.json").write_bytes(edited_json(whole["meta.json"], edit))
    _run(number, "meta.json")


def with_damage(number: int, edits: list[tuple]) -> None:
    """Damage a shard and run a program."""
    name = sorted(name for name in whole if name.startswith("shard"))[number % 4]
    (DATA / name).write_bytes(damaged(whole[name], edits))
    _run(number // 4, name)


def with_columns(number: int, edits: list[tuple]) -> None:
    """Edit the arrays of a shard and run a program."""
    name = sorted(name for name in whole if name.startswith("shard"))[number % 4]
    (DATA / name).write_bytes(_edited_arrays(whole[name], edits))
    _run(number // 4, name)


def imported(name: str, edits: list[tuple]) -> None:
    """Damage a file of another format and import it."""
    from legged_gym_ext.scripts import dataset

    Path(name).write_bytes(damaged(whole[name], edits))
    try:
        worker.program(dataset.main, ["--from=d4rl", f"--file={name}", "--dataset=new"])
    finally:
        shutil.rmtree("new", ignore_errors=True)


def _edited_arrays(data: bytes, edits: list[tuple]) -> bytes:
    """An archive of arrays of which some have other values, shapes, types or headers."""
    import numpy as np

    with np.load(io.BytesIO(data)) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    for action, place, new in edits:
        if arrays:
            with contextlib.suppress(ValueError, OverflowError):  # what numpy refuses to make
                _edit_array(arrays, action, place, new)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value.dtype != object})
    return buffer.getvalue()


def _edit_array(arrays: dict[str, Any], action: str, place: int, new: Any) -> None:
    """One edit of named arrays."""
    import numpy as np

    names = sorted(arrays)
    name = names[place % len(names)]
    array = arrays[name]
    if action == "delete":
        del arrays[name]
    elif action == "add":
        arrays[ascii(new)[:20].replace("/", "")] = array
    elif action == "swap":
        arrays[name] = arrays[names[(place // len(names)) % len(names)]]
    elif action == "scale" and array.size:
        flat = array.reshape(-1).copy()
        flat[place % flat.size] = np.iinfo(flat.dtype).max if flat.dtype.kind in "iu" else 1
        arrays[name] = flat.reshape(array.shape)
    elif place % 3 == 0:
        arrays[name] = array[: place % 7] if array.ndim else array
    elif place % 3 == 1:
        arrays[name] = array.astype(("float64", "int8", "bool", "complex64", "U4")[place % 5])
    else:
        arrays[name] = np.asarray(str(new)[:30] if isinstance(new, (str, dict, list, type(None))) else new)


def _run(number: int, changed: str) -> None:
    try:
        (show, learn, clone, export)[number % 4]()
    finally:
        (DATA / changed).write_bytes(whole[changed])
        for folder in (*Path().glob("logs/*/*"), Path("lerobot")):
            shutil.rmtree(folder, ignore_errors=True)
        for file in ("out.npz",):
            Path(file).unlink(missing_ok=True)


def show(*_: Any) -> None:
    """What dataset.py prints."""
    from legged_gym_ext.scripts import dataset

    worker.program(dataset.main, [f"--dataset={DATA}"])


def clone(*_: Any) -> None:
    """What distill.py does before its first pass."""
    from legged_gym_ext.scripts import distill

    worker.program(distill.main, ["--task=go2_bc_flat", f"--dataset={DATA}", "--log_root=logs", "--logger=none",
                                  "--train.algorithm.batch_size=16", "--train.algorithm.held_out=0.3"])  # fmt: skip


def export(*_: Any) -> None:
    """Write it in another format."""
    from legged_gym_ext.scripts import dataset

    worker.program(dataset.main, [f"--dataset={DATA}", "--to=d4rl", "--file=out.npz", "--privileged"])


def learn(*_: Any) -> None:
    """Read minibatches of pieces of trajectories, as a learner does."""
    from rsl_rl_ult.storage.dataset import Dataset
    from rsl_rl_ult.storage.loader import SegmentLoader
    from rsl_rl_ult.storage.returns import RETURNS, ReturnsDataset

    try:
        loader = SegmentLoader(Dataset(DATA), 8, context=3, steps=2, last_actions=True, prefetch=0)
        for _ in loader.epoch():
            pass
        whole_episodes = ReturnsDataset(DATA)
        for path in whole_episodes.shards:
            whole_episodes.read(path, [RETURNS])
    except ValueError as error:  # how this package refuses
        raise worker.RefusedError(str(error)) from error


def archive(name: str, content: bytes) -> None:
    """Put one file, such as a pickle, into a shard and read it."""
    path = DATA / "shard-000000.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, content)
    _run(0, path.name)


def labels(data: bytes) -> None:
    """Read a teacher's labels from a file of somebody else."""
    from rsl_rl_ult.storage.returns import LABELS, ReturnsDataset

    found = ReturnsDataset(DATA)
    found.add_labels(Path("labels"))
    Path("labels").mkdir(exist_ok=True)
    found.label_path(Path("labels"), found.shards[0]).write_bytes(data)
    try:
        found.read(found.shards[0], list(LABELS))
    except ValueError as error:
        raise worker.RefusedError(str(error)) from error
