"""Engines as tests make them, and ways to put robots somewhere. A new engine is one line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.simulators.base import RobotState, Simulator
from legged_gym_ext.terrain import PlaneTerrain
from tests.isaac_double import install
from tests.robots import set_fields


@dataclass(frozen=True)
class Engine:
    """How an engine is tested.

    Attributes:
        prepare: called before each simulator is made; a double takes the place of a package that is not here.
        physics: whether bodies have weight and touch; those of a recording double do not.
        slow: whether its part of the suite takes more than some seconds.
    """

    prepare: Callable[[pytest.MonkeyPatch], Any] = lambda monkeypatch: None
    physics: bool = True
    slow: bool = False


ENGINES = {
    "mujoco": Engine(),
    "mujoco_warp": Engine(prepare=lambda monkeypatch: pytest.importorskip("mujoco_warp"), slow=True),
    "isaac_gym": Engine(prepare=install, physics=False),
}

JOINTS = [f"{leg}_{part}_joint" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf")]
LIMITS = torch.tensor([23.7, 23.7, 45.43] * 4)  # N m
MASS = 15.019  # kg
EXACT = {"sim__mujoco__solver": "newton", "sim__mujoco__iterations": 50}  # four PGS iterations leave 1 to 2 percent
STATES = ("root_pos", "root_quat", "root_lin_vel", "root_ang_vel", "dof_pos", "dof_vel")
TENSORS = (*STATES, "torques", "foot_pos", "contact_forces")


physics = pytest.mark.physics  # only for engines that simulate contacts and masses


def parameters() -> list[Any]:
    """Names of all engines as parameters of a fixture, those that take long marked."""
    return [pytest.param(name, marks=[pytest.mark.slow] if engine.slow else []) for name, engine in ENGINES.items()]


def state_of(sim: Simulator, count: int, height: float = 3.0, **changes: torch.Tensor) -> RobotState:
    """`count` robots at rest in the default pose, `height` metres above the origin, except for `changes`."""
    state = RobotState(
        root_pos=torch.tensor([0.0, 0.0, height]).repeat(count, 1),
        root_quat=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        root_lin_vel=torch.zeros(count, 3),
        root_ang_vel=torch.zeros(count, 3),
        dof_pos=sim.default_dof_pos.repeat(count, 1),
        dof_vel=torch.zeros(count, len(sim.joint_names)),
    )
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def place(sim: Simulator, height: float = 3.0, **changes: torch.Tensor) -> None:
    """Put all robots into one state, see `state_of`."""
    sim.reset(torch.arange(sim.num_envs), state_of(sim, sim.num_envs, height, **changes))


def hold(sim: Simulator, steps: int = 1, offset: float = 0.0) -> None:
    """Make physics steps with targets that are `offset` rad away from the default pose."""
    sim.step((sim.default_dof_pos + offset).repeat(sim.num_envs, 1), steps)


def random_state(sim: Simulator, count: int, seed: int = 0) -> RobotState:
    """`count` robots in any pose, high in the air."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    quat = torch.nn.functional.normalize(draw(count, 4), dim=-1)
    joints = sim.default_dof_pos + 0.3 * draw(count, 12)
    return RobotState(3.0 + draw(count, 3), quat, draw(count, 3), draw(count, 3), joints, draw(count, 12))


def snapshot(sim: Simulator, names: tuple[str, ...] = TENSORS) -> dict[str, torch.Tensor]:
    return {name: getattr(sim, name).clone() for name in names}


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], robot: int | slice = slice(None)) -> list[str]:
    """Names of the tensors in which `robot` is not the same to the bit."""
    return [name for name in a if not torch.equal(a[name][robot], b[name][robot])]


def maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Simulator]:
    """What the fixture `make` returns for the engine named by its parameter."""
    if request.node.get_closest_marker("physics") and not ENGINES[request.param].physics:
        pytest.skip("a recording double has no physics")
    return partial(make_engine, request.param, monkeypatch)


def make_engine(name: str, monkeypatch: pytest.MonkeyPatch, num_envs: int = 2, **changes: Any) -> Simulator:
    """An engine on a plane, without delays; fields "section__name" of the configuration are replaced."""
    cfg = Go2FlatCfg()
    cfg.sim.engine, cfg.domain_rand.randomize_delay = name, False
    ENGINES[name].prepare(monkeypatch)
    return make_simulator(set_fields(cfg, **changes), PlaneTerrain(num_envs, torch.device("cpu")), num_envs)
