"""What OpenAI's batch API does otherwise: the checks that fail a batch as a whole.

Owns: the rules of the OpenAI profile for the lines of a batch and for its creation. Must not import routes, stores
or the runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator.lines import RequestLine

if TYPE_CHECKING:
    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.filestore import StoredFile
    from dw_agents.emulator.service import Service

__all__ = ["ENDPOINTS", "metadata_problem", "problems_of"]

ENDPOINTS = ("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions")
"""What a batch may name."""

_MOST_PROBLEMS = 50
_BYTES_PER_TOKEN = 4
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


class _Body(msgspec.Struct, gc=False):
    model: str


_line = msgspec.json.Decoder(RequestLine)
_body = msgspec.json.Decoder(_Body)


def metadata_problem(metadata: dict[str, str]) -> str | None:
    """What is wrong with a batch's metadata, or ``None``."""
    if len(metadata) > _MOST_PAIRS:
        return f"metadata may have {_MOST_PAIRS} pairs, not {len(metadata)}"
    for key, value in metadata.items():
        if len(key) > _LONGEST_KEY:
            return f"a key of metadata may have {_LONGEST_KEY} characters, not {len(key)}"
        if len(value) > _LONGEST_VALUE:
            return f"metadata[{key!r}] may have {_LONGEST_VALUE} characters, not {len(value)}"
    return None


async def problems_of(service: Service, batch: Batch, source: StoredFile) -> list[dict[str, Any]]:
    """What fails this batch as a whole, as it stands under ``errors.data``; empty when it may run.

    Args:
        service: the service.
        batch: the batch.
        source: its input file, whose models are counted on the way.
    """
    count, most = len(source.spool), service.settings.max_requests_per_file
    if not count:
        return [_problem("empty_file", "The input file holds no requests.")]
    if most and count > most:
        return [_problem("too_many_tasks", f"The input file holds {count} requests; at most {most} are allowed.")]
    problems: list[dict[str, Any]] = []
    seen: set[str] = set()
    source.models.clear()
    for number in range(count):
        problem = _check(service, batch, source, source.spool.line(number), seen)
        if problem is not None:
            problems.append({**problem, "line": number + 1})
            if len(problems) == _MOST_PROBLEMS:
                break
        await service.turns.take()
    if not problems:
        batch.models = dict(source.models)
        problems = _token_problems(service, batch, source)
    return problems


def _check(service: Service, batch: Batch, source: StoredFile, text: bytes, seen: set[str]) -> dict[str, Any] | None:
    try:
        line = _line.decode(text)
    except msgspec.ValidationError as error:
        return _problem("missing_required_parameter", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _problem("invalid_json_line", "This line is no JSON.")
    if line.custom_id in seen:
        return _problem("duplicate_custom_id", f"Another line has the custom_id {line.custom_id!r}.", "custom_id")
    seen.add(line.custom_id)
    if line.url != batch.endpoint:
        return _problem("url_mismatch", f"The url must be the batch's endpoint, {batch.endpoint}.", "url")
    if line.method.upper() != "POST":
        return _problem("invalid_method", f"The method must be POST, not {line.method}.", "method")
    return _model_problem(service, source, line.body)


def _model_problem(service: Service, source: StoredFile, body: msgspec.Raw) -> dict[str, Any] | None:
    try:
        model = _body.decode(body).model
    except msgspec.DecodeError:
        return _problem("missing_required_parameter", "The body names no model.", "body.model")
    if not service.knows_model(model):
        return _problem("model_not_found", f"There is no model {model!r} for batches.", "body.model")
    if source.models and model not in source.models:
        return _problem("model_mismatch", "All requests of a batch must name the same model.", "body.model")
    source.models[model] += 1
    return None


def _token_problems(service: Service, batch: Batch, source: StoredFile) -> list[dict[str, Any]]:
    limit = service.settings.enqueued_token_limit
    if limit is None:
        return []
    batch.enqueued = source.spool.size // _BYTES_PER_TOKEN
    others = sum(
        other.enqueued
        for other in service.batches.unfinished()
        if other is not batch and other.owner == batch.owner and other.models.keys() == batch.models.keys()
    )
    if batch.enqueued + others <= limit:
        return []
    model = next(iter(source.models))
    message = f"Too many tokens of {model} are enqueued: {batch.enqueued + others}, of {limit} allowed. Try later."
    batch.enqueued = 0
    return [_problem("token_limit_exceeded", message)]


def _problem(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": None}
