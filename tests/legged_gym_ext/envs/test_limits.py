"""Configuration values without sense are named before anything is built."""

import re

import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
from legged_gym_ext.envs.base.limits import NUMBERS, POINTS, RANGES, check_limits
from legged_gym_ext.utils.config import flatten, update_from_dict
from legged_gym_ext.utils.errors import UserError
from tests.robots import make


def changed(path: str, value: object) -> LeggedRobotCfg:
    """The default configuration with another value at `path`."""
    cfg = LeggedRobotCfg()
    for key in reversed(path.split(".")):
        value = {key: value}
    update_from_dict(cfg, value)
    return cfg


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_at_their_limits_pass_and_the_next_ones_do_not(path):
    whole = isinstance(dict(flatten(LeggedRobotCfg()))[path], int)
    low, high = NUMBERS[path]
    beyond = [low - 1 if whole else low - 1e-6] + ([] if high == float("inf") else [high * 1.001])
    for value in [low] + ([] if high == float("inf") else [high]):
        check_limits(changed(path, value))
    for value in beyond:
        with pytest.raises(UserError, match=rf"^{re.escape(path)}={value}: expected .*{low:g}"):
            check_limits(changed(path, value))


@pytest.mark.parametrize("path", RANGES)
def test_ranges_are_two_numbers_in_order_and_not_below_their_least(path):
    check_limits(changed(path, [0.5, 0.5]))
    wrong = [[1.0, 0.5], [1.0], [], [0.1, 0.2, 0.3], [0.0, float("inf")]]
    wrong += [[-0.1, 0.5]] if RANGES[path] == 0.0 else []
    for bounds in wrong:
        with pytest.raises(UserError, match=rf"^{re.escape(f'{path}={bounds}')}: expected \[lower, upper\]"):
            check_limits(changed(path, bounds))
    if RANGES[path] < 0.0:
        check_limits(changed(path, [-0.5, -0.1]))


@pytest.mark.parametrize("path", POINTS)
def test_points_are_numbers_and_at_least_one(path):
    check_limits(changed(path, [0.0]))
    with pytest.raises(UserError, match=rf"^{re.escape(path)}=\[\]: expected a list of coordinates"):
        check_limits(changed(path, []))


def test_values_of_a_wrong_type_are_named_too():
    cfg = LeggedRobotCfg()  # what a class holds is not typed as an override is
    cfg.domain_rand.friction_range, cfg.rewards.tracking_sigma = 0.5, "wide"
    with pytest.raises(UserError, match=r"^rewards.tracking_sigma=wide: expected at least"):
        check_limits(cfg)
    cfg.rewards.tracking_sigma = 0.25
    with pytest.raises(
        UserError, match=r"^domain_rand.friction_range=0.5: expected \[lower, upper\], lower at least 0$"
    ):
        check_limits(cfg)


def test_every_range_of_the_configuration_has_a_limit():
    fields = dict(flatten(LeggedRobotCfg()))
    named = {path for path in fields if path.endswith("_range") or path.startswith("commands.ranges.")}
    assert named == set(RANGES) | {"init_state.velocity_range"}  # one number, +- it


@pytest.mark.parametrize("name", task_registry.robot_tasks)
def test_every_task_keeps_its_limits(name):
    check_limits(task_registry.get_cfgs(name)[0])


def test_the_environment_asks_before_it_builds():
    with pytest.raises(UserError, match=r"^commands.ranges.lin_vel_x=\[1.0, -1.0\]"):
        make(1, commands__ranges__lin_vel_x=[1.0, -1.0], asset__file="/nowhere.xml")


def test_more_mass_taken_than_the_base_has_is_told():
    with pytest.raises(
        UserError, match=r"added mass -.* kg: the base has 6\.92\d kg; see domain_rand.added_mass_range"
    ):
        make(1, domain_rand__added_mass_range=[-9.0, -8.0])
