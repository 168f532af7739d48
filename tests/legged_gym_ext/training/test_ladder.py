"""The ladder: its metrics, worked out by hand, and which robots count, on robots that tests put where they want."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.scripts import evaluate  # noqa: E402
from legged_gym_ext.simulators.base import RobotState  # noqa: E402
from legged_gym_ext.training.ladder import configure_ladder, ladder_level, ladder_metrics, make_plan  # noqa: E402
from legged_gym_ext.training.ladder_run import Ladder, Tally  # noqa: E402
from legged_gym_ext.utils.config import to_dict  # noqa: E402
from legged_gym_ext.utils.errors import UserError  # noqa: E402
from legged_gym_ext.utils.math import yaw_of  # noqa: E402
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv  # noqa: E402
from tests.ground import terrain_cfg  # noqa: E402

# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "level"),
    [
        ([0.79, 1.0, 1.0], -1),  # what lies above a level that was not passed does not count
        ([0.8, 0.5, 0.9], 0),
        ([1.0, 0.8, 0.79, 0.8], 1),
        ([1.0, 0.9, 0.8], 2),
        ([0.0] * 10, -1),
    ],
)
def test_the_climbed_level_is_the_last_before_the_first_that_less_than_four_fifths_pass(rates, level):
    assert ladder_level(rates) == level


def test_score_and_heights_are_those_of_the_climbed_levels():
    # Level 6 of stairs: 5 + 1.8 x 6 = 15.8 cm; 2 of slopes: 0.08; none of the obstacles; 9 of the rest.
    rates = {"stairs_up": [1.0] * 7 + [0.5] * 3, "slope_up": [0.9] * 3 + [0.0] * 7, "discrete": [0.7] * 10}
    figures = ladder_metrics({**rates, "slope_down": [1.0] * 10})
    assert figures["ladder_level"] == {"stairs_up": 6, "slope_up": 2, "discrete": -1, "slope_down": 9}
    assert figures["ladder_score"] == pytest.approx((0.7 + 0.3 + 0.0 + 1.0) / 4)
    assert figures["ladder_heights"] == {"step_height": 0.158, "slope": 0.08, "obstacle_height": 0.0}
    assert figures["ladder"]["slope_up"] == rates["slope_up"]


def test_on_a_map_with_other_levels_heights_are_those_of_its_ground():
    # Level 2 of 5 is difficulty 0.4: 0.05 + 0.2 x 0.4 m, three fifths of the way up.
    figures = ladder_metrics({"discrete": [1.0, 1.0, 1.0, 0.0, 0.0]})
    assert figures["ladder_heights"] == {"obstacle_height": 0.13} and figures["ladder_score"] == pytest.approx(0.6)


# -- who walks where ---------------------------------------------------------------------------------------------------


def test_every_level_of_every_kind_on_the_map_has_its_robots():
    # 60 cells: at most 17 of each at once, so 64 robots need 4 rounds of 16.
    plan = make_plan(terrain_cfg(), 64)
    assert plan.kinds == ("slope_up", "slope_down", "rough_slope", "stairs_up", "stairs_down", "discrete")
    assert (plan.levels, plan.per_round, plan.rounds, plan.num_envs) == (10, 16, 4, 960)


@pytest.mark.parametrize(("robots", "per_round", "rounds"), [(1, 1, 1), (17, 17, 1), (18, 9, 2), (50, 17, 3)])
def test_rounds_are_as_few_and_as_equal_as_can_be(robots, per_round, rounds):
    plan = make_plan(terrain_cfg(), robots)
    assert (plan.per_round, plan.rounds) == (per_round, rounds)


def test_a_ladder_changes_ground_place_and_commands_and_leaves_what_is_randomised():
    flat, rough = task_registry.get_cfgs("go2_flat")[0], task_registry.get_cfgs("go2")[0]
    flat.terrain.proportions.gap = 0.5  # as a run may have been trained
    before = to_dict(flat)
    configure_ladder(flat, rough.terrain)
    after = to_dict(flat)
    assert {name for name in after if after[name] != before[name]} == {"terrain", "commands"}
    expected = {**to_dict(rough)["terrain"], "curriculum": False, "spawn_radius": 0.0}
    assert after["terrain"] == expected and after["commands"]["heading_command"]


def test_a_friction_is_that_of_every_robot():
    cfg = task_registry.get_cfgs("go2")[0]
    cfg.domain_rand.randomize_friction = False
    configure_ladder(cfg, cfg.terrain, 0.4)
    cfg.env.num_envs, cfg.terrain.num_rows, cfg.terrain.num_cols = 6, 1, 2
    env, _ = task_registry.make_env("go2", cfg)
    assert torch.allclose(env.params["friction"], torch.full((6,), 0.4))


def make_ladder(robots: int = 2, seed: int = 5, **changes: Any) -> Ladder:
    """Two levels of stairs (a column) and obstacles (two columns), episodes of 20 steps."""
    cfg, _ = task_registry.get_cfgs("go2")
    terrain = terrain_cfg({"stairs_up": 1.0, "discrete": 2.0}, num_rows=2, num_cols=3)
    configure_ladder(cfg, terrain)
    cfg.env.episode_length_s, cfg.commands.resampling_time = 0.4, 0.1
    for name, value in changes.items():
        setattr(cfg.domain_rand, name, value)
    plan = make_plan(cfg.terrain, robots)
    cfg.env.num_envs = plan.num_envs
    return Ladder(RslRlVecEnv(task_registry.make_env("go2", cfg)[0]), plan, seed)


class Puppeteer:
    """A policy that stands still and moves robots at the calls in `moves`: robot -> m from its start, or "fall"."""

    def __init__(self, ladder: Ladder, moves: dict[int, dict[int, float | str]] | None = None) -> None:
        self.env, self.moves, self.calls, self.first = ladder.env, moves or {}, 0, None
        self.commands: list[torch.Tensor] = []
        self.restarted = torch.zeros(self.env.num_envs, dtype=torch.bool)

    def __call__(self, observations: Any) -> torch.Tensor:
        env = self.env
        if self.first is None:
            self.first = (
                env.sim.root_quat.clone(),
                env.sim.dof_pos.clone(),
                env.commands.clone(),
                env.params["friction"].clone(),
            )
        self.commands.append(env.commands.clone())
        self.restarted |= (env.episode_length_buf == 0) & (self.calls > 0)
        for robot, where in self.moves.get(self.calls, {}).items():
            self._put(robot, where)
        self.calls += 1
        return torch.zeros(env.num_envs, env.num_actions)

    def _put(self, robot: int, where: float | str) -> None:
        env, joints = self.env, self.env.default_dof_pos[None]
        place = env.terrain.origins[robot : robot + 1].clone()
        place[:, 0] += 0.0 if where == "fall" else where
        place[:, 2] = env.terrain.heights(place[:, :2]) + 1.0
        upright, upside_down = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)
        quat = torch.tensor([upside_down if where == "fall" else upright])
        state = RobotState(place, quat, torch.zeros(1, 3), torch.zeros(1, 3), joints, torch.zeros_like(joints))
        env.sim.reset(torch.tensor([robot]), state)


def test_robots_start_in_the_middle_of_all_tiles_of_their_kind_and_level():
    ladder = make_ladder(robots=2)
    env = ladder.env
    env.reset()
    # Kind by kind, level by level, two robots each; columns 1 and 2 are both obstacles.
    tiles = list(zip(env.terrain.types.tolist(), env.terrain.levels.tolist()))
    assert tiles == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (2, 0), (1, 1), (2, 1)]
    middle = torch.tensor([[8.0 * level + 4.0, 8.0 * column + 4.0] for column, level in tiles])
    assert torch.allclose(env.sim.root_pos[:, :2], middle, atol=1e-5)


def test_robots_are_told_to_walk_on_the_way_they_face_and_to_keep_to_it():
    ladder = make_ladder()  # commands of the task last 5 steps here
    policy = Puppeteer(ladder)
    ladder.climb(policy)
    quat, _, commands, _ = policy.first
    assert commands[:, 0].tolist() == pytest.approx([0.6] * 4 + [0.4] * 4) and not commands[:, 1:3].any()
    assert torch.allclose(commands[:, 3], yaw_of(quat)) and commands[:, 3].std() > 0.5
    assert not policy.restarted.all()
    for later in policy.commands:
        kept = ~policy.restarted
        assert torch.equal(later[kept][:, [0, 1, 3]], commands[kept][:, [0, 1, 3]])
    assert policy.commands[-1][:, 2].abs().max() > 0.0, "steered back when something turned them"


def test_all_policies_get_the_same_robots_in_the_same_states_and_the_next_round_others():
    ladder = make_ladder(robots=2)
    first, second = Puppeteer(ladder, {3: {0: "fall", 5: 9.0}}), Puppeteer(ladder)
    ladder.climb(first)
    ladder.climb(second)
    assert all(torch.equal(a, b) for a, b in zip(first.first, second.first))
    ladder._start(1)
    assert not torch.allclose(ladder.env.sim.dof_pos, first.first[1], atol=1e-2)
    assert not torch.allclose(ladder.env.params["friction"], first.first[3], atol=1e-2)


def test_pushes_come_at_other_times_in_other_rounds():
    ladder = make_ladder(robots=2)
    ladder.plan = SimpleNamespace(rounds=4)
    phases = []
    for number in range(4):
        ladder._start(number)
        phases.append(ladder.env.push_interval - ladder.env.common_step_counter)
    assert phases == [438, 312, 188, 62]  # steps of 20 ms until the first of pushes that are 500 apart


# -- who counts --------------------------------------------------------------------------------------------------------


def test_four_metres_are_a_success_and_less_is_none():
    ladder = make_ladder()
    moves = {2: {0: 4.05, 1: 3.9, 4: -4.05}}
    figures = ladder.climb(Puppeteer(ladder, moves))
    assert figures["ladder"] == {"stairs_up": [0.5, 0.0], "discrete": [0.5, 0.0]}


def test_a_robot_that_fell_has_failed_whatever_it_does_when_it_starts_again():
    ladder = make_ladder(robots=1)
    figures = ladder.climb(Puppeteer(ladder, {2: {0: "fall", 1: 5.0}, 5: {0: 5.0}}))
    assert figures["ladder"]["stairs_up"] == [0.0, 1.0]
    assert figures["ladder_effort"]["fall_rate"] == 0.25


def test_a_robot_that_got_off_has_succeeded_whatever_happens_then():
    ladder = make_ladder(robots=1)
    figures = ladder.climb(Puppeteer(ladder, {2: {0: 5.0}, 5: {0: "fall"}}))
    assert figures["ladder"]["stairs_up"] == [1.0, 0.0] and figures["ladder_effort"]["fall_rate"] == 0.0


def test_a_robot_counts_once_in_all_rounds(monkeypatch):
    monkeypatch.setattr("legged_gym_ext.training.ladder.MAX_ENVS", 8)  # two of each of four cells: 3 robots are 2 and 1
    ladder = make_ladder(robots=3)
    assert (ladder.plan.per_round, ladder.plan.rounds) == (2, 2)
    # First round: robots 0 and 1 of the cell succeed; second: robot 0; the second place of the cell is not needed.
    policy = Puppeteer(ladder, {2: {0: 5.0, 1: 5.0}, 22: {0: 5.0, 1: 5.0}})
    assert ladder.climb(policy)["ladder"]["stairs_up"] == [1.0, 0.0]


def test_it_ends_when_everybody_is_decided():
    ladder = make_ladder(robots=1)
    policy, lines = Puppeteer(ladder, {2: dict.fromkeys(range(4), 5.0)}), []
    assert ladder.climb(policy, lines.append)["ladder_score"] == 1.0
    assert policy.calls == 3 and "0 of 4 robots undecided" in lines[-1]


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_effort_is_counted_until_a_robot_is_decided():
    flags = lambda *values: torch.tensor(values)  # noqa: E731
    env = SimpleNamespace(
        sim=SimpleNamespace(dof_pos_limits=torch.tensor([[-1.0, 1.0], [0.0, 4.0]]), root_pos=torch.zeros(3, 3)),
        terrain=SimpleNamespace(origins=torch.zeros(3, 3)),
        fault_buf=flags(False, False, False),
    )

    def step(torques: list, speeds: list, places: list, fell: tuple = (False,) * 3) -> None:
        env.torques, env.dof_vel, env.dof_pos = (torch.tensor(values) for values in (torques, speeds, places))
        env.fall_buf = env.reset_buf = flags(*fell)
        tally.add()

    tally, still, middle = Tally(env, 4.0), [[0.0, 0.0]] * 3, [[0.0, 2.0]] * 3
    tally.begin(flags(True, True, False))  # the third is left over
    # 2 x 3 + |-1 x 4| = 10 W and 0 W; only the second robot is within 1 % of 4 rad at the end of its range.
    step(
        [[2.0, -1.0], [0.0, 0.0], [9.0, 9.0]],
        [[3.0, 4.0], [0.0, 0.0], [9.0, 9.0]],
        [[0.97, 2.0], [0.0, 3.97], [1.0, 0.0]],
    )
    # Changes (3, 0) and, of the one that falls, none that counts; nobody is at a stop.
    env.sim.root_pos[0, 0] = 4.0
    step([[5.0, -1.0], [50.0, 50.0], [0.0, 0.0]], still, middle, (False, True, False))
    step([[99.0, 99.0]] * 3, [[9.0, 9.0]] * 3, [[1.0, 4.0]] * 3)
    assert tally.succeeded.tolist() == [True, False, False] and not tally.undecided.any()
    found = tally.effort()
    assert found["power"] == pytest.approx(10.0 / 3) and found["limit_share"] == pytest.approx(1 / 3)
    assert found["torque_change"] == pytest.approx(math.sqrt(9.0 / 2)) and found["fall_rate"] == 0.5


def test_robots_that_sleep_stay_where_they_are_and_others_walk_as_if_all_did():
    def final(asleep: list[bool] | None) -> torch.Tensor:
        env = make_ladder(robots=1).env
        env.rng.manual_seed(1)
        env.reset()
        start = env.sim.root_pos.clone()
        env.sim.let_sleep(None if asleep is None else torch.tensor(asleep))
        for _ in range(5):
            env.sim.step(env.default_dof_pos.expand(4, 12), 4)
        return start, env.sim.root_pos.clone()

    (_, everybody), (start, some) = final(None), final([True, False, False, True])
    assert torch.equal(some[1:3], everybody[1:3]) and torch.equal(some[[0, 3]], start[[0, 3]])
    assert not torch.equal(everybody[[0, 3]], start[[0, 3]])


# -- the program -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--friction=0.4"], "--friction belongs to the ladder: add --ladder"),
        (["--robots_per_level=4"], "--robots_per_level belongs to the ladder"),
        (["--ladder", "--friction=0"], "--friction=0.0: expected a positive coefficient"),
        (["--ladder", "--friction=nan"], "--friction=nan: expected a positive"),
        (["--ladder", "--robots_per_level=0"], "--robots_per_level=0: expected at least 1"),
        (["--ladder", "--num_envs=64"], "--robots_per_level says"),
        (["--lader"], "did you mean --ladder"),
    ],
)
def test_a_wrong_flag_is_named_before_anything_is_loaded(flags, message):
    with pytest.raises(UserError) as error:
        evaluate.main(["--task=go2", *flags])
    assert message in str(error.value) and "\n" not in str(error.value)


OLD = {
    "task": "go2",
    "checkpoint": "x/model_9.pt",
    "seed": 1,
    "policies": {"policy": {"return": 1.0, "ladder_score": 0.5}},
}


def test_a_ladder_joins_the_evaluation_of_the_same_checkpoint_and_the_other_way_round():
    ladder = {"task": "go2", "checkpoint": "x/model_9.pt", "policies": {"policy": {"ladder_score": 0.7}}}
    assert evaluate.merge_results(OLD, ladder) == {**OLD, "policies": {"policy": {"return": 1.0, "ladder_score": 0.7}}}
    # An evaluation on other ground has no kinds: those of before must not stay.
    before = {**OLD, "policies": {"policy": {"return": 1.0, "kinds": {}, "ladder_friction_0.4": {}}}}
    again = evaluate.merge_results(before, {**OLD, "seed": 3, "policies": {"policy": {"return": 2.0}}})
    assert again == {**OLD, "seed": 3, "policies": {"policy": {"return": 2.0, "ladder_friction_0.4": {}}}}


@pytest.mark.parametrize(
    "before", [None, [], {"policies": {}}, {**OLD, "checkpoint": "x/model_10.pt"}, {**OLD, "policies": 1}]
)
def test_nothing_joins_other_checkpoints_or_other_files(before):
    now = {"task": "go2", "checkpoint": "x/model_9.pt", "policies": {"policy": {"return": 2.0}}}
    assert evaluate.merge_results(before, now) == now
