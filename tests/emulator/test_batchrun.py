"""How a batch is run."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import pytest

from dw_agents.emulator import UpstreamError
from tests.emulator.batch_support import (
    CHAT,
    GatedBackend,
    content,
    ended,
    line,
    lines,
    look,
    named,
    run,
    start,
)
from tests.emulator.support import MODEL, ScriptedBackend, serving, until


async def _answer(request: dict[str, Any], backend: Any = None, **settings: Any) -> Any:
    """The line that answers one request."""
    async with serving(backend, **settings) as api:
        shown = await run(api, [request])
        return (await content(api, shown["output_file_id"]))[0]


async def test_a_responses_line_is_answered_with_a_whole_response() -> None:
    told = await _answer(line("mine", instructions="be brief", service_tier="flex", background=True))

    assert told["id"].startswith("batch_req_")
    assert (told["custom_id"], told["error"]) == ("mine", None)
    assert (told["response"]["status_code"], told["response"]["request_id"]) == (200, None)
    body = told["response"]["body"]
    assert (body["object"], body["status"], body["instructions"]) == ("response", "completed", "be brief")
    assert body["output"][0]["content"][0]["text"] == "pong"
    assert body["usage"]["output_tokens"] == 7


async def test_truncation_is_lost_here_too() -> None:
    backend = ScriptedBackend()
    backend.finish_reason = "length"

    assert (await _answer(line(), backend))["response"]["body"]["status"] == "completed"


async def test_a_chat_line_is_answered_with_a_completion_without_logprobs() -> None:
    backend = ScriptedBackend()
    told = await _answer(line(url=CHAT, seed=7, service_tier="flex", stream=True), backend)

    body = told["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "pong"
    assert "logprobs" not in body["choices"][0]
    assert backend.chats == [{"model": MODEL, "messages": [{"role": "user", "content": "a"}], "seed": 7}]


async def test_an_embeddings_line_is_answered_with_vectors_in_the_encoding_asked_for() -> None:
    plain = await _answer(line(url="/v1/embeddings", input=["x", "y"]))
    packed = await _answer(line(url="/v1/embeddings", encoding_format="base64"))

    assert [item["embedding"] for item in plain["response"]["body"]["data"]] == [[0.5, -2.0]] * 2
    assert isinstance(packed["response"]["body"]["data"][0]["embedding"], str)


async def test_a_completions_line_is_answered_with_text() -> None:
    request = line(url="/v1/completions", prompt=["p", "q"])
    told = await _answer(request)

    assert [choice["text"] for choice in told["response"]["body"]["choices"]] == ["pong", "pong"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (line(input=[{"type": "message", "content": [{"type": "text", "text": "x"}]}]), "invalid OpenAI Responses"),
        (line(url=CHAT, messages=[]), "messages must be"),
        (line(url="/v1/embeddings", input=None), "input must be"),
        (line(url="/v1/completions", prompt=None), "prompt must be"),
        (line(url="/v1/messages"), "Nothing is served"),
    ],
)
async def test_a_body_that_its_endpoint_refuses_fails_alone(request_: dict[str, Any], said: str) -> None:
    async with serving() as api:
        shown = await run(api, [request_, line("fine")])
        failed = await content(api, shown["error_file_id"])

    assert shown["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert said in failed[0]["error"]["message"]


async def test_all_failed_is_failed_and_one_success_is_completed() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(400, "no")] * 5
    async with serving(backend) as api:
        failed = await run(api, lines(2))
        mixed = await run(api, lines(4))

    assert (failed["status"], "failed_at" in failed, "completed_at" in failed) == ("failed", True, False)
    assert "errors" not in failed
    assert (mixed["status"], mixed["request_counts"]["failed"]) == ("completed", 3)


async def test_a_backend_that_breaks_fails_its_line_with_500() -> None:
    backend = ScriptedBackend()
    backend.errors = [RuntimeError("boom")]
    async with serving(backend) as api:
        shown = await run(api, lines(2))
        failed = await content(api, shown["error_file_id"])

    assert "RuntimeError: boom" in failed[0]["error"]["message"]


async def test_a_passing_failure_is_retried_inside_the_service_when_it_is_set_to() -> None:
    backend = ScriptedBackend()
    backend.errors = [UpstreamError(503, "no")] * 2
    async with serving(backend, upstream_retries=2, speed=1000) as api:
        shown = await run(api, lines(1))

    assert shown["request_counts"]["completed"] == 1


async def test_a_batch_is_validating_as_long_as_it_is_told() -> None:
    async with serving(batch_validation=0.1) as api:
        ident = await start(api, lines(1))
        before = await look(api, ident)
        after = await ended(api, ident)

    assert (before["status"], before["request_counts"]["total"], "in_progress_at" in before) == ("validating", 0, False)
    assert after["status"] == "completed"


async def test_batch_latency_is_when_everything_comes_at_once() -> None:
    async with serving(batch_latency=20, speed=100) as api:
        began = time.monotonic()
        ident = await start(api, lines(5))
        await until(lambda: api.emulator.batch(ident).total)
        assert api.emulator.batch(ident).completed == 0
        await ended(api, ident)

    assert 0.2 <= time.monotonic() - began < 2


async def test_line_latency_lets_the_results_trickle_in_before_the_batch_ends() -> None:
    async with serving(line_latency=(0, 10), batch_latency=30, speed=100) as api:
        ident = await start(api, lines(20))
        batch = api.emulator.batch(ident)
        seen = set()
        while batch.completed < 20:
            seen.add(batch.completed)
            await asyncio.sleep(0.001)
        assert batch.state == "in_progress"
        await ended(api, ident)

    assert len(seen) > 5


async def test_a_backend_that_waits_gets_several_lines_at_once_but_not_too_many() -> None:
    backend = GatedBackend()
    async with serving(backend, batch_concurrency=4) as api:
        ident = await start(api, lines(10))
        await until(lambda: backend.waiting == 4)
        await asyncio.sleep(0.02)
        assert backend.waiting == 4
        backend.allowed = 10
        await ended(api, ident)

    assert backend.most == 4


async def test_lines_that_never_wait_need_no_second_worker_and_stay_in_order() -> None:
    class Watched(ScriptedBackend):
        workers: ClassVar[set[Any]] = set()

        async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
            self.workers.add(asyncio.current_task())
            # Longer than a worker may go on without a rest, all lines together.
            time.sleep(0.0001)  # noqa: ASYNC251 - the point is a backend that never lets go
            return await super().chat(request)

    async with serving(Watched()) as api:
        shown = await run(api, lines(300))
        assert await named(api, shown["output_file_id"]) == [str(number) for number in range(300)]

    assert len(Watched.workers) == 1


async def test_polls_are_answered_while_a_large_batch_runs() -> None:
    async with serving("rules") as api:
        ident = await start(api, lines(5000))
        seen = set()
        while (shown := await look(api, ident))["status"] != "completed":
            seen.add(shown["request_counts"]["completed"])

    assert any(0 < count < 5000 for count in seen)


async def test_stopping_is_prompt_with_batches_running() -> None:
    async with serving(GatedBackend(), line_latency=(0, 100)) as api:
        for _ in range(3):
            await start(api, lines(100))
        began = time.monotonic()
        await asyncio.to_thread(api.emulator.stop)

    assert time.monotonic() - began < 0.5


async def test_five_thousand_lines_take_seconds_at_most() -> None:
    async with serving("rules") as api:
        began = time.monotonic()
        shown = await run(api, lines(5000))
        assert len(await named(api, shown["output_file_id"])) == 5000

    # This takes half a second here; the margin is for slow machines.
    assert time.monotonic() - began < 10
