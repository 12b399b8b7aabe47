"""``python -m dw_agents.emulator``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dw_agents.emulator import Emulator
from dw_agents.emulator.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "dw_agents.emulator", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _greeting(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    told: dict[str, str] = {}
    for line in process.stdout:
        name, _, value = line.strip().partition(":")
        told[name] = value.strip()
        if line.startswith("Stop"):
            break
    return told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_what_answers_and_stops_cleanly(number: signal.Signals) -> None:
    with _process("--api-key", "k1", "--fault", "status:route=GET /models,status=503,retry_after=2") as process:
        told = _greeting(process)
        request = urllib.request.Request(told["base URL"] + "/models", headers={"Authorization": "Bearer k1"})
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            urllib.request.urlopen(request, timeout=5)
        caught.value.close()
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=5)

    assert told["API key"] == "k1"
    assert told["answers"]
    assert caught.value.headers["Retry-After"] == "2"
    assert (process.returncode, err) == (0, "")
    assert "Stopped after 1 requests" in out


def test_its_batches_can_be_openais_and_take_their_time() -> None:
    with _process("--profile", "openai", "--batch-latency", "1,2", "--line-latency", "0.5") as process:
        request = urllib.request.Request(
            _greeting(process)["base URL"] + "/batches", headers={"Authorization": "Bearer wrong"}
        )
        with pytest.raises(urllib.error.HTTPError, match="401") as caught:
            urllib.request.urlopen(request, timeout=5)
        with caught.value as reply:
            assert b'"error":{' in reply.read()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--latency", "soon"], "--latency"),
        (["--fault", "nonsense"], "unknown kind of fault"),
        (["--backend", "upstream"], "--upstream URL"),
        (["--speed", "0"], "speed"),
        (["--backend", "oracle"], "oracle"),
        (["--profile", "azure"], "azure"),
        (["--line-latency", "soon"], "--line-latency"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_and_ends_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator() as emulator:
        port = emulator.base_url.split(":")[2].split("/")[0]

        assert main(["--port", port]) == 1

    assert "could not start" in capsys.readouterr().err
