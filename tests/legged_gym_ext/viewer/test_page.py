"""The page's controls: what a hand on it does to the player, and what it shows of the player."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.viewer import player as players
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.controls import KEYS, PAGE_KEYS
from legged_gym_ext.viewer.web import page_server

pytest.importorskip("mujoco")
pytest.importorskip("mjviser")
from legged_gym_ext.viewer.page import Page
from tests.viser_client import change, open_page


def make_player(task: str, num_envs: int = 1, gap: float = 0.0) -> players.Player:
    """Robots without a policy on a small map."""
    env_cfg, _ = task_registry.get_cfgs(task)
    players.nominal(env_cfg)
    env_cfg.env.num_envs = num_envs
    if not task.endswith("_flat"):
        env_cfg.terrain.num_rows, env_cfg.terrain.num_cols = 3, 4
    env = task_registry.make_env(task, env_cfg)[0]
    return players.Player(env, Agent("zero", env, task), gap)


@pytest.fixture
def page():
    with page_server("127.0.0.1", 0) as server:
        yield Page(server, make_player("go2_flat"))


@pytest.fixture(scope="module")
def rough():
    with page_server("127.0.0.1", 0) as server:
        yield Page(server, make_player("go2", 2, gap=0.8))


def wait_for(condition) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def served(page: Page, condition) -> None:
    """Wait until requests of the page have made `condition` true."""

    def check() -> bool:
        page.player.process_requests()
        return condition()

    wait_for(check)


def control(page: Page, label: str):
    """The control of the page that has this label now."""
    return next(
        handle
        for handle in page._gui._gui_input_handle_from_uuid.values()
        if label in (getattr(handle, "label", None), getattr(handle._impl.props, "label", None))
    )


def press(browser, page: Page, key: str) -> None:
    """Press a key of the page; the browser sends the command that belongs to it."""
    commands = page._gui._command_handle_from_uuid
    uuid = next(uuid for uuid, command in commands.items() if command.hotkey == key)
    browser.send(msgspec.msgpack.encode({"type": "CommandTriggerMessage", "uuid": uuid}))


def test_every_key_is_on_the_page_once():
    assert list(PAGE_KEYS) == [key.name for key in KEYS]
    assert len(set(PAGE_KEYS.values())) == len(KEYS)
    assert not set(PAGE_KEYS.values()) & set("WASDQE")  # they move the camera


def test_the_page_counts_who_has_it_open(page):
    assert not page.is_watched()
    with open_page(page._server.get_port()):
        wait_for(page.is_watched)
    wait_for(lambda: not page.is_watched())


def test_the_robot_stands_above_the_controls_of_a_phone(page):
    with open_page(page._server.get_port()):
        wait_for(page.is_watched)
        (wide,) = page._server.get_clients().values()
        assert tuple(wide.camera.look_at) == (0.0, 0.0, 0.0)
    wait_for(lambda: not page.is_watched())
    with open_page(page._server.get_port(), width=280):
        wait_for(page.is_watched)
        (tall,) = page._server.get_clients().values()
        # 1.8 m of the window times 1.5 and 1.4 are 3.78 m; looking 0.24 of them lower is 0.9072 m.
        wait_for(lambda: tall.camera.look_at[2] == pytest.approx(-0.9072))
        assert np.linalg.norm(tall.camera.position) == pytest.approx(3.78)


def test_a_slider_commands_and_a_key_moves_the_slider(page):
    with open_page(page._server.get_port()) as browser:
        wait_for(page.is_watched)
        change(browser, page._sliders[0], value=0.5)
        served(page, lambda: page.player.command == (0.5, 0.0, 0.0))
    page.player.press("up")
    page.player.process_requests()
    page.update(force=True)
    assert page._sliders[0].value == pytest.approx(0.6)
    assert page.player.command == pytest.approx((0.6, 0.0, 0.0))  # moving the slider is no new command


def test_the_buttons_pause_start_again_and_stop(page):
    player = page.player
    player.set_command((0.5, 0.0, 0.0))
    for _ in range(3):
        player.step()
    with open_page(page._server.get_port()) as browser:
        wait_for(page.is_watched)
        change(browser, control(page, "Pause"), value=True)
        served(page, lambda: player.paused)
        page.update(force=True)
        assert "**paused**" in page._text.content
        change(browser, control(page, "Go on"), value=True)
        served(page, lambda: not player.paused)
        assert int(player.env.episode_length_buf[0]) == 3
        change(browser, control(page, "Start again"), value=True)
        served(page, lambda: int(player.env.episode_length_buf[0]) == 0)
        assert player.command == (0.5, 0.0, 0.0)
        change(browser, control(page, "Stop"), value=True)
        served(page, lambda: player.command == (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("key", "command"),
    [("I", (0.1, 0, 0)), ("K", (-0.1, 0, 0)), ("J", (0, 0, 0.1)), ("L", (0, 0, -0.1)), ("7", (0, 0.1, 0))],
)
def test_keys_change_the_command(page, key, command):
    with open_page(page._server.get_port()) as browser:
        wait_for(page.is_watched)
        press(browser, page, key)
        served(page, lambda: page.player.command != (0.0, 0.0, 0.0))
    assert page.player.command == pytest.approx(command)


def test_keys_pause_and_move_the_robot(rough):
    player = rough.player
    kind, level = player.start_tile()
    with open_page(rough._server.get_port()) as browser:
        wait_for(rough.is_watched)
        press(browser, rough, "space")
        served(rough, lambda: player.paused)
        press(browser, rough, "space")
        served(rough, lambda: not player.paused)
        press(browser, rough, "G")
        served(rough, lambda: player.start_tile()[0] != kind)
        key, other = ("pagedown", level - 1) if level else ("pageup", level + 1)
        press(browser, rough, key)
        served(rough, lambda: player.start_tile()[1] == other)


def test_kind_and_level_move_the_robot(rough):
    rough.update(force=True)
    start = rough.player.start_tile()
    other = next(kind for kind in rough.player.kinds if kind != start[0])
    with open_page(rough._server.get_port()) as browser:
        wait_for(rough.is_watched)
        change(browser, rough._kind, value=other)
        served(rough, lambda: rough.player.start_tile()[0] == other)
        change(browser, rough._level, value=2)
        served(rough, lambda: rough.player.start_tile() == (other, 2))
        rough.update(force=True)
        assert f"{other}, level 2" in rough._text.content
        change(browser, rough._level, value=99)
        wait_for(lambda: rough._level.value == 99)
        served(rough, lambda: not rough._sent)  # refused
    rough.update(force=True)
    assert rough._level.value == 2
    assert rough.player.start_tile() == (other, 2)


def test_the_robot_in_focus_is_in_the_middle_and_the_ground_moves_with_it(rough):
    with open_page(rough._server.get_port()) as browser:
        wait_for(rough.is_watched)
        change(browser, control(rough, "Robot"), value="robot 1")
        wait_for(lambda: rough.focus == 1)
    rough.update(force=True)
    rough.update(force=True)
    scene, base = rough._scene, rough.player.env.sim.root_pos[:, :2].numpy()
    number = scene._model.body("base").id
    group = next(group for group in scene._robots._mesh_groups if number in group.body_ids and group.handle.visible)
    drawn = group.handle.batched_positions.reshape(2, -1, 3)[:, list(group.body_ids).index(number), :2]
    assert np.allclose(drawn[1], 0.0, atol=1e-5)
    assert np.allclose(drawn[0], base[0] - base[1], atol=1e-5)
    assert np.allclose(base[0] - base[1], [0.0, 0.8], atol=1e-5)  # side by side, the first one on the left
    assert np.allclose(scene._ground._frame.position[:2], -base[1], atol=1e-5)


def test_the_camera_lets_the_robot_go(rough):
    with open_page(rough._server.get_port()) as browser:
        wait_for(rough.is_watched)
        change(browser, control(rough, "Follow"), value=False)
        wait_for(lambda: not rough._scene.follows)
        rough.update(force=True)
        before = np.array(rough._scene._ground._frame.position)
        rough.player.env.sim.root_pos[:, 0] += 0.25
        rough.update(force=True)
        assert np.array_equal(rough._scene._ground._frame.position, before)
        change(browser, control(rough, "Follow"), value=True)
        wait_for(lambda: rough._scene.follows)
    rough.update(force=True)
    moved = np.array(rough._scene._ground._frame.position) - before
    assert moved[:2] == pytest.approx([-0.25, 0.0], abs=1e-5)


def test_curves_are_command_velocity_and_reward_of_the_last_steps(page):
    page.player.set_command((0.5, 0.0, 0.0))
    for _ in range(9):
        page.player.step()
    curves = page._curves()
    # 10 s of 20 ms are 500 samples, every 4th is sent: of 9 steps those with numbers 0, 4 and 8, the last one now.
    assert curves[0][0] == pytest.approx([-0.16, -0.08, 0.0])
    assert curves[0][1] == pytest.approx([0.5, 0.5, 0.5])
    assert curves[0][2] == pytest.approx(page.player.tracking()[::4, 3])
    assert len(curves) == 4
    assert np.array_equal(curves[3][1], page.player.rewards()[::4])
    assert page.player.rewards()[-1] == float(page.player.env.rew_buf[0])
