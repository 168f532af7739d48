"""What the doctor says of libraries, GPUs and engines, given what its probes answer."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from legged_gym_ext.doctor import diagnosis
from legged_gym_ext.scripts import doctor

ROOT = Path(__file__).resolve().parents[3]


def answers(monkeypatch, **replies) -> None:
    """Let probes answer as given, packages be installed and the system be Linux."""
    codes = {getattr(diagnosis, name): reply for name, reply in {"IMPORT": ("", None), **replies}.items()}
    monkeypatch.setattr(diagnosis, "probe", lambda code, *arguments: codes[code])
    monkeypatch.setattr(diagnosis, "installed", lambda package: True)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)


GOOD_VIDEO = {"exe": "ffmpeg", "h264": True}, None
NO_LIBRARY = None, "OSError: cannot open shared object file"


@pytest.mark.parametrize(
    ("egl", "osmesa", "variables", "level", "said"),
    [
        ((1, None), NO_LIBRARY, {}, "ok", "EGL (1 device)"),
        (NO_LIBRARY, ("libOSMesa.so.8", None), {}, "ok", "libOSMesa.so.8"),
        (NO_LIBRARY, NO_LIBRARY, {"DISPLAY": ":0"}, "ok", "the display"),
        (NO_LIBRARY, NO_LIBRARY, {}, "problem", "libosmesa6"),
        ((0, None), NO_LIBRARY, {}, "problem", "EGL finds no device"),
        ((1, None), NO_LIBRARY, {"MUJOCO_GL": "osmesa"}, "problem", "unset MUJOCO_GL"),
        ((1, None), NO_LIBRARY, {"MUJOCO_GL": "egl"}, "ok", "EGL"),
    ],
)
def test_drawing_off_screen_needs_one_library_that_works(monkeypatch, egl, osmesa, variables, level, said):
    answers(monkeypatch, EGL=egl, OSMESA=osmesa, WINDOW=(True, None), ENCODER=GOOD_VIDEO)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    window, offscreen, *_ = diagnosis.pictures()
    assert offscreen.level == level and said in offscreen.text + offscreen.advice and not offscreen.needs
    assert window.level == ("ok" if "DISPLAY" in variables else "note")


@pytest.mark.parametrize("reply", [(False, None), (None, "ended by signal SIGSEGV")])
def test_a_display_that_opens_no_window_is_a_problem(monkeypatch, reply):
    answers(monkeypatch, EGL=NO_LIBRARY, OSMESA=NO_LIBRARY, WINDOW=reply, ENCODER=GOOD_VIDEO)
    monkeypatch.setenv("DISPLAY", ":99")
    window, offscreen, *_ = diagnosis.pictures()
    assert window.level == offscreen.level == "problem" and "DISPLAY=:99" in window.text


@pytest.mark.parametrize(
    ("reply", "level", "said"),
    [
        (GOOD_VIDEO, "ok", "libx264"),
        ((None, "RuntimeError: No ffmpeg exe could be found."), "problem", "No ffmpeg"),
        (({"exe": "/usr/bin/ffmpeg", "h264": False}, None), "problem", "/usr/bin/ffmpeg has no encoder libx264"),
    ],
)
def test_videos_need_an_ffmpeg_with_the_encoder(monkeypatch, reply, level, said):
    answers(monkeypatch, EGL=(1, None), OSMESA=NO_LIBRARY, ENCODER=reply)
    video = diagnosis._video()
    assert video.level == level and said in video.text and not video.needs


@pytest.mark.parametrize(
    ("reply", "missing", "level", "said"),
    [
        (("", None), (), "ok", "viser"),
        ((None, "ImportError: rich is too new"), (), "problem", "does not start: ImportError: rich is too new"),
        (("", None), ("mjviser",), "note", "mjviser not installed: for play.py --web and train.py --watch, by the"),
        (("", None), ("viser", "mjviser"), "note", "viser and mjviser not installed"),
    ],
)
def test_the_page_needs_both_of_its_packages(monkeypatch, reply, missing, level, said):
    answers(monkeypatch, IMPORT=reply)
    monkeypatch.setattr(diagnosis, "installed", lambda package: package not in missing)
    page = diagnosis._page()
    assert page.level == level and said in page.text and not page.needs


def test_what_is_only_optional_never_prevents_training(monkeypatch):
    answers(monkeypatch, EGL=NO_LIBRARY, OSMESA=NO_LIBRARY)
    monkeypatch.setattr(diagnosis, "installed", lambda package: package == "tensorboard")
    assert not any(finding.needs for finding in [*diagnosis.pictures(), *diagnosis.optional()])
    monkeypatch.setattr(diagnosis, "installed", lambda package: False)
    assert [finding.needs for finding in diagnosis.optional() if finding.needs] == ["tensorboard"]


TORCH = {
    "version": "2.13.0", "cuda": None, "threads": 2, "numpy": "2.4", "numpy_error": None, "gpus": [], "arches": [],
}  # fmt: skip
H200 = {"name": "H200", "gib": 139, "capability": [9, 0]}


@pytest.mark.parametrize(
    ("change", "driver", "level", "said"),
    [
        ({}, False, "ok", "2.13.0, CPU build, no GPU, 2 threads"),
        ({}, True, "note", "this torch is the CPU build"),
        ({"cuda": "12.8"}, False, "note", "download.pytorch.org/whl/cpu"),
        ({"gpus": [H200]}, True, "ok", "built without CUDA, H200"),  # for another maker's
        ({"cuda": "12.8"}, True, "problem", "torch finds no GPU"),
        ({"cuda": "12.8", "gpus": [H200], "arches": ["sm_80", "sm_90"]}, True, "ok", "H200 (139 GiB, sm_90)"),
        ({"cuda": "11.8", "gpus": [H200], "arches": ["sm_70", "sm_86"]}, True, "problem", "no code for H200"),
        ({"version": "2.4.1"}, False, "problem", "torch 2.6 or newer"),
        ({"numpy": None, "numpy_error": "Numpy is not available"}, False, "problem", "fails with this numpy"),
    ],
)
def test_torch_says_what_it_computes_on(monkeypatch, change, driver, level, said):
    answers(monkeypatch, TORCH=({**TORCH, **change}, None), IMPORT=("2.4", None))
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: name if driver else None)
    findings = [row for row in diagnosis.learning() if row.name in ("torch", "gpu")]
    assert findings[-1].level == level and said in " ".join(row.text for row in findings)


@pytest.mark.parametrize(
    ("capability", "arches", "runs"),
    [
        ([8, 6], ["sm_80"], True),  # 8.6 runs the code of 8.0
        ([8, 0], ["sm_86"], False),
        ([9, 0], ["sm_80"], False),  # another major version
        ([12, 0], ["sm_90", "compute_90"], True),  # compiled when it is loaded
        ([12, 0], ["sm_100", "sm_120"], True),
        ([9, 0], ["sm_90a"], True),
        ([9, 4], ["gfx942"], True),  # not NVIDIA's: nothing to say
        ([9, 0], [], True),
    ],
)
def test_gpus_run_code_of_their_generation_only(capability, arches, runs):
    assert diagnosis.runs_on(capability, arches) == runs


@pytest.mark.parametrize(
    ("mujoco", "mjbatch", "wanted", "level"),
    [
        ("3.14.0", "0.1.4", "3.14.0", "ok"),
        ("4.0.0", "0.1.4", "3.14.0", "problem"),
        ("4.0.0", "0.2.0", "4.0.0", "note"),
        ("(version unknown)", "0.1.4", None, "note"),
    ],
)
def test_the_default_engine_is_a_pair(monkeypatch, mujoco, mjbatch, wanted, level):
    answers(monkeypatch, IMPORT=("", None))
    monkeypatch.setattr(diagnosis, "version_of", {"mujoco": mujoco, "mjbatch": mjbatch}.get)
    requires = ["numpy", f"mujoco=={wanted}"] if wanted else None
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)
    finding = diagnosis._default_engine()
    assert finding.level == level and bool(finding.needs) == (level == "problem")


@pytest.mark.parametrize(
    ("chosen", "advice"), [("bogus", "unset MUJOCO_GL, which is 'bogus'"), ("", "pip install mujoco==")]
)
def test_an_engine_that_cannot_be_imported_is_cured_where_the_fault_is(monkeypatch, chosen, advice):
    answers(monkeypatch, IMPORT=(None, "RuntimeError: invalid value for environment variable MUJOCO_GL"))
    monkeypatch.setenv("MUJOCO_GL", chosen)
    assert diagnosis._default_engine().advice.startswith(advice)


GPU = {"cards": ["NVIDIA H100"], "driver": [12, 8]}


@pytest.mark.parametrize(
    ("reply", "level", "said"),
    [
        ((GPU, None), "ok", "driver for CUDA 12.8, NVIDIA H100"),
        (({"cards": [], "driver": None}, None), "note", "Warp finds no NVIDIA GPU, on a CPU it is slow"),
        (({**GPU, "driver": [12, 2]}, None), "problem", "the driver supports CUDA 12.2"),
        ((None, "OSError: warp.so"), "problem", "cannot be imported: OSError: warp.so"),
    ],
)
def test_warp_says_what_it_steps_on_and_never_prevents_training(monkeypatch, reply, level, said):
    answers(monkeypatch, WARP=reply)
    finding = diagnosis._warp()
    assert (finding.level, finding.needs) == (level, "") and said in finding.text
    assert bool(finding.advice) == (level == "problem")


def test_the_versions_that_are_asked_for_are_those_of_setup_py():
    setup, constraints = (
        (ROOT / "setup.py").read_text(encoding="utf-8"),
        (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(),
    )
    for name, version in diagnosis.PINNED.items():
        assert f"{name}=={version};" in setup and f"{name}=={version}" in constraints
    assert "rsl-rl-lib>=5.5,<6" in setup and (doctor.OLDEST_RSL_RL, doctor.PAST_RSL_RL) == ((5, 5), (6, 0))


def test_a_commit_that_cannot_be_read_is_unknown(monkeypatch, tmp_path):
    assert diagnosis.commit(tmp_path) == "commit unknown (not a git clone)"
    (tmp_path / ".git").write_text("gitdir: /nowhere", encoding="utf-8")
    assert diagnosis.commit(tmp_path).startswith("commit unknown (fatal: ")
    monkeypatch.setenv("PATH", "")
    assert diagnosis.commit(tmp_path) == "commit unknown (FileNotFoundError)"


def test_memory_is_within_the_machine():
    total, free = diagnosis.memory()
    assert total is not None and total > 0.1 and (free is None or 0 <= free <= total)
