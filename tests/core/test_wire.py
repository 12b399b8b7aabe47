"""The connection: the key goes to one host, the environment counts, and a lost reply is told from one not sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from dw_agents import Engine, NotFound, ServiceError, ServiceUnreachable
from dw_agents.config import resolve_account
from dw_agents.emulator import Emulator
from dw_agents.errors import BadRequest, RateLimited
from dw_agents.ticket import Ticket
from dw_agents.wire.http import Connection, NotSent, Reply, ReplyLost
from dw_agents.wire.responses import job_error, read_job, reply_error, salvage_id
from tests.core.conftest import QUICK
from tests.core.steps import SUBMIT, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TRUST_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A bare server whose handler does exactly what the test says."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*connections)


async def ask(address: str, *, timeout: float = 5.0, tls: ssl.SSLContext | None = None) -> Reply:  # noqa: ASYNC109 - it is the time-out under test
    connection = Connection(resolve_account("sk-secret", address), tls=tls)
    try:
        return await connection.request("POST", "/responses", b"{}", timeout=timeout)
    finally:
        await connection.close()


def replying(text: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(text)
        await writer.drain()

    return handler


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


async def test_a_connection_that_is_refused_was_not_sent(free_address: str) -> None:
    with pytest.raises(NotSent, match="could not connect to 127"):
        await ask(free_address)


async def test_a_host_without_an_address_was_not_sent() -> None:
    with pytest.raises(NotSent):
        await ask("http://nowhere.invalid/v1")


async def test_a_connection_closed_without_a_reply_is_a_lost_reply() -> None:
    async with listening(replying(b"")) as port:
        with pytest.raises(ReplyLost, match="broke"):
            await ask(f"http://127.0.0.1:{port}/v1")


async def test_a_reply_that_breaks_off_keeps_what_arrived() -> None:
    text = b'HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{"id":"resp_12345678"'
    async with listening(replying(text)) as port:
        with pytest.raises(ReplyLost) as caught:
            await ask(f"http://127.0.0.1:{port}/v1")
    assert caught.value.status == 202
    assert caught.value.partial == b'{"id":"resp_12345678"'


async def test_silence_is_a_lost_reply_after_the_time_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(ReplyLost, match=r"within 0\.1 s|broke"):
            await ask(f"http://127.0.0.1:{port}/v1", timeout=0.1)


async def test_the_key_is_sent_to_the_configured_host_and_a_redirect_is_not_followed(emulator: Emulator) -> None:
    elsewhere: list[bytes] = []
    async with listening(replying(OK, elsewhere)) as port:
        emulator.faults.add("redirect", route=SUBMIT, location=f"http://127.0.0.1:{port}/v1/responses")
        async with Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
            with pytest.raises(BadRequest, match="redirects, and the key is sent to no other host"):
                await engine.arun(step())
    assert elsewhere == []


async def test_the_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    async with listening(replying(OK, seen)) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        await ask("http://somewhere.example/v1")
        assert seen[0].startswith(b"POST http://somewhere.example/v1/responses ")
        monkeypatch.setenv("no_proxy", "somewhere.example")
        with pytest.raises(NotSent):
            await ask("http://somewhere.example/v1")


async def test_a_netrc_file_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[bytes] = []
    async with listening(replying(OK, seen)) as port:
        await ask(f"http://127.0.0.1:{port}/v1")
    assert b"Authorization: Bearer sk-secret" in seen[0]


async def test_users_headers_are_sent_beside_the_key_but_never_in_its_place(emulator: Emulator) -> None:
    headers = {"X-Team": "search", "Authorization": "Bearer wrong"}
    async with Engine(api_key=emulator.api_key, base_url=emulator.base_url, headers=headers) as engine:
        await engine.arun(step())
    sent = emulator.requests[0].headers
    assert sent["X-Team"] == "search"
    assert sent["Authorization"] == f"Bearer {emulator.api_key}"
    assert sent["User-Agent"].startswith("dw-agents/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate for this machine, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
         "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


async def test_an_unknown_certificate_is_refused_before_anything_is_sent_and_a_users_own_trust_is_honoured(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    for variable in TRUST_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    seen: list[bytes] = []
    async with listening(replying(OK, seen), server) as port:
        address = f"https://127.0.0.1:{port}/v1"
        with pytest.raises(NotSent, match="certificate"):
            await ask(address)
        assert seen == []
        assert (await ask(address, tls=trusting)).status == 200
        for variable in TRUST_VARIABLES:
            with monkeypatch.context() as patch:
                patch.setenv(variable, str(certificate / "cert.pem"))
                assert (await ask(address)).status == 200


async def test_a_certificate_file_that_is_not_there_is_an_error_of_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "nowhere.pem")
    with (
        Engine(api_key="k", base_url="https://127.0.0.1:1/v1", retries=QUICK) as engine,
        pytest.raises(OSError, match="No such file"),
    ):
        await engine.arun(step())


async def test_the_service_is_reached_over_ipv6_as_well() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    with Emulator(host="::1") as emulator, Engine(api_key=emulator.api_key, base_url=emulator.base_url) as engine:
        await engine.arun(step())


# Reading replies.


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"too many","type":"rate_limit","code":"slow_down"}}', "too many", "slow_down"),
        (
            b'{"error":"too_many_requests","message":"wait a bit","retry_after_seconds":30}',
            "wait a bit",
            "too_many_requests",
        ),
        (b"plain text", "plain text", None),
        (b"", "submitting failed (429).", None),
        (b'["not", "an", "object"]', '["not", "an", "object"]', None),
        (b"\xff\xfe", "\ufffd", None),
    ],
)
def test_both_families_of_error_bodies_are_read(body: bytes, message: str, code: str | None) -> None:
    error = reply_error(429, body, doing="submitting", ticket=Ticket(step()))
    assert isinstance(error, RateLimited)
    assert message in str(error)
    assert error.code == code
    assert error.status == 429


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"type": "insufficient_credits", "message": "m", "code": 402}, 402, "insufficient_credits"),
        ({"type": "server_error", "message": "m"}, None, "server_error"),
        ({"code": "rate_limit_exceeded", "message": "m"}, 429, "rate_limit_exceeded"),
        ({"code": "server_error", "message": "m"}, 500, "server_error"),
        ({"code": "invalid_prompt", "message": "m"}, 400, "invalid_prompt"),
        ({"code": "503", "message": "m"}, 503, "503"),
        (None, None, None),
    ],
)
def test_a_failed_jobs_code_is_an_http_status_here_and_a_word_at_openai(
    error: dict[str, object] | None, status: int | None, code: str | None
) -> None:
    import msgspec

    job = read_job(msgspec.json.encode({"id": "resp_1", "status": "failed", "error": error}))
    assert job is not None
    made, read = job_error(job, Ticket(step()))
    assert (read, made.code) == (status, code)
    assert isinstance(made, ServiceError)


def test_what_is_no_response_is_not_read_as_one() -> None:
    assert read_job(b"<html>") is None
    assert read_job(b'{"object":"list"}') is None
    assert read_job(b'{"id":"resp_1","status":7}') is None


def test_only_the_id_of_a_response_is_salvaged() -> None:
    assert salvage_id(b'{"id": "resp_0123-abcd", "object"') == "resp_0123-abcd"
    assert salvage_id(b'{"id": "resp_01') is None
    assert salvage_id(b'{"id": "file-0123456789"') is None


def test_an_error_shows_the_services_words_but_not_a_whole_page() -> None:
    error = reply_error(502, b"x" * 100_000, doing="polling", ticket=Ticket(step()))
    assert len(str(error)) < 1000
    assert len(error.body) == 2000


async def test_realtime_is_one_request_and_one_answer(engine: Engine, emulator: Emulator) -> None:
    for endpoint, body in (
        ("/responses", {}),
        ("/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/embeddings", {}),
    ):
        answer = await engine.arun(step(service_tier="priority", endpoint=endpoint, body=body))
        assert answer.body["object"] in {"response", "chat.completion", "list"}
        assert answer.usage is not None
    assert emulator.counters.requests == emulator.counters.realtime == 3
    assert {tier for _, tier in engine.receipt().lines} == {"realtime"}


async def test_a_realtime_answer_that_is_cut_says_so(engine: Engine) -> None:
    chat = {"messages": [{"role": "user", "content": "a long story, please"}], "max_tokens": 2}
    answer = await engine.arun(step(service_tier="priority", endpoint="/chat/completions", body=chat))
    assert answer.truncated


async def test_a_realtime_caller_who_leaves_closes_the_connection(engine: Engine, emulator: Emulator) -> None:
    emulator.faults.add("stall", route=SUBMIT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.arun(step(service_tier="priority")), 0.2)
    emulator.faults.clear()
    started = time.monotonic()
    await asyncio.to_thread(engine.close)
    assert time.monotonic() - started < 5


async def test_realtime_errors_are_the_same_as_on_flex(engine: Engine, emulator: Emulator, free_address: str) -> None:
    emulator.faults.add("fail_job", code=404)
    with pytest.raises(NotFound):
        await engine.arun(step(service_tier="priority"))
    async with Engine(api_key="k", base_url=free_address, retries=QUICK) as lost:
        with pytest.raises(ServiceUnreachable):
            await lost.arun(step(service_tier="priority"))
