"""Motors of the Isaac Gym engine, over a recording double (isaac_double.py): the real one needs an NVIDIA GPU and a closed binary."""

from __future__ import annotations

import pytest
import torch

from legged_gym_ext.simulators.isaac_gym.assets import read_robot
from tests.isaac import (
    JOINTS,
    config,
    engine,
    hold,
    passive_off,
    place,
    state_of,
)
from tests.isaac_double import INERTIA


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


@pytest.mark.parametrize(
    ("motor", "speed", "offset", "expected"),
    [
        ("dc", 0.0, 0.5, 10.0),  # inside the line the PD law counts
        ("dc", 15.05, 3.0, 11.85),  # half the no-load speed leaves half the torque: 23.7 / 2
        ("dc", -15.05, 3.0, 23.7),  # braking would allow 1.5 x, the motor's own limit cuts it
        ("dc", 30.1, 3.0, 0.0),  # no torque at no-load speed
        ("dc", -30.1, -3.0, 0.0),
        ("ideal", 15.05, 3.0, 23.7),
        ("ideal", 15.05, 0.5, 2.475),  # 20 * 0.5 - 0.5 * 15.05
    ],
)
def test_motors_follow_their_law(plain, motor, speed, offset, expected):
    sim = engine(1, control__motor=motor)
    velocity = torch.zeros(1, 12)
    velocity[0, 0] = speed  # FL hip: 23.7 N m, 30.1 rad/s
    place(sim, dof_vel=velocity)
    hold(sim, offset=offset)
    assert sim.torques[0, 0].item() == pytest.approx(expected, abs=1e-3)


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


def test_motors_are_evaluated_in_every_physics_step(plain):
    sim = engine(1)
    passive_off(sim)
    place(sim)
    hold(sim, 2, offset=0.5)
    # The first step: 10 N m for 5 ms on 0.5 kg m^2 are 0.1 rad/s and then 0.0005 rad. The second: 20 * 0.4995 - 0.5 * 0.1 N m.
    first, second = 10.0, 20.0 * (0.5 - 0.005 * 0.1) - 0.5 * 0.1
    assert INERTIA == 0.5 and first * 0.005 / INERTIA == pytest.approx(0.1)
    for entry, expected in zip(plain.log, (first, second)):
        assert torch.allclose(entry["force"], torch.full((1, 12), expected), atol=1e-4)
    assert torch.allclose(sim.torques, torch.full((1, 12), second), atol=1e-4)


def test_a_step_is_set_force_simulate_fetch_refresh(plain):
    sim = engine(1)
    hold(sim)
    plain.calls.clear()
    hold(sim, 2)
    substep = ["set_dof_actuation_force_tensor", "simulate", "fetch_results", "refresh_dof_state_tensor"]
    assert plain.calls == [*substep, *substep, "refresh_actor_root_state_tensor", "refresh_net_contact_force_tensor"]


def test_delay_holds_the_old_target_for_exactly_that_many_physics_steps(plain):
    sim = engine(3, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.0, 0.01, 0.02]))
    place(sim)
    pulled = []
    for _ in range(6):
        hold(sim, 1, offset=0.5)
        pulled.append(sim.torques[:, 0] > 5.0)
    first = torch.stack(pulled).int().argmax(0)
    assert first.tolist() == [0, 2, 4]  # 0, 10 and 20 ms at 5 ms a step


def test_reset_empties_the_delay_line_of_its_robots_alone(plain):
    sim = engine(2, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.02, 0.02]))
    plain.sim.frozen = True
    hold(sim, 8, offset=0.5)
    sim.reset(torch.tensor([1]), state_of(sim, 1))
    hold(sim)
    assert sim.torques[1].abs().max() < 1e-4
    assert (sim.torques[0] > 9.0).all()  # 20 N m / rad * 0.5 rad is still on its way


def test_delays_beyond_the_configuration_are_refused(plain):
    sim = engine(1, domain_rand__randomize_delay=True)
    for seconds in (0.03, -0.005):
        with pytest.raises(ValueError, match=r"delays must be in \[0, 0.02\]"):
            sim.set_parameter("delay", torch.tensor([seconds]))
    with pytest.raises(ValueError, match=r"delays must be in \[0, 0\]"):
        engine(1).set_parameter("delay", torch.tensor([0.005]))


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
    # Hip 0.2 N m and 2 rad/s; thigh 0.2 N m and -2 rad/s; calf 0.5 N m and 0.05 rad/s, a fifth of the speed below which friction is linear.
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
    # The lightest that Isaac Gym can make a joint: its rotor alone, with the least armature and the most friction of domain randomisation.
    robot = read_robot(config())
    from legged_gym_ext.simulators.isaac_gym.motors import STICK_SPEED

    for friction, armature in zip(robot.friction, robot.armature):
        assert 1.5 * friction / STICK_SPEED * 0.005 < 2.0 * 0.8 * armature  # else an explicit step would amplify
        assert friction / STICK_SPEED * 0.005 < armature  # nominally it stops within the step and does not come back
