"""The ``rules`` backend: deterministic answers that follow tool and JSON schemas. It is no language model.

Owns: turning a chat request into calls, JSON or text. The decisions are elsewhere: ``policy`` chooses tools,
``schema`` fills schemas, ``facts`` reads the conversation. Must not import the server.
"""

from __future__ import annotations

import json
from typing import Any

from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.backends.completion import Answer, completion, count_tokens
from dw_agents.emulator.backends.facts import MAX_WORDS, Facts, Turn, quote_results, read_turn
from dw_agents.emulator.backends.formats import output_schema
from dw_agents.emulator.backends.policy import choose
from dw_agents.emulator.backends.schema import UnsatisfiableError, build
from dw_agents.emulator.backends.vectors import embed_text, embeddings, read_dimensions, read_inputs

__all__ = ["RulesBackend"]

_SIGNATURE = "(Written by fixed rules, not by a language model.)"


class RulesBackend:
    """Answers by fixed rules: the same request gets the same answer, on every machine.

    * Tools: see ``policy.choose``.
    * ``response_format``: a value that is valid under the schema, filled from the conversation
      (``schema.build``). For ``json_object``: the schema or the quoted key names that the
      messages state, else ``{"answer": ...}``.
    * Otherwise text that quotes the results of this turn's tools, or the user's own words, and counts images
      and other media.
    * Tokens are estimated at four bytes each; ``temperature``, ``seed`` and the like have no effect.
    """

    name = "rules"
    description = (
        "Fixed rules answer: they follow tool and JSON schemas and quote what they are given. No language model runs."
    )

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to release."""

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one chat request.

        Raises:
            UpstreamError: 400 when ``messages`` is no list of messages, or a schema cannot be satisfied.
        """
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            raise UpstreamError(400, "messages must be a list of at least one message")
        try:
            return completion(request, _answer(request, read_turn(messages)))
        except UnsatisfiableError as error:
            raise UpstreamError(400, f"the rules backend cannot satisfy the schema: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UpstreamError(400, f"the request does not have the shape of the chat API: {error!r}") from error

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one embeddings request with hashed n-gram vectors, of 256 numbers unless asked otherwise.

        Raises:
            UpstreamError: 400 for an empty or malformed ``input`` or ``dimensions``.
        """
        texts = read_inputs(request)
        dimensions = read_dimensions(request)
        return embeddings(request, [embed_text(text, dimensions) for text in texts], sum(map(count_tokens, texts)))


def _answer(request: dict[str, Any], turn: Turn) -> Answer:
    effort = request.get("reasoning_effort")
    reasoning = (
        f"Effort {effort}: look for tools that the turn still calls for, then answer."
        if effort not in (None, "none")
        else ""
    )
    calls = tuple((call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in choose(request, turn))
    if calls:
        return Answer(calls=calls, reasoning=reasoning)
    return Answer(text=_text(request, turn), reasoning=reasoning)


def _text(request: dict[str, Any], turn: Turn) -> str:
    quoted = quote_results(turn)
    schema = output_schema(request, turn)
    if schema is not None:
        facts = Facts(turn, quoted or None)
        for key in schema.get("properties", ()):
            facts.used(key)
        return json.dumps(build(schema, facts), ensure_ascii=False)
    media = " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in turn.media.items())
    lines = [
        quoted or f"You wrote: {turn.text[:MAX_WORDS]}",
        f"You sent {media}." if media else "",
        _SIGNATURE,
    ]
    return "\n".join(line for line in lines if line)
