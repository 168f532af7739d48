"""Tries packages and libraries in processes of their own: a broken one can end the process that loads it.

Standard library only.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from importlib import metadata
from typing import Any

SECONDS = 60
"""How long an answer may take; importing torch from a cold disk can need half of it."""

TORCH = """
import torch
numpy_version = numpy_error = None
try:
    import numpy
    torch.zeros(1).numpy()
    numpy_version = numpy.__version__
except Exception as error:
    numpy_error = str(error)
cuda = torch.cuda.is_available()
cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads(),
    "numpy": numpy_version, "numpy_error": numpy_error,
    "gpus": [{"name": c.name, "gib": round(c.total_memory / 2**30), "capability": [c.major, c.minor]} for c in cards],
    "arches": torch.cuda.get_arch_list() if cuda else [],
}))
"""
IMPORT = (
    "import importlib\nm = importlib.import_module(sys.argv[2])\nprint(json.dumps(str(getattr(m, '__version__', ''))))"
)

# MuJoCo draws on the first device that initialises; a library without any (no driver, as in many containers) loads all
# the same.
EGL = """
import ctypes
lib = ctypes.CDLL("libEGL.so.1")
void, integer = ctypes.c_void_p, ctypes.c_int
lib.eglGetProcAddress.restype = void
def function(name, *arguments, result=integer):
    return ctypes.CFUNCTYPE(result, *arguments)(lib.eglGetProcAddress(name) or sys.exit("OSError: EGL without devices"))
devices, count = (void * 32)(), integer()
function(b"eglQueryDevicesEXT", integer, void, void)(32, devices, ctypes.byref(count))
display = function(b"eglGetPlatformDisplayEXT", integer, void, void, result=void)
start = function(b"eglInitialize", void, void, void)
print(json.dumps(sum(bool(start(display(0x313F, device, None), None, None)) for device in devices[:count.value])))
"""
OSMESA = """
import ctypes
for name in ["libOSMesa.so", *(f"libOSMesa.so.{n}" for n in range(9, 0, -1))]:
    try:
        ctypes.CDLL(name); print(json.dumps(name)); break
    except OSError:
        pass
else:
    sys.exit("OSError: libOSMesa.so is not installed")
"""
TENSORBOARD = """
import tempfile
from torch.utils.tensorboard import SummaryWriter
with tempfile.TemporaryDirectory() as folder:
    SummaryWriter(folder).close()
print(json.dumps(True))
"""
WANDB = """
import os, tempfile
from pathlib import Path
os.environ.update(WANDB_MODE="offline", WANDB_DIR="")  # uploads and other folders are not tested
from legged_gym_ext.training.wandb_writer import WandbWriter
with tempfile.TemporaryDirectory() as folder:
    writer = WandbWriter(folder, "doctor")
    writer.add_scalar("started", 1.0, 0)
    writer.stop()
    print(json.dumps(len(list(Path(folder).rglob("*.wandb")))))
"""
WINDOW = "import glfw\nprint(json.dumps(bool(glfw.init())))"
ENCODER = """
import subprocess
import imageio_ffmpeg
exe = imageio_ffmpeg.get_ffmpeg_exe()
done = subprocess.run([exe, "-hide_banner", "-encoders"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
print(json.dumps({"exe": exe, "h264": b"libx264" in done.stdout}))
"""
WARP = """
import warp
warp.config.log_level = warp.LOG_WARNING
warp.init()
print(json.dumps({
    "cards": [device.name for device in warp.get_cuda_devices()], "driver": warp.get_cuda_driver_version()
}))
"""


def probe(code: str, *arguments: str) -> tuple[Any, str | None]:
    """Run `code` in a process of its own, because a broken package can end the one that imports it.

    Args:
        code: prints JSON as its last line; `json` and `sys` are imported, packages are found where they are found here.
        *arguments: in `sys.argv[2:]`.

    Returns:
        What it printed and None, or None and why it failed in one line.
    """
    head = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    command = [sys.executable, "-c", head + code, json.dumps(sys.path), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
        if done.returncode == 0:
            return json.loads(done.stdout.strip().splitlines()[-1]), None
    except subprocess.TimeoutExpired:
        return None, f"no answer in {SECONDS} s"
    except (ValueError, IndexError, OSError) as error:
        return None, f"no answer ({' '.join(str(error).split())[:120]})"
    if done.returncode < 0:
        return None, f"ended by signal {_signal_name(-done.returncode)}"
    errors = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return None, " ".join(errors[0].split())[:160] if errors else f"exit code {done.returncode}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def version_of(distribution: str) -> str:
    """Version by metadata, "(version unknown)" where there is none."""
    try:
        return metadata.version(distribution) or "(version unknown)"
    except Exception:  # no metadata, or unreadable: newer Pythons raise other errors than older ones
        return "(version unknown)"
