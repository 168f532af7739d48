"""Sizes of the Go2's observations without an environment, for hosts that do not show theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from legged_gym_ext.envs.base.observations import ObsTerm, group_terms, make_terms


def go2_terms(cfg: Any) -> dict[str, ObsTerm]:
    """All terms of a Go2 with the configuration `cfg` (a `Go2Cfg`): they can be counted, not read."""
    section = cfg.terrain
    grid = lambda xs, ys: range(len(xs) * len(ys))  # noqa: E731
    shape = SimpleNamespace(
        num_dof=12,
        num_actions=12,
        num_feet=4,
        num_contact_states=12,  # thighs, calves, feet
        measured_points=grid(section.measured_points_x, section.measured_points_y),
        scan_points=grid(section.scan_points_x, section.scan_points_y),
        foot_points=grid(section.foot_points, section.foot_points),
        params={},
    )
    return make_terms(shape, cfg)  # pyright: ignore


def go2_group_dims(cfg: Any) -> dict[str, int]:
    """Columns of each observation group, those of stacked critic frames included."""
    terms = go2_terms(cfg)
    dims = {group: sum(terms[name].dim for name in names) for group, names in group_terms(cfg).items()}
    return {**dims, "critic": dims["critic"] * cfg.env.critic_frames}
