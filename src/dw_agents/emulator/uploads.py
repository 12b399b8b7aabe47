"""``POST /files``: an upload, read and checked line by line while it comes in.

Owns: reading the form and the limits of a file. Must not import the app. Never more than some lines are in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import BodyPartReader

from dw_agents.emulator.batchobjects import file_object
from dw_agents.emulator.errors import Refused, Reply, json_reply, text_reply
from dw_agents.emulator.filestore import StoredFile, new_object_id
from dw_agents.emulator.lines import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import MultipartReader

    from dw_agents.emulator.accounts import Account
    from dw_agents.emulator.call import Call
    from dw_agents.emulator.service import Service

__all__ = ["create"]

_OVERHEAD = 10 * 1024
_PIECE = 1 << 18
_FIELD_LIMIT = 1 << 16
_KEPT_DAYS = 30
_DAY = 86_400


async def create(call: Call) -> Reply:
    """Answer ``POST /files``: 201 here, 200 at OpenAI, where no line is looked at before a batch uses it."""
    account = call.filer()
    service, request = call.service, call.upload
    if request is None:
        raise RuntimeError("an upload was read before its handler: POST /files must be a streamed route")
    limit = service.settings.max_file_size
    if (request.content_length or 0) > limit + _OVERHEAD:
        raise Refused(_too_large(limit))
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not request.content_type.startswith("multipart/") or "boundary" not in request.headers["Content-Type"]:
        raise Refused(text_reply(400, "Invalid `boundary` for `multipart/form-data` request"))
    upload = _Upload(service, account)
    try:
        await upload.read(await request.multipart())
        file = upload.finished()
    except ValueError as error:
        # What aiohttp raises for a form that breaks off or has no parts.
        upload.file.spool.close()
        raise Refused(text_reply(400, f"Error parsing `multipart/form-data` request: {error}")) from None
    except BaseException:
        upload.file.spool.close()
        raise
    service.files.add(file)
    service.counters.file_stored()
    shown = file_object(file, service.clock.now(), openai=service.openai)
    return json_reply(200 if service.openai else 201, shown)


def _too_large(limit: int) -> Reply:
    return text_reply(413, f"File exceeds the maximum allowed size of {limit} bytes")


class _Upload:
    """One file on its way in."""

    def __init__(self, service: Service, account: Account) -> None:
        self._service = service
        self._account = account
        self._fields: dict[str, str] = {}
        self._found = False
        self._count = 0
        now = service.clock.now()
        self.file = StoredFile(
            new_object_id("file", openai=service.openai),
            owner=account.owner,
            filename="",
            purpose="batch",
            created=now,
            expires=None if service.openai else now + _KEPT_DAYS * _DAY,
        )

    async def read(self, form: MultipartReader) -> None:
        """Read the whole form; its fields may come in any order."""
        while (part := await form.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise Refused(text_reply(400, "a part of the form is a form itself"))
            if part.name == "file":
                self._found = True
                self.file.filename = part.filename or "unknown"
                await self._read_lines(part)
            elif part.name in ("purpose", "expires_after[anchor]", "expires_after[seconds]"):
                self._fields[part.name] = (await part.read_chunk(_FIELD_LIMIT)).decode(errors="replace").strip()
                await part.release()
            else:
                await part.release()

    def finished(self) -> StoredFile:
        """The file, after the checks that need the whole form.

        Raises:
            Refused: 400.
        """
        service, file = self._service, self.file
        if not self._found:
            raise Refused(text_reply(400, "No file provided in request"))
        purpose = self._fields.get("purpose")
        if service.openai and purpose is None:
            raise Refused(text_reply(400, "Missing required parameter: 'purpose'."))
        if purpose not in (None, "batch"):
            raise Refused(text_reply(400, f"Invalid purpose '{purpose}'. Only 'batch' is supported."))
        seconds = self._fields.get("expires_after[seconds]", "")
        if seconds.isdecimal():
            file.expires = file.created + int(seconds)
        most = service.settings.max_requests_per_file
        if not service.openai:
            if most and self._count > most:
                message = f"File contains {self._count} requests, which exceeds the maximum of {most}"
                raise Refused(text_reply(400, message))
            if not self._count:
                raise Refused(text_reply(400, "File contains no valid request templates"))
        return file

    async def _read_lines(self, part: BodyPartReader) -> None:
        limit = self._service.settings.max_file_size
        taken = 0
        rest: list[bytes] = []
        while piece := await part.read_chunk(_PIECE):
            taken += len(piece)
            if taken > limit:
                raise Refused(_too_large(limit))
            for line in _whole_lines(piece, rest):
                self._take(line)
                await self._service.turns.take()
        self._take(b"".join(rest))

    def _take(self, line: bytes) -> None:
        text = line.strip()
        if not text:
            return
        self._count += 1
        service = self._service
        if service.openai:
            self.file.spool.append(text)
            return
        model, stored = check(text, self._count, body_limit=service.settings.body_limit)
        if not service.knows_model(model) or not self._account.may_use(model):
            message = f"Line {self._count}: Model '{model}' has not been configured or is not available to user"
            raise Refused(text_reply(403, message))
        most = service.settings.max_requests_per_file
        if not most or self._count <= most:
            self.file.models[model] += 1
            self.file.spool.append(stored)


def _whole_lines(piece: bytes, rest: list[bytes]) -> Iterator[bytes]:
    """The lines that end in ``piece``; what has no end yet stays in ``rest``."""
    *lines, last = piece.split(b"\n")
    if lines:
        yield b"".join((*rest, lines[0]))
        rest.clear()
        yield from lines[1:]
    if last:
        rest.append(last)
