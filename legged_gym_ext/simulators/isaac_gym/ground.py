"""The ground of a map as one triangle mesh for Isaac Gym: flat or sloping cells, exactly vertical risers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from legged_gym_ext.terrain.map import TerrainMap


def ground_mesh(ground: TerrainMap) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all of a map and of the level border around it, in world axes.

    Returns:
        Vertices (V, 3) float32 [m], and triangles (T, 3) uint32 of vertex indices, counter-clockwise seen from the open
        side: from above, and from the lower side of a riser.
    """
    # One ring of level cells, so that the tiles' outer edges have risers too; heights in whole units, so that equal
    # ones are equal.
    corners = np.pad(ground.corners, ((1, 1), (1, 1), (0, 0)))
    heights = np.round(corners / ground.unit).astype(np.int64)
    nodes = _Nodes(heights)
    keys = nodes.keys
    # Split from corner (0, 0) to (1, 1), as everywhere in this package.
    tops = keys[..., [0, 1, 3, 0, 3, 2]].reshape(-1, 3)
    along_x = nodes.risers(keys[:-1, :, [1, 3]], keys[1:, :, [0, 2]])
    along_y = nodes.risers(keys[:, :-1, [2, 3]], keys[:, 1:, [0, 1]])[:, ::-1]
    references = np.concatenate((tops, along_x, along_y))
    used = np.unique(references[references >= 0])
    triangles = np.where(references >= 0, np.searchsorted(used, references), len(used) - 1 - references)
    vertices = np.concatenate((nodes.places(used), *nodes.crossings))
    vertices -= (1.0, 1.0, 0.0)  # the ring starts before the tiles
    border = _border(ground)
    triangles = np.concatenate((triangles, len(vertices) + np.arange(len(border)).reshape(-1, 3)))
    vertices = np.concatenate((vertices * (ground.cell, ground.cell, ground.unit), border))
    return vertices.astype(np.float32), triangles.astype(np.uint32)


class _Nodes:
    """Numbers for the places (x, y, height) that the corners of cells are at; equal places have equal numbers.

    Attributes:
        keys: (X, Y, 4) of each cell's corners.
        crossings: (C, 3) places that are no corners, in cells and units; the c-th of all is referred to as -1 - c.
    """

    def __init__(self, heights: np.ndarray) -> None:
        """Number the corners of cells with `heights` (X, Y, 4) in units."""
        self._lowest, self._levels = heights.min(), np.ptp(heights) + 1
        self._columns = heights.shape[1] + 1
        x, y = np.indices(heights.shape[:2])[..., None] + np.array([[0, 1, 0, 1], [0, 0, 1, 1]])[:, None, None]
        self.keys = (x * self._columns + y) * self._levels + heights - self._lowest
        self.crossings: list[np.ndarray] = []

    def places(self, keys: np.ndarray) -> np.ndarray:
        """(..., 3) x and y in cells and height in units."""
        node, level = np.divmod(keys, self._levels)
        return np.stack((*np.divmod(node, self._columns), level + self._lowest), axis=-1).astype(float)

    def risers(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(T, 3) triangles between the edge of one cell and that of the next, (..., 2) keys of their two ends each.

        They face the lower side if `b` lies in +x of `a` and the edge goes along +y.
        """
        a, b = a.reshape(-1, 2), b.reshape(-1, 2)
        differ = (a != b).any(axis=1)
        a, b = a[differ], b[differ]
        rise = a - b  # keys at the same node differ by their heights alone
        crossing = rise[:, 0] * rise[:, 1] < 0
        a0, a1, b0, b1 = *a[~crossing].T, *b[~crossing].T
        whole = np.concatenate((np.stack((b0, b1, a1), axis=1)[a1 != b1], np.stack((b0, a1, a0), axis=1)[a0 != b0]))
        return np.concatenate((whole, self._crossing(a[crossing], b[crossing])))

    def _crossing(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(2 M, 3) triangles between edges of which each is the higher one at one end."""
        rise = a - b
        share = (rise[:, :1] / (rise[:, :1] - rise[:, 1:])).astype(float)
        start, end = self.places(a[:, 0]), self.places(a[:, 1])
        first = sum(len(places) for places in self.crossings)
        middle = -1 - first - np.arange(len(a))
        self.crossings.append(start + share * (end - start))
        return np.concatenate(
            (np.stack((b[:, 0], middle, a[:, 0]), axis=1), np.stack((middle, b[:, 1], a[:, 1]), axis=1))
        )


def _border(ground: TerrainMap) -> np.ndarray:
    """(24, 3) corners [m] of the triangles of four level rectangles outside the ring of cells.

    (0, 3) where the border is no wider than the ring.
    """
    ring, far, (size_x, size_y) = ground.cell, ground.border, ground.size
    if far <= ring:
        return np.zeros((0, 3))
    rectangles = [
        (-far, -ring, -far, size_y + far),
        (size_x + ring, size_x + far, -far, size_y + far),
        (-ring, size_x + ring, -far, -ring),
        (-ring, size_x + ring, size_y + ring, size_y + far),
    ]
    return np.array(
        [
            (x, y, 0.0)
            for x0, x1, y0, y1 in rectangles
            for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y0), (x1, y1), (x0, y1))
        ]
    )
