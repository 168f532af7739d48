"""The page goes on whatever its clients do: malformed, huge, slow and many ones; frames do not pile up."""

from __future__ import annotations

import contextlib
import gc
import math
import socket
import time
from pathlib import Path

import msgspec
import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.viewer import player as players
from legged_gym_ext.viewer import web
from legged_gym_ext.viewer.agents import Agent

pytest.importorskip("mujoco")
pytest.importorskip("mjviser")
from websockets.exceptions import ConnectionClosed

from legged_gym_ext.viewer.page import Page
from tests.viser_client import change, open_page

encode = msgspec.msgpack.encode


@pytest.fixture(scope="module")
def page():
    env_cfg, _ = task_registry.get_cfgs("go2_flat")
    players.nominal(env_cfg)
    env_cfg.env.num_envs = 1
    env = task_registry.make_env("go2_flat", env_cfg)[0]
    with web.page_server("127.0.0.1", 0) as server:
        yield Page(server, players.Player(env, Agent("zero", env, "go2_flat")))


def wait_for(condition) -> None:
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def steers(page: Page, speed: float) -> bool:
    """Whether a well-behaved client can command `speed` m/s, with the robot stepping meanwhile."""
    with open_page(page._server.get_port()) as browser:
        wait_for(page.is_watched)
        change(browser, page._sliders[0], value=speed)

        def arrived() -> bool:
            page.player.process_requests()
            page.player.step()
            page.update(force=True)
            return page.player.command[0] == pytest.approx(speed)

        wait_for(arrived)
    return True


MALFORMED = [
    b"",
    b"\xc1 is no msgpack",
    "text",
    encode(7),
    encode([1, 2]),
    encode({}),
    encode({"type": "NoSuchMessage"}),
    encode({"type": "GuiUpdateMessage"}),
    encode({"type": "GuiUpdateMessage", "uuid": 5, "updates": "no"}),
    encode({"type": "ViewerCameraMessage", "wxyz": "no"}),
    encode({"type": "CommandTriggerMessage", "uuid": "no"}),
    encode({"type": "FileTransferPart", "part_index": -1}),
]


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_message_ends_at_most_its_own_connection(page, message, caplog):
    with contextlib.suppress(ConnectionClosed), open_page(page._server.get_port()) as browser:
        browser.send(message)
        browser.ping().wait(2.0)
    assert steers(page, 0.25)
    assert steers(page, 0.0)
    assert all(len(record.getMessage().splitlines()) == 1 and not record.exc_info for record in caplog.records)


def test_values_that_a_slider_cannot_have_change_nothing(page):
    assert steers(page, 0.25)
    with open_page(page._server.get_port()) as browser:
        wait_for(page.is_watched)
        for value in (math.nan, math.inf, "fast", None, [1.0], {"a": 1}):
            change(browser, page._sliders[0], value=value)
        change(browser, page._sliders[0], no_such_property=1)
        change(browser, page._sliders[1], value=0.3)  # comes after them
        wait_for(lambda: page.player.process_requests() or page.player.command[1] > 0.0)
    assert page.player.command == pytest.approx((0.25, 0.3, 0.0))
    page.update(force=True)
    assert [slider.value for slider in page._sliders] == pytest.approx([0.25, 0.3, 0.0])


def test_a_huge_message_is_not_read(page):
    with open_page(page._server.get_port()) as browser:
        with pytest.raises(ConnectionClosed) as closed:
            browser.send(b"x" * (web.MAX_MESSAGE + 1))
            while True:
                browser.recv(timeout=10.0)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009  # message too big
    assert steers(page, 0.5)


def test_a_hundred_pages_and_as_many_connections_that_say_nothing(page):
    port = page._server.get_port()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port))))
            stack.enter_context(open_page(port))
        wait_for(lambda: len(page._server.get_clients()) == 100)
        assert steers(page, 0.75)
    wait_for(lambda: not page.is_watched())


def test_frames_do_not_pile_up_behind_a_client_that_reads_nothing(page):
    """What is sent is what is newest: messages wait once per thing drawn, however many frames there were."""
    buffer = page._server._websock_server._broadcast_buffer
    with socket.create_connection(("127.0.0.1", page._server.get_port())) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
            + f"Sec-WebSocket-Protocol: viser-v{viser_version()}\r\n\r\n".encode()
        )
        assert slow.recv(12) == b"HTTP/1.1 101"
        frames(page, 200)
        waiting, before = len(buffer.message_from_id), resident()
        frames(page, 1000)
        assert len(buffer.message_from_id) <= waiting + 5
        assert resident() - before < 20e6  # bytes; a frame is about 10 kB


def viser_version() -> str:
    import viser

    return viser.__version__


def frames(page: Page, count: int) -> None:
    """Draw the robot `count` times, each time elsewhere."""
    for _ in range(count):
        page.player.env.sim.root_pos[:, 0] += 0.001
        page.update()


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
