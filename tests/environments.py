"""Fabricated Python environments with copies of `rsl_rl`, laid out as pip lays them out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from legged_gym_ext.scripts import doctor

ROOT = Path(__file__).resolve().parents[1]
FLAT_RUNNER = (
    'class OnPolicyRunner:\n    def __init__(self, env, train_cfg):\n        self.alg_cfg = train_cfg["algorithm"]\n'
)
NESTED_RUNNER = (
    "class OnPolicyRunner:\n    def __init__(self, env, train_cfg):\n        self.cfg = train_cfg['runner']\n"
)
SHAPES = {
    "v1": {"runners/on_policy_runner.py": NESTED_RUNNER},
    "v2": {"runners/on_policy_runner.py": FLAT_RUNNER, "modules/normalizer.py": ""},
    "v2.3": {"runners/on_policy_runner.py": FLAT_RUNNER, "modules/normalizer.py": "", "algorithms/distillation.py": ""},
    "v3": {
        "runners/on_policy_runner.py": f"{FLAT_RUNNER}        cfg['obs_groups']\n",
        "algorithms/distillation.py": "",
    },
    "v4": {"runners/on_policy_runner.py": f"{FLAT_RUNNER}        cfg['obs_groups']\n", "models/mlp_model.py": ""},
    "v5": {
        "runners/on_policy_runner.py": f"{FLAT_RUNNER}        cfg['obs_groups']\n",
        "models/mlp_model.py": "",
        "modules/distribution.py": "",
    },
}
"""The files that tell generations apart, as the published packages have them."""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def package(folder: Path, generation: str, **files: str) -> Path:
    """A folder `rsl_rl` of that generation; importing it must not happen."""
    inits = {"__init__.py": "raise RuntimeError('imported')", "runners/__init__.py": "from .on_policy_runner import *"}
    return write(folder / "rsl_rl", {**inits, **SHAPES[generation], **files})


def distribution(site: Path, name: str, version: str | None, record: list[str], **files: str) -> None:
    """Metadata of an installed distribution."""
    head = f"Metadata-Version: 2.1\nName: {name}\n" + (f"Version: {version}\n" if version else "")
    record_text = "".join(f"{line},,\n" for line in record)
    info = {"METADATA": head, "RECORD": record_text, "top_level.txt": "rsl_rl\n", **files}
    write(site / f"{name.replace('-', '_')}-{version or '0'}.dist-info", info)


def publish(site: Path, version: str | None, generation: str, name: str = "rsl-rl-lib") -> Path:
    """Install a package into site-packages, as pip does with a wheel."""
    distribution(site, name, version, ["rsl_rl/__init__.py", "rsl_rl/runners/__init__.py"])
    return package(site, generation)


def install_editable(site: Path, fork: Path, how: str) -> Path:
    """Install the fork as `pip install -e` does: by setuptools' finder, by a .pth file, or by the older `develop`."""
    if how == "develop":
        write(site, {"easy-install.pth": f"{fork}\n"})
        write(fork / "rsl_rl.egg-info", {"PKG-INFO": "Name: rsl_rl\nVersion: 1.0.2\n", "top_level.txt": "rsl_rl\n"})
    elif how == "pth":
        write(site, {"__editable__.rsl_rl-1.0.2.pth": f"{fork}\n"})
        distribution(site, "rsl_rl", "1.0.2", ["__editable__.rsl_rl-1.0.2.pth"])
    else:
        finder = f"""
import sys
from importlib.util import spec_from_file_location
from pathlib import Path
MAPPING: dict = {{'rsl_rl': {str(fork / "rsl_rl")!r}}}
class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        file = Path(MAPPING.get(fullname, '/nowhere'), '__init__.py')
        return spec_from_file_location(fullname, file) if file.exists() else None
def install():
    sys.meta_path.append(_EditableFinder)
"""
        write(site, {"__editable___rsl_rl_1_0_2_finder.py": finder})
        write(site, {"__editable__.rsl_rl-1.0.2.pth": "import __editable___rsl_rl_1_0_2_finder as f; f.install()"})
        distribution(site, "rsl_rl", "1.0.2", ["__editable__.rsl_rl-1.0.2.pth", "__editable___rsl_rl_1_0_2_finder.py"])
    return package(fork, "v1")


def python(code: str, site: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code where nothing is installed but what lies in `site`; `path` is PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*path, ROOT]))
    site.mkdir(exist_ok=True)
    command = [sys.executable, "-S", "-c", f"import site; site.addsitedir({str(site)!r})\n{code}"]
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, timeout=120)


def found(site: Path, *path: Path, first: str = "") -> dict:
    """`rsl_rl_generation()` there, after running `first`."""
    code = (
        f"import json, sys\n{first}\nfrom rsl_rl_ult.hosts.generation import *\n"
        "print(json.dumps(rsl_rl_generation()._asdict()))"
    )
    result = python(code, site, *path)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def report(site: Path, *path: Path) -> tuple[dict, int]:
    """`doctor.py --json` there, and its exit code; checks what holds for every report."""
    code = (
        "import runpy, sys; sys.argv = ['doctor.py', '--json']; "
        f"runpy.run_path({doctor.__file__!r}, run_name='__main__')"
    )
    result = python(code, site, *path)
    assert result.stderr == ""
    data = json.loads(result.stdout)
    rows = [row for section in data["sections"].values() for row in section]
    assert {row["level"] for row in rows} <= {"ok", "note", "problem"}
    assert all((row["level"] == "problem") == bool(row["advice"]) for row in rows)
    assert all("\n" not in text and text.isascii() for row in rows for text in row.values())
    assert data["can_train"] == (result.returncode == 0) == (data["training_needs"] == [])
    return data, result.returncode
