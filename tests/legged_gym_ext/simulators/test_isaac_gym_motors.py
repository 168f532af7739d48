"""Motors of the Isaac Gym engine, over its double (isaac_double.py)."""

from __future__ import annotations

import pytest
import torch

from legged_gym_ext.simulators.isaac_gym.assets import read_robot
from tests.engines import JOINTS, hold, place
from tests.isaac import config, engine


def test_torques_reach_the_joints_they_are_meant_for(gym):
    sim = engine(2)
    place(sim)
    targets = sim.default_dof_pos.repeat(2, 1)
    targets[1, JOINTS.index("RL_thigh_joint")] += 0.25  # 20 N m / rad: 5 N m
    sim.step(targets, 1)
    names = gym.sim.actors[0].asset.dof_names
    expected = torch.zeros(2, 12)
    expected[1, names.index("RL_thigh_joint")] = 5.0
    assert torch.allclose(gym.log[-1]["force"], expected, atol=1e-5)
    assert sim.torques[1, JOINTS.index("RL_thigh_joint")].item() == pytest.approx(5.0, abs=1e-5)


@pytest.mark.parametrize("motor", ["dc", "ideal"])
def test_torques_are_those_of_the_mujoco_engine(plain, motor):
    """Both engines report the torques of the start of a step."""
    isaac, mujoco = (engine(64, engine=name, control__motor=motor) for name in ("isaac_gym", "mujoco"))
    generator = torch.Generator().manual_seed(3)
    velocity = 20.0 * torch.randn(64, 12, generator=generator)
    targets = isaac.default_dof_pos + 1.5 * torch.randn(64, 12, generator=generator)
    for sim in (isaac, mujoco):
        place(sim, dof_vel=velocity)
        sim.step(targets, 1)
    assert torch.allclose(isaac.torques, mujoco.torques, atol=1e-3)
    limits = isaac.torque_limits.expand(64, 12)
    assert (isaac.torques.abs() == limits).any() and (isaac.torques.abs() < 0.9 * limits).any()


def test_a_step_is_set_force_simulate_fetch_refresh(plain):
    sim = engine(1)
    hold(sim)
    plain.calls.clear()
    hold(sim, 2)
    substep = ["set_dof_actuation_force_tensor", "simulate", "fetch_results", "refresh_dof_state_tensor"]
    assert plain.calls == [*substep, *substep, "refresh_actor_root_state_tensor", "refresh_net_contact_force_tensor"]


def test_joints_have_viscous_and_coulomb_friction_and_a_spring_besides_their_motors(gym):
    sim = engine(3)
    for name in ("kp", "kd"):
        sim.set_parameter(name, torch.zeros(3, 12))
    sim.set_parameter("joint_stiffness", torch.tensor([0.0, 0.0, 10.0]))
    sim.set_parameter("joint_friction_scale", torch.tensor([1.0, 0.5, 0.0]))
    sim.set_parameter("joint_damping", torch.tensor([0.15, 0.3, 0.0]))
    velocity = torch.tensor([2.0, -2.0, 0.05]).repeat(4)
    place(sim, dof_pos=sim.default_dof_pos.repeat(3, 1) + 0.1, dof_vel=velocity.repeat(3, 1))
    hold(sim)
    names = gym.sim.actors[0].asset.dof_names
    force = gym.log[-1]["force"][:, [names.index(name) for name in JOINTS]]
    # Hip 0.2 N m and 2 rad/s; thigh 0.2 N m and -2 rad/s; calf 0.5 N m and 0.05 rad/s, a fifth of the speed below which
    # friction is linear.
    expected = torch.tensor(
        [
            [-0.15 * 2.0 - 0.2, 0.15 * 2.0 + 0.2, -0.15 * 0.05 - 0.1],
            [-0.3 * 2.0 - 0.1, 0.3 * 2.0 + 0.1, -0.3 * 0.05 - 0.05],
            [-1.0, -1.0, -1.0],  # 10 N m / rad * 0.1 rad
        ]
    ).repeat(1, 4)
    assert torch.allclose(force, expected, atol=1e-5)
    assert not sim.torques.any()  # the motors' own


def test_friction_never_turns_a_joint_round(plain):
    # The lightest that Isaac Gym can make a joint: its rotor alone, with the least armature and the most friction of
    # domain randomisation.
    robot = read_robot(config())
    from legged_gym_ext.simulators.isaac_gym.motors import STICK_SPEED

    for friction, armature in zip(robot.friction, robot.armature):
        assert 1.5 * friction / STICK_SPEED * 0.005 < 2.0 * 0.8 * armature  # else an explicit step would amplify
        assert friction / STICK_SPEED * 0.005 < armature  # nominally it stops within the step and does not come back
