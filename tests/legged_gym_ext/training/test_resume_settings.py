"""A resumed run keeps its own settings; what is given with --resume wins, and every difference is a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import train
from legged_gym_ext.training.policies import run_cfgs
from legged_gym_ext.training.run_settings import apply_run, changes_since, describe_changes
from legged_gym_ext.training.runs import RUN_FILE, checkpoints, save_run_configs
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.config import apply_overrides
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import newest, resume, start


def saved(run: Path, name: str) -> dict[str, Any]:
    return json.loads((run / "params" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Log folder of a run of two iterations with settings of its own."""
    root = tmp_path_factory.mktemp("trained")
    train.main(start(root, "--max_iterations=2", "--env.control.action_scale=0.5", "--env.rewards.scales.trot=0"))
    return root


def copy_of(root: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(root, target / "logs"))


# -- settings ----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_the_settings_that_it_was_started_with(trained, tmp_path, capsys):
    root = copy_of(trained, tmp_path)
    train.main(resume(root, "--max_iterations=3"))
    run = newest(root)
    assert saved(run, "env")["control"]["action_scale"] == 0.5
    assert saved(run, "env")["rewards"]["scales"]["trot"] == 0.0
    assert saved(run, "env")["env"]["num_envs"] == 4 and saved(run, "train")["runner"]["num_steps_per_env"] == 4
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("differs from the run")]
    assert lines == ["differs from the run: train.runner.max_iterations 2 -> 3"]
    assert list(checkpoints(run)) == [2]  # one iteration was missing of the three


def test_what_is_given_with_resume_wins_and_is_told(trained, tmp_path, capsys):
    root = copy_of(trained, tmp_path)
    train.main(resume(root, "--max_iterations=3", "--env.control.action_scale=0.3"))
    assert saved(newest(root), "env")["control"]["action_scale"] == 0.3
    assert "differs from the run: env.control.action_scale 0.5 -> 0.3\n" in capsys.readouterr().out


def test_a_training_that_was_cut_short_is_finished_by_resume_alone(tmp_path):
    train.main(start(tmp_path, "--max_iterations=2"))
    run = newest(tmp_path)
    text = (run / "params/train.json").read_text(encoding="utf-8")
    (run / "params/train.json").write_text(
        text.replace('"max_iterations": 2', '"max_iterations": 4'), encoding="utf-8"
    )  # as if cut short
    train.main(resume(tmp_path))
    assert list(checkpoints(newest(tmp_path)))[-1] == 3  # iterations 0 to 3 are four


def test_a_finished_run_says_that_nothing_is_left_and_how_to_go_on_and_leaves_no_folder(trained, capsys):
    before = sorted(trained.rglob("*"))
    assert train.main(resume(trained)) == 0
    assert sorted(trained.rglob("*")) == before
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("nothing left to do: 2 of 2 iterations are done") and "--max_iterations=102" in last


def test_a_second_stage_counts_among_what_is_done_and_can_be_asked_for(tmp_path, capsys):
    flags = ("--max_iterations=1", "--train.runner.stage2_iterations=0", "--train.runner.eval_interval=0")
    train.main(start(tmp_path, *flags, task="go2_rma_flat"))
    train.main(resume(tmp_path, task="go2_rma_flat"))
    assert "--train.runner.stage2_iterations=N" in capsys.readouterr().out.splitlines()[-1]
    train.main(resume(tmp_path, "--train.runner.stage2_iterations=1", task="go2_rma_flat"))
    assert list(checkpoints(newest(tmp_path, "go2_rma_flat"))) == [1]


def test_looking_at_a_run_uses_its_settings_too(trained):
    args = parse(make_parser(""), ["--task=go2_flat", f"--log_root={trained}"])
    env_cfg, _, run = run_cfgs("go2_flat", args)
    assert run == newest(trained)
    assert env_cfg.control.action_scale == 0.5 and env_cfg.rewards.scales.trot == 0.0


@pytest.mark.parametrize(("value", "fits"), [("all", True), ("one", False)])
def test_options_that_are_gone_do_no_harm_where_they_had_their_default(tmp_path, value, fits):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_ult")
    save_run_configs(tmp_path, env_cfg, train_cfg, "go2_ult")
    former = saved(tmp_path, "train")
    former["algorithm"]["symmetry_images"] = value
    (tmp_path / "params/train.json").write_text(json.dumps(former), encoding="utf-8")
    if fits:
        apply_run(tmp_path, "go2_ult", env_cfg, train_cfg)
        assert changes_since(tmp_path, env_cfg, train_cfg) == {}
    else:
        with pytest.raises(UserError, match=r"not those of this version.*symmetry_images"):
            apply_run(tmp_path, "go2_ult", env_cfg, train_cfg)


def test_a_mirror_loss_can_be_given_to_a_run_from_before_it_could(trained, tmp_path):
    run = newest(copy_of(trained, tmp_path))
    former = saved(run, "train")
    former["algorithm"]["symmetry_cfg"] = {"data_augmentation_func": "legged_gym_ext.envs.go2.symmetry:mirror"}
    (run / "params/train.json").write_text(json.dumps(former), encoding="utf-8")
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    apply_run(run, "go2_flat", env_cfg, train_cfg)
    assert not train_cfg.algorithm.symmetry_cfg["use_mirror_loss"]
    apply_overrides(train_cfg, {"algorithm.symmetry_cfg.use_mirror_loss": "True"}, "train")
    assert train_cfg.algorithm.symmetry_cfg["use_mirror_loss"]


# -- what the checkpoint holds -----------------------------------------------------------------------------------------


def resumed(root: Path, task: str = "go2_flat", **algorithm: Any) -> Any:
    """A runner that resumes the newest run with its settings and other options of the algorithm."""
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    apply_run(newest(root, task), task, env_cfg, train_cfg)
    train_cfg.runner.resume, train_cfg.runner.logger = True, "none"
    for name, value in algorithm.items():
        setattr(train_cfg.algorithm, name, value)
    env, _ = task_registry.make_env(task, env_cfg)
    return task_registry.make_alg_runner(env, task, train_cfg, root)[0]


def rates(runner: Any) -> list[float]:
    return [group["lr"] for group in runner.alg.optimizer.param_groups]


def test_a_learning_rate_given_with_resume_is_the_one_that_is_used(trained, tmp_path):
    root = copy_of(trained, tmp_path)
    reached = torch.load(newest(root) / "model_1.pt", weights_only=True)["optimizer_state_dict"]["param_groups"][0][
        "lr"
    ]
    assert rates(resumed(root)) == [reached] and reached != 1e-3  # the adaptive schedule moved it
    runner = resumed(copy_of(trained, tmp_path / "again"), learning_rate=3e-4)
    assert rates(runner) == [3e-4] and runner.alg.learning_rate == 3e-4


def test_a_learning_rate_given_with_resume_is_used_even_if_it_is_the_one_the_run_was_given(trained, tmp_path, capsys):
    root = copy_of(trained, tmp_path)
    train.main(resume(root, "--train.algorithm.learning_rate=1e-3", "--max_iterations=3",
                      "--train.algorithm.schedule=fixed"))  # fmt: skip
    said = capsys.readouterr().out
    assert "given: train.algorithm.learning_rate" in said and "that the checkpoint had" not in said
    groups = torch.load(newest(root) / "model_2.pt", weights_only=True)["optimizer_state_dict"]["param_groups"]
    assert groups[0]["lr"] == 1e-3


def test_a_run_from_before_layouts_had_names_has_the_one_there_was(trained, tmp_path):
    run = newest(copy_of(trained, tmp_path))
    saved = json.loads((run / "params/env.json").read_text(encoding="utf-8"))
    del saved["observations"]
    (run / "params/env.json").write_text(json.dumps(saved), encoding="utf-8")
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    apply_run(run, "go2_flat", env_cfg, train_cfg)
    assert env_cfg.observations.layout == "tutorial"


@pytest.mark.parametrize(
    ("task", "option", "place"),
    [
        ("go2_ts_flat", "encoder_learning_rate", -1),
        ("go2_sitt_flat", "encoder_learning_rate", -1),
        ("go2_sitt_flat", "proxy_learning_rate", -2),
        ("go2_ult_flat", "attention_lr_scale", -1),
    ],
)
def test_rates_of_parts_of_the_network_given_with_resume_are_used(tmp_path, task, option, place):
    train.main(start(tmp_path, "--max_iterations=1", "--train.runner.eval_interval=0", task=task))
    runner = resumed(tmp_path, task, **{option: 0.125})
    found = rates(runner)
    first, last = found[0], found[place]
    assert last == (0.125 * first if option == "attention_lr_scale" else 0.125)
    assert found.count(0.125) == (option != "attention_lr_scale")


def test_a_rate_that_follows_the_schedule_is_given_in_proportion_to_the_first_one(tmp_path):
    flags = ("--max_iterations=1", "--train.actor.preset=per_group", "--train.runner.eval_interval=0")
    train.main(start(tmp_path, *flags, task="go2_cts_flat"))
    for first, given in ((1e-3, {}), (5e-4, {"learning_rate": 5e-4})):  # the option when nothing is given
        policy, encoder = rates(resumed(tmp_path, "go2_cts_flat", encoder_learning_rate=2e-4, **given))
        assert encoder == pytest.approx(policy * 2e-4 / first)


def test_another_optimizer_is_refused_before_anything_is_loaded(tmp_path):
    train.main(start(tmp_path, "--max_iterations=1", "--train.runner.eval_interval=0", task="go2_ts_flat"))
    with pytest.raises(UserError, match="the run has the state of adam"):
        resumed(tmp_path, "go2_ts_flat", optimizer="sgd")


def test_robots_start_anew_where_what_they_were_drawn_from_changed(trained, tmp_path, capsys):
    root = copy_of(trained, tmp_path)
    train.main(resume(root, "--max_iterations=3", "--env.domain_rand.friction_range=0.1,0.2"))
    assert "robots start new episodes: domain_rand.friction_range changed" in capsys.readouterr().out
    snapshot = torch.load(newest(root) / "model_2.pt", weights_only=True)["infos"]["env"]
    friction = snapshot["params"]["friction"]
    assert float(friction.min()) >= 0.1 and float(friction.max()) <= 0.2


def test_command_ranges_given_with_resume_replace_those_of_the_checkpoint(trained, tmp_path):
    root = copy_of(trained, tmp_path)
    train.main(resume(root, "--max_iterations=3", "--env.commands.ranges.lin_vel_y=-0.2,0.2"))
    snapshot = torch.load(newest(root) / "model_2.pt", weights_only=True)["infos"]["env"]
    assert snapshot["command_ranges"][1].tolist() == pytest.approx([-0.2, 0.2])


def test_a_setting_that_a_resumed_training_does_not_read_says_so():
    changes = {"env.seed": (1, 2), "train.algorithm.schedule": ("adaptive", "fixed")}
    lines = describe_changes(changes, 2.5e-4)
    assert lines[0].endswith("env.seed 1 -> 2 (no effect: random numbers continue from the checkpoint)")
    assert lines[1].endswith("'adaptive' -> 'fixed' (from the learning rate that the checkpoint had, 0.00025)")
    assert describe_changes(changes, 1e-3, robots_restored=False)[0].endswith("env.seed 1 -> 2")
    both = describe_changes({**changes, "train.algorithm.learning_rate": (1e-3, 1e-4)}, 1e-4)
    assert both[1].endswith("'adaptive' -> 'fixed'")


def test_a_run_that_does_not_differ_or_does_not_say_has_no_changes(tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    assert changes_since(tmp_path, env_cfg, train_cfg) == {}
    save_run_configs(tmp_path, env_cfg, train_cfg, "go2_flat")
    train_cfg.runner.resume, train_cfg.runner.load_run, train_cfg.runner.checkpoint = True, "other", 5  # no settings
    assert changes_since(tmp_path, env_cfg, train_cfg) == {}
    env_cfg.control.stiffness = {"joint": 30.0}
    assert changes_since(tmp_path, env_cfg, train_cfg) == {"env.control.stiffness.joint": (20.0, 30.0)}


# -- runs of other tasks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", [True, False], ids=["new", "written before runs said it"])
def test_a_run_of_another_task_is_named_as_one(tmp_path, says):
    train.main(start(tmp_path, "--max_iterations=1", "--train.runner.eval_interval=0", task="go2_ts_flat"))
    run = newest(tmp_path, "go2_ts_flat")
    assert json.loads((run / RUN_FILE).read_text(encoding="utf-8")) == {"task": "go2_ts_flat"}
    if not says:
        (run / RUN_FILE).unlink()
    message = r"is of task 'go2_ts_flat', not of task 'go2_flat': give --task=go2_ts_flat"
    with pytest.raises(UserError, match=message):
        train.main(resume(tmp_path, "--experiment_name=go2_ts_flat"))
    args = parse(make_parser(""), ["--task=go2_flat", f"--log_root={tmp_path}", "--experiment_name=go2_ts_flat"])
    with pytest.raises(UserError, match=message):
        run_cfgs("go2_flat", args)


def test_settings_of_another_version_are_named_as_such(tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    save_run_configs(tmp_path, env_cfg, train_cfg, "go2_flat")
    values = saved(tmp_path, "train")
    values["algorithm"]["gone"] = 1
    (tmp_path / "params/train.json").write_text(json.dumps(values), encoding="utf-8")
    fresh = task_registry.get_cfgs("go2_flat")
    with pytest.raises(UserError, match=r"not those of this version of task 'go2_flat': .*'algorithm\.gone'"):
        apply_run(tmp_path, "go2_flat", *fresh)
