"""Which tools the rules backend calls next.

Owns: the decision, documented at ``choose``. Must not import the backends or do any I/O: request in, calls
out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dw_agents.emulator.backends.check import MISSING, Schema, fit, resolve
from dw_agents.emulator.backends.facts import FREE_TEXT, Facts, Turn, plain, quote_results
from dw_agents.emulator.backends.schema import UnsatisfiableError, build

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Call", "Tool", "choose", "due", "read_tools"]

_COMMON_WORDS = """
    a an and by call do fetch find for from function get in is it list make my of on or perform run set the
    to tool use with your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_REFERENCE = re.compile(
    r"(?:^|[_\s-])(?:id|ids|key|path|file|filename|url|uri|link|ref|reference|token|cursor|handle|code)$",
    re.IGNORECASE,
)
_LATER = re.compile(r"\b(?:then|after(?:wards)?|finally|next)\b", re.IGNORECASE)
_MIN_REQUEST_WORDS = 3
_SHORT = 2


@dataclass(frozen=True)
class Tool:
    """One function tool of the request."""

    name: str
    parameters: dict[str, Any]
    description: str = ""

    @property
    def is_answer(self) -> bool:
        """A name in CapWords marks a schema for the final answer: frameworks name it after the class."""
        return self.name[:1].isupper() and "_" not in self.name


@dataclass(frozen=True)
class Call:
    """One call to make."""

    name: str
    arguments: dict[str, Any]


def read_tools(request: dict[str, Any]) -> list[Tool]:
    """List the function tools that the request offers and its ``tool_choice`` allows."""
    functions = [tool["function"] for tool in request.get("tools") or () if isinstance(tool.get("function"), dict)]
    tools = [
        Tool(function["name"], function.get("parameters") or {}, function.get("description") or "")
        for function in functions
    ]
    choice = request.get("tool_choice")
    if choice == "none":
        return []
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or choice
        names = {(tool.get("function") or tool).get("name") for tool in allowed.get("tools", ())}
        return [tool for tool in tools if tool.name in names]
    return tools


def choose(request: dict[str, Any], turn: Turn) -> list[Call]:
    """Return the calls to make now; none means that it is time to answer in text.

    * ``tool_choice`` that names a tool: that tool.
    * Otherwise the tools that this user turn still calls for, each at most once a turn:

      1. tools whose name, or a telling word of it, stands in the user's message, in the order of the message;
      2. tools all of whose required arguments are keys in the tool results of this turn, so that a result
         leads to the next step;
      3. when neither is the case and nothing was called yet: the first tool that a message of three or more
         words can fill.

      Of these, a tool goes first when it can be filled from what is known; arguments that refer to something
      (``..._id``, ``path``, ``url``) are never made up while another tool may still find them. Answer tools
      (names in CapWords) come last.
    * ``"required"`` or ``"any"`` with nothing called for: the first answer tool, else the last tool.
    * One call at a time, unless ``parallel_tool_calls`` is true: then every tool that the message names and
      that can be filled already, up to the message's first "then", "after", "next" or "finally".

    Raises:
        UnsatisfiableError: no arguments fit the schema of a tool that must be called.
    """
    tools = due(request, turn)
    if len(tools) > 1 and request.get("parallel_tool_calls"):
        return _together(tools, turn)
    return [_call(tool, turn) for tool in tools[:1]]


def due(request: dict[str, Any], turn: Turn) -> list[Tool]:
    """List the tools that may be called now, the first choice first; see ``choose`` for the rules."""
    tools = read_tools(request)
    choice = request.get("tool_choice") or "auto"
    if isinstance(choice, dict) and (name := _chosen_name(choice)):
        return [tool for tool in tools if tool.name == name][:1]
    if wanted := _wanted(tools, turn):
        return wanted
    forced = choice in ("required", "any") or (isinstance(choice, dict) and choice.get("mode") == "required")
    return [_last_resort(tools)] if forced and tools else []


def _chosen_name(choice: dict[str, Any]) -> str | None:
    name = (choice.get("function") or choice).get("name")
    return name if isinstance(name, str) else None


def _last_resort(tools: list[Tool]) -> Tool:
    return next((tool for tool in tools if tool.is_answer), tools[-1])


def _wanted(tools: list[Tool], turn: Turn) -> list[Tool]:
    """Order the tools still called for."""
    called = {result.name for result in turn.results}
    open_tools = [tool for tool in tools if tool.name not in called]
    facts = Facts(turn)
    named = [(at, tool) for tool in open_tools if (at := _mention(tool, turn.text)) is not None]
    wanted = [tool for _, tool in sorted(named, key=lambda pair: (pair[1].is_answer, pair[0]))]
    wanted += [tool for tool in open_tools if tool not in wanted and _is_fed(tool, facts)]
    if not wanted and not called and len(turn.text.split()) >= _MIN_REQUEST_WORDS:
        wanted = [
            tool
            for tool in open_tools
            if not tool.is_answer and _required(tool) and _is_ready(tool, turn, by_facts=True)
        ][:1]
    ready = [tool for tool in wanted if _is_ready(tool, turn)]
    spelled_out = [tool for tool in wanted if tool not in ready and _spelled_out(tool, turn.text)]
    return sorted([*ready, *spelled_out], key=lambda tool: tool.is_answer)


def _together(wanted: list[Tool], turn: Turn) -> list[Call]:
    """Call what the message asks for in one breath, sharing out the arguments as if one by one."""
    later = _LATER.search(turn.text)
    end = later.start() if later and not turn.results else len(turn.text)
    group = [
        tool
        for tool in wanted
        if not tool.is_answer and (at := _mention(tool, turn.text)) is not None and at < end and _is_ready(tool, turn)
    ]
    facts = Facts(turn)
    return [Call(tool.name, _arguments(tool, facts)) for tool in group or wanted[:1]]


def _call(tool: Tool, turn: Turn) -> Call:
    facts = Facts(turn, quote_results(turn) or None) if tool.is_answer else Facts(turn)
    return Call(tool.name, _arguments(tool, facts))


def _arguments(tool: Tool, facts: Facts) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    arguments = build(schema, facts, every=tool.is_answer, name=tool.name)
    if not isinstance(arguments, dict):
        raise UnsatisfiableError(f"the parameters of {tool.name!r} are not an object")
    return arguments


def _words(name: str) -> list[str]:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.findall(r"[a-z0-9]+", split.lower()) if word not in _COMMON]


def _spelled_out(tool: Tool, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text) is not None


def _mention(tool: Tool, text: str) -> int | None:
    """Return where the text first names the tool, by its name or else by a telling word of it."""
    if spelled := re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text):
        return spelled.start()
    stems = [word.rstrip("s") for word in _words(tool.name) if len(word) > _SHORT]
    hits = (re.search(rf"\b{stem}(?:s|es|ed|ing)?\b", text, re.IGNORECASE) for stem in stems)
    return min((hit.start() for hit in hits if hit), default=None)


def _required(tool: Tool) -> Iterable[str]:
    required = tool.parameters.get("required", ())
    return required if isinstance(required, (list, tuple)) else ()


def _is_fed(tool: Tool, facts: Facts) -> bool:
    required = list(_required(tool))
    return bool(required) and all(facts.from_results(name) for name in required)


def _is_ready(tool: Tool, turn: Turn, *, by_facts: bool = False) -> bool:
    """Tell whether every required argument has a source: a fact, a stated value, or the user's words.

    Args:
        tool: the tool.
        turn: the conversation.
        by_facts: take the user's words only for parameters that ask for free text, such as ``query``.
    """
    facts = Facts(turn)
    properties = tool.parameters.get("properties", {})
    return all(_has_source(name, properties.get(name, {}), tool, facts, by_facts=by_facts) for name in _required(tool))


def _has_source(name: str, schema: Any, tool: Tool, facts: Facts, *, by_facts: bool) -> bool:
    try:
        flat = resolve(schema, tool.parameters)
    except ValueError:
        return False
    if _any_fits(facts.named(name), flat, tool) or flat.keys() & {"const", "default"}:
        return True
    if _REFERENCE.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)):
        return False
    if "enum" in flat or flat.get("type") == "boolean":
        return True
    if flat.get("type") == "string" and (not by_facts or plain(name) in FREE_TEXT):
        return True
    return _any_fits(facts.known(name, flat), flat, tool)


def _any_fits(values: Iterable[Any], schema: Schema, tool: Tool) -> bool:
    return any(fit(value, schema, tool.parameters) is not MISSING for value in values)
