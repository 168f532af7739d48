"""Pictures of the robots with MuJoCo: off-screen frames for videos and pages, and an interactive window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from legged_gym_ext.simulators.mujoco.gl import check_glfw
from legged_gym_ext.simulators.mujoco.scene import Scene
from legged_gym_ext.simulators.mujoco.visuals import ACTUAL_RGBA, COMMAND_RGBA, NAMED_KEYS, follow, show_groups
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

CLOSEST, FARTHEST, STEEPEST = 0.4, 15.0, 89.0  # m, m, degrees: how the camera can be moved
CURVE_POINTS = 250  # of a curve in the window


class VideoView(Scene):
    """Draws frames off-screen with a camera that follows one robot.

    Attributes:
        shadows: whether there are any; without them drawing takes half the time or less.
    """

    def __init__(
        self,
        env: LeggedRobot,
        width: int = 1280,
        height: int = 720,
        robot: int = 0,
        *,
        alone: bool = False,
        draft: bool = False,
    ) -> None:
        """See `Scene` for `robot`, `alone` and `draft`; `width` and `height` are of the frames [px]."""
        super().__init__(env, robot, alone=alone, draft=draft)
        self.shadows = True
        try:
            self._renderer = mujoco.Renderer(self.model, height, width)
        except mujoco.FatalError as error:  # its library is chosen at import, in this process perhaps before `gl` chose
            raise UserError(
                f"MuJoCo cannot draw in this process ({error}); set MUJOCO_GL=egl or osmesa before Python starts"
            ) from error
        viewer = env.cfg.viewer
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = (
            viewer.distance,
            viewer.azimuth,
            viewer.elevation,
        )
        self.follow(np.inf)

    def follow(self, seconds: float) -> None:
        """Move the camera after the robot, `seconds` after the last time."""
        follow(self._camera, self.env.sim.root_pos[self.robot].cpu().numpy().astype(float), seconds)

    def turn(self, azimuth: float, elevation: float, zoom: float) -> None:
        """Move the camera around the robot: degrees to the side, degrees up or down, factor on the distance."""
        camera = self._camera
        camera.azimuth = (camera.azimuth + azimuth) % 360.0
        camera.elevation = float(np.clip(camera.elevation + elevation, -STEEPEST, STEEPEST))
        camera.distance = float(np.clip(camera.distance * zoom, CLOSEST, FARTHEST))

    def render(self) -> np.ndarray:
        """The environment as it is now, (height, width, 3) uint8 RGB."""
        self.update()
        self._renderer.update_scene(self.data, self._camera, self.option)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self.shadows
        self.add_rest(self._renderer.scene)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the graphics context; left to the garbage collector it complains at exit."""
        self._renderer.close()


class WindowView(Scene):
    """An interactive window; the mouse turns the camera, which tracks robot 0."""

    def __init__(self, env: LeggedRobot, on_key: Callable[[str], None]) -> None:
        """Open the window.

        Args:
            env: a `LeggedRobot`.
            on_key: called with a name of `NAMED_KEYS` or a character, from the window's thread.

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
        show_groups(self.model, self._handle.opt)
        self._figures: list[mujoco.MjvFigure] = []

    def is_running(self) -> bool:
        """Whether the window is still open."""
        return self._handle.is_running()

    def show(self, rows: list[tuple[str, str]]) -> None:
        """Show the environment as it is now, with `rows` of label and value in a corner."""
        with self._handle.lock():
            self.update()
            scene: Any = self._handle.user_scn
            scene.ngeom = 0
            self.add_rest(scene)
        labels, values = ("\n".join(column) for column in zip(*rows))
        self._handle.set_texts((None, None, labels, values))
        self._handle.sync()

    def plot(self, titles: Sequence[str], bounds: Sequence[float], dt: float, samples: np.ndarray) -> None:
        """Draw commanded and actual values over time along the right edge.

        Args:
            titles: of the K plots, first at the top.
            bounds: of each the largest value on its axis; the smallest is its negative.
            dt: time between samples [s].
            samples: (T, 2 K) commanded values, then actual ones, newest last.
        """
        if not self._figures:
            self._figures = [_figure(title, bound) for title, bound in zip(titles, bounds)]
            self._figures[-1].flg_ticklabel[0] = 1  # one axis of time serves all
        viewport = self._handle.viewport
        if viewport is None or len(samples) < 2:
            return
        keep = np.unique(np.linspace(0, len(samples) - 1, min(CURVE_POINTS, len(samples))).astype(int))
        times = (keep - (len(samples) - 1)) * dt
        count, placed = len(self._figures), []
        width, height = viewport.width * 3 // 10, viewport.height // 5
        for index, figure in enumerate(self._figures):
            for line, column in enumerate((index, count + index)):
                figure.linedata[line, : 2 * len(keep)] = np.stack((times, samples[keep, column]), axis=1).ravel()
                figure.linepnt[line] = len(keep)
            bottom = viewport.bottom + viewport.height - (index + 1) * height
            left = viewport.left + viewport.width - width
            placed.append((mujoco.MjrRect(left, bottom, width, height), figure))
        self._handle.set_figures(placed)

    def close(self) -> None:
        """Close the window."""
        self._handle.close()


def _figure(title: str, bound: float) -> mujoco.MjvFigure:
    """An empty plot with two curves: commanded and actual."""
    figure = mujoco.MjvFigure()
    mujoco.mjv_defaultFigure(figure)
    figure.title, figure.flg_extend, figure.flg_legend = title, 1, 0
    figure.flg_ticklabel[:] = (0, 1)
    figure.figurergba[:] = (0.1, 0.13, 0.16, 0.6)
    figure.gridsize[:], figure.linewidth = (3, 3), 2.0
    figure.range[0], figure.range[1] = (-10.0, 0.0), (-bound, bound)
    figure.xformat, figure.yformat = "%.0f", "%.2g"
    for line, colour in enumerate((COMMAND_RGBA, ACTUAL_RGBA)):
        figure.linergb[line] = colour[:3]
    return figure
