"""Boxes and height fields near each robot, in MuJoCo Warp's arrays: `ground.NearGround` as one kernel."""

from __future__ import annotations

from typing import Any

import mujoco
import torch
import warp as wp

from legged_gym_ext.simulators.mujoco.ground import AWAY, BUCKET, GROUND, NearGround, field_bounds

wp.set_module_options({"enable_backward": False})

FARTHEST = wp.constant(1e6)  # m, of a robot that was lost
SIDE, PARKED = wp.constant(BUCKET), wp.constant(AWAY)


@wp.func
def _bucket(position: float) -> float:
    """Number of the bucket along one axis; 0 for what is no number."""
    if not wp.isfinite(position):
        return 0.0
    return wp.floor(wp.clamp(position, -FARTHEST, FARTHEST) / SIDE)


@wp.kernel
def _fill_slots(
    positions: wp.array2d(dtype=float),  # pyright: ignore
    boxes: wp.array2d(dtype=float),  # pyright: ignore
    places: wp.array(dtype=wp.vec3),  # pyright: ignore
    box_table: wp.array3d(dtype=int),  # pyright: ignore
    field_table: wp.array3d(dtype=int),  # pyright: ignore
    geoms: wp.array(dtype=int),  # pyright: ignore
    ring: int,
    half: float,
    geom_pos: wp.array2d(dtype=wp.vec3),  # pyright: ignore
    world_pos: wp.array2d(dtype=wp.vec3),  # pyright: ignore
    geom_size: wp.array2d(dtype=wp.vec3),  # pyright: ignore
    geom_aabb: wp.array3d(dtype=wp.vec3),  # pyright: ignore
    geom_rbound: wp.array2d(dtype=float),  # pyright: ignore
    geom_dataid: wp.array2d(dtype=int),  # pyright: ignore
):
    """One slot of one robot: boxes come first, then height fields."""
    robot, slot = wp.tid()  # pyright: ignore
    geom, box_slots = geoms[slot], box_table.shape[2]
    bucket_x, bucket_y = _bucket(positions[robot, 0]), _bucket(positions[robot, 1])
    x = wp.clamp(int(bucket_x) + ring, 0, box_table.shape[0] - 1)
    y = wp.clamp(int(bucket_y) + ring, 0, box_table.shape[1] - 1)
    middle_x, middle_y = (bucket_x + 0.5) * SIDE, (bucket_y + 0.5) * SIDE
    pos = wp.vec3(middle_x, middle_y, PARKED)
    if slot < box_slots:
        size = wp.vec3(0.1, 0.1, 0.1)
        box = box_table[x, y, slot]
        if box >= 0:  # cut to what is near: far ends would only widen the bounding sphere
            low = wp.vec3(wp.max(boxes[box, 0], middle_x - half), wp.max(boxes[box, 1], middle_y - half), boxes[box, 2])
            high = wp.vec3(
                wp.min(boxes[box, 3], middle_x + half), wp.min(boxes[box, 4], middle_y + half), boxes[box, 5]
            )
            pos, size = (low + high) / 2.0, (high - low) / 2.0
        geom_size[robot, geom] = size
        geom_aabb[robot, geom, 1] = size
        geom_rbound[robot, geom] = wp.length(size)  # pyright: ignore
    else:
        field = field_table[x, y, slot - box_slots]
        if field >= 0:
            pos = places[field]
        geom_dataid[robot, geom] = wp.max(field, 0)
    geom_pos[robot, geom] = pos
    world_pos[robot, geom] = pos


class WarpGround:
    """Fills the slots of all robots in every control step, without asking which robots moved.

    The question would be answered on the host, and waiting for it costs more than writing everything anew.
    """

    FIELDS = ("geom_pos", "geom_size", "geom_aabb", "geom_rbound", "geom_dataid")
    """Fields of the model that differ between robots because of the slots."""

    def __init__(self, near: NearGround, model: mujoco.MjModel, m: Any, d: Any) -> None:
        """Take the slots of Warp's model `m` and data `d` over; they are on Warp's present device."""
        tables = near.tables()
        names = [f"{GROUND}_box_{slot}" for slot in range(near.box_slots)]
        names += [f"{GROUND}_slope_{slot}" for slot in range(near.field_slots)]
        ids = [model.geom(name).id for name in names]
        self._inputs = [
            wp.array(tables.boxes, dtype=float),
            wp.array(near.field_places, dtype=wp.vec3),
            *(wp.array(table, dtype=int, ndim=3) for table in (tables.box_table, tables.field_table)),
            wp.array(ids, dtype=int),
            tables.ring,
            tables.half,
        ]
        # Geoms of the world are placed once, with the data: their places there are ours to move.
        self._outputs = [m.geom_pos, d.geom_xpos, m.geom_size, m.geom_aabb, m.geom_rbound, m.geom_dataid]
        self._dim = d.nworld, len(ids)
        if near.field_slots:
            half, bound = field_bounds(model)
            device = wp.device_to_torch(m.geom_aabb.device)
            fields = torch.tensor(ids[near.box_slots :], device=device)
            wp.to_torch(m.geom_aabb)[:, fields] = torch.tensor([[0.0] * 3, half.tolist()], device=device)
            wp.to_torch(m.geom_rbound)[:, fields] = bound

    def follow(self, positions: wp.array) -> None:
        """Fill the slots of robots at `positions` (N, 2 or more) m."""
        wp.launch(_fill_slots, self._dim, [positions, *self._inputs], self._outputs)
