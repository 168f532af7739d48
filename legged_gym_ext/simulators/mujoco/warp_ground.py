"""Boxes and height fields near each robot, in MuJoCo Warp's arrays: `ground.NearGround` as torch operations."""

from __future__ import annotations

from typing import Any

import mujoco
import torch
import warp as wp

from legged_gym_ext.simulators.mujoco.ground import AWAY, BUCKET, GROUND, NearGround, field_bounds


class WarpGround:
    """Fills the slots of all robots in every control step, without asking which robots moved.

    The question would be answered on the host, and waiting for it costs more than writing everything anew.
    """

    FIELDS = ("geom_pos", "geom_size", "geom_aabb", "geom_rbound", "geom_dataid")
    """Fields of the model that differ between robots because of the slots."""

    def __init__(self, near: NearGround, model: mujoco.MjModel, m: Any, d: Any, device: torch.device) -> None:
        """Take the slots of Warp's model `m` and data `d` over, which are on `device`."""
        floats = lambda values: torch.as_tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        longs = lambda values: torch.as_tensor(values, dtype=torch.long, device=device)  # noqa: E731
        tables = near.tables()
        self._boxes, self._places = floats(tables.boxes), floats(near.field_places)
        self._box_table, self._field_table = longs(tables.box_table), longs(tables.field_table)
        self._last = longs(tables.box_table.shape[:2]) - 1
        self._ring, self._half = tables.ring, tables.half
        ids = lambda kind, count: longs([model.geom(f"{GROUND}_{kind}_{i}").id for i in range(count)])  # noqa: E731
        self._box_ids, self._field_ids = ids("box", near.box_slots), ids("slope", near.field_slots)
        self._pos, self._size, self._aabb, self._bound, self._data = (wp.to_torch(getattr(m, n)) for n in self.FIELDS)
        self._world_pos = wp.to_torch(d.geom_xpos)  # geoms of the world are placed once, with the data
        if near.field_slots:
            half, bound = field_bounds(model)
            self._aabb[:, self._field_ids] = floats([[0.0, 0.0, 0.0], half.tolist()])
            self._bound[:, self._field_ids] = bound

    def follow(self, positions: torch.Tensor) -> None:
        """Fill the slots of robots at `positions` (N, 2 or more) m."""
        finite = torch.nan_to_num(positions[:, :2], nan=0.0, posinf=0.0, neginf=0.0).clamp(-1e6, 1e6)
        bucket = torch.floor(finite / BUCKET)
        middle = (bucket + 0.5) * BUCKET
        row = torch.minimum((bucket.long() + self._ring).clamp(min=0), self._last)
        self._place_boxes(middle, self._box_table[row[:, 0], row[:, 1]])
        if len(self._field_ids):
            self._place_fields(middle, self._field_table[row[:, 0], row[:, 1]])

    def _place_boxes(self, middle: torch.Tensor, boxes: torch.Tensor) -> None:
        """Boxes (N, slots), cut to what is near, because far ends would only widen their bounding spheres."""
        corners = self._boxes[boxes]  # (N, slots, 6); -1 is the last one and replaced below
        around = middle[:, None]
        low = torch.cat((torch.maximum(corners[..., 0:2], around - self._half), corners[..., 2:3]), dim=-1)
        high = torch.cat((torch.minimum(corners[..., 3:5], around + self._half), corners[..., 5:6]), dim=-1)
        unused = (boxes < 0)[..., None]
        pos = torch.where(unused, self._away(around), (low + high) / 2)
        size = torch.where(unused, 0.1, (high - low) / 2)
        self._pos[:, self._box_ids] = self._world_pos[:, self._box_ids] = pos
        self._size[:, self._box_ids] = size
        self._aabb[:, self._box_ids, 1] = size
        self._bound[:, self._box_ids] = size.norm(dim=-1)

    def _place_fields(self, middle: torch.Tensor, fields: torch.Tensor) -> None:
        unused = (fields < 0)[..., None]
        pos = torch.where(unused, self._away(middle[:, None]), self._places[fields])
        self._pos[:, self._field_ids] = self._world_pos[:, self._field_ids] = pos
        self._data[:, self._field_ids] = fields.clamp(min=0).int()

    @staticmethod
    def _away(around: torch.Tensor) -> torch.Tensor:
        """(N, 1, 3) where slots without use are parked."""
        return torch.nn.functional.pad(around, (0, 1), value=AWAY)
