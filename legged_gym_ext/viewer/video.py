"""Videos and frame strips on disk. Frames are (height, width, 3) uint8 RGB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from legged_gym_ext.utils.errors import UserError, install_command

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
PICTURE_SUFFIXES = (".png", ".jpg")
INSTALL = install_command("video")
WIDTHS = (320, 3840)  # px, smallest and largest; the scene's buffer is 3840 wide
PANEL_HEIGHT, PANEL_GAP = 320, 6  # px, of a strip
INK, PAPER = (255, 255, 255), (38, 48, 58)


def check_packages(what: str, packages: tuple[str, ...]) -> None:
    """Raise a `UserError` if a package that `what` needs is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f"{what} needs the package '{package}': {INSTALL}")


def check_width(width: int, flag: str) -> None:
    """Raise a `UserError` for a width that frames cannot have."""
    if not WIDTHS[0] <= width <= WIDTHS[1] or width % 32:
        raise UserError(f"{flag}={width}: expected a multiple of 32 from {WIDTHS[0]} to {WIDTHS[1]}")


def check_output(path: Path, suffixes: tuple[str, ...], packages: tuple[str, ...]) -> Path:
    """Check that a file can be written, before anything is computed; returns its path with `~` expanded.

    Args:
        path: of the file.
        suffixes: that it may have.
        packages: that are needed to write it.

    Raises:
        UserError: the file cannot be written, or a package is missing.
    """
    path = Path(os.path.expanduser(path))
    check_packages(f"writing {path.name}", packages)
    if path.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {path}: the name must end in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: it is a folder, or its folder does not allow new files")
    return path


@contextmanager
def _atomic_output(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` with the same suffix, renamed to `path` when the block succeeds, else removed."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {' '.join(str(error).split())[:200]}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def video_file(path: Path, fps: float) -> Iterator[Callable[..., None]]:
    """A function that appends a frame to the video `path` (H.264); the file appears when the block succeeds."""
    import imageio.v2 as imageio

    with _atomic_output(path) as temporary:
        writer = imageio.get_writer(str(temporary), fps=fps, codec="libx264", quality=8, macro_block_size=2)
        try:
            yield writer.append_data
        finally:
            writer.close()


def write_strip(path: Path, panels: list[tuple[np.ndarray, str]]) -> None:
    """Write one image of frames side by side, cropped to squares, with their labels below."""
    from PIL import Image, ImageDraw

    label_height = PANEL_HEIGHT // 11
    pitch = PANEL_HEIGHT + PANEL_GAP
    strip = Image.new("RGB", (pitch * len(panels) - PANEL_GAP, PANEL_HEIGHT + label_height), INK)
    draw = ImageDraw.Draw(strip)
    for index, (frame, label) in enumerate(panels):
        height, width = frame.shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        square = Image.fromarray(frame).crop((left, top, left + side, top + side))
        strip.paste(square.resize((PANEL_HEIGHT, PANEL_HEIGHT), Image.Resampling.LANCZOS), (index * pitch, 0))
        where = (index * pitch + PANEL_HEIGHT // 2, PANEL_HEIGHT + label_height // 2)
        draw.text(where, label, fill=PAPER, font=font(label_height * 0.62), anchor="mm")
    with _atomic_output(path) as temporary:
        strip.save(temporary)


def font(size: float) -> FreeTypeFont | ImageFont:
    """Pillow's default font, `size` in px."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
