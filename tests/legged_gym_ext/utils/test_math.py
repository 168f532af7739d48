"""Rotations: every function against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from legged_gym_ext.utils import math as rotations

torch.set_num_threads(1)

HALF = math.sqrt(0.5)  # cosine and sine of 45 degrees: half of a quarter turn
X90, Y90, Z90 = (HALF, HALF, 0.0, 0.0), (HALF, 0.0, HALF, 0.0), (HALF, 0.0, 0.0, HALF)
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rotate(quat: torch.Tensor, vec: torch.Tensor) -> torch.Tensor:
    """Base vectors in world axes through q v q*, the definition, independent of the function under test."""
    conjugate = quat * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=quat.dtype)
    pure = torch.cat((torch.zeros_like(vec[:, :1]), vec), dim=-1)
    return rotations.quat_mul(rotations.quat_mul(quat, pure), conjugate)[:, 1:]


def random_quaternions(count: int) -> torch.Tensor:
    quat = torch.randn(count, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return quat / quat.norm(dim=-1, keepdim=True)


# The world's (1, 2, 3) in a frame that is turned by 90 degrees. About z, the frame's x axis is the world's y, its y
# axis the world's -x: components (2, -1, 3). About x: y is world z, z is world -y. About y: x is world -z, z world x.
@pytest.mark.parametrize(
    ("quat", "expected"),
    [(UPRIGHT, (1.0, 2.0, 3.0)), (X90, (1.0, 3.0, -2.0)), (Y90, (-3.0, 2.0, 1.0)), (Z90, (2.0, -1.0, 3.0))],
    ids=["none", "x", "y", "z"],
)
def test_inverse_rotation_by_a_quarter_turn_permutes_components(quat, expected):
    found = rotations.quat_rotate_inverse(rows(quat), rows((1.0, 2.0, 3.0)))
    assert torch.allclose(found, rows(expected), atol=1e-12)


def test_inverse_rotation_undoes_the_rotation():
    quat, vec = random_quaternions(50), random_quaternions(50).flip(0)[:, 1:]
    assert torch.allclose(rotations.quat_rotate_inverse(quat, rotate(quat, vec)), vec, atol=1e-12)


# Roll +90 degrees (about x): the left side (y) points up, so gravity points to the right, -y.
# Pitch +90 degrees (about y): the nose (x) points down, so gravity points forward, +x. Turning about z changes nothing.
@pytest.mark.parametrize(
    ("quat", "expected"),
    [
        (UPRIGHT, (0.0, 0.0, -1.0)),
        (X90, (0.0, -1.0, 0.0)),
        (Y90, (1.0, 0.0, 0.0)),
        (Z90, (0.0, 0.0, -1.0)),
        ((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    ],
    ids=["upright", "on_its_right_side", "nose_down", "turned", "on_its_back"],
)
def test_projected_gravity_points_where_down_is(quat, expected):
    assert torch.allclose(rotations.projected_gravity(rows(quat)), rows(expected), atol=1e-12)


def test_projected_gravity_is_down_rotated_into_the_base_frame():
    quat = random_quaternions(50)
    down = rows((0.0, 0.0, -1.0)).expand(50, 3)
    assert torch.allclose(rotations.projected_gravity(quat), rotations.quat_rotate_inverse(quat, down), atol=1e-12)


def test_yaw_of_reads_the_heading():
    assert torch.allclose(rotations.yaw_of(rows(UPRIGHT, Z90, X90)), rows((0.0, math.pi / 2, 0.0))[0], atol=1e-12)


def test_yaw_of_ignores_pitch_and_roll():
    # The heading is that of the base's x axis; 30 degrees of pitch, then 20 of roll in the base frame do not change it.
    yaw = torch.tensor([-2.0, 0.7, 3.0], dtype=torch.float64)
    pitch = rows((math.cos(0.2618), 0.0, math.sin(0.2618), 0.0)).expand(3, 4)
    roll = rows((math.cos(0.1745), math.sin(0.1745), 0.0, 0.0)).expand(3, 4)
    quat = rotations.quat_mul(rotations.quat_mul(rotations.quat_from_yaw(yaw), pitch), roll)
    assert torch.allclose(rotations.yaw_of(quat), yaw, atol=1e-12)


def test_quat_from_yaw_of_a_quarter_turn():
    quat = rotations.quat_from_yaw(torch.tensor([0.0, math.pi / 2, -math.pi / 2], dtype=torch.float64))
    assert torch.allclose(quat, rows(UPRIGHT, Z90, (HALF, 0.0, 0.0, -HALF)), atol=1e-12)


def test_quat_mul_of_the_imaginary_units():
    # Hamilton: i j = k, j i = -k, i i = -1.
    i, j = (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
    product = rotations.quat_mul(rows(i, j, i), rows(j, i, i))
    expected = rows((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, -1.0), (-1.0, 0.0, 0.0, 0.0))
    assert torch.allclose(product, expected, atol=1e-12)


def test_quat_mul_applies_the_right_factor_first():
    # First about x: z (up) becomes -y; then about z: -y becomes x. The other order leaves z about z, then gives -y.
    up = rows((0.0, 0.0, 1.0))
    assert torch.allclose(rotate(rotations.quat_mul(rows(Z90), rows(X90)), up), rows((1.0, 0.0, 0.0)), atol=1e-12)
    assert torch.allclose(rotate(rotations.quat_mul(rows(X90), rows(Z90)), up), rows((0.0, -1.0, 0.0)), atol=1e-12)


def test_quat_mul_broadcasts_leading_dimensions():
    found = rotations.quat_mul(rows(Z90), rows(UPRIGHT, Z90, X90))
    # Two quarter turns are a half turn; z then x: (HALF + HALF k)(HALF + HALF i) = (1 + i + j + k) / 2.
    expected = rows(Z90, (0.0, 0.0, 0.0, 1.0), (0.5, 0.5, 0.5, 0.5))
    assert torch.allclose(found, expected, atol=1e-12)


def test_rotate_by_yaw_turns_the_points_of_each_robot_by_its_own_heading():
    # Headings 0, 90, 180 degrees; forward (2, 0) and left (0, 1).
    cos, sin = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.0])
    found = rotations.rotate_by_yaw(cos, sin, torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    expected = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [-1.0, 0.0]], [[-2.0, 0.0], [0.0, -1.0]]])
    assert torch.equal(found, expected)


# Half-open [-pi, pi): both ends are -pi. 4 - 2 pi = -2.28319; -4 + 2 pi = 2.28319; 7 - 2 pi = 0.71681;
# -20 + 6 pi = -1.15044.
@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.0, 0.0),
        (3.0, 3.0),
        (math.pi, -math.pi),
        (-math.pi, -math.pi),
        (4.0, -2.2831853),
        (-4.0, 2.2831853),
        (7.0, 0.7168147),
        (-20.0, -1.1504441),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrap_to_pi(angle, expected, dtype):
    found = rotations.wrap_to_pi(torch.tensor([angle], dtype=dtype))
    assert found.item() == pytest.approx(expected, abs=1e-6 if dtype == torch.float64 else 3e-6)
