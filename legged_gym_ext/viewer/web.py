"""A page in a browser that shows a `Player` and steers it: pictures, curves and controls over HTTP, nothing but the standard library.

GET / is the page, /state what is so (JSON), /frame?after=N the first picture newer than number N (waits for it); POST /ask (JSON) takes
{"action": ..., "value": ...} of `controls.ACTIONS`, {"key": ...} of `controls.KEYS` or {"turn": [azimuth, elevation, zoom]} of the camera.
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
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.controls import KEYS

PAGE = Path(__file__).with_name("web_page.html")
LOCAL = "127.0.0.1"
PORT = 8080
PATIENCE = 5.0  # s that a request waits for a picture
STATE_EVERY = 0.1  # s between two states
CURVE_POINTS = 125  # of each curve
LARGEST = 10_000  # bytes of what may be asked


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "8080" or "0.0.0.0:8080"; a port of 0 is any free one.

    Raises:
        UserError: neither of the two.
    """
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise UserError(f"--web={text}: expected a port from 0 to 65535, or HOST:PORT such as 0.0.0.0:{PORT}")
    return host or LOCAL, int(port)


def encode(frame: np.ndarray) -> tuple[str, bytes]:
    """Content type and file of a frame (height, width, 3) uint8: JPEG with Pillow, otherwise a PNG three times as large."""
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


def describe(player: Any, plot_bounds: list[float], span: float, bounds: list[list[float]]) -> dict[str, Any]:
    """All that the page shows besides the picture; K robots (2 for "both", otherwise 1).

    Args:
        player: a `Player`.
        plot_bounds: largest values of the three plots.
        span: seconds that the plots are wide.
        bounds: lower and upper bound of the three commands.
    """
    robots = range(2 if player.agent.kind == "both" else 1)
    curves, dt = [], player.env.dt
    for robot in robots:
        samples = player.tracking(robot)
        stride = max(1, math.ceil(round(span / dt) / CURVE_POINTS))
        # Counted from the start of all, so that a sample stays in the picture until it leaves it.
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
        "levels": player.env.terrain.map.rows if player.kinds else 0,
        "start": player.start(),
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
    """Serves the page; pictures and state come from the thread that plays, requests are answered by others.

    Attributes:
        url: where the page is.
    """

    def __init__(self, host: str, port: int) -> None:
        """Take the port, so that a mistake shows at once; nothing is answered before `serve`.

        Raises:
            UserError: the port is taken or not allowed, or there is no such host.
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
        self.player: Any = None
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()
        self._number, self._picture = 0, ("", b"")
        self._waiting, self._closed = 0, False
        self._turns: list[tuple[float, float, float]] = []
        self._state, self._noted, self._ranges = b"{}", -math.inf, {}

    def serve(self, player: Any, **ranges: Any) -> None:
        """Answer requests from now on; `ranges` are the other arguments of `describe`."""
        self.player, self._ranges = player, ranges
        self.note_state()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and give the port back."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    # -- for the thread that plays -----------------------------------------------------------------------------------

    def is_watched(self) -> bool:
        """Whether somebody waits for a picture."""
        return self._waiting > 0

    def publish(self, frame: np.ndarray) -> None:
        """Give a frame (height, width, 3) uint8 to all who wait."""
        picture = encode(frame)
        with self._news:
            self._number, self._picture = self._number + 1, picture
            self._news.notify_all()

    def note_state(self) -> None:
        """Take over what is so now, unless that was done a moment ago."""
        if time.monotonic() - self._noted >= STATE_EVERY:
            self._state = json.dumps(describe(self.player, **self._ranges)).encode()
            self._noted = time.monotonic()

    def turns(self) -> list[tuple[float, float, float]]:
        """How the camera was moved since the last call, see `VideoView.turn`."""
        with self._news:
            taken, self._turns = self._turns, []
        return taken

    # -- for the threads that answer ---------------------------------------------------------------------------------

    def state(self) -> bytes:
        """The latest state, JSON."""
        return self._state

    def picture_after(self, number: int) -> tuple[int, str, bytes] | None:
        """Number, content type and file of a picture newer than `number`; None when none comes."""
        with self._news:
            self._waiting += 1
            try:
                self._news.wait_for(lambda: self._number != number or self._closed, PATIENCE)
            finally:
                self._waiting -= 1
            return None if self._number == number or self._closed else (self._number, *self._picture)

    def take(self, asked: Any) -> None:
        """Have done what was asked for; nonsense is a `UserError`."""
        if not isinstance(asked, dict):
            raise UserError("expected a JSON object with action and value, or key, or turn")
        if "key" in asked:
            key = next((key for key in KEYS if key.name == asked["key"]), None)
            if key is None:
                raise UserError(f"no key {asked['key']!r}; there are {' '.join(key.name for key in KEYS)}")
            self.player.ask(key.action, key.value)
        elif "turn" in asked:
            turn = asked["turn"]
            if not (isinstance(turn, list) and len(turn) == 3 and all(map(_is_finite, turn)) and turn[2] > 0):
                raise UserError(f"turn: expected degrees, degrees and a positive factor, got {turn!r}")
            with self._news:
                self._turns.append((turn[0], turn[1], turn[2]))
        else:
            self.player.ask(str(asked.get("action")), asked.get("value"))

    def is_meant(self, host: str) -> bool:
        """Whether a request's Host header is ours: another name that leads here is some web site's trick."""
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
    allow_reuse_address = os.name != "nt"  # where it would let two programs share the port
    page: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The page, the state or a picture."""
        page, url = self.server.page, urlsplit(self.path)
        if not page.is_meant(self.headers.get("Host", "")):
            self._answer(403, "text/plain", b"not for this host\n")
        elif url.path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE.read_bytes())
        elif url.path == "/state":
            self._answer(200, "application/json", page.state())
        elif url.path == "/frame":
            after = parse_qs(url.query).get("after", ["0"])[0]
            found = page.picture_after(int(after) if after.isdecimal() else 0)
            if found is None:
                self._answer(204, "text/plain", b"")
            else:
                self._answer(200, found[1], found[2], {"X-Number": str(found[0])})
        else:
            self._answer(404, "text/plain", b"there are /, /state, /frame and /ask\n")

    def do_POST(self) -> None:
        """What the user asks for."""
        try:
            length = int(self.headers.get("Content-Length", ""))
            # A form of some web site cannot send this type without asking first, and is not answered.
            if self.headers.get_content_type() != "application/json" or not 0 <= length <= LARGEST:
                raise UserError(f"expected application/json of at most {LARGEST} bytes")
            asked = json.loads(self.rfile.read(length))
            if self.path != "/ask" or not self.server.page.is_meant(self.headers.get("Host", "")):
                raise UserError("questions go to /ask of this host")
            self.server.page.take(asked)
            self._answer(200, "application/json", b"{}")
        except (UserError, ValueError) as error:
            self.close_connection = True  # what was not read of a refused request would be taken for the next one
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
        """Requests are not worth a line each."""


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
