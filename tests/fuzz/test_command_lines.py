"""Command lines and overrides of every program."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.envs import task_registry
from legged_gym_ext.training.pretrained import FOLDER
from legged_gym_ext.utils.config import flatten
from tests.fuzz.inputs import fuzz
from tests.fuzz.programs import EXPENSIVE
from tests.fuzz.worker import Outcome, Worker

SOURCES = {
    **{name: f"scripts/{name}.py" for name in EXPENSIVE},
    **{"sim2sim": "deploy/sim2sim/flags.py", "benchmark": "scripts/sweep.py"},
    **{"robot": "deploy/go2/program.py", "simulated_robot": "deploy/simulated_go2/program.py"},
}


def flags_in(file: str) -> list[str]:
    """Flags that a file adds to its parser."""
    source = (PACKAGE_DIR / file).read_text(encoding="utf-8")
    return re.findall(r'(?:add|add_argument)\(\s*"(--\w+)"', source)


SHARED = [*flags_in("utils/cli.py"), "--pretrained", "--help", "--", "-h"]
FLAGS = {name: [*flags_in(file), *SHARED] for name, file in SOURCES.items()}
SHIPPED = f"--load_run={FOLDER / 'go2_cts'}"
GOOD = {
    "train": ["--task=go2_flat"],
    "play": ["--task=go2_cts", "--pretrained", "--video=a.mp4"],
    "evaluate": ["--task=go2_cts", "--pretrained"],
    "export": ["--task=go2_cts", SHIPPED, "--out=exported"],
    "sim2sim": ["--policy=policy.onnx", "--headless"],
    "report": ["go2_flat", "--no_rollout"],
    "describe": ["--task=go2"],
    "sweep": ["--tasks", "go2_flat", "--seeds", "1", "--budget=3it", "--log_root=table"],
    "benchmark": ["--tasks", "go2_flat", "--seeds", "1", "--budget=3it", "--log_root=table"],
    "collect": ["--task=go2_cts", SHIPPED, "--out=recorded"],
    "dataset": ["--dataset=data"],
    "distill": ["--task=go2_bc", "--dataset=data"],
    "multi_task": ["--task=go2_flat", "--out=multi"],
    "robot": ["--policy=policy.onnx", "--interface=lo"],
}
"""Program -> words with which it runs."""

OVERRIDES = [
    f"--{group}.{path}" for group, cfg in zip(("env", "train"), task_registry.get_cfgs("go2_ult")) for path, _ in
    flatten(cfg, sections=True)
]  # fmt: skip
printable = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=12)
paths = st.sampled_from(["", ".", "..", "~", "~nobody", "file", "data", "logs", "no/such", "x" * 300, "policy.onnx"])
words = st.sampled_from(
    [
        "go2",
        "go2_ult",
        "go2_bc",
        "colour_maze_sitt",
        "go2_flat",
        "mujoco",
        "mujoco_warp",
        "isaac_gym",
        "cpu",
        "cuda:0",
        "cuda:x",
        "gpu",
        "tensorboard",
        "none",
        "wandb",
        "teacher",
        "student",
        "both",
        "MLP",
        "ULT",
        "-1",
        "model_9.pt",
        "minari",
        "d4rl",
        "lerobot",
        "stairs_up",
        "flat",
        "model",
        "300it",
        "5min",
        "1Msteps",
        "0it",
        "novelty",
        "small",
        "large",
        "all",
        "forward",
        "expert",
        "mixed",
        "per_step",
        "true",
        "pretrained:go2_ult",
        "pretrained:x",
        "2,3",
        "a=b",
        "a.mp4",
        "a.png",
        "a.npz",
        "a.hdf5",
        "a.txt",
        "[1,2]",
        "{}",
        "[[",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1e-320",
        "0x1",
        "1_0",
        "�",
    ]
)
numbers = st.one_of(
    st.integers(-3, 20), st.integers(), st.floats(), st.just(10**400), st.just(-(10**5000) // 7 + 1)
).map(lambda number: repr(number) if abs(number) < 10**4000 else "-" + "7" * 5000)
values = st.one_of(words, numbers, paths, printable)
strange = st.builds("--{}.{}={}".format, st.sampled_from(["env", "train"]), printable, printable)
override = st.builds("{}={}".format, st.sampled_from(OVERRIDES), values)


def words_of(name: str) -> st.SearchStrategy[list[str]]:
    """Words for a program: mostly flags of its own with a value."""
    flags = st.sampled_from(FLAGS[name])
    with_value = st.builds("{}={}".format, flags, values)
    plausible = st.builds("{}={}".format, flags, st.sampled_from(["1", "2", "0.5", "go2_flat", "x", "file", "cpu"]))
    word = st.one_of(with_value, with_value, plausible, plausible, flags, override, override, values, strange)
    return st.lists(word, max_size=3)


lines = st.sampled_from(sorted(EXPENSIVE)).flatmap(lambda name: st.tuples(st.just(name), words_of(name)))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker("programs")
    yield worker
    worker.close()


@given(line=lines, begin=st.integers(0, 3))
@fuzz()
def test_a_command_line_is_understood_or_refused_in_one_line(worker, line, begin):
    name, more = line
    worker.check("run", name, [*(GOOD.get(name, []) if begin else []), *more])


@pytest.mark.parametrize("name", GOOD)
def test_the_command_lines_that_are_varied_run(worker, name):
    assert worker.call("run", name, GOOD[name]) == Outcome("ran")
