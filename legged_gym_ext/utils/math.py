"""Rotations on batches of quaternions (w x y z), torch only."""

from __future__ import annotations

import torch


def projected_gravity(quat: torch.Tensor) -> torch.Tensor:
    """Unit gravity vector in the base frame.

    Args:
        quat: (N, 4) unit quaternions w x y z, base to world.

    Returns:
        (N, 3): the third row of the rotation matrix, negated; (0, 0, -1) when upright.
    """
    w, x, y, z = quat.unbind(-1)
    return torch.stack((2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0), dim=-1)


def quat_rotate_inverse(quat: torch.Tensor, vec: torch.Tensor) -> torch.Tensor:
    """World vectors (N, 3) in the frame of `quat` (N, 4), w x y z."""
    w, u = quat[:, :1], quat[:, 1:]
    t = 2.0 * torch.cross(u, vec, dim=-1)
    return vec - w * t + torch.cross(u, t, dim=-1)


def yaw_of(quat: torch.Tensor) -> torch.Tensor:
    """Heading angle (N,) in rad of quaternions (N, 4) w x y z."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def quat_from_yaw(yaw: torch.Tensor) -> torch.Tensor:
    """Quaternions (N, 4) w x y z that turn by `yaw` (N,) rad about the vertical."""
    zero = torch.zeros_like(yaw)
    return torch.stack((torch.cos(0.5 * yaw), zero, zero, torch.sin(0.5 * yaw)), dim=-1)


def quat_mul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Hamilton product a b of quaternions (..., 4) w x y z: first `b`, then `a`."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    scalar = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat((scalar, aw * bv + bw * av + torch.cross(av, bv, dim=-1)), dim=-1)


def rotate_by_yaw(cos: torch.Tensor, sin: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Offsets `points` (P, 2) of the yaw frame in world axes (N, P, 2), for headings with `cos` and `sin` (N,)."""
    x, y = points[:, 0], points[:, 1]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def wrap_to_pi(angle: torch.Tensor) -> torch.Tensor:
    """Angles wrapped into [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2.0 * torch.pi) - torch.pi
