"""A page in a browser that shows a `Player` and controls it over HTTP, with the standard library only.

GET / is the page, /state the state (JSON), /frame?after=N the first frame newer than number N (waits for it); POST /ask
(JSON) takes {"action": ..., "value": ...} of `controls.ACTIONS`, {"key": ...} of `controls.KEYS` or
{"turn": [azimuth, elevation, zoom]} of the camera.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.controls import KEYS, is_finite_number

if TYPE_CHECKING:
    from legged_gym_ext.viewer.player import Player

PAGE = Path(__file__).with_name("web_page.html")
LOCAL = "127.0.0.1"
PORT = 8080
FRAME_TIMEOUT = 5.0  # s that a request waits for a frame
STATE_INTERVAL = 0.1  # s between updates of the state
CURVE_POINTS = 125  # of each curve
MAX_REQUEST = 10_000  # bytes


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "8080" or "0.0.0.0:8080"; port 0 is any free one.

    Raises:
        UserError: the text has another form.
    """
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise UserError(f"--web={text}: expected a port from 0 to 65535, or HOST:PORT such as 0.0.0.0:{PORT}")
    return host or LOCAL, int(port)


def encode(frame: np.ndarray) -> tuple[str, bytes]:
    """Content type and bytes of a frame (height, width, 3) uint8: JPEG with Pillow, otherwise PNG."""
    if find_spec("PIL") is not None:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=85)
        return "image/jpeg", buffer.getvalue()
    return "image/png", encode_png(frame)


def encode_png(frame: np.ndarray) -> bytes:
    """A frame (height, width, 3) uint8 as PNG (ISO/IEC 15948): 8 bit RGB, rows unfiltered."""
    height, width = frame.shape[:2]
    rows = np.concatenate((np.zeros((height, 1), dtype=np.uint8), frame.reshape(height, -1)), axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def player_state(player: Player, plot_bounds: list[float], span: float, bounds: list[list[float]]) -> dict[str, Any]:
    """Everything that the page shows besides the frame; K robots (2 for "both", otherwise 1).

    Args:
        player: the robots.
        plot_bounds: largest values of the three plots.
        span: width of the plots [s].
        bounds: lower and upper bounds of the three commands.
    """
    robots = range(2 if player.agent.kind == "both" else 1)
    curves, dt = [], player.env.dt
    for robot in robots:
        samples = player.tracking(robot)
        stride = max(1, math.ceil(round(span / dt) / CURVE_POINTS))
        # Strides counted from the very first sample, so that the same samples stay on the plot while it scrolls.
        first = -(player.steps - len(samples)) % stride
        kept = np.arange(first, len(samples), stride)
        ages = (len(samples) - 1 - kept) * dt
        curves.append(np.concatenate((-ages[:, None], samples[kept]), axis=1).round(3).T.tolist())
    return {
        "time": round(player.seconds, 2),
        "who": [player.agent.label(robot) for robot in robots],
        "policies": list(player.agent.names),
        "ground": [player.ground(robot) for robot in robots],
        "kinds": player.kinds,
        "levels": player.num_levels,
        "start": player.start_tile(),
        "command": list(player.command),
        "bounds": bounds,
        "plot_bounds": plot_bounds,
        "span": span,
        "velocities": [player.velocities(robot) for robot in robots],
        "contacts": [player.contacts(robot) for robot in robots],
        "paused": player.paused,
        "falls": player.falls,
        "curves": curves,  # K of (7, T): time before now [s], commanded and actual vx, vy, yaw rate
        "keys": [[key.name, key.meaning] for key in KEYS],
    }


class PageServer:
    """Serves the page: the playing thread publishes frames and state, other threads answer requests.

    Attributes:
        host, port: where it listens.
        url: of the page.
        player: set by `serve`.
    """

    def __init__(self, host: str, port: int) -> None:
        """Bind the port; requests are answered from `serve` on.

        Raises:
            UserError: the port is taken or not allowed, or the host does not exist.
        """
        try:
            self._http = _Server((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"--web: port {port} of {host} is taken; choose another, e.g. --web {port + 1}"
                ) from error
            raise UserError(f"--web: cannot listen at {host}:{port}: {error.strerror or error}") from error
        self._http.page = self
        self.host, self.port = host, int(self._http.server_address[1])
        self.url = f"http://{LOCAL if host in ('', '0.0.0.0') else host}:{self.port}/"
        self.player: Player | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._number, self._frame = 0, ("", b"")
        self._waiting, self._closed = 0, False
        self._camera_moves: list[tuple[float, float, float]] = []
        self._state, self._updated_at = b"{}", -math.inf
        self._ranges: dict[str, Any] = {}

    def serve(self, player: Player, **ranges: Any) -> None:
        """Answer requests from now on; `ranges` are the other arguments of `player_state`."""
        self.player, self._ranges = player, ranges
        self.update_state()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and release the port."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    # -- called by the playing thread ----------------------------------------------------------------------------------

    def is_watched(self) -> bool:
        """Whether a browser waits for a frame."""
        return self._waiting > 0

    def publish(self, frame: np.ndarray) -> None:
        """Send a frame (height, width, 3) uint8 to all waiting browsers."""
        encoded = encode(frame)
        with self._changed:
            self._number, self._frame = self._number + 1, encoded
            self._changed.notify_all()

    def update_state(self) -> None:
        """Update the state, at most every `STATE_INTERVAL`."""
        if self.player is not None and time.monotonic() - self._updated_at >= STATE_INTERVAL:
            self._state = json.dumps(player_state(self.player, **self._ranges)).encode()
            self._updated_at = time.monotonic()

    def pop_camera_moves(self) -> list[tuple[float, float, float]]:
        """Moves of the camera since the last call, see `FrameRenderer.turn`."""
        with self._changed:
            moves, self._camera_moves = self._camera_moves, []
        return moves

    # -- called by the threads that answer requests --------------------------------------------------------------------

    def state(self) -> bytes:
        """The latest state, JSON."""
        return self._state

    def frame_after(self, number: int) -> tuple[int, str, bytes] | None:
        """Number, content type and bytes of a frame newer than `number`; None after `FRAME_TIMEOUT`."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._number != number or self._closed, FRAME_TIMEOUT)
            finally:
                self._waiting -= 1
            return None if self._number == number or self._closed else (self._number, *self._frame)

    def handle(self, request: Any) -> None:
        """Pass a request on to the player.

        Raises:
            UserError: the request is invalid.
        """
        assert self.player is not None  # requests are answered from `serve` on
        if not isinstance(request, dict):
            raise UserError("expected a JSON object with action and value, or key, or turn")
        if "key" in request:
            key = next((key for key in KEYS if key.name == request["key"]), None)
            if key is None:
                raise UserError(f"no key {request['key']!r}; there are {' '.join(key.name for key in KEYS)}")
            self.player.request(key.action, key.value)
        elif "turn" in request:
            turn = request["turn"]
            if not (isinstance(turn, list) and len(turn) == 3 and all(map(is_finite_number, turn)) and turn[2] > 0):
                raise UserError(f"turn: expected degrees, degrees and a positive factor, got {turn!r}")
            with self._changed:
                self._camera_moves.append((turn[0], turn[1], turn[2]))
        else:
            self.player.request(str(request.get("action")), request.get("value"))

    def is_own_host(self, host: str) -> bool:
        """Whether a request's Host header is ours; a foreign name for this machine is an attack (DNS rebinding)."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return (not self.host.startswith("127.") and self.host != "localhost") or name in (
            self.host,
            LOCAL,
            "localhost",
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would let two programs share the port
    page: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that disconnect."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with the page, the state or a frame."""
        page, url = self.server.page, urlsplit(self.path)
        if not page.is_own_host(self.headers.get("Host", "")):
            self._answer(403, "text/plain", b"not for this host\n")
        elif url.path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE.read_bytes())
        elif url.path == "/state":
            self._answer(200, "application/json", page.state())
        elif url.path == "/frame":
            after = parse_qs(url.query).get("after", ["0"])[0]
            found = page.frame_after(int(after) if after.isdecimal() else 0)
            if found is None:
                self._answer(204, "text/plain", b"")
            else:
                self._answer(200, found[1], found[2], {"X-Number": str(found[0])})
        else:
            self._answer(404, "text/plain", b"there are /, /state, /frame and /ask\n")

    def do_POST(self) -> None:
        """Pass on a request of the user."""
        try:
            length = int(self.headers.get("Content-Length", ""))
            # A form on a foreign web site cannot send this type without a preflight request, which is not answered.
            if self.headers.get_content_type() != "application/json" or not 0 <= length <= MAX_REQUEST:
                raise UserError(f"expected application/json of at most {MAX_REQUEST} bytes")
            request = json.loads(self.rfile.read(length))
            if self.path != "/ask" or not self.server.page.is_own_host(self.headers.get("Host", "")):
                raise UserError("questions go to /ask of this host")
            self.server.page.handle(request)
            self._answer(200, "application/json", b"{}")
        except (UserError, ValueError) as error:
            self.close_connection = True  # the unread rest of a refused request would be read as the next one
            self._answer(400, "application/json", json.dumps({"error": str(error)}).encode())

    def _answer(self, code: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""
