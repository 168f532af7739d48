"""`--preset`: which fields it sets, what wins over it, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.presets import PRESETS, WIDE, apply_preset
from legged_gym_ext.scripts import train
from legged_gym_ext.utils.config import flatten
from legged_gym_ext.utils.errors import UserError


def preset(task: str) -> dict[str, object]:
    """Fields of `task` that the preset `gpu` has changed."""
    before, after = (task_registry.get_cfgs(task) for _ in range(2))
    apply_preset("gpu", *after)
    changed: dict[str, object] = {}
    for group, old, new in zip(("env", "train"), before, after):
        known = dict(flatten(old))
        changed.update({f"{group}.{path}": value for path, value in flatten(new) if value != known[path]})
    return changed


def test_all_robot_tasks_get_4096_robots_on_the_gpu_and_wide_networks():
    for task in task_registry.robot_tasks:
        changed = preset(task)
        assert changed["env.env.num_envs"] == 4096 and changed["env.sim.engine"] == "mujoco_warp", task
        assert changed["env.sim.device"] == changed["train.runner.device"] == "cuda", task
        assert changed.get("train.critic.hidden_dims", WIDE) == WIDE, task


def test_nothing_but_the_fields_of_the_table_changes_and_every_one_is_in_some_task():
    found = set().union(*(preset(task) for task in task_registry.robot_tasks))
    same = {"train.algorithm.num_mini_batches", "train.algorithm.learning_rate"}  # the tasks' own values today
    assert found <= set(PRESETS["gpu"]) <= found | same
    known = {path for task in task_registry.robot_tasks for path, _ in flatten(task_registry.get_cfgs(task)[1])}
    assert {field.partition(".")[2] for field in same} <= known


def test_two_trainings_share_no_list():
    first, second = (task_registry.get_cfgs("go2_flat") for _ in range(2))
    for cfgs in (first, second):
        apply_preset("gpu", *cfgs)
    first[1].actor.hidden_dims.append(1)
    assert second[1].actor.hidden_dims == WIDE == PRESETS["gpu"]["train.actor.hidden_dims"]


def test_flags_win_over_the_preset_which_a_small_training_takes(tmp_path):
    flags = ["--sim=mujoco", "--sim_device=cpu", "--rl_device=cpu", "--num_envs=8", "--max_iterations=1"]
    flags += [f"--log_root={tmp_path}", "--train.critic.hidden_dims=[16]", "--train.runner.eval_interval=0"]
    assert train.main(["--task=go2_ts_flat", "--preset=gpu", *flags]) == 0
    (params,) = tmp_path.glob("*/*/params")
    env, learning = (json.loads((params / f"{name}.json").read_text(encoding="utf-8")) for name in ("env", "train"))
    assert env["env"]["num_envs"] == 8 and env["sim"]["engine"] == "mujoco"
    assert learning["critic"]["hidden_dims"] == [16] and learning["actor"]["hidden_dims"] == WIDE
    assert learning["actor"]["history_hidden_dims"] == [256, 128] and learning["algorithm"]["use_mixed_precision"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task=go2", "--preset=gpus"], "--preset=gpus: no such preset; did you mean gpu?; known: gpu"),
        (["--task=go2", "--preset=gpu", "--resume"], "--preset is for a new training: --resume continues"),
        (["--task=colour_maze_sitt", "--preset=gpu"], "--preset is made for robots, task 'colour_maze_sitt' has none"),
    ],
)
def test_what_a_preset_is_not_for_is_one_line(flags, message):
    with pytest.raises(UserError) as error:
        train.main(flags)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_without_a_gpu_the_preset_is_one_line_before_anything_is_built(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"'cuda'|=cuda"):
        train.main(["--task=go2", "--preset=gpu", f"--log_root={tmp_path}"])
    assert list(tmp_path.iterdir()) == []
