"""Text and plots over frames (height, width, 3) uint8 RGB: policy, ground, tracking, foot contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from legged_gym_ext.viewer.video import INK, PAPER, font

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw as Draw

PANEL = (*PAPER, 190)  # RGBA behind text and plots
FAINT = (168, 178, 188)
PLOTS = (("vx", "m/s"), ("vy", "m/s"), ("yaw", "rad/s"))
"""Title and unit of the three tracked velocities."""


@dataclass
class Telemetry:
    """What is shown of one robot.

    Attributes:
        title: first line, e.g. policy and ground.
        velocities: commanded and actual velocity as text.
        colours: RGB in 0..1 of commanded and actual.
        tracking: (T, 6) commanded vx, vy, yaw rate, then the actual ones, newest last.
        length: width of a plot in samples.
        seconds: width of a plot in time.
        bounds: largest value on the axis of each of the three plots.
        contacts: of the feet: front left, front right, rear left, rear right.
    """

    title: str
    velocities: tuple[str, str]
    colours: tuple[tuple[float, ...], ...]
    tracking: np.ndarray
    length: int
    seconds: float
    bounds: list[float]
    contacts: list[bool]


def draw_overlay(frame: np.ndarray, telemetry: Telemetry) -> np.ndarray:
    """A copy of `frame` with `telemetry` drawn on it; without Pillow, `frame` itself."""
    if find_spec("PIL") is None:
        return frame
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    height, width = frame.shape[:2]
    size = _font_size(frame)
    draw = ImageDraw.Draw(image, "RGBA")
    colours = _to_rgb(telemetry.colours)
    _caption(draw, size, telemetry.title, telemetry.velocities, colours)
    _feet(draw, size, height, telemetry.contacts)
    left, top = width - size - 15.5 * size, height - size - 11.5 * size
    draw.rectangle((left, top, width - size, height - size), fill=PANEL)
    for index, (name, unit) in enumerate(PLOTS):
        bound = telemetry.bounds[index]
        box = (
            left + 4.2 * size,
            top + (0.5 + 3.4 * index) * size,
            width - 1.6 * size,
            top + (3.4 + 3.4 * index) * size,
        )
        middle = (box[1] + box[3]) / 2
        draw.text((left + 0.5 * size, middle - 0.6 * size), name, fill=INK, font=font(size), anchor="lm")
        draw.text((left + 0.5 * size, middle + 0.6 * size), unit, fill=FAINT, font=font(0.8 * size), anchor="lm")
        draw.line((box[0], middle, box[2], middle), fill=FAINT, width=1)
        for offset, colour in zip((0, len(PLOTS)), colours):
            points = curve(telemetry.tracking[:, index + offset], telemetry.length, bound, box)
            if len(points) > 1:
                draw.line([tuple(point) for point in points.tolist()], fill=colour, width=max(1, round(size / 9)))
    text = f"last {telemetry.seconds:.0f} s"
    draw.text((width - 1.6 * size, height - 1.6 * size), text, fill=FAINT, font=font(0.8 * size), anchor="rm")
    return np.asarray(image)


def draw_caption(
    frame: np.ndarray, title: str, velocities: tuple[str, str], colours: Sequence[tuple[float, ...]]
) -> np.ndarray:
    """The upper left corner of `draw_overlay` alone; arguments as in `Telemetry`."""
    if find_spec("PIL") is None:
        return frame
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame)
    _caption(ImageDraw.Draw(image, "RGBA"), _font_size(frame), title, velocities, _to_rgb(colours))
    return np.asarray(image)


def _font_size(frame: np.ndarray) -> float:
    """Font size [px]: the caption nearly fills a narrow frame."""
    height, width = frame.shape[:2]
    return min(height / 30, width / 32)


def _to_rgb(colours: Sequence[tuple[float, ...]]) -> list[tuple[int, ...]]:
    """Colours in 0..1 as RGB bytes."""
    return [tuple(round(255 * part) for part in colour[:3]) for colour in colours]


def curve(values: np.ndarray, length: int, bound: float, box: tuple[float, float, float, float]) -> np.ndarray:
    """Pixels (T, 2) of values (T,), the newest at the right edge of `box` (left, top, right, bottom).

    The box is `length` samples wide; its middle is zero, its upper edge `bound`; values beyond are clipped.
    """
    left, top, right, bottom = box
    x = right - (right - left) * np.arange(len(values) - 1, -1, -1) / max(1, length - 1)
    share = np.clip(values / bound, -1.0, 1.0)
    return np.stack((x, (top + bottom) / 2 - share * (bottom - top) / 2), axis=1)


def _caption(draw: Draw, size: float, title: str, velocities: tuple[str, str], colours: list[tuple[int, ...]]) -> None:
    """Title, commanded and actual velocity in the upper left corner."""
    rows = [f"{label}  {text}" for label, text in zip(("command", "actual"), velocities)]
    texts = [title, *rows]
    width = max(draw.textlength(text, font=font(size)) for text in texts)
    draw.rectangle((size, size, width + 4.2 * size, (1.8 + 1.45 * len(texts)) * size), fill=PANEL)
    for index, text in enumerate(texts):
        middle = (2.1 + 1.45 * index) * size
        if index:
            sample = (1.6 * size, middle - 0.35 * size, 2.5 * size, middle + 0.35 * size)
            draw.rectangle(sample, fill=colours[index - 1])
        draw.text(((3.1 if index else 1.6) * size, middle), text, fill=INK, font=font(size), anchor="lm")


def _feet(draw: Draw, size: float, height: int, contacts: list[bool]) -> None:
    """Four dots in the lower left corner, the robot seen from above and heading up; filled: in contact."""
    top = height - 6.4 * size
    draw.rectangle((size, top, 7.4 * size, height - size), fill=PANEL)
    draw.text((4.2 * size, top + 0.9 * size), "contacts", fill=FAINT, font=font(0.8 * size), anchor="mm")
    for index, touches in enumerate(contacts[:4]):
        x = (2.9 if index % 2 == 0 else 5.5) * size
        y = top + (2.4 if index < 2 else 4.2) * size
        dot = (x - 0.6 * size, y - 0.6 * size, x + 0.6 * size, y + 0.6 * size)
        draw.ellipse(dot, fill=INK if touches else None, outline=INK, width=max(1, round(size / 10)))
