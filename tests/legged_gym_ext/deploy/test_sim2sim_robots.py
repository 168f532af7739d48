"""What sim2sim.py says of a trial: another robot than in training, joints beyond its ranges, commands."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.export.run_contract import trained_model
from legged_gym_ext.deploy.sim2sim.loop import model_notes
from legged_gym_ext.envs.base.robot_checks import trained_physics
from legged_gym_ext.scripts import play, sim2sim
from legged_gym_ext.viewer import commands
from tests import policy_files as exported
from tests.robots import make

GO2 = Path(__file__).resolve().parents[3] / "legged_gym_ext/resources/robots/go2/go2.xml"
TRAINED = {
    "file": "go2.xml",
    "mass": 15.019,
    "joints": {
        "joint_damping": (0.05, 0.3),
        "joint_friction": (0.1, 0.75),
        "joint_stiffness": (0.0, 0.02),
        "armature": (0.0036, 0.02475),
    },
}


def robot(
    file: str = "go2.xml", mass: float = 15.019, iterations: int | None = 100, **joints: tuple[float, float]
) -> Any:
    values = {"joint_damping": (0.15, 0.15), "joint_friction": (0.2, 0.5), "joint_stiffness": (0.0, 0.0)}
    values = {**values, "armature": (0.0045, 0.0165), **joints}
    return SimpleNamespace(file=Path(file), mass=mass, joint_values=values, file_iterations=iterations)


def test_the_robot_of_the_training_has_no_notes():
    assert model_notes(TRAINED, robot(), 0.0, chosen=False) == []
    assert model_notes(TRAINED, robot(mass=18.019), 3.0, chosen=False) == []  # the user added these 3 kg
    assert model_notes({}, robot(mass=1.0), 0.0, chosen=False) == []  # a file of an older version knows nothing


def test_another_robot_than_that_of_the_training_is_one_line():
    trained = {**TRAINED, "file": "mine.xml", "mass": 16.2}
    line = "note: trained on mine.xml of 16.200 kg, this is go2.xml of 15.019 kg"
    assert model_notes(trained, robot(), 0.0, chosen=False) == [f"{line}; --model takes another file"]
    assert model_notes(trained, robot(), 0.0, chosen=True) == [line]
    same = {**TRAINED, "file": "mine.xml"}  # another file of the same mass is worth a line only where nobody chose it
    assert (
        len(model_notes(same, robot(), 0.0, chosen=False)) == 1 and model_notes(same, robot(), 0.0, chosen=True) == []
    )


def test_joints_beyond_the_trained_ranges_are_a_line_each():
    found = model_notes(TRAINED, robot(joint_damping=(2.0, 2.0), armature=(0.001, 0.01)), 0.0, chosen=False)
    assert found == [
        "note: go2.xml has 2 N m s/rad of joint damping, trained were 0.05 to 0.3; --joint_damping 0.175 tries that",
        "note: go2.xml has 0.001 to 0.01 kg m^2 of joint armature, trained were 0.0036 to 0.02475",
    ]


def test_a_file_whose_solver_may_not_converge_is_a_line_unless_the_user_said_how_many_iterations():
    line = "note: go2.xml gives its solver 1 iteration; --iterations 100 lets it converge"
    assert model_notes(TRAINED, robot(iterations=1), 0.0, chosen=True) == [line]
    assert model_notes(TRAINED, robot(iterations=None), 0.0, chosen=True) == []


def test_an_exported_file_knows_the_robot_of_its_training():
    env = make(1)
    model = trained_model(env.cfg, env.sim)
    # Armature 0.0045 to 0.0165 times 0.8 to 1.5, Coulomb friction 0.2 to 0.5 times 0.5 to 1.5.
    assert model["file"] == "go2.xml" and model["mass"] == pytest.approx(15.019, abs=1e-3)
    assert model["joints"] == {name: pytest.approx(bounds) for name, bounds in TRAINED["joints"].items()}
    kept = exported.contract(model=model)
    assert Contract.from_json(kept.to_json()).model == model
    older = json.loads(kept.to_json())
    del older["model"]
    assert Contract.from_json(json.dumps(older)).model == {}


def test_without_randomisation_the_trained_joints_are_those_of_the_file():
    off = ("joint_damping", "joint_friction", "joint_stiffness", "armature", "friction")
    env = make(1, **{f"domain_rand__randomize_{name}": False for name in off})
    assert trained_physics(env.cfg, env.sim) == env.sim.nominal


def test_a_heavier_model_with_stiff_joints_is_told_by_the_program_and_its_file(tmp_path, capsys):
    policy = exported.write(tmp_path / "hold.onnx", exported.contract(model=TRAINED))
    text = (
        GO2.read_text(encoding="utf-8").replace('damping="0.15"', 'damping="2"').replace('mass="0.678"', 'mass="1.678"')
    )
    (tmp_path / "mine.xml").write_text(text, encoding="utf-8")
    flags = [
        f"--policy={policy}",
        "--headless",
        "--duration=0.1",
        "--command",
        "0.5",
        "0",
        "0",
        f"--json={tmp_path / 'o.json'}",
    ]
    sim2sim.main([*flags, f"--model={tmp_path / 'mine.xml'}"])
    lines = capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))
    assert report["notes"] == [
        "note: trained on go2.xml of 15.019 kg, this is mine.xml of 19.019 kg",  # four hips
        "note: mine.xml has 2 N m s/rad of joint damping, trained were 0.05 to 0.3; --joint_damping 0.175 tries that",
    ]
    assert set(report["notes"]) <= set(lines)
    assert report["commands"] == "x +0.50  y +0.00 m/s   yaw +0.00 rad/s" and f"commands: {report['commands']}" in lines


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "a tour within the trained ranges: 2 s 0 0 0, 4 s 0.6 0 0, 3 s 1 0 0, 3 s 0 0.4 0"),
        (["--episodes=1"], "random within the trained ranges, new every 10 s"),
        (["--script=walk.txt"], "walk.txt: 2 s 0.5 0 0, 1.5 s 0 -0.1 0.4 (vx, vy [m/s], yaw rate [rad/s])"),
    ],
)
def test_it_says_which_commands_it_runs(tmp_path, monkeypatch, capsys, flags, told):
    monkeypatch.chdir(tmp_path)
    policy = exported.write(tmp_path / "hold.onnx", exported.contract())
    (tmp_path / "walk.txt").write_text("2 0.5 0 0\n1.5 0 -0.1 0.4\n", encoding="utf-8")
    sim2sim.main([f"--policy={policy}", "--headless", "--duration=0.1", *flags])
    assert f"commands: {told}" in capsys.readouterr().out


def test_a_long_script_is_cut_where_it_is_told():
    told = str(commands.Script([(1.0, (0.1, 0.0, 0.0))] * 15))
    assert told.count("1 s 0.1 0 0") == 12 and ", and 3 more (vx" in told


@pytest.mark.parametrize(
    ("asked", "bounded", "said"),
    [
        ((5.0, 0.0, 0.0), (1.0, 0.0, 0.0), "--command: bounded to x +1.00  y +0.00 m/s   yaw +0.00 rad/s, because"),
        ((0.0, -0.7, 3.0), (0.0, -0.5, 1.0), "lin_vel_y -0.7 (trained -0.5 to 0.5), ang_vel_yaw 3 (trained -1 to 1)"),
        ((0.12345, 0.5, -1.0), (0.12345, 0.5, -1.0), ""),
    ],
)  # fmt: skip
def test_the_command_of_play_stays_within_the_trained_range(capsys, asked, bounded, said):
    assert play._bounded(asked, make(1)) == bounded
    out = capsys.readouterr().out
    assert said in out and bool(out) == bool(said)
