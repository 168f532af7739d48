"""Stop watch: from `git clone` to a robot that walks on a page in a browser, and from a wheel in an empty folder.

The commands are those that the README prints under "See it walk"; pip's cache is off. A program connects to the page
as a browser does and moves the slider; the end is when the robot that the page is sent has walked half a metre. CPU
seconds stand beside those of the clock: they are what another, idle machine would need, downloads apart.

    python benchmarks/first_steps.py clone clone_cpu wheel --json result.json

    clone      the README's command: from PyPI on Linux torch comes with NVIDIA's packages
    clone_cpu  the same after the README's line for the CPU build of torch; --cpu_torch replaces that line's options
               where that index cannot be reached, e.g. "--find-links=FOLDER torch==2.13.0+cpu"
    wheel      a wheel, built of the clone before the watch starts, in an empty folder; `ult-play` instead of the script
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from interpreters import clean_environment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.viser_client import open_page  # noqa: E402

SLIDER, SPEED = "forward [m/s]", 0.5  # of the page
GROUND = "/ground"  # moves below a robot that the camera follows
FAR = 0.5  # m
LIMIT = 7200.0  # s of one step
UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


def main() -> int:
    """Parse flags, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", default=["clone"], metavar="WAY", help="clone, clone_cpu, wheel")
    parser.add_argument("--cpu_torch", metavar="WORDS", help="what pip installs in place of the README's line")
    parser.add_argument("--folder", type=Path, help="where all is made; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="also write the result to this file; other ways in it stay")
    parser.add_argument("--note", help="what else ran on the machine")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what ends play.py: shells let background jobs ignore it
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json and args.json.exists() else {}
    for way in args.ways:
        place = Path(tempfile.mkdtemp(dir=args.folder, prefix=f"{way}-"))
        try:
            row = measure(way, place, args.cpu_torch)
        finally:
            shutil.rmtree(place)
        rows[way] = {"date": datetime.date.today().isoformat(), "note": args.note, **row}
        print(json.dumps({way: rows[way]}, indent=1), flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def readme_commands() -> tuple[list[str], str]:
    """The commands of "See it walk", and the one that installs the CPU build of torch."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## See it walk")[2]
    first, second = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)[:2]
    return [command.strip() for command in first.replace("\\\n", " ").split("&&")], second.strip()


def measure(way: str, place: Path, cpu_torch: str | None) -> dict[str, Any]:
    """Seconds of each step and megabytes that pip fetched."""
    (environment, install, play), cpu = readme_commands()
    if cpu_torch:
        cpu = f".venv/bin/pip install {cpu_torch}"
    clone = place / "clone"
    take = ["git", "clone", "--quiet", str(ROOT), str(clone)]
    folder, steps = clone, [("environment", environment), ("install", install)]
    if way == "clone_cpu":
        steps.insert(1, ("torch", cpu))
    start, before = time.perf_counter(), _cpu_seconds()
    subprocess.run(take, check=True)
    seconds = {"clone": time.perf_counter() - start}
    if way == "wheel":
        folder = place / "empty"
        folder.mkdir()
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(place), str(clone)]
        subprocess.run(build, check=True, env=_environment())
        (wheel,) = place.glob("*.whl")
        shutil.copy(clone / "constraints.txt", place)
        steps[1] = ("install", f'.venv/bin/pip install -c ../constraints.txt "{wheel}[all]"')
        play = ".venv/bin/ult-play " + play.partition("play.py ")[2]
        start, before, seconds = time.perf_counter(), _cpu_seconds(), {}
    fetched: dict[str, float] = {}
    for name, command in steps:
        begin = time.perf_counter()
        done = subprocess.run(
            command, shell=True, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=LIMIT
        )
        if done.returncode:
            raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        seconds[name] = time.perf_counter() - begin
        fetched.update(downloads(done.stdout))
    begin = time.perf_counter()
    seconds.update(watch(play, folder, begin))
    total, used = time.perf_counter() - start, _cpu_seconds() - before
    largest = dict(sorted(fetched.items(), key=lambda item: -item[1])[:12])
    files = (path for path in (folder / ".venv").rglob("*") if path.is_file() and not path.is_symlink())
    disk = sum(path.stat().st_size for path in files)
    return {
        "total_s": round(total, 1),
        "cpu_s": round(used, 1),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "fetched_mb": round(sum(fetched.values()), 1),
        "packages": len(fetched),
        "largest_mb": largest,
        "environment_mb": round(disk / 1e6),
    }


def downloads(output: str) -> dict[str, float]:
    """File -> MB of what pip says that it downloads; metadata alone is left out."""
    lines = re.findall(r"Downloading (\S+) \(([\d.]+) (bytes|kB|MB|GB)\)", output)
    return {name.rpartition("/")[2]: float(size) * UNITS[unit] for name, size, unit in lines if "metadata" not in name}


def watch(play: str, folder: Path, begin: float) -> dict[str, float]:
    """Seconds from the start of `play` to its page, to a robot on it, and from there to one that walks."""
    process = subprocess.Popen(
        play, shell=True, cwd=folder, env=_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            address = re.search(r"http://\S+", line)
            if address:
                return {"page": time.perf_counter() - begin, **_walk(address.group())}
        raise SystemExit(f"{play}: ended with code {process.wait()} without a page")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def _walk(address: str) -> dict[str, float]:
    """Connect as a browser does, wait for the robot, command a walk, and wait until it has come `FAR` metres."""
    start, port = time.perf_counter(), int(address.rstrip("/").rpartition(":")[2])
    slider, ground, shown, origin = None, None, 0.0, None
    with open_page(port) as page:
        while time.perf_counter() < start + 120.0:
            for message in _messages(page.recv(60.0)):
                if message["type"] == "GuiSliderMessage" and message["props"]["label"] == SLIDER:
                    slider = message["uuid"]
                if message["type"] == "SetPositionMessage" and message["name"] == GROUND:
                    ground = message["position"]
            if slider is None or ground is None:
                continue
            if origin is None:
                origin, shown = ground, time.perf_counter()
                command = {"type": "GuiUpdateMessage", "uuid": slider, "updates": {"value": SPEED}}
                page.send(msgspec.msgpack.encode(command))
            if math.dist(origin[:2], ground[:2]) > FAR:
                return {"robot on the page": shown - start, "walks": time.perf_counter() - shown}
    raise SystemExit("the page showed no walking robot within two minutes")


def _messages(data: str | bytes) -> list[dict[str, Any]]:
    """What viser sent: two sizes of 8 bytes, compressed msgpack, then arrays that are not looked at."""
    assert isinstance(data, bytes)
    size = int.from_bytes(data[8:16], "little")
    return msgspec.msgpack.decode(zstandard.decompress(data[16 : 16 + size]))["messages"]


def _cpu_seconds() -> float:
    """Of all programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    return {**clean_environment(), "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


if __name__ == "__main__":
    sys.exit(main())
