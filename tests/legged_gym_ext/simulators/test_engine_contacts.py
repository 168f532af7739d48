"""What every engine that simulates contacts and masses must do."""

from __future__ import annotations

import pytest
import torch

from legged_gym_ext.simulators.base import PARAMETERS
from tests.engines import EXACT, MASS, differing, hold, physics, place, snapshot

pytestmark = physics


def test_nothing_touches_anything_in_the_air(make):
    sim = make(1)
    place(sim, 1.0)
    hold(sim, 10)
    assert not sim.contact_forces.any()


def test_feet_of_a_standing_robot_carry_its_weight_and_the_added_mass(make):
    sim = make(**EXACT)
    sim.set_parameter("added_mass", torch.tensor([0.0, 2.0]))
    sim.commit()
    place(sim, sim.standing_height)
    hold(sim, 400)
    feet = sim.contact_forces[:, -4:, 2].sum(-1)
    assert feet[0].item() == pytest.approx(MASS * 9.81, rel=0.005)
    assert (feet[1] - feet[0]).item() == pytest.approx(2.0 * 9.81, rel=0.02)
    assert torch.all(sim.contact_forces[:, :-4].abs() < 1e-3)  # base, thighs and calves touch nothing


def test_com_shift_moves_weight_to_the_front_feet(make):
    sim = make(2, **EXACT)
    sim.set_parameter("com_shift", torch.tensor([[0.0, 0.0, 0.0], [0.05, 0.0, 0.0]]))
    sim.commit()
    place(sim, sim.standing_height)
    hold(sim, 400)
    front, rear = sim.contact_forces[:, -4:-2, 2].sum(-1), sim.contact_forces[:, -2:, 2].sum(-1)
    # 6.92 kg moved by 5 cm over 0.46 m between the feet: 6.92 * 9.81 * 0.05 / 0.46 = 7.4 N, more as the legs give way.
    assert 7.0 < (front[1] - front[0]).item() < 20.0
    assert (front + rear)[1].item() == pytest.approx(MASS * 9.81, rel=0.005)


def test_a_kneeling_robots_thighs_and_feet_carry_its_weight(make):
    sim = make(1, **EXACT)
    # Thighs 0.9 back and calves -2.47: calves horizontal, so that the knees are the thighs' lower edges on the ground.
    joints = torch.tensor([0.0, 0.9, -2.47] * 4)[None]
    place(sim, 0.16, dof_pos=joints)
    for _ in range(100):
        sim.step(joints, 4)
    up = dict(zip(sim.contact_names, sim.contact_forces[0, :, 2].tolist()))
    thighs = sum(force for name, force in up.items() if "thigh" in name)
    assert thighs > 20.0
    # A calf that counted its foot's force would be too much.
    assert sum(up.values()) == pytest.approx(MASS * 9.81, rel=0.005)


def test_sliding_feet_are_held_back_by_mu_times_their_load(make):
    sim = make(2, **EXACT)
    friction = torch.tensor([0.1, 0.3])
    sim.set_parameter("friction", friction)
    place(sim, sim.standing_height)
    hold(sim, 200)
    velocity = sim.root_lin_vel.clone()
    velocity[:, 0] = 2.0
    sim.set_root_lin_vel(velocity)
    start, slowed = 2.0, 10 * sim.dt
    hold(sim, 10)
    force = sim.contact_forces[:, -4:].sum(1)
    assert torch.allclose(-force[:, 0] / force[:, 2], friction, rtol=0.05)
    # The whole robot loses mu g per second: 0.049 and 0.147 m/s within 50 ms, less what the legs take up.
    lost = start - sim.root_lin_vel[:, 0]
    assert (lost > 0.5 * friction * 9.81 * slowed).all() and (lost < friction * 9.81 * slowed).all()


def test_more_rotor_inertia_makes_joints_slower(make):
    sim = make(2)
    sim.set_parameter("armature_scale", torch.tensor([0.5, 5.0]))
    sim.commit()
    place(sim)
    hold(sim, 4, offset=0.3)
    moved = (sim.dof_pos - sim.default_dof_pos).abs().sum(-1)
    assert moved[1] < 0.9 * moved[0]


OTHER_VALUES = {
    "friction": 0.2, "added_mass": 2.0, "com_shift": [0.03, 0.0, 0.0], "kp": [30.0] * 12, "kd": [1.0] * 12,
    "armature_scale": 1.5, "joint_friction_scale": 1.5, "joint_damping": 0.3, "joint_stiffness": 1.0, "delay": 0.02,
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_changes_the_chosen_robots_and_leaves_the_others_bit_identical(make, name):
    changed, untouched = (make(3, domain_rand__randomize_delay=True) for _ in range(2))
    changed.set_parameter(name, torch.tensor([OTHER_VALUES[name]]), torch.tensor([1]))
    for sim in (changed, untouched):
        sim.commit()
        place(sim, 0.33, root_lin_vel=torch.tensor([[0.0, 0.5, 0.0]]).repeat(3, 1))
        hold(sim, 40, offset=0.2)
    assert [bool(differing(snapshot(changed), snapshot(untouched), robot)) for robot in range(3)] == [
        False,
        True,
        False,
    ]
