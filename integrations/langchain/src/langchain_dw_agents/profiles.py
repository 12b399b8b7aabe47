"""What the catalogue's models can do, as LangChain asks it.

Owns: the model profiles. ``create_agent`` reads them to choose how to get structured output, deepagents to
know when a conversation must be summarised. Must not import the chat model.

Context windows are the models' own, as published by their makers; a deployment may serve less.
``profile={...}`` on the model overrides all of it.
"""

from __future__ import annotations

from typing import Final

from langchain_core.language_models import ModelProfile

__all__ = ["profile_of"]

_CHAT: Final[ModelProfile] = {
    "max_input_tokens": 32_768,
    "text_inputs": True,
    "image_inputs": False,
    "image_url_inputs": False,
    "pdf_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "image_tool_message": False,
    "pdf_tool_message": False,
    "text_outputs": True,
    "image_outputs": False,
    "audio_outputs": False,
    "video_outputs": False,
    "tool_calling": True,
    "tool_choice": True,
    "tool_call_streaming": False,
    "structured_output": True,
}
_SEES: Final[ModelProfile] = {"image_inputs": True, "image_url_inputs": True, "image_tool_message": True}
_THINKS: Final[ModelProfile] = {"reasoning_output": True}
_READS_PAGES: Final[ModelProfile] = {
    **_SEES,
    "tool_calling": False,
    "tool_choice": False,
    "structured_output": False,
}

# By the start of the model's name, so that a new size or another precision of a known family is known too.
_FAMILIES: Final[tuple[tuple[str, ModelProfile], ...]] = (
    ("qwen/qwen3.5-", {**_SEES, **_THINKS, "max_input_tokens": 262_144}),
    ("qwen/qwen3-vl-", {**_SEES, "max_input_tokens": 262_144}),
    ("qwen/qwen3-", {**_THINKS, "max_input_tokens": 32_768}),
    ("nvidia/nvidia-nemotron-3-super", {**_THINKS, "max_input_tokens": 262_144}),
    ("openai/gpt-oss-", {**_THINKS, "max_input_tokens": 131_072}),
    ("allenai/olmocr-2-", {**_READS_PAGES, "max_input_tokens": 128_000}),
    ("lightonai/lightonocr-2-", {**_READS_PAGES, "max_input_tokens": 16_384}),
)


def profile_of(model: str) -> ModelProfile:
    """Return the profile of a model; one that is not known counts as a text model with a small window."""
    name = model.lower()
    known = next((profile for start, profile in _FAMILIES if name.startswith(start)), ModelProfile())
    return {**_CHAT, **known}
