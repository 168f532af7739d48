"""What this machine lacks for training, playing and videos. Standard library only, so that it always runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legged_gym_ext.doctor.probes import (
    EGL,
    ENCODER,
    IMPORT,
    OSMESA,
    TENSORBOARD,
    TORCH,
    WANDB,
    WARP,
    WINDOW,
    probe,
    version_of,
)
from legged_gym_ext.simulators import ENGINES, PAIR, PINNED, WARP_DRIVER, cure, version_for_mjbatch
from legged_gym_ext.simulators.mujoco import gl
from legged_gym_ext.utils.cpus import usable_cpus
from legged_gym_ext.utils.errors import install_command, installed

OK, NOTE, PROBLEM = "ok", "note", "problem"
OLDEST_PYTHON, OLDEST_TORCH = (3, 10), (2, 6)
"""Of the default engine's packages and of rsl-rl-lib 5."""

INSTALL = install_command("train,mujoco")
CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
LITTLE_MEMORY = 2.0
"""GiB. Trainings of 1024 robots take 0.6 (`go2`) to 0.9 (`go2_ult`)."""

SHOWN_VARIABLES = (
    "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "MUJOCO_GL", "PYOPENGL_PLATFORM", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
)  # fmt: skip


@dataclass
class Finding:
    """One row of the report.

    Attributes:
        name: what was looked at.
        level: "ok", "note" or "problem".
        text: what was found, one line.
        advice: what to do, one line; only problems have it.
        needs: what training with the default engine lacks; only problems that prevent it have it.
    """

    name: str
    level: str
    text: str
    advice: str = ""
    needs: str = ""


def ok(name: str, text: str) -> Finding:
    """A row that needs no attention."""
    return Finding(name, OK, text)


def note(name: str, text: str) -> Finding:
    """A row about what some users need."""
    return Finding(name, NOTE, text)


def problem(name: str, text: str, advice: str, needs: str = "") -> Finding:
    """A row about what does not work."""
    return Finding(name, PROBLEM, text, advice, needs)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def python() -> list[Finding]:
    """The interpreter and the operating system."""
    found = f"{platform.python_version()} on {platform.platform()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        advice = (
            f"make an environment with Python {wanted} or newer; with this one rsl_rl_ult can be used in forks of "
            "rsl_rl"
        )
        return [problem("python", found, advice, f"Python {wanted} or newer")]
    return [ok("python", found)]


def machine() -> list[Finding]:
    """Processors, memory and the variables that change how programs behave."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    findings = [ok("processors", f"{usable_cpus()} usable of {os.cpu_count()}{load}")]
    total, free = memory()
    if total is None:
        findings.append(note("memory", "unknown"))
    else:
        few = free is not None and free < LITTLE_MEMORY
        text = f"{total:.1f} GiB" + (f", {free:.1f} GiB free" if free is not None else "")
        findings.append(Finding("memory", NOTE if few else OK, text + ("; with fewer --num_envs less is needed" * few)))
    shown = [f"{name}={os.environ[name]}" for name in SHOWN_VARIABLES if os.environ.get(name)]
    return [*findings, ok("variables", " ".join(shown) or "none that matter")]


def memory() -> tuple[float | None, float | None]:
    """Total and free memory [GiB], within the limit of a container (cgroup v2); None where it is unknown."""
    total = free = None
    try:
        table = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE))
        total, free = int(table["MemTotal"]) / 2**20, int(table["MemAvailable"]) / 2**20
        limit = (
            int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")) / 2**30
        )  # "max" raises, and there is no limit
        cache = re.search(
            r"^inactive_file (\d+)", Path("/sys/fs/cgroup/memory.stat").read_text(encoding="utf-8"), re.MULTILINE
        )
        used = (
            int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8")) - int(cache[1] if cache else 0)
        ) / 2**30
        if limit < total:
            total, free = limit, min(free, limit - used)
    except (OSError, ValueError, KeyError):
        if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return total, free


def commit(root: Path) -> str:
    """The git commit of the clone at `root`, with "-dirty" when files are changed; otherwise why it is unknown."""
    if not (root / ".git").exists():
        return "commit unknown (not a git clone)"
    # Reading must not take the lock that the user's own git may want.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"commit unknown ({type(error).__name__})"
    if done.returncode:
        return f"commit unknown ({' '.join(done.stderr.split())[:100]})"
    return f"commit {done.stdout.strip()}"


def learning() -> list[Finding]:
    """What learns: torch and what it computes on, numpy, tensordict."""
    findings, numpy = _torch()
    return [*findings, _numpy(numpy), _optional("tensordict", "rsl-rl-lib 3 and newer need it", "train")]


def _numpy(version: str | None) -> Finding:
    """The row of numpy; `version` where torch has shown that it works."""
    if not installed("numpy"):
        return problem("numpy", "not installed", INSTALL, "numpy")
    if version is None:
        version, reason = probe(IMPORT, "numpy")
        if reason is not None:
            advice = "pip install --force-reinstall numpy"
            return problem("numpy", f"cannot be imported: {reason}", advice, "numpy that works")
    return ok("numpy", str(version))


def _torch() -> tuple[list[Finding], str | None]:
    """The rows of torch, and the version of numpy that works with it."""
    if not installed("torch"):
        return [problem("torch", "not installed", INSTALL, "torch")], None
    found, reason = probe(TORCH)
    if reason is not None:
        return [
            problem("torch", f"cannot be imported: {reason}", "pip install --force-reinstall torch", "torch that works")
        ], None
    gpus = [f"{gpu['name']} ({gpu['gib']} GiB, sm_{''.join(map(str, gpu['capability']))})" for gpu in found["gpus"]]
    other = "built without CUDA" if gpus else "CPU build"
    built = f"built for CUDA {found['cuda']}" if found["cuda"] else other
    text = f"{found['version']}, {built}, {', '.join(gpus) or 'no GPU'}, {found['threads']} threads"
    findings = [ok("torch", text)]
    if _numbers(found["version"]) < OLDEST_TORCH:
        wanted = f"torch {'.'.join(map(str, OLDEST_TORCH))} or newer"
        findings = [problem("torch", f"{text}; train.py needs {wanted}", INSTALL, wanted)]
    if found["numpy_error"] and installed("numpy"):
        findings.append(problem("torch", f"fails with this numpy: {found['numpy_error']}", INSTALL, "a fitting numpy"))
    return [*findings, *_gpus(found)], found["numpy"]


def _gpus(found: dict[str, Any]) -> list[Finding]:
    """What is wrong with GPUs; the default is to learn on the CPU."""
    foreign = [gpu["name"] for gpu in found["gpus"] if not runs_on(gpu["capability"], found["arches"])]
    if foreign:
        text = f"this torch has no code for {', '.join(foreign)}, only for {' '.join(found['arches'])}"
        return [problem("gpu", text, "install a torch that was built for this GPU, or keep --rl_device=cpu")]
    if found["gpus"]:
        return []
    if shutil.which("nvidia-smi") is None:
        text = f"none here; in a new environment torch's CPU build, installed first, saves about 2 GB: {CPU_TORCH}"
        return [note("gpu", text)] if found["cuda"] else []
    if found["cuda"] is None:
        return [note("gpu", "there is an nvidia-smi, but this torch is the CPU build: it learns on the CPU")]
    advice = "compare torch's CUDA version with that of nvidia-smi; update the driver or install another torch"
    return [problem("gpu", "there is an nvidia-smi, but torch finds no GPU", advice)]


def runs_on(capability: list[int], arches: list[str]) -> bool:
    """Whether a GPU can run code for `arches`.

    Code for sm_XY runs on later minor versions of X, compute_XY is compiled for all later ones.
    """
    major, minor = capability
    found = re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(arches))
    known = [(kind, int(x), int(y)) for kind, x, y in found]
    if not known:  # another maker's GPU, or a torch that does not say
        return True
    return any((x == major and y <= minor) if kind == "sm" else (x, y) <= (major, minor) for kind, x, y in known)


def engines() -> list[Finding]:
    """The physics engines; isaacgym is not imported, because it insists on coming before torch."""
    return [_default_engine(), _warp(), _isaacgym()]


def _default_engine() -> Finding:
    """MuJoCo and mjbatch: both there, both working, and made for each other."""
    needs = " and ".join(f"{name} {version}" for name, version in PINNED.items())
    missing = [package for package in PINNED if not installed(package)]
    if missing:
        return problem("mujoco", f"{' and '.join(missing)} not installed", INSTALL, needs)
    versions = {package: version_of(package) for package in PINNED}
    pair = "mujoco {mujoco}, mjbatch {mjbatch}".format(**versions)
    _, reason = probe(IMPORT, "mjbatch")
    if reason is not None:
        return problem("mujoco", f"{pair}: cannot be imported: {reason}", cure(), needs)
    wanted = version_for_mjbatch()
    if wanted not in (None, versions["mujoco"]):
        return problem("mujoco", f"{pair}: this mjbatch is made for mujoco {wanted}", PAIR, needs)
    use = "all robots on the CPU, the default engine"
    if versions != PINNED:
        return note("mujoco", f"{pair}: {use}; tested with {needs}")
    return ok("mujoco", f"{pair}: {use}")


def _backend(*names: str) -> str:
    return "" if any(name in ENGINES for name in names) else ", not used by this version"


def _warp() -> Finding:
    use = f"MuJoCo on NVIDIA GPUs{_backend('mujoco_warp', 'warp')}"
    missing = [package for package in ("mujoco_warp", "warp") if not installed(package)]
    if missing:
        return note("mujoco_warp", f"{' and '.join(missing)} not installed: {use}")
    pair = f"{version_of('mujoco-warp')}, warp {version_of('warp-lang')}"
    found, reason = probe(WARP)
    if reason is not None:
        advice = f"{install_command('train,mujoco,gpu')}; other engines do not need it"
        return problem("mujoco_warp", f"{pair}: cannot be imported: {reason}", advice)
    if not found["cards"]:
        return note("mujoco_warp", f"{pair}: Warp finds no NVIDIA GPU, on a CPU it is slow and for tests; {use}")
    driver = f"CUDA {'.'.join(map(str, found['driver']))}"
    if tuple(found["driver"]) < WARP_DRIVER:
        oldest = ".".join(map(str, WARP_DRIVER))
        return problem("mujoco_warp", f"{pair}: the driver supports {driver}", f"update it: CUDA {oldest} or newer")
    return ok("mujoco_warp", f"{pair}, driver for {driver}, {', '.join(found['cards'])}: {use}")


def _isaacgym() -> Finding:
    use = f"the engine of legged_gym forks, on NVIDIA GPUs, for Python 3.6 to 3.8{_backend('isaacgym', 'isaac_gym')}"
    if not installed("isaacgym"):
        return note("isaacgym", f"not installed: {use}")
    level = OK if sys.version_info < (3, 9) else NOTE
    return Finding("isaacgym", level, f"{version_of('isaacgym')}: {use}; import it before torch")


def pictures() -> list[Finding]:
    """What a window, off-screen drawing, video files and the page in a browser need."""
    window, usable = _window()
    return [window, _offscreen(usable), _video(), _page()]


def _window() -> tuple[Finding, bool]:
    """Whether play.py can open a window, and whether a display can draw."""
    display = " ".join(f"{name}={os.environ[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name))
    if sys.platform.startswith("linux") and not display:
        return note(
            "window",
            "no display (DISPLAY, WAYLAND_DISPLAY): play.py can write videos (--video) or serve a page (--web)",
        ), False
    if not installed("glfw"):
        return note("window", "the package glfw is not installed; it comes with mujoco"), False
    opened, reason = probe(WINDOW)
    if not opened:
        advice = "check the connection to the screen (ssh -X, xauth), or unset DISPLAY and use play.py --video or --web"
        return problem("window", f"{display or 'screen'}: {reason or 'GLFW cannot open it'}", advice), False
    return ok("window", f"{display or 'screen'}: GLFW can open it"), True


def _offscreen(display: bool) -> Finding:
    """Which libraries can draw without a window."""
    if not sys.platform.startswith("linux"):
        return ok("off-screen", "drawn by the system's OpenGL")
    (devices, egl), (osmesa, mesa) = probe(EGL), probe(OSMESA)
    if egl is None and not devices:
        egl = "EGL finds no device"
    usable = {"egl": egl is None, "osmesa": mesa is None, "glfw": display}
    found = [
        f"EGL ({devices} device{'s' * (devices != 1)})" * (egl is None),
        (osmesa or "") * (mesa is None),
        "the display" * display,
    ]
    text = ", ".join(part for part in found if part) or "; ".join(str(reason) for reason in (egl, mesa))
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and not usable.get(wanted, False):
        return problem("off-screen", f"MUJOCO_GL={wanted} cannot draw here; others: {text}", "unset MUJOCO_GL")
    if not any(usable.values()):
        return problem("off-screen", f"no OpenGL library for videos ({text})", gl.INSTALL)
    return ok("off-screen", text)


def _video() -> Finding:
    """What writes videos: imageio with an ffmpeg that has the encoder of utils/video.py."""
    missing = [package for package in ("imageio", "imageio_ffmpeg", "PIL") if not installed(package)]
    if missing:
        return note("video", f"{', '.join(missing)} not installed: for play.py --video, by the extra [video]")
    found, reason = probe(ENCODER)
    if reason is not None:
        return problem("video", reason, "pip install --force-reinstall imageio-ffmpeg, or unset IMAGEIO_FFMPEG_EXE")
    if not found["h264"]:
        advice = "use an ffmpeg with libx264: unset IMAGEIO_FFMPEG_EXE, or pip install --force-reinstall imageio-ffmpeg"
        return problem("video", f"{found['exe']} has no encoder libx264", advice)
    return ok("video", f"imageio {version_of('imageio')}, ffmpeg with libx264")


def _page() -> Finding:
    """What serves the page of play.py --web and train.py --watch."""
    missing = [package for package in ("viser", "mjviser") if not installed(package)]
    use = "for play.py --web and train.py --watch"
    if missing:
        return note("page", f"{' and '.join(missing)} not installed: {use}, by the extra [view]")
    _, reason = probe(IMPORT, "mjviser")  # which imports viser, and that rich and websockets, which it wants older
    if reason is not None:
        return problem("page", f"viser {version_of('viser')} does not start: {reason}", install_command("view"))
    return ok("page", f"viser {version_of('viser')}, mjviser {version_of('mjviser')}: {use}")


def optional() -> list[Finding]:
    """Loggers, reports, export and the robot."""
    export = [_optional(package, "for export", "export") for package in ("onnx", "onnxscript", "onnxruntime")]
    return [
        _tensorboard(),
        _wandb(),
        _optional("rich", "for a panel of progress", "mujoco"),
        _optional("matplotlib", "for report.py", "report"),
        *export,
        _sdk(),
    ]


def _tensorboard() -> Finding:
    """Whether the default logger starts; rsl-rl-lib imports it whatever the logger is."""
    if not installed("tensorboard"):
        return problem("tensorboard", "not installed, but rsl-rl-lib imports it", INSTALL, "tensorboard")
    _, reason = probe(TENSORBOARD) if installed("torch") else (None, None)
    if reason is not None:
        advice = "pip install --force-reinstall tensorboard"
        return problem("tensorboard", f"does not start: {reason}", advice, "tensorboard that works")
    return ok("tensorboard", version_of("tensorboard"))


def _wandb() -> Finding:
    """Whether a training's writer starts, without an upload and in a folder that is deleted again."""
    if not installed("wandb"):
        return _optional("wandb", "for --logger=wandb", "wandb")
    missing = [package for package in ("torch", "rsl_rl", "tensorboard") if not installed(package)]
    if missing:
        return note("wandb", f"{version_of('wandb')}, not tried without {', '.join(missing)}")
    written, reason = probe(WANDB)
    if reason is None and not written:
        reason = "it wrote nothing"
    if reason is not None:
        advice = f"pip uninstall wandb, then {install_command('wandb')}; or keep another --logger"
        return problem("wandb", f"{version_of('wandb')}, but its writer does not start: {reason}", advice)
    return ok("wandb", f"{version_of('wandb')}, an offline run starts")


def _sdk() -> Finding:
    missing = [package for package in ("unitree_sdk2py", "cyclonedds") if not installed(package)]
    if missing:
        return note("unitree_sdk2", f"{' and '.join(missing)} not installed: for a real Go2, see docs/robot.md")
    return ok("unitree_sdk2", f"cyclonedds {version_of('cyclonedds')}")


def _optional(package: str, use: str, extra: str) -> Finding:
    if installed(package):
        return ok(package, version_of(package))
    return note(package, f"not installed: {use}, by the extra [{extra}]")
