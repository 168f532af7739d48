"""Engines behind one protocol (`base.Simulator`); each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, overload

from legged_gym_ext.utils.errors import UserError, did_you_mean, install_command

if TYPE_CHECKING:
    from viser import ViserServer

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.simulators.base import Simulator
    from legged_gym_ext.simulators.mujoco.page_scene import PageScene
    from legged_gym_ext.simulators.mujoco.view import VideoView, WindowView
    from legged_gym_ext.terrain import Terrain

ISAAC_GYM = (
    "it is not on PyPI; get Isaac Gym Preview 4 from https://developer.nvidia.com/isaac-gym and "
    '"pip install -e isaacgym/python" in a Python from 3.6 to 3.8'
)

ENGINES = {
    "mujoco": ("legged_gym_ext.simulators.mujoco.cpu", "MujocoSimulator", install_command("mujoco")),
    "mujoco_warp": ("legged_gym_ext.simulators.mujoco.warp", "MujocoWarpSimulator", install_command("gpu")),
    "isaac_gym": ("legged_gym_ext.simulators.isaac_gym.engine", "IsaacGymSimulator", ISAAC_GYM),
}
"""Engine name -> module, class, what installs it."""

PINNED = {"mujoco": "3.14.0", "mjbatch": "0.1.4"}
"""The pair of the default engine that is tested; setup.py and constraints.txt name the same."""

WARP_DRIVER = (12, 4)
"""Oldest CUDA version of a driver for MuJoCo Warp: the solver's loop is a conditional node of a CUDA graph."""

PAIR = f"pip install {' '.join(f'{package}=={version}' for package, version in PINNED.items())}"


def cure() -> str:
    """What helps where MuJoCo or mjbatch cannot be imported: they are one pair, and load what draws on import."""
    chosen = os.environ.get("MUJOCO_GL")
    return f"unset MUJOCO_GL, which is '{chosen}'; if that does not help, {PAIR}" if chosen else PAIR


def version_for_mjbatch() -> str | None:
    """The one version of MuJoCo that the installed mjbatch is made for; None where its metadata leave a choice."""
    try:
        lines = metadata.requires("mjbatch") or []
    except Exception:  # no metadata, or unreadable: newer Pythons raise other errors than older ones
        return None
    found = [re.match(r"mujoco\s*\(?==\s*([\w.]+)\)?\s*$", line) for line in lines]
    return next((match[1] for match in found if match), None)


def require(*packages: str) -> None:
    """Import packages of `PINNED`, which can fail in more ways than by not being there.

    Raises:
        UserError: one is missing, cannot be imported or does not fit the other; says what to do.
    """
    modules = {}
    for package in packages:
        try:
            modules[package] = importlib.import_module(package)
        except Exception as error:  # a wrong MUJOCO_GL, another version's library, a broken file
            if isinstance(error, ModuleNotFoundError) and error.name == package:
                raise UserError(f"the package '{package}' is not installed: {install_command('mujoco')}") from error
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise UserError(f"the package '{package}' cannot be imported ({reason}): {cure()}") from error
    wanted = version_for_mjbatch() if "mjbatch" in modules else None
    if "mujoco" in modules and wanted not in (None, modules["mujoco"].__version__):
        # Structures of another size: it may import, and then end the process.
        raise UserError(f"mujoco is {modules['mujoco'].__version__}, this mjbatch is made for {wanted}: {PAIR}")


def prepare_engine(name: str) -> None:
    """Import what the engine `name` wants to have imported before torch; to be called before anything imports torch.

    Raises:
        UserError: the engine is not installed, or torch was faster.
    """
    if name != "isaac_gym" or "isaacgym" in sys.modules:
        return
    if importlib.util.find_spec("isaacgym") is None:
        raise UserError(f"simulator '{name}' needs the package 'isaacgym': {ISAAC_GYM}")
    if "torch" in sys.modules:
        raise UserError(
            f"simulator '{name}' needs isaacgym to be imported before torch: put 'import isaacgym' on the first line "
            "of your program"
        )
    try:
        importlib.import_module("isaacgym.gymapi")
    except Exception as error:  # of another Python it raises RuntimeError, without its libraries OSError
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"simulator '{name}': isaacgym cannot be imported: {reason}") from error


def make_simulator(cfg: LeggedRobotCfg, terrain: Terrain, num_envs: int) -> Simulator:
    """The engine named in `cfg.sim.engine`; unknown or not installed is a `UserError`."""
    name = cfg.sim.engine
    if name not in ENGINES:
        raise UserError(f"unknown simulator '{name}'{did_you_mean(name, ENGINES)}; known: {', '.join(ENGINES)}")
    prepare_engine(name)
    module, class_name, install = ENGINES[name]
    if name == "mujoco":
        require(*PINNED)
    try:
        engine = getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        raise UserError(f"simulator '{name}' needs the package '{error.name}': {install}") from error
    return engine(cfg, terrain, num_envs)


def has_display() -> bool:
    """Whether a window can be expected to open."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)


def prepare_view(*, window: bool, otherwise: str = "--video out.mp4") -> None:
    """Check that a window can be opened, or choose how to draw off-screen; call it before an engine is imported.

    Args:
        window: an interactive window, or off-screen frames.
        otherwise: flags that a user without a display has instead of a window.

    Raises:
        UserError: neither display nor OpenGL library; says what to do.
    """
    from legged_gym_ext.simulators.mujoco import gl

    if window:
        gl.check_window(otherwise)
    else:
        gl.choose_offscreen()
    require("mujoco")


@overload
def make_view(env: LeggedRobot, *, window: Literal[True], **options: Any) -> WindowView: ...
@overload
def make_view(env: LeggedRobot, *, window: Literal[False], **options: Any) -> VideoView: ...
def make_view(env: LeggedRobot, *, window: bool, **options: Any) -> WindowView | VideoView:
    """A view of the robots of `env`, whichever engine moves them.

    Args:
        env: a `LeggedRobot`.
        window: an interactive window, or off-screen frames.
        **options: `on_key` of a window; `width`, `height`, `robot`, `alone` and `draft` of frames.
    """
    require("mujoco")
    from legged_gym_ext.simulators.mujoco.view import VideoView, WindowView

    return WindowView(env, **options) if window else VideoView(env, **options)


def make_page_scene(env: LeggedRobot, server: ViserServer, labels: tuple[str, ...] = ()) -> PageScene:
    """The robots of `env` on the page of `server`, whichever engine moves them; needs viser and mjviser, no OpenGL.

    `labels` stand above the first robots.
    """
    require("mujoco")
    from legged_gym_ext.simulators.mujoco.page_scene import PageScene

    return PageScene(env, server, labels)
