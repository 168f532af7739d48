"""The registry: fresh configurations, refusals that name the nearest task, and what rsl-rl-lib is handed."""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO
from legged_gym_ext.task_registry import Ground, Method, TaskRegistry
from legged_gym_ext.task_registry import Robot as RobotTasks
from legged_gym_ext.training.make_runner import set_seed, to_rsl_cfg
from legged_gym_ext.training.runs import log_root
from legged_gym_ext.utils.config import BaseConfig, to_dict
from legged_gym_ext.utils.errors import UserError, install_command


class EnvCfg(BaseConfig):
    """Configuration of `Robot`."""

    seed = 1

    class env:  # noqa: N801
        """A section with something mutable in it."""

        num_envs = 4
        points = [[0.0, 1.0]]  # noqa: RUF012


class TrainCfg(LeggedRobotCfgPPO):
    """Training of `Robot`."""


class Robot:
    """An environment that only remembers its configuration."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg


@pytest.fixture
def registry() -> TaskRegistry:
    """A registry of its own with the tasks `hop` and `walk`."""
    registry = TaskRegistry()
    registry.register("walk", Robot, EnvCfg, TrainCfg)
    registry.register("hop", Robot, EnvCfg, TrainCfg)
    return registry


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let only `packages` look installed."""
    monkeypatch.setattr(sys.modules[to_rsl_cfg.__module__], "installed", lambda name: name in packages)


def train_cfg(logger: str = "none") -> TrainCfg:
    cfg = TrainCfg()
    cfg.runner.logger = logger
    return cfg


# Tasks


def test_every_configuration_handed_out_is_a_fresh_copy(registry: TaskRegistry) -> None:
    env_cfg, train = registry.get_cfgs("walk")
    env_cfg.env.num_envs = 9
    env_cfg.env.points[0][0] = 9.0
    train.obs_groups.critic.append("policy")
    again, train_again = registry.get_cfgs("walk")
    assert to_dict(again) == {"seed": 1, "env": {"num_envs": 4, "points": [[0.0, 1.0]]}}
    assert train_again.obs_groups.critic == ["critic"]
    assert to_dict(registry.get_cfgs("hop")[0]) == to_dict(again)  # the same class under another name


def test_an_environment_made_without_a_configuration_gets_a_fresh_one(registry: TaskRegistry) -> None:
    first, first_cfg = registry.make_env("walk")
    first_cfg.env.points.append([2.0, 3.0])
    second, second_cfg = registry.make_env("walk")
    assert first.cfg is first_cfg and second.cfg is second_cfg
    assert second_cfg.env.points == [[0.0, 1.0]]


def test_an_environment_is_made_with_the_configuration_it_is_given(registry: TaskRegistry) -> None:
    cfg = EnvCfg()
    env, returned = registry.make_env("walk", cfg)
    assert env.cfg is cfg and returned is cfg


def test_an_environment_named_by_text_is_imported_only_when_it_is_made(
    registry: TaskRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "robot_made_late.py").write_text(
        "class Robot:\n    def __init__(self, cfg):\n        self.cfg = cfg\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.register("late", "robot_made_late:Robot", EnvCfg, TrainCfg)
    registry.get_cfgs("late")
    assert "robot_made_late" not in sys.modules
    try:
        env, cfg = registry.make_env("late")
        assert type(env) is sys.modules["robot_made_late"].Robot and env.cfg is cfg
    finally:
        sys.modules.pop("robot_made_late", None)


def test_task_names_are_sorted(registry: TaskRegistry) -> None:
    assert registry.names == ["hop", "walk"]  # registered the other way round


def test_a_name_that_is_taken_is_refused_and_the_first_task_stays(registry: TaskRegistry) -> None:
    class Other(EnvCfg):
        """Another robot."""

        seed = 2

    with pytest.raises(ValueError, match="task 'walk' is registered already"):
        registry.register("walk", Robot, Other, TrainCfg)
    assert registry.get_cfgs("walk")[0].seed == 1


@pytest.mark.parametrize(
    ("env_cfg", "train"),
    [(EnvCfg(), TrainCfg), (EnvCfg, TrainCfg()), (EnvCfg, dict), (None, TrainCfg)],
    ids=["env instance", "train instance", "foreign class", "none"],
)
def test_what_is_no_configuration_class_is_refused_and_not_registered(
    registry: TaskRegistry, env_cfg: Any, train: Any
) -> None:
    with pytest.raises(ValueError, match=r"task 'new': configurations are subclasses of BaseConfig \(not instances\)"):
        registry.register("new", Robot, env_cfg, train)
    assert registry.names == ["hop", "walk"]


@pytest.mark.parametrize("verb", ["get_cfgs", "make_env"])
@pytest.mark.parametrize(
    ("name", "told"),
    [("wlak", "did you mean walk?; `describe.py --list` names all tasks"), ("zzz", "tasks are: hop, walk")],
)
def test_an_unknown_task_names_the_nearest_or_all_there_are(
    registry: TaskRegistry, verb: str, name: str, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        getattr(registry, verb)(name)
    assert str(caught.value) == f"unknown task '{name}'; {told}"


def test_no_task_at_all_says_which_flag_to_use(registry: TaskRegistry) -> None:
    with pytest.raises(UserError) as caught:
        registry.get_cfgs(None)
    assert str(caught.value) == "no task given; use --task=NAME with one of: hop, walk"


def test_the_blind_task_differs_from_go2_only_in_its_critic_and_its_folder() -> None:
    from legged_gym_ext.envs import task_registry

    env_cfg, train = (to_dict(cfg) for cfg in task_registry.get_cfgs("go2_flat"))
    blind_env, blind_train = (to_dict(cfg) for cfg in task_registry.get_cfgs("go2_blind_flat"))
    train["obs_groups"]["critic"], train["runner"]["experiment_name"] = ["policy"], "go2_blind_flat"
    assert blind_env == env_cfg and blind_train == train


# Products of robot, method and ground


class Ice:
    """Sections of slippery ground."""

    class env:  # noqa: N801
        """Fewer robots."""

        num_envs = 2


class HopCfg(LeggedRobotCfgPPO):
    """A method whose samples are mirrored."""

    class algorithm:  # noqa: N801
        """Mirrored as the base says."""

        learning_rate = 0.5
        symmetry_cfg = {"data_augmentation_func": "legged_gym_ext.envs.base.symmetry:mirror"}  # noqa: RUF012


DOG, CAT = RobotTasks("dog", EnvCfg, env_class=Robot), RobotTasks("cat", EnvCfg, mirror="cats:mirror", env_class=Robot)
PLAIN = Method("", TrainCfg)
HOP = Method("hop", HopCfg, {"ice": {"runner": {"max_iterations": 7}, "algorithm": {"learning_rate": 0.25}}})
LEVEL, ICE = Ground(""), Ground("ice", Ice)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)], ids=str)
def test_all_products_are_registered_whatever_is_registered_first(order: tuple[int, ...]) -> None:
    registry, new = TaskRegistry(), []
    for turn in order:
        for verb, part in (
            [(registry.register_robot, DOG), (registry.register_robot, CAT)],
            [(registry.register_method, PLAIN), (registry.register_method, HOP)],
            [(registry.register_ground, LEVEL), (registry.register_ground, ICE)],
        )[turn]:
            new += verb(part)
    assert registry.names == [f"{robot}{rest}" for robot in ("cat", "dog") for rest in ("", "_hop", "_hop_ice", "_ice")]
    assert sorted(new) == registry.names


def test_a_product_has_the_robot_the_ground_the_method_and_its_own_folder() -> None:
    registry = TaskRegistry()
    for ground in (LEVEL, ICE):
        registry.register_ground(ground)
    registry.register_robot(DOG)
    registry.register_method(HOP)
    env_cfg, train = registry.get_cfgs("dog_hop_ice")
    assert to_dict(env_cfg) == {"seed": 1, "env": {"num_envs": 2, "points": [[0.0, 1.0]]}}
    assert (train.runner.experiment_name, train.runner.max_iterations) == ("dog_hop_ice", 7)
    assert train.algorithm.learning_rate == 0.25 and train.algorithm.class_name == "PPO"
    env_cfg, train = registry.get_cfgs("dog_hop")
    assert env_cfg.env.num_envs == 4 and train.runner.max_iterations == TrainCfg().runner.max_iterations
    assert train.algorithm.learning_rate == 0.5
    assert HopCfg().runner.experiment_name == "legged_robot"  # the method itself is as it was


@pytest.mark.parametrize(
    "section, name", [("runner", "max_iteration"), ("runer", "max_iterations"), ("env", "num_robots")]
)
def test_what_a_method_does_not_have_is_no_difference_on_a_ground(section: str, name: str) -> None:
    registry = TaskRegistry()
    registry.register_ground(ICE)
    registry.register_robot(DOG)
    wrong = Method("hop", HopCfg, {"ice": {section: {name: 7}}})
    with pytest.raises(ValueError, match=f"'hop' on 'ice': unknown setting '{section}.{name}'.*did you mean"):
        registry.register_method(wrong)
    assert registry.names == []


def test_a_method_can_differ_in_the_environment_on_a_ground() -> None:
    registry = TaskRegistry()
    for ground in (LEVEL, ICE):
        registry.register_ground(ground)
    registry.register_robot(DOG)
    few = {"env": {"num_envs": 3}, "runner": {"max_iterations": 8}}
    registry.register_method(Method("few", HopCfg, {"ice": few, "": {"env": {"num_envs": 5}}}))
    registry.register_method(HOP)
    found = {name: registry.get_cfgs(f"dog_{name}") for name in ("few_ice", "hop_ice", "few", "hop")}
    assert [env_cfg.env.num_envs for env_cfg, _ in found.values()] == [3, 2, 5, 4]
    assert found["few_ice"][1].runner.max_iterations == 8 and not hasattr(found["few_ice"][1], "env")
    assert EnvCfg().env.num_envs == 4 and Ice.env.num_envs == 2  # robot and ground are as they were


def test_mirrored_samples_are_those_of_the_robot() -> None:
    function = "data_augmentation_func"
    assert DOG.train_cfg(HOP, ICE)().algorithm.symmetry_cfg[function] == "legged_gym_ext.envs.base.symmetry:mirror_dog"
    assert CAT.train_cfg(HOP, ICE)().algorithm.symmetry_cfg[function] == "cats:mirror"
    assert DOG.train_cfg(PLAIN, ICE)().algorithm.symmetry_cfg is None


def test_a_method_can_be_limited_to_some_grounds() -> None:
    registry = TaskRegistry()
    for ground in (LEVEL, ICE):
        registry.register_ground(ground)
    registry.register_robot(DOG)
    assert registry.register_method(Method("hop", HopCfg, only=("ice",))) == ["dog_hop_ice"]


def test_a_product_whose_name_is_taken_is_refused() -> None:
    registry = TaskRegistry()
    registry.register_ground(LEVEL)
    registry.register_method(PLAIN)
    registry.register_robot(DOG)
    with pytest.raises(ValueError, match="task 'dog' is registered already"):
        registry.register_robot(RobotTasks("dog", EnvCfg))
    assert registry.robot("dog") is DOG
    with pytest.raises(UserError, match="unknown robot 'dgo'; did you mean dog"):
        registry.robot("dgo")


def test_a_robot_is_registered_with_all_its_tasks_or_not_at_all() -> None:
    registry = TaskRegistry()
    registry.register_ground(LEVEL)
    registry.register_method(PLAIN)
    registry.register_method(HOP)
    registry.register("dog_hop", Robot, EnvCfg, TrainCfg)
    with pytest.raises(ValueError, match="task 'dog_hop' is registered already"):
        registry.register_robot(DOG)
    assert registry.names == ["dog_hop"]


def test_classes_of_the_go2_by_name_are_what_the_registry_composes() -> None:
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.envs.go2 import go2_config, go2_methods

    assert to_dict(go2_config.Go2FlatCfg()) == to_dict(task_registry.get_cfgs("go2_flat")[0])
    assert to_dict(go2_config.Go2CfgPPO()) == to_dict(task_registry.get_cfgs("go2")[1])
    assert to_dict(go2_methods.Go2RMAFlatCfgPPO()) == to_dict(task_registry.get_cfgs("go2_rma_flat")[1])


# What rsl-rl-lib reads


def test_runner_fields_are_on_top_and_every_other_section_under_its_name() -> None:
    cfg = train_cfg()
    flat, nested = to_rsl_cfg(cfg), to_dict(cfg)
    runner = {name: value for name, value in nested["runner"].items() if name not in ("logger", "wandb_project")}
    sections = {name: value for name, value in nested.items() if name != "runner"}
    assert set(runner) & set(sections) == set()  # nothing is overwritten by the flattening
    assert flat == {**runner, **sections, "logger": flat["logger"]}
    assert flat["num_steps_per_env"] == 24 and flat["save_interval"] == 50 and flat["seed"] == 1
    assert flat["obs_groups"] == {"actor": ["policy"], "critic": ["critic"]}
    assert flat["algorithm"]["class_name"] == "PPO"
    assert flat["actor"]["distribution_cfg"]["class_name"] == "GaussianDistribution"


def test_the_dictionary_shares_nothing_with_the_configuration() -> None:
    cfg = train_cfg()
    flat = to_rsl_cfg(cfg)
    flat["obs_groups"]["critic"].append("policy")
    flat["actor"]["hidden_dims"][0] = 9
    flat.pop("algorithm")
    assert to_dict(cfg) == to_dict(train_cfg())


# Loggers


def test_without_a_logger_nothing_needs_to_be_installed_and_the_writer_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rsl_rl")
    from legged_gym_ext.training import logger

    installed(monkeypatch)  # nothing
    module, _, name = to_rsl_cfg(train_cfg("none"))["logger"]["class_name"].partition(":")
    assert module == logger.__name__ and issubclass(getattr(logger, name), logger.LogWriter)


def test_tensorboard_is_passed_on_by_name() -> None:
    assert to_rsl_cfg(train_cfg("tensorboard"))["logger"] == {
        "class_name": "legged_gym_ext.training.tensorboard_writer:TensorboardWriter"
    }


def test_wandb_gets_the_configured_project(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "wandb")
    cfg = train_cfg("wandb")
    cfg.runner.wandb_project = "mine"
    writer = "legged_gym_ext.training.wandb_writer:WandbWriter"
    assert to_rsl_cfg(cfg)["logger"] == {"class_name": writer, "project_name": "mine"}


def test_a_wandb_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(UserError) as caught:
        to_rsl_cfg(train_cfg("wandb"))
    assert str(caught.value) == f"--logger=wandb needs the package 'wandb': {install_command('wandb')}"


def test_a_folder_that_wandb_left_behind_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert importlib.util.find_spec("wandb") is not None  # it could be imported, and would be empty
    with pytest.raises(UserError, match="needs the package 'wandb'"):
        to_rsl_cfg(train_cfg("wandb"))


def test_an_unknown_logger_lists_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        to_rsl_cfg(train_cfg("tensorbord"))
    assert str(caught.value) == "unknown logger 'tensorbord'; known: tensorboard, wandb, none"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("logger", "tensorbord", "unknown logger"), ("resume", True, "no runs of experiment 'legged_robot'")],
)
def test_a_training_that_cannot_start_is_refused_before_it_touches_environment_or_disk(
    registry: TaskRegistry, tmp_path: Path, field: str, value: Any, message: str
) -> None:
    pytest.importorskip("rsl_rl")
    cfg = train_cfg()
    setattr(cfg.runner, field, value)
    with pytest.raises(UserError, match=message):
        registry.make_alg_runner(None, "walk", cfg, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_resuming_without_a_log_folder_is_a_user_error(registry: TaskRegistry) -> None:
    pytest.importorskip("rsl_rl")
    cfg = train_cfg()
    cfg.runner.resume = True
    with pytest.raises(UserError, match="resuming needs a log_root"):
        registry.make_alg_runner(None, "walk", cfg, None)


# Folders and seeds


def test_runs_are_kept_in_logs_of_the_repository_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert log_root(argparse.Namespace(log_root=None)) == ROOT_DIR / "logs"
    assert log_root(argparse.Namespace()) == ROOT_DIR / "logs"


@pytest.mark.parametrize(("text", "expected"), [("runs", "cwd/runs"), ("../runs", "runs"), ("~/runs", "home/runs")])
def test_a_log_folder_is_relative_to_the_working_directory_and_may_start_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert log_root(argparse.Namespace(log_root=text)) == tmp_path.resolve() / expected


def test_a_seed_fixes_the_draws_of_python_numpy_and_torch() -> None:
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")

    def draws(seed: int) -> list[float]:
        set_seed(seed)
        return [random.random(), float(np.random.random()), float(torch.rand(()))]

    first, other, again = draws(3), draws(4), draws(3)
    assert again == first
    assert all(a != b for a, b in zip(first, other))
