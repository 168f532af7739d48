"""The folder for Unitree's controllers: deploy.yaml, and that a controller that follows it acts like ours."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.deploy.controller import Controller, Reading, projected_gravity
from legged_gym_ext.deploy.export.unitree import UnitreeGraph, deploy_yaml, unsupported_reason
from legged_gym_ext.deploy.export.writer import export_policies
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from tests.exported import make_run, sources

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

PPO_YAML = """\
joint_ids_map: [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
step_dt: 0.02
stiffness: [20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0]
damping: [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
default_joint_pos: [0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5]
commands:
  base_velocity:
    ranges:
      lin_vel_x: [-1.0, 1.0]
      lin_vel_y: [-0.5, 0.5]
      ang_vel_z: [-1.0, 1.0]
      heading: null
actions:
  JointPositionAction:
    clip: null
    joint_names: [".*"]
    scale: [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]
    offset: [0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5]
    joint_ids: null
observations:
  velocity_commands:
    params:
      command_name: "base_velocity"
    clip: null
    scale: [2.0, 2.0, 0.25]
    history_length: 1
  projected_gravity:
    params: {}
    clip: null
    scale: [1.0, 1.0, 1.0]
    history_length: 1
  base_ang_vel:
    params: {}
    clip: null
    scale: [0.25, 0.25, 0.25]
    history_length: 1
  joint_pos_rel:
    params: {}
    clip: null
    scale: [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    history_length: 1
  joint_vel_rel:
    params: {}
    clip: null
    scale: [0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]
    history_length: 1
  last_action:
    params: {}
    clip: null
    scale: [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    history_length: 1
"""
TASKS = ("go2_flat", "go2_ts_flat", "go2_ult_flat")
FRAMES = {"go2_flat": 1, "go2_ts_flat": 20, "go2_ult_flat": 31}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    """Task -> folder and source of its policy; robots whose legs have gains of their own."""
    found = {}
    for task in TASKS:
        root = tmp_path_factory.mktemp(task)
        source = sources(make_run(root / "logs", task, control__stiffness={"joint": 20.0, "FR_calf": 25.0}), task)[0]
        export_policies([source], root / "out", 60)
        found[task] = root / "out", source
    return found


def read_yaml(path: Path) -> dict:
    """The part of YAML that the file uses: nested keys, and values that are JSON or one word."""
    top: dict = {}
    stack = [(-1, top)]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        key, _, value = line.strip().partition(":")
        while stack[-1][0] >= depth:
            stack.pop()
        if value:
            try:
                stack[-1][1][key] = json.loads(value)
            except ValueError:
                stack[-1][1][key] = value.strip()
        else:
            stack[-1][1][key] = {}
            stack.append((depth, stack[-1][1][key]))
    return top


class CppController:
    """What Unitree's C++ code does with the two files (see unitree.py); sensors and motors in the SDK's order."""

    def __init__(self, folder: Path) -> None:
        self.cfg = read_yaml(folder / "params/deploy.yaml")
        self.session = runtime.InferenceSession(
            str(folder / "exported/policy.onnx"), providers=["CPUExecutionProvider"]
        )
        self.ids = self.cfg["joint_ids_map"]
        terms = self.cfg["observations"]
        assert isinstance(next(iter(terms.values())), dict)  # the first entry decides how many groups there are
        self.by_frame = terms.get("use_gym_history", False)
        self.terms = {name: term for name, term in terms.items() if name != "use_gym_history"}
        (node,) = self.session.get_inputs()
        assert node.name == "obs" and node.shape[0] == 1  # of fixed size
        self.output = self.session.get_outputs()[0]

    def observe(self, sensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        default = np.asarray(self.cfg["default_joint_pos"])
        ranges = self.cfg["commands"]["base_velocity"]["ranges"]
        raw = {
            "velocity_commands": [
                np.clip(c, *ranges[name])
                for c, name in zip(sensors["command"], ("lin_vel_x", "lin_vel_y", "ang_vel_z"))
            ],
            "projected_gravity": projected_gravity(sensors["quat"]),
            "base_ang_vel": sensors["gyro"],
            "joint_pos_rel": sensors["q"][self.ids] - default,
            "joint_vel_rel": sensors["dq"][self.ids],
            "last_action": self.last_action,
        }
        for term in self.terms.values():
            assert term["clip"] == None and isinstance(term["params"], (dict, str))  # noqa: E711
        return {name: np.asarray(raw[name]) * np.asarray(term["scale"]) for name, term in self.terms.items()}

    def reset(self, sensors: dict[str, np.ndarray]) -> None:
        self.last_action = np.zeros(12, np.float32)
        values = self.observe(sensors)
        self.buffers = {name: [value] * self.terms[name]["history_length"] for name, value in values.items()}

    def step(self, sensors: dict[str, np.ndarray]) -> np.ndarray:
        for name, value in self.observe(sensors).items():
            self.buffers[name] = [*self.buffers[name][1:], value]
        if self.by_frame:
            length = len(next(iter(self.buffers.values())))
            obs = np.concatenate([buffer[h] for h in range(length) for buffer in self.buffers.values()])
        else:
            obs = np.concatenate([frame for buffer in self.buffers.values() for frame in buffer])
        found = self.session.run([self.output.name], {"obs": obs.astype(np.float32)[None]})[0]
        assert found.shape == (1, 12)
        self.last_action = found[0]
        action = self.cfg["actions"]["JointPositionAction"]
        targets = np.zeros(12)
        targets[self.ids] = found[0] * np.asarray(action["scale"]) + np.asarray(action["offset"])
        return targets


def sensors_of(rng: np.random.Generator, order: list[int]) -> tuple[dict, Reading, np.ndarray]:
    """The same state of a robot for a C++ controller (SDK order) and for ours."""
    quat = np.array([1.0, *(0.1 * rng.normal(size=3))])
    command = rng.uniform(-0.5, 0.5, size=3)
    joints, speeds, gyro = rng.normal(size=12), 3.0 * rng.normal(size=12), rng.normal(size=3)
    reading = Reading(quat, gyro, joints, speeds)
    by_motor = {"q": np.zeros(12), "dq": np.zeros(12)}
    by_motor["q"][order], by_motor["dq"][order] = joints, speeds
    return {"quat": quat, "gyro": gyro, "command": command, **by_motor}, reading, command


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("same_first_reading", [True, False])
def test_a_controller_like_unitrees_commands_the_motors_as_ours_does(task, same_first_reading, exported):
    out, source = exported[task]
    cpp, own = CppController(out / "unitree"), Controller(ExportedPolicy(out / "policy.onnx"))
    order, rng = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8], np.random.default_rng(5)
    for _ in range(2):  # episodes
        sensors, reading, command = sensors_of(rng, order)
        cpp.reset(sensors)
        own.reset()
        if not same_first_reading:
            # Controllers fill the window with a reading before the first step. To the policy it is the first frame of
            # the episode, in which nothing was done.
            own.policy(obs=own.observe(reading, command))
            if source.contract.state == "cache":
                own.policy._state[:, 15 : 15 + 12] = 0.0  # the last action, after 15 flags
            sensors, reading, command = sensors_of(rng, order)
        for _ in range(FRAMES[task] + 15):
            expected = np.zeros(12)
            expected[order] = own.step(reading, command)
            assert np.abs(cpp.step(sensors) - expected).max() < 1e-5
            sensors, reading, command = sensors_of(rng, order)


def test_deploy_yaml_of_plain_ppo_is_this_text(exported):
    _, source = exported["go2_flat"]
    contract = dataclasses.replace(source.contract, stiffness=(20.0,) * 12)
    lines = deploy_yaml(contract).splitlines(keepends=True)
    assert all(line.startswith("# ") for line in lines[:2])
    assert str(contract.provenance["run"]) in lines[0] and "model_7.pt" in lines[0]
    assert "".join(lines[2:]) == PPO_YAML


def test_gains_are_in_the_order_of_the_motors(exported):
    # Only the front right calf is stiffer: the sixth joint of the policy, the third motor.
    values = read_yaml(exported["go2_flat"][0] / "unitree/params/deploy.yaml")
    assert exported["go2_flat"][1].contract.stiffness == (*(20.0,) * 5, 25.0, *(20.0,) * 6)
    assert values["stiffness"] == [20.0, 20.0, 25.0, *([20.0] * 9)]


def test_the_map_leads_from_joints_to_motors():
    """The Go2's order is its own inverse; here motor k drives joint k + 1, so joint 0 hangs on the last motor."""
    from types import SimpleNamespace

    names = ("a", "b", "c", "d")
    contract: Any = SimpleNamespace(
        joint_names=names, sdk_joint_order=("b", "c", "d", "a"), stiffness=(1.0, 2.0, 3.0, 4.0),
        damping=(5.0, 6.0, 7.0, 8.0),
        default_joint_pos=(0.1, 0.2, 0.3, 0.4), action_scale=0.5, control_dt=0.02, history_length=1, task="t",
        method="m",
        commands=dict.fromkeys(("lin_vel_x", "lin_vel_y", "ang_vel_yaw"), (0.0, 1.0)), provenance={},
        observations={"obs": ()},
    )  # fmt: skip
    lines = deploy_yaml(contract).splitlines()
    assert "joint_ids_map: [3, 0, 1, 2]" in lines
    assert "stiffness: [2.0, 3.0, 4.0, 1.0]" in lines and "damping: [6.0, 7.0, 8.0, 5.0]" in lines
    assert "default_joint_pos: [0.1, 0.2, 0.3, 0.4]" in lines


@pytest.mark.parametrize("task", TASKS)
def test_windows_are_as_long_as_the_policy_looks_back_and_by_frame(task, exported):
    out, _ = exported[task]
    observations = read_yaml(out / "unitree/params/deploy.yaml")["observations"]
    flags = [name for name in observations if name == "use_gym_history"]
    assert flags == (["use_gym_history"] if FRAMES[task] > 1 else [])
    if flags:
        assert list(observations)[-1] == "use_gym_history" and observations["use_gym_history"] is True
    terms = [term for name, term in observations.items() if name not in flags]
    assert [term["history_length"] for term in terms] == [FRAMES[task]] * 6
    (node,) = runtime.InferenceSession(str(out / "unitree/exported/policy.onnx")).get_inputs()
    assert node.shape == [1, 45 * FRAMES[task]]


@pytest.mark.parametrize("task", ["go2_ts_flat", "go2_ult_flat"])
def test_a_window_that_starts_with_zeros_equals_one_that_starts_with_copies(task, exported):
    out, source = exported[task]
    session = runtime.InferenceSession(str(out / "unitree/exported/policy.onnx"))
    frames, rng = FRAMES[task], np.random.default_rng(2)
    known = rng.normal(size=(4, 45)).astype(np.float32)
    known[0, 33:] = 0.0
    starts = {"zeros": np.zeros_like(known[0]), "copies": known[0], "another": known[1]}
    found = {}
    for name, start in starts.items():
        window = np.concatenate((np.repeat(start[None], frames - 4, axis=0), known))
        (found[name],) = session.run(None, {"obs": window.reshape(1, -1)})
    assert np.array_equal(found["zeros"], found["copies"])
    assert not np.allclose(found["zeros"], found["another"], atol=1e-4)  # that frame would have been seen
    # And both are what the live policy does in the fourth step of an episode.
    source.live.reset(torch.ones(1))
    for frame in known:
        groups = source.template.clone().zero_()
        groups["policy"] = torch.from_numpy(frame)[None]
        if source.contract.state == "cache" and frame is not known[0]:
            source.live.network._last_actions = torch.from_numpy(frame[33:])[None]
        expected = source.live(groups).numpy()
    assert np.abs(found["zeros"] - expected).max() < 1e-5


def test_standing_still_in_the_middle_of_an_episode_is_not_taken_for_its_start():
    """Copies count from the oldest frame on only."""
    contract = type(
        "C", (), {"history_length": 4, "dim": lambda self, _: 2, "clip_observations": 9.0, "clip_actions": 9.0}
    )()

    class Sum(torch.nn.Module):
        def forward(self, window: torch.Tensor) -> torch.Tensor:
            return window[..., 0]

    policy = UnitreeGraph(Sum(), contract)  # pyright: ignore
    act = lambda *values: policy(torch.tensor([[v, 1.0] for v in values]).reshape(1, -1)).tolist()[0]  # noqa: E731
    assert act(1.0, 2.0, 2.0, 2.0) == [1.0, 2.0, 2.0, 2.0]
    assert act(2.0, 2.0, 2.0, 3.0) == [0.0, 0.0, 2.0, 3.0]
    assert act(2.0, 2.0, 2.0, 2.0) == [0.0, 0.0, 0.0, 2.0]
    assert act(1.0, 2.0, 3.0, 12.0) == [1.0, 2.0, 3.0, 9.0]


def test_what_unitrees_controllers_do_not_know_is_named(exported):
    _, source = exported["go2_flat"]
    contract = source.contract
    assert unsupported_reason(contract) is None
    terms = contract.observations["obs"]
    foreign = dataclasses.replace(
        contract, observations={"obs": (dataclasses.replace(terms[0], name="friction"), *terms[1:])}
    )
    assert unsupported_reason(foreign) == "Unitree's controllers have no observation friction"
    assert "asset.sdk_joint_order" in str(unsupported_reason(dataclasses.replace(contract, sdk_joint_order=())))
