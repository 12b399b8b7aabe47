"""What the emulator's tests share: a backend that does as it is told, and a small HTTP client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec

from dw_agents.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

MODEL = "test/model"


class ScriptedBackend:
    """Answers with what it was given last; records what it was asked."""

    name = "scripted"
    description = "A test's own backend."

    def __init__(self, text: str = "pong", **message: Any) -> None:
        self.message: dict[str, Any] = {"role": "assistant", "content": text, **message}
        self.finish_reason = "tool_calls" if "tool_calls" in message else "stop"
        self.usage: dict[str, Any] | None = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        self.errors: list[Exception] = []
        self.chats: list[dict[str, Any]] = []
        self.embeddings: list[dict[str, Any]] = []
        self.started = self.closed = 0

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        self.chats.append(request)
        if self.errors:
            raise self.errors.pop(0)
        choice = request.get("tool_choice")
        message = dict(self.message)
        finish = self.finish_reason
        if isinstance(choice, dict):
            name = choice["function"]["name"]
            call = {"id": "call", "type": "function", "function": {"name": name, "arguments": "{}"}}
            message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        }
        if self.usage is not None:
            answer["usage"] = dict(self.usage)
        return answer

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        self.embeddings.append(request)
        if self.errors:
            raise self.errors.pop(0)
        given = request["input"]
        texts = [given] if isinstance(given, str) else given
        data = [{"object": "embedding", "index": i, "embedding": [0.5, -2.0]} for i in range(len(texts))]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return {"object": "list", "data": data, "model": request["model"], "usage": usage}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """Name (empty when it has none) and decoded data of each event; comments as ``":"``."""
        found: list[tuple[str, Any]] = []
        for block in self.text.split("\n\n"):
            name, data = "", None
            for line in block.splitlines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    raw = line[6:]
                    data = raw if raw == "[DONE]" else msgspec.json.decode(raw)
                elif line.startswith(":"):
                    name = ":"
            if block.strip():
                found.append((name, data))
        return found


class Api:
    """Sends requests to an emulator as a client would."""

    def __init__(self, emulator: Emulator, *, key: str | None = "") -> None:
        self.emulator = emulator
        self.key = emulator.api_key if key == "" else key

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def __call__(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", root: str = ""
    ) -> Answer:
        use = self.key if key == "" else key
        headers = {"Authorization": f"Bearer {use}"} if use is not None else {}
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        if data is not body:
            headers["Content-Type"] = "application/json"
        url = (root or self.emulator.base_url) + path
        async with self.session.request(method, url, data=data, headers=headers, allow_redirects=False) as reply:
            return Answer(reply.status, reply.headers.copy(), await reply.read())

    async def submit(self, text: str = "ping", **fields: Any) -> str:
        """Submit a background flex response; returns its id."""
        body = {"model": MODEL, "input": text, "service_tier": "flex", "background": True, **fields}
        answer = await self("POST", "/responses", body)
        assert answer.status in (200, 202), answer.text
        return str(answer.json()["id"])

    async def get(self, ident: str) -> Any:
        answer = await self("GET", f"/responses/{ident}")
        assert answer.status == 200, answer.text
        return answer.json()

    async def finished(self, ident: str) -> Any:
        """Read a response until its state is a last one."""
        async with asyncio.timeout(5):
            while True:
                shown = await self.get(ident)
                if shown["status"] not in ("queued", "in_progress"):
                    return shown
                await asyncio.sleep(0.002)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds, briefly."""
    async with asyncio.timeout(5):
        # The condition belongs to the server's thread, which sets no event of this loop.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(backend: Any = None, **settings: Any) -> AsyncIterator[Api]:
    """Run an emulator and a client of it; the scripted backend answers unless another is given."""
    async with Emulator(backend or ScriptedBackend(), **settings) as emulator, Api(emulator) as api:
        yield api
