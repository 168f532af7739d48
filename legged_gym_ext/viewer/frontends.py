"""The three ways to watch a `Player`: a window, files, a page in a browser."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.simulators import make_view
from legged_gym_ext.viewer.controls import keys_help
from legged_gym_ext.viewer.overlay import PLOTS, Telemetry, draw_overlay
from legged_gym_ext.viewer.player import REMEMBERED, Command, Player, command_bounds, describe_command

FPS = 25  # of videos, at most
PANELS = 6  # of strips
PLOT_EVERY = 5  # control steps between two updates of the plots in the window
LAG = 0.5  # s that a show may be behind before it gives up catching up
SLOW = 0.08  # s per picture, more than this and the page goes without shadows
SCRIPT = ((0.30, (0.8, 0.0, 0.0)), (0.20, (0.0, 0.8, 0.0)), (0.30, (0.4, 0.0, 0.8)), (0.20, (0.0, 0.0, 0.0)))
"""What a video shows: share of its length, and the command as shares of the upper bounds of commands.ranges."""


def scripted(env: Any, share: float) -> Command:
    """The command of `SCRIPT` when `share` (0..1) of the video is over."""
    chosen = SCRIPT[-1][1]
    for length, shares in SCRIPT:
        if share < length:
            chosen = shares
            break
        share -= length
    vx, vy, yaw = (part * bounds[1] for part, bounds in zip(chosen, command_bounds(env)))
    return vx, vy, yaw


def plot_bounds(env: Any) -> list[float]:
    """Largest value on the axes of vx, vy and yaw rate: half as much again as the largest command."""
    return [1.5 * max(abs(low), abs(high), 0.1) for low, high in command_bounds(env)]


class Pictures:
    """Off-screen frames of a player: one robot, or the pair of "both" side by side.

    Attributes:
        drawing: seconds that the last frame took.
    """

    def __init__(self, player: Player, width: int, *, draft: bool = False) -> None:
        """Frames of `width` px with an aspect of 16:9; `draft` as in `simulators.mujoco_scene`."""
        self.player, self.drawing = player, 0.0
        robots = (0, 1) if player.agent.kind == "both" else (0,)
        height = round(width * 9 / 16 / 2) * 2
        self._views: list[Any] = []
        for robot in robots:
            options = {"width": width // len(robots), "height": height, "alone": len(robots) > 1, "draft": draft}
            self._views.append(make_view(player.env, window=False, robot=robot, **options))

    def follow(self, seconds: float) -> None:
        """Move the cameras after their robots, `seconds` of simulated time after the last time."""
        for view in self._views:
            view.follow(seconds)

    def turn(self, azimuth: float, elevation: float, zoom: float) -> None:
        """Move the cameras: degrees to the side, degrees up or down, factor on the distance."""
        for view in self._views:
            view.turn(azimuth, elevation, zoom)

    def drop_shadows(self) -> None:
        """Draw without shadows from now on."""
        for view in self._views:
            view.shadows = False

    def draw(self) -> np.ndarray:
        """The frame as it is now, without text."""
        start = time.perf_counter()
        frames = [view.render() for view in self._views]
        self.drawing = time.perf_counter() - start
        return np.concatenate(frames, axis=1)

    def annotate(self, frame: np.ndarray) -> np.ndarray:
        """A frame of `draw` with text and plots of now."""
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
            length=round(REMEMBERED / player.env.dt),
            seconds=REMEMBERED,
            bounds=plot_bounds(player.env),
            contacts=player.contacts(robot),
        )

    def close(self) -> None:
        """Free what drawing holds."""
        for view in self._views:
            view.close()


def record(
    player: Player, video: Path | None, strip: Path | None, seconds: float, width: int, command: Command | None
) -> None:
    """Write a video, a strip or both; without a `command`, of the commands of `SCRIPT`."""
    from legged_gym_ext.viewer.video import video_file, write_strip

    env = player.env
    every = max(1, round(1.0 / (FPS * env.dt)))
    fps = 1.0 / (every * env.dt)
    frames = max(1, round(seconds * fps))
    wanted = {int((panel + 0.5) / PANELS * frames) for panel in range(PANELS)} if strip else set()
    panels = []
    print(f"recording {frames / fps:.1f} s, {frames} frames")
    with contextlib.ExitStack() as stack:
        pictures = Pictures(player, width)
        stack.callback(pictures.close)
        append = stack.enter_context(video_file(video, fps)) if video else None
        for index in range(frames):
            player.set_command(command or scripted(env, (index + 0.5) / frames))
            for _ in range(every):
                player.step()
            pictures.follow(1.0 / fps)
            if append is None and index not in wanted:
                continue
            picture = pictures.draw()
            if index in wanted:
                panels.append((picture, describe_command(player.command)))
            if append is not None:
                append(pictures.annotate(picture))
        if strip:
            write_strip(strip, panels)
    for path in filter(None, (video, strip)):
        print(f"wrote {path}")


class _Clock:
    """Says how many control steps are due for real time."""

    def __init__(self, dt: float) -> None:
        self._dt, self._due = dt, time.perf_counter()

    def steps(self) -> int:
        """Steps to make now; sleeps where it is too early for one."""
        now = time.perf_counter()
        self._due = max(self._due, now - LAG)  # never run to catch up with more than a moment
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
    clock, plotted = _Clock(env.dt), 0
    titles = [f"{name} [{unit}]" for name, unit in PLOTS]
    try:
        while view.is_running():
            count = clock.steps()
            player.serve()
            for _ in range(0 if player.paused else count):
                player.step()
            who = agent.label() + (", paused" if player.paused else "")
            view.show([("who", who), ("ground", player.ground()), *zip(("command", "actual"), player.velocities())])
            if player.steps >= plotted + PLOT_EVERY:
                plotted = player.steps
                view.plot(titles, plot_bounds(env), env.dt, player.tracking())
    finally:
        view.close()


def play_page(player: Player, server: Any, command: Command, width: int) -> None:
    """Play in real time for a page in a browser until Ctrl-C; pictures are drawn while somebody looks.

    Args:
        player: what is played.
        server: a `web.PageServer`, not yet serving.
        command: to begin with.
        width: of the pictures [px].
    """
    env = player.env
    player.set_command(command)
    pictures = Pictures(player, width, draft=True)
    clock, shown, last = _Clock(env.dt), player.seconds, 0.0
    server.serve(player, plot_bounds=plot_bounds(env), span=REMEMBERED, bounds=command_bounds(env))
    print(f"open {server.url} in a browser; Ctrl-C ends", flush=True)
    try:
        while True:
            count = clock.steps()
            player.serve()
            for _ in range(0 if player.paused else count):
                player.step()
            server.note_state()
            if server.is_watched() and time.perf_counter() - last > 1.0 / FPS:
                last = time.perf_counter()
                for turn in server.turns():
                    pictures.turn(*turn)
                pictures.follow(player.seconds - shown)
                shown = player.seconds
                server.publish(pictures.draw())
                if pictures.drawing > SLOW:
                    pictures.drop_shadows()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        server.close()
        pictures.close()
