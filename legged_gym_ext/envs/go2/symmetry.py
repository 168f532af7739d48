"""Mirrored samples of the Go2, also in hosts that do not show their environment; see envs/base/symmetry.py."""

from __future__ import annotations

from legged_gym_ext.envs.base.symmetry import make_mirror
from legged_gym_ext.envs.go2.go2_config import Go2Cfg

mirror = make_mirror(Go2Cfg)
