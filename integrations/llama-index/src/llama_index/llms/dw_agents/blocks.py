"""From LlamaIndex's content blocks to the parts of a message of ``/responses``.

Owns: the verdict on every kind of block: carried, or refused by name with what would work instead. Reads local files
that blocks name, and nothing from the network: an address is passed on for the service to fetch. Must not import the
LLM.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    VideoBlock,
)

from dw_agents.adapting.carry import warn_once
from dw_agents.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llama_index.core.base.llms.types import BaseContentBlock

__all__ = ["parts_of"]

Part = dict[str, Any]

_TEXTUAL: Final = (
    "text/", "application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml",
    "application/csv", "application/javascript", "application/x-ndjson", "application/sql",
)  # fmt: skip


def parts_of(block: BaseContentBlock, where: str) -> list[Part]:
    """Return the parts that carry a block; a block that only a hint is carried by none.

    Args:
        block: any content block but thinking and tool calls, which are items of their own.
        where: which block it is, for the error.

    Raises:
        InvalidStep: the service does not read such a block; names it and the mend.
    """
    for kind, carry in _CARRIED.items():
        if isinstance(block, kind):
            return carry(block, where)
    raise _refusal(where, type(block).__name__, "send it as text")


def _refusal(where: str, name: str, mend: str, loss: str = "which the service does not read") -> InvalidStep:
    return InvalidStep(f"{where} is a {name}, {loss}. Instead: {mend}.", field=where)


def _text(block: Any, where: str) -> list[Part]:  # noqa: ARG001 - the shape that all of them have
    return [{"type": "input_text", "text": block.text}]


def _image(block: Any, where: str) -> list[Part]:
    part: Part = {"type": "input_image", "image_url": _image_url(block, where)}
    if block.detail:
        part["detail"] = block.detail
    return [part]


def _image_url(block: ImageBlock, where: str) -> str:
    if block.image is None and block.path is None and block.url is not None:
        return str(block.url)
    if not block.image and block.path is None:
        raise _refusal(where, "ImageBlock", "give its bytes, its path or its URL", "which holds no image")
    data: bytes = _bytes_of(block.resolve_image, where, "ImageBlock")
    kind = block.image_mimetype or ImageBlock(image=data).image_mimetype
    if kind is None:
        raise _refusal(where, "ImageBlock", "give its image_mimetype, for example 'image/png'", "of no known format")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _bytes_of(resolve: Callable[[], Any], where: str, name: str) -> bytes:
    try:
        data: bytes = resolve().read()
    except (OSError, ValueError) as error:
        raise _refusal(where, name, "check its path and its contents", f"which cannot be read ({error})") from error
    return data


def _document(block: Any, where: str) -> list[Part]:
    if block.data is None and block.path is None and not str(block.url or "").startswith("data:"):
        raise _refusal(
            where, "DocumentBlock", "load it with a reader and send its text", "of which only an address is given"
        )
    mend = "extract its text with a reader (SimpleDirectoryReader), or send its pages as images"
    kind = block.document_mimetype
    if kind is not None and not kind.startswith(_TEXTUAL):
        raise _refusal(where, f"DocumentBlock of type {kind}", mend)
    try:
        text = _bytes_of(block.resolve_document, where, "DocumentBlock").decode()
    except UnicodeDecodeError:
        raise _refusal(where, "DocumentBlock that is no text", mend) from None
    if "\0" in text:
        raise _refusal(where, "DocumentBlock that is no text", mend)
    return [{"type": "input_text", "text": f"{block.title}:\n\n{text}"}]


def _citable(block: Any, where: str) -> list[Part]:
    heading: Part = {"type": "input_text", "text": f"{block.title} (source: {block.source}):"}
    return [heading, *_nested(block.content, where)]


def _citation(block: Any, where: str) -> list[Part]:
    cited = _nested([block.cited_content], where)
    return [*cited, {"type": "input_text", "text": f"(cited from {block.title}, {block.source})"}]


def _nested(blocks: Sequence[BaseContentBlock], where: str) -> list[Part]:
    return [part for number, one in enumerate(blocks) for part in parts_of(one, f"{where}.content[{number}]")]


def _cache_point(block: Any, where: str) -> list[Part]:  # noqa: ARG001 - the shape that all of them have
    # A hint in prompts that are written for several providers: without it the answer is the same. So it is dropped, but
    # not in silence, for the bill differs.
    warn_once(
        "CachePoint",
        "A CachePoint has no effect on Doubleword's /responses: nothing is cached, and the prompt is billed in full. "
        "Instead: a realtime /chat/completions call with cache_control caches.",
    )
    return []


def _never(mend: str) -> Callable[[Any, str], list[Part]]:
    def refuse(block: Any, where: str) -> list[Part]:
        raise _refusal(where, type(block).__name__, mend)

    return refuse


_CARRIED: Final[Mapping[type[Any], Callable[[Any, str], list[Part]]]] = {
    TextBlock: _text,
    ImageBlock: _image,
    DocumentBlock: _document,
    CitableBlock: _citable,
    CitationBlock: _citation,
    CachePoint: _cache_point,
    AudioBlock: _never("transcribe it first and send the text"),
    VideoBlock: _never("send single frames as images"),
}
