"""Left-right mirror of a quadruped's observations and actions, for rsl-rl-lib's symmetry extension.

A robot that walks to the left teaches how to walk to the right: every transition is learnt from twice. Each observation
term declares its mirror image (observations.py); which leg and joint is on the other side is read from the
environment's robot (legs.py), or from the names of its joints in hosts that do not show their environment.
Mittal et al., "Symmetry considerations for learning task symmetric robot policies", ICRA 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple

import torch

from legged_gym_ext.envs.base.legs import mirror_contacts, mirror_joints
from legged_gym_ext.envs.base.mirror import Opposites
from legged_gym_ext.envs.base.observations import configured_sizes, group_terms, resolve_terms
from legged_gym_ext.task_registry import task_registry
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

Table = Tuple[torch.Tensor, torch.Tensor]  # source (D,) and sign (D,) of each mirrored column
Tables = Dict[Optional[str], Table]  # group -> its table, None -> that of actions
UNKNOWN_ROBOT = (
    "mirrored samples: this host does not show its environment, so the robot is not known; register it with "
    "task_registry.register_robot and take the configuration that this makes"
)
SIDES = (("L", "R"), ("left", "right"))


def opposites_of(env: LeggedRobot) -> Opposites:
    """What is on the other side of the robot of `env`.

    Raises:
        UserError: the robot has no left-right mirror image.
    """
    joints, signs = mirror_joints(env.sim)
    front_left, front_right, rear_left, rear_right = env.corners
    opposite = {front_left: front_right, front_right: front_left, rear_left: rear_right, rear_right: rear_left}
    return Opposites([opposite[foot] for foot in range(4)], joints, signs, mirror_contacts(env, joints))


def configured_opposites(cfg: LeggedRobotCfg) -> Opposites:
    """The same by the names of the joints: L and R (or left and right) change places, abduction changes sign.

    Raises:
        UserError: a joint has no counterpart of that name.
    """
    names = list(cfg.init_state.default_joint_angles)
    joints = [names.index(_other_side(name, names)) for name in names]
    is_hip = [cfg.asset.hip_name in name for name in names]
    hips = [joint for joint, hip in enumerate(is_hip) if hip]
    feet = [hips.index(joints[hip]) for hip in hips]
    kinds = len(cfg.asset.penalize_contacts_on) + 1  # and the feet
    contacts = [len(feet) * kind + foot for kind in range(kinds) for foot in feet]
    return Opposites(feet, joints, [-1.0 if hip else 1.0 for hip in is_hip], contacts)


def _other_side(name: str, names: list[str]) -> str:
    """The joint on the other side by its name."""
    for pair in SIDES:
        for old, new in (pair, pair[::-1]):
            at = [start for start in range(len(name)) if name.startswith(old, start)]
            found = [other for start in at if (other := name[:start] + new + name[start + len(old) :]) in names]
            if found:
                return found[0]
    raise UserError(f"mirrored samples: no joint on the other side of '{name}' by its name; joints are {names}")


def group_table(cfg: LeggedRobotCfg, group: str, env: LeggedRobot | None) -> Table:
    """Source columns and signs of a group's mirror image.

    Args:
        cfg: of the environment.
        group: its name.
        env: the environment; None: as the configuration says.

    Raises:
        UserError: the points of a grid are not the same on the left and on the right.
    """
    robot = configured_opposites(cfg) if env is None else opposites_of(env)
    terms = resolve_terms(cfg, configured_sizes(cfg)) if env is None else env.observations.terms
    order: list[int] = []
    signs: list[float] = []
    for name in group_terms(cfg)[group]:
        mirrored = terms[name].mirror
        if mirrored is None:  # a guess would train on wrong samples
            raise UserError(
                f"observation term '{name}' declares no mirror image: give it ObsTerm(mirror=...), mirror.same if it "
                "has no side, or learn without mirrored samples by algorithm.symmetry_cfg=None"
            )
        term_order, term_signs = mirrored(terms[name].dim, robot, cfg)
        order += [len(signs) + column for column in term_order]
        signs += term_signs
    frames = cfg.env.critic_frames if group == "critic" else 1
    order = [frame * len(signs) + column for frame in range(frames) for column in order]
    return torch.tensor(order), torch.tensor(signs * frames)


def action_table(cfg: LeggedRobotCfg, env: LeggedRobot | None) -> Table:
    """The same of actions."""
    robot = configured_opposites(cfg) if env is None else opposites_of(env)
    return torch.tensor(robot.joints), torch.tensor(robot.signs)


def make_mirror(cfg_class: type[LeggedRobotCfg] | None = None) -> Callable[..., tuple[Any, Any]]:
    """The function that `algorithm.symmetry_cfg` names, for one robot.

    Args:
        cfg_class: configuration of the robot in hosts that do not show their environment; None: they are refused.
    """
    configured: Tables = {}

    def mirror(env: Any, obs: Any, actions: torch.Tensor | None) -> tuple[Any, Any]:
        """Samples followed by their mirror images, as rsl-rl-lib's `data_augmentation_func` wants them.

        Args:
            env: a `RslRlVecEnv`; None in hosts that do not show it.
            obs: groups (B, D), or None.
            actions: (B, A), or None.

        Returns:
            Groups (2 B, D) in what they came in, and actions (2 B, A), each None where None was given.
        """
        tables: Tables = configured if env is None else env.__dict__.setdefault("_mirror_tables", {})

        def table(group: str | None, device: torch.device) -> Table:
            made = tables.get(group)
            if made is None:
                robot: LeggedRobot | None = None
                if env is not None:
                    robot, cfg = env.env, env.env.cfg
                elif cfg_class is not None:
                    cfg = cfg_class()
                else:
                    raise UserError(UNKNOWN_ROBOT)
                made = action_table(cfg, robot) if group is None else group_table(cfg, group, robot)
            tables[group] = order, signs = made[0].to(device), made[1].to(device)
            return order, signs

        return (
            None if obs is None else _mirror_groups(obs, table),
            None if actions is None else torch.cat((actions, _mirrored(actions, table(None, actions.device)))),
        )

    return mirror


def _mirror_groups(obs: Any, table: Callable[[str, torch.device], Table]) -> Any:
    groups = {}
    for group, value in obs.items():
        order, signs = table(group, value.device)
        if len(order) != value.shape[-1]:
            raise ValueError(
                f"observation group '{group}' has {value.shape[-1]} columns, its mirror image {len(order)}: "
                "the environment is not that of the configuration"
            )
        groups[group] = torch.cat((value, _mirrored(value, (order, signs))))
    if type(obs) is dict:
        return groups
    return type(obs)(groups, batch_size=[2 * obs.batch_size[0]], device=obs.device)


def _mirrored(value: torch.Tensor, table: Table) -> torch.Tensor:
    order, signs = table
    return value[..., order] * signs


mirror = make_mirror()
"""Of any robot, in hosts that show their environment."""


def __getattr__(name: str) -> Any:
    """`mirror_go1` and the like: of a registered robot, also in hosts that do not show their environment."""
    if not name.startswith("mirror_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        robot = task_registry.robot(name[len("mirror_") :])
    except UserError as error:
        raise AttributeError(str(error)) from error
    return make_mirror(robot.cfg)
