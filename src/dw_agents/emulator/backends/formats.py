"""Which JSON an answer must be.

Owns: reading ``response_format``, and for ``json_object`` the shape that the messages state. Must not import
the backends.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dw_agents.emulator.backends.check import Schema
    from dw_agents.emulator.backends.facts import Turn

__all__ = ["output_schema"]

_NAMED_KEYS = re.compile(r"['\"`\u2018\u2019](\w+)['\"`\u2018\u2019]")


def output_schema(request: dict[str, Any], turn: Turn) -> Schema | None:
    """Return the schema of the answer, or ``None`` where plain text is wanted.

    ``json_object`` states no schema: one in the user's or the system message is taken, else an object with a
    string for each quoted word of the message ("... with 'setup' and 'punchline' keys"), else an object with the one
    string ``answer``.
    """
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or wanted).get("schema")
        return schema if isinstance(schema, dict) else {"type": "object"}
    return _stated_schema(turn) if wanted.get("type") == "json_object" else None


def _stated_schema(turn: Turn) -> Schema:
    for text in (turn.text, turn.system):
        if (schema := _embedded_schema(text)) is not None:
            return schema
    keys = _NAMED_KEYS.findall(turn.text) or _NAMED_KEYS.findall(turn.system) or ["answer"]
    properties = {key: {"type": "string"} for key in keys}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _embedded_schema(text: str) -> Schema | None:
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            continue
        if isinstance(value, dict) and "properties" in value:
            return value
    return None
