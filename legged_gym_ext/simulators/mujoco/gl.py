"""Chooses an OpenGL library before MuJoCo is imported, because MuJoCo does so at import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from importlib.util import find_spec

from legged_gym_ext.simulators import cure
from legged_gym_ext.utils.errors import UserError, install_command

NO_DISPLAY = "no display for the viewer: run where a screen is"
PROBE = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 32, 32).close()"
IMPORT = "import mujoco"
PROBE_SECONDS = 60
INSTALL = "apt-get install libosmesa6 (drawing on the CPU) or libegl1 (with a GPU driver)"


def check_window(otherwise: str) -> None:
    """Raise a `UserError` where no window can be opened; `otherwise` says what to use instead."""
    _check_installed()
    if sys.platform.startswith("linux") and not _has_display():
        raise UserError(f"{NO_DISPLAY}, or use {otherwise}")


def check_glfw() -> None:
    """Raise where no window can be opened; `launch_passive` would wait forever for its thread."""
    try:
        import glfw
    except ModuleNotFoundError:
        raise UserError(f"a window needs the package 'glfw': {install_command('mujoco')}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reason is in the UserError
        usable = glfw.init()
        glfw.terminate()
    if not usable:
        raise UserError(NO_DISPLAY)


def choose_offscreen() -> None:
    """Set MUJOCO_GL to the first library that can draw off-screen here: EGL, a display, OSMesa.

    A choice of the user is only checked.

    Raises:
        UserError: nothing works; says what to install.
    """
    _check_installed()
    if not sys.platform.startswith("linux"):
        return  # macOS and Windows have one way each, and it is the default
    wanted = os.environ.get("MUJOCO_GL", "")
    if wanted:
        reason = _probe(wanted)
        if reason is not None:
            raise UserError(f"MUJOCO_GL={wanted} cannot draw here ({reason}); unset MUJOCO_GL, or {INSTALL}")
        return
    tried = []
    for library in ("egl", "glfw", "osmesa") if _has_display() else ("egl", "osmesa"):
        reason = _probe(library)
        if reason is None:
            os.environ["MUJOCO_GL"] = library
            return
        tried.append(f"{library}: {reason}")
    reason = _probe("disabled", IMPORT)
    if reason is not None:  # it is not the drawing
        raise UserError(f"the package 'mujoco' cannot be imported ({reason}): {cure()}")
    raise UserError(f"no OpenGL for pictures ({'; '.join(tried)}): {INSTALL}")


def _probe(library: str, program: str = PROBE) -> str | None:
    """None when `program` runs with `library`, otherwise why not.

    It runs in a process of its own, because a failed import cannot be undone.
    """
    environment = {**os.environ, "MUJOCO_GL": library}
    try:
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_SECONDS} s"
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception): ", line)]
    return " ".join(errors[0].split())[:120] if errors else f"exit code {result.returncode}"


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _check_installed() -> None:
    if find_spec("mujoco") is None:
        raise UserError(f"pictures need the package 'mujoco': {install_command('mujoco')}")
