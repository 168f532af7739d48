"""report.py: what it reads from run folders, the numbers behind its pictures, and the page as a browser finds it."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from torch.utils.tensorboard import SummaryWriter  # noqa: E402

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.reports import curves, motion, records, scores, style  # noqa: E402
from legged_gym_ext.reports.attention import attention_by_distance, prediction_errors  # noqa: E402
from legged_gym_ext.reports.events import merge_curves, processes_of, read_events, seconds_of  # noqa: E402
from legged_gym_ext.reports.rollout import command_grid, measure  # noqa: E402
from legged_gym_ext.scripts import report  # noqa: E402
from legged_gym_ext.utils.errors import UserError  # noqa: E402
from legged_gym_ext.utils.player import nominal  # noqa: E402
from legged_gym_ext.utils.runs import save_run_configs  # noqa: E402
from rsl_rl_ult.modules import ActorCriticULT  # noqa: E402
from rsl_rl_ult.modules.transformer import Transformer, band_mask  # noqa: E402

ROBOTS, STEPS = 100, 24
KINDS = ("stairs_up", "discrete")


def figures(value: float, **more: Any) -> dict[str, Any]:
    """What evaluate.py says of a policy."""
    names = ("linear_tracking", "yaw_tracking", "progress", "fall_rate")
    return {"return": 10.0 * value, "energy": 50.0, **dict.fromkeys(names, value), **more}


def write_run(
    root: Path,
    task: str = "go2_flat",
    name: str = "2026-01-01_00-00-00_seed1",
    seed: int = 1,
    iterations: range = range(10),
    offset: float = 0.0,
    **runner: Any,
) -> Path:
    """A run folder with configurations and curves: rewards grow by 1, iterations take 3 s."""
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.env.num_envs, train_cfg.seed = ROBOTS, seed
    train_cfg.runner.num_steps_per_env = STEPS
    for field, value in runner.items():
        setattr(train_cfg.runner, field, value)
    path = root / task / name
    path.mkdir(parents=True)
    save_run_configs(path, env_cfg, train_cfg)
    with SummaryWriter(str(path)) as writer:
        for it in iterations:
            row = {"Train/mean_reward": it + offset, "Metrics/fall_rate": 0.5, "Metrics/linear_tracking": 0.8}
            row.update({"Perf/collection_time": 2.0, "Perf/learning_time": 1.0, "Perf/total_fps": ROBOTS * STEPS / 3.0})
            if not task.endswith("_flat"):
                row.update({"Terrain/level": it / 5, **{f"Terrain/level_{kind}": it / 5 for kind in KINDS}})
            if "_ts" in task and it % 5 == 4:
                row.update({f"Comparison/return_{role}": it + offset for role in ("teacher", "student")})
            for tag, value in row.items():
                writer.add_scalar(tag, value, it)
    return path


def evaluate(path: Path, task: str, **policies: dict[str, Any]) -> None:
    (path / "evaluation.json").write_text(
        json.dumps({"task": task, "checkpoint": "x/model_9.pt", "policies": policies})
    )


def tiles(value: float) -> dict[str, Any]:
    """Figures by kind, by level and both, two levels."""
    each = {"0": figures(value), "1": figures(value / 2)}
    return {"kinds": {kind: figures(value) for kind in KINDS}, "levels": each, "tiles": dict.fromkeys(KINDS, each)}


# -- reading -----------------------------------------------------------------------------------------------------------


def test_redone_iterations_are_those_of_the_later_file():
    first = {"a": [(0, 1.0), (1, 2.0), (2, 3.0)], "b": [(2, 9.0)], "a/time": [(7, 1.0)]}
    second = {"a": [(2, 30.0), (3, 40.0)]}
    merged = merge_curves([first, second])
    assert set(merged) == {"a"}  # b at iteration 2 was undone, and not done again
    assert merged["a"][0].tolist() == [0, 1, 2, 3] and merged["a"][1].tolist() == [1.0, 2.0, 30.0, 40.0]


def test_values_that_are_not_finite_are_left_out():
    assert merge_curves([{"a": [(0, math.nan), (1, 2.0), (2, math.inf)]}])["a"][1].tolist() == [2.0]


def test_seconds_add_up_and_iterations_that_are_not_logged_count_like_the_median_one():
    iterations = np.array([2, 3, 4])
    times = {
        "Perf/learning_time": (iterations, np.array([1.0, 1.0, 5.0])),
        "Perf/collection_time": (iterations, np.array([2.0, 2.0, 2.0])),
    }
    assert seconds_of(times).tolist() == [3.0, 6.0, 9.0, 12.0, 19.0]  # 3, 3 (median), 1 + 2, 1 + 2, 5 + 2


def test_robots_of_several_processes_are_told_by_the_logged_speed():
    one = np.ones(3)
    speed = {
        "Perf/total_fps": (one, 2400.0 * 2 / 3.0 * one),
        "Perf/collection_time": (one, 2.0 * one),
        "Perf/learning_time": (one, one),
    }
    assert processes_of(speed, 2400) == 2
    assert processes_of({}, 2400) == 1


def test_an_event_file_that_ends_in_the_middle_of_an_event_is_read_up_to_there(tmp_path):
    (path,) = write_run(tmp_path).glob("events.*")
    whole = len(read_events(path)["Train/mean_reward"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])
    part = read_events(path)["Train/mean_reward"]
    assert whole == 10 and 3 <= len(part) <= 6 and part[2] == (2, 2.0)


def test_a_record_counts_steps_seconds_and_knows_task_and_seed(tmp_path):
    (run,) = records.read_runs([write_run(tmp_path, seed=7)])
    assert (run.task, run.seed, run.flat, run.iterations) == ("go2_flat", 7, True, 10)
    assert run.steps == 10 * ROBOTS * STEPS and run.seconds[-1] == 30.0
    places, values = run.curve("Train/mean_reward") or (None, None)
    assert places[:2] == pytest.approx([0.0024, 0.0048]) and values[:2].tolist() == [0.0, 1.0]
    hours, _ = run.curve("Train/mean_reward", "hours") or (None, None)
    assert hours[-1] == pytest.approx(30.0 / 3600.0)


@pytest.mark.parametrize("load_run", ["2026-01-01_00-00-00_seed1", "-1"])
def test_a_resumed_training_is_one_record_of_both_folders(tmp_path, load_run):
    first = write_run(tmp_path, iterations=range(8))
    torch.save({"iter": 5, "infos": {"task": "go2_flat"}}, first / "model_5.pt")
    write_run(tmp_path, name="2026-01-01_02-00-00_other", iterations=range(3))  # without a checkpoint nobody resumes it
    last = write_run(
        tmp_path,
        name="2026-01-01_03-00-00_seed1",
        iterations=range(6, 12),
        offset=100.0,
        resume=True,
        load_run=load_run,
    )
    (last / "params" / "env.json").write_text((first / "params" / "env.json").read_text())
    (run,) = records.read_runs([first.resolve(), last.resolve()])
    assert [folder.name for folder in run.folders] == [first.name, last.name]
    assert run.curves["Train/mean_reward"][1].tolist() == [0, 1, 2, 3, 4, 5, 106, 107, 108, 109, 110, 111]
    assert run.notes == []


def test_a_record_without_its_beginning_says_so(tmp_path):
    (run,) = records.read_runs([write_run(tmp_path, iterations=range(6, 9), resume=True, load_run="gone")])
    assert run.notes == ["what came before iteration 6 is not in its folders; wall time before it is an estimate"]


def test_a_checkpoint_that_cannot_be_read_is_noted_and_the_experiment_names_the_task(tmp_path):
    path = write_run(tmp_path)
    (path / "model_9.pt").touch()
    (run,) = records.read_runs([path])
    assert run.task == "go2_flat" and [note.partition(";")[0] for note in run.notes] == [
        f"checkpoint {path}/model_9.pt is empty"
    ]


def test_an_evaluation_of_another_checkpoint_is_noted(tmp_path):
    path = write_run(tmp_path)
    evaluate(path, "go2_flat", policy=figures(0.5))
    (path / "model_11.pt").touch()
    (run,) = records.read_runs([path])
    assert run.notes == ["evaluation.json is of model_9.pt, the newest one is model_11.pt"]


def test_runs_of_one_task_are_seeds_unless_their_configurations_differ(tmp_path):
    paths = [write_run(tmp_path, name=f"run{seed}", seed=seed, save_interval=seed) for seed in (2, 1)]
    groups = records.group_runs(records.read_runs(paths))
    assert {label: [run.seed for run in runs] for label, runs in groups.items()} == {"go2_flat": [1, 2]}
    assert records.differences(groups["go2_flat"]) == []
    groups["go2_flat"][0].train_cfg["algorithm"]["gamma"] = 0.5
    assert records.differences(groups["go2_flat"]) == ["train.algorithm.gamma"]


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_curves_of_seeds_are_compared_where_all_of_them_are(tmp_path):
    runs = records.read_runs(
        [write_run(tmp_path, name="a"), write_run(tmp_path, name="b", iterations=range(2, 6), offset=4.0)]
    )
    places, values = curves.common_curve(runs, "Train/mean_reward", smoothed=0.0) or (None, None)
    assert places[[0, -1]] == pytest.approx([3 * 0.0024, 6 * 0.0024])  # iterations 2 to 5
    assert values[:, 0].tolist() == [2.0, 6.0] and values[:, -1].tolist() == [5.0, 9.0]
    assert curves.common_curve(runs, "Terrain/level") is None


def test_a_score_is_that_of_the_deployed_policy_over_all_robots():
    def run(**policies: dict[str, Any]) -> Any:
        return SimpleNamespace(policies=policies, deployed=policies.get("student", next(iter(policies.values()), None)))

    # On rough ground too: with its kinds as strata the falls on the hard ones would be left out.
    hard = {"a": figures(0.0), "b": figures(0.0), "c": figures(0.0), "d": figures(9.0)}
    runs = [run(teacher=figures(9.0), student=figures(value, kinds=hard)) for value in (1.0, 6.0)]
    assert scores.score(runs, "progress") == (3.5, (1.0, 6.0))
    assert scores.score(runs, "progress", "teacher") == (9.0, (9.0, 9.0))
    assert scores.score(runs[:1], "progress") == (1.0, None)
    assert scores.score([run()], "progress") is None


def test_the_table_of_the_ground_is_the_mean_over_seeds(tmp_path):
    runs = [SimpleNamespace(deployed=figures(value, **tiles(value))) for value in (0.2, 0.4)]
    rows, columns, values = scores.ground_table(runs) or ([], [], {})  # pyright: ignore
    assert rows == ["stairs up", "discrete", "all"] and columns == ["0", "1", "all"]
    # Means of 0.2 and 0.4, of half of them on level 1.
    assert values["progress"] == pytest.approx(np.array([[0.3, 0.15, 0.3], [0.3, 0.15, 0.3], [0.3, 0.15, 0.3]]))
    assert scores.ground_table([SimpleNamespace(deployed=figures(0.2))]) is None  # pyright: ignore


def test_a_dc_motor_loses_torque_with_speed_and_keeps_it_while_braking():
    # 45.43 N m (1 - v / 15.7): at half the speed half the torque, none at 15.7, all of it when it turns backwards.
    line = motion.motor_line(np.array([-15.7, 0.0, 7.85, 15.7]), 45.43, 15.7, "dc")
    assert line == pytest.approx([45.43, 45.43, 22.715, 0.0])
    assert motion.motor_line(np.array([15.0]), 45.43, 15.7, "ideal").tolist() == [45.43]


def test_the_grid_of_commands_covers_the_trained_range():
    cfg = task_registry.get_cfgs("go2_flat")[0].commands
    cfg.curriculum, cfg.max_curriculum = True, 2.0
    commands, rows, brisk = command_grid(cfg)
    assert commands.shape == (70, 3) and sorted(np.concatenate([r.ravel() for r in rows.values()])) == list(range(70))
    assert commands[rows["yaw"]][0, 0].tolist() == [-2.0, 0.0, -1.0] and commands[rows["vy"]][4, 6].tolist() == [
        2.0,
        0.5,
        0.0,
    ]
    assert commands[brisk] == pytest.approx([4.0 / 3.0, 0.0, 0.0])


def test_attention_of_heads_without_a_query_follows_their_bias_for_distance():
    torch.manual_seed(0)
    net = Transformer(width=8, num_layers=1, num_heads=2, window=3)
    torch.nn.init.zeros_(net.blocks[0].query.weight)
    torch.nn.init.zeros_(net.blocks[0].query.bias)
    frames, readers = attention_by_distance(net, torch.randn(2, 5, 8), torch.randn(2, 5, 8))
    # Slopes 2^-4 and 2^-8: weights exp(-slope k) over k = 0, 1, 2; a reader's own bias is 0.
    for head, slope in enumerate((1 / 16, 1 / 256)):
        raw = np.exp(-slope * np.arange(3))
        assert frames[0, head].numpy() == pytest.approx(raw / raw.sum(), abs=1e-6)
        assert readers[0, head].numpy() == pytest.approx(np.append(raw, 1.0) / (raw.sum() + 1.0), abs=1e-6)


def test_attention_is_that_of_the_transformer_itself():
    torch.manual_seed(0)
    net = Transformer(width=8, num_layers=2, num_heads=2, window=2, zero_init=False)
    tokens = torch.randn(1, 2, 8)  # two frames: the second one is the only step with a complete window
    weights, _ = attention_by_distance(net, tokens, torch.randn(1, 2, 8))
    block = net.blocks[0]
    _, _, values = block.project(tokens, 2)
    attended = weights[0, :, :1, None] * values[:, :, 1:] + weights[0, :, 1:, None] * values[:, :, :1]
    mask = band_mask(torch.tensor([[1, 2]]), 2)
    assert torch.allclose(block.finish(tokens[:, 1:], attended), block(tokens, None, mask, 1)[0], atol=1e-6)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2), atol=1e-6)


def test_prediction_is_compared_with_the_next_frame_and_with_no_change():
    network = ActorCriticULT(2, 4, 1, 2, width=8, num_heads=2, history_length=2)
    torch.nn.init.zeros_(network.prediction_head.weight)
    with torch.no_grad():
        network.prediction_head.bias.copy_(torch.tensor([3.0, 4.0, 0.0]))  # always predicts (3, 4)
    frames = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 1.0]]])
    errors = prediction_errors(network, frames, torch.zeros(1, 3, 1), {"second": slice(1, 2)})
    # Next frames (3, 4) and (3, 1): missed by (0, 0) and (0, 3); changes (3, 4) and (0, 3). Means over two columns.
    missed, changed = errors["whole frame"]
    assert missed[0].tolist() == pytest.approx([0.0, math.sqrt(9 / 2)])
    assert changed[0].tolist() == pytest.approx([math.sqrt(25 / 2), math.sqrt(9 / 2)])
    assert errors["second"][0][0].tolist() == pytest.approx([0.0, 3.0])


# -- the page ----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags, what they refer to, and whether they are closed in order."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.images, self.references, self.ids = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.open += [] if tag in self.VOID else [tag]
        self.references += [str(values[name]) for name in ("src", "href", "srcset") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        self.images += [values] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Folder of a report on two tasks on flat and one on rough ground, and sizes of all letters in its pictures."""
    root = tmp_path_factory.mktemp("runs")
    paths = [write_run(root, "go2_ts_flat", f"2026-01-0{seed}_00-00-00", seed, offset=seed) for seed in (1, 2, 3)]
    paths += [write_run(root, "go2_flat"), write_run(root, "go2")]
    for index, path in enumerate(paths[:3]):
        evaluate(path, "go2_ts_flat", teacher=figures(0.9), student=figures(0.7 + 0.1 * index))
    evaluate(paths[4], "go2", policy=figures(0.5, **tiles(0.5)))
    problems: dict[str, str] = {}
    save = style.Picture.save

    def checked(picture: style.Picture, folder: Path) -> Path:
        problems.update(problems_of(picture))
        return save(picture, folder)

    style.Picture.save = checked
    try:
        assert report.main([*map(str, paths), "--no_rollout", f"--out={root / 'out'}"]) == 0
    finally:
        style.Picture.save = save
    return root / "out", problems


def problems_of(picture: style.Picture) -> dict[str, str]:
    """What a reader would miss in a figure: titles, labels, letters of a size, everything within its edges."""
    from matplotlib.text import Text

    figure, found = picture.figure, {}
    figure.canvas.draw()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text.get_fontsize() < 9.0:
            found[f"{picture.name}: {text.get_text()}"] = f"{text.get_fontsize()} points"
    for part in (*figure.legends, *figure.axes):
        box = part.get_tightbbox(figure.canvas.get_renderer())
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found[f"{picture.name}: {part}"] = f"beyond the edge: {box}"
    for axes in figure.axes:
        named = axes.get_title() or axes.get_title("left")
        if axes.axison and axes.get_label() != "<colorbar>" and not (named and axes.get_xlabel()):
            found[f"{picture.name}: {axes}"] = "no title"
    if figure.get_suptitle() == "" or not picture.alt or not picture.caption:
        found[picture.name] = "no words"
    return found


def test_pictures_are_readable(reported):
    assert reported[1] == {}


def test_the_page_loads_nothing(reported):
    text = (reported[0] / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "iframe" not in page.tags and "@import" not in text and "url(" not in text
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "http" not in text.replace("http-equiv", "")
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_page_has_the_pictures_that_lie_beside_it(reported):
    page = Page((reported[0] / "index.html").read_text())
    embedded = [base64.b64decode(image["src"].partition("base64,")[2]) for image in page.images]
    files = {path.name: path.read_bytes() for path in reported[0].glob("*.png")}
    assert sorted(embedded) == sorted(files.values())
    assert set(files) == {
        f"{name}.png" for name in ("curves_steps", "curves_hours", "teacher_student", "scores", "levels", "ground")
    }
    assert all(len(image["alt"] or "") > 20 for image in page.images)


def test_the_page_shows_seeds_intervals_and_what_has_none(reported):
    text = (reported[0] / "index.html").read_text()
    assert "8.0 [7.0, 9.0]" in text  # returns 7, 8, 9 of three students
    assert "77.8% / 88.9% / 100.0%" in text  # 0.7, 0.8 and 0.9 of the teacher's 0.9
    assert "One seed only, so there is no interval over seeds: go2_flat, go2." in text
    assert "0.02 M" in text and "30 s" in text  # 10 iterations of 2400 steps and 3 s


def test_a_method_without_teacher_ground_and_evaluation_lacks_these_pictures(tmp_path):
    path = write_run(tmp_path)
    assert report.main([str(path), "--no_rollout"]) == 0
    assert sorted(file.name for file in (path / "report").iterdir()) == [
        "curves_hours.png",
        "curves_steps.png",
        "index.html",
    ]
    assert len(Page((path / "report" / "index.html").read_text()).images) == 2


def test_runs_are_found_as_evaluate_finds_them(tmp_path):
    path = write_run(tmp_path)
    (path / "model_9.pt").touch()
    for name in (str(path), f"go2_flat/{path.name}", "go2_flat"):
        assert records.find_run_dirs([name], tmp_path) == [path.resolve()]


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_clear_line(tmp_path):
    empty, silent = tmp_path / "go2_flat" / "empty", tmp_path / "go2_flat" / "silent"
    for path in (empty, silent / "params"):
        path.mkdir(parents=True)
    started = write_run(tmp_path, name="started", iterations=range(0))
    (tmp_path / "file").touch()
    write_run(tmp_path, name="fine")
    for words, message in (
        (["go2_flat/fune"], "did you mean fine"),
        (["go2_flot"], "did you mean go2_flat"),
        ([str(tmp_path / "go2_flat" / "fune")], f"no run 'fune' in {tmp_path / 'go2_flat'}; did you mean fine"),
        ([str(tmp_path / "file")], "is a file"),
        ([str(empty)], "is no run folder"),
        ([str(silent)], "has no event files"),
        ([str(started)], "nothing is logged"),
        (["go2_flat/fine", "--oot=x"], "unknown flag --oot=x; did you mean --out"),
        (["go2_flat/fine", f"--out={tmp_path / 'file' / 'x'}"], "choose another folder with --out"),
        ([], "RUN"),
    ):
        with pytest.raises(UserError) as error:
            report.main([*words, f"--log_root={tmp_path}", "--no_rollout"])
        assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("package", ["matplotlib", "tensorboard.backend.event_processing.event_accumulator"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    path = write_run(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"pip install {package.split('.')[0]}"):
        report.main([str(path), "--no_rollout"])


def test_help_does_not_wait_for_torch():
    code = (
        f"import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path({report.__file__!r}, run_name='__main__')\n"
        "except SystemExit: print({'torch', 'numpy', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "set()" and "--no_rollout" in result.stdout


# -- roll-outs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Run folder of ULT after one iteration of four robots."""
    pytest.importorskip("mujoco")
    root = tmp_path_factory.mktemp("ult")
    env_cfg, train_cfg = task_registry.get_cfgs("go2_ult_flat")
    env_cfg.env.num_envs, train_cfg.runner.eval_interval, train_cfg.runner.num_steps_per_env = 4, 0, 4
    env, _ = task_registry.make_env("go2_ult_flat", env_cfg)
    runner, _ = task_registry.make_alg_runner(env, "go2_ult_flat", train_cfg, root)
    runner.learn(1)
    return Path(runner.logger.log_dir)


def test_a_rollout_has_what_is_drawn_of_it(trained):
    (run,) = records.read_runs([trained])
    found = measure(run, nominal, seconds=0.5)
    assert found.policy == "student" and found.linear.shape == found.fell.shape == (70,)
    assert np.array_equal(np.isnan(found.linear), found.fell)
    assert found.gait.shape == (25, 4) and found.feet == ["FL", "FR", "RL", "RR"]
    # Twelve steps after the start; torques within the limits of each kind, which the engine enforces.
    assert len(found.torques) == 13 * int((~found.fell).sum())
    for columns, torque, _ in found.limits.values():
        assert np.abs(found.torques[:, columns]).max() <= torque + 1e-3
    assert (
        found.attention is not None
        and found.attention[0].shape == (2, 4, 16)
        and found.attention[1].shape == (2, 4, 17)
    )
    assert found.attention[0].sum(-1) == pytest.approx(np.ones((2, 4)), abs=1e-5)
    assert found.prediction is not None and found.prediction["dof_vel"][0].shape == (24,)


def test_a_report_with_rollouts_has_their_pictures_and_a_note_of_what_could_not_walk(trained, tmp_path, monkeypatch):
    from legged_gym_ext.reports import rollout

    whole = rollout.measure
    monkeypatch.setattr(rollout, "measure", lambda run, nominal: whole(run, nominal, seconds=0.5))
    other = write_run(tmp_path)  # it has no checkpoint
    assert report.main([str(trained), str(other), f"--out={tmp_path / 'out'}"]) == 0
    names = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert names == {"curves_steps", "curves_hours", "gait", "prediction"} | {
        f"{name}_go2_ult_flat" for name in ("tracking", "motors", "attention")
    }
    text = (tmp_path / "out" / "index.html").read_text()
    assert f"No roll-out of {other.name}: {other.resolve()} has no checkpoint." in text
    assert "own E" in text  # who attends to whom, drawn with letters
