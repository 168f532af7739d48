"""The Go1: a second robot, of one configuration file and a model, that gets every method by name."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.randomization import disable_randomization
from legged_gym_ext.envs.base.symmetry import configured_opposites, opposites_of
from legged_gym_ext.envs.go1 import go1_config
from legged_gym_ext.envs.go1.go1_config import GO1, Go1Cfg
from legged_gym_ext.envs.methods import FLAT, PPO
from legged_gym_ext.utils.config import match_joint
from legged_gym_ext.utils.math import quat_from_yaw
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from rsl_rl_ult.algorithms.construct import resolve
from tests.robots import calm, stand

mujoco = pytest.importorskip("mujoco")

# Published link table (SOURCE.md beside the model), front left leg: mass and centre of mass; calf with its foot:
# (0.135862 * -0.116695 + 0.06 * -0.213) / 0.195862 = -0.146197.
LINKS = {
    "trunk": (5.204, (0.0223, 0.002, -0.0005)),
    "FL_hip": (0.591, (-0.005657, -0.008752, -0.000102)),
    "FL_thigh": (0.92, (-0.003342, -0.018054, -0.033451)),
    "FL_calf": (0.195862, (0.004299, 0.000977, -0.146197)),
}
CALF_INERTIA = (0.00149767, 0.00148468, 3.58427e-05)  # principal, as mjlab publishes it for calf and foot together
RANGES = {"hip": (-0.863, 0.863), "thigh": (-0.686, 4.501), "calf": (-2.818, -0.888)}
TORQUES, SPEEDS = {"hip": 23.7, "thigh": 23.7, "calf": 35.55}, {"hip": 30.1, "thigh": 30.1, "calf": 20.06}


def go1(num_envs: int) -> LeggedRobot:
    """Go1s without randomisation on level ground."""
    cfg = GO1.env_cfg(PPO, FLAT)()
    cfg.env.num_envs = num_envs
    disable_randomization(cfg)
    return LeggedRobot(cfg)


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_path(str(PACKAGE_DIR / "resources/robots/go1/go1.xml"))


# -- the model -------------------------------------------------------------------------------------------------------


def test_masses_are_the_published_ones(model):
    # 5.204 + 4 (0.591 + 0.92 + 0.135862 + 0.06) = 12.031448
    assert model.body_mass.sum() == pytest.approx(12.031448, abs=1e-9)
    for name, (mass, com) in LINKS.items():
        body = model.body(name)
        assert body.mass[0] == pytest.approx(mass, abs=1e-9)
        np.testing.assert_allclose(body.ipos, com, atol=1e-6)
    np.testing.assert_allclose(sorted(model.body("FL_calf").inertia), sorted(CALF_INERTIA), rtol=1e-4)


def test_legs_are_mirror_images_in_the_published_way(model):
    for part in ("hip", "thigh"):
        front_left = model.body(f"FL_{part}").ipos
        np.testing.assert_allclose(model.body(f"FR_{part}").ipos, front_left * [1, -1, 1])
        end = -1 if part == "hip" else 1
        np.testing.assert_allclose(model.body(f"RL_{part}").ipos, front_left * [end, 1, 1])
        np.testing.assert_allclose(model.body(f"RR_{part}").ipos, front_left * [end, -1, 1])


def test_joints_have_the_published_ranges_and_motors_the_published_limits(model):
    cfg = Go1Cfg()
    for name in cfg.init_state.default_joint_angles:
        part = name.split("_")[1]
        assert tuple(model.joint(name).range) == RANGES[part]
        assert match_joint(cfg.asset.torque_limits, name, "") == TORQUES[part]
        assert match_joint(cfg.asset.velocity_limits, name, "") == SPEEDS[part]
        assert model.jnt_actfrcrange[model.joint(name).id].tolist() == [-TORQUES[part], TORQUES[part]]


def test_no_shape_adds_mass_and_no_two_shapes_of_the_robot_touch(model):
    assert not model.geom_contype.any()
    spec = mujoco.MjSpec.from_file(str(PACKAGE_DIR / "resources/robots/go1/go1.xml"))
    assert all(geom.mass == 0.0 for geom in spec.geoms)


# -- the environment -------------------------------------------------------------------------------------------------


def test_it_stands_for_two_seconds():
    env = go1(8)
    for _ in range(100):  # of 0.02 s
        stand(env)
        assert not env.fall_buf.any() and not env.fault_buf.any()
    # At action 0 the feet are 0.317 m below the base; motors of 20 N m/rad give way under 12 kg by centimetres.
    assert 0.25 < env.base_height.min() <= env.base_height.max() < 0.317
    assert (env.projected_gravity[:, 2] < -0.99).all()
    assert env.foot_contact.all()


def test_what_is_on_the_other_side_is_the_same_by_names_and_by_the_model():
    assert opposites_of(go1(1)) == configured_opposites(Go1Cfg())


@pytest.mark.parametrize("group", ["policy", "privileged", "critic"])
def test_a_mirrored_go1_sees_the_mirror_image(group):
    env = go1(2)
    names, generator = env.sim.joint_names, torch.Generator().manual_seed(0)
    swap = [names.index(f"{n[0]}{'L' if n[1] == 'R' else 'R'}{n[2:]}") for n in names]
    sign = torch.tensor([-1.0 if "hip" in name else 1.0 for name in names])
    offset, speed = 0.1 * torch.randn(12, generator=generator), torch.randn(12, generator=generator)
    env.sim.dof_pos[:] = env.default_dof_pos + torch.stack((offset, offset[swap] * sign))
    env.sim.dof_vel[:] = torch.stack((speed, speed[swap] * sign))
    env.sim.root_ang_vel[:] = torch.tensor([[0.1, 0.2, 0.3], [-0.1, 0.2, -0.3]])
    env.sim.root_lin_vel[:] = torch.tensor([[0.5, 0.2, 0.1], [0.5, -0.2, 0.1]])
    env.sim.root_quat[:] = quat_from_yaw(torch.tensor([0.0, 0.0]))
    env.commands[:, :3] = torch.tensor([[0.4, 0.2, -0.6], [0.4, -0.2, 0.6]])
    env.push_velocity[:] = torch.tensor([[0.3, 0.1], [0.3, -0.1]])
    gains = torch.rand(12, generator=generator)
    env.params["kp_scale"][:] = torch.stack((gains, gains[swap]))
    env.params["com_shift"][:] = torch.tensor([[0.01, 0.02, 0.03], [0.01, -0.02, 0.03]])
    env._read_state()
    env._compute_observations()
    mirror = resolve(task_registry.get_cfgs("go1_flat")[1].algorithm.symmetry_cfg["data_augmentation_func"])
    view = RslRlVecEnv(env)
    obs, actions = view.get_observations(), torch.randn(2, 12, generator=generator)
    both, both_actions = mirror(view, obs, actions)
    compared = torch.ones(obs[group].shape[1], dtype=torch.bool)
    for name, columns in env.observations.slices(group).items():
        if name.startswith("foot_"):  # their sites were not moved with the joints
            compared[columns] = False
    assert torch.allclose(both[group][2, compared], obs[group][1, compared], atol=1e-5)
    assert torch.equal(both_actions[2:], actions[:, swap] * sign)
    hidden, hidden_actions = mirror(None, {group: obs[group]}, actions)  # a host that does not show its environment
    assert torch.equal(hidden[group], both[group]) and torch.equal(hidden_actions, both_actions)


def test_the_contract_of_its_policies_has_its_values(tmp_path):
    pytest.importorskip("onnx")
    from tests.exported import make_run, sources

    (source,) = sources(make_run(tmp_path, "go1_flat"), "go1_flat")
    contract = source.contract
    assert (contract.robot, contract.task, contract.method) == ("go1", "go1_flat", "PPO")
    assert contract.torque_limits == (23.7, 23.7, 35.55) * 4 and contract.velocity_limits == (30.1, 30.1, 20.06) * 4
    assert contract.model["file"] == "go1.xml" and contract.model["mass"] == pytest.approx(12.031448, abs=1e-5)
    assert [contract.joint_names.index(name) for name in contract.sdk_joint_order[:6]] == [3, 4, 5, 0, 1, 2]
    assert contract.dim("obs") == 45


# -- the tasks -------------------------------------------------------------------------------------------------------


def test_it_has_every_task_that_the_go2_has():
    tasks = {robot: {n[4:] for n in task_registry.names if n[:4] in (robot, f"{robot}_")} for robot in ("go1", "go2")}
    assert tasks["go1"] == tasks["go2"] and len(tasks["go1"]) == 23


def test_its_configuration_is_one_short_file():
    folder = Path(inspect.getfile(go1_config)).parent
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py", "go1_config.py"}
    assert len(inspect.getsource(go1_config).splitlines()) < 150


def test_nothing_is_noted_about_it_with_the_randomisation_of_training(capsys):
    env, _ = task_registry.make_env("go1_flat")
    assert env.notes == [] and capsys.readouterr().out == ""


def test_calm_go2s_and_go1s_observe_the_same_columns():
    assert go1(1).group_dims == calm(1).group_dims
