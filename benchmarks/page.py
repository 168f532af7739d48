"""The page of play.py --web under load: memory over many frames, and clients that are malformed, huge, slow and many.

The robot is drawn elsewhere in each frame, as fast as the processor allows; text and plots change in every sixth, as
they do at 30 frames per second. One client reads all, one never reads. Then 800 rude ones come and go, with malformed
and huge messages and half requests. Then 100 pages that read and 100 connections that say nothing are open at once.
Clients live in a process of their own, so that the memory is that of the page alone.

    python benchmarks/page.py --frames 20000 --json benchmarks/results/page.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import gc
import json
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SETTLED = 2000  # frames until caches are full
STATE_EVERY = 6  # frames: 30 frames and 5 states per second
RUDE = 100  # times eight clients
DAY = 30 * 86400  # frames
MANY = 100


def main() -> None:
    """Parse flags, run, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    args = parser.parse_args()
    text = json.dumps(measure(args.frames), indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


def measure(frames: int) -> dict[str, Any]:
    """Serve the page, load it, and count."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.viewer import player as players
    from legged_gym_ext.viewer import web
    from legged_gym_ext.viewer.agents import Agent
    from legged_gym_ext.viewer.page import Page

    cfg, _ = task_registry.get_cfgs("go2_flat")
    players.nominal(cfg)
    cfg.env.num_envs = 1
    env = task_registry.make_env("go2_flat", cfg)[0]
    begin = time.monotonic()
    with web.page_server("127.0.0.1", 0) as server, clients(server.get_port()) as ask:
        page = Page(server, players.Player(env, Agent("zero", env, "go2_flat")))
        ask("open", 1), ask("slow", 1)
        wait(lambda: len(server.get_clients()) == 1)
        found = long_run(page, frames)
        found["messages_read"] = ask("read", 0)
        found.update(rude(page, ask))
        found.update(many(page, ask))
    return {"date": datetime.date.today().isoformat(), **found, "seconds": round(time.monotonic() - begin)}


def long_run(page: Any, frames: int) -> dict[str, Any]:
    """Draw, and look at the memory twenty times once caches are full."""
    draw(page, SETTLED)
    begin, memory = objects(), [resident()]
    for part in range(1, 21):
        draw(page, frames // 20)
        memory.append(resident())
        print(f"{part * frames // 20} frames: {memory[-1] / 1e6:.2f} MB", file=sys.stderr, flush=True)
    return {
        "frames": frames,
        "frames_of_a_day": DAY,
        "memory_MB": [round(value / 1e6, 2) for value in memory],
        "objects": [begin, objects()],
    }


def rude(page: Any, ask: Any) -> dict[str, Any]:
    """Rude clients come and go; a client that does not is served all the time."""
    begin, memory, came = objects(), [resident()], 0
    for number in range(RUDE):
        came += ask("rude", number)
        draw(page, 1)
        if (number + 1) % (RUDE // 4) == 0:
            memory.append(resident())
    time.sleep(1.0)
    return {
        "rude_clients": came,
        "memory_with_rude_clients_MB": [round(value / 1e6, 2) for value in memory],
        "objects_with_rude_clients": [begin, objects()],
    }


def many(page: Any, ask: Any) -> dict[str, int]:
    """A hundred pages that read and a hundred silent connections; handles and clients before and after."""
    server, before = page._server, (handles(), len(page._server.get_clients()))
    ask("silent", MANY)
    for number in range(10, MANY + 1, 10):
        ask("open", 10)
        wait(lambda number=number: len(server.get_clients()) == before[1] + number)
    at_most = len(server.get_clients())
    draw(page, 200)
    read = ask("read", 0)
    ask("close", 0)
    wait(lambda: not server.get_clients() and handles() < before[0])
    return {"pages_at_once": at_most, "silent_at_once": MANY, "messages_read_in_all": read, "handles_before": before[0],
            "handles_after": handles(), "memory_after_MB": round(resident() / 1e6)}  # fmt: skip


def draw(page: Any, count: int) -> None:
    """Draw the robot `count` times, each time elsewhere."""
    for frame in range(count):
        page.player.env.sim.root_pos[:, 0] += 0.001
        page.update(force=frame % STATE_EVERY == 0)
        time.sleep(0.001)  # the server is another thread


def wait(condition: Any) -> None:
    """Until something is so, five minutes at most: the machine may be busy."""
    end = time.monotonic() + 300.0
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the page does not answer")
        time.sleep(0.02)


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def objects() -> int:
    """Python objects of this process that may refer to others."""
    gc.collect()
    return len(gc.get_objects())


def handles() -> int:
    """Open files and sockets of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


# -- clients -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def clients(port: int) -> Any:
    """A process of clients; yields a function that asks it for something and returns what it counts."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=serve_clients, args=(port, other), daemon=True)
    process.start()

    def ask(what: str, number: int) -> int:
        pipe.send((what, number))
        return pipe.recv()

    try:
        yield ask
    finally:
        process.terminate()
        process.join()


def serve_clients(port: int, pipe: Connection) -> None:
    """Do what is asked for until this process is ended."""
    asyncio.run(_serve_clients(port, pipe))


async def _serve_clients(port: int, pipe: Connection) -> None:
    readers: list[asyncio.Task] = []
    silent: list[socket.socket] = []
    counts = {"read": 0}
    while True:
        what, number = await asyncio.to_thread(pipe.recv)
        answer = 0
        if what == "open":
            readers += [asyncio.create_task(_read(port, counts)) for _ in range(number)]
        elif what in ("silent", "slow"):
            silent += [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]
            if what == "slow":
                silent[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                silent[-1].sendall(_handshake())
        elif what == "rude":
            answer = await asyncio.to_thread(_be_rude, port, number)
        elif what == "read":
            answer = counts["read"]
        else:
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            for connection in silent:
                connection.close()
        pipe.send(answer)


async def _read(port: int, counts: dict[str, int]) -> None:
    """Have the page open and read what comes."""
    import msgspec
    import viser
    from websockets.asyncio.client import connect

    from tests.viser_client import CAMERA

    options: Any = {"subprotocols": [f"viser-v{viser.__version__}"], "max_size": None, "compression": None}
    options["open_timeout"] = options["ping_timeout"] = None  # the machine may be busy
    async with connect(f"ws://127.0.0.1:{port}", **options) as page:
        await page.send(msgspec.msgpack.encode(CAMERA))
        async for _ in page:
            counts["read"] += 1


def _be_rude(port: int, number: int) -> int:
    """Come with something malformed, something huge, half a request; the number of clients that came."""
    from websockets.exceptions import ConnectionClosed

    from legged_gym_ext.viewer.web import MAX_MESSAGE
    from tests.viser_client import open_page

    rng = np.random.default_rng(number)
    messages = [rng.bytes(int(rng.integers(0, 2000))), "text", b"x" * (MAX_MESSAGE + 1), b""]
    for message in messages:
        with contextlib.suppress(ConnectionClosed), open_page(port) as browser:
            browser.send(message)
    for data in (b"GET / HTTP/1.1\r\nHost", rng.bytes(500), _handshake(), b""):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(data)
    return len(messages) + 4


def _handshake() -> bytes:
    """The beginning of a connection that nobody reads from."""
    import viser

    return (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
        + f"Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n".encode()
    )


if __name__ == "__main__":
    main()
