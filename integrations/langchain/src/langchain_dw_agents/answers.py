"""From the service's answer to LangChain's messages.

Owns: the defaults for what the service leaves out, the marks of a truncated answer, and the single chunk of a
"stream". LangChain's own converter does the rest. Pure; must not import the chat model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
from pydantic import BaseModel, ValidationError

from langchain_dw_agents.errors import MalformedAnswer
from langchain_dw_agents.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dw_agents import Answer

__all__ = ["to_chunk", "to_result"]

_OPTIONAL = frozenset({"error", "incomplete_details", "service_tier", "text", "usage"})
"""What the converter reads of a Response that need not be there."""
# Any class that is not pydantic's makes the converter keep what it parsed as it is.
_AS_DICT: Any = dict


def to_result(
    answer: Answer, *, text: Mapping[str, Any] | None, schema: object, output_version: str | None
) -> ChatResult:
    """Make LangChain's result out of an answer.

    Args:
        answer: what the engine brought.
        text: the request's ``text`` field; the service does not repeat it, and the converter looks there for
            the format that was asked for.
        schema: the ``response_format`` that the caller gave; where it is a pydantic class,
            ``additional_kwargs["parsed"]`` holds an instance, or the plain ``dict`` where the class rejects
            it.
        output_version: LangChain's content format.

    Raises:
        MalformedAnswer: the answer is no Response object.
    """
    body = _completed(answer, text)
    response: Any = View(body, _OPTIONAL)  # in place of openai's Response, which takes ten times as long
    try:
        result = _construct_lc_result_from_responses_api(
            response,
            schema=_AS_DICT if schema is not None else None,
            output_version=output_version,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(
            f"The answer {body.get('id')} cannot be read as a Response ({type(error).__name__}: {error}).",
            ticket=answer.ticket,
        ) from error
    message = result.generations[0].message
    if isinstance(message, AIMessage):
        message.response_metadata["finish_reason"] = _finish_reason(body, message)
        _parse_into(schema, message)
    return result


def _completed(answer: Answer, text: Mapping[str, Any] | None) -> dict[str, Any]:
    body = dict(answer.body)
    if not isinstance(body.get("output"), list):
        raise MalformedAnswer(f"The answer {body.get('id')} has no output.", ticket=answer.ticket)
    if text is not None and not body.get("text"):
        body["text"] = dict(text)
    if answer.truncated or body.get("status") == "incomplete":
        body["status"] = "incomplete"
        body["incomplete_details"] = body.get("incomplete_details") or {"reason": "max_output_tokens"}
    return body


def _finish_reason(body: Mapping[str, Any], message: AIMessage) -> str:
    if body.get("status") == "incomplete":
        reason = str(body["incomplete_details"].get("reason"))
        return "length" if reason == "max_output_tokens" else reason
    return "tool_calls" if message.tool_calls or message.invalid_tool_calls else "stop"


def _parse_into(schema: object, message: AIMessage) -> None:
    """Make an instance where the class takes the answer; where not, the output parser will say so."""
    parsed = message.additional_kwargs.get("parsed")
    if isinstance(schema, type) and issubclass(schema, BaseModel) and isinstance(parsed, dict):
        try:
            message.additional_kwargs["parsed"] = schema(**parsed)
        except ValidationError:
            return


def to_chunk(result: ChatResult) -> ChatGenerationChunk:
    """Make the one chunk that carries a whole answer: marked as the last, with its usage, blocks numbered."""
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        raise TypeError(f"expected an AIMessage, not {type(message).__name__}")
    content = message.content
    if isinstance(content, list):
        content = [
            {**block, "index": index} if isinstance(block, dict) else block for index, block in enumerate(content)
        ]
    # Given as calls, not as chunks: LangChain would complete the arguments of a truncated call and pass it as
    # valid.
    chunk = AIMessageChunk(
        content=content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        id=message.id,
        chunk_position="last",
    )
    _number(chunk)
    return ChatGenerationChunk(message=chunk, generation_info=result.generations[0].generation_info)


def _number(chunk: AIMessageChunk) -> None:
    """Give each tool call the number of its block, by which LangChain puts the two together."""
    blocks = chunk.content if isinstance(chunk.content, list) else []
    numbers = {block.get("call_id"): block["index"] for block in blocks if isinstance(block, dict)}
    for order, call in enumerate(chunk.tool_call_chunks):
        call["index"] = numbers.get(call["id"], len(blocks) + order)
