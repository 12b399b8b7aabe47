"""Who may call: tokens, keys, web pages."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from dw_agents.config import Secret
from dw_agents.errors import ConfigurationError, MissingAPIKey
from dw_agents.proxy import Proxy, Settings, upstreams
from dw_agents.proxy.settings import is_loopback
from tests.proxy.support import TOKEN, ask, chat, eventually

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from dw_agents.emulator import Emulator
    from tests.proxy.conftest import MakeProxy


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer another-token-of-the-proxy"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer täken"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer {TOKEN}"}, 200),
        ({"X-Api-Key": TOKEN}, 200),
        ({"Api-Key": TOKEN}, 200),
        ({"X-DW-Agents-Token": TOKEN}, 200),
    ],
)
async def test_where_a_token_is_asked_for_only_who_has_it_is_served(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, headers: dict[str, str], status: int
) -> None:
    proxy = await make_proxy(token=Secret(TOKEN))
    for method, path in (("POST", "/chat/completions"), ("GET", "/models"), ("GET", "/responses/resp_1234")):
        async with http.request(method, proxy.base_url + path, json=chat(), headers=headers) as reply:
            if status == 401:
                assert (reply.status, (await reply.json())["error"]["code"]) == (401, "proxy_token")
                assert TOKEN not in await reply.text()
            else:
                assert reply.status in {200, 404}
    assert (emulator.requests == []) == (status == 401)
    assert TOKEN not in str([request.headers for request in emulator.requests])


async def test_tokens_are_compared_in_constant_time_and_at_one_length(
    make_proxy: MakeProxy, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        lengths.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("hmac.compare_digest", watched)
    proxy = await make_proxy(token=Secret(TOKEN))
    for given in ("a", "b" * 500):
        async with http.get(f"{proxy.base_url}/models", headers={"Authorization": f"Bearer {given}"}) as reply:
            assert reply.status == 401
    assert lengths == [(32, 32), (32, 32)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_without_a_token_only_this_machine_can_be_listened_on(host: str) -> None:
    with pytest.raises(ConfigurationError, match="DW_AGENTS_PROXY_TOKEN") as caught:
        Settings(host=host)
    assert caught.value.field == "token"
    Settings(host=host, token=Secret(TOKEN))


@pytest.mark.parametrize("token", ["", "short", "with a blank inside", "nicht-für-kopfzeilen"])
def test_a_token_that_is_no_secret_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16") as caught:
        Settings(token=Secret(token))
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("LOCALHOST.", True), ("app.localhost", True), ("localhost.evil.example", False), ("0.0.0.0", False),
        ("", False), ("10.0.0.1", False), ("127.0.0.1.evil.example", False),
    ],
)  # fmt: skip
def test_an_address_is_this_machine_s_only_if_that_is_sure(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 70_000}, {"keep_alive": 0}, {"early_head": -1}, {"drain": float("nan")},
        {"allow_origins": ("app.example",)}, {"allow_origins": ("https://app.example/path",)},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_hold_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**settings)
    assert next(iter(settings)).startswith(caught.value.field)


async def test_a_web_page_cannot_call_unless_it_was_allowed(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(allow_origins=("https://app.example",))
    url = f"{proxy.base_url}/responses"
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in ("https://evil.example", "null", "https://app.example.evil.example"):
        async with http.post(url, json=ask(), headers={"Origin": origin}) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (403, "origin_refused")
            assert "Access-Control-Allow-Origin" not in reply.headers
        async with http.options(url, headers={"Origin": origin, **asking}) as reply:
            assert (reply.status, "Access-Control-Allow-Origin" in reply.headers) == (403, False)
    assert emulator.requests == []
    allowed = {"Origin": "https://app.example"}
    async with http.options(url, headers={**allowed, **asking}) as reply:
        assert (reply.status, reply.headers["Access-Control-Allow-Headers"]) == (204, "authorization")
        assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    async with http.post(url, json=ask(stream=True), headers=allowed) as reply:
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    async with http.get(f"{proxy.base_url}/models", headers=allowed) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Origin" not in emulator.requests[-1].headers


async def test_a_page_that_lets_its_own_name_point_here_is_refused(make_proxy: MakeProxy, http: ClientSession) -> None:
    proxy = await make_proxy()
    for host, status in (("evil.example", 403), ("evil.example:8787", 403), ("localhost:8787", 200), ("[::1]:1", 200)):
        async with http.get(f"{proxy.base_url}/models", headers={"Host": host}) as reply:
            assert reply.status == status, host
    for host in ("[", "[zz]:80", "localhost:8787@evil.example"):
        async with http.get(f"{proxy.base_url}/models", headers={"Host": host}) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (403, "host_refused"), host
    guarded = await make_proxy(token=Secret(TOKEN))
    sent = {"Host": "inference.internal", "Authorization": f"Bearer {TOKEN}"}
    async with http.get(f"{guarded.base_url}/models", headers=sent) as reply:
        assert reply.status == 200


async def test_a_program_of_old_that_names_no_host_is_served(proxy: Proxy) -> None:
    address = urlsplit(proxy.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.0 200 OK\r\n")
    writer.close()


async def test_health_is_told_without_a_token(make_proxy: MakeProxy, http: ClientSession) -> None:
    proxy = await make_proxy(token=Secret(TOKEN))
    health = proxy.base_url.removesuffix("/v1") + "/healthz"
    async with http.get(health) as reply:
        assert (reply.status, await reply.json()) == (200, {"status": "ok", "in_flight": 0})
    async with http.head(health) as reply:
        assert reply.status == 200
    async with http.post(health) as reply:
        assert reply.status == 405


async def test_each_client_s_own_key_is_used_where_that_is_asked(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(client_keys=True, api_key=None)
    url = f"{proxy.base_url}/responses"
    async with http.post(url, json=ask(), headers={"Authorization": f"Bearer {emulator.api_key}"}) as reply:
        assert reply.status == 200
    async with http.post(url, json=ask(), headers={"Authorization": "Bearer of-somebody-else"}) as reply:
        assert reply.status == 403
    async with http.get(f"{proxy.base_url}/models", headers={"X-Api-Key": "of-somebody-else"}) as reply:
        assert reply.status == 401
    before = len(emulator.requests)
    async with http.post(url, json=ask()) as reply:
        assert (reply.status, "brought none" in await reply.text()) == (401, True)
    assert len(emulator.requests) == before
    assert emulator.requests[-1].headers["Authorization"] == "Bearer of-somebody-else"


async def test_a_token_beside_clients_own_keys_comes_in_its_own_header(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession
) -> None:
    proxy = await make_proxy(client_keys=True, api_key=None, token=Secret(TOKEN))
    key = {"Authorization": f"Bearer {emulator.api_key}"}
    async with http.get(f"{proxy.base_url}/models", headers=key) as reply:
        assert (reply.status, "X-DW-Agents-Token" in await reply.text()) == (401, True)
    async with http.get(f"{proxy.base_url}/models", headers={"Authorization": f"Bearer {TOKEN}"}) as reply:
        assert reply.status == 401
    async with http.get(f"{proxy.base_url}/models", headers={**key, "X-DW-Agents-Token": TOKEN}) as reply:
        assert reply.status == 200


async def test_keys_that_are_out_of_use_make_room_for_others(
    make_proxy: MakeProxy, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_KEYS", 2)
    proxy = await make_proxy(client_keys=True, api_key=None)
    for number in range(5):
        key = {"Authorization": f"Bearer key-{number}"}
        async with http.post(f"{proxy.base_url}/responses", json=ask(), headers=key) as reply:
            assert reply.status == 403
    assert list(proxy._upstreams._open) == ["key-3", "key-4"]
    assert await eventually(lambda: not proxy._upstreams._closing)


@pytest.mark.parametrize("emulator", [{"latency": 60.0, "api_keys": ("key-0", "key-1")}], indirect=True)
async def test_keys_in_use_are_not_put_out(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_KEYS", 1)
    proxy = await make_proxy(client_keys=True, api_key=None)
    url = f"{proxy.base_url}/responses"
    async with http.post(url, json=ask(background=True), headers={"Authorization": "Bearer key-0"}) as reply:
        assert reply.status == 202
    with proxy._upstreams.use({"Authorization": "Bearer key-1"}):
        async with http.post(url, json=ask(background=True), headers={"Authorization": "Bearer key-0"}) as reply:
            assert reply.status == 503
    assert len(emulator.jobs) == 1


def test_without_a_key_the_proxy_is_not_made() -> None:
    with pytest.raises(MissingAPIKey):
        Proxy(Settings())
    Proxy(Settings(client_keys=True))


async def test_neither_log_nor_reply_holds_a_secret(
    emulator: Emulator, make_proxy: MakeProxy, http: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="dw_agents")
    proxy = await make_proxy(token=Secret(TOKEN))
    seen = repr(proxy.settings)
    for path in ("/models?api_key=in-the-query", "/nothing", "/responses/resp_unknown"):
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer a-wrong-token"}):
            async with http.get(proxy.base_url + path, headers=headers) as reply:
                seen += await reply.text() + str(reply.headers)
    async with http.post(f"{proxy.base_url}/responses", json=ask("a private prompt"), headers=headers) as reply:
        seen += str(reply.headers)
    for secret in (emulator.api_key, TOKEN, "a-wrong-token"):
        assert secret not in seen + caplog.text
    for private in ("in-the-query", "a private prompt"):
        assert private not in caplog.text
    assert "GET /v1/models 200" in caplog.text
