"""The page of play.py --web: where it listens, who may use it, and that its controls steer the robots."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import play
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer import page as pages
from legged_gym_ext.viewer import web
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.controls import KEYS
from legged_gym_ext.viewer.player import Player, nominal

viser = pytest.importorskip("viser")
pytest.importorskip("mjviser")
pytest.importorskip("mujoco")


@pytest.fixture
def server():
    with web.page_server("127.0.0.1", 0) as opened:
        yield opened


def make_player(task: str, robots: int = 1, gap: float = 0.0) -> Player:
    """Untrained robots on a small map."""
    env_cfg, _ = task_registry.get_cfgs(task)
    nominal(env_cfg)
    env_cfg.env.num_envs, env_cfg.terrain.num_rows, env_cfg.terrain.num_cols = robots, 3, 5
    env, _ = task_registry.make_env(task, env_cfg)
    return Player(env, Agent("zero", env, task), gap)


def moved_by_a_browser(control, value) -> None:
    """Tell the callbacks of a control that a browser moved it."""
    event = SimpleNamespace(client=SimpleNamespace(add_notification=lambda *a, **k: None), target=control)
    control._impl.value = value
    for callback in control._impl.update_cb:
        callback(event)


async def _connect(port: int, origin: str | None) -> bool:
    import websockets

    try:
        async with websockets.connect(
            f"ws://127.0.0.1:{port}", origin=origin, subprotocols=[f"viser-v{viser.__version__}"], max_size=None
        ) as connection:
            return len(await connection.recv()) > 0
    except websockets.InvalidStatus:
        return False


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:9999", True),  # a tunnel
        (None, True),
        ("http://evil.example", False),
        ("http://127.0.0.1.evil.example:8080", False),
    ],
)
def test_pages_of_other_web_sites_cannot_steer(server, origin, welcome):
    assert asyncio.run(_connect(server.get_port(), origin)) == welcome


def test_the_guard_is_gone_after_the_start(server):
    import websockets.asyncio.server

    assert isinstance(websockets.asyncio.server.serve, type)


def test_the_page_cannot_be_published_on_the_internet(server):
    assert server.request_share_url() is None
    assert server._share_tunnel is None


def test_the_port_is_open_to_this_machine_only():
    host, _ = web.parse_address("0")
    assert host == "127.0.0.1"


def test_a_taken_port_is_one_line_that_names_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"port {port} of 127.0.0.1 is taken; choose another, e.g. --web {port + 1}"
        ):
            play.main(["--task=go2_flat", "--agent=zero", f"--web={port}"])


def test_a_host_that_does_not_exist_is_one_line():
    with pytest.raises(UserError, match=r"--web: cannot listen at host\.invalid:0"), web.page_server("host.invalid", 0):
        pass


def test_a_closed_server_gives_its_port_back(capsys):
    with web.page_server("127.0.0.1", 0) as first:
        port = first.get_port()
    with web.page_server("127.0.0.1", port) as second:
        assert second.get_port() == port
    assert capsys.readouterr().out == ""  # viser greets with a panel


@pytest.mark.parametrize("package", web.PACKAGES)
def test_a_missing_package_is_one_line_with_what_installs_it(monkeypatch, package):
    monkeypatch.setattr(web, "installed", lambda name: name != package)
    with pytest.raises(UserError, match=rf"--web needs the package '{package}': .*pip install .*\[view\]"):
        play.main(["--task=go2_flat", "--agent=zero", "--web=0"])


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
        (["--follow"], "--follow .* needs --web"),
        (["--web", "--follow", "--agent=zero"], "needs --web, and a trained --agent"),
        (["--web", "--follow", "--checkpoint=5"], "leave out --checkpoint"),
    ],
)
def test_impossible_ways_to_watch_are_refused(flags, word):
    with pytest.raises(UserError, match=word):
        play.main(["--task=go2_flat", *flags])


def test_every_key_has_one_on_the_page_which_does_not_move_the_camera():
    assert set(pages.PAGE_KEYS) == {key.name for key in KEYS}
    assert len(set(pages.PAGE_KEYS.values())) == len(KEYS)
    assert not set(pages.PAGE_KEYS.values()) & {*"WASDQE", "arrowup", "arrowdown", "arrowleft", "arrowright"}


def test_sliders_command_the_robot_and_follow_the_keys(server):
    player = make_player("go2_flat")
    page = pages.Page(server, player)
    moved_by_a_browser(page._sliders[0], 0.5)
    player.process_requests()
    assert player.command == (0.5, 0.0, 0.0)
    player.press("left")
    player.process_requests()
    page.update(force=True)
    assert [slider.value for slider in page._sliders] == [0.5, 0.0, 0.1]


def test_kind_and_level_are_chosen_on_the_page(server):
    player = make_player("go2")
    page = pages.Page(server, player)
    moved_by_a_browser(page._kind, "stairs_up")
    moved_by_a_browser(page._level, 2)
    player.process_requests()
    assert player.start_tile() == ("stairs_up", 2)
    assert player.ground() == "stairs_up, level 2"


def test_plots_hold_command_velocity_and_reward_of_the_robot_in_focus(server):
    player = make_player("go2_flat", robots=2)
    page = pages.Page(server, player)
    page.focus = 1
    player.set_command((0.25, 0.0, 0.0))
    for _ in range(20):
        player.step()
    page.update(force=True)
    times, command, actual = page._plots[0].data
    stride = 4  # 10 s of 0.02 s are 500 samples, of which 125 are plotted
    assert len(times) == 5
    assert times[-1] == pytest.approx(-(20 - 1 - 4 * stride) * 0.02)
    assert np.allclose(command, 0.25)
    assert np.allclose(actual, player.tracking(1)[::stride, 3])
    assert np.allclose(page._plots[3].data[1], player.rewards(1)[::stride])
    assert not np.allclose(player.rewards(0), 0.0)


def test_the_robot_in_focus_is_in_the_middle_and_the_ground_moves_with_it(server):
    player = make_player("go2", robots=2, gap=0.8)
    player.request("level", 1)
    player.process_requests()
    page = pages.Page(server, player)
    page.focus = 1
    page.update(force=True)
    page.update(force=True)
    scene, base = page._scene, player.env.sim.root_pos[:, :2].numpy()
    base_id = scene._model.body("base").id
    group = next(group for group in scene._robots._mesh_groups if base_id in group.body_ids and group.handle.visible)
    drawn = group.handle.batched_positions.reshape(2, -1, 3)[:, list(group.body_ids).index(base_id), :2]
    assert np.allclose(drawn[1], 0.0, atol=1e-5)
    assert np.allclose(drawn[0], base[0] - base[1], atol=1e-5)
    assert np.allclose(base[0] - base[1], [0.0, 0.8], atol=1e-5)  # side by side, the first one on the left
    assert np.allclose(scene._ground._frame.position[:2], -base[1], atol=1e-5)


def test_all_ground_is_drawn_where_the_map_has_it():
    from legged_gym_ext.simulators.mujoco.page_scene import CUBE, CUBE_FACES, surface
    from legged_gym_ext.terrain.map import Field

    heights = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    vertices, faces = surface(Field(heights, (5.0, 7.0), (0.5, 1.0)))
    assert vertices[0].tolist() == [4.5, 6.0, 0.0]
    assert vertices[-1].tolist() == [5.5, 8.0, 2.0]
    for corners, triangles in ((vertices, faces), (CUBE[:4], CUBE_FACES[:2])):
        a, b, c = (corners[triangles[:, index]] for index in range(3))
        assert (np.cross(b - a, c - a)[:, 2] > 0.0).all()  # seen from above, not from below
    a, b, c = (CUBE[CUBE_FACES[:, index]] for index in range(3))
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0.0).all()  # the sides face outwards
