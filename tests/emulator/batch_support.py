"""What the tests of files and batches share: request lines, an upload, a batch from one end to the other."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tests.emulator.support import MODEL, Answer, Api, ScriptedBackend

if TYPE_CHECKING:
    from collections.abc import Iterable

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")


def line(custom_id: str = "a", *, url: str = RESPONSES, **body: Any) -> dict[str, Any]:
    """One request line; the body is as simple as its path allows."""
    usual: dict[str, Any] = {"model": MODEL}
    if url == CHAT:
        usual["messages"] = [{"role": "user", "content": custom_id}]
    else:
        usual["input"] = custom_id
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {**usual, **body}}


def lines(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Lines named ``0``, ``1``, ..."""
    return [line(str(number), **fields) for number in range(count)]


def encode(requests: Iterable[Any]) -> bytes:
    """Request lines as the bytes of a file; what is bytes already stays as it is."""
    return b"".join((one if isinstance(one, bytes) else msgspec.json.encode(one)) + b"\n" for one in requests)


async def send_form(api: Api, fields: dict[str, str], content: bytes | None, filename: str = "in.jsonl") -> Answer:
    """``POST /files`` with these form fields."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    if content is not None:
        form.add_field("file", io.BytesIO(content), filename=filename, content_type="application/jsonl")
    headers = {"Authorization": f"Bearer {api.key}"}
    async with api.session.post(f"{api.emulator.base_url}/files", data=form, headers=headers) as reply:
        return Answer(reply.status, reply.headers.copy(), await reply.read())


async def send_file(api: Api, requests: Iterable[Any], filename: str = "in.jsonl") -> Answer:
    """``POST /files``, whatever comes back."""
    return await send_form(api, {"purpose": "batch"}, encode(requests), filename)


async def upload(api: Api, requests: Iterable[Any], filename: str = "in.jsonl") -> str:
    """Upload a file; returns its id."""
    answer = await send_file(api, requests, filename)
    assert answer.status in (200, 201), answer.text
    return str(answer.json()["id"])


async def send_batch(api: Api, file: str, **fields: Any) -> Answer:
    """``POST /batches``, whatever comes back; a field that is ``None`` is left away."""
    body = {"input_file_id": file, "endpoint": RESPONSES, "completion_window": "24h", **fields}
    return await api("POST", "/batches", {name: value for name, value in body.items() if value is not None})


async def start(api: Api, requests: Iterable[Any], **fields: Any) -> str:
    """Upload a file and create a batch of it; returns the batch's id."""
    answer = await send_batch(api, await upload(api, requests), **fields)
    assert answer.status in (200, 201), answer.text
    return str(answer.json()["id"])


async def look(api: Api, ident: str) -> Any:
    """``GET /batches/{id}``, decoded."""
    answer = await api("GET", f"/batches/{ident}")
    assert answer.status == 200, answer.text
    return answer.json()


async def ended(api: Api, ident: str) -> Any:
    """Read a batch until its status is a last one."""
    async with asyncio.timeout(10):
        while True:
            shown = await look(api, ident)
            if shown["status"] not in UNFINISHED:
                return shown
            await asyncio.sleep(0.002)


async def run(api: Api, requests: Iterable[Any], **fields: Any) -> Any:
    """A batch from upload to its end; returns the last object."""
    return await ended(api, await start(api, requests, **fields))


async def content(api: Api, file: str, query: str = "") -> list[Any]:
    """The lines of a file, decoded."""
    answer = await api("GET", f"/files/{file}/content{query}")
    assert answer.status == 200, answer.text
    return [msgspec.json.decode(one) for one in answer.body.splitlines()]


async def named(api: Api, file: str, query: str = "") -> list[str]:
    """The ``custom_id`` of each line of a file."""
    return [one["custom_id"] for one in await content(api, file, query)]


class GatedBackend(ScriptedBackend):
    """Holds every call until the test lets some pass, first come first served."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = 0
        self.most = 0
        self._queue: list[dict[str, Any]] = []

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        self._queue.append(request)
        self.most = max(self.most, self.waiting)
        try:
            # The test's thread has no event of this loop to set.
            while self.allowed <= 0 or self._queue[0] is not request:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            self.allowed -= 1
        finally:
            self._queue = [one for one in self._queue if one is not request]
        return await super().chat(request)
