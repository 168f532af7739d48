"""A browser's side of a viser page without a browser: connects, reports a camera, changes controls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import viser
from websockets.sync.client import ClientConnection, connect

CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, 1.0],
    "fov": 0.8,
    "near": 0.05,
    "far": 200.0,
    "image_height": 600,
    "image_width": 800,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 0.0, 1.0],
}


@contextlib.contextmanager
def open_page(port: int, width: int = 800, **options: Any) -> Iterator[ClientConnection]:
    """A page of `width` x 600 px that is open at `port`; viser counts it once its camera is known."""
    address, protocol = f"ws://127.0.0.1:{port}", f"viser-v{viser.__version__}"
    with connect(address, subprotocols=[protocol], max_size=None, compression=None, **options) as page:  # type: ignore
        page.send(msgspec.msgpack.encode({**CAMERA, "image_width": width}))
        yield page


def change(page: ClientConnection, control: Any, **updates: Any) -> None:
    """Change a control, as a user's hand does."""
    message = {"type": "GuiUpdateMessage", "uuid": control._impl.uuid, "updates": updates}
    page.send(msgspec.msgpack.encode(message))
