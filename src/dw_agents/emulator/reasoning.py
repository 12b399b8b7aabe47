"""What the proxy checks about reasoning in a chat request.

Owns: the rejected parameters and the known efforts. Pure; must not import anything but the error shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dw_agents.emulator.errors import proxy_error

if TYPE_CHECKING:
    from dw_agents.emulator.errors import Reply

__all__ = ["EFFORTS", "reasoning_refusal"]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_UNSUPPORTED = ("chat_template_kwargs", "thinking", "thinking_token_budget", "reasoning")


def reasoning_refusal(chat: dict[str, Any]) -> Reply | None:
    """The 400 that the proxy gives to this chat request, or none.

    Args:
        chat: a body of ``POST /chat/completions``, as sent or as translated.
    """
    for name in _UNSUPPORTED:
        if name in chat:
            return proxy_error(
                400,
                f"Unsupported parameter: {name}. Use reasoning_effort.",
                "unsupported_parameter",
                param=name,
            )
    effort = chat.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        message = f"reasoning_effort must be one of {', '.join(EFFORTS)}, not {effort!r}"
        return proxy_error(400, message, "invalid_value", param="reasoning_effort")
    return None
