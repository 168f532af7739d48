"""Rough ground in MuJoCo Warp: the slots hold what those of the MuJoCo engine hold, and robots stand on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.simulators import make_simulator
from tests.engines import state_of
from tests.ground import all_kinds, rough

pytest.importorskip("mujoco_warp")
import warp as wp

from legged_gym_ext.simulators.mujoco.warp_checks import OVERFLOWS


def pair(num_envs: int) -> tuple[Any, Any, Any]:
    """Terrain with every kind of tile, and the same robots on it in MuJoCo (Newton) and in MuJoCo Warp."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.terrain, cfg.domain_rand.randomize_delay = all_kinds(curriculum=False), False
    cfg.sim.mujoco.solver, cfg.sim.mujoco.iterations = "newton", 50
    terrain, engines = rough(cfg.terrain, num_envs), []
    for cfg.sim.engine in ("mujoco", "mujoco_warp"):
        engines.append(make_simulator(cfg, terrain, num_envs))
    return terrain, engines[0], engines[1]


def places(terrain: Any, count: int) -> torch.Tensor:
    """(count, 2) m: anywhere on the map and beyond its edge, the first ones on sloping tiles."""
    drawn = np.random.default_rng(0).uniform([-3.0, -3.0], np.add(terrain.map.size, 3.0), (count, 2))
    fields = terrain.map.fields[: count // 4]
    drawn[: len(fields)] = [field.centre for field in fields]
    return torch.as_tensor(drawn, dtype=torch.float32)


def test_slots_hold_what_those_of_the_mujoco_engine_hold():
    terrain, ours, warp = pair(40)
    at = places(terrain, 40)
    at[-1] = torch.nan  # a robot that was lost has ground, too
    ours._near_ground.follow(at.numpy())
    warp._ground.follow(wp.from_torch(at))
    near, m = ours._near_ground, warp._m
    slots = np.concatenate((near._box_ids, near._field_ids))
    np.testing.assert_allclose(m.geom_pos.numpy()[:, slots], near._pos[:, slots], atol=2e-4)
    np.testing.assert_array_equal(m.geom_pos.numpy()[:, slots], warp._d.geom_xpos.numpy()[:, slots])
    np.testing.assert_allclose(m.geom_size.numpy()[:, near._box_ids], near._size[:, near._box_ids], atol=2e-4)
    np.testing.assert_allclose(m.geom_rbound.numpy()[:, slots], near._bound[:, slots], atol=1e-3)
    np.testing.assert_allclose(m.geom_aabb.numpy()[:, slots].reshape(40, -1, 6), near._aabb[:, slots], atol=1e-3)
    np.testing.assert_array_equal(m.geom_dataid.numpy()[:, near._field_ids], near._data[:, near._field_ids])


@pytest.mark.slow
def test_robots_on_rough_ground_fall_on_it_as_in_mujoco():
    terrain, ours, warp = pair(8)
    at = places(terrain, 8)
    around = at[:, None] + torch.cartesian_prod(torch.linspace(-0.4, 0.4, 9), torch.linspace(-0.3, 0.3, 7))
    high = terrain.heights(around).amax(dim=-1) + 0.35
    state = state_of(ours, 8, root_pos=torch.cat((at, high[:, None]), dim=-1))
    for sim in (ours, warp):
        sim.reset(torch.arange(8), state)
        for _ in range(6):
            sim.step(sim.default_dof_pos.repeat(8, 1), 4)
    # Feet have touched; where both feel the same ground, they are at the same place to less than a millimetre.
    assert ours.contact_forces.abs().sum() > 0.0
    away = (ours.root_pos - warp.root_pos).norm(dim=-1)
    assert away.median() < 1e-3 and away.max() < 1e-2
    foot = warp.foot_pos
    # A foot beside a riser is over the edge of the next cell: the lowest ground within its radius is what counts.
    beside = warp.foot_radius * torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))
    ground = terrain.heights(foot[:, :, None, :2] + beside).amin(dim=-1)
    assert (foot[..., 2] - ground).min() > 0.0
    assert not any((warp._overflow & int(bits)).any() for bits in OVERFLOWS.values())
