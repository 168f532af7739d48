"""The Isaac Gym engine: mistakes of users, import order, and what its double (isaac_double.py) refuses."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.simulators import prepare_engine
from legged_gym_ext.utils.errors import UserError
from tests import isaac_double, isaac_values
from tests.engines import hold
from tests.isaac import ROOT, config, copy_of_urdf, engine
from tests.isaac_double import Gym
from tests.isaac_values import MisuseError

# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset__file": "/nowhere/robot.xml"}, "robot model not found: /nowhere/robot.urdf"),
        ({"sim__device": "mps"}, "steps on cpu or cuda, not on 'mps'"),
    ],
)
def test_wrong_configuration_is_one_clear_error(plain, changes, message):
    with pytest.raises(UserError, match=message):
        engine(1, **changes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (' dont_collapse="true"', "", "Isaac Gym merged .*FL_foot.* into other links; add dont_collapse"),
        ('name="RR_calf_joint"', 'name="RR_knee_joint"', r"joints differ.*RR_calf_joint.*RR_knee_joint"),
        ('type="revolute"', 'type="prismatic"', "expected hinges and fixed joints, found FL_hip_joint"),
        ("</robot>", "", "cannot be read"),
    ],
)
def test_a_urdf_that_does_not_fit_is_one_clear_error(plain, tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        engine(1, asset__file=copy_of_urdf(tmp_path, old, new))


def test_a_urdf_alone_is_enough_for_a_robot_without_rotors(plain, tmp_path):
    copy_of_urdf(tmp_path, "FL_hip", "FL_hip")
    engine(1, asset__file=str(tmp_path / "go2.urdf"))
    assert not plain.sim.actors[0].dof_props["armature"].any()


def test_devices_become_parameters_of_the_simulation(plain):
    engine(1, sim__num_threads=3)
    assert (plain.sim.compute_device, plain.sim.graphics_device) == (0, -1)  # nothing is drawn
    assert not plain.sim.params.use_gpu_pipeline and plain.sim.params.physx.num_threads == 3
    assert plain.sim.params.dt == 0.005 and plain.sim.params.substeps == 1
    world = importlib.import_module("legged_gym_ext.simulators.isaac_gym.world")
    params = world.sim_params(config(), torch.device("cuda:1"))
    assert params.use_gpu_pipeline and params.physx.use_gpu


def test_a_missing_package_is_one_line_that_says_where_it_is():
    assert importlib.util.find_spec("isaacgym") is None, "this test is for machines without Isaac Gym"
    with pytest.raises(UserError, match=r"needs the package 'isaacgym': it is not on PyPI.*developer\.nvidia\.com"):
        engine(1)


def fake_package(folder: Path) -> None:
    """An `isaacgym` that behaves as the real one does towards torch, and then ends the program."""
    (folder / "isaacgym").mkdir()
    (folder / "isaacgym/__init__.py").write_text("", encoding="utf-8")
    (folder / "isaacgym/gymapi.py").write_text(
        "import sys\nassert 'torch' not in sys.modules, 'PyTorch was imported before isaacgym modules'\nsys.exit('in "
        "time')\n",
        encoding="utf-8",
    )


def test_an_engine_that_torch_was_faster_than_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    fake_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="put 'import isaacgym' on the first line of your program"):
        prepare_engine("isaac_gym")
    prepare_engine("mujoco")  # does not mind
    prepare_engine("no_such_engine")  # make_simulator says so
    monkeypatch.setitem(sys.modules, "isaacgym", object())
    prepare_engine("isaac_gym")  # was imported by the program


@pytest.mark.parametrize("script", ["train", "play", "evaluate", "describe"])
@pytest.mark.parametrize("how", ["--sim=isaac_gym", "--env.sim.engine=isaac_gym"])
def test_programs_import_isaac_gym_before_torch(tmp_path, script, how):
    fake_package(tmp_path)
    shown = ["--video", str(tmp_path / "out.mp4")] if script == "play" else []
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    program = [sys.executable, str(ROOT / f"legged_gym_ext/scripts/{script}.py"), "--task=go2_flat", how, *shown]
    ended = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr.strip()) == (1, "in time")


# -- the double and the sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda g, a, t: g.acquire_dof_state_tensor(g.sim), "does not exist before prepare_sim"),
        (lambda g, a, t: g.simulate(g.sim), "prepare_sim comes before"),
        (lambda g, a, t: setattr(a.SimParams(), "time_step", 1.0), "no field 'time_step'"),
        (lambda g, a, t: t.unwrap_tensor(torch.zeros(2, 3).T), "contiguous"),
    ],
)
def test_the_double_refuses_misuse_before_the_first_step(plain, misuse, message):
    engine(2)
    with pytest.raises(MisuseError, match=message):
        misuse(plain, sys.modules["isaacgym.gymapi"], sys.modules["isaacgym.gymtorch"])


def indexed(ids: Any) -> Any:
    return lambda gym, sim: gym.set_dof_state_tensor_indexed(
        gym.sim, isaac_double.unwrap_tensor(sim._native_dof), isaac_double.unwrap_tensor(ids), len(ids)
    )


def twice(gym: Gym, sim: Any) -> None:
    ids = torch.tensor([0], dtype=torch.int32)
    indexed(ids)(gym, sim)
    indexed(ids)(gym, sim)


def freed(gym: Gym, sim: Any) -> None:
    gym.set_dof_state_tensor_indexed(
        gym.sim, isaac_double.unwrap_tensor(sim._native_dof), isaac_double.unwrap_tensor(torch.tensor([0]).int()), 1
    )


def stale(gym: Gym, sim: Any) -> None:
    gym.simulate(gym.sim)
    gym.fetch_results(gym.sim, True)
    indexed(torch.tensor([0], dtype=torch.int32))(gym, sim)  # dof states were not refreshed


def unfetched(gym: Gym, sim: Any) -> None:
    gym.simulate(gym.sim)
    gym.refresh_dof_state_tensor(gym.sim)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (indexed(torch.tensor([0])), "expected int32"),
        (indexed(torch.tensor([2], dtype=torch.int32)), "no such actor"),
        (indexed(torch.tensor([1, 1], dtype=torch.int32)), "different actors"),
        (twice, "the first is lost"),
        (freed, "was freed"),
        (stale, "not finite"),
        (unfetched, "fetch_results comes before"),
        (lambda gym, sim: gym.create_env(gym.sim, isaac_values.Vec3(), isaac_values.Vec3(), 1), "after prepare_sim"),
        (lambda gym, sim: gym.get_actor_rigid_body_properties(gym.sim.envs[0], 101), "of another environment"),
    ],
)
def test_the_double_refuses_misuse_after_the_first_step(plain, misuse, message):
    sim = engine(2)
    hold(sim)
    with pytest.raises(MisuseError, match=message):
        misuse(plain, sim)


def test_the_double_knows_nothing_that_isaac_gym_does_not():
    """Names and numbers of arguments, against the stubs that were generated from the real package."""
    try:
        files = importlib.metadata.distribution("isaacgym-stubs")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("isaacgym-stubs is not installed")
    source = Path(str(files.locate_file("isaacgym-stubs/gymapi.pyi"))).read_text(encoding="utf-8")
    stubs = ast.parse(source.replace("def lambda(", "def lambda_("))  # generated; Python has no such name
    names = {t.target.id for t in stubs.body if isinstance(t, ast.AnnAssign)}
    classes = {c.name: c for c in stubs.body if isinstance(c, ast.ClassDef)}
    for name in isaac_values.API:
        assert name in names or name in classes, name
        if name in classes:
            fields = {t.target.id for t in classes[name].body if isinstance(t, ast.AnnAssign)}
            ours = {f for f in vars(getattr(isaac_values, name)) if not f.startswith("_")}
            assert ours <= fields, ours - fields
    real = {f.name: f.args for f in classes["Gym"].body if isinstance(f, ast.FunctionDef)}
    for name, method in vars(Gym).items():
        if name.startswith("_"):
            continue
        code = method.__wrapped__.__code__
        ours = code.co_varnames[1 : code.co_argcount]
        if not real[name].vararg:
            theirs = [a.arg for a in real[name].args][1:]
            assert len(ours) <= len(theirs), name
            # The engine names some arguments: those that have names at all are called the same.
            assert all(their in (our, f"arg{i}") for i, (our, their) in enumerate(zip(ours, theirs))), name


def test_the_engine_calls_nothing_that_is_newer_than_python_3_8():
    """Methods and keywords of later versions; syntax and type aliases are checked in tests/test_python_3_8.py."""
    folder = ROOT / "legged_gym_ext"
    paths = [folder / "simulators/base.py", *(folder / "simulators/isaac_gym").glob("*.py"), *folder.glob("utils/*.py")]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("removeprefix", "removesuffix"), (path, node.lineno)
            if isinstance(node, ast.Call):
                names = {keyword.arg for keyword in node.keywords}
                assert not names & {"strict", "slots", "kw_only"}, (path, node.lineno)
