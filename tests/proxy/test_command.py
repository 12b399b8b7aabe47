"""The command `dw-agents serve`, as a process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from dw_agents.cli import main
from tests.proxy.process import serving
from tests.proxy.support import TOKEN, ask, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator


async def test_it_serves_until_sigterm_and_says_what_was_paid(emulator: Emulator, http: ClientSession) -> None:
    with serving(emulator, "--service-tier", "priority", "--verbose") as served:
        async with http.post(f"{served.base_url}/responses", json=ask()) as reply:
            assert reply.status == 200
            ident = reply.headers["X-Request-Id"]
        status, out, err = await asyncio.to_thread(served.stop)
    assert status == 0
    assert "realtime" in out
    assert f"{ident} POST /v1/responses 200" in err
    assert emulator.counters.realtime == 1


@pytest.mark.parametrize("emulator", [{"latency": 60.0}], indirect=True)
async def test_a_second_ctrl_c_does_not_wait_for_calls(emulator: Emulator, http: ClientSession) -> None:
    with serving(emulator, "--drain", "1h") as served:
        calling = asyncio.create_task(_status(http, served.base_url))
        assert await eventually(emulator.running)
        served.process.send_signal(signal.SIGINT)
        assert served.process.stderr is not None
        assert "calls in flight: 1" in await asyncio.to_thread(served.process.stderr.readline)
        status, out, _ = await asyncio.to_thread(served.stop, signal.SIGINT)
    assert (status, await calling) == (0, 503)
    assert "Calls cut off: 1." in out
    assert emulator.running() == []


@pytest.mark.parametrize("emulator", [{"latency": 2.0}], indirect=True)
async def test_after_a_kill_the_next_process_collects_the_answer_that_was_paid(
    emulator: Emulator, http: ClientSession, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal.db")
    with serving(emulator, journal=journal) as served:
        calling = asyncio.create_task(_status(http, served.base_url))
        assert await eventually(emulator.running)
        await asyncio.sleep(0.3)  # the reply to the submission is on its way to the journal
        await asyncio.to_thread(served.stop, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await calling
    with serving(emulator, journal=journal) as served:
        assert await _status(http, served.base_url) == 200
    assert len(emulator.jobs) == 1


async def test_the_token_comes_from_the_environment_and_lets_it_listen_elsewhere(
    emulator: Emulator, http: ClientSession
) -> None:
    with serving(emulator, "--host", "0.0.0.0", DW_AGENTS_PROXY_TOKEN=TOKEN) as served:
        url = served.base_url.replace("0.0.0.0", "127.0.0.1")
        async with http.get(f"{url}/models") as reply:
            assert reply.status == 401
        async with http.get(f"{url}/models", headers={"Authorization": f"Bearer {TOKEN}"}) as reply:
            assert reply.status == 200
        _, out, err = await asyncio.to_thread(served.stop)
    assert TOKEN not in out + err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--host", "0.0.0.0"], 2, "DW_AGENTS_PROXY_TOKEN"),
        (["--completion-window", "1h"], 2, "completion_window"),
        (["--base-url", "ftp://x"], 2, "base_url"),
        (["--service-tier", "gold"], 2, "invalid choice"),
        (["--port", "70000"], 2, "port=70000"),
        (["--journal", "/proc/no/journal.db"], 2, "/proc/no"),
    ],
)
def test_what_cannot_be_served_is_said_before_listening(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "a-key")
    assert main(["serve", "--port", "0", *arguments]) == status
    assert said in capsys.readouterr().err


def test_without_a_key_it_says_where_keys_are_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0"]) == 2
    assert "DOUBLEWORD_API_KEY" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "a-key")
    port = emulator.base_url.removesuffix("/v1").rpartition(":")[2]
    assert main(["serve", "--port", port, "--journal", "off"]) == 1
    assert f"port {port}" in capsys.readouterr().err


def test_the_help_of_the_command_line_does_not_load_the_proxy() -> None:
    code = (
        "import sys; from dw_agents.cli import main; main(['serve', '--help']);"
        "sys.exit(any(name in sys.modules for name in ('aiohttp', 'asyncio', 'msgspec', 'dw_agents.proxy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


async def _status(http: ClientSession, base_url: str) -> int:
    async with http.post(f"{base_url}/responses", json=ask()) as reply:
        return reply.status
