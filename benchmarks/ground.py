"""What the 200-tile map costs in MuJoCo, in four forms: physics of the same robots on the same ground, in turns.

    near robots     what ships: every environment has slots for the boxes and fields near its robot
    whole map       every box and field is a geom of the model
    one field       one height field of 0.1 m cells for everything; steps get ramps instead of vertical faces
    plane           level ground, for comparison

Prints microseconds per robot and physics step, the median of rounds, and the ratio to the plane in the same round.

    python benchmarks/ground.py --json result.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TURN = 10  # control steps before the next form takes over


def main() -> None:
    """Parse flags, measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_envs", type=int, default=400)
    parser.add_argument("--steps", type=int, default=50, help="control steps of each form in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    args = parser.parse_args()
    text = json.dumps(measure(args.num_envs, args.steps, args.rounds), indent=2)
    if args.json in (None, "-"):
        print(text)
    else:
        Path(args.json).write_text(text + "\n", encoding="utf-8")


def measure(num_envs: int, steps: int, rounds: int) -> dict[str, Any]:
    """Cost of each form; robots are on all levels of all kinds of tiles and get the same small random targets."""
    import torch

    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    torch.manual_seed(0)
    envs = {form: make_env(form, num_envs) for form in ("plane", "near robots", "whole map", "one field")}
    targets = [0.1 * torch.randn(num_envs, 12) for _ in range(steps)]
    rows = []
    for turn in range(rounds + 1):  # the first warms up
        seconds = dict.fromkeys(envs, 0.0)
        for env in envs.values():
            env.reset()  # without policy robots lie down after a while
        for first in range(0, steps, TURN):
            for form, env in envs.items():
                begin = time.perf_counter()
                for target in targets[first : first + TURN]:
                    env.sim.step(env.default_dof_pos + target, env.cfg.control.decimation)
                seconds[form] += time.perf_counter() - begin
        if turn:
            physics_steps = num_envs * steps * envs["plane"].cfg.control.decimation
            rows.append({form: 1e6 * s / physics_steps for form, s in seconds.items()})
    return {
        "us_per_physics_step": {form: statistics.median(row[form] for row in rows) for form in envs},
        "times_the_plane": {form: statistics.median(row[form] / row["plane"] for row in rows) for form in envs},
        "rounds": rows,
        "geoms": {form: int(env.sim.model.ngeom) for form, env in envs.items()},
        "num_envs": num_envs,
        "engine": envs["plane"].sim.description,
    }


def make_env(form: str, num_envs: int) -> Any:
    """`go2` with the ground in one of the forms."""
    from unittest import mock

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators.mujoco import ground, model

    add = {"whole map": ground.add_map, "one field": add_one_field}.get(form)
    cfg, _ = task_registry.get_cfgs("go2_flat" if form == "plane" else "go2")
    cfg.env.num_envs, cfg.terrain.curriculum = num_envs, False
    if add is None:
        return task_registry.make_env("go2", cfg)[0]
    with mock.patch.object(model, "add_slots", lambda spec, ground, reach: add(spec, ground)):
        return task_registry.make_env("go2", cfg)[0]


def add_one_field(spec: Any, ground: Any) -> None:
    """The map's samples as a single height field on the world body, with a plane far below."""
    import mujoco
    import numpy as np

    from legged_gym_ext.simulators.mujoco.ground import COLLISION

    heights = np.pad(ground.corners[..., 0], ((0, 1), (0, 1)))
    lowest, rise = float(heights.min()), float(np.ptp(heights))
    spec.add_hfield(
        name="map",
        size=[ground.size[0] / 2, ground.size[1] / 2, rise, 0.5],
        nrow=heights.shape[1],
        ncol=heights.shape[0],
        userdata=((heights - lowest) / rise).T.flatten(),
    )
    place = [ground.size[0] / 2, ground.size[1] / 2, lowest]
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="map", pos=place, **COLLISION)


if __name__ == "__main__":
    main()
