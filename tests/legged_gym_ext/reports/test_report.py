"""report.py: the numbers behind its pictures, the page in a browser, mistakes and roll-outs."""

from __future__ import annotations

import base64
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.reports import motion, records, style  # noqa: E402
from legged_gym_ext.reports.attention import attention_by_distance, prediction_errors  # noqa: E402
from legged_gym_ext.reports.rollout import command_grid, measure  # noqa: E402
from legged_gym_ext.scripts import report  # noqa: E402
from legged_gym_ext.utils.errors import UserError  # noqa: E402
from legged_gym_ext.viewer.player import nominal  # noqa: E402
from rsl_rl_ult.modules import ActorCriticULT  # noqa: E402
from rsl_rl_ult.modules.attention import band_mask  # noqa: E402
from rsl_rl_ult.modules.transformer import Transformer  # noqa: E402
from tests.report_runs import evaluate, figures, ladder, tiles, write_run  # noqa: E402

# -- numbers behind the pictures ---------------------------------------------------------------------------------------


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
    options = {"width": 8, "num_heads": 2, "history_length": 2, "actor_obs_normalization": False}
    network = ActorCriticULT(2, 4, 1, 2, **options)
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
    slippery = {"ladder_friction_0.4": ladder([0.5] * 10, [0.25] * 10)}
    evaluate(paths[4], "go2", policy=figures(0.5, **tiles(0.5), **ladder([0.9] * 10, [1.0] + [0.0] * 9), **slippery))
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
    text = (reported[0] / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags and "iframe" not in page.tags and "@import" not in text and "url(" not in text
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "http" not in text.replace("http-equiv", "")
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_page_has_the_pictures_that_lie_beside_it(reported):
    page = Page((reported[0] / "index.html").read_text(encoding="utf-8"))
    embedded = [base64.b64decode(image["src"].partition("base64,")[2]) for image in page.images]
    files = {path.name: path.read_bytes() for path in reported[0].glob("*.png")}
    assert sorted(embedded) == sorted(files.values())
    assert set(files) == {
        f"{name}.png"
        for name in ("curves_steps", "curves_hours", "teacher_student", "scores", "levels", "ground", "ladder")
    }
    assert all(len(image["alt"] or "") > 20 for image in page.images)


def test_the_page_shows_seeds_intervals_and_what_has_none(reported):
    text = (reported[0] / "index.html").read_text(encoding="utf-8")
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
    assert len(Page((path / "report" / "index.html").read_text(encoding="utf-8")).images) == 2


def test_runs_in_which_no_episode_ended_have_a_page_without_learning_curves(tmp_path):
    path = write_run(tmp_path, iterations=range(2), rewards=False)
    report.main([str(path), "--no_rollout"])
    page = (path / "report/index.html").read_text(encoding="utf-8")
    assert f"No episode ended while these runs were trained, so they have no learning curves: {path.name}." in page
    assert list((path / "report").glob("*.png")) == []


def test_a_report_that_fails_leaves_no_folder_and_keeps_one_that_was_there(tmp_path, monkeypatch):
    path = write_run(tmp_path, iterations=range(2))
    monkeypatch.setattr(report, "write_report", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(UserError, match="division by zero"):
        report.main([str(path), "--no_rollout"])
    assert not (path / "report").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(UserError, match="division by zero"):
        report.main([str(path), "--no_rollout", f"--out={tmp_path / 'mine'}"])
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


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
        (["go2_flot/fine"], "no run 'go2_flot/fine', here or in"),
        (["go2_flot/fine"], "did you mean go2_flat"),
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


def test_help_does_not_wait_for_torch():
    code = (
        f"import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path({report.__file__!r}, "
        "run_name='__main__')\n"
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
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert f"No roll-out of {other.name}: {other.resolve()} has no checkpoint." in text
    assert "own E" in text  # who attends to whom, drawn with letters
