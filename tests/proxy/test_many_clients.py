"""Hundreds of clients in other languages at once, many of which leave or are killed: nothing leaks, nothing hangs.

``DW_AGENTS_PROXY_CLIENTS`` sets how many there are; `make proxy-load` runs this with thousands.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.proxy.process import serving
from tests.proxy.support import ask, eventually

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from tests.proxy.process import Served

CLIENTS = int(os.environ.get("DW_AGENTS_PROXY_CLIENTS", "500"))
KILLED = CLIENTS // 5
BORN_TO_WAIT = "waits", "streams", "calls_tools"
BORN_TO_LEAVE = "leaves", "leaves_stream", "sends_half"
SCRIPT = Path(__file__).with_name("clients.mjs")
NUMBER = re.compile(r"number (\d+)\.")

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def _node(served: Served, first: int, count: int, *manner: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), served.base_url, str(first), str(count), *manner, stdout=asyncio.subprocess.PIPE
    )


def _asked(emulator: Emulator) -> Counter[int]:
    """How often each client's number was submitted to the service."""
    found = (NUMBER.search(json.dumps(job.body)) for job in emulator.jobs)
    return Counter(int(match[1]) for match in found if match)


def _connections(served: Served) -> int:
    """How many connections of clients the server has not let go."""
    port = int(served.base_url.removesuffix("/v1").rpartition(":")[2])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    let_go = {"06", "0A"}  # waiting for stray packets; listening
    return sum(int(row[1].rpartition(":")[2], 16) == port and row[3] not in let_go for row in rows)


@needs_node
@pytest.mark.timeout(60 + CLIENTS // 10)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at connections in /proc")
@pytest.mark.parametrize("emulator", [{"latency": (0.5, 2.5), "record": 0}], indirect=True)
async def test_hundreds_of_node_clients_of_which_many_leave_or_are_killed(
    emulator: Emulator, http: ClientSession
) -> None:
    with serving(emulator, "--keep-alive", "0.3s") as served:
        crowd = await _node(served, 0, CLIENTS)
        doomed = await _node(served, 10_000_000, KILLED, "streams")
        assert await eventually(lambda: sum(number >= 10_000_000 for number in _asked(emulator)) > KILLED // 2, 30.0)
        doomed.kill()
        out, _ = await crowd.communicate()
        await doomed.communicate()
        told: dict[str, dict[str, list[int]]] = json.loads(out)

        assert told.keys() == {*BORN_TO_WAIT, *BORN_TO_LEAVE}
        assert all(list(told[manner]) == ["answered"] for manner in BORN_TO_WAIT), told
        assert all(list(told[manner]) == ["left"] for manner in BORN_TO_LEAVE), told
        assert await eventually(lambda: not emulator.running(), 30.0), emulator.running()
        assert sum(job.state == "deleted" for job in emulator.jobs) > KILLED // 2
        assert await eventually(lambda: not _connections(served))
        health = served.base_url.removesuffix("/v1") + "/healthz"
        async with http.get(health) as reply:
            assert (await reply.json())["in_flight"] == 0
        asked = _asked(emulator)
        answered = {number for manner in BORN_TO_WAIT for number in told[manner]["answered"]}
        assert {number: asked[number] for number in answered} == dict.fromkeys(answered, 1)
        assert not asked.keys() & set(told["sends_half"]["left"])
        async with http.post(f"{served.base_url}/responses", json=ask("afterwards")) as reply:
            assert reply.status == 200
        status, out_text, err = await asyncio.to_thread(served.stop)
    assert (status, err) == (0, "")
    assert "cut off" not in out_text
    assert "possible duplicates" not in out_text


@needs_curl
async def test_curl_s_own_crowd_is_answered_each_with_its_own(emulator: Emulator, tmp_path: Path) -> None:
    lines: list[str] = []
    for number in range(60):
        body: dict[str, Any] = ask(f"number {number}.")
        lines += [
            *(["next"] if lines else []),
            'url = "URL/responses"',
            'header = "Content-Type: application/json"',
            f"data = {json.dumps(json.dumps(body))}",
            f'output = "{tmp_path / str(number)}"',
        ]
    with serving(emulator) as served:
        config = "\n".join(lines).replace("URL", served.base_url)
        curl = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "60", "--config", "-"),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await curl.communicate(config.encode())
    assert curl.returncode == 0, err.decode()
    for number in range(60):
        assert f"number {number}." in (tmp_path / str(number)).read_text()
    assert _asked(emulator) == Counter(range(60))
