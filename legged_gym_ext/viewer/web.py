"""Where the page in a browser is served: addresses, and a viser server that listens there and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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


def parse_address(text: str, flag: str = "--web") -> tuple[str, int]:
    """Host and port of "8080" or "localhost:8080"; port 0 is any free one.

    Raises:
        UserError: the text has another form, or the host is not this machine's own address.
    """
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise UserError(f"{flag}={text}: expected a port from 0 to 65535")
    if host and not OWN_PAGES.fullmatch(f"http://{host}"):
        raise UserError(
            f"{flag}={text}: the page has no password, so that it is served on {LOCAL} only; from another machine: "
            f"{flag} {port} here, and there ssh -L {port}:{LOCAL}:{port} MACHINE"
        )
    return host or LOCAL, int(port)


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
    """What to type into a browser on this machine."""
    return f"http://{host}:{port}/"


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

    with contextlib.redirect_stdout(io.StringIO()), _own_pages_only() as guarded:  # it greets with a panel
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


@contextlib.contextmanager
def _own_pages_only() -> Iterator[list[int]]:
    """While a viser server starts: let it refuse pages of other web sites, which a browser would allow to steer.

    Yields:
        The ports of servers started so.
    """
    from websockets.asyncio import server

    serve: Any = server.serve
    ports: list[int] = []

    def guarded(handler: Any, host: str, port: int, **options: Any) -> Any:
        ports.append(port)
        return serve(handler, host, port, **{**options, "origins": [OWN_PAGES, None], "max_size": MAX_MESSAGE})

    server.serve = guarded  # type: ignore[misc]
    try:
        yield ports
    finally:
        server.serve = serve  # type: ignore[misc]
