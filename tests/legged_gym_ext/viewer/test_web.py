"""Where the page of play.py --web is served and who may open it."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from legged_gym_ext.scripts import play, train
from legged_gym_ext.utils.errors import UserError, install_command
from legged_gym_ext.viewer import web

pytest.importorskip("mujoco")


@pytest.fixture
def server():
    pytest.importorskip("mjviser")
    with web.page_server("127.0.0.1", 0) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "address"),
    [("8000", ("127.0.0.1", 8000)), ("127.0.0.2:81", ("127.0.0.2", 81)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text, address):
    assert web.parse_address(text) == address


@pytest.mark.parametrize("text", ["eight", "65536", ":80", "host:", "-1", ""])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UserError, match="expected a port from 0 to 65535"):
        web.parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", "127.0.0.1.example.org"])
def test_addresses_that_others_reach_have_a_token_of_their_own(monkeypatch, host):
    monkeypatch.setenv(web.TOKEN, "")  # so that it is put back as it was
    monkeypatch.delenv(web.TOKEN)
    assert web.page_token("127.0.0.1") == web.page_token("localhost") == ""
    assert web.parse_address(f"{host}:81") == (host, 81)
    token = web.page_token(host)
    assert len(token) == 32 and web.page_url(host, 81).endswith(f":81/?token={token}")
    monkeypatch.delenv(web.TOKEN)
    assert web.page_token(host) != token


@pytest.mark.parametrize("token", ["short", "a b c d e f g h i j", "x" * 15, "ö" * 20, "a;b" * 8])
def test_a_weak_token_is_refused(monkeypatch, token):
    monkeypatch.setenv(web.TOKEN, token)
    for main, flag in ((play.main, "--web"), (train.main, "--watch")):
        with pytest.raises(UserError, match="ULT_PAGE_TOKEN: expected 16 or more letters"):
            main(["--task=go2_flat", f"{flag}=0.0.0.0:0"])
    assert web.parse_address("0") == ("127.0.0.1", 0)  # needs none


@pytest.fixture
def token_server(monkeypatch):
    """One at an address that asks for a token: all of this machine."""
    pytest.importorskip("mjviser")
    monkeypatch.setenv(web.TOKEN, "a-token-of-the-tests")
    with web.page_server("0.0.0.0", 0) as opened:
        yield opened


def fetch(port: int, path: str = "/", **headers: str) -> tuple[int, str]:
    """Status of a request, and the cookie that it sets."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers.get("Set-Cookie", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_without_its_token_the_page_is_closed(token_server):
    port, refused = token_server.get_port(), (403, web.REFUSED)
    for path in ("/", "/?token=", "/?token=x", "/?token=a-token-of-the-test", "/x?token=%ff", "/?token=a&token=b"):
        assert fetch(port, path) == refused
    for cookie in ("", "x", f"{web.COOKIE}=", f"{web.COOKIE}=x", "\xff=;;;=", f"{web.COOKIE}=a-token-of-the-tests2"):
        assert fetch(port, Cookie=cookie) == refused
    status, cookie = fetch(port, "/?token=a-token-of-the-tests")
    assert status == 200 and cookie == f"{web.COOKIE}=a-token-of-the-tests; HttpOnly; SameSite=Strict; Path=/"
    assert fetch(port, Cookie=cookie.partition(";")[0]) == (200, "")


def test_without_its_token_the_socket_of_the_page_is_closed(token_server):
    from websockets.exceptions import InvalidStatus

    from tests.viser_client import open_page

    port, cookie = token_server.get_port(), {"Cookie": f"{web.COOKIE}=a-token-of-the-tests"}
    for headers in ({}, {"Cookie": f"{web.COOKIE}=x"}):
        with pytest.raises(InvalidStatus) as error, open_page(port, additional_headers=headers):
            pass
        assert error.value.response.status_code == 403
    for foreign in ("http://evil.example", f"http://127.0.0.1:{port + 1}", "null"):
        with pytest.raises(InvalidStatus), open_page(port, origin=foreign, additional_headers=cookie):
            pass
    with open_page(port, origin=f"http://127.0.0.1:{port}", additional_headers=cookie):
        pass


def test_a_taken_port_is_one_line_that_names_another():
    pytest.importorskip("mjviser")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f"port {port} of 127.0.0.1 is taken; choose another, e.g. --web {port + 1}"
        with pytest.raises(UserError, match=said):
            play.main(["--task=go2_flat", "--agent=zero", f"--web={port}"])
        with pytest.raises(UserError, match=f"--watch: port {port} of 127.0.0.1 is taken"):
            train.main(["--task=go2_flat", f"--watch={port}", "--log_root=not_made"])
    assert not Path("not_made").exists()


@pytest.mark.parametrize("missing", web.PACKAGES)
def test_a_missing_package_is_one_line_with_its_command(monkeypatch, missing):
    monkeypatch.setattr(web, "installed", lambda package: package != missing)
    for main, flag in ((play.main, "--web"), (train.main, "--watch")):
        with pytest.raises(UserError) as error:
            main(["--task=go2_flat", f"{flag}=0"])
        assert str(error.value) == f"{flag} needs the package '{missing}': {install_command('view')}"


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--web", "--video=out.mp4"], "use one of the two"),
        (["--agent=both"], "--agent=both needs --video or --web"),
        (["--agent=both", "--strip=out.png"], "--agent=both needs --video or --web"),
        (["--agent=zero", "--video=out.mp4", "--width=1000"], "expected a multiple of 32"),
        (["--web=eight"], "--web=eight"),
        (["--follow"], "--follow .* needs --web"),
        (["--web", "--follow", "--agent=zero"], "needs --web, and a trained --agent"),
        (["--web", "--follow", "--checkpoint=5"], "leave out --checkpoint"),
    ],
)
def test_impossible_ways_to_watch_are_refused(flags, word):
    with pytest.raises(UserError, match=word):
        play.main(["--task=go2_flat", *flags])


def test_the_port_is_open_to_this_machine_only_and_given_back():
    pytest.importorskip("mjviser")
    with web.page_server("127.0.0.1", 0) as server:
        port = server.get_port()
        local = f"0100007F:{port:04X}"  # 127.0.0.1 as the kernel writes it
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
            if " 0A " in line
        ]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [local]
        with pytest.raises(UserError, match="is taken"), web.page_server("127.0.0.1", port):
            pass
    with web.page_server("127.0.0.1", port) as server:
        assert server.get_port() == port


def test_pages_of_other_web_sites_cannot_steer(server):
    from websockets.exceptions import InvalidStatus

    from tests.viser_client import open_page

    port = server.get_port()
    for foreign in ("http://evil.example", "http://127.0.0.1.evil.example:8080", "null"):
        with pytest.raises(InvalidStatus), open_page(port, origin=foreign):
            pass
    for own in (f"http://127.0.0.1:{port}", "http://localhost:9999"):  # the second one through a tunnel
        with open_page(port, origin=own):
            pass


def test_the_library_is_as_it_was_after_the_start(server):
    import websockets.asyncio.server

    assert isinstance(websockets.asyncio.server.serve, type)


def test_a_viser_that_cannot_be_guarded_is_refused(monkeypatch):
    """One that no longer starts its server through `websockets.asyncio.server.serve`."""
    pytest.importorskip("mjviser")
    from contextlib import nullcontext

    monkeypatch.setattr(web, "_own_pages_only", lambda token: nullcontext([]))
    with pytest.raises(UserError, match=r"install 1\.1\.1"), web.page_server("127.0.0.1", 0):
        pass


def test_the_page_cannot_be_published_on_the_internet(server):
    assert server.request_share_url() is None
    assert server._share_tunnel is None


def test_only_the_page_itself_can_be_fetched(server):
    address = f"http://127.0.0.1:{server.get_port()}"
    with urllib.request.urlopen(f"{address}/") as answer:
        assert answer.status == 200
    for path in ("/../__init__.py", "/%2e%2e/%2e%2e/__init__.py", "/..%5c..%5c__init__.py", "//etc/passwd", "/x"):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + path)
        assert error.value.code == 404
        error.value.close()
