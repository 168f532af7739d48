"""Reward terms against numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
from legged_gym_ext.envs.base.rewards import TERMS, RewardSum, note_signs
from legged_gym_ext.utils.errors import UserError


def fake(**values: Any) -> Any:
    """Two robots; every attribute a term may read is given by the test."""
    cfg = LeggedRobotCfg()
    cfg.rewards.air_time_target, cfg.rewards.foot_clearance_target = 0.4, 0.08
    env = SimpleNamespace(cfg=cfg, dt=0.02, num_envs=2, device=torch.device("cpu"))
    for name, value in values.items():
        setattr(env, name, torch.tensor(value) if isinstance(value, list) else value)
    return env


ONES = [[1.0] * 12, [0.0] * 12]

CASES = {
    # error (0.5, 0) gives exp(-0.25 / 0.25); no error gives 1
    "tracking_lin_vel": (
        {"commands": [[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]], "base_lin_vel": [[0.5, 0.0, 9.0], [0.0, 0.5, 0.0]]},
        [math.exp(-1.0), 1.0],
    ),
    "tracking_ang_vel": (
        {"commands": [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], "base_ang_vel": [[9.0, 9.0, 0.0], [0.0, 0.0, 0.5]]},
        [math.exp(-4.0), math.exp(-1.0)],
    ),
    "lin_vel_z": ({"base_lin_vel": [[9.0, 9.0, 0.5], [0.0, 0.0, -2.0]]}, [0.25, 4.0]),
    "ang_vel_xy": ({"base_ang_vel": [[1.0, 2.0, 9.0], [0.0, -3.0, 0.0]]}, [5.0, 9.0]),
    "orientation": ({"projected_gravity": [[0.6, 0.0, -0.8], [0.0, 0.0, -1.0]]}, [0.36, 0.0]),
    "base_height": ({"base_height": [0.4, 0.3], "base_height_target": 0.3}, [0.01, 0.0]),
    # a change of 0.2 rad/s within 0.02 s is 10 rad/s^2, on one joint
    "dof_acc": ({"dof_vel": [[0.2, 0.0], [1.0, 1.0]], "last_dof_vel": [[0.0, 0.0], [1.0, 1.0]]}, [100.0, 0.0]),
    "dof_vel": ({"dof_vel": [[1.0, -2.0], [0.0, 3.0]]}, [5.0, 9.0]),
    # each joint's power counts positive, so that braking does not pay for driving
    "dof_power": ({"torques": [[2.0, -3.0], [1.0, 0.0]], "dof_vel": [[1.0, 1.0], [4.0, 5.0]]}, [5.0, 4.0]),
    "torques": ({"torques": [[2.0, -3.0], [1.0, 0.0]]}, [13.0, 1.0]),
    "action_rate": ({"actions": ONES, "last_actions": [[0.5] * 12, [0.0] * 12]}, [3.0, 0.0]),
    # 1 - 2 * 0.5 + 0.25 = 0.25 on twelve joints: 12 / 16
    "action_smoothness": (
        {"actions": ONES, "last_actions": [[0.5] * 12, [0.0] * 12], "last_last_actions": [[0.25] * 12, [0.0] * 12]},
        [0.75, 0.0],
    ),
    "dof_pos_limits": (
        {"dof_pos": [[1.5, -2.0], [0.0, 0.0]], "soft_dof_pos_limits": [[-1.0, 1.0], [-1.0, 1.0]]},
        [1.5, 0.0],
    ),
    "collision": ({"contact_states": [[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]], "penalised_contacts": [0, 1]}, [2.0, 1.0]),
    # a touch-down after 0.6 s pays 0.2 s; the second robot is commanded to stand
    "feet_air_time": (
        {"feet_air_time": [[0.6, 0.9], [0.6, 0.6]], "first_contact": [[1.0, 0.0], [1.0, 1.0]], "moving": [1.0, 0.0]},
        [0.2, 0.0],
    ),
    # 3 cm too low at 2 m/s: 0.0009 * 2
    "foot_clearance": (
        {"foot_height": [[0.05, 0.0], [0.08, 0.0]], "foot_speed": [[2.0, 0.0], [9.0, 0.0]]},
        [0.0018, 0.0],
    ),
    "trot": (
        {
            "foot_contact": [[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]],
            "moving": [1.0, 1.0],
            "corners": [0, 1, 2, 3],
        },
        [1.0, 0.0],
    ),
    "feet_slip": ({"foot_speed": [[2.0, 3.0], [1.0, 1.0]], "foot_contact": [[1.0, 0.0], [0.0, 0.0]]}, [4.0, 0.0]),
    # |(0, 30, 40)| * 3 = 150 N, 50 N too many
    "feet_contact_forces": (
        {
            "sim": SimpleNamespace(contact_forces=torch.tensor([[[0.0, 90.0, 120.0]], [[0.0, 0.0, 99.0]]])),
            "foot_contacts": [0],
        },
        [50.0, 0.0],
    ),
    "stand_still": (
        {"dof_pos": [[0.3, -0.1], [0.3, -0.1]], "default_dof_pos": [0.1, 0.1], "moving": [0.0, 1.0]},
        [0.4, 0.0],
    ),
    "hip_pos": ({"dof_pos": [[0.3, 5.0], [0.1, 5.0]], "default_dof_pos": [0.1, 0.0], "hip_joints": [0]}, [0.04, 0.0]),
    "termination": ({"fall_buf": [True, False]}, [1.0, 0.0]),
    "alive": ({"base_height": [0.3, 0.2]}, [1.0, 1.0]),
}


def test_every_term_has_a_case():
    assert set(CASES) == set(TERMS)


@pytest.mark.parametrize("name", CASES)
def test_term_equals_the_number_worked_out_by_hand(name):
    values, expected = CASES[name]
    assert torch.allclose(TERMS[name].function(fake(**values)).float(), torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("feet", "pays"),
    [([1, 0, 0, 1], 1), ([0, 1, 1, 0], 1), ([1, 1, 1, 1], 0), ([0, 0, 0, 0], 0), ([1, 0, 1, 0], 0), ([1, 0, 0, 0], 0)],
)
def test_trot_pays_for_exactly_one_diagonal_pair(feet, pays):
    env = fake(foot_contact=[[float(f) for f in feet]] * 2, moving=[1.0, 0.0], corners=[0, 1, 2, 3])
    assert TERMS["trot"].function(env).tolist() == [bool(pays), False]


def test_trot_finds_the_diagonals_whatever_order_the_feet_are_in():
    # Feet FL RR FR RL: the diagonals are feet 0 and 1, and 2 and 3; feet 0 and 3 are the left side.
    env = fake(foot_contact=[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]], moving=[1.0, 1.0], corners=[0, 2, 3, 1])
    assert TERMS["trot"].function(env).tolist() == [True, False]


NO_FAULTS = torch.zeros(2, dtype=torch.bool)


def test_sum_is_weights_times_the_control_step_and_adds_up_over_the_episode():
    env = fake(base_height=[0.3, 0.3], base_lin_vel=[[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    rewards = RewardSum(env, {"alive": 10.0, "lin_vel_z": -1.0, "torques": 0.0})
    assert rewards.names == ["alive", "lin_vel_z"]
    for _ in range(2):
        # (10 - 1) * 0.02 and (10 - 4) * 0.02
        assert torch.allclose(rewards.compute(NO_FAULTS), torch.tensor([0.18, 0.12]))
    assert torch.allclose(rewards.episode_sums, torch.tensor([[0.4, 0.4], [-0.04, -0.16]]))


def test_negative_sums_are_clipped_but_a_fall_still_hurts():
    env = fake(base_lin_vel=[[0.0, 0.0, 3.0], [0.0, 0.0, 3.0]], fall_buf=[True, False])
    rewards = RewardSum(env, {"lin_vel_z": -1.0, "termination": -5.0})
    assert torch.allclose(rewards.compute(NO_FAULTS), torch.tensor([-0.1, 0.0]))
    env.cfg.rewards.only_positive_rewards = False
    unclipped = RewardSum(env, {"lin_vel_z": -1.0, "termination": -5.0})
    assert torch.allclose(unclipped.compute(NO_FAULTS), torch.tensor([-0.28, -0.18]))


def test_a_fault_earns_nothing_even_when_its_terms_are_nan():
    env = fake(base_height=[float("nan"), 0.3], base_height_target=0.1)
    rewards = RewardSum(env, {"base_height": 1.0})
    assert torch.allclose(rewards.compute(torch.tensor([True, False])), torch.tensor([0.0, 0.0008]))
    assert torch.isfinite(rewards.episode_sums).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_unknown_name_is_refused_also_at_weight_zero(weight):
    with pytest.raises(UserError, match=r"unknown reward 'torque'.*did you mean torques"):
        RewardSum(fake(), {"torque": weight})


def test_a_method_of_the_environment_replaces_a_term():
    env = fake(base_height=[0.3, 0.3], _reward_alive=lambda: torch.tensor([7.0, 8.0]))
    assert torch.allclose(RewardSum(env, {"alive": 1.0}).compute(NO_FAULTS), torch.tensor([0.14, 0.16]))


def test_parts_are_kept_unclipped_and_a_fault_earns_neither_parts_nor_the_fall():
    env = fake(base_lin_vel=[[0.0, 0.0, 2.0], [0.0, 0.0, float("nan")]], base_height=[0.3, 0.3], fall_buf=[True, True])
    rewards = RewardSum(env, {"alive": 1.0, "lin_vel_z": -1.0, "termination": -5.0})
    # Robot 0: max(0, 1 - 4) - 5 = -5, times 0.02 s.
    assert torch.allclose(rewards.compute(torch.tensor([False, True])), torch.tensor([-0.1, 0.0]))
    assert torch.allclose(rewards.episode_sums, torch.tensor([[0.02, 0.0], [-0.08, 0.0], [-0.1, 0.0]]))


def test_a_method_of_the_environment_may_be_a_term_of_its_own():
    env = fake(_reward_mine=lambda: torch.tensor([1.0, 2.0]))
    # 100 * 0.02 each
    assert torch.allclose(RewardSum(env, {"mine": 100.0}).compute(NO_FAULTS), torch.tensor([2.0, 4.0]))


def test_a_hasty_step_costs_and_feet_in_the_air_earn_nothing():
    env = fake(feet_air_time=[[0.1, 0.9], [0.0, 0.9]], first_contact=[[1.0, 0.0], [0.0, 0.0]], moving=[1.0, 1.0])
    assert torch.allclose(TERMS["feet_air_time"].function(env), torch.tensor([-0.3, 0.0]))  # 0.1 - 0.4


def test_every_reward_has_a_weight_in_the_configuration():
    assert set(vars(LeggedRobotCfg().rewards.scales)) == set(TERMS)


@pytest.mark.parametrize("task", ["go1", "go2"])
def test_penalties_have_negative_weights_and_rewards_positive_ones(task):
    scales = vars(task_registry.get_cfgs(task)[0].rewards.scales)
    assert {name for name, weight in scales.items() if weight * TERMS[name].sign < 0.0} == set()


def test_a_weight_of_the_wrong_sign_is_noted():
    assert note_signs({"torques": 0.1, "alive": 1.0, "trot": -2.0, "collision": 0.0, "own": -1.0}) == [
        "note: rewards.scales.torques=0.1, and 'torques' is a penalty: expected the other sign",
        "note: rewards.scales.trot=-2, and 'trot' is a reward: expected the other sign",
    ]


@pytest.mark.parametrize(
    ("value", "said"), [(torch.ones(2, 1), r"\(2, 1\)"), (torch.ones(3), r"\(3,\)"), (1.0, "1.0")], ids=str
)
def test_a_term_of_another_shape_is_named(value, said):
    rewards = RewardSum(fake(_reward_mine=lambda: value), {"mine": 1.0})
    with pytest.raises(UserError, match=rf"reward 'mine' returned {said}, expected a tensor of shape \(2,\)"):
        rewards.compute(torch.zeros(2, dtype=torch.bool))


def test_a_misspelt_weight_of_an_own_method_names_the_method():
    env = fake(_reward_narrow_front=lambda: torch.zeros(2))
    with pytest.raises(
        UserError, match=r"unknown reward 'narow_front' in rewards\.scales; did you mean narrow_front\?"
    ):
        RewardSum(env, {"narow_front": 1.0})
