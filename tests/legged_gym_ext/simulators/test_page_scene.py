"""The ground and the robots of the page: shapes worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("mjviser")
from legged_gym_ext.simulators.mujoco.page_scene import CUBE, CUBE_FACES, surface


def test_a_height_field_is_a_surface_that_looks_up():
    # 3 x 2 points, 2 m x 1 m around (10, 20): a plane that rises 0.1 m per point in x.
    heights = np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]])
    field = SimpleNamespace(centre=np.array([10.0, 20.0]), half=np.array([1.0, 0.5]), heights=heights)
    vertices, faces = surface(field)
    assert vertices[0] == pytest.approx([9.0, 19.5, 0.0])
    assert vertices[5] == pytest.approx([11.0, 20.5, 0.2])
    assert len(faces) == 4  # two cells of two triangles
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    assert (normals[:, 2] > 0).all()
    # Two triangles cover a cell of 1 m x 1 m: seen from above the areas add up to 2 m2.
    assert normals[:, 2].sum() / 2 == pytest.approx(2.0)


def test_the_sides_of_a_box_look_outwards_and_its_bottom_is_left_out():
    a, b, c = (CUBE[CUBE_FACES[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", normals, a + b + c) > 0).all()
    assert {tuple(np.sign(normal).astype(int)) for normal in normals.round(6)} == {
        (0, 0, 1),
        (1, 0, 0),
        (-1, 0, 0),
        (0, 1, 0),
        (0, -1, 0),
    }
