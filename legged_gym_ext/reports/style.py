"""The style of all pictures: size, colours and fonts, the same on the page and in a paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legged_gym_ext.training.runs import atomic_write
from legged_gym_ext.utils.errors import UserError, install_command

WIDTH = 10.0  # inches; the page shows them 960 px wide, so that points are points there too
DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, for every kind of colour vision; without yellow, which is too pale for lines."""

LINES = (
    "-",
    "--",
    ":",
    "-.",
)  # a second sign beside the colour, and what tells more methods apart than there are colours
INK, GREY = "#222222", "#8a8a8a"
SETTINGS: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "figure.titlesize": 12.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.constrained_layout.use": True,
}


@dataclass
class Picture:
    """A figure with its title and captions.

    Attributes:
        name: of the file, without .png.
        title: heading on the page.
        alt: what it shows, for those who cannot see it.
        caption: how it was made and how to read it.
        figure: matplotlib's; closed and None once it is saved.
        text: lines shown below it as they are.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Any
    text: str = ""

    def save(self, folder: Path) -> Path:
        """Write `<folder>/<name>.png` and close the figure."""
        path = folder / f"{self.name}.png"
        atomic_write(path, lambda target: self.figure.savefig(target, format="png", dpi=DPI, facecolor="white"))
        plotting().close(self.figure)
        self.figure = None
        return path


def plotting() -> Any:
    """`matplotlib.pyplot`, drawing to files and in our style; a missing matplotlib is a `UserError`."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(f"pictures need the package 'matplotlib' ({error}): {install_command('report')}") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(SETTINGS)
    return plt


def panels(count: int, columns: int, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """A figure of `count` panels, `columns` in a row, each row `height` inches; the axes as a list."""
    rows = -(-count // columns)
    figure, axes = plotting().subplots(rows, columns, figsize=(WIDTH, rows * height), squeeze=False, **options)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    return figure, flat[:count]


def colours(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Label -> colour and line style; when colours run out they come again with another line."""
    return {
        label: (COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)])
        for index, label in enumerate(labels)
    }


def legend(figure: Any, handles: list[Any]) -> None:
    """One legend for all panels, below them, with as many columns as fit."""
    if not handles:
        return
    longest = max(len(handle.get_label()) for handle in handles)
    columns = min(len(handles), max(1, 110 // (longest + 8)))  # letters of a line, and what the sign and the gap take
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // -(-len(handles) // columns)))


def line(colour: str, style: Any, label: str, **options: Any) -> Any:
    """A legend entry."""
    plotting()
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, label=label, **options)


def heat(axes: Any, values: Any, rows: list[str], columns: list[str], form: str, **options: Any) -> Any:
    """A heat map with its numbers in the cells; nan is left white. Returns the image, for a colour bar."""
    import numpy as np

    image = axes.imshow(values, aspect="auto", **options)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.text(
                column, row, format(value, form), ha="center", va="center", fontsize=9, color="white" if dark else INK
            )
    return image
