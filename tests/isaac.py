"""Configurations and engines over the double of Isaac Gym; fixtures are in conftest.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.terrain import PlaneTerrain
from tests.robots import set_fields

ROOT = Path(__file__).resolve().parents[1]
LEGS = ("FL", "FR", "RL", "RR")
ORDERS = ("tree", "alphabetical", "reversed")
BASE_MASS = 6.923  # kg, with the two heads of 1 g
BASE_COM = (0.0211894, 0.0, -0.0053717)  # m, of base and heads (go2.md, section 1.4)
HALF = 0.5**0.5


def config(engine: str = "isaac_gym", **changes: Any) -> Any:
    """The flat task's configuration without delays; fields "section__name" are replaced."""
    cfg = Go2FlatCfg()
    cfg.sim.engine = engine
    cfg.domain_rand.randomize_delay = False
    return set_fields(cfg, **changes)


def engine(num_envs: int = 2, terrain: Any = None, **changes: Any) -> Any:
    terrain = terrain or PlaneTerrain(num_envs, torch.device("cpu"))
    return make_simulator(config(**changes), terrain, num_envs)


def passive_off(sim: Any) -> None:
    for name in ("joint_damping", "joint_friction_scale"):
        sim.set_parameter(name, torch.zeros(sim.num_envs))


def copy_of_urdf(tmp_path: Path, old: str, new: str) -> str:
    """The robot's files in `tmp_path`, with `old` replaced in the URDF; returns the value for asset.file."""
    source = ROOT / "legged_gym_ext/resources/robots/go2"
    text = (source / "go2.urdf").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "go2.urdf").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "go2.xml").write_text((source / "go2.xml").read_text(encoding="utf-8"), encoding="utf-8")
    return str(tmp_path / "go2.xml")
