"""What every engine behind `Simulator` must do: the robot it describes, motors, states, faults, parameters."""

from __future__ import annotations

import pytest
import torch

from legged_gym_ext.utils.errors import UserError
from tests.engines import JOINTS, LIMITS, MASS, STATES, differing, hold, place, random_state, snapshot, state_of

# -- what an engine says about the robot -------------------------------------------------------------------------------


def test_joints_limits_and_masses_are_those_of_the_robots_files(make):
    sim = make(1)
    assert sim.joint_names == JOINTS
    assert torch.equal(sim.torque_limits, LIMITS)
    assert torch.allclose(
        sim.default_dof_pos, torch.tensor([0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5])
    )
    assert torch.allclose(sim.dof_pos_limits[0], torch.tensor([-1.0472, 1.0472]), atol=1e-6)
    assert sim.mass == pytest.approx(MASS, abs=1e-3) and sim.base_mass == pytest.approx(6.923, abs=2e-3)
    assert sim.foot_radius == pytest.approx(0.022)
    # Mean of 0.3235 (front) and 0.3139 (rear), computed from link lengths for this pose.
    assert sim.standing_height == pytest.approx(0.3187, abs=1e-4)


def test_feet_are_the_last_contacts_and_every_contact_knows_its_joint(make):
    sim = make(1)
    bodies = [f"{leg}_{part}" for leg in ("FL", "FR", "RL", "RR") for part in ("thigh", "calf")]
    assert sim.contact_names == ["base", *bodies, *(f"{leg}_foot" for leg in ("FL", "FR", "RL", "RR"))]
    # -1: the base; then thigh and calf of each leg, and each foot at its leg's third joint.
    assert sim.contact_joints == [-1, 1, 2, 4, 5, 7, 8, 10, 11, 2, 5, 8, 11]
    assert [leg.joints for leg in sim.legs] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]


def test_all_tensors_have_a_row_per_robot(make):
    sim = make(3)
    for moment in ("made", "stepped", "reset"):
        shapes = {name: tuple(value.shape[1:]) for name, value in snapshot(sim).items() if len(value) == 3}
        assert shapes == {
            **{"root_pos": (3,), "root_quat": (4,), "root_lin_vel": (3,), "root_ang_vel": (3,), "dof_pos": (12,)},
            **{"dof_vel": (12,), "torques": (12,), "foot_pos": (4, 3), "contact_forces": (13, 3)},
        }, moment
        assert all(value.dtype == torch.float32 and value.device == sim.device for value in snapshot(sim).values())
        hold(sim) if moment == "made" else place(sim)


# -- motors ------------------------------------------------------------------------------------------------------------


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
def test_motors_follow_their_law(make, motor, speed, offset, expected):
    sim = make(1, control__motor=motor)
    velocity = torch.zeros(1, 12)
    velocity[0, 0] = speed  # FL hip: 23.7 N m, 30.1 rad/s
    place(sim, dof_vel=velocity)
    hold(sim, offset=offset)
    assert sim.torques[0, 0].item() == pytest.approx(expected, abs=1e-3)


def test_every_motor_has_its_own_limit(make):
    sim = make(control__motor="ideal")
    place(sim)
    hold(sim, offset=3.0)  # 20 * 3 = 60 N m asked for
    assert torch.allclose(sim.torques, LIMITS.expand(2, 12), atol=1e-4)


def test_motors_are_evaluated_in_every_physics_step(make):
    once, often = make(1), make(1)
    for sim in (once, often):
        place(sim)
    hold(once, 4, offset=0.5)
    torques = []
    for _ in range(4):
        hold(often, 1, offset=0.5)
        torques.append(often.torques.clone())
    assert torch.equal(once.dof_pos, often.dof_pos) and torch.equal(once.torques, often.torques)
    assert (torques[0] - torques[-1]).abs().max() > 0.1  # the joint moved, so did the torque


def test_delay_holds_the_old_target_for_exactly_that_many_physics_steps(make):
    sim = make(3, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.0, 0.01, 0.02]))
    place(sim)
    pulled = []
    for _ in range(6):
        hold(sim, 1, offset=0.5)
        pulled.append(sim.torques[:, 0] > 5.0)
    first = torch.stack(pulled).int().argmax(0)
    assert first.tolist() == [0, 2, 4]  # 0, 10 and 20 ms at 5 ms a step


def test_reset_empties_the_delay_line_of_its_robots_alone(make):
    sim = make(2, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.02, 0.02]))
    place(sim)
    hold(sim, 3, offset=0.5)  # not a step of these has arrived
    sim.reset(torch.tensor([1]), state_of(sim, 1))
    hold(sim, 2)
    assert sim.torques[1].abs().max() < 0.05  # at the default pose, but for what gravity has moved in two steps
    assert (sim.torques[0] > 9.0).all()  # 20 N m / rad * 0.5 rad arrived after four


def test_delays_beyond_the_configuration_are_refused(make):
    sim = make(1, domain_rand__randomize_delay=True)
    for seconds in (0.03, -0.005):
        with pytest.raises(ValueError, match=r"delays must be in \[0, 0.02\]"):
            sim.set_parameter("delay", torch.tensor([seconds]))
    with pytest.raises(ValueError, match=r"delays must be in \[0, 0\]"):
        make(1).set_parameter("delay", torch.tensor([0.005]))
    with pytest.raises(ValueError, match=r"delays must be whole physics steps of 0\.005 s, found 0\.007 s"):
        sim.set_parameter("delay", torch.tensor([0.007]))


# -- states ------------------------------------------------------------------------------------------------------------


def test_reset_sets_the_given_state_and_touches_no_other_robot(make):
    sim = make(4)
    place(sim)
    hold(sim, 3, offset=0.2)
    before, state = snapshot(sim), random_state(sim, 2)
    sim.reset(torch.tensor([0, 2]), state)
    for name in STATES:
        assert torch.allclose(getattr(sim, name)[[0, 2]], getattr(state, name), atol=1e-5), name
    assert differing(snapshot(sim), before, 1) == differing(snapshot(sim), before, 3) == []


def test_feet_are_where_the_joints_put_them_right_after_a_reset(make):
    sim = make(1)
    place(sim, sim.standing_height)
    # Feet touch on average: front 0.3235 m and rear 0.3139 m below the base, less the radius of 22 mm.
    expected = sim.standing_height - torch.tensor([0.3235, 0.3235, 0.3139, 0.3139]) + 0.022
    assert torch.allclose(sim.foot_pos[0, :, 2], expected, atol=1e-4)
    assert sim.foot_pos[0, :2, 0].min() > 0.1 and sim.foot_pos[0, 2:, 0].max() < -0.1  # front, rear
    assert (sim.foot_pos[0, [0, 2], 1] > 0.0).all() and (sim.foot_pos[0, [1, 3], 1] < 0.0).all()  # left, right


def test_a_push_changes_the_velocities_of_the_bases_alone(make):
    sim = make(2)
    sim.reset(torch.arange(2), random_state(sim, 2))
    before = snapshot(sim, STATES)
    pushed = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    sim.set_root_lin_vel(pushed)
    assert torch.allclose(sim.root_lin_vel, pushed, atol=1e-6)
    assert differing(snapshot(sim, STATES), before) == ["root_lin_vel"]
    hold(sim)
    gravity = torch.tensor([0.0, 0.0, -9.81 * sim.dt])
    moved = (sim.root_pos - before["root_pos"]) / sim.dt
    assert torch.allclose(moved, pushed + gravity, atol=0.1)  # it counts in the next step


def test_a_saved_state_continues_in_another_simulator_of_the_same_model(make):
    first, second = (make(2, domain_rand__randomize_delay=True) for _ in range(2))
    for sim in (first, second):
        sim.set_parameter("delay", torch.tensor([0.0, 0.02]))
    place(first, 0.34)
    place(second, 0.5)
    hold(first, 21, offset=0.1)
    hold(second, 5, offset=-0.3)
    second.load_state_dict(first.state_dict())
    assert differing(snapshot(second, STATES), snapshot(first, STATES)) == []
    for sim in (first, second):
        hold(sim, 20, offset=-0.1)  # the targets that were on their way arrive in both
    assert differing(snapshot(second), snapshot(first)) == []


def test_a_saved_state_is_a_copy_that_later_steps_do_not_change(make):
    sim = make(2)
    place(sim, 0.34)
    hold(sim, 20, offset=0.1)
    saved = sim.state_dict()
    hold(sim, 20)
    expected = snapshot(sim)
    sim.load_state_dict(saved)
    hold(sim, 20)
    assert differing(snapshot(sim), expected) == []


def test_states_can_be_written_outside_of_the_inference_mode_of_the_first_step(make):
    sim = make(2)
    with torch.inference_mode():
        hold(sim)
    sim.reset(torch.tensor([1]), random_state(sim, 1))
    sim.set_parameter("kp", torch.full((1, 12), 5.0), torch.tensor([1]))
    sim.load_state_dict(sim.state_dict())
    hold(sim)
    assert not sim.faults().any()


def test_a_state_that_is_not_finite_is_a_fault_of_its_robot_alone_until_its_reset(make):
    broken, sound = make(3), make(3)
    for sim in (broken, sound):
        place(sim)
        hold(sim)
    assert not broken.faults().any()
    lost = torch.full((1, 3), torch.nan)
    broken.reset(torch.tensor([1]), state_of(broken, 1, root_lin_vel=lost))
    assert broken.faults().tolist() == [False, True, False]
    for sim in (broken, sound):
        sim.reset(torch.tensor([1]), state_of(sim, 1))
        assert not sim.faults().any()
        hold(sim, 4)
    assert not broken.faults().any()
    assert differing(snapshot(broken), snapshot(sound)) == []


# -- parameters --------------------------------------------------------------------------------------------------------


def test_gains_change_only_the_chosen_robots(make):
    sim = make(2)
    sim.set_parameter("kp", torch.full((1, 12), 30.0), torch.tensor([1]))
    sim.set_parameter("kd", torch.full((1, 12), 1.0), torch.tensor([1]))
    place(sim, dof_vel=torch.full((2, 12), 2.0))
    hold(sim, 1, offset=0.3)
    # 20 * 0.3 - 0.5 * 2 = 5 and 30 * 0.3 - 1.0 * 2 = 7 N m
    assert torch.allclose(sim.torques[0], torch.full((12,), 5.0), atol=1e-3)
    assert torch.allclose(sim.torques[1], torch.full((12,), 7.0), atol=1e-3)


@pytest.mark.parametrize(("name", "low", "high"), [("joint_damping", 0.0, 2.0), ("joint_friction_scale", 0.0, 5.0)])
def test_more_damping_or_friction_makes_joints_slower(make, name, low, high):
    sim = make(2)
    sim.set_parameter(name, torch.tensor([low, high]))
    sim.commit()
    place(sim)
    hold(sim, 12, offset=0.3)
    moved = (sim.dof_pos - sim.default_dof_pos).abs().sum(-1)
    assert moved[1] < 0.95 * moved[0]


def test_joint_stiffness_pulls_towards_the_default_pose(make):
    sim = make(2)
    for name in ("kp", "kd"):
        sim.set_parameter(name, torch.zeros(2, 12))
    sim.set_parameter("joint_stiffness", torch.tensor([0.0, 20.0]))
    sim.set_parameter("joint_friction_scale", torch.zeros(2))
    place(sim, dof_pos=sim.default_dof_pos.repeat(2, 1) + 0.2)
    hold(sim, 8)
    away = (sim.dof_pos - sim.default_dof_pos).abs().mean(-1)
    # At least 20 N m / rad * 0.2 rad on 0.5 kg m^2, the double's joints, for 40 ms: 0.5 * 8 rad/s^2 * (40 ms)^2 = 6 mm
    # rad.
    assert away[1] < away[0] - 0.005


def test_an_unknown_parameter_is_an_error(make):
    with pytest.raises(ValueError, match="unknown physics parameter 'mass'"):
        make(1).set_parameter("mass", torch.ones(1))


def test_no_more_mass_is_taken_off_the_base_than_it_has(make):
    with pytest.raises(UserError, match=r"added mass -7.000 kg: the base has 6.92\d kg"):
        make(1).set_parameter("added_mass", torch.tensor([-7.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset__foot_name": "paw"}, "asset.foot_name 'paw'"),
        ({"asset__penalize_contacts_on": ["tail"]}, "no body is named like 'tail'"),
        ({"asset__base_name": "trunk"}, "asset.base_name 'trunk'"),
        ({"asset__torque_limits": {"hip": 1.0}}, "asset.torque_limits has no entry for joint 'FL_thigh_joint'"),
        ({"control__motor": "hydraulic"}, "unknown control.motor 'hydraulic'"),
        ({"control__control_type": "T"}, "control.control_type is 'T'"),
        ({"init_state__default_joint_angles": {"FL_hip_joint": 0.0}}, "joints differ"),
        ({"env__num_actions": 11}, "env.num_actions is 11"),
    ],
)
def test_wrong_configuration_is_one_clear_error(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(1, **changes)
