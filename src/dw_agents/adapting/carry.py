"""What the service's ``/responses`` carries of what frameworks may ask for.

Owns: the table of request fields and the verdict on each, and the one-time warnings. The service drops fields
that it does not read without a word; where that would change the answer or the bill the call is refused
before anything is sent, where it only tunes the sampling the user is told once, and what nobody can notice is
left alone. Must not know a framework.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dw_agents.errors import InvalidStep

__all__ = ["RULES", "DoublewordWarning", "Rule", "Verdict", "carried", "forget_warnings", "warn_once"]


class DoublewordWarning(UserWarning):
    """Something that was asked for has no effect on this service; said once per process and field."""


class Verdict(Enum):
    """What becomes of a field on ``/responses``."""

    CARRIED = "carried"
    HARMLESS = "harmless"
    TUNING = "tuning"
    REFUSED = "refused"


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Rule:
    """The verdict on one request field.

    Attributes:
        verdict: what becomes of it.
        loss: what the user would lose, completing "the service drops it: ...".
        instead: what would work.
        idle: whether a value asks for nothing (``n=1``), so that it can be left out in silence.
    """

    verdict: Verdict
    loss: str = ""
    instead: str = ""
    idle: Callable[[Any], bool] = _never


_CHAT: Final = "a realtime /chat/completions call or a batch line of that endpoint carries it"
_THINKING: Final = 'reasoning_effort="none" (or "low", "medium", "high") steers the thinking'
_SAMPLES: Final = "the same call n times gives n answers"
_SCHEMA: Final = "a structured output by JSON schema is carried"


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is known or (value == known and type(value) is type(known)) for known in values)


def _empty(value: Any) -> bool:
    return not value


def _only_usage(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) <= {"include_usage"}


def _no_logprobs(value: Any) -> bool:
    return not any("logprobs" in str(wanted) for wanted in value)


def _carried(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, Rule(Verdict.CARRIED))


def _harmless(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, Rule(Verdict.HARMLESS))


def _tuning(loss: str, instead: str, idle: Callable[[Any], bool] = _never) -> Rule:
    return Rule(Verdict.TUNING, loss, instead, idle)


def _refused(loss: str, instead: str, idle: Callable[[Any], bool] = _never) -> Rule:
    return Rule(Verdict.REFUSED, loss, instead, idle)


RULES: Final[Mapping[str, Rule]] = {
    **_carried(
        "model", "input", "instructions", "temperature", "top_p", "max_output_tokens", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "user", "reasoning", "text",
    ),
    **_harmless("metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    "seed": _tuning("the sampling stays unpinned", _CHAT),
    "presence_penalty": _tuning("no penalty is applied", _CHAT, _is(0, 0.0)),
    "frequency_penalty": _tuning("no penalty is applied", _CHAT, _is(0, 0.0)),
    "top_k": _tuning("the model's own default applies", _CHAT),
    "min_p": _tuning("the model's own default applies", _CHAT),
    "repetition_penalty": _tuning("no penalty is applied", _CHAT, _is(1, 1.0)),
    "max_tool_calls": _tuning("the number of tool calls stays unlimited", "count them in the agent's loop"),
    "truncation": _tuning(
        "a prompt that is too long fails", "shorten the history before the call",
        _is("disabled"),
    ),
    "include": _refused("no log probabilities come back", _CHAT, _no_logprobs),
    "n": _refused("the service gives one answer a call", _SAMPLES, _is(1)),
    "best_of": _refused("the service gives one answer a call", _SAMPLES, _is(1)),
    "logprobs": _refused("no log probabilities come back", _CHAT, _is(False)),
    "top_logprobs": _refused("no log probabilities come back", _CHAT, _is(0)),
    "logit_bias": _refused("the tokens are not biased", _CHAT, _empty),
    "previous_response_id": _refused("the service cannot load earlier responses", "send the whole history"),
    "conversation": _refused("the service keeps no conversations", "send the whole history"),
    "prompt": _refused("the service keeps no prompt templates", "fill the template in before the call"),
    "context_management": _refused("nothing is managed", "shorten the history before the call", _empty),
    "cache_control": _refused("nothing is cached, and the prompt is billed in full", _CHAT),
    "prompt_cache_options": _refused("nothing is cached, and the prompt is billed in full", _CHAT, _empty),
    "chat_template_kwargs": _refused("the chat template stays as it is", _THINKING, _empty),
    "enable_thinking": _refused("the model thinks as by default", _THINKING),
    "thinking": _refused("the model thinks as by default", _THINKING),
    "thinking_token_budget": _refused("the thinking has no budget", _THINKING),
    "guided_json": _refused("the output is not constrained", _SCHEMA),
    "guided_regex": _refused("the output is not constrained", _SCHEMA),
    "guided_choice": _refused("the output is not constrained", _SCHEMA),
    "guided_grammar": _refused("the output is not constrained", _SCHEMA),
    "structured_outputs": _refused("the output is not constrained", _SCHEMA),
    "functions": _refused("the functions are not offered", "tools offer them", _empty),
    "function_call": _refused("no function is chosen", "tool_choice chooses one"),
    "audio": _refused("no audio comes back", "ask for text"),
    "modalities": _refused("only text comes back", "leave it out", lambda value: list(value) == ["text"]),
    "stream_options": _refused(
        "the answer comes in one piece, with its usage", "leave stream_options out", _only_usage
    ),
    "background": _refused(
        "the tier decides how the call travels", 'service_tier="priority" is the realtime one', _is(True)
    ),
}  # fmt: skip
"""Every field with a verdict; a field that is not here is unknown to the service and warned about once."""

_UNKNOWN: Final = _tuning("it is no field of /responses", "check its spelling, or use realtime /chat/completions")

_said: set[str] = set()
_said_lock = threading.Lock()


def warn_once(key: str, message: str) -> None:
    """Warn about ``key`` unless this process already did."""
    with _said_lock:
        if key in _said:
            return
        _said.add(key)
    # The frames above are the framework's, at no fixed depth: the message names the field instead of the line.
    warnings.warn(message, DoublewordWarning, stacklevel=2)


def forget_warnings() -> None:
    """Let every warning be said again (for tests)."""
    with _said_lock:
        _said.clear()


def carried(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body as it can travel, without fields that ask for nothing.

    Args:
        body: a request body of ``/responses``.

    Raises:
        InvalidStep: a field's silent loss would change the answer or the bill; names the field and the mend.
    """
    kept: dict[str, Any] = {}
    for name, value in body.items():
        rule = RULES.get(name, _UNKNOWN)
        if value is None or rule.idle(value):
            continue
        if rule.verdict is Verdict.REFUSED:
            raise InvalidStep(
                f"{name}={_short(value)} cannot be carried: {rule.loss}. Instead: {rule.instead}.", field=name
            )
        if rule.verdict is Verdict.TUNING:
            warn_once(
                name,
                f"{name}={_short(value)} has no effect on Doubleword's /responses: {rule.loss}. "
                f"Instead: {rule.instead}.",
            )
        kept[name] = value
    _check_nested(kept)
    return kept


def _check_nested(body: Mapping[str, Any]) -> None:
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping):
        for name in reasoning.keys() - {"effort", "summary", "generate_summary"}:
            raise InvalidStep(
                f"reasoning[{name!r}] cannot be carried: only the effort is. Instead: {_THINKING}.",
                field=f"reasoning.{name}",
            )
    text = body.get("text")
    if isinstance(text, Mapping) and text.get("verbosity") is not None:
        warn_once(
            "verbosity",
            f"verbosity={text['verbosity']!r} has no effect on Doubleword's /responses: only the format "
            "of the text is carried. Instead: say in the prompt how long the answer should be.",
        )


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
