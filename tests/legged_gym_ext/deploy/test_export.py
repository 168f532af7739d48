"""Exported files: they act like the policy, say what they are, and are all that is needed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.deploy.contract import KEY, Contract
from legged_gym_ext.deploy.controller import Controller
from legged_gym_ext.deploy.export.parity import ObservationWalk, UnitreeFile, reset_steps
from legged_gym_ext.deploy.export.writer import export_policies
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.envs.go2.go2_methods import Go2TSFlatCfgPPO
from legged_gym_ext.utils.errors import UserError
from tests.exported import STEPS, TASKS, make_run, sources

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

STUDENT_FILES = {"policy.onnx", "policy.pt", "unitree/exported/policy.onnx", "unitree/params/deploy.yaml"}
LEGS = ("FL", "FR", "RL", "RR")
SDK_LEGS = ("FR", "FL", "RR", "RL")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run of each method."""
    root = tmp_path_factory.mktemp("logs")
    return {task: make_run(root, task) for task in TASKS}


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory) -> dict[str, tuple[Path, list, Any]]:
    """Task -> folder, sources and report of its export."""
    found = {}
    for task, run in runs.items():
        out = tmp_path_factory.mktemp("out") / task
        chosen = sources(run, task)
        found[task] = out, chosen, export_policies(chosen, out, STEPS)
    return found


def live_step(source: Any, observations: dict[str, np.ndarray]) -> np.ndarray:
    """Actions of the training's policy before clipping."""
    groups = source.template.clone().zero_()
    for name, values in observations.items():
        groups["policy" if name == "obs" else name] = torch.from_numpy(values)[None]
    return source.live(groups)[0].numpy()


@pytest.mark.parametrize("task", TASKS)
def test_policy_onnx_equals_the_policy_through_resets(task, exported):
    """Own observations and own resets: not the comparison that the export itself makes."""
    out, chosen, _ = exported[task]
    for source in chosen:
        policy, rng = ExportedPolicy(out / f"{source.name}.onnx"), np.random.default_rng(1)
        default, moved = np.asarray(source.contract.default_joint_pos), 0.0
        for step in range(70):
            if step in (0, 40, 43):
                policy.reset()
                source.live.reset(torch.ones(1))
            observations = {
                name: rng.normal(size=policy.contract.dim(name)).astype(np.float32)
                for name in policy.contract.observations
            }
            actions, targets = policy(**observations)
            expected = live_step(source, observations)
            assert np.abs(actions - expected).max() < 1e-5
            assert np.abs(targets - (default + 0.25 * expected)).max() < 1e-5
            moved = max(moved, float(np.abs(expected).max()))
        assert moved > 0.05


@pytest.mark.parametrize("task", TASKS)
def test_all_files_are_there_and_nothing_else(task, exported):
    out, chosen, report = exported[task]
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    teacher = {"teacher.onnx", "teacher.pt"} if len(chosen) == 2 else set()
    assert files == STUDENT_FILES | teacher == {str(path.relative_to(out)) for path in report.files}
    for path in report.files:
        if path.suffix == ".onnx":
            tensors = onnx.load(str(path), load_external_data=False).graph.initializer
            assert tensors and not any(tensor.external_data for tensor in tensors)


def test_graphs_have_the_documented_inputs_and_outputs(exported):
    expected = {
        "go2_flat/policy": ({"obs": 45}, 0),
        "go2_ts_flat/policy": ({"obs": 45}, 20 * 45),
        "go2_ts_flat/teacher": ({"obs": 45, "privileged": 174}, 0),
        "go2_ult_flat/policy": ({"obs": 45}, 15 + 12 + 2 * 2 * 15 * 64),
        "go2_ult_flat/teacher": ({"obs": 45, "privileged": 174}, 15 + 12 + 2 * 2 * 15 * 64),
    }
    for name, (inputs, state) in expected.items():
        task, stem = name.split("/")
        model = onnx.load(str(exported[task][0] / f"{stem}.onnx"))
        shapes = [
            {node.name: [d.dim_value for d in node.type.tensor_type.shape.dim] for node in nodes}
            for nodes in (model.graph.input, model.graph.output)
        ]
        remembered = [{"state": [1, state]}, {"next_state": [1, state]}] if state else [{}, {}]
        assert shapes[0] == {**{key: [1, dim] for key, dim in inputs.items()}, **remembered[0]}, name
        assert shapes[1] == {"actions": [1, 12], "targets": [1, 12], **remembered[1]}, name
        assert list(shapes[1])[:2] == ["actions", "targets"]
        assert [opset.version for opset in model.opset_import] == [18]


def test_the_contract_has_the_values_of_the_go2(exported, runs):
    """Figures of the robot: SOURCE.md beside its model, and of the task: go2_config.py."""
    out, _, _ = exported["go2_ult_flat"]
    contract = ExportedPolicy(out / "policy.onnx").contract
    joints = [f"{leg}_{part}_joint" for leg in LEGS for part in ("hip", "thigh", "calf")]
    assert (contract.robot, contract.task, contract.method, contract.role) == (
        "go2",
        "go2_ult_flat",
        "PPO_ULT",
        "student",
    )
    assert list(contract.joint_names) == joints
    assert contract.default_joint_pos == (0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5)
    assert contract.stiffness == (20.0,) * 12 and contract.damping == (0.5,) * 12
    assert contract.torque_limits == (23.7, 23.7, 45.43) * 4
    assert contract.velocity_limits == (30.1, 30.1, 15.7) * 4
    front, rear = (-1.5708, 3.4907), (-0.5236, 4.5379)
    for leg, thigh in enumerate((front, front, rear, rear)):
        limits = contract.joint_pos_limits[3 * leg : 3 * leg + 3]
        assert np.allclose(limits, [(-1.0472, 1.0472), thigh, (-2.7227, -0.83776)], atol=1e-4)
    assert (contract.control_dt, contract.physics_dt, contract.motor) == (0.02, 0.005, "dc")
    assert (contract.action_scale, contract.clip_actions, contract.clip_observations) == (0.25, 100.0, 100.0)
    assert contract.commands == {"lin_vel_x": (-1.0, 1.0), "lin_vel_y": (-0.5, 0.5), "ang_vel_yaw": (-1.0, 1.0)}
    # The legs' closed form, mean of front and rear: L (cos t + cos(t + c)), times cos 0.1, 0.0955 sin 0.1 higher, and
    # the sphere below.
    front, rear = (0.213 * (np.cos(t) + np.cos(t - 1.5)) for t in (0.8, 1.0))
    assert contract.standing_height == pytest.approx(
        np.cos(0.1) * (front + rear) / 2 - 0.0955 * np.sin(0.1) + 0.022, abs=3e-3
    )
    order = [f"{leg}_{part}_joint" for leg in SDK_LEGS for part in ("hip", "thigh", "calf")]
    assert list(contract.sdk_joint_order) == order
    assert [order.index(name) for name in joints] == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
    terms = [(t.name, t.start, t.stop, t.scale[0], t.scale[-1], t.unit) for t in contract.observations["obs"]]
    assert terms == [
        ("commands", 0, 3, 2.0, 0.25, "m/s, m/s, rad/s"),
        ("projected_gravity", 3, 6, 1.0, 1.0, "-"),
        ("base_ang_vel", 6, 9, 0.25, 0.25, "rad/s"),
        ("dof_pos", 9, 21, 1.0, 1.0, "rad"),
        ("dof_vel", 21, 33, 0.05, 0.05, "rad/s"),
        ("last_action", 33, 45, 1.0, 1.0, "-"),
    ]
    assert (contract.state, contract.state_size, contract.history_length) == ("cache", 15 + 12 + 3840, 31)
    origin = contract.provenance
    assert origin["run"] == str(runs["go2_ult_flat"]) and (origin["checkpoint"], origin["iteration"]) == (
        "model_7.pt",
        7,
    )
    assert {"git_commit", "version", "torch", "date"} <= set(origin)


def test_roles_methods_and_states_of_all_tasks(exported):
    found = {
        task: [(s.contract.method, s.contract.role, s.contract.state, s.contract.history_length) for s in chosen]
        for task, (_, chosen, _) in exported.items()
    }
    student = lambda method: [(method, "student", "window", 20), (method, "teacher", "none", 1)]  # noqa: E731
    assert found == {
        "go2_flat": [("PPO", "policy", "none", 1)],
        "go2_ts_flat": student("PPO_TS"),
        "go2_cts_flat": student("PPO_CTS"),
        "go2_rma_flat": student("PPO_RMA"),
        "go2_dagger_flat": student("DAgger"),
        "go2_sitt_flat": student("PPO_SITT"),
        "go2_ult_flat": [("PPO_ULT", "student", "cache", 31), ("PPO_ULT", "teacher", "cache", 31)],
    }


@pytest.mark.parametrize("task", TASKS)
def test_the_metadata_is_the_contract_and_plain_lists(task, exported):
    out, chosen, _ = exported[task]
    for source in chosen:
        stored = {p.key: p.value for p in onnx.load(str(out / f"{source.name}.onnx")).metadata_props}
        assert Contract.from_json(stored[KEY]) == source.contract
        assert stored["joint_names"].split(",") == list(source.contract.joint_names)
        assert [float(x) for x in stored["default_joint_pos"].split(",")] == list(source.contract.default_joint_pos)
        assert stored["joint_stiffness"] == ",".join(["20.0"] * 12)
        assert stored["joint_damping"] == ",".join(["0.5"] * 12)
        assert stored["action_scale"] == ",".join(["0.25"] * 12)
        assert stored["observation_names"] == "commands,projected_gravity,base_ang_vel,dof_pos,dof_vel,last_action"
        assert stored["observation_terms_scale"] == "[2.0, 2.0, 0.25],1.0,0.25,1.0,0.05,1.0"
        assert stored["command_names"] == "commands"


@pytest.mark.parametrize("task", TASKS)
def test_a_robot_runs_the_policy_and_refuses_the_teacher(task, exported):
    out, chosen, _ = exported[task]
    Controller(ExportedPolicy(out / "policy.onnx"))
    if len(chosen) == 2:
        with pytest.raises(UserError, match=r"teacher.onnx is a teacher: .*use the student"):
            Controller(ExportedPolicy(out / "teacher.onnx"))


def test_torchscript_needs_nothing_but_torch(exported, tmp_path):
    out, (source, _), _ = exported["go2_ult_flat"]
    observations = [ObservationWalk(source.contract)(np.zeros(12, np.float32))["obs"] for _ in range(3)]
    source.live.reset(torch.ones(1))
    expected = [live_step(source, {"obs": frame}).tolist() for frame in observations]
    code = (
        "import json, sys, torch\n"
        f"extra = {{'contract.json': ''}}\npolicy = torch.jit.load({str(out / 'policy.pt')!r}, _extra_files=extra)\n"
        f"policy(torch.ones(1, 45)); policy.reset()\nframes = {[frame.tolist() for frame in observations]}\n"
        "found = [policy(torch.tensor([frame])) for frame in frames]\n"
        "own = [name for name in sys.modules if name.split('.')[0] in ('legged_gym_ext', 'rsl_rl_ult', 'rsl_rl')]\n"
        "print(json.dumps([[a[0].tolist() for a in found], policy.targets(found[-1])[0].tolist(), own, "
        "extra['contract.json'].decode()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    actions, targets, own, contract = json.loads(done.stdout)
    assert own == [] and Contract.from_json(contract) == source.contract
    assert np.allclose(actions, expected, atol=1e-5)
    assert np.allclose(
        targets, np.asarray(source.contract.default_joint_pos) + 0.25 * np.asarray(actions[-1]), atol=1e-6
    )


def test_actions_are_clipped_and_so_are_the_observations_of_unitrees_window(tmp_path):
    limits = {"normalization__clip_actions": 0.05, "normalization__clip_observations": 1.5}
    run = make_run(tmp_path / "logs", "go2_ts_flat", **limits)
    source = sources(run, "go2_ts_flat")[0]
    export_policies([source], tmp_path / "out", 30)
    policy, script = ExportedPolicy(tmp_path / "out/policy.onnx"), torch.jit.load(str(tmp_path / "out/policy.pt"))
    unitree = UnitreeFile(tmp_path / "out/unitree/exported/policy.onnx", source.contract)
    rng, clipped = np.random.default_rng(0), 0
    source.live.reset(torch.ones(1))
    for _ in range(30):
        wild = 3.0 * rng.normal(size=45).astype(np.float32)
        frame = np.clip(wild, -1.5, 1.5)
        raw = live_step(source, {"obs": frame})
        clipped += int((np.abs(raw) > 0.05).sum())
        actions, targets = policy(obs=frame)
        assert np.allclose(actions, np.clip(raw, -0.05, 0.05), atol=1e-5)
        assert np.allclose(targets, np.asarray(source.contract.default_joint_pos) + 0.25 * actions, atol=1e-6)
        assert np.allclose(script(torch.from_numpy(frame)[None])[0].numpy(), actions, atol=1e-5)
        assert np.allclose(unitree(obs=wild)[0], actions, atol=1e-5)
    assert clipped > 30


def test_a_student_that_reads_its_environments_windows_keeps_them_itself_in_the_file(tmp_path, monkeypatch):
    class Cfg(Go2FlatCfg):
        class env:  # noqa: N801
            num_history = 20

    class CfgPPO(Go2TSFlatCfgPPO):
        class obs_groups:  # noqa: N801
            history = ["history"]  # noqa: RUF012

    original = task_registry._get("go2_ts_flat")
    task = dataclasses.replace(original, env_cfg=Cfg, train_cfg=CfgPPO)
    monkeypatch.setitem(task_registry._tasks, "windows", task)
    source = sources(make_run(tmp_path / "logs", "windows"), "windows")[0]
    assert "history" in set(source.template.keys()) and source.contract.state_size == 20 * 45
    report = export_policies([source], tmp_path / "out", STEPS)
    assert all(float(line.rsplit(" ", 1)[1]) < 1e-5 for line in report.statements)


def test_commands_that_a_curriculum_widened_are_those_of_the_checkpoint(tmp_path):
    run = make_run(tmp_path / "logs", "go2_flat")
    checkpoint = torch.load(run / "model_7.pt", weights_only=True)
    checkpoint["infos"]["env"]["command_ranges"][0] = torch.tensor([-1.75, 2.0])
    torch.save(checkpoint, run / "model_7.pt")
    (source,) = sources(run, "go2_flat")
    assert source.contract.commands["lin_vel_x"] == (-1.75, 2.0)
    assert source.contract.commands["lin_vel_y"] == (-0.5, 0.5)


def test_every_file_was_compared_and_said_so(exported):
    _, _, report = exported["go2_ult_flat"]
    assert [line.split(":")[0] for line in report.statements] == [
        "policy.onnx",
        "policy.pt",
        "unitree/exported/policy.onnx",
        "teacher.onnx",
        "teacher.pt",
    ]
    for line in report.statements:
        assert line.split(": ")[1] == f"{STEPS} steps, 2 resets"
        assert 0.0 <= float(line.rsplit(" ", 1)[1]) < 1e-5


def test_observations_of_the_comparison_repeat_exactly_and_look_like_a_robots(exported):
    _, (source, teacher), _ = exported["go2_ult_flat"]
    walks = ObservationWalk(teacher.contract), ObservationWalk(teacher.contract)
    action = np.full(12, 0.5, np.float32)
    frames = []
    for _ in range(300):
        one, other = (walk(action) for walk in walks)
        assert all(np.array_equal(one[name], other[name]) for name in ("obs", "privileged"))
        frames.append(one["obs"])
    stacked = np.stack(frames)
    assert np.allclose(np.linalg.norm(stacked[:, 3:6], axis=1), 1.0, atol=1e-5) and (stacked[:, 5] < 0.0).all()
    assert (stacked[:, 33:] == 0.5).all()
    assert 0.1 < stacked[:, 21:33].std() < 0.5  # 5 rad/s times 0.05
    # Some reset falls into a window that is not full yet.
    gaps = np.diff(reset_steps(source.contract.history_length))
    assert (gaps < source.contract.history_length).any() and len(gaps) == 3
