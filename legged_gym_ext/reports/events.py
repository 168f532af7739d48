"""Curves from tensorboard's event files: read, joined over restarts, and set in relation to wall time."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import numpy as np

from legged_gym_ext.utils.errors import UserError, install_command

Curves = Dict[str, Tuple[np.ndarray, np.ndarray]]  # tag -> iterations (P,), values (P,)


def event_files(folder: Path) -> list[Path]:
    """Oldest first: their names hold the second they were opened in."""
    return sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name)


def read_events(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (iteration, value) in the order written; a file that ends in the middle of an event is read up to there.

    Raises:
        UserError: tensorboard is not installed, or the file cannot be read.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise UserError(
            f"reading event files needs the package 'tensorboard' ({error}): {install_command('train')}"
        ) from None
    # Nothing is thinned out or thrown away: what iterations were redone is decided in `merge_curves`.
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    try:
        events.Reload()
    except Exception as error:  # a damaged record raises whatever its parser raises
        raise UserError(f"event file {path} cannot be read: {' '.join(str(error).split())[:160]}") from error
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def merge_curves(files: list[dict[str, list[tuple[int, float]]]]) -> Curves:
    """One curve per tag from several files, oldest first; what a later file starts again is the later file's.

    Tags ending in "/time" repeat others over seconds and are left out, as are values that are not finite.
    """
    merged: dict[str, dict[int, float]] = {}
    for tags in files:
        starts = [points[0][0] for tag, points in tags.items() if points and not tag.endswith("/time")]
        start = min(starts, default=0)
        for points in merged.values():
            for iteration in [iteration for iteration in points if iteration >= start]:
                del points[iteration]
        for tag, points in tags.items():
            if not tag.endswith("/time"):
                merged.setdefault(tag, {}).update((step, value) for step, value in points if np.isfinite(value))
    curves = {tag: sorted(points.items()) for tag, points in merged.items() if points}
    return {
        tag: (np.array([step for step, _ in points]), np.array([value for _, value in points]))
        for tag, points in curves.items()
    }


def seconds_of(curves: Curves) -> np.ndarray:
    """Seconds of collecting and learning until the end of each iteration; unlogged ones count like the median."""
    iterations, learning = curves["Perf/learning_time"]
    collecting = dict(zip(*(part.tolist() for part in curves["Perf/collection_time"])))
    spent = learning + np.array([collecting.get(int(iteration), 0.0) for iteration in iterations])
    each = np.full(int(max(points[-1] for points, _ in curves.values())) + 1, np.median(spent))
    each[iterations] = spent
    return np.cumsum(each)


def processes_of(curves: Curves, steps: int) -> int:
    """How many processes trained together: the logged speed counts the robots of all."""
    if "Perf/total_fps" not in curves:
        return 1
    count = min(len(curves[f"Perf/{part}"][1]) for part in ("total_fps", "collection_time", "learning_time"))
    speed, collecting, learning = (
        curves[f"Perf/{part}"][1][-count:] for part in ("total_fps", "collection_time", "learning_time")
    )
    return max(1, round(float(np.median(speed * (collecting + learning))) / max(1, steps)))
