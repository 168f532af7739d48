"""The robots and the ground of an environment as shapes in a browser; needs the packages viser and mjviser, no OpenGL.

Like `scene.py` it has a model of its own and reads poses through the `Simulator` protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from mjviser import ViserMujocoScene

from legged_gym_ext.simulators.mujoco.model import load_robot
from legged_gym_ext.simulators.mujoco.visuals import (
    ACTUAL_RGBA,
    ARROW_HEIGHT,
    ARROW_SCALE,
    COMMAND_RGBA,
    FOLLOW_TIME,
    JUMP,
    SIGHT,
    show_groups,
)
from legged_gym_ext.utils.math import yaw_of

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.terrain.map import Field, TerrainMap

MAX_ROBOTS = 50  # drawn
CAMERA_DISTANCE = 1.5  # times that of the window: a page has a wider angle
TALL_DISTANCE, TALL_DROP = 1.4, 0.24  # where a window is taller than wide: times that distance, its share lower
LABEL_HEIGHT = 0.32  # m above the base
ARROW_LIFT = 0.03  # m between the two arrows of a robot
LOW_RGB, HIGH_RGB = np.array([62, 74, 86]), np.array([142, 152, 160])  # of the lowest and the highest ground
SKY = (214, 226, 236)
GRID: dict[str, Any] = {"cell_color": (176, 188, 198), "section_color": (140, 154, 166), "plane_color": (206, 215, 222)}
BAND = 0.06  # share of the colours by which neighbouring boxes differ, so that the treads of stairs do

# A cube of half size 1 with corners of its own on each side, so that its edges are sharp.
_CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=np.float32)
_TURNS = [np.eye(3)] + [
    np.array(turn)
    for turn in (
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
]
CUBE = np.concatenate([_CORNERS @ turn.T for turn in _TURNS]).astype(np.float32)
"""(20, 3) corners of the five sides that can be seen; nobody looks from below."""
CUBE_FACES = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * side for side in range(5)]).astype(np.uint32)


class PageScene:
    """Robots, ground, arrows for commanded (green) and actual (blue) velocity; the ground moves, the camera stays.

    Attributes:
        follows: whether the world moves so that the robot in focus stays in the middle.
    """

    def __init__(self, env: LeggedRobot, server: ViserServer, labels: tuple[str, ...] = ()) -> None:
        """Send what does not change to `server`; `labels` stand above the first robots."""
        self.follows = True
        self._env, self._server = env, server
        self._count = min(env.num_envs, MAX_ROBOTS)
        self._model = load_robot(env.cfg.asset.file).compile()
        self._data = mujoco.MjData(self._model)
        self._joints = np.array([self._model.joint(name).qposadr[0] for name in env.sim.joint_names])
        option = mujoco.MjvOption()
        show_groups(self._model, option)
        self._robots = ViserMujocoScene(server, self._model, num_envs=self._count)
        self._robots.camera_tracking_enabled = False
        self._robots.geom_groups_visible = [bool(shown) for shown in option.geomgroup]
        self._robots.site_groups_visible = [False] * 6
        self._robots.rebuild_visual_handles()
        for group in self._robots._mesh_groups:
            group.handle.receive_shadow = False  # of its own limbs: at this scale they are stripes
        self._ground = Ground(server, None if env.terrain.is_flat else env.terrain.map)
        self._offset = np.full(3, np.inf)
        empty = np.zeros((self._count, 2, 3), dtype=np.float32)
        self._arrows = [
            server.scene.add_arrows(
                f"/{name}", empty, _bytes(rgba), shaft_radius=0.012, head_radius=0.03, head_length=0.06
            )
            for name, rgba in (("command", COMMAND_RGBA), ("actual", ACTUAL_RGBA))
        ]
        self._labels = [
            server.scene.add_label(f"/label_{robot}", text, anchor="bottom-center") for robot, text in enumerate(labels)
        ]
        self._set_camera()
        server.scene.set_background_image(np.full((2, 2, 3), SKY, dtype=np.uint8))

    def _set_camera(self) -> None:
        """Where pages look from when they open: the same side as in the window."""
        viewer, camera = self._env.cfg.viewer, self._server.initial_camera
        azimuth, elevation = np.deg2rad(viewer.azimuth), np.deg2rad(viewer.elevation)
        flat = np.cos(elevation)
        way = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
        self._eye = -CAMERA_DISTANCE * viewer.distance * way
        camera.position = tuple(self._eye)
        camera.look_at = (0.0, 0.0, 0.0)
        camera.fov = float(np.deg2rad(45.0))
        camera.near, camera.far = 0.05, 200.0
        self._server.on_client_connect(self._make_room)

    def _make_room(self, client: ClientHandle) -> None:
        """Show the robot in the upper part of a phone, whose lower part the controls cover."""
        camera = client.camera
        seen_before = not np.allclose(camera.look_at, 0.0, atol=0.01)  # it lost the connection for a while
        if camera.image_height > camera.image_width and not seen_before:
            eye = TALL_DISTANCE * self._eye
            camera.position = tuple(eye)
            camera.look_at = (0.0, 0.0, -TALL_DROP * float(np.linalg.norm(eye)))

    def update(self, focus: int, seconds: float) -> None:
        """Show the environment as it is now.

        Args:
            focus: robot that stays in the middle.
            seconds: since the last call, for the smooth part of following.
        """
        positions, matrices = self._poses()
        base = self._env.sim.root_pos[: self._count].cpu().numpy().astype(float)
        self._follow(base[min(focus, self._count - 1)], seconds)
        with self._server.atomic():
            self._ground.update(base, self._offset)
            self._robots.update_from_arrays(positions + self._offset, matrices)
            self._place_arrows(base + self._offset)
            for label, position in zip(self._labels, base + self._offset):
                label.position = (*position[:2], position[2] + LABEL_HEIGHT)

    def _poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (robots, bodies, 3) and rotations (robots, bodies, 3, 3) of all bodies; nothing is simulated."""
        sim, data = self._env.sim, self._data
        roots = np.concatenate((sim.root_pos[: self._count].cpu(), sim.root_quat[: self._count].cpu()), axis=1)
        joints = sim.dof_pos[: self._count].cpu().numpy()
        positions = np.empty((self._count, self._model.nbody, 3))
        matrices = np.empty((self._count, self._model.nbody, 3, 3))
        for robot in range(self._count):
            data.qpos[:7], data.qpos[self._joints] = roots[robot], joints[robot]
            mujoco.mj_kinematics(self._model, data)
            positions[robot], matrices[robot] = data.xpos, data.xmat.reshape(-1, 3, 3)
        return positions, matrices

    def _follow(self, base: np.ndarray, seconds: float) -> None:
        """Move the origin of the page after the robot, as the camera of videos does."""
        way = -base - self._offset
        if not np.isfinite(way).all() or (self.follows and np.linalg.norm(way) > JUMP):
            self._offset = -base
        elif self.follows:
            # Sideways at once, or robot and ground would swim; steps and the bobbing of the gait are smoothed.
            self._offset += way * [1.0, 1.0, 1.0 - float(np.exp(-seconds / FOLLOW_TIME))]

    def _place_arrows(self, bases: np.ndarray) -> None:
        env, count = self._env, self._count
        yaw = yaw_of(env.sim.root_quat[:count]).cpu().numpy()
        cos, sin = np.cos(yaw), np.sin(yaw)
        velocities = (env.commands, env.base_lin_vel)
        for arrows, velocity, lift in zip(self._arrows, velocities, (ARROW_LIFT, 0.0)):
            x, y = ARROW_SCALE * velocity[:count, :2].cpu().numpy().T
            start = bases + np.array([0.0, 0.0, ARROW_HEIGHT + lift])
            way = np.stack((cos * x - sin * y, sin * x + cos * y, np.zeros_like(x)), axis=1)
            way[np.linalg.norm(way, axis=1) < 0.05 * ARROW_SCALE] = 0.0  # too small to see
            arrows.points = np.stack((start, start + way), axis=1).astype(np.float32)


class Ground:
    """The ground on the page: a grid on a plane, or boxes and height fields of a map."""

    def __init__(self, server: ViserServer, ground: TerrainMap | None) -> None:
        """Send the plane or all boxes; height fields are large and follow when a robot comes near."""
        self._server = server
        self._frame = server.scene.add_frame("/ground", show_axes=False)
        self._fields: list[Field | None] = []
        if ground is None:
            server.scene.add_grid(
                "/ground/plane", infinite_grid=True, fade_distance=40.0, plane_opacity=1.0, shadow_opacity=0.25, **GRID
            )
            return
        low, high = ground.boxes[:, :3], ground.boxes[:, 3:]
        self._fields = list(ground.fields)
        heights = [field.heights for field in ground.fields]
        self._lowest = min([high[:, 2].min(), *(part.min() for part in heights)])
        self._highest = max([high[:, 2].max(), *(part.max() for part in heights)])
        server.scene.add_batched_meshes_simple(
            "/ground/boxes",
            CUBE,
            CUBE_FACES,
            batched_wxyzs=np.tile(np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32), (len(low), 1)),
            batched_positions=((low + high) / 2).astype(np.float32),
            batched_scales=((high - low) / 2).astype(np.float32),
            batched_colors=self.colours(high[:, 2], np.arange(len(low))),
            lod="off",
            flat_shading=True,
            cast_shadow=False,
        )

    def colours(self, tops: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Colours (M, 3) uint8 of ground at heights `tops` (M,) m: higher is lighter, alternating with `indices`."""
        span = max(self._highest - self._lowest, 1e-6)
        share = (tops - self._lowest) / span + np.where(indices % 2, BAND, 0.0)
        return np.clip(LOW_RGB + share[:, None] * (HIGH_RGB - LOW_RGB), 0, 255).astype(np.uint8)

    def update(self, bases: np.ndarray, offset: np.ndarray) -> None:
        """Move the ground by `offset` (3,) m and send the height fields near robots at `bases` (N, 3) m."""
        self._frame.position = tuple(offset)
        for index, field in enumerate(self._fields):
            if field is None:
                continue
            beyond = np.abs(bases[:, :2] - field.centre) - field.half
            if beyond.max(axis=1).min() > SIGHT:
                continue
            self._fields[index] = None  # sent
            vertices, faces = surface(field)
            colour = self.colours(field.heights.mean(keepdims=True).reshape(1), np.zeros(1, dtype=int))[0]
            self._server.scene.add_mesh_simple(
                f"/ground/field_{index}",
                vertices,
                faces,
                color=tuple(colour.tolist()),
                flat_shading=True,
                side="double",
                cast_shadow=False,
            )


def surface(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float32 [m] and triangles (F, 3) of a height field, counter-clockwise seen from above."""
    nx, ny = field.heights.shape
    x = field.centre[0] + np.linspace(-field.half[0], field.half[0], nx)
    y = field.centre[1] + np.linspace(-field.half[1], field.half[1], ny)
    vertices = np.stack((*np.meshgrid(x, y, indexing="ij"), field.heights), axis=-1).reshape(-1, 3)
    corner = (np.arange(nx - 1)[:, None] * ny + np.arange(ny - 1)).reshape(-1)
    # Cells are split from corner (0, 0) to (1, 1), as MuJoCo splits them.
    right = np.stack((corner, corner + ny, corner + ny + 1), axis=1)
    left = np.stack((corner, corner + ny + 1, corner + 1), axis=1)
    return vertices.astype(np.float32), np.concatenate((right, left)).astype(np.uint32)


def _bytes(rgba: tuple[float, ...]) -> tuple[int, int, int]:
    """A colour in 0..1 as RGB bytes."""
    red, green, blue = (round(255 * part) for part in rgba[:3])
    return red, green, blue
