"""The figures of an evaluation, worked out by hand on an environment that plays back a table."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from legged_gym_ext.terrain import RoughTerrain  # noqa: E402
from legged_gym_ext.training.evaluation import UNITS, evaluate_policy  # noqa: E402

STILL = (0.0, 0.0, 0.0)  # vx, vy [m/s], yaw rate [rad/s]


class Step:
    """What one robot does in one control step."""

    def __init__(
        self,
        command: tuple[float, float, float] = STILL,
        motion: tuple[float, float, float] = STILL,
        reward: float = 0.0,
        torques: tuple[float, float] = (0.0, 0.0),
        speeds: tuple[float, float] = (0.0, 0.0),
        end: str = "",
    ) -> None:
        self.command, self.motion, self.reward = command, motion, reward
        self.torques, self.speeds, self.end = torques, speeds, end


class FakeVecEnv:
    """N robots that play back one list of `Step`s each, whatever they are told.

    As in the real environment, commands are resampled at the end of a step, in place, so that the command of a step is
    what stood there before it. Observations are the number of steps since the reset.
    """

    def __init__(self, *robots: list[Step], curriculum: bool = False) -> None:
        self.env = self
        self.robots, self.num_envs, self.max_episode_length = robots, len(robots), len(robots[0])
        self.device, self.dt = torch.device("cpu"), 0.5
        self.cfg = SimpleNamespace(commands=SimpleNamespace(curriculum=curriculum, max_curriculum=2.0))
        self.command_sampler = SimpleNamespace(ranges=torch.tensor([[-0.5, 0.5], [-0.25, 0.25]]))
        self.episode_length_buf = torch.full((self.num_envs,), 77)
        self.commands = torch.full((self.num_envs, 4), 99.0)
        self.terrain = SimpleNamespace(is_flat=True)
        self.steps, self.actions, self.lengths_at_reset = 99, [], None

    def reset(self) -> None:
        """Go back to the first step."""
        self.steps, self.lengths_at_reset = 0, self.episode_length_buf.tolist()
        self._command()

    def _command(self) -> None:
        commands = [robot[self.steps].command for robot in self.robots]
        self.commands[:, :3] = torch.tensor(commands)

    def get_observations(self) -> Any:
        """(N, 1) steps since the reset."""
        return torch.full((self.num_envs, 1), float(self.steps))

    def step(self, actions: Any) -> tuple[Any, Any, Any, dict]:
        """Play back the next line of the table."""
        self.actions.append(actions.tolist())
        now = [robot[self.steps] for robot in self.robots]
        motion = torch.tensor([step.motion for step in now])
        self.base_lin_vel = torch.cat((motion[:, :2], torch.full((self.num_envs, 1), 5.0)), dim=1)  # vz never counts
        self.base_ang_vel = torch.cat((torch.full((self.num_envs, 2), 5.0), motion[:, 2:]), dim=1)
        self.torques = torch.tensor([step.torques for step in now])
        self.dof_vel = torch.tensor([step.speeds for step in now])
        self.fall_buf = torch.tensor([step.end == "fall" for step in now])
        self.fault_buf = torch.tensor([step.end == "fault" for step in now])
        self.reset_buf = torch.tensor([step.end != "" for step in now])
        rewards = torch.tensor([step.reward for step in now])
        self.steps += 1
        if self.steps < self.max_episode_length:
            self._command()
        else:
            self.commands.fill_(99.0)
        return self.get_observations(), rewards, self.reset_buf.long(), {}


def evaluate(*robots: list[Step]) -> dict[str, Any]:
    """Figures of a policy that does nothing."""
    return evaluate_policy(FakeVecEnv(*robots), lambda observations: torch.zeros(len(observations), 2))


def approx(value: float) -> Any:
    """`value` to the precision of the float32 numbers in the table."""
    return pytest.approx(value, rel=1e-6, abs=1e-6)


# Two robots, episodes of at most four steps of 0.5 s. The first falls in its second step; what it does afterwards
# belongs to another episode. The last step of an episode shows the state after the reset: it counts for reward and
# length only. That leaves four samples: A1, B1, B2, B3.
FALLER = [
    # Error (0.3, -0.4) m/s: square 0.25; yaw 0. Power |2 * 3| + |-1 * 4| = 10 W.
    Step((1.0, 0.0, 0.0), (0.7, 0.4, 0.0), 1.0, (2.0, -1.0), (3.0, 4.0)),
    Step((1.0, 0.0, 0.0), (9.0, 9.0, 9.0), 2.0, (9.0, 9.0), (9.0, 9.0), "fall"),
    Step((1.0, 0.0, 0.0), (8.0, 8.0, 8.0), 50.0, (9.0, 9.0), (9.0, 9.0)),
    Step((1.0, 0.0, 0.0), (8.0, 8.0, 8.0), 50.0, (9.0, 9.0), (9.0, 9.0), "fall"),
]
WALKER = [
    # Linear 0; yaw 0.5 - 0 = 0.5 rad/s: square 0.25. 2 W.
    Step((0.0, 0.5, 0.5), (0.0, 0.5, 0.0), 0.5, (1.0, 1.0), (-1.0, 1.0)),
    # Linear 1 - 0 = 1 m/s: square 1; yaw 0 - 1: square 1. 0 W.
    Step((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.25),
    # No error. 4 W.
    Step((-1.0, 0.0, -1.0), (-1.0, 0.0, -1.0), 0.25, (-2.0, 0.0), (2.0, 3.0)),
    Step((0.0, 0.0, 0.0), (7.0, 7.0, 7.0), 4.0, (9.0, 9.0), (9.0, 9.0), "time"),
]


def test_an_evaluation_returns_exactly_the_documented_metrics() -> None:
    assert list(evaluate(FALLER, WALKER)) == [*UNITS, "standard_error"]


def test_return_is_the_mean_reward_sum_of_the_first_episodes() -> None:
    # Faller 1 + 2 = 3, walker 0.5 + 0.25 + 0.25 + 4 = 5; mean 4.
    assert evaluate(FALLER, WALKER)["return"] == approx(4.0)


def test_standard_errors_are_those_of_episodes() -> None:
    # Returns 3 and 5: deviation of the sample sqrt(2), of its mean 1. One of two fell: sqrt(1 / 2) / sqrt(2).
    found = evaluate(FALLER, WALKER)["standard_error"]
    assert list(found) == list(UNITS)
    assert found["return"] == approx(1.0)
    assert found["fall_rate"] == approx(0.5)


def test_episode_length_is_in_seconds_and_counts_the_last_step() -> None:
    # 2 and 4 steps of 0.5 s: 1 s and 2 s, mean 1.5 s.
    assert evaluate(FALLER, WALKER)["episode_length"] == approx(1.5)


def test_linear_tracking_is_the_mean_kernel_over_all_steps_that_did_not_end_an_episode() -> None:
    # Squares 0.25, 0, 1, 0 over 0.25: (e^-1 + 1 + e^-4 + 1) / 4.
    assert evaluate(FALLER, WALKER)["linear_tracking"] == approx((math.exp(-1) + 1 + math.exp(-4) + 1) / 4)


def test_yaw_tracking_is_the_mean_kernel_over_all_steps_that_did_not_end_an_episode() -> None:
    # Squares 0, 0.25, 1, 0 over 0.25: (1 + e^-1 + e^-4 + 1) / 4.
    assert evaluate(FALLER, WALKER)["yaw_tracking"] == approx((1 + math.exp(-1) + math.exp(-4) + 1) / 4)


def test_rmse_is_the_root_of_the_mean_square_of_the_planar_error() -> None:
    # Linear: (0.25 + 0 + 1 + 0) / 4 = 0.3125. Yaw: (0 + 0.25 + 1 + 0) / 4 = 0.3125.
    figures = evaluate(FALLER, WALKER)
    assert figures["linear_rmse"] == approx(math.sqrt(0.3125))
    assert figures["yaw_rmse"] == approx(math.sqrt(0.3125))


def test_linear_and_yaw_errors_do_not_mix() -> None:
    # Two steps with an error of (0, 2) m/s and of 0.5 rad/s, then the end.
    walk = [Step((0.0, 2.0, 0.0), (0.0, 0.0, 0.5))] * 2 + [Step(end="time")]
    figures = evaluate(walk)
    assert (figures["linear_rmse"], figures["yaw_rmse"]) == (approx(2.0), approx(0.5))


def test_progress_is_the_way_along_the_commanded_direction_over_the_commanded_way() -> None:
    # 0.5 of 1 m/s, sideways motion does not count; 0.5 of 0.5 m/s; standing adds nothing: 1.0 of 1.5.
    walk = [
        Step((1.0, 0.0, 0.0), (0.5, 3.0, 0.0)),
        Step((0.0, -0.5, 0.0), (0.0, -0.5, 0.0)),
        Step(motion=(1.0, 1.0, 0.0)),
    ]
    assert evaluate([*walk, Step(end="time")])["progress"] == approx(1.0 / 1.5)


def test_progress_backwards_is_negative_and_nothing_commanded_is_all_of_it() -> None:
    assert evaluate([Step((0.0, 2.0, 0.0), (0.0, -1.0, 0.0)), Step(end="time")])["progress"] == approx(-0.5)
    assert evaluate([Step(motion=(1.0, 0.0, 0.0)), Step(end="time")])["progress"] == 1.0


def test_energy_sums_absolute_joint_powers_so_that_braking_does_not_pay_back() -> None:
    # (10 + 2 + 0 + 4) / 4 W.
    assert evaluate(FALLER, WALKER)["energy"] == approx(4.0)


@pytest.mark.parametrize(("end", "rate"), [("fall", 0.25), ("fault", 0.25), ("time", 0.0)])
def test_falls_and_failed_physics_count_as_falls_and_time_outs_do_not(end: str, rate: float) -> None:
    survivors = [[Step(), Step(end="time")]] * 3
    assert evaluate([Step(end=end), Step()], *survivors)["fall_rate"] == rate


def test_a_fall_in_a_second_episode_does_not_count() -> None:
    figures = evaluate([Step(end="time"), Step(end="fall")], [Step(), Step(end="time")])
    assert figures["fall_rate"] == 0.0


def test_evaluation_ends_with_the_last_first_episode() -> None:
    seen = []
    env = FakeVecEnv([Step(end="fall"), *[Step()] * 3], [Step(), Step(end="fall"), Step(), Step()])
    evaluate_policy(env, lambda observations: torch.zeros(2, 2), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4)] and env.steps == 2


def test_every_episode_is_whole_whatever_happened_before_the_evaluation() -> None:
    env = FakeVecEnv(FALLER, WALKER)
    evaluate_policy(env, lambda observations: torch.zeros(2, 2))
    assert env.lengths_at_reset == [0, 0]  # they stood at 77 of 4 steps


def test_the_policy_acts_on_the_observations_of_the_reset_and_of_each_step() -> None:
    env = FakeVecEnv(FALLER, WALKER)
    evaluate_policy(env, lambda observations: observations + 10.0)
    assert env.actions == [[[10.0], [10.0]], [[11.0], [11.0]], [[12.0], [12.0]], [[13.0], [13.0]]]


@pytest.mark.parametrize(("curriculum", "expected"), [(True, [-2.0, 2.0]), (False, [-0.5, 0.5])])
def test_commands_come_from_the_widest_range_of_a_curriculum_and_only_there(
    curriculum: bool, expected: list[float]
) -> None:
    env = FakeVecEnv([Step(), Step(end="time")], curriculum=curriculum)
    evaluate_policy(env, lambda observations: torch.zeros(1, 2))
    assert env.command_sampler.ranges.tolist() == [expected, [-0.25, 0.25]]


def test_an_evaluation_in_which_everybody_falls_at_once_has_finite_figures() -> None:
    figures = evaluate([Step(end="fall"), Step()], [Step(end="fall"), Step()])
    assert all(math.isfinite(figures[name]) for name in UNITS)
    assert figures["fall_rate"] == 1.0 and figures["episode_length"] == 0.5


def test_on_a_map_the_figures_of_each_kind_and_level_are_those_of_the_robots_there() -> None:
    env = FakeVecEnv([Step(reward=1.0), Step()], [Step(reward=2.0), Step(end="fall")], [Step(reward=6.0), Step()])
    terrain: Any = object.__new__(RoughTerrain)
    terrain.levels = torch.tensor([0, 4, 4])
    rows = {"pit": torch.tensor([True, True, False]), "gap": torch.tensor([False, False, True])}
    terrain.robots_by_kind = lambda: rows
    env.terrain = terrain
    figures = evaluate_policy(env, lambda observations: torch.zeros(len(observations), 2))
    assert figures["return"] == approx(3.0)
    assert {kind: part["return"] for kind, part in figures["kinds"].items()} == {"pit": approx(1.5), "gap": approx(6.0)}
    assert {kind: part["fall_rate"] for kind, part in figures["kinds"].items()} == {"pit": 0.5, "gap": 0.0}
    assert {level: part["return"] for level, part in figures["levels"].items()} == {"0": approx(1.0), "4": approx(4.0)}
