"""What `describe.py` lists as randomised is what makes robots differ, and its override is what stops it."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mjbatch")

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.envs.base.randomization import RANDOMIZED, disable_randomization, drawn_parameters  # noqa: E402
from legged_gym_ext.simulators.base import PARAMETERS  # noqa: E402
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
    listed = {field for row in RANDOMIZED.values() for field in (*row.all_fields, row.off[0])}
    assert {f"domain_rand.{name}" for name, _ in flatten(cfg.domain_rand)} <= listed
    assert {f"noise.noise_scales.{name}" for name, _ in flatten(cfg.noise.noise_scales)} <= listed


def test_what_is_switched_off_is_described_as_off():
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.domain_rand.randomize_com, cfg.init_state.velocity_range = False, 0.0
    table = {name: row.describe(cfg) for name, row in RANDOMIZED.items()}
    assert {name for name, row in table.items() if not row["on"]} == {"centre of mass", "start velocity"}
    assert table["start joints"]["switch_off"] == "--env.init_state.joint_range=[1.0,1.0]"


def test_disabling_switches_every_quantity_off_and_shares_no_value():
    cfg, _ = task_registry.get_cfgs("go2")
    disable_randomization(cfg)
    assert [name for name, row in RANDOMIZED.items() if row.is_on(cfg)] == []
    cfg.init_state.joint_range[0] = 0.0
    assert RANDOMIZED["start joints"].off[1] == [1.0, 1.0]


def test_every_parameter_of_the_engines_is_drawn_once():
    drawn = [drawn for _, drawn in drawn_parameters()]
    assert sorted(one.engine for one in drawn) == sorted(PARAMETERS)
    assert len({one.name for one in drawn}) == len({one.observed.term for one in drawn}) == len(drawn)


NEW_ROW = """
from legged_gym_ext.envs.base import randomization as table
from legged_gym_ext.envs.base.mirror import same
table.RANDOMIZED["springs"] = table.Randomized(
    "N m/rad", table.START, "nobody", ("domain_rand.randomize_springs", False),
    (table.Drawn("springs", "joint_stiffness", "springs_range", table.Observed("springs", same, 0.5), lowest=0.1),),
)
import torch
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.limits import RANGES
from legged_gym_ext.envs.base.symmetry import make_mirror
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
class Cfg(Go2FlatCfg):
    class env:
        num_envs = 8
    class domain_rand:
        randomize_springs = True
        springs_range = [0.4, 0.6]
env = LeggedRobot(Cfg())
given = torch.from_numpy(env.sim.batch.expand("jnt_stiffness")[:, 1]).float()
assert torch.allclose(given, env.params["springs"]) and 0.4 <= given.min() < given.max() <= 0.6
for group in ("privileged", "critic"):
    seen = getattr(env, f"{'privileged' if group == 'privileged' else 'critic'}_obs_buf")
    assert torch.equal(seen[:, env.observations.slices(group)["springs"]][:, 0], env.params["springs"] - 0.5)
    both, _ = make_mirror(Cfg)(None, {group: seen}, None)
    assert both[group].shape[1] == env.group_dims[group]
assert RANGES["domain_rand.springs_range"] == 0.1
cfg = Cfg()
table.disable_randomization(cfg)
assert not cfg.domain_rand.randomize_springs and not table.RANDOMIZED["springs"].describe(cfg)["on"]
"""


def test_a_row_is_all_that_a_new_quantity_needs():
    done = subprocess.run([sys.executable, "-c", NEW_ROW], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
