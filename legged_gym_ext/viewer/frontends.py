"""The three ways to watch a `Player`: a window, files, a page in a browser."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from legged_gym_ext.simulators import make_view
from legged_gym_ext.viewer.controls import keys_help
from legged_gym_ext.viewer.overlay import PLOTS, Telemetry, draw_overlay
from legged_gym_ext.viewer.player import PLOT_SECONDS, Command, Player, command_bounds, describe_command

if TYPE_CHECKING:
    from viser import ViserServer

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.viewer.watch import Follower

FPS = 25  # of videos, at most
PANELS = 6  # of strips
PLOT_EVERY = 5  # control steps between two updates of the plots in the window
MAX_LAG = 0.5  # s behind real time that is caught up
PAGE_FPS = 30
IDLE_INTERVAL = 0.2  # s between two looks for a browser while a training is followed
SCRIPT = ((0.30, (0.8, 0.0, 0.0)), (0.20, (0.0, 0.8, 0.0)), (0.30, (0.4, 0.0, 0.8)), (0.20, (0.0, 0.0, 0.0)))
"""Commands of a video: share of its length, and the command as shares of the upper bounds of commands.ranges."""


def scripted_command(env: LeggedRobot, share: float) -> Command:
    """The command of `SCRIPT` after the `share` (0..1) of a video."""
    chosen = SCRIPT[-1][1]
    for length, shares in SCRIPT:
        if share < length:
            chosen = shares
            break
        share -= length
    vx, vy, yaw = (part * bounds[1] for part, bounds in zip(chosen, command_bounds(env)))
    return vx, vy, yaw


def plot_bounds(env: LeggedRobot) -> list[float]:
    """Largest value on the axes of vx, vy and yaw rate: 1.5 times the largest command."""
    return [1.5 * max(abs(low), abs(high), 0.1) for low, high in command_bounds(env)]


class FrameRenderer:
    """Renders frames of a player off-screen: one robot, or the two of "both" side by side.

    Attributes:
        render_time: of the last frame [s].
    """

    def __init__(self, player: Player, width: int, *, draft: bool = False) -> None:
        """Frames of `width` px with an aspect ratio of 16:9; `draft`: see `make_view`."""
        self.player, self.render_time = player, 0.0
        robots = (0, 1) if player.agent.kind == "both" else (0,)
        height = round(width * 9 / 16 / 2) * 2
        self._views: list[Any] = []
        for robot in robots:
            options = {"width": width // len(robots), "height": height, "alone": len(robots) > 1, "draft": draft}
            self._views.append(make_view(player.env, window=False, robot=robot, **options))

    def follow(self, seconds: float) -> None:
        """Move the cameras with their robots; `seconds`: simulated time since the last call."""
        for view in self._views:
            view.follow(seconds)

    def turn(self, azimuth: float, elevation: float, zoom: float) -> None:
        """Rotate the cameras by `azimuth` and `elevation` [deg] and scale their distance by `zoom`."""
        for view in self._views:
            view.turn(azimuth, elevation, zoom)

    def drop_shadows(self) -> None:
        """Render without shadows from now on."""
        for view in self._views:
            view.shadows = False

    def render(self) -> np.ndarray:
        """The current frame (height, width, 3) uint8, without text."""
        start = time.perf_counter()
        frames = [view.render() for view in self._views]
        self.render_time = time.perf_counter() - start
        return np.concatenate(frames, axis=1)

    def annotate(self, frame: np.ndarray) -> np.ndarray:
        """A frame of `render` with the current text and plots."""
        parts = np.split(frame, len(self._views), axis=1)
        overlaid = [draw_overlay(part, self._telemetry(robot)) for robot, part in enumerate(parts)]
        return np.concatenate(overlaid, axis=1)

    def _telemetry(self, robot: int) -> Telemetry:
        player = self.player
        return Telemetry(
            title=f"{player.agent.label(robot)} on {player.ground(robot)}",
            velocities=player.velocities(robot),
            colours=self._views[0].colours,
            tracking=player.tracking(robot),
            length=round(PLOT_SECONDS / player.env.dt),
            seconds=PLOT_SECONDS,
            bounds=plot_bounds(player.env),
            contacts=player.contacts(robot),
        )

    def close(self) -> None:
        """Free the resources of rendering."""
        for view in self._views:
            view.close()


def record(
    player: Player, video: Path | None, strip: Path | None, seconds: float, width: int, command: Command | None
) -> None:
    """Write a video, a strip or both.

    Args:
        player: the robots.
        video: file; None: no video.
        strip: file for `PANELS` frames side by side; None: no strip.
        seconds: length.
        width: of the frames [px].
        command: held all the time; None: the commands of `SCRIPT`.
    """
    from legged_gym_ext.viewer.video import video_file, write_strip

    env = player.env
    every = max(1, round(1.0 / (FPS * env.dt)))
    fps = 1.0 / (every * env.dt)
    frames = max(1, round(seconds * fps))
    wanted = {int((panel + 0.5) / PANELS * frames) for panel in range(PANELS)} if strip else set()
    panels = []
    print(f"recording {frames / fps:.1f} s, {frames} frames")
    with contextlib.ExitStack() as stack:
        renderer = FrameRenderer(player, width)
        stack.callback(renderer.close)
        append = stack.enter_context(video_file(video, fps)) if video else None
        for index in range(frames):
            player.set_command(command or scripted_command(env, (index + 0.5) / frames))
            for _ in range(every):
                player.step()
            renderer.follow(1.0 / fps)
            if append is None and index not in wanted:
                continue
            frame = renderer.render()
            if index in wanted:
                panels.append((frame, describe_command(player.command)))
            if append is not None:
                append(renderer.annotate(frame))
        if strip:
            write_strip(strip, panels)
    for path in filter(None, (video, strip)):
        print(f"wrote {path}")


class _RealTimeClock:
    """Counts the control steps that are due in real time."""

    def __init__(self, dt: float) -> None:
        self._dt, self._due = dt, time.perf_counter()

    def wait_steps(self) -> int:
        """Number of steps that are due, at least 1; sleeps until the first one is."""
        now = time.perf_counter()
        self._due = max(self._due, now - MAX_LAG)
        if self._due > now:
            time.sleep(self._due - now)
        count = max(1, int((time.perf_counter() - self._due) / self._dt))
        self._due += count * self._dt
        return count


def play_window(player: Player, command: Command) -> None:
    """Play in real time until the window is closed."""
    env, agent = player.env, player.agent
    player.set_command(command)
    view = make_view(env, window=True, on_key=player.press)
    print(f"{keys_help()}\nclose the window to end; letters and 0 to 5 are the viewer's own, F1 shows them")
    clock, plotted = _RealTimeClock(env.dt), 0
    titles = [f"{name} [{unit}]" for name, unit in PLOTS]
    try:
        while view.is_running():
            count = clock.wait_steps()
            player.process_requests()
            for _ in range(0 if player.paused else count):
                player.step()
            label = agent.label() + (", paused" if player.paused else "")
            view.show([("who", label), ("ground", player.ground()), *zip(("command", "actual"), player.velocities())])
            if player.steps >= plotted + PLOT_EVERY:
                plotted = player.steps
                view.plot(titles, plot_bounds(env), env.dt, player.tracking())
    finally:
        view.close()


def play_page(player: Player, server: ViserServer, command: Command, follower: Follower | None = None) -> None:
    """Play in real time on a page in a browser until Ctrl-C; the page is updated only while a browser has it open.

    Args:
        player: the robots.
        server: of viser, empty.
        command: the first command.
        follower: loads newer policies; with it the robots wait, too, while no browser has the page open.
    """
    from legged_gym_ext.viewer.page import Page
    from legged_gym_ext.viewer.web import page_url

    player.set_command(command)
    page, clock, shown = Page(server, player), _RealTimeClock(player.env.dt), 0.0
    print(
        f"open {page_url(server.get_host(), server.get_port())} in a browser; I walks, K J L and sliders steer; "
        "Ctrl-C ends",
        flush=True,
    )
    try:
        while True:
            count, watched = clock.wait_steps(), page.is_watched()
            player.process_requests()
            if follower is not None:
                follower.check(page)
                if not watched:
                    time.sleep(IDLE_INTERVAL)
                    continue
            for _ in range(0 if player.paused else count):
                player.step()
            if watched and time.perf_counter() - shown > 1.0 / PAGE_FPS:
                shown = time.perf_counter()
                page.update()
    except KeyboardInterrupt:
        print("stopped")
