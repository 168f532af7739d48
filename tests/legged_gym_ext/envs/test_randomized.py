"""What `describe.py` lists as randomised is what makes robots differ, and its override is what stops it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mjbatch")

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.envs.base.randomized import RANDOMIZED  # noqa: E402
from legged_gym_ext.utils.config import apply_overrides, flatten  # noqa: E402

SWITCHES = {name: row.describe(task_registry.get_cfgs("go2_flat")[0])["switch_off"] for name, row in RANDOMIZED.items()}


def differ(randomized: str | None) -> bool:
    """Whether two robots with equal actions move or feel differently when only `randomized` is on."""
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.env.num_envs, cfg.domain_rand.push_interval_s = 2, 0.1
    for name, override in SWITCHES.items():
        if name != randomized:
            field, value = override.removeprefix("--env.").split("=")
            apply_overrides(cfg, {field: value}, "--env.")
    env, _ = task_registry.make_env("go2_flat", cfg)
    torch.manual_seed(0)
    seen = []
    for _ in range(25):
        env.step(0.5 * torch.randn(1, env.num_actions).expand(2, -1))
        seen += [env.obs_buf[:, 3:], env.sim.root_pos - env.terrain.origins, env.sim.root_quat, env.sim.dof_vel]
    first, second = torch.cat(seen, dim=-1)
    return not torch.equal(first, second)


def test_two_robots_are_equal_with_everything_switched_off():
    assert not differ(None)


@pytest.mark.parametrize("name", RANDOMIZED)
def test_each_quantity_makes_robots_differ_when_it_alone_is_on(name):
    assert differ(name)


def test_every_switch_and_range_of_domain_rand_is_in_the_table():
    cfg, _ = task_registry.get_cfgs("go2_flat")
    listed = {field for row in RANDOMIZED.values() for field in (*row.fields, row.switch[0])}
    assert {f"domain_rand.{name}" for name, _ in flatten(cfg.domain_rand)} <= listed
    assert {f"noise.noise_scales.{name}" for name, _ in flatten(cfg.noise.noise_scales)} <= listed


def test_what_is_switched_off_is_described_as_off():
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.domain_rand.randomize_com, cfg.init_state.velocity_range = False, 0.0
    table = {name: row.describe(cfg) for name, row in RANDOMIZED.items()}
    assert {name for name, row in table.items() if not row["on"]} == {"centre of mass", "start velocity"}
    assert table["start joints"]["switch_off"] == "--env.init_state.joint_range=[1.0,1.0]"
