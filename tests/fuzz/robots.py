"""Programs that read a robot's MJCF file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.fuzz.inputs import damaged
from tests.fuzz.worker import program

ROBOT = Path("robot.xml")
whole = b""


def prepare() -> None:
    """The robot of the package, and a policy for it."""
    global whole
    from legged_gym_ext import find_file
    from tests.robot_policies import write_policy

    write_policy(Path("policy.onnx"))
    whole = find_file("{ROOT}/resources/robots/go2/go2.xml").read_bytes()


def edited(edits: list[tuple]) -> bytes:
    """The robot's file after edits of its elements: (action, place, attribute, value)."""
    root = ElementTree.fromstring(whole)
    for action, place, name, value in edits:
        elements = [(parent, child) for parent in root.iter() for child in parent]
        parent, child = elements[place % len(elements)]
        _, other = elements[(place // len(elements)) % len(elements)]
        keys = sorted(child.attrib)
        if action == "change" and keys:
            child.set(keys[(place // 7) % len(keys)], value)
        elif action == "remove" and keys:
            del child.attrib[keys[(place // 7) % len(keys)]]
        elif action == "delete":
            parent.remove(child)
        elif action == "double":
            parent.append(child)
        elif action == "move" and other not in child.iter():
            parent.remove(child)
            other.append(child)
        elif action == "rename":
            child.tag = name
        else:
            child.set(name, value)
    return ElementTree.tostring(root)


def simulate(edits: list[tuple]) -> None:
    """Edit the file's elements and run a policy on the robot."""
    ROBOT.write_bytes(edited(edits))
    _simulate()


def simulate_damaged(edits: list[tuple]) -> None:
    """The same with bytes that were damaged."""
    ROBOT.write_bytes(damaged(whole, edits))
    _simulate()


def _simulate() -> None:
    from legged_gym_ext.scripts import sim2sim

    program(sim2sim.main, ["--policy=policy.onnx", "--model=robot.xml", "--headless", "--duration=0.06"])


def train(edits: list[tuple]) -> None:
    """Edit the file's elements, build a task with the robot and step it."""
    import torch

    from legged_gym_ext.envs import task_registry

    ROBOT.write_bytes(edited(edits))
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.asset.file, cfg.env.num_envs, cfg.sim.num_threads = str(ROBOT), 2, 1
    env, _ = task_registry.make_env("go2_flat", cfg)
    for _ in range(3):
        _, _, reward, *_ = env.step(torch.zeros(2, 12))
    assert torch.isfinite(reward).all()
