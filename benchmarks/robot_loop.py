"""How punctual the robot's control loop is, and how long each fault takes to become damping.

A simulated Go2 (legged_gym_ext/deploy/simulated_go2/program.py) publishes states over DDS on the loopback interface;
the real program (legged_gym_ext/deploy/go2/program.py) drives it. First it walks for some minutes; then it is started
once per fault, and the time is taken from the fault to the arrival of the first damping command at the robot, both on
the robot's side.

    python benchmarks/robot_loop.py --policy policy.onnx --minutes 10 --json benchmarks/results/robot_loop.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.robot_policies import write_policy

ROOT = Path(__file__).resolve().parents[1]
STATE_FAULTS = ("stale", "nan", "tilt", "joint", "speed", "temperature", "remote")
OTHERS = ("stop keys", "Ctrl-C", "policy killed", "policy hung", "robot process killed", "robot process hung")
PATIENCE = 60.0


class Program:
    """A running module; its lines come one by one."""

    def __init__(self, *words: str) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", *words]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process: Any = subprocess.Popen(command, env=env, text=True, **pipes)
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait_for(self, text: str, patience: float = PATIENCE) -> str:
        """The next line with `text`; ends the benchmark when it does not come."""
        end = time.monotonic() + patience
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                sys.exit(f"'{text}' never came; it said:\n{''.join(self.said[-30:])}")
            self.said.append(line)
            if text in line:
                return line

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


class Setup:
    """The simulated robot, and how the program is started on it."""

    def __init__(self, args: Any, policy: str) -> None:
        self._args, self._policy = args, policy
        self.domain = str(args.domain)
        self.robot = Program("legged_gym_ext.deploy.simulated_go2", f"--domain={self.domain}", "--no_service")
        self.robot.wait_for('"ready"')

    def drive(self, *flags: str) -> tuple[Program, int]:
        """Start the program and let the policy walk; also the process of the policy."""
        self.robot.say("reset")
        words = [f"--policy={self._policy}", "--interface=lo", f"--domain={self.domain}", "--yes", "--keep_service"]
        limits = [f"--stale_ms={self._args.stale_ms:g}", f"--policy_ms={self._args.policy_ms:g}"]
        program = Program("legged_gym_ext.deploy.go2", *words, *limits, *flags)
        pid = int(re.findall(r"\d+", program.wait_for("policy process"))[0])
        program.wait_for("standing; press START")
        self.robot.say("start")
        program.wait_for("the policy runs")
        self.robot.say("release")
        time.sleep(1.0)
        return program, pid

    def measure_loop(self, seconds: float) -> dict[str, Any]:
        """Figures of the loop, walking for `seconds`."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            program, _ = self.drive(f"--report={report}", f"--duration={seconds}")
            self.robot.say("sticks 0 0.5 0")
            program.wait_for("DAMPING", seconds + PATIENCE)
            program.process.wait(PATIENCE)
            return json.loads(report.read_text(encoding="utf-8"))

    def measure_fault(self, name: str) -> dict[str, Any]:
        """Milliseconds from a fault to the first damping command at the robot, and the reason that was printed."""
        program, policy = self.drive()
        began = time.monotonic()
        if name in STATE_FAULTS or name == "stop keys":
            order = "stop" if name == "stop keys" else f"fault {name}"
            self.robot.say(order)
            began = float(json.loads(self.robot.wait_for(f'"{order.split()[0]}"'))["time"])
        elif name.startswith("policy"):
            os.kill(policy, signal.SIGKILL if name == "policy killed" else signal.SIGSTOP)
        else:
            kinds = {
                "Ctrl-C": signal.SIGINT,
                "robot process killed": signal.SIGKILL,
                "robot process hung": signal.SIGSTOP,
            }
            program.process.send_signal(kinds[name])
        while True:
            event = json.loads(self.robot.wait_for('"damping"'))
            if event["time"] >= began:
                break
        survivor = "silent" if name.startswith("robot process") else "DAMPING"
        reason = program.wait_for(survivor).strip()
        if name == "policy hung":
            os.kill(policy, signal.SIGKILL)
        if name != "robot process killed":
            program.end()
        time.sleep(6.0 if name.startswith("robot process") else 0.5)  # the survivor sends for 5 s
        return {"ms": round(1e3 * (event["time"] - began), 2), "reason": reason}


def main() -> None:
    """Parse flags, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", help="exported policy (default: one that holds the default pose)")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--faults", default=",".join((*STATE_FAULTS, *OTHERS)), help="comma-separated; default: all")
    parser.add_argument("--stale_ms", type=float, default=40.0)
    parser.add_argument("--policy_ms", type=float, default=40.0)
    parser.add_argument("--domain", type=int, default=77)
    parser.add_argument("--json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = args.policy or str(write_policy(Path(folder) / "hold.onnx"))
        setup = Setup(args, policy)
        load = os.getloadavg()[0]
        loop = setup.measure_loop(60.0 * args.minutes)
        print(json.dumps(loop, indent=2), flush=True)
        faults = {}
        for name in filter(None, args.faults.split(",")):
            faults[name] = setup.measure_fault(name)
            print(f"{name:22s} {faults[name]['ms']:8.2f} ms  {faults[name]['reason']}", flush=True)
        setup.robot.end()
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "load_before": load,
        },
        "policy": Path(args.policy).name if args.policy else "holds the default pose",
        "limits_ms": {"stale state": args.stale_ms, "policy": args.policy_ms, "remote": 200},
        "loop": loop,
        "faults": faults,
    }
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
