"""The page of play.py --web: what it serves, what it refuses, and that a real browser steers a robot with it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import play
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer import web
from tests.browser import FOUND, Browser

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class FakePlayer:
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list = []

    def request(self, action, value=None) -> None:
        if action == "jump":
            raise UserError("unknown action 'jump'")
        self.asked.append((action, value))


@pytest.fixture
def server(monkeypatch):
    """A server at a free port with a player of no substance."""
    monkeypatch.setattr(web, "player_state", lambda player: {"asked": len(player.asked)})
    page = web.PageServer("127.0.0.1", 0)
    page.serve(FakePlayer())
    yield page
    page.close()


def request(page, method: str, path: str, body=None, **headers: str):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if content is not None:
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    result = SimpleNamespace(status=answer.status, headers=answer.headers, content=answer.read())
    connection.close()
    return result


def test_the_page_needs_nothing_but_this_server(server):
    page = request(server, "GET", "/").content.decode()
    assert page.startswith("<!doctype html>")
    assert re.findall(r"https?://|//cdn|@import|src=\"(?!data:)", page) == []


def test_the_port_is_open_to_this_machine_only():
    page = web.PageServer(*web.parse_address("0"))
    assert page._http.socket.getsockname()[0] == "127.0.0.1"
    page.close()


def test_a_taken_port_is_one_line_that_names_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"port {port} of 127.0.0.1 is taken; choose another, e.g. --web {port + 1}"
        ):
            play.main(["--task=go2_flat", "--agent=zero", f"--web={port}"])


def test_a_closed_server_gives_its_port_back(server):
    second = web.PageServer("127.0.0.1", 0)
    second.close()
    web.PageServer("127.0.0.1", second.port).close()


@pytest.mark.parametrize(
    ("text", "address"),
    [("8000", ("127.0.0.1", 8000)), ("0.0.0.0:81", ("0.0.0.0", 81)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text, address):
    assert web.parse_address(text) == address


@pytest.mark.parametrize("text", ["eight", "65536", ":80", "host:", "-1", ""])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UserError, match="expected a port from 0 to 65535, or HOST:PORT"):
        web.parse_address(text)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--web", "--video=out.mp4"], "use one of the two"),
        (["--agent=both"], "--agent=both needs --video or --web"),
        (["--agent=both", "--strip=out.png"], "--agent=both needs --video or --web"),
        (["--agent=zero", "--video=out.mp4", "--width=1000"], "expected a multiple of 32"),
        (["--web=eight"], "--web=eight"),
    ],
)
def test_impossible_ways_to_watch_are_refused(flags, word):
    with pytest.raises(UserError, match=word):
        play.main(["--task=go2_flat", *flags])


def test_asked_actions_and_keys_reach_the_player_in_order(server):
    asked = [{"action": "command", "value": [0.5, 0, 0]}, {"key": "6"}, {"key": "up"}, {"action": "reset"}]
    assert [request(server, "POST", "/ask", body).status for body in asked] == [200] * 4
    expected = [("command", [0.5, 0, 0]), ("agent", None), ("move", (0.1, 0.0, 0.0)), ("reset", None)]
    assert server.player.asked == expected


def test_turns_of_the_camera_are_taken_once(server):
    request(server, "POST", "/ask", {"turn": [10, -5, 1.1]})
    assert server.pop_camera_moves() == [(10, -5, 1.1)]
    assert server.pop_camera_moves() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "jump"}, "unknown action 'jump'"),
        ({"key": "x"}, "no key 'x'"),
        ({"turn": [1, 2]}, "turn: expected"),
        ({"turn": [1, 2, 0]}, "turn: expected"),
        ({"turn": [1, 2, "a"]}, "turn: expected"),
        ([1], "expected a JSON object"),
        (b"{", "Expecting"),
        (b" " * 20_000, "at most 10000 bytes"),
    ],
)
def test_nonsense_is_answered_with_the_reason(server, body, words):
    answer = request(server, "POST", "/ask", body)
    assert answer.status == 400
    assert words in json.loads(answer.content)["error"]
    assert server.player.asked == []


@pytest.mark.parametrize("headers", [{"Content_Type": "text/plain"}, {"Host": "evil.example:80"}, {"Host": "[::1"}])
def test_other_web_sites_cannot_steer(server, headers):
    assert request(server, "POST", "/ask", {"action": "reset"}, **headers).status == 400
    assert server.player.asked == []


def test_other_names_for_this_machine_see_nothing(server):
    assert request(server, "GET", "/state", Host="evil.example").status == 403
    assert request(server, "GET", "/state", Host="localhost:9999").status == 200  # a tunnel


def test_a_picture_is_drawn_when_somebody_waits_and_each_comes_once(server):
    assert not server.is_watched()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(request(server, "GET", "/frame?after=0")))
    waiting.start()
    while not server.is_watched():
        time.sleep(0.005)
    server.publish(FRAME)
    waiting.join()
    assert answers[0].status == 200
    assert answers[0].headers["X-Number"] == "1"
    assert not server.is_watched()
    server.publish(FRAME)
    assert request(server, "GET", "/frame?after=1").headers["X-Number"] == "2"


def test_no_picture_in_time_is_no_error(server, monkeypatch):
    monkeypatch.setattr(web, "FRAME_TIMEOUT", 0.01)
    assert request(server, "GET", "/frame?after=0").status == 204


def test_a_browser_that_goes_away_leaves_the_server_answering(server, capfd):
    for content in (b"GET /frame?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST /ask HTTP/1.1\r\nConte"):
        gone = socket.create_connection(("127.0.0.1", server.port))
        gone.sendall(content)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets the connection
        gone.close()
    server.publish(np.zeros((400, 400, 3), dtype=np.uint8))
    assert request(server, "GET", "/state").status == 200
    assert capfd.readouterr().err == ""


def test_the_state_is_read_by_the_thread_that_plays(server, monkeypatch):
    monkeypatch.setattr(web, "STATE_INTERVAL", 0.0)
    request(server, "POST", "/ask", {"action": "reset"})
    assert json.loads(request(server, "GET", "/state").content) == {"asked": 0}
    server.update_state()
    assert json.loads(request(server, "GET", "/state").content) == {"asked": 1}


def test_png_without_pillow_holds_the_frame(monkeypatch):
    monkeypatch.setattr(web, "find_spec", lambda name: None)
    kind, content = web.encode(FRAME)
    assert (kind, content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    assert content[8:33] == struct.pack(">I4sIIBBBBB", 13, b"IHDR", 6, 4, 8, 2, 0, 0, 0) + struct.pack(
        ">I", zlib.crc32(content[12:29])
    )
    length = struct.unpack(">I", content[33:37])[0]
    rows = np.frombuffer(zlib.decompress(content[41 : 41 + length]), dtype=np.uint8).reshape(4, 1 + 6 * 3)
    assert not rows[:, 0].any()  # filter "none"
    assert np.array_equal(rows[:, 1:].reshape(4, 6, 3), FRAME)


@pytest.fixture
def trained(tmp_path):
    """Flags that name an untrained run of `go2_ts` on a small map."""
    pytest.importorskip("rsl_rl")
    pytest.importorskip("mujoco")
    env_cfg, train_cfg = task_registry.get_cfgs("go2_ts")
    env_cfg.env.num_envs, env_cfg.terrain.num_rows, env_cfg.terrain.num_cols = 1, 6, 6
    train_cfg.runner.logger = "none"
    env, _ = task_registry.make_env("go2_ts", env_cfg)
    runner, _ = task_registry.make_alg_runner(env, "go2_ts", train_cfg, tmp_path)
    runner.save(f"{runner.logger.log_dir}/model_0.pt")
    return ["--task=go2_ts", f"--log_root={tmp_path}", "--width=320"]


def test_a_browser_shows_and_steers_a_robot(tmp_path, trained):
    if FOUND is None:
        pytest.skip("no chromium")
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-u", play.__file__, *trained, "--web", "0"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert program.stdout and program.stderr
    try:
        urls = (re.search(r"http://127\.0\.0\.1:(\d+)/", line) for line in program.stdout)
        found = next(filter(None, urls), None)
        if found is None:
            reason = program.stderr.read()
            assert "OpenGL" in reason or "cannot draw here" in reason, reason
            pytest.skip(reason.strip())
        page = SimpleNamespace(port=int(found[1]))
        browser = Browser(tmp_path / "profile", found[0])
        try:
            _steer(browser, page)
        finally:
            browser.close()
        assert json.loads(request(page, "GET", "/state").content)["who"] == ["teacher"]  # the server goes on
    finally:
        program.kill()
        program.communicate()


def _steer(browser, page) -> None:
    """Use the controls of the page and look at the server and the picture."""
    pixels = (
        "(() => { const i = document.querySelector('#picture'), c = document.createElement('canvas');"
        " c.width = i.naturalWidth; c.height = i.naturalHeight; const p = c.getContext('2d'); p.drawImage(i, 0, 0);"
        " return Array.from(p.getImageData(0, 0, c.width, c.height).data.filter((_, k) => k % 400 === 0)); })()"
    )

    def state():
        return json.loads(request(page, "GET", "/state").content)

    browser.wait_for("state !== null && document.querySelector('#picture').naturalWidth > 0")
    assert state()["who"] == ["student"]
    first = np.array(browser.evaluate(pixels))
    assert first.std() > 10.0  # of 255; a black or single-coloured picture has 0
    for key, code in (("ArrowUp", 38), ("ArrowUp", 38), ("7", 55)):
        browser.press(key, code)
    browser.wait_for(
        "JSON.stringify(state.command) === '[0.2,0.1,0]' && document.querySelector('#slider0').value === '0.2'"
    )
    assert state()["command"] == [0.2, 0.1, 0.0]
    browser.click("#policies button:not([aria-pressed=true])")
    browser.wait_for("state.who[0] === 'teacher'")
    browser.evaluate("(() => { const s = document.querySelector('#level'); s.value = '1'; s.onchange(); })()")
    browser.wait_for("state.start[1] === 1")
    assert (state()["who"], state()["start"][1]) == (["teacher"], 1)
    browser.click("#pause")
    browser.wait_for("state.paused")
    browser.evaluate("ask({ action: 'kind', value: 'stairs_upp' })")
    browser.wait_for("document.querySelector('#message').textContent.includes('did you mean stairs_up')")
    browser.evaluate("ask({ turn: [90, 0, 1] })")
    browser.wait_for(f"(() => {{ const now = {pixels}, old = {first.tolist()};"
                     " const change = now.reduce((sum, v, k) => sum + Math.abs(v - old[k]), 0);"
                     " return change / old.length > 5; })()")  # fmt: skip
