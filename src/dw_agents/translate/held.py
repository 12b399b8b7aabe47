"""The blocking chat form of the flex tier, as it is read.

Owns: the request that asks for it, and putting the streamed answer together. The service takes a flex chat call only on
a connection that stays open: comments keep it alive, and the answer comes in one piece at the end, without the
reasoning and without numbers on its tool calls. The id in it leads to the stored answer, which is whole. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.wire import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HeldAnswer", "Lines", "held_body", "stored_answer"]


def held_body(chat: Mapping[str, Any]) -> bytes:
    """Encode a chat request so that the service answers it on flex, on a connection that it keeps alive.

    Raises:
        TypeError: it is no JSON.
    """
    asked = {**chat, "service_tier": "flex", "stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(asked)


def stored_answer(response: bytes) -> dict[str, Any] | None:
    """Find the chat completion in the Response under which the service keeps it; None where it is not there."""
    try:
        content = msgspec.json.decode(response)["output"][0]["content"]
    except (*UNREADABLE, KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("choices"), list) else None


class Lines:
    """Cuts the bytes of an event stream into lines, where the format ends them and nowhere else.

    Texts may hold characters that Python, and HTTP clients with it, also take for the end of a line.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that end in what came, without their ends."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [line.removesuffix(b"\r").decode("utf-8", "replace") for line in whole]


class HeldAnswer:
    """Takes the lines of the stream.

    Attributes:
        response_id: of the answer, once it has come.
        error: what the service says went wrong: ``message``, ``type`` and ``code``, an HTTP status.
        done: whether the end of the stream has come.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.error: dict[str, Any] | None = None
        self.done = False
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Any = None

    def line(self, text: str) -> None:
        """Take one line, without its end.

        Raises:
            ValueError: it is no event.
        """
        if not text.startswith("data:"):
            return
        data = text[5:].strip()
        if data == "[DONE]":
            self.done = True
            return
        try:
            chunk = msgspec.json.decode(data)
        except UNREADABLE as broken:
            raise ValueError(f"an event is no JSON: {broken}") from broken
        if not isinstance(chunk, dict):
            raise ValueError("an event is no JSON object")  # noqa: TRY004 - of data, not of arguments
        if chunk.get("error"):
            error = chunk["error"]
            self.error = error if isinstance(error, dict) else {"message": str(error)}
            return
        self._head = {name: chunk[name] for name in ("id", "created", "model") if name in chunk} or self._head
        if isinstance(chunk.get("id"), str):
            self.response_id = chunk["id"]
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            self._add(choice)

    def completion(self) -> dict[str, Any] | None:
        """Return the chat completion as far as the stream tells it; None before there is one."""
        if not self._choices:
            return None
        completion = {**self._head, "choices": [self._choices[index] for index in sorted(self._choices)]}
        return completion if self._usage is None else {**completion, "usage": self._usage}

    def _add(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index") or 0
        whole = self._choices.setdefault(
            index, {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        )
        message, delta = whole["message"], choice.get("delta") or {}
        for name in ("content", "refusal", "reasoning_content"):
            if delta.get(name) is not None:
                message[name] = (message.get(name) or "") + delta[name]
        for call in delta.get("tool_calls") or ():
            calls = message.setdefault("tool_calls", [])
            calls.append({name: value for name, value in call.items() if name != "index"})
        if message.get("tool_calls") and not message["content"]:
            message["content"] = None
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
