"""The ``local`` backend: a real small language model and real embeddings, offline, on two processor cores.

Owns: what the model is asked for (text, JSON, a tool, its arguments) and the worker thread it is asked on.
Must not import the server around it. The packages of the extra ``dw-agents[local]`` are imported when they
are first needed.
"""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.backends.check import MISSING, fit, fits
from dw_agents.emulator.backends.completion import Answer, assemble
from dw_agents.emulator.backends.facts import Facts, Turn, read_turn
from dw_agents.emulator.backends.formats import output_schema
from dw_agents.emulator.backends.policy import Tool, due
from dw_agents.emulator.backends.small_model import (
    DIMENSIONS,
    Generated,
    SmallModel,
    WordVectors,
    require_packages,
)
from dw_agents.emulator.backends.tighten import tighten
from dw_agents.emulator.backends.transcript import plain_dialogue
from dw_agents.emulator.backends.vectors import embeddings, read_dimensions, read_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from dw_agents.emulator.backends.check import Schema

__all__ = ["LocalBackend"]

T = TypeVar("T")

_MAX_THREADS = 4
_JSON_FACTOR = 4


class LocalBackend:
    """Lets SmolLM2-135M write text, JSON and tool arguments; a grammar holds it to the schemas.

    A model this small cannot plan: which tools are due is decided as in the rules backend (``policy.due``),
    the model chooses among them when there are several and writes the arguments. An argument whose name is a
    key in this turn's tool results is chosen among the values found there. One call a turn, whatever
    ``parallel_tool_calls`` says.

    One generation runs at a time. Without ``temperature`` in the request the most likely token is taken.

    Args:
        threads: processor threads of the model; all cores, at most four, unless given.
        context: tokens of prompt and answer together; the model knows at most 8,192.
        max_tokens: limit of a text whose request sets none; JSON may be four times as long, since half of it is
            worth nothing.

    Raises:
        ImportError: the extra is not installed.
    """

    name = "local"
    description = (
        "SmolLM2-135M, a real but very small language model, answers on this machine; "
        "a grammar holds it to the schemas. Expect form, not wisdom."
    )

    def __init__(self, *, threads: int | None = None, context: int = 8192, max_tokens: int = 256) -> None:
        require_packages()
        self._threads = threads or min(os.cpu_count() or 1, _MAX_THREADS)
        self._context = context
        self._max_tokens = max_tokens
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dw-agents-local-model")
        self._loaded: SmallModel | None = None
        self._vectors: WordVectors | None = None

    async def start(self) -> None:
        """Load the language model, on the worker thread (about a second)."""
        await self._on_thread(self._model)

    async def close(self) -> None:
        """Let the model go; a generation that runs ends by itself, those that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loaded = self._vectors = None

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one chat request.

        Raises:
            UpstreamError: 400 for a request that the model refuses (a prompt over the context, a schema that
                no
                grammar can be made of), 422 when its JSON does not fit the schema nevertheless.
        """
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise UpstreamError(400, "messages must be a list of at least one message")
        return await self._on_thread(lambda: self._answer(request, read_turn(messages)))

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one embeddings request: word vectors of 256 numbers, or the first ``dimensions`` of them.

        Raises:
            UpstreamError: 400 for an empty or malformed ``input``, or ``dimensions`` over 256.
        """
        texts = read_inputs(request)
        dimensions = read_dimensions(request, DIMENSIONS)
        if dimensions > DIMENSIONS:
            raise UpstreamError(400, f"dimensions must be at most {DIMENSIONS}: the local vectors have no more")
        vectors, tokens = await self._on_thread(lambda: self._embed(texts, dimensions))
        return embeddings(request, vectors, tokens)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _model(self) -> SmallModel:
        if self._loaded is None:
            self._loaded = SmallModel(self._threads, self._context)
        return self._loaded

    def _embed(self, texts: list[str], dimensions: int) -> tuple[list[list[float]], int]:
        if self._vectors is None:
            self._vectors = WordVectors()
        return self._vectors.embed(texts, dimensions)

    def _answer(self, request: dict[str, Any], turn: Turn) -> dict[str, Any]:
        if tools := due(request, turn):
            return self._call(request, turn, tools)
        schema = output_schema(request, turn)
        limit = self._limit(request, json_wanted=schema is not None)
        reminder = f"With these notes, answer briefly: {turn.text}" if turn.results else ""
        messages = plain_dialogue(request["messages"], reminder)
        if schema is None:
            generated = self._model().generate(messages, request, None, limit)
        else:
            value, generated = self._model().value(messages, request, tighten(schema), limit)
            if not generated.truncated and not fits(value, schema, schema):
                raise UpstreamError(422, f"the small model's JSON does not fit the schema: {generated.text[:200]}")
        said = Answer(text=generated.text)
        return assemble(request, said, _usage(generated), truncated=generated.truncated)

    def _limit(self, request: dict[str, Any], *, json_wanted: bool) -> int:
        own = self._max_tokens * (_JSON_FACTOR if json_wanted else 1)
        return int(request.get("max_completion_tokens") or request.get("max_tokens") or own)

    def _call(self, request: dict[str, Any], turn: Turn, tools: list[Tool]) -> dict[str, Any]:
        """Let the model choose a tool, if there is a choice, and write its arguments."""
        limit = self._limit(request, json_wanted=True)
        spent: list[Generated] = []
        tool = tools[0]
        if len(tools) > 1:
            names = [one.name for one in tools]
            messages = plain_dialogue(request["messages"], f"Which tool helps next: {', '.join(names)}?")
            choice: Schema = {
                "type": "object",
                "properties": {"tool": {"enum": names}},
                "required": ["tool"],
                "additionalProperties": False,
            }
            value, generated = self._model().value(messages, request, choice, limit)
            spent.append(generated)
            tool = next((one for one in tools if value and one.name == value["tool"]), tool)
        schema = _offered(tool, turn)
        about = f" ({tool.description.strip()})" if tool.description else ""
        wish = f"To help with this, write the arguments of the tool {tool.name}{about} as short JSON: {turn.text}"
        messages = plain_dialogue(request["messages"], wish)
        value, generated = self._model().value(messages, request, tighten(schema), limit)
        spent.append(generated)
        if not generated.truncated and not fits(value, schema, schema):
            raise UpstreamError(422, f"the small model's arguments do not fit {tool.name}: {generated.text[:200]}")
        arguments = generated.text if value is None else json.dumps(value, ensure_ascii=False)
        said = Answer(calls=((tool.name, arguments),))
        return assemble(request, said, _usage(*spent), truncated=generated.truncated)


def _offered(tool: Tool, turn: Turn) -> Schema:
    """Return the tool's parameters, narrowed where the conversation has the values to choose from.

    These are the values under the same key in the tool results, and for required numbers those of the user's
    message.
    """
    schema: Schema = {"type": "object", "properties": {}, **tool.parameters}
    facts = Facts(turn)
    properties = dict(schema["properties"])
    for name, given in properties.items():
        numeric = name in schema.get("required", ()) and given.get("type") in ("integer", "number")
        if numeric or facts.from_results(name):
            fitting = [fit(value, given, schema) for value in facts.known(name, given)]
            if found := [value for value in fitting if value is not MISSING]:
                properties[name] = {"enum": found}
    return {**schema, "properties": properties}


def _usage(*spent: Generated) -> dict[str, Any]:
    """Add up what the generations of one answer used; the prompt is that of the last one."""
    prompt = spent[-1].prompt_tokens
    output = sum(one.completion_tokens for one in spent)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": spent[-1].cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
