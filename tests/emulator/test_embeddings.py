"""``POST /embeddings`` over HTTP."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from dw_agents.emulator import Fault, Faults
from tests.emulator.support import MODEL, ScriptedBackend, serving

BODY = {"model": MODEL, "input": ["a", "b"]}


async def test_every_input_gets_its_vector() -> None:
    async with serving() as api:
        answer = (await api("POST", "/embeddings", BODY)).json()

    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["data"][0]["embedding"] == [0.5, -2.0]
    assert answer["usage"]["prompt_tokens"] == 3


async def test_flex_embeddings_are_realtime_without_a_word() -> None:
    async with serving() as api:
        answer = await api("POST", "/embeddings", {**BODY, "service_tier": "flex"})

        counts = api.emulator.counters.snapshot()

    assert answer.status == 200
    assert (counts.realtime, counts.flex, counts.accepted) == (1, 0, 0)


async def test_base64_vectors_are_little_endian_floats() -> None:
    async with serving() as api:
        answer = (await api("POST", "/embeddings", {**BODY, "encoding_format": "base64"})).json()

    assert struct.unpack("<2f", base64.b64decode(answer["data"][1]["embedding"])) == (0.5, -2.0)


async def test_dimensions_are_passed_on_and_the_tier_is_not() -> None:
    backend = ScriptedBackend()
    async with serving(backend) as api:
        await api("POST", "/embeddings", {**BODY, "dimensions": 2, "service_tier": "flex", "encoding_format": "float"})

    assert backend.embeddings == [{**BODY, "dimensions": 2}]


async def test_the_rules_backend_honours_dimensions_and_base64_together() -> None:
    async with serving("rules") as api:
        body = {"model": MODEL, "input": "text", "dimensions": 16}
        plain = (await api("POST", "/embeddings", body)).json()["data"][0]["embedding"]
        packed = (await api("POST", "/embeddings", {**body, "encoding_format": "base64"})).json()["data"][0][
            "embedding"
        ]

    assert len(plain) == 16
    assert struct.unpack("<16f", base64.b64decode(packed)) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("given", ["text", ["a"], [1, 2], [[1, 2], [3]]])
async def test_input_is_text_or_tokens_or_arrays_of_them(given: Any) -> None:
    async with serving() as api:
        assert (await api("POST", "/embeddings", {"model": MODEL, "input": given})).status == 200


@pytest.mark.parametrize("given", [None, [], 3, ["a", 1], [[]], {"a": 1}])
async def test_any_other_input_is_refused(given: Any) -> None:
    async with serving() as api:
        answer = await api("POST", "/embeddings", {"model": MODEL, "input": given})

    assert (answer.status, answer.json()["error"]["param"]) == (400, "input")


async def test_the_background_tier_is_refused() -> None:
    async with serving() as api:
        answer = await api("POST", "/embeddings", {**BODY, "service_tier": "background"})

    assert answer.status == 400
    assert "only supported by /v1/responses" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("code", "status"), [(429, 429), (None, 502)])
async def test_an_upstream_failure_keeps_its_status(code: int | None, status: int) -> None:
    async with serving(faults=Faults(Fault("fail_job", code=code))) as api:
        assert (await api("POST", "/embeddings", BODY)).status == status


async def test_a_cancelled_call_is_499() -> None:
    async with serving(faults=Faults(Fault("cancelled"))) as api:
        assert (await api("POST", "/embeddings", BODY)).status == 499


async def test_a_bad_key_is_403() -> None:
    async with serving() as api:
        assert (await api("POST", "/embeddings", BODY, key="wrong")).status == 403
