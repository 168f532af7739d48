"""Policies that are part of the package: what their folders hold, what their cards say, how they are asked for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ship
from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import evaluate, export, play, sim2sim, train
from legged_gym_ext.training import pretrained
from legged_gym_ext.training.run_settings import flat
from legged_gym_ext.training.runs import (
    checkpoints,
    find_checkpoint,
    load_checkpoint,
    load_run_configs,
    save_run_configs,
)
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import newest, start

TASKS = pretrained.tasks()
LIMIT = 12e6  # bytes of all of them: they are part of every wheel


def test_there_are_policies_and_together_they_are_small():
    assert {"go2_rma", "go2_ult"} <= set(TASKS)
    assert sum(path.stat().st_size for path in pretrained.FOLDER.rglob("*") if path.is_file()) < LIMIT


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_has_one_checkpoint_an_export_and_no_path_of_a_machine(task):
    folder = pretrained.find(task)
    card = pretrained.read_card(folder)
    assert list(checkpoints(folder)) == [card["checkpoint"]]
    names = {path.name for path in folder.iterdir()}
    assert names == {"policy.onnx", "card.json", "params", f"model_{card['checkpoint']}.pt"}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(place in content for place in (b"/home/", b"/root/", b"/tmp/", b".debug_pkl")), path


@pytest.mark.parametrize("task", TASKS)
def test_the_command_of_a_card_gives_the_settings_of_its_training(task):
    folder = pretrained.find(task)
    words = shlex.split(pretrained.read_card(folder)["command"])
    assert words[:2] == ["python", "legged_gym_ext/scripts/train.py"]
    parser = make_parser("")
    train.add_training_flags(parser)
    args = parse(parser, words[2:])
    cfgs = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, *cfgs)
    for given, saved in zip(cfgs, map(dict, map(flat, load_run_configs(folder)))):
        now = dict(flat(json.loads(json.dumps(to_dict(given)))))
        assert {name: now[name] for name in saved} == saved  # options that came later have their defaults


@pytest.mark.parametrize("task", TASKS)
def test_the_exported_file_is_of_the_checkpoint(task):
    pytest.importorskip("onnxruntime")
    from legged_gym_ext.deploy.policy_file import ExportedPolicy

    card, contract = (
        pretrained.read_card(pretrained.find(task)),
        ExportedPolicy(pretrained.policy_file(f"pretrained:{task}")).contract,
    )
    assert (contract.task, contract.role) == (task, card["policy"])
    assert not Path(contract.provenance["run"]).is_absolute()
    assert contract.provenance["iteration"] == card["checkpoint"]


@pytest.mark.slow
def test_what_export_writes_of_a_shipped_policy_acts_like_its_file(tmp_path):
    pytest.importorskip("onnxruntime")
    from legged_gym_ext.deploy.policy_file import ExportedPolicy

    with pytest.raises(UserError, match=r"^--pretrained writes nothing into the package: add --out=FOLDER$"):
        export.main(["--task=go2_ult", "--pretrained"])
    assert export.main(["--task=go2_ult", "--pretrained", f"--out={tmp_path / 'out'}"]) == 0
    graph = ExportedPolicy(pretrained.policy_file("pretrained:go2_ult"))
    script = torch.jit.load(str(tmp_path / "out/policy.pt"))
    rng = np.random.default_rng(0)
    for _ in range(40):  # longer than the history
        obs = rng.normal(0.0, 0.5, graph.contract.dim("obs")).astype(np.float32)
        actions, _ = graph(obs=obs)
        np.testing.assert_allclose(script(torch.from_numpy(obs)[None])[0].detach().numpy(), actions, atol=1e-4)


def test_a_card_has_the_command_of_each_part_of_a_resumed_training(tmp_path):
    def run(name: str, iterations: int, **runner: object) -> Path:
        env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
        train_cfg.runner.max_iterations = iterations
        for field, value in runner.items():
            setattr(train_cfg.runner, field, value)
        (tmp_path / name).mkdir()
        save_run_configs(tmp_path / name, env_cfg, train_cfg, "go2_flat")
        (tmp_path / name / f"model_{iterations}.pt").touch()
        return tmp_path / name

    first = run("first", 40)
    last = run("last", 90, resume=True, load_run="first", checkpoint=-1)
    script = "python legged_gym_ext/scripts/train.py --task=go2_flat --headless --seed=1"
    assert ship.parts("go2_flat", first, 40) == []
    assert ship.parts("go2_flat", last, 80) == [
        {"run": "first", "until": 40, "command": f"{script} --train.runner.max_iterations=40"},
        {
            "run": "last",
            "until": 80,
            "command": f"{script} --resume --load_run=first --checkpoint=40 --train.runner.max_iterations=90",
        },
    ]
    lost = run("lost", 90, resume=True, load_run="elsewhere", checkpoint=7)
    assert [part["command"] is None for part in ship.parts("go2_flat", lost, 90)] == [True, False]


def test_matrices_are_rounded_to_half_precision_and_nothing_else_is():
    weights, count = torch.randn(64, 48), torch.tensor([[3e7] * 8])  # a count beyond the range of half precision
    content = {"a": {"weight": weights, "bias": torch.randn(2000), "count": count}, "b": [weights], "rows": (1, "x")}
    found = ship.rounded(content, {})
    assert found["a"]["weight"].dtype == torch.half and found["b"][0] is found["a"]["weight"]  # one tensor, saved once
    torch.testing.assert_close(found["a"]["weight"].float(), weights, rtol=2**-11, atol=1e-6)
    assert found["a"]["bias"] is content["a"]["bias"] and found["a"]["count"] is count and found["rows"] == (1, "x")


def test_an_onnx_file_of_halves_is_smaller_and_gives_the_same_numbers(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ELU(), torch.nn.Linear(64, 32))
    network[0].weight.data = network[0].weight.data.half().float()  # those of the second layer are no halves
    path = tmp_path / "policy.onnx"
    torch.onnx.export(network, (torch.zeros(1, 64),), str(path), dynamo=False)
    feed = {runtime.InferenceSession(str(path)).get_inputs()[0].name: torch.randn(1, 64).numpy()}
    sizes, outputs = [], []
    for _ in range(2):
        sizes.append(path.stat().st_size)
        outputs.append(runtime.InferenceSession(str(path)).run(None, feed)[0])
        ship.store_halves(path)
    assert 2 * 64 * 64 * 0.9 < sizes[0] - sizes[1] < 2 * 64 * 64
    np.testing.assert_array_equal(outputs[0], outputs[1])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_policy_still_walks_in_plain_mujoco_as_its_card_says(task, tmp_path):
    pytest.importorskip("onnxruntime")
    said, result = pretrained.read_card(pretrained.find(task))["sim2sim"], tmp_path / "result.json"
    sim2sim.main([f"--policy=pretrained:{task}", *said["flags"], "--headless", f"--json={result}"])
    found = json.loads(result.read_text(encoding="utf-8"))
    for metric, tolerance in said["tolerance"].items():
        worse = found[metric] - said[metric] if metric == "fall_rate" else said[metric] - found[metric]
        assert worse <= tolerance, (metric, found[metric], said[metric])


def test_a_task_without_a_policy_names_those_with_one(tmp_path):
    missing = "colour_maze_teacher"
    named = rf"no policy of task '{missing}' .* there are {', '.join(TASKS)}$"
    for main in (train.main, evaluate.main):
        with pytest.raises(UserError, match=named):
            main([f"--task={missing}", "--pretrained", f"--log_root={tmp_path}"])
    with pytest.raises(UserError, match=r"'go2_utl' .*did you mean go2_ult"):
        sim2sim.main(["--policy=pretrained:go2_utl", "--headless"])


@pytest.mark.parametrize(("task", "said"), [("go2_ult", True), ("colour_maze_teacher", False)])
def test_without_a_run_a_shipped_policy_is_named_where_there_is_one(task, said, tmp_path):
    with pytest.raises(UserError, match="no runs of experiment") as error:
        evaluate.main([f"--task={task}", f"--log_root={tmp_path}"])
    assert ("without training: add --pretrained" in str(error.value)) == said


@pytest.mark.parametrize("main", [train.main, evaluate.main, play.main])
@pytest.mark.parametrize("other", ["--load_run=a", "--checkpoint=3", "--train.runner.resume=true"])
def test_pretrained_and_a_run_of_ones_own_are_refused_together(main, other, tmp_path):
    video = ["--video=x.mp4"] if main is play.main else []
    flag = {"--train.runner.resume=true": "--resume"}.get(other, other.partition("=")[0])
    with pytest.raises(UserError, match=rf"--pretrained takes the policy of this package, {flag} one of your runs"):
        main(["--task=go2_ult", "--pretrained", other, f"--log_root={tmp_path}", *video])


def test_a_name_without_the_prefix_is_a_file():
    assert pretrained.policy_file("go2_ult/policy.onnx") == Path("go2_ult/policy.onnx")
    with pytest.raises(UserError, match=r"policy not found: go2_ult; .* is pretrained:go2_ult$"):
        pretrained.policy_file("go2_ult")
    assert pretrained.policy_file("pretrained:go2_ult") == pretrained.FOLDER / "go2_ult" / "policy.onnx"


@pytest.mark.slow
def test_a_training_begins_with_the_networks_and_says_so(tmp_path, capsys):
    train.main(start(tmp_path, "--pretrained", "--max_iterations=1", task="go2_ult"))
    assert "beginning with the shipped policy of go2_ult" in capsys.readouterr().out
    run = newest(tmp_path, "go2_ult")
    shipped = load_checkpoint(find_checkpoint(pretrained.find("go2_ult")), "cpu")["network_state_dict"]
    now = load_checkpoint(find_checkpoint(run), "cpu")
    assert now["iter"] == 0  # iterations are counted anew
    moved = [float((now["network_state_dict"][k] - v).abs().max()) for k, v in shipped.items() if "weight" in k]
    assert 0.0 < max(moved) < 0.03  # an iteration of small steps; two random networks differ by more than 0.1


@pytest.mark.parametrize(
    ("task", "flags", "expected"),
    [
        ("go2", [], 2e-4),  # rsl-rl-lib's own PPO
        ("go2_ts", [], 2e-4),
        ("go2_ts", ["--train.algorithm.learning_rate=0.0004"], 4e-4),
        ("go2_ts", ["--train.algorithm.schedule=fixed"], 1e-3),
        ("go2_ult", [], 2e-5),  # as it was trained at the end, fixed
    ],
)
def test_a_training_begins_with_small_steps(task, flags, expected, tmp_path, monkeypatch, capsys):
    found = []

    def look(self, iterations: int, **kwargs) -> None:
        found.extend([self.alg.learning_rate, self.alg.optimizer.param_groups[0]["lr"]])

    monkeypatch.setattr("legged_gym_ext.training.runner.TrainRunner.learn", look)
    train.main(start(tmp_path, "--pretrained", "--max_iterations=1", *flags, task=task))
    assert found == [expected, expected]
    assert f"learning rate: {expected:.2g} at first" in capsys.readouterr().out


@pytest.mark.slow
def test_an_evaluation_runs_the_shipped_checkpoint(tmp_path, capsys):
    result = tmp_path / "result.json"
    evaluate.main(
        ["--task=go2_ult", "--pretrained", "--num_envs=2", "--env.env.episode_length_s=0.2", f"--json={result}"]
    )
    assert "shipped policy of go2_ult" in capsys.readouterr().out
    checkpoint = Path(json.loads(result.read_text(encoding="utf-8"))["checkpoint"])
    assert checkpoint == find_checkpoint(pretrained.find("go2_ult"))


def test_a_policy_in_one_line_says_what_it_began_with(tmp_path):
    card = {"task": "go2_x", "steps": 1_860_000, "seed": 2, "ladder": {"score": 0.654}, "began_with": None}
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    assert pretrained.describe(tmp_path) == "shipped policy of go2_x: 1.9 M steps, seed 2, ladder 0.65"
    card = {**card, "ladder": None, "began_with": "go2_y's 30.0 M steps"}
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    assert pretrained.describe(tmp_path) == "shipped policy of go2_x: 1.9 M steps after go2_y's 30.0 M steps, seed 2"


def test_a_teacher_is_named_as_users_can_name_it():
    run = pretrained.read_card(pretrained.find("go2_ts"))["shipped_with"].partition("--load_run=")[2].split()[0]
    assert ship.shipped_name(f"/somewhere/go2_ts/{run}") == "pretrained:go2_ts"
    assert ship.shipped_name("/somewhere/go2_ts/another") == "logs/go2_ts/another"  # not a path of this machine
    assert ship.shipped_name("pretrained:go2_x") == "pretrained:go2_x"
