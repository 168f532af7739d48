"""Cuts a raster of heights into boxes with exactly vertical faces."""

from __future__ import annotations

import numpy as np


def rectangles(heights: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Cut a raster into rectangles of equal height.

    Args:
        heights: (nx, ny).

    Returns:
        (x0, x1, y0, y1), ends excluded; together they cover every cell once. Greedy: each starts at the first cell that
        is left and grows as far as it can, first along the axis along which it gets larger.
    """
    free = np.ones(heights.shape, dtype=bool)
    found = []
    while True:
        start = int(np.argmax(free))
        x, y = divmod(start, heights.shape[1])
        if not free[x, y]:
            return found
        same = free & (heights == heights[x, y])
        along_y = _grow(same[x:, y:])
        along_x = _grow(same[x:, y:].T)[::-1]
        size_x, size_y = max(along_y, along_x, key=lambda size: size[0] * size[1])
        free[x : x + size_x, y : y + size_y] = False
        found.append((x, x + size_x, y, y + size_y))


def _grow(same: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the rectangle at the corner of `same` that is first as wide and then as high as possible."""
    columns = _run(same[0])
    return _run(np.asarray(same[:, :columns].all(axis=1))), columns


def _run(flags: np.ndarray) -> int:
    """Length of the leading run of true."""
    return len(flags) if flags.all() else int(np.argmin(flags))
