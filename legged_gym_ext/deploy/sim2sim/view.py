"""Pictures of a `PlainRobot`: off-screen frames for videos, and an interactive window.

The model that is drawn is the one that is stepped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from legged_gym_ext.deploy.sim2sim.robot import PlainRobot
from legged_gym_ext.simulators.mujoco.gl import check_glfw
from legged_gym_ext.simulators.mujoco.visuals import (
    ACTUAL_RGBA,
    ARROW_HEIGHT,
    COMMAND_RGBA,
    NAMED_KEYS,
    add_arrow,
    add_visuals,
    follow,
    hide_far_ground,
    show_groups,
)
from legged_gym_ext.utils.errors import UserError

COLOURS = (COMMAND_RGBA, ACTUAL_RGBA)
DISTANCE, AZIMUTH, ELEVATION = 1.8, 135.0, -18.0  # m, degrees, degrees; `viewer` of the tasks


def add_plain_visuals(spec: mujoco.MjSpec, base_name: str) -> None:
    """`PlainRobot(add_visuals=...)` for our own ground."""
    add_visuals(spec, base_name, np.deg2rad(AZIMUTH))


def allow_large_frames(spec: mujoco.MjSpec, base_name: str) -> None:
    """`PlainRobot(add_visuals=...)` for a file with its own ground and looks: only room for large frames."""
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 3840, 2160


class _Drawing:
    """What frames and window share."""

    def __init__(self, robot: PlainRobot) -> None:
        self.robot = robot
        self.option = mujoco.MjvOption()
        show_groups(robot.model, self.option)
        model = robot.model
        fixed = (model.geom_bodyid == 0) & (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        self._ground = np.flatnonzero(fixed & (model.geom_group == 0))

    def _hide_far_ground(self) -> None:
        hide_far_ground(self.robot.model, self._ground, self.robot.position[:2])

    def _add_arrows(self, scene: mujoco.MjvScene, command: tuple[float, float, float]) -> None:
        """Commanded and actual velocity over the robot."""
        w, x, y, z = self.robot.read().quat
        yaw = float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
        base = self.robot.position + np.array([0.0, 0.0, ARROW_HEIGHT])
        for velocity, rgba, lift in zip((np.array(command), self.robot.lin_vel), COLOURS, (0.03, 0.0)):
            add_arrow(scene, base + np.array([0.0, 0.0, lift]), yaw, velocity[:2], rgba)


class PlainVideo(_Drawing):
    """Draws frames off-screen with a camera that follows the robot."""

    def __init__(self, robot: PlainRobot, fps: float, width: int = 1280, height: int = 720) -> None:
        """`fps` is how often `frame` will be called per simulated second."""
        super().__init__(robot)
        self._renderer = mujoco.Renderer(robot.model, height, width)
        self._data = mujoco.MjData(robot.model)
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = DISTANCE, AZIMUTH, ELEVATION
        self._period = 1.0 / fps
        follow(self._camera, robot.position, np.inf)

    def frame(self, command: tuple[float, float, float]) -> np.ndarray:
        """The robot as it is now, (height, width, 3) uint8 RGB."""
        follow(self._camera, self.robot.position, self._period)
        # On a copy, because poses follow from the state one physics step later and looking must change nothing.
        self._data.qpos[:] = self.robot.data.qpos
        mujoco.mj_kinematics(self.robot.model, self._data)
        mujoco.mj_comPos(self.robot.model, self._data)
        mujoco.mj_camlight(self.robot.model, self._data)
        self._hide_far_ground()
        self._renderer.update_scene(self._data, self._camera, self.option)
        self._add_arrows(self._renderer.scene, command)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the graphics context; left to the garbage collector it complains at exit."""
        self._renderer.close()


class PlainWindow(_Drawing):
    """An interactive window; the mouse turns the camera, which tracks the robot."""

    def __init__(self, robot: PlainRobot, on_key: Callable[[str], None]) -> None:
        """Open the window.

        Args:
            robot: to show.
            on_key: called with "up", "down", "left", "right", "enter" or a character, from the window's thread.

        Raises:
            UserError: no window can be opened here.
        """
        super().__init__(robot)
        check_glfw()
        import mujoco.viewer

        def pressed(code: int) -> None:
            on_key(NAMED_KEYS.get(code, chr(code)))

        try:
            self._handle: Any = mujoco.viewer.launch_passive(
                robot.model, robot.data, key_callback=pressed, show_left_ui=False, show_right_ui=False
            )
        except RuntimeError as error:  # macOS: windows belong to the main thread, which only mjpython gives away
            raise UserError(
                f"the viewer did not start: {error}; on macOS start sim2sim.py with `mjpython` instead of `python`"
            ) from error
        camera = self._handle.cam
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, robot.base_id
        camera.distance, camera.azimuth, camera.elevation = DISTANCE, AZIMUTH, ELEVATION
        show_groups(robot.model, self._handle.opt)

    def is_running(self) -> bool:
        """Whether the window is still open."""
        return self._handle.is_running()

    def show(self, command: tuple[float, float, float], rows: list[tuple[str, str]]) -> None:
        """Show the robot as it is now, with `rows` of label and value in a corner."""
        with self._handle.lock():
            self._hide_far_ground()
            self._handle.user_scn.ngeom = 0
            self._add_arrows(self._handle.user_scn, command)
        labels, values = ("\n".join(column) for column in zip(*rows))
        self._handle.set_texts((None, None, labels, values))
        self._handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()
