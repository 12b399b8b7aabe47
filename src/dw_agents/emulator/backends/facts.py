"""What a conversation says, as facts that tool arguments and structured answers can be filled from.

Owns: ``Conversation`` (the current user turn and what was called in it) and ``Facts`` (the ``Source`` of the
rules backend). Must not import the policy or the backends: messages of the chat API in, facts out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dw_agents.emulator.backends.check import Schema

__all__ = [
    "FREE_TEXT",
    "MAX_WORDS",
    "Facts",
    "ToolResult",
    "Turn",
    "as_prose",
    "count_media",
    "plain",
    "quote_results",
    "read_turn",
    "text_of",
]

_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?![\w]|\.\d)")
_QUOTED = re.compile(
    r"\"([^\"\n]+)\"|\u201c([^\u201d\n]+)\u201d|`([^`\n]+)`|\u00ab([^\u00bb\n]+)\u00bb|(?<!\w)['\u2018]([^'\u2019\n]+)['\u2019](?!\w)"
)
_PAIR = re.compile(r"(?<![\w/])([A-Za-z_][\w-]*)\s*(?:=|:(?!//))\s*(?:\"([^\"\n]+)\"|'([^'\n]+)'|([^\s,;]+))")
_NAME = re.compile(r"(?<!^)(?<![.!?]\s)\b[A-Z][\w'\u2019-]*(?:,?\s+[A-Z][\w'\u2019-]*)*")
MAX_WORDS = 500
"""How many characters of the user's message fill a string that no fact decides."""

_WORD = re.compile(r"[a-z0-9]+")
_FREE_TEXT_WORDS = """
    query question q search text input prompt message content topic task description request instruction body
"""
FREE_TEXT = frozenset(_FREE_TEXT_WORDS.split())
"""Names of parameters that ask for the user's own words."""


@dataclass(frozen=True)
class ToolResult:
    """One tool call of the current turn and what the tool said (``None``: no result yet)."""

    name: str
    arguments: dict[str, Any]
    output: str | None


@dataclass(frozen=True)
class Turn:
    """The current user turn.

    Attributes:
        text: the last user message, as text.
        system: the system and developer messages, as text.
        results: the tool calls since that message, in the order they were called.
        media: how many parts of each kind are no text, over the whole conversation.
    """

    text: str
    system: str = ""
    results: tuple[ToolResult, ...] = ()
    media: dict[str, int] = field(default_factory=dict)


def text_of(content: Any) -> str:
    """Return the text of a message's ``content``: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, (str, dict)))
    return "\n".join(part for part in parts if isinstance(part, str))


def read_turn(messages: list[dict[str, Any]]) -> Turn:
    """Find the last user message and what the assistant and the tools did since."""
    users = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    start = users[-1] if users else -1
    outputs = {
        message.get("tool_call_id"): text_of(message.get("content"))
        for message in messages[start + 1 :]
        if message.get("role") == "tool"
    }
    calls = [
        call
        for message in messages[start + 1 :]
        if message.get("role") == "assistant"
        for call in message.get("tool_calls") or ()
    ]
    return Turn(
        text=text_of(messages[start].get("content")) if users else "",
        system="\n".join(
            text_of(message.get("content")) for message in messages if message.get("role") in ("system", "developer")
        ),
        results=tuple(
            ToolResult(call["function"]["name"], _arguments(call), outputs.get(call.get("id"))) for call in calls
        ),
        media=count_media(messages),
    )


def quote_results(turn: Turn) -> str:
    """Return what the tools of this turn said, the newest first, each cut at ``MAX_WORDS`` characters."""
    return "\n".join(
        f"{result.name} returned: {as_prose(result.output)[:MAX_WORDS]}"
        for result in reversed(turn.results)
        if result.output is not None
    )


def as_prose(text: str) -> str:
    """Return a JSON object or list as ``key: value`` pairs, anything else as it is."""
    value = _decoded(text)
    return "; ".join(_flat(value)) if isinstance(value, dict | list) else text


def _flat(value: Any, name: str = "") -> list[str]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, key)]
    if isinstance(value, list):
        return [pair for item in value for pair in _flat(item, name)]
    return [f"{name}: {value}" if name else str(value)]


def plain(name: str) -> str:
    """Fold a name so that ``section_id``, ``sectionId`` and ``Section ID`` are one."""
    return "".join(_WORD.findall(name.lower()))


class Facts:
    """What the user said and what the tools returned, as a ``Source`` for the schema builder.

    In order: a key of the same name in the tool results (the latest first); ``key: value`` or ``key=value``
    in the user's message; an enumeration's entry that the message names; then, each used once, numbers for
    numbers (a tool result that is a bare number comes first) and quoted strings or proper names for strings.

    Args:
        turn: the current user turn.
        words: the text for strings that no fact decides; the user's own words unless given.
    """

    def __init__(self, turn: Turn, words: str | None = None) -> None:
        self._text = turn.text
        self._words = " ".join(turn.text.split())[:MAX_WORDS] if words is None else words
        self._outputs = [_decoded(result.output) for result in reversed(turn.results) if result.output is not None]
        self._index = _index_keys(self._outputs)
        self._pairs = {plain(match[1]): match[2] or match[3] or match[4] for match in _PAIR.finditer(turn.text)}
        taken = [value for result in turn.results for value in result.arguments.values()]
        self._numbers = [
            *[output for output in self._outputs[:1] if _is_number(output)],
            *_without([_number(text) for text in _NUMBER.findall(turn.text)], taken),
        ]
        quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(turn.text)]
        self._strings = _without(quoted, taken)
        self._names = _without([match[0] for match in _NAME.finditer(turn.text)], [*taken, *quoted])

    def known(self, name: str, schema: Schema) -> Iterator[Any]:
        """Yield values for ``name``, the best first."""
        yield from self.named(name)
        for entry in schema.get("enum", []):
            if isinstance(entry, str) and re.search(rf"\b{re.escape(entry)}\b", self._text, re.IGNORECASE):
                yield entry
        kinds = _scalar_kinds(schema)
        if kinds & {"integer", "number"}:
            yield from self._numbers
        if "string" in kinds and "enum" not in schema and not schema.get("format"):
            yield from self._strings
            if plain(name) not in FREE_TEXT:
                yield from self._names
        if "array" in kinds:
            yield from (list(pool) for pool in (self._numbers, self._strings, self._names) if pool)

    def named(self, name: str) -> Iterator[Any]:
        """Yield the values that stand under the key ``name`` in a tool result or in the user's message."""
        key = plain(name)
        yield from self._index.get(key, ())
        yield from self._listed(key)
        if key in self._pairs:
            yield self._pairs[key]

    def from_results(self, name: str) -> bool:
        """Tell whether a tool result of this turn has the key ``name``."""
        key = plain(name)
        return key in self._index or bool(self._listed(key))

    def _listed(self, key: str) -> list[Any]:
        """Return the entries of lists that stand under the plural of a key."""
        return [item for value in self._index.get(f"{key}s", ()) if isinstance(value, list) for item in value]

    def used(self, value: Any) -> None:
        """Take a number, a quoted string or a name, or a list of them, off the pools."""
        for one in value if isinstance(value, list) else [value]:
            for pool in (self._numbers, self._strings, self._names):
                if one in pool:
                    pool.remove(one)

    def words(self, name: str) -> str:
        """Return the text for strings, or the name where there is none."""
        return self._words or name


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    decoded = _decoded(call["function"].get("arguments") or "{}")
    return decoded if isinstance(decoded, dict) else {}


def _decoded(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return text


def _index_keys(outputs: list[Any]) -> dict[str, list[Any]]:
    """Map each key to its values, walking the outputs level by level from the outside in."""
    index: dict[str, list[Any]] = {}
    level: Iterable[Any] = outputs
    while level := list(level):
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                for key, value in node.items():
                    index.setdefault(plain(key), []).append(value)
                deeper.extend(node.values())
            elif isinstance(node, list):
                deeper.extend(node)
        level = deeper
    return index


def _scalar_kinds(schema: Schema) -> set[str]:
    kinds: set[str] = set()
    for variant in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        named = variant.get("type") if isinstance(variant, dict) else None
        kinds.update(named if isinstance(named, list) else [named] if named else [])
    return kinds


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _without(values: list[Any], taken: list[Any]) -> list[Any]:
    left = list(values)
    for value in taken:
        if value in left:
            left.remove(value)
    return left


_MEDIA = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio clip",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
}


def count_media(messages: list[dict[str, Any]]) -> dict[str, int]:
    """Count the parts of each kind that are no text."""
    counts: dict[str, int] = {}
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = _MEDIA.get(part.get("type", "")) if isinstance(part, dict) else None
            if kind:
                counts[kind] = counts.get(kind, 0) + 1
    return counts
