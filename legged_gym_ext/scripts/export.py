"""Write a trained policy to files that run without this package: `export.py --task=go2_ult`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, run_main

if TYPE_CHECKING:
    from legged_gym_ext.deploy.export.writer import Report, Source
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from rsl_rl_ult.policies.export import PolicyStep

POLICY = "policy.onnx"
NUM_ENVS = 8
"""Robots of the environment that names, gains and scales are read from: no more than some trainings ask for."""


def main(argv: list[str] | None = None) -> int:
    """Export, print what was written and return the exit code."""
    parser = make_parser(
        "Write the policy of a trained run as policy.onnx, policy.pt and a folder for Unitree's controllers (and its "
        "teacher, where it "
        "has one, as teacher.onnx and teacher.pt), and compare each file with the policy over 1000 steps."
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write; default: exported/ in the run's folder")
    pretrained.add_flag(parser, "export the policy that is part of this package")
    args = parse(parser, argv)
    limit_spinning()
    if args.out is not None and (not args.out or Path(args.out).is_file()):
        raise UserError(f"--out={args.out}: expected the name of a folder")
    if args.pretrained and args.out is None:
        raise UserError("--pretrained writes nothing into the package: add --out=FOLDER")

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine

    asked = task_registry.get_cfgs(args.task)
    task_registry.require_robot(
        args.task, "export.py writes files for robots", "alg.get_policy().as_jit() is the policy as TorchScript"
    )
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before the next line imports torch
    from legged_gym_ext.deploy.export.run_contract import check_groups
    from legged_gym_ext.deploy.export.writer import check_folder, check_packages, export_policies
    from legged_gym_ext.training.policies import run_cfgs

    check_packages()
    args.num_envs, args.rl_device = NUM_ENVS, "cpu"
    env_cfg, train_cfg, run_dir = run_cfgs(args.task, args, level_ground)
    assert run_dir is not None
    check_groups(args.task, train_cfg)
    out = run_dir / "exported" if args.out is None else Path(os.path.expanduser(args.out))
    check_folder(out)
    sources, checkpoint = make_sources(args.task, env_cfg, train_cfg, run_dir)
    print(f"exporting {checkpoint} to {out}")
    _show(export_policies(sources, out), out, env_cfg)
    return 0


def level_ground(env_cfg: LeggedRobotCfg) -> None:
    """The ground is no part of a policy, and a plane is built at once."""
    env_cfg.terrain.mesh_type = "plane"
    env_cfg.sim.num_threads = 1


def make_sources(
    task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, run_dir: Path
) -> tuple[list[Source], Path]:
    """The policies of a run with their contracts, the one to deploy first, and the checkpoint they are from."""
    from legged_gym_ext.deploy.export.run_contract import make_contract, provenance, trained_commands
    from legged_gym_ext.deploy.export.writer import Source
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.policies import load_policies

    env, _ = task_registry.make_env(task, env_cfg)
    vec_env, policies, checkpoint = load_policies(env, task, train_cfg, run_dir)
    commands, origin = trained_commands(env_cfg, checkpoint), provenance(run_dir, checkpoint)
    template, sources = vec_env.get_observations()[:1], []
    for role, policy in sorted(policies.items(), key=lambda item: item[0] == "teacher"):
        step = as_step(task, policy.network, env)
        contract = make_contract(env, task, train_cfg, role, step, commands, origin)
        sources.append(Source("teacher" if role == "teacher" else "policy", contract, step, policy, template))
    return sources, checkpoint


def as_step(task: str, network: Any, env: LeggedRobot) -> PolicyStep:
    """One control step of a policy as a pure function.

    Policies of other packages must be functions of the observation alone.
    """
    from rsl_rl_ult.policies.export import FrameStep

    if hasattr(network, "as_step"):
        return network.as_step()
    if getattr(network, "is_recurrent", False) or not hasattr(network, "as_jit"):
        raise UserError(
            f"task '{task}' cannot be exported: its policy {type(network).__name__} keeps a memory in a form that is "
            "not known here; "
            "rsl-rl-lib's own runner can export it (export_policy_to_onnx)"
        )
    return FrameStep(network.as_jit(), env.group_dims["policy"], env.num_actions)


def _show(report: Report, out: Path, env_cfg: LeggedRobotCfg) -> None:
    """Print files, comparisons, remarks and what to do next."""
    from legged_gym_ext.deploy.export.writer import describe_file
    from legged_gym_ext.simulators import has_display
    from legged_gym_ext.training.next_step import script_command
    from legged_gym_ext.utils.errors import display_path

    width = max(len(str(path.relative_to(out))) for path in report.files)
    for path in report.files:
        print(f"  {path.relative_to(out)!s:<{width}}  {describe_file(path)}")
    for line in (*report.statements, *report.remarks):
        print(line)
    flags = [f"--policy={display_path(out / POLICY)}"]
    name = env_cfg.asset.name
    if not (PACKAGE_DIR / "resources" / "robots" / name / f"{name}.xml").is_file():  # where sim2sim.py looks
        flags.append(f"--model={display_path(env_cfg.asset.file)}")
    print(f"next: {script_command('sim2sim', [*flags, *([] if has_display() else ['--headless'])])}")


if __name__ == "__main__":
    run_main(main)
