"""MuJoCo Warp beyond test_engine.py, on its CPU device: agreement with MuJoCo, no word to the host, checks, buffers."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.simulators.base import Simulator
from legged_gym_ext.terrain import PlaneTerrain
from legged_gym_ext.utils.errors import UserError
from tests.engines import EXACT, MASS, hold, make_engine, place

wp = pytest.importorskip("warp")
pytest.importorskip("mujoco_warp")

from legged_gym_ext.simulators.mujoco import warp_checks  # noqa: E402


def pair(monkeypatch: pytest.MonkeyPatch, num_envs: int = 2, **changes: Any) -> tuple[Simulator, Simulator]:
    """The same robots in MuJoCo with its Newton solver and in MuJoCo Warp."""
    ours = make_engine("mujoco", monkeypatch, num_envs, **EXACT, **changes)
    return ours, make_engine("mujoco_warp", monkeypatch, num_envs, **changes)


# -- agreement with MuJoCo ---------------------------------------------------------------------------------------------


def test_figures_of_the_robot_are_those_of_the_mujoco_engine(monkeypatch):
    ours, warp = pair(monkeypatch, 1)
    for name in ("joint_names", "contact_names", "legs", "contact_joints", "mass", "base_mass", "nominal"):
        assert getattr(ours, name) == getattr(warp, name), name
    for name in ("dof_pos_limits", "torque_limits", "default_dof_pos"):
        assert torch.equal(getattr(ours, name), getattr(warp, name)), name
    assert (ours.foot_radius, ours.standing_height) == (warp.foot_radius, warp.standing_height)


def test_a_robot_that_falls_and_swings_its_legs_moves_as_in_mujoco(monkeypatch):
    ours, warp = pair(monkeypatch, 2, domain_rand__randomize_delay=True)
    heavy = {"added_mass": torch.tensor([0.0, 2.0]), "com_shift": torch.tensor([[0.0] * 3, [0.03, -0.02, 0.01]]),
             "armature_scale": torch.tensor([1.0, 1.4]), "joint_damping": torch.tensor([0.1, 0.3]),
             "kp": torch.tensor([[20.0] * 12, [25.0] * 12]), "delay": torch.tensor([0.0, 0.02])}  # fmt: skip
    for sim in (ours, warp):
        for name, values in heavy.items():
            sim.set_parameter(name, values)
        sim.commit()
        place(sim, 3.0, root_ang_vel=torch.tensor([[0.0, 0.5, 0.0], [1.0, 0.0, -0.5]]))
        for offset in (0.2, -0.2, 0.2):
            hold(sim, 4, offset=offset)
    for name in ("root_pos", "root_quat", "dof_pos", "foot_pos"):
        assert torch.allclose(getattr(ours, name), getattr(warp, name), rtol=0.0, atol=1e-5), name
    assert torch.allclose(ours.dof_vel, warp.dof_vel, rtol=0.0, atol=1e-3)
    assert torch.allclose(ours.torques, warp.torques, rtol=0.0, atol=1e-3)


def test_constants_that_follow_from_masses_are_those_that_mujoco_computes(monkeypatch):
    sim: Any = make_engine("mujoco_warp", monkeypatch, 2)
    for name, values in (("added_mass", [0.0, 2.0]), ("armature_scale", [1.0, 1.5])):
        sim.set_parameter(name, torch.tensor(values))
    sim.commit()
    model = copy.copy(sim.info.model)
    model.body_mass[sim.info.base_id] += 2.0
    model.dof_armature[sim.info.dof_ids] *= 1.5
    mujoco.mj_setConst(model, mujoco.MjData(model))
    for name in ("body_subtreemass", "body_invweight0", "dof_invweight0"):
        ours = getattr(sim._m, name).numpy()
        np.testing.assert_allclose(ours[1], getattr(model, name), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours[0], getattr(sim.info.model, name), rtol=1e-4, atol=1e-6)
        assert (ours[0] != ours[1]).any()
    assert sim._m.stat.meaninertia.numpy()[1] == pytest.approx(model.stat.meaninertia, rel=1e-4)


@pytest.mark.slow
def test_feet_of_a_standing_robot_push_as_in_mujoco(monkeypatch):
    ours, warp = pair(monkeypatch, 1)
    for sim in (ours, warp):
        place(sim, sim.standing_height)
        hold(sim, 300)
    up = [sim.contact_forces[0, -4:, 2] for sim in (ours, warp)]
    assert up[1].sum().item() == pytest.approx(MASS * 9.81, rel=0.01)
    assert torch.allclose(up[0], up[1], rtol=0.01)
    assert torch.allclose(ours.root_pos, warp.root_pos, atol=1e-3)


# -- a control step stays on the device --------------------------------------------------------------------------------


class Recorder(TorchDispatchMode):
    """Operations by which values come to the host, or from it, or whose result's size depends on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indexing = str(func) in ("aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default")
        masks = [index for index in args[1] if index is not None and index.dtype == torch.bool] if indexing else []
        if masks or any(part in str(func) for part in self.WAITING):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_control_step_copies_nothing_to_the_host_and_waits_for_nothing(monkeypatch):
    sim = make_engine("mujoco_warp", monkeypatch, 2)
    place(sim, 0.5)
    targets = sim.default_dof_pos.repeat(2, 1)
    sim.step(targets, 2)  # compiles, and records the graph on a GPU
    assert waits_of(monkeypatch, lambda: (sim.step(targets, 2), sim.faults())) == []


def test_a_step_of_the_environment_in_which_robots_are_reset_waits_seldom(monkeypatch):
    env = make_environment("cpu")
    actions = torch.zeros(4, 12)
    env.step(actions)
    env.episode_length_buf[1:3] = env.max_episode_length
    waits = waits_of(monkeypatch, lambda: env.step(actions))
    assert env.reset_buf.sum() == 2
    # Which robots are reset, which stand in the ground, whose commands are due; where they start; their delays; the
    # overflow of buffers, which is looked at in every reset on a CPU, and here are two.
    assert len(waits) <= 7, waits


def make_environment(device: str) -> Any:
    """Four robots on rough ground."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.env.num_envs, cfg.sim.engine, cfg.sim.device = 4, "mujoco_warp", device
    return task_registry.make_env("go2", cfg)[0]


def waits_of(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[str]:
    """Where a GPU would have waited in `work`."""
    copies: list[str] = []
    for owner, names in (
        (wp.array, ("numpy", "list")),
        (wp, ("synchronize", "synchronize_device", "synchronize_stream", "synchronize_event")),
        (torch.Tensor, ("cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__")),
    ):
        for name in names:
            original = getattr(owner, name)

            def noted(*args: Any, name: str = name, original: Any = original) -> Any:
                copies.append(name)
                return original(*args)

            monkeypatch.setattr(owner, name, noted)
    with Recorder() as recorder:
        work()
    monkeypatch.undo()
    return copies + recorder.seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_control_step_waits_for_nothing(monkeypatch):
    sim = make_engine("mujoco_warp", monkeypatch, 2, sim__device="cuda")
    targets = sim.default_dof_pos.repeat(2, 1)
    sim.step(targets, 4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        sim.step(targets, 4)
        sim.faults()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_step_in_which_robots_are_reset_waits_seldom():
    env = make_environment("cuda")
    actions = torch.zeros(4, 12, device="cuda")
    for _ in range(2):  # the second one in graphs that the first recorded
        env.episode_length_buf[1:3] = env.max_episode_length
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as waits:
                warnings.simplefilter("always")
                env.step(actions)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(waits) <= 6, [str(wait.message) for wait in waits]


@pytest.mark.parametrize(
    ("device", "kernel"), [("cpu", "wp_mujoco_warp_1.cpu2.o"), ("cuda", "wp_mujoco_warp_1.sm9.cubin")]
)
def test_kernels_are_announced_for_the_device_that_has_none(monkeypatch, tmp_path, capsys, device, kernel):
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path / "cache"))
    for other in ("wp_mujoco_warp_1.meta", "wp_mujoco_warp_1.sm9.cubin", "wp_mujoco_warp_1.cpu2.o"):
        if other != kernel:
            (tmp_path / "cache" / "wp_mujoco_warp_1").mkdir(parents=True, exist_ok=True)
            (tmp_path / "cache" / "wp_mujoco_warp_1" / other).touch()
    warp_checks.announce_compilation(torch.device(device))
    assert "compiles its kernels" in capsys.readouterr().out
    (tmp_path / "cache" / "wp_mujoco_warp_1" / kernel).touch()
    warp_checks.announce_compilation(torch.device(device))
    assert capsys.readouterr().out == ""


def test_torch_and_warp_share_the_memory_of_states_and_parameters(monkeypatch):
    sim: Any = make_engine("mujoco_warp", monkeypatch, 2)
    sim.set_root_lin_vel(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert sim._d.qvel.numpy()[:, :3].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    sim.set_parameter("friction", torch.tensor([0.25, 0.5]))
    assert set(sim._m.geom_friction.numpy()[1, sim.info.robot_geoms, 0].tolist()) == {0.5}


# -- buffers -----------------------------------------------------------------------------------------------------------


def test_there_is_room_for_every_contact_with_a_plane(monkeypatch):
    sim: Any = make_engine("mujoco_warp", monkeypatch, 1)
    kinds = [int(sim.info.model.geom_type[geom]) for geom in sim.info.robot_geoms]
    # Kinds in MuJoCo's order: 2 a sphere (1 contact), 3 a capsule (2), 5 a cylinder and 6 a box (at most 4 each).
    assert sim._capacity.contacts == sum({2: 1, 3: 2, 5: 4, 6: 4}[kind] for kind in kinds)
    # Four edges of the friction pyramid each; friction of 12 joints; limits of 12 joints and one for the free joint.
    assert sim._capacity.constraints == 4 * sim._capacity.contacts + 12 + 13


def test_an_overflow_is_reported_once_and_names_the_setting(monkeypatch, capsys):
    sim: Any = make_engine("mujoco_warp", monkeypatch, 2)
    assert not sim._overflow.any()
    sim._overflow[1] = int(warp_checks.OVERFLOWS["contacts"])
    for _ in range(2):
        place(sim)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("warning: contacts of 1 robot did not fit")
    assert f"--env.sim.mujoco_warp.contacts_per_robot={2 * sim._capacity.contacts}" in lines[0]


@pytest.mark.slow
def test_too_few_contacts_are_noticed(monkeypatch, capsys):
    sim = make_engine("mujoco_warp", monkeypatch, 2, sim__mujoco_warp__contacts_per_robot=1)
    place(sim, sim.standing_height - 0.01)
    hold(sim, 2)
    place(sim)
    assert "did not fit (1 contacts" in capsys.readouterr().out


def test_memory_is_a_part_for_all_and_a_part_for_each_robot(monkeypatch):
    sim: Any = make_engine("mujoco_warp", monkeypatch, 5)
    batched = list(sys.modules[type(sim).__module__].PER_WORLD)
    each, shared = warp_checks.bytes_per_robot(sim.info.model, sim._capacity, batched)
    made = warp_checks._array_bytes(sim._m) + warp_checks._array_bytes(sim._d)
    assert made == pytest.approx(shared + 5 * each, rel=0.01)


# -- what is refused before anything is built --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sim__mujoco_warp__solver": "pgs"}, "sim.mujoco_warp.solver 'pgs': MuJoCo Warp has newton and cg"),
        ({"sim__mujoco_warp__cone": "round"}, "unknown sim.mujoco_warp.cone 'round'"),
        ({"sim__mujoco_warp__iterations": 0}, "sim.mujoco_warp.iterations=0: expected at least 1"),
        ({"sim__device": "gpu"}, "sim.device 'gpu': torch knows no such device"),
        ({"sim__device": "mps"}, "steps on cuda or cpu, not on 'mps'"),
    ],
)
def test_wrong_settings_are_one_clear_line(monkeypatch, changes, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        make_engine("mujoco_warp", monkeypatch, 1, **changes)


def test_a_gpu_that_is_not_there_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="--sim_device=cuda: this torch is built without CUDA"):
        warp_checks.check_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match="--sim_device=cuda: torch sees no CUDA device"):
        warp_checks.check_device("cuda")


def test_an_old_driver_and_a_missing_card_are_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="there are 2 CUDA devices, the last one is cuda:1"):
        warp_checks.check_device("cuda:2")
    for driver, found in (((12, 2), r"CUDA 12\.2"), (None, "none that Warp can use")):
        monkeypatch.setattr(wp, "get_cuda_driver_version", lambda driver=driver: driver)
        with pytest.raises(UserError, match=rf"the NVIDIA driver supports {found}, .* need CUDA 12\.4 or newer"):
            warp_checks.check_device("cuda:1")
    monkeypatch.setattr(wp, "get_cuda_driver_version", lambda: (12, 4))
    assert warp_checks.check_device("cuda:1") == torch.device("cuda:1")


def test_more_robots_than_the_memory_holds_are_refused_with_the_number_that_fits(monkeypatch):
    monkeypatch.setattr(warp_checks, "bytes_per_robot", lambda *args: (2**20, 2**30))
    monkeypatch.setattr(warp_checks, "free_memory", lambda device: 10 * 2**30)
    # 80 % of 10 GiB less 1 GiB for all leave 7 GiB, 7168 robots of 1 MiB.
    check = lambda count: warp_checks.check_memory(None, None, count, torch.device("cpu"), [])  # noqa: E731
    check(7168)
    with pytest.raises(UserError, match=r"7169 robots need 8.0 GiB .* 10.0 GiB are free .* at most --num_envs=7168"):
        check(7169)


def test_a_missing_package_is_one_clear_line(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("legged_gym_ext.simulators.mujoco.warp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    cfg = Go2FlatCfg()
    cfg.sim.engine = "mujoco_warp"
    with pytest.raises(UserError, match=r"simulator 'mujoco_warp' needs the package 'mujoco_warp': .*\[gpu\]"):
        make_simulator(cfg, PlaneTerrain(1, torch.device("cpu")), 1)
