"""Controls and plots of the page in a browser; what is drawn comes from `make_page_scene`.

Callbacks of the page run in viser's threads: they only queue requests for the `Player`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from legged_gym_ext.simulators import make_page_scene
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.controls import KEYS, PAGE_KEYS
from legged_gym_ext.viewer.overlay import PLOTS
from legged_gym_ext.viewer.player import PLOT_SECONDS, Player, command_bounds

if TYPE_CHECKING:
    from viser import GuiEvent, ViserServer

SLIDERS = (("forward [m/s]", 0.1), ("left [m/s]", 0.1), ("turn left [rad/s]", 0.1))
SLIDER_STEP = 0.05
STATE_INTERVAL = 0.2  # s between updates of text and plots
CURVE_POINTS = 125  # of each curve
PLOT_HEIGHT = 110  # px
COLOURS = {"green": "#33ad52", "blue": "#2173e6", "orange": "#e08a1e"}
"""Of the command and of the robots' velocities; green and blue are those of the arrows."""


class Page:
    """The page of a player.

    Attributes:
        player: the robots.
        focus: robot that the camera follows and whose curves are plotted.
        notice: a sentence above the controls, e.g. which checkpoint acts; may be replaced at any time.
    """

    def __init__(self, server: ViserServer, player: Player) -> None:
        """Send scene and controls to `server`."""
        self.player, self.focus, self.notice = player, 0, ""
        self._server, self._gui = server, server.gui
        self._pair = player.agent.kind == "both"
        labels = tuple(self._name(robot) for robot in range(2)) if self._pair else ()
        self._scene: Any = make_page_scene(player.env, server, labels)
        self._sent: dict[str, Any] = {}  # control -> value that the server gave it last
        self._shown_at, self._drawn_at = 0.0, player.seconds
        self._speed, self._clock = 1.0, (time.monotonic(), player.seconds)
        self._text = self._gui.add_markdown("")
        self._add_buttons()
        self._add_command()
        self._add_choices()
        self._add_plots()
        self._add_keys()
        self.update(force=True)

    def is_watched(self) -> bool:
        """Whether a browser has the page open."""
        return bool(self._server.get_clients())

    # -- controls ------------------------------------------------------------------------------------------------------

    def _request(self, event: GuiEvent | None, action: str, value: Any = None) -> None:
        """Pass a request on; an impossible one is a message on the page that asked."""
        try:
            self.player.request(action, value)
        except UserError as error:
            self._sent.clear()  # the control goes back to what is
            client = event.client if event is not None else None
            if client is not None:
                client.add_notification("Not possible", str(error), auto_close_seconds=6.0)

    def _add_buttons(self) -> None:
        self._pause = self._gui.add_button("Pause", hint="space")
        self._pause.on_click(lambda event: self._request(event, "pause"))
        restart = self._gui.add_button("Start again", hint="8: back to where the robots were put")
        restart.on_click(lambda event: self._request(event, "reset"))

    def _add_command(self) -> None:
        """Sliders of the commanded velocity, within the trained bounds."""
        self._sliders = []
        with self._gui.add_folder("Command"):
            for index, ((label, _), (low, high)) in enumerate(zip(SLIDERS, command_bounds(self.player.env))):
                slider = self._gui.add_slider(
                    label, low, max(high, low + SLIDER_STEP), SLIDER_STEP, min(max(0.0, low), high)
                )
                slider.disabled = low == high
                slider.on_update(lambda event, index=index: self._slide(event, index))
                self._sliders.append(slider)
            stop = self._gui.add_button("Stop", hint="enter: command zero")
            stop.on_click(lambda event: self._request(event, "stop"))

    def _slide(self, event: GuiEvent, index: int) -> None:
        if event.client is None:  # the server moved it
            return
        command = list(self.player.command)
        command[index] = float(event.target.value)
        self._request(event, "command", command)

    def _add_choices(self) -> None:
        """Who acts, on what ground, what the camera follows."""
        player, gui, env = self.player, self._gui, self.player.env
        self._policy = self._kind = self._level = None
        if player.agent.names:
            self._policy = gui.add_dropdown("Who acts", player.agent.names, initial_value=player.agent.active)
            self._policy.on_update(lambda event: self._choose(event, "agent"))
        start = player.start_tile()
        if start is not None:
            with gui.add_folder("Ground"):
                self._kind = gui.add_dropdown("Kind", player.kinds, initial_value=start[0])
                self._kind.on_update(lambda event: self._choose(event, "kind"))
                self._level = gui.add_slider("Level", 0, max(player.num_levels - 1, 1), 1, start[1])
                self._level.disabled = player.num_levels == 1
                self._level.on_update(lambda event: self._choose(event, "level"))
        with gui.add_folder("Camera"):
            follow = gui.add_checkbox("Follow", True, hint="drag turns, wheel zooms, right button moves")
            follow.on_update(lambda event: setattr(self._scene, "follows", bool(event.target.value)))
            if env.num_envs > 1:
                names = [self._name(robot) for robot in range(env.num_envs)]
                robot = gui.add_dropdown("Robot", names, initial_value=names[0])
                robot.on_update(lambda event: self._look_at(names, event.target.value))

    def _choose(self, event: GuiEvent, action: str) -> None:
        if event.client is not None:
            self._request(event, action, event.target.value)

    def _look_at(self, names: list[str], name: str) -> None:
        if name in names:
            self.focus = names.index(name)

    def _name(self, robot: int) -> str:
        return self.player.agent.label(robot) if self._pair else f"robot {robot}"

    def _add_keys(self) -> None:
        """Keys, which the page also lists when one presses Ctrl-K."""
        for key in KEYS:
            command: Any = self._gui.add_command(key.meaning, hotkey=PAGE_KEYS[key.name])  # type: ignore[arg-type]
            command.on_trigger(lambda event, key=key: self._request(event, key.action, key.value))

    # -- plots ---------------------------------------------------------------------------------------------------------

    def _add_plots(self) -> None:
        """Command and velocity of the followed robot (of "both": of both), and its reward."""
        names = [self._name(robot) for robot in range(2)] if self._pair else ["actual"]
        styles = list(zip(("command", *names), COLOURS.values()))
        self._plots = []
        with self._gui.add_folder(f"Last {PLOT_SECONDS:.0f} s"):
            self._gui.add_markdown(", ".join(f"{colour}: {name}" for colour, (name, _) in zip(COLOURS, styles)))
            for index, (name, unit) in enumerate((*PLOTS, ("reward", "per step"))):
                shown = styles if index < len(PLOTS) else styles[1:]
                bound = self._bound(index)
                self._plots.append(
                    self._gui.add_uplot(
                        data=tuple(np.zeros(2) for _ in range(1 + len(shown))),
                        series=(
                            {"label": "s"},
                            *({"label": text, "stroke": colour, "width": 2} for text, colour in shown),
                        ),
                        title=f"{name} [{unit}]",
                        scales={"x": {"time": False, "range": (-PLOT_SECONDS, 0.0)}, **bound},
                        axes=({"size": 24}, {"size": 44, "space": 20}),
                        legend={"show": False},
                        height=PLOT_HEIGHT,
                    )
                )

    def _bound(self, index: int) -> dict[str, Any]:
        """Axis of a velocity: 1.5 times the largest command; that of the reward fits itself."""
        if index >= len(PLOTS):
            return {"y": {"auto": True}}
        low, high = command_bounds(self.player.env)[index]
        top = 1.5 * max(abs(low), abs(high), 0.1)
        return {"y": {"range": (-top, top)}}

    def _curves(self) -> list[tuple[np.ndarray, ...]]:
        """Data of each plot: time before now [s], then its curves."""
        player, robots = self.player, self._plotted()
        samples = [player.tracking(robot) for robot in robots]
        count = len(samples[0])
        if count < 2:
            return []
        stride = max(1, -(-round(PLOT_SECONDS / player.env.dt) // CURVE_POINTS))
        # Strides counted from the very first sample, so that the same samples stay on the plot while it scrolls.
        kept = np.arange(-(player.steps - count) % stride, count, stride)
        times = (kept - (count - 1)) * player.env.dt
        velocities = [
            (times, samples[0][kept, index], *(sample[kept, 3 + index] for sample in samples)) for index in range(3)
        ]
        return [*velocities, (times, *(player.rewards(robot)[kept] for robot in robots))]

    def _plotted(self) -> list[int]:
        return [0, 1] if self._pair else [self.focus]

    # -- called by the playing thread ----------------------------------------------------------------------------------

    def update(self, *, force: bool = False) -> None:
        """Show the robots as they are now; text and plots at most every `STATE_INTERVAL`, unless `force`."""
        player, now = self.player, time.monotonic()
        due = force or now - self._shown_at >= STATE_INTERVAL
        if player.paused and not due:
            return
        self._scene.update(self.focus, player.seconds - self._drawn_at)
        self._drawn_at = player.seconds
        if not due:
            return
        self._measure_speed(now)
        self._shown_at = now
        self._text.content = self._describe()
        self._pause.label = "Go on" if player.paused else "Pause"
        for index, slider in enumerate(self._sliders):
            self._set(f"slider{index}", slider, player.command[index])
        self._set("policy", self._policy, player.agent.active)
        start = player.start_tile()
        if start is not None:
            self._set("kind", self._kind, start[0])
            self._set("level", self._level, start[1])
        for plot, data in zip(self._plots, self._curves()):
            plot.data = tuple(part.astype(np.float64) for part in data)

    def _set(self, name: str, control: Any, value: Any) -> None:
        """Move a control when the player has another value than before; not against the hand that moves it."""
        if control is not None and self._sent.get(name) != value:
            self._sent[name] = value
            if control.value != value:
                control.value = value

    def _measure_speed(self, now: float) -> None:
        """Simulated time per real time, over a second or more."""
        then, seconds = self._clock
        if now - then >= 1.0:
            self._speed = (self.player.seconds - seconds) / (now - then)
            self._clock = (now, self.player.seconds)

    def _describe(self) -> str:
        """Who acts where, and whether time passes as it should."""
        player = self.player
        rows = [f"**{player.agent.label(robot)}** on {player.ground(robot)}" for robot in self._plotted()]
        if self.notice:
            rows.append(self.notice)
        state = f"{player.seconds:.1f} s"
        if player.paused:
            state += ", **paused**"
        elif player.steps and self._speed < 0.9:
            state += f", {1.0 / max(self._speed, 0.01):.1f} times slower than real time"
        falls = f"{player.falls} falls" if player.falls != 1 else "1 fall"
        rows.append(f"{state}, {falls}")
        return "  \n".join(rows)
