"""Command lines: flags, dotted overrides, the mistypes of a user, and how programs end."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

import pytest

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
from legged_gym_ext.scripts.train import add_training_flags
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.config import BaseConfig, to_dict
from legged_gym_ext.utils.errors import UserError, run_main

FLAGS = (
    "task", "num_envs", "seed", "experiment_name", "run_name", "load_run", "checkpoint",
    "rl_device", "sim_device", "sim", "headless", "max_iterations", "resume", "logger",
)  # fmt: skip


def parsed(*words: str) -> argparse.Namespace:
    """`words` as train.py understands them."""
    parser = make_parser("Train.", prog="train.py")
    add_training_flags(parser)
    return parse(parser, list(words))


def applied(*words: str) -> tuple[Any, Any]:
    """Fresh configurations after `words`."""
    env_cfg, train_cfg = LeggedRobotCfg(), LeggedRobotCfgPPO()
    apply_args_to_cfgs(parsed(*words), env_cfg, train_cfg)
    return env_cfg, train_cfg


def refusal(*words: str) -> str:
    """The message that refuses `words`, while parsing or while applying."""
    with pytest.raises(UserError) as caught:
        applied(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Parsing


def test_without_arguments_every_flag_keeps_the_configuration() -> None:
    args = parsed()
    assert {name: getattr(args, name) for name in FLAGS} == {
        **dict.fromkeys(FLAGS),
        "headless": False,
        "resume": False,
    }
    env_cfg, train_cfg = applied()
    assert to_dict(env_cfg) == to_dict(LeggedRobotCfg()) and to_dict(train_cfg) == to_dict(LeggedRobotCfgPPO())


@pytest.mark.parametrize(
    "words",
    [("--num_envs=5",), ("--num_envs", "5"), ("--num-envs=5",), ("--num-envs", "5"), ("--num_envs=7", "--num_envs=5")],
)
def test_a_flag_may_be_written_with_dashes_or_underscores_and_the_last_wins(words: tuple[str, ...]) -> None:
    assert parsed(*words).num_envs == 5


@pytest.mark.parametrize("words", [("--log_root=my-runs/a",), ("--log-root", "my-runs/a")])
def test_the_log_folder_is_taken_as_written_and_changes_no_configuration(words: tuple[str, ...]) -> None:
    assert parsed(*words).log_root == "my-runs/a"
    env_cfg, train_cfg = applied(*words)
    assert to_dict(env_cfg) == to_dict(LeggedRobotCfg()) and to_dict(train_cfg) == to_dict(LeggedRobotCfgPPO())


def test_dashes_in_a_value_stay() -> None:
    assert parsed("--run-name=a-b").run_name == "a-b"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--env.sim.dt=0.01",), {"sim.dt": "0.01"}),
        (("--env.sim.dt", "0.01"), {"sim.dt": "0.01"}),
        (("--env.sim.dt", "-1.0"), {"sim.dt": "-1.0"}),
        (("--env.sim.dt=-1e-3",), {"sim.dt": "-1e-3"}),
        (("--env.asset.name=a=b",), {"asset.name": "a=b"}),
        (("--env.asset.name=",), {"asset.name": ""}),
        (("--env.sim.dt=1", "--env.sim.dt=2"), {"sim.dt": "2"}),
    ],
)
def test_dotted_overrides_are_split_from_the_flags(words: tuple[str, ...], expected: dict[str, str]) -> None:
    args = parsed(*words, "--headless", "--train.seed=3")
    assert (args.env_overrides, args.train_overrides, args.headless) == (expected, {"seed": "3"}, True)


@pytest.mark.parametrize("words", [("--load_run", "-1"), ("--load_run=-1",)])
def test_minus_one_is_a_value_and_no_flag(words: tuple[str, ...]) -> None:
    assert parsed(*words).load_run == "-1"


@pytest.mark.parametrize(("text", "iteration"), [("50", 50), ("-1", -1), ("model_50.pt", 50), ("model_50", 50)])
def test_a_checkpoint_is_an_iteration_or_its_file_name(text: str, iteration: int) -> None:
    assert parsed("--checkpoint", text).checkpoint == iteration


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num_env=5",), "unknown flag --num_env; did you mean --num_envs"),
        (("--num-env", "5"), "unknown flag --num-env; did you mean --num_envs"),
        (("--max_iteration=5",), "unknown flag --max_iteration; did you mean --max_iterations"),  # no abbreviations
        (("--head",), "unknown flag --head"),
        (("--zzz",), "unknown flag --zzz"),
        (("-n", "5"), "unknown flag -n"),
        (("num_envs=5",), "stray argument 'num_envs=5'; did you mean --num_envs"),
        (("go2",), "stray argument 'go2'; flags look like --name=value"),
        (("--headless", "true"), "stray argument 'true'"),
        (("--env=5",), "--env=5: overrides name a field: --env.SECTION.FIELD=VALUE"),
        (("--env.sim.dt",), "--env.sim.dt needs a value"),
        (("--env.sim.dt", "--headless"), "--env.sim.dt needs a value"),
        (("--num_envs",), "argument --num_envs: expected one argument"),
        (("--task", "--headless"), "argument --task: expected one argument"),
        (("--num_envs=many",), "argument --num_envs: invalid int value: 'many'"),
        (("--num_envs=1.5",), "argument --num_envs: invalid int value: '1.5'"),
        (("--logger=tensorbord",), "argument --logger: invalid choice: 'tensorbord'"),
        (("--checkpoint=last",), "argument --checkpoint: expected an iteration such as 50, or model_50.pt, got 'last'"),
    ],
)
def test_a_mistyped_command_line_is_one_line_that_says_what_to_do(words: tuple[str, ...], message: str) -> None:
    assert refusal(*words).startswith(message)


def test_a_program_without_training_flags_refuses_them() -> None:
    with pytest.raises(UserError, match="unknown flag --resume"):
        parse(make_parser("Play."), ["--resume"])


# Applying


def test_every_flag_reaches_its_field_and_only_that() -> None:
    env_cfg, train_cfg = applied(
        "--num_envs=5",
        "--seed=6",
        "--sim=warp",
        "--sim_device=cuda:1",
        "--rl_device=cuda:0",
        "--experiment_name=e",
        "--run_name=r",
        "--load_run=l",
        "--checkpoint=50",
        "--max_iterations=8",
        "--logger=none",
        "--resume",
    )
    env, train = to_dict(LeggedRobotCfg()), to_dict(LeggedRobotCfgPPO())
    env["env"]["num_envs"] = 5
    env["seed"] = train["seed"] = 6
    env["sim"].update(engine="warp", device="cuda:1")
    train["runner"].update(device="cuda:0", experiment_name="e", run_name="r", load_run="l", checkpoint=50)
    train["runner"].update(max_iterations=8, logger="none", resume=True)
    assert to_dict(env_cfg) == env and to_dict(train_cfg) == train


def test_zero_is_a_value_of_a_flag() -> None:
    _, train_cfg = applied("--max_iterations=0", "--checkpoint=0")
    assert (train_cfg.runner.max_iterations, train_cfg.runner.checkpoint) == (0, 0)


@pytest.mark.parametrize("words", [("--env.env.num_envs=3", "--num_envs=5"), ("--num_envs=5", "--env.env.num_envs=3")])
def test_an_override_wins_over_a_flag_in_any_order(words: tuple[str, ...]) -> None:
    assert applied(*words)[0].env.num_envs == 3


def test_train_overrides_do_not_touch_the_environment() -> None:
    env_cfg, train_cfg = applied("--train.seed=9")
    assert (train_cfg.seed, env_cfg.seed) == (9, 1)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--num_envs=0", "--num_envs=0: expected at least 1"),
        ("--num_envs=-4", "--num_envs=-4: expected at least 1"),
        ("--env.env.num_envs=0", "--env.env.num_envs=0: expected at least 1"),
        ("--max_iterations=-1", "--max_iterations=-1: expected at least 0"),
        ("--train.runner.max_iterations=-1", "--train.runner.max_iterations=-1: expected at least 0"),
        ("--checkpoint=-2", "--checkpoint=-2: expected at least -1"),
        ("--seed=-1", "--seed=-1: expected at least 0"),
        ("--seed=4294967296", "--seed=4294967296: expected at most 4294967295"),  # 2^32: numpy takes less
        ("--env.seed=-1", "--env.seed=-1: expected at least 0"),
        ("--env.sim.dt=abc", "--env.sim.dt=abc: expected float, got 'abc'"),
    ],
)
def test_values_out_of_range_or_of_the_wrong_type_are_refused(word: str, message: str) -> None:
    assert refusal(word) == message


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("--env.rewards.scales.feet_airtime=1", "rewards.scales.feet_air_time"),
        ("--env.dt=1", "sim.dt"),
        ("--train.learning_rate=1", "algorithm.learning_rate"),
    ],
)
def test_a_mistyped_override_names_the_field_that_was_meant(word: str, nearest: str) -> None:
    assert f"did you mean {nearest}" in refusal(word)


def test_a_flag_without_a_field_in_this_task_is_refused_only_when_given() -> None:
    class Bare(BaseConfig):
        """A training configuration of somebody else, without a runner."""

        seed = 1

    env_cfg, bare = LeggedRobotCfg(), Bare()
    apply_args_to_cfgs(parsed("--seed=4"), env_cfg, bare)
    assert (env_cfg.seed, bare.seed) == (4, 4)
    with pytest.raises(UserError, match=r"--run_name=x: .* no field 'train\.runner\.run_name'"):
        apply_args_to_cfgs(parsed("--run_name=x"), env_cfg, bare)


# Programs


def exit_code(main: Any) -> object:
    """How `run_main(main)` leaves."""
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    return caught.value.code


def failing(error: BaseException) -> Any:
    """A program that ends with `error`."""

    def main(argv: list[str] | None) -> int:
        raise error

    return main


def test_a_user_error_is_one_line_on_standard_error_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(failing(UserError("no such task"))) == 2
    assert capsys.readouterr() == ("", "error: no such task\n")


def test_ctrl_c_is_one_line_and_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_what_main_returns(returned: int | None, code: int) -> None:
    assert exit_code(lambda argv: returned) == code


def test_main_gets_the_arguments_without_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--a", "b"])
    seen = []
    exit_code(seen.append)
    assert seen == [["--a", "b"]]


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_main(failing(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("body", "code", "errors"),
    [
        ("print('x' * 100000)", 0, ""),  # more than a buffer: breaks while printing
        ("print('x')", 0, ""),  # breaks when the buffer is flushed
        ("import argparse; argparse.ArgumentParser().parse_args(['-h'])", 0, ""),
        ("print('x'); raise UserError('no')", 2, "error: no\n"),  # what went wrong is not hidden
    ],
)
def test_a_reader_that_went_away_is_quiet(body: str, code: int, errors: str) -> None:
    program = (
        "from legged_gym_ext.utils.errors import UserError, run_main\n"
        f"def main(argv):\n    input()\n    {body}\nrun_main(main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT_DIR,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before the program prints: it waits for a line of input
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == errors
    assert process.wait(timeout=30) == code


def test_help_shows_flags_then_overrides_and_where_fields_are_listed() -> None:
    parser = make_parser("Train a task.", prog="train.py")
    add_training_flags(parser)
    text = parser.format_help()
    assert text.startswith("usage: train.py")
    assert all(f"--{name}" in text for name in FLAGS)
    assert text.index("--logger") < text.index("--env.rewards.scales.feet_air_time=0.5") < text.index("describe.py")


def test_tasks_and_their_configurations_are_known_without_torch_or_an_engine() -> None:
    program = (
        "import sys; import legged_gym_ext.envs as envs\n"
        "from legged_gym_ext.utils import cli, config, errors\n"
        "from legged_gym_ext.training import runs\n"
        "envs.task_registry.get_cfgs('go2_flat')\n"
        "print(sorted({'torch', 'numpy', 'mujoco', 'mjbatch', 'rsl_rl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT_DIR, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_of_training_imports_no_array_library() -> None:
    program = (
        "import sys; from legged_gym_ext.scripts import train\n"
        "try: train.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'mujoco'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT_DIR, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
