"""Mazes as grids of codes: a square of lava, and a path through it that is drawn at random.

The maze is that of student-informed teacher training (arXiv 2412.09149); sizes, rewards and the way in which paths are
drawn are those of its published code (uzh-rpg/sitt), which this is no copy of. Grids are indexed [x, y]. Mazes that are
drawn are all made at once: N of them.
"""

from __future__ import annotations

import torch

SIZE = 21
"""Cells along each side of the grid."""

MARGIN, BLOCK = 3, 15
"""Cells around the lava, and along each of its sides."""

START, TARGET = (10, 19), (10, 1)
NORMAL, LAVA, PATH, HIDDEN, OUTSIDE = range(5)
"""Codes of cells, as the teacher sees them; no cell is HIDDEN."""

MASK = (NORMAL, PATH, PATH, PATH, OUTSIDE)
"""Code -> what the student sees: lava and path look alike."""

LEFT, RIGHT = 3, 11
"""Columns of the block between which paths run, the second one left out."""

TURNS = 4
"""Turns of a path at most: runs of at least 3 cells, and 14 cells to go."""


def lay_paths(column: torch.Tensor, runs: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Grids (N, 21, 21) of codes whose paths go up the block in runs, and aside between them.

    Args:
        column: (N,) column of the block that a path begins in.
        runs: (N, 5) cells of each run; the last one ends with the block.
        shifts: (N, 4) cells to the side after each run but the last, signed; the sign is flipped where a path would
            leave `LEFT` to `RIGHT`.
    """
    x, y = column.clone(), torch.zeros_like(column)
    along_x, along_y = torch.arange(BLOCK)[None, :, None], torch.arange(BLOCK)[None, None, :]
    paths = torch.zeros(len(column), BLOCK, BLOCK, dtype=torch.bool)

    def mark(x_from: torch.Tensor, x_to: torch.Tensor, y_from: torch.Tensor, y_to: torch.Tensor) -> None:
        low_x, high_x = (limit[:, None, None] for limit in (torch.minimum(x_from, x_to), torch.maximum(x_from, x_to)))
        low_y, high_y = (limit[:, None, None] for limit in (y_from, y_to))
        paths.logical_or_((along_x >= low_x) & (along_x <= high_x) & (along_y >= low_y) & (along_y <= high_y))

    for turn in range(TURNS + 1):
        top = (y + runs[:, turn]).clamp(max=BLOCK - 1)
        mark(x, x, y, top)
        y = top
        if turn < TURNS:
            shift = shifts[:, turn]
            leaves = (x + shift < LEFT) | (x + shift >= RIGHT)
            shift = torch.where(y < BLOCK - 1, torch.where(leaves, -shift, shift), torch.zeros_like(shift))
            mark(x, x + shift, y, y)
            x = x + shift
    grids = torch.full((len(column), SIZE, SIZE), NORMAL)
    inner = slice(MARGIN, MARGIN + BLOCK)
    grids[:, inner, inner] = torch.where(paths, PATH, LAVA)
    return grids


def draw_mazes(count: int, generator: torch.Generator) -> torch.Tensor:
    """Grids (N, 21, 21) of codes with paths drawn as in the published code."""

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high + 1, (count, *shape), generator=generator)

    column, runs = draw(LEFT, RIGHT - 1), draw(3, 4, TURNS + 1)
    shifts = draw(1, 3, TURNS) * (2 * draw(0, 1, TURNS) - 1)
    return lay_paths(column, runs, shifts)


def draw_other_mazes(count: int, generator: torch.Generator, known: torch.Tensor) -> torch.Tensor:
    """Grids (N, 21, 21) as `draw_mazes` gives them, none of which is among `known` (M, 21, 21)."""
    grids = draw_mazes(count, generator)
    while len(again := among(grids, known).nonzero().flatten()):
        grids[again] = draw_mazes(len(again), generator)
    return grids


def among(grids: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(N,) bool, which of `grids` (N, 21, 21) are among `known` (M, 21, 21)."""
    rows = torch.cat((known, grids)).flatten(1)
    _, group = torch.unique(rows, dim=0, return_inverse=True)
    return torch.isin(group[len(known) :], group[: len(known)])
