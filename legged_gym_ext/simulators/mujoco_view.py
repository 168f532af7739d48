"""Pictures of the robots with MuJoCo: off-screen frames for videos, and an interactive window.

The view has a model of its own, with the geoms that only look like something, and reads poses through the `Simulator`
protocol; so it does not matter which engine steps the physics, and looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from legged_gym_ext.simulators.mujoco_dress import ACTUAL_RGBA, ARROW_HEIGHT, COMMAND_RGBA, add_arrow, dress
from legged_gym_ext.simulators.mujoco_gl import check_glfw
from legged_gym_ext.simulators.mujoco_model import add_ground, load_robot
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.math import yaw_of

SIGHT = 12.0  # m of ground drawn around robot 0
HIDDEN = 5  # group of geoms that are not drawn
MAX_ROBOTS = 50  # drawn; more would overflow the scene's list of geoms
FOLLOW_TIME = 0.25  # s, the camera smooths the robot's motion with this time constant
JUMP = 1.0  # m, a larger move between two frames is a reset: the camera jumps along
NAMED_KEYS = {262: "right", 263: "left", 264: "down", 265: "up", 257: "enter", 335: "enter"}
"""GLFW key codes -> names; other keys are reported as their character."""


def build_scene(cfg: Any, terrain: Any) -> mujoco.MjModel:
    """Robot and ground of `cfg` (a `LeggedRobotCfg`) with sky, floor pattern and lights; it is never stepped."""
    spec = load_robot(cfg.asset.file)
    add_ground(spec, terrain)
    dress(spec, cfg.asset.base_name, np.deg2rad(cfg.viewer.azimuth))
    return spec.compile()


class _Scene:
    """The robots of an environment as MuJoCo draws them, with arrows for commanded (green) and actual (blue) velocity.

    Attributes:
        colours: RGBA in 0..1 of the commanded and the actual velocity, for captions.
    """

    colours = (COMMAND_RGBA, ACTUAL_RGBA)

    def __init__(self, env: Any) -> None:
        """Build the scene of `env` (a `LeggedRobot`)."""
        self.env = env
        self.model = build_scene(env.cfg, env.terrain)
        self.data, self._other = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._joints = np.array([self.model.joint(name).qposadr[0] for name in env.sim.joint_names])
        self.base_id = self.model.body(env.cfg.asset.base_name).id
        self._ground = np.flatnonzero(
            (self.model.geom_bodyid == 0) & (self.model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        )
        self.option = mujoco.MjvOption()
        self._show_groups(self.option)

    def _show_groups(self, option: mujoco.MjvOption) -> None:
        """Hide collision shapes (group 3 and up), unless the robot consists of nothing else."""
        robot = self.model.geom_group[self.model.geom_bodyid > 0]
        option.geomgroup[:] = [1, 1, 1, int(bool(np.all(robot > 2))), 0, 0]

    def _pose(self, data: mujoco.MjData, robot: int) -> None:
        """Put `data` into the pose of one robot; nothing is simulated."""
        sim = self.env.sim
        data.qpos[0:3] = sim.root_pos[robot].cpu().numpy()
        data.qpos[3:7] = sim.root_quat[robot].cpu().numpy()
        data.qpos[self._joints] = sim.dof_pos[robot].cpu().numpy()
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def _hide_far_ground(self) -> None:
        """Of the thousands of boxes of a map draw only those around robot 0."""
        middle, half = self.model.geom_pos[self._ground, :2], self.model.geom_size[self._ground, :2]
        way = np.abs(middle - self.env.sim.root_pos[0, :2].cpu().numpy()) - half
        self.model.geom_group[self._ground] = np.where(way.max(axis=1) < SIGHT, 0, HIDDEN)

    def _add_rest(self, scene: mujoco.MjvScene) -> None:
        """Add the other robots and the arrows to a scene that has robot 0."""
        moving, nothing = int(mujoco.mjtCatBit.mjCAT_DYNAMIC), mujoco.MjvPerturb()
        for robot in range(1, min(self.env.num_envs, MAX_ROBOTS)):
            self._pose(self._other, robot)
            mujoco.mjv_addGeoms(self.model, self._other, self.option, nothing, moving, scene)
        base = self.env.sim.root_pos[0].cpu().numpy() + np.array([0.0, 0.0, ARROW_HEIGHT])
        yaw = float(yaw_of(self.env.sim.root_quat[:1]))
        velocities = (self.env.commands, self.env.base_lin_vel)
        for velocity, rgba, lift in zip(velocities, self.colours, (0.03, 0.0)):
            add_arrow(scene, base + np.array([0.0, 0.0, lift]), yaw, velocity[0, :2].cpu().numpy(), rgba)


class VideoView(_Scene):
    """Draws frames off-screen with a camera that follows robot 0."""

    def __init__(self, env: Any, width: int = 1280, height: int = 720, fps: float = 25.0) -> None:
        """`fps` is how often `follow` will be called per simulated second."""
        super().__init__(env)
        self._renderer = mujoco.Renderer(self.model, height, width)
        viewer = env.cfg.viewer
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = (
            viewer.distance,
            viewer.azimuth,
            viewer.elevation,
        )
        self._camera.lookat[:] = self._target()
        self._pull = 1.0 - float(np.exp(-1.0 / (fps * FOLLOW_TIME)))

    def _target(self) -> np.ndarray:
        # A hand's breadth below the base, so that robot and arrows are in the middle of the picture.
        return self.env.sim.root_pos[0].cpu().numpy().astype(float) - np.array([0.0, 0.0, 0.04])

    def follow(self) -> None:
        """Move the camera on by one frame, drawn or not."""
        way = self._target() - self._camera.lookat
        self._camera.lookat[:] += way if np.linalg.norm(way) > JUMP else self._pull * way

    def render(self) -> np.ndarray:
        """The environment as it is now, (height, width, 3) uint8 RGB."""
        self._pose(self.data, 0)
        self._hide_far_ground()
        self._renderer.update_scene(self.data, self._camera, self.option)
        self._add_rest(self._renderer.scene)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the graphics context; left to the garbage collector it complains at exit."""
        self._renderer.close()


class WindowView(_Scene):
    """An interactive window; the mouse turns the camera, which tracks robot 0."""

    def __init__(self, env: Any, on_key: Callable[[str], None]) -> None:
        """Open the window.

        Args:
            env: a `LeggedRobot`.
            on_key: called with "up", "down", "left", "right", "enter" or a character, from the window's thread.

        Raises:
            UserError: no window can be opened here.
        """
        super().__init__(env)
        check_glfw()
        import mujoco.viewer

        try:
            self._handle = mujoco.viewer.launch_passive(
                self.model,
                self.data,
                key_callback=lambda code: on_key(NAMED_KEYS.get(code, chr(code))),
                show_left_ui=False,
                show_right_ui=False,
            )
        except RuntimeError as error:  # macOS: windows belong to the main thread, which only mjpython gives away
            raise UserError(
                f"the viewer did not start: {error}; on macOS start play.py with `mjpython` instead of `python`"
            ) from error
        camera, viewer = self._handle.cam, env.cfg.viewer
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, self.base_id
        camera.distance, camera.azimuth, camera.elevation = viewer.distance, viewer.azimuth, viewer.elevation
        self._show_groups(self._handle.opt)

    def is_running(self) -> bool:
        """Whether the window is still open."""
        return self._handle.is_running()

    def show(self, rows: list[tuple[str, str]]) -> None:
        """Show the environment as it is now, with `rows` of label and value in a corner."""
        with self._handle.lock():
            self._pose(self.data, 0)
            self._hide_far_ground()
            scene: Any = self._handle.user_scn
            scene.ngeom = 0
            self._add_rest(scene)
        labels, values = ("\n".join(column) for column in zip(*rows))
        self._handle.set_texts((None, None, labels, values))
        self._handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()
