"""``GET /models`` and ``GET /healthz`` over HTTP."""

from __future__ import annotations

import pytest

from dw_agents.emulator import Account
from dw_agents.emulator.settings import DEFAULT_MODELS
from tests.emulator.support import serving


async def test_models_are_listed_by_name_without_prices() -> None:
    async with serving(models=["a", "b"]) as api:
        answer = (await api("GET", "/models")).json()

    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["a", "b"]
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in answer["data"])
    assert answer["data"][0]["owned_by"] == "None"


async def test_the_usual_models_are_listed_when_every_name_is_accepted() -> None:
    async with serving() as api:
        answer = (await api("GET", "/models?available_for_realtime=true")).json()

    assert [model["id"] for model in answer["data"]] == list(DEFAULT_MODELS)


async def test_a_key_sees_the_models_that_it_may_use() -> None:
    async with serving(models=["a", "b"], api_keys=[Account("k", models=frozenset({"b"}))]) as api:
        answer = (await api("GET", "/models")).json()

    assert [model["id"] for model in answer["data"]] == ["b"]


async def test_reasoning_capabilities_are_shown_when_asked_for() -> None:
    async with serving(models=["a"]) as api:
        answer = (await api("GET", "/models?include_reasoning_capabilities=true")).json()

    assert "high" in answer["data"][0]["supported_reasoning_efforts"]["responses"]


@pytest.mark.parametrize(
    ("key", "query", "status", "code"),
    [
        (None, "", 401, "missing_authorization"),
        ("wrong", "", 401, "invalid_api_key"),
        ("", "?group=x", 400, "invalid_group"),
        ("", "?available_for_realtime=maybe", 400, "invalid_query_parameter"),
    ],
)
async def test_errors_carry_their_code(key: str | None, query: str, status: int, code: str) -> None:
    async with serving() as api:
        answer = await api("GET", f"/models{query}", key=key)

    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


async def test_health_needs_no_key_and_stands_outside_the_api() -> None:
    async with serving() as api:
        root = api.emulator.base_url.removesuffix("/v1")

        assert (await api("GET", "/healthz", key=None, root=root)).status == 200
        assert (await api("GET", "/healthz")).status == 404
