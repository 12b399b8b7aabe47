"""A conversation told so that a small chat model can follow it.

Owns: turning tool results and media parts into plain system, user and assistant turns. Must not import the
backends: messages in, messages out.
"""

from __future__ import annotations

from typing import Any

from dw_agents.emulator.backends.facts import as_prose, count_media, text_of

__all__ = ["MAX_RESULT", "plain_dialogue"]

MAX_RESULT = 1500
"""Characters of one tool result that the model gets to read."""

_ROLES = {"developer": "system", "function": "user", "tool": "user"}


def plain_dialogue(messages: list[dict[str, Any]], instruction: str = "") -> list[dict[str, str]]:
    """Return the messages as text only, neighbours of one role joined, the instruction last.

    Tool results become notes in the user's turn. Tool calls are left out: a small model would answer with
    more of the same.

    Args:
        messages: messages of the chat API.
        instruction: what to do next, added to the last user turn.
    """
    turns: list[dict[str, str]] = []
    for message in [*messages, {"role": "user", "content": instruction}]:
        role = message.get("role", "user")
        text = _told(message)
        role = _ROLES.get(role, role)
        if not text:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{text}"
        else:
            turns.append({"role": role, "content": text})
    return turns


def _told(message: dict[str, Any]) -> str:
    text = text_of(message.get("content"))
    if message.get("role") == "tool":
        return f"Notes: {as_prose(text)[:MAX_RESULT]}"
    media = [f"[{count} {kind}]" for kind, count in count_media([message]).items()]
    return "\n".join([*([text] if text else []), *media])
