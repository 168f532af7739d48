"""Where the page in a browser is served: addresses, and a viser server that listens there and nowhere else.

On this machine's own addresses the page is open to its users. Other ones need a token, which the printed address has:
the first request brings it, a cookie keeps it. Without it neither the page nor its socket answers.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import io
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from legged_gym_ext.utils.errors import UserError, install_command, installed

if TYPE_CHECKING:
    from viser import ViserServer

LOCAL = "127.0.0.1"
PORT = 8080
PACKAGES = ("viser", "mjviser")
LABEL = "rsl_rl_ult"
MAX_MESSAGE = 2**20  # bytes from a browser; what sliders and cameras send is below 1 kB
OWN_PAGES = re.compile(r"https?://(127\.\d+\.\d+\.\d+|localhost)(:\d+)?")
"""Web sites that may steer: this one, also through a tunnel."""

TOKEN = "ULT_PAGE_TOKEN"
"""Environment variable with the token of pages on other addresses; one is drawn where it is not set."""

COOKIE = "ult_page_token"
SHORTEST_TOKEN = 16  # characters
REFUSED = f"This page needs the address that the terminal prints, with its token ({TOKEN}).\n"


def parse_address(text: str, flag: str = "--web") -> tuple[str, int]:
    """Host and port of "8080" or "localhost:8080"; port 0 is any free one.

    Raises:
        UserError: the text has another form, or the token of the environment is too short.
    """
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise UserError(f"{flag}={text}: expected a port from 0 to 65535")
    token = page_token(host or LOCAL)
    if token and not re.fullmatch(rf"[\w-]{{{SHORTEST_TOKEN},}}", token, re.ASCII):
        raise UserError(f"{TOKEN}: expected {SHORTEST_TOKEN} or more letters, digits, - or _; unset: a random one")
    return host or LOCAL, int(port)


def page_token(host: str) -> str:
    """What a browser has to know to open the page: "" on this machine's own addresses.

    The environment has it from the first call on, so that a page in a process of its own has the same one.
    """
    if OWN_PAGES.fullmatch(f"http://{host}"):
        return ""
    return os.environ.setdefault(TOKEN, secrets.token_urlsafe(24))


def check_page(flag: str) -> None:
    """Raise a `UserError` if a package that the page needs is not installed."""
    for package in PACKAGES:
        if not installed(package):
            raise UserError(f"{flag} needs the package '{package}': {install_command('view')}")


def free_port(host: str, port: int, flag: str = "--web") -> int:
    """`port`, or any free one for 0.

    Raises:
        UserError: the port is taken or not allowed, or the host does not exist.
    """
    try:
        with socket.create_server((host, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"{flag}: port {port} of {host} is taken; choose another, e.g. {flag} {port + 1}"
            ) from error
        raise UserError(f"{flag}: cannot listen at {host}:{port}: {error.strerror or error}") from error


def page_url(host: str, port: int) -> str:
    """What to type into a browser: on this machine, or on another one where the host is not only this one's own."""
    token = page_token(host)
    name = socket.gethostname() if host == "0.0.0.0" else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


@contextlib.contextmanager
def page_server(host: str, port: int) -> Iterator[ViserServer]:
    """A viser server without scene and controls, stopped at the end.

    Raises:
        UserError: viser or mjviser is missing, or the address cannot be used.
    """
    check_page("--web")
    port = free_port(host, port)  # viser would silently take the next one
    os.environ.pop("_VISER_PORT_OVERRIDE", None)
    import viser

    logging.getLogger("websockets.server").addFilter(_without_traceback)
    with contextlib.redirect_stdout(io.StringIO()), _own_pages_only(page_token(host)) as guarded:
        # Its greeting is a panel, which goes nowhere.
        server = viser.ViserServer(host=host, port=port, label=LABEL, verbose=False)
    try:
        if not guarded:
            raise UserError(f"--web: viser {viser.__version__} starts its server in another way; install 1.1.1")
        if server.get_port() != port:
            raise UserError(f"--web: port {port} of {host} is taken; choose another, e.g. --web {port + 1}")
        # Its button would publish the page on the internet.
        server.request_share_url = lambda verbose=True: None
        server.gui.configure_theme(show_share_button=False, show_logo=False)
        yield server
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def _without_traceback(record: logging.LogRecord) -> bool:
    """Make what is logged of a malformed message one line, and nothing of one that never became a page."""
    if record.exc_info:
        if record.getMessage() == "opening handshake failed":
            return False
        record.msg, record.args = "the page closed a connection: %.200r", (record.exc_info[1],)
        record.exc_info = None
    return True


@contextlib.contextmanager
def _own_pages_only(token: str) -> Iterator[list[int]]:
    """While a viser server starts: let it refuse pages of other web sites, which a browser would allow to steer.

    Args:
        token: that requests need, too; "": none.

    Yields:
        The ports of servers started so.
    """
    from websockets.asyncio import server

    serve: Any = server.serve
    ports: list[int] = []

    def guarded(handler: Any, host: str, port: int, **options: Any) -> Any:
        ports.append(port)
        options["max_size"] = MAX_MESSAGE
        if token:
            options["process_request"] = _with_token(options["process_request"], token)
        else:
            options["origins"] = [OWN_PAGES, None]
        return serve(handler, host, port, **options)

    server.serve = guarded  # type: ignore[misc]
    try:
        yield ports
    finally:
        server.serve = serve  # type: ignore[misc]


def _with_token(process: Any, token: str) -> Any:
    """`process_request` of a server that answers only who has the token, and only its own pages."""

    def checked(connection: Any, request: Any) -> Any:
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[-1]
        if not (_same(given, token) or _same(_cookie(request.headers.get_all("Cookie")), token)):
            return connection.respond(403, REFUSED)
        origins = request.headers.get_all("Origin")
        if any(urlsplit(origin).netloc not in request.headers.get_all("Host") for origin in origins):
            return connection.respond(403, "Pages of other web sites may not steer.\n")
        answer = process(connection, request)
        if answer is not None and given:
            answer.headers["Set-Cookie"] = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
        return answer

    return checked


def _same(given: str, token: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _cookie(headers: list[str]) -> str:
    """The token in a request's cookies; "" where there is none."""
    try:
        found = SimpleCookie("; ".join(headers)).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
