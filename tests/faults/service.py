"""A service in memory, for processes whose time is simulated: jobs, files and batches, and replies that get lost.

It keeps what the emulator keeps, without a network: ``Door`` takes the place of a process's ``Connection``. Nothing
ends by itself; a test says what becomes of a job or a batch.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from dw_agents.wire.http import Incoming, NotSent, Reply, ReplyLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ONE_WAY = 0.01
"""Seconds that a request travels, and its reply again."""
_LINE = re.compile(rb'^\{"custom_id":.*$', re.MULTILINE)
_TOKEN = re.compile(rb'filename="dw-agents-([0-9a-f]+)\.jsonl"')
ENDED = {"completed", "failed", "cancelled", "expired"}


@dataclass
class Job:
    """A job, or a line of a batch."""

    id: str
    text: str
    state: str = "queued"
    code: int | None = None

    def ended(self) -> bool:
        return self.state in ENDED

    def billed(self) -> bool:
        """Whether it was accepted and neither failed nor was stopped: it is paid, or will be."""
        return self.state in {"queued", "completed"}

    def answer(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": self.id, "object": "response", "status": self.state, "output": []}
        if self.state == "completed":
            part = {"type": "output_text", "text": self.text}
            shown["output"] = [{"type": "message", "content": [part]}]
            shown["usage"] = {"input_tokens": 1, "output_tokens": 1}
        elif self.state == "failed":
            shown["error"] = {"type": "error", "message": "it failed", "code": self.code}
        return shown


@dataclass
class Batch:
    """A batch that was created."""

    id: str
    token: str
    lines: dict[str, Job]
    state: str = "in_progress"

    def end(self, state: str) -> None:
        """End it: what is not done yet ends with it."""
        self.state = state
        for line in self.lines.values():
            if not line.ended():
                line.state = "completed" if state == "completed" else state

    def shown(self) -> dict[str, Any]:
        lines = list(self.lines.values())
        counts = {
            "total": len(lines),
            "completed": sum(line.state == "completed" for line in lines),
            "failed": sum(line.state == "failed" for line in lines),
        }
        return {
            "id": self.id,
            "status": self.state,
            "output_file_id": f"{self.id}-output",
            "error_file_id": f"{self.id}-errors",
            "request_counts": counts,
            "metadata": {"dw_agents": self.token},
        }

    def content(self, states: set[str]) -> bytes:
        rows = []
        for custom_id, line in self.lines.items():
            if line.state in states:
                row: dict[str, Any] = {"custom_id": custom_id}
                if line.state == "completed":
                    row["response"] = {"status_code": 200, "body": line.answer()}
                else:
                    row["error"] = {"code": str(line.code or 500), "message": "it failed"}
                rows.append(json.dumps(row).encode() + b"\n")
        return b"".join(rows)


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    at: float
    method: str
    path: str
    text: str = ""


@dataclass
class Service:
    """The state of the service.

    Attributes:
        answer: takes the place of the service, when it is set.
        fates: what becomes of the next requests to a path, or of any where it is ``""``: ``"lost request"``,
            ``"lost reply"``, ``"refused"``, or a status.
        calls: everything that arrived.
        under_way: how many submissions are.
        most_at_once: the most there ever were.
    """

    now: Callable[[], float]
    answer: Callable[[Call], Reply] | None = None
    fates: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    files: dict[str, tuple[str, dict[str, Job]]] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0
    at_once: bool = False
    """Whether jobs and batches are done as soon as they are accepted."""
    _ids: int = 0

    def recover(self) -> None:
        """Be well again, and do all work at once from now on."""
        self.answer = None
        self.fates.clear()
        self.at_once = True
        for job in self.jobs.values():
            if not job.ended():
                job.state = "completed"
        for batch in self.batches.values():
            if batch.state == "in_progress":
                batch.end("completed")

    def open_jobs(self) -> list[Job]:
        """Jobs that have not ended."""
        return [job for job in self.jobs.values() if not job.ended()]

    def open_batches(self) -> list[Batch]:
        """Batches that have not ended."""
        return [batch for batch in self.batches.values() if batch.state == "in_progress"]

    def billed(self) -> list[Job]:
        """Every job and line that is paid or will be."""
        lines = (line for batch in self.batches.values() for line in batch.lines.values())
        return [job for job in (*self.jobs.values(), *lines) if job.billed()]

    def new_id(self, kind: str) -> str:
        """Return an id of the length that the service's have."""
        self._ids += 1
        return f"{kind}{self._ids:08d}-0000-4000-8000-000000000000"

    def handle(self, call: Call, body: bytes) -> Reply:
        """Do what a request asks for."""
        parts = urlsplit(call.path)
        path, query = parts.path, parse_qs(parts.query)
        match call.method, path.strip("/").split("/"):
            case "POST", ["responses"]:
                job = Job(self.new_id("resp_"), call.text, "completed" if self.at_once else "queued")
                self.jobs[job.id] = job
                return _json(202, {**job.answer(), "status": "queued", "output": []})
            case "GET", ["responses", ident]:
                found = self.jobs.get(ident)
                return _json(200, found.answer()) if found is not None else _json(404, {})
            case "DELETE", ["responses", ident]:
                if not self.jobs[ident].ended():
                    self.jobs[ident].state = "cancelled"
                return _json(200, {})
            case "POST", ["files"]:
                return self._upload(body)
            case "GET", ["files"]:
                known = [{"id": i, "filename": f"dw-agents-{t}.jsonl"} for i, (t, _) in self.files.items()]
                return _json(200, {"data": [file for file in known if query["search"][0] in file["filename"]]})
            case "POST", ["batches"]:
                return self._create(json.loads(body))
            case "GET", ["batches"]:
                token = query["search"][0]
                return _json(200, {"data": [b.shown() for b in self.batches.values() if b.token == token]})
            case "GET", ["batches", ident]:
                return _json(200, self.batches[ident].shown())
            case "POST", ["batches", ident, "cancel"]:
                if self.batches[ident].state == "in_progress":
                    self.batches[ident].end("cancelled")
                return _json(200, {})
            case "GET", ["files", ident, "content"]:
                batch = self.batches[ident.rsplit("-", 1)[0]]
                states = {"completed"} if ident.endswith("output") else {"failed"}
                return Reply(200, {}, batch.content(states))
        return _json(404, {})

    def _upload(self, body: bytes) -> Reply:
        token = _TOKEN.search(body)
        assert token is not None
        lines = [json.loads(line) for line in _LINE.findall(body)]
        jobs = {line["custom_id"]: Job(self.new_id("resp_"), line["body"]["input"]) for line in lines}
        ident = self.new_id("file-")
        self.files[ident] = (token[1].decode(), jobs)
        return _json(201, {"id": ident, "filename": f"dw-agents-{token[1].decode()}.jsonl"})

    def _create(self, asked: dict[str, Any]) -> Reply:
        token, jobs = self.files[asked["input_file_id"]]
        assert asked["metadata"]["dw_agents"] == token
        assert all(batch.token != token for batch in self.batches.values()), "a batch was created twice"
        batch = Batch(self.new_id(""), token, dict(jobs))
        self.batches[batch.id] = batch
        if self.at_once:
            batch.end("completed")
        return _json(201, batch.shown())


class Door:
    """One process's connection to the service; it leads nowhere once the process is dead."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.dead = False

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float,
        headers: Any = None,
    ) -> Reply:
        """Send one request, as ``Connection.request`` does."""
        sent = b"".join([chunk async for chunk in body]) if hasattr(body, "__aiter__") else body or b""
        service, submission = self._service, method == "POST" and path == "/responses"
        text = str(json.loads(sent)["input"]) if submission else ""
        service.under_way += submission
        service.most_at_once = max(service.most_at_once, service.under_way)
        try:
            return await self._travel(Call(service.now(), method, path, text), sent)
        finally:
            service.under_way -= submission

    async def _travel(self, call: Call, body: bytes) -> Reply:
        service = self._service
        fates = (service.fates.get(call.path) if call.method == "POST" else None) or service.fates.get("")
        fate = fates.pop(0) if fates else ""
        if fate == "refused":
            raise NotSent("could not connect (refused)")
        await self._pass(ONE_WAY)
        service.calls.append(call)
        if fate == "lost request":
            raise ReplyLost("the connection broke")
        if fate in {"429", "500", "503"}:
            return Reply(int(fate), {}, b"not now")
        reply = service.answer(call) if service.answer is not None else service.handle(call, body)
        await self._pass(ONE_WAY)
        if fate == "lost reply":
            raise ReplyLost("the connection broke")
        return reply

    @asynccontextmanager
    async def download(self, path: str, *, timeout: float) -> AsyncIterator[Incoming]:
        """Read a file, as ``Connection.download`` does."""
        reply = await self.request("GET", path, timeout=timeout)

        async def chunks() -> AsyncIterator[bytes]:
            yield reply.body

        yield Incoming(reply.status, reply.headers, chunks())

    async def close(self) -> None:
        """Do nothing, as there is nothing to close."""

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.dead:
            raise asyncio.CancelledError


def _json(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status, {}, json.dumps(body).encode())
