"""The ground of a terrain map as MuJoCo geoms.

A map has thousands of boxes, and every geom of a model costs time in every physics step. A model that is stepped gets a
few slots instead: boxes and height fields, each alone on a fixed body. In every environment they hold what is near its
own robot; `NearGround` moves them when the robot comes into another bucket of ground. What that saves:
benchmarks/ground.py. Pictures and rays use all of the map (`add_map`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from legged_gym_ext.terrain.map import Field, TerrainMap

if TYPE_CHECKING:
    from mjbatch import Batch

GROUND = "ground"
BUCKET = 0.5  # m, side of the squares of ground for which the boxes nearby are listed
TRAVEL = 0.15  # m that a robot may move in one control step; 7.5 m/s in 20 ms
AWAY = -100.0  # m, height at which slots without use are parked
COLLISION = {"contype": 1, "conaffinity": 0, "condim": 3}  # robots have it the other way round


def add_map(spec: mujoco.MjSpec, ground: TerrainMap) -> None:
    """Add all of a map to the world body, as static geoms."""
    for low_high in ground.boxes:
        low, high = low_high[:3], low_high[3:]
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, size=(high - low) / 2, pos=(low + high) / 2, **COLLISION
        )
    for index, field in enumerate(ground.fields):
        spec.worldbody.add_geom(pos=_add_field(spec, index, field), **_field_geom(index), **COLLISION)


def _field_geom(index: int) -> dict[str, Any]:
    return {"type": mujoco.mjtGeom.mjGEOM_HFIELD, "hfieldname": f"{GROUND}_field_{index}"}


def _add_field(spec: mujoco.MjSpec, index: int, field: Field) -> list[float]:
    """Add the height field as an asset; returns where a geom of it belongs."""
    # MuJoCo scales heights to 0..1, has rows along y, and wants a solid base below the lowest point.
    lowest, rise = float(field.heights.min()), float(np.ptp(field.heights))
    nx, ny = field.heights.shape
    spec.add_hfield(
        name=f"{GROUND}_field_{index}",
        size=[*field.half, rise, 0.5],
        nrow=ny,
        ncol=nx,
        userdata=((field.heights - lowest) / rise).T.flatten(),
    )
    return [*field.centre, lowest]


def add_slots(spec: mujoco.MjSpec, ground: TerrainMap, reach: float) -> NearGround:
    """Add the slots that `NearGround` fills.

    Args:
        spec: of the model with the robot.
        ground: the map.
        reach: m from the middle of the base to the farthest point of the robot in any pose, seen from above.
    """
    near = NearGround(ground, reach + TRAVEL)
    # Its trees of bounding volumes are built once, with the model; the slots' geoms move. The broad phase keeps up with
    # them.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    places = [_add_field(spec, index, field) for index, field in enumerate(ground.fields)]
    near.field_places = np.array(places).reshape(-1, 3)
    for slot in range(near.box_slots):
        body = spec.worldbody.add_body(name=f"{GROUND}_box_{slot}")
        body.add_geom(name=body.name, type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.1] * 3, pos=[0, 0, AWAY], **COLLISION)
    for slot in range(near.field_slots):
        body = spec.worldbody.add_body(name=f"{GROUND}_slope_{slot}")
        body.add_geom(name=body.name, pos=[0, 0, AWAY], **_field_geom(0), **COLLISION)
    return near


@dataclass(frozen=True)
class Tables:
    """What is near each bucket of ground.

    Attributes:
        boxes: (B, 6) lower and upper corners [m].
        box_table, field_table: (X, Y, slots) indices of boxes and of height fields, -1: none.
        ring: buckets around the tiles that the tables have as well.
        half: m from the middle of a bucket to the end of what is near.
    """

    boxes: np.ndarray
    box_table: np.ndarray
    field_table: np.ndarray
    ring: int
    half: float


def field_bounds(model: mujoco.MjModel) -> tuple[np.ndarray, float]:
    """Half sizes (3,) and radius [m] that hold for every height field: a slot gets one after the other."""
    size = model.hfield_size.max(axis=0)
    half = np.array([size[0], size[1], max(size[2], size[3])])
    return half, float(np.linalg.norm(half))


class NearGround:
    """Which boxes and fields are near each robot.

    Attributes:
        box_slots, field_slots: geoms of either kind that the busiest place of the map needs.
        field_places: (fields, 3) where the geom of each field belongs.
    """

    def __init__(self, ground: TerrainMap, margin: float) -> None:
        """List what lies within `margin` m around each bucket of `ground`."""
        self._map, self._half = ground, BUCKET / 2 + margin
        # Beyond the tiles the ground is the same everywhere: one ring of buckets as wide as the margin stands for it.
        self._ring = int(np.ceil(margin / BUCKET)) + 1
        self._shape = tuple(int(np.ceil(length / BUCKET)) + 2 * self._ring for length in ground.size)
        self._boxes = ground.boxes
        fields = np.array([(*np.subtract(f.centre, f.half), *np.add(f.centre, f.half)) for f in ground.fields])
        self._box_table = self._list(self._boxes[:, [0, 1, 3, 4]])
        self._field_table = self._list(fields.reshape(-1, 4))
        self.box_slots, self.field_slots = self._box_table.shape[-1], self._field_table.shape[-1]
        self.field_places = np.zeros((len(fields), 3))

    def _list(self, areas: np.ndarray) -> np.ndarray:
        """(X, Y, slots) indices of the areas x0 y0 x1 y1 near each bucket, -1 where there are fewer."""
        ranges = []
        for x0, y0, x1, y1 in areas:
            first = [int(np.floor((low - self._half) / BUCKET + 0.5)) + self._ring for low in (x0, y0)]
            last = [int(np.ceil((high + self._half) / BUCKET - 0.5)) + self._ring for high in (x1, y1)]
            ranges.append(tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(first, last)))
        count = np.zeros(self._shape, dtype=int)
        for area in ranges:
            count[area] += 1
        table = np.full((*self._shape, int(count.max())), -1)
        count[:] = 0
        for index, area in enumerate(ranges):
            np.put_along_axis(table[area], count[area][..., None], index, axis=-1)
            count[area] += 1
        return table

    def tables(self) -> Tables:
        """What the slots are filled from."""
        return Tables(self._boxes, self._box_table, self._field_table, self._ring, self._half)

    def attach(self, model: mujoco.MjModel, batch: Batch) -> None:
        """Take the slots of a `mjbatch.Batch` of `model` over; every environment's are empty."""

        def ids(kind: str, count: int) -> np.ndarray:
            return np.array([model.geom(f"{GROUND}_{kind}_{i}").id for i in range(count)], dtype=int)

        self._box_ids, self._field_ids = ids("box", self.box_slots), ids("slope", self.field_slots)
        self._pos, self._size = batch.expand("geom_pos"), batch.expand("geom_size")
        self._aabb, self._bound = batch.expand("geom_aabb"), batch.expand("geom_rbound")
        if self.field_slots:
            self._data = batch.expand("geom_dataid")
            half, self._bound[:, self._field_ids] = field_bounds(model)
            self._aabb[:, self._field_ids] = np.concatenate((np.zeros(3), half))
        self._bucket = np.full((batch.num_sims, 2), np.iinfo(np.int64).min)

    def follow(self, positions: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Fill the slots of robots that came into another bucket.

        Args:
            positions: (M, 2 or more) m.
            ids: (M,) environments; None: all.
        """
        ids = np.arange(len(positions)) if ids is None else ids
        bucket = np.floor(np.nan_to_num(positions[:, :2], posinf=0.0, neginf=0.0) / BUCKET).astype(np.int64)
        moved = (bucket != self._bucket[ids]).any(axis=1)
        if not moved.any():
            return
        ids, bucket = ids[moved], bucket[moved]
        self._bucket[ids] = bucket
        row = np.clip(bucket + self._ring, 0, np.array(self._shape) - 1)
        middle = (bucket + 0.5) * BUCKET
        self._place_boxes(ids, middle, self._box_table[row[:, 0], row[:, 1]])
        if self.field_slots:
            self._place_fields(ids, middle, self._field_table[row[:, 0], row[:, 1]])

    def _place_boxes(self, ids: np.ndarray, middle: np.ndarray, boxes: np.ndarray) -> None:
        """Boxes are cut to what is near, because far ends would only widen their bounding spheres."""
        corners = self._boxes[boxes]  # (M, slots, 6)
        low, high = corners[..., :3].copy(), corners[..., 3:].copy()
        np.maximum(low[..., :2], middle[:, None] - self._half, out=low[..., :2])
        np.minimum(high[..., :2], middle[:, None] + self._half, out=high[..., :2])
        pos, size = (low + high) / 2, (high - low) / 2
        unused = boxes < 0
        pos[unused], size[unused] = (0.0, 0.0, AWAY), 0.1
        pos[..., :2] = np.where(unused[..., None], middle[:, None], pos[..., :2])
        rows = ids[:, None], self._box_ids
        self._pos[rows], self._size[rows] = pos, size
        self._aabb[rows] = np.concatenate((np.zeros_like(size), size), axis=-1)
        self._bound[rows] = np.linalg.norm(size, axis=-1)

    def _place_fields(self, ids: np.ndarray, middle: np.ndarray, fields: np.ndarray) -> None:
        pos = self.field_places[fields]
        unused = fields < 0
        pos[unused, 2] = AWAY
        pos[..., :2] = np.where(unused[..., None], middle[:, None], pos[..., :2])
        rows = ids[:, None], self._field_ids
        self._pos[rows], self._data[rows] = pos, np.maximum(fields, 0)
